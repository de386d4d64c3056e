"""Damaged and odd NIfTI files: each is refused with a sentence that names it, or read correctly.

None hangs, fills the memory or gets in wrong. The files are made byte by byte from a seed, so what is in them is known
without asking any reader. They are read in one process of their own, whose memory and time are limited, and judged
here, against what was put in and against nibabel's own reading."""
import gzip, hashlib, json, os, re, struct, subprocess, sys, zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SEED = int(os.environ.get('MRISEG_FUZZ_SEED', 1))
MEMORY = 2 * 2**30 # bytes that reading may take, beyond what the imports took
LIMITED = sys.platform == 'linux' # only Linux can be held to that
SECONDS = 120 # for all of the files; they need about five
SHAPE = (12, 14, 10)
CODES = {
    'uint8': 2, 'int16': 4, 'int32': 8, 'float32': 16, 'float64': 64, 'int8': 256, 'uint16': 512, 'uint32': 768,
    'int64': 1024, 'uint64': 1280
}
NO_NUMBERS = {0: 0, 1: 1, 32: 64, 128: 24, 255: 8, 1536: 128, 1792: 128, 2048: 256, 2304: 32, 3: 16, 77: 16, -4: 16} # code: bits; complex, colours, none at all
QUATERNION, SPACING, ORIGIN = (0.05, -0.1, 0.15), (0.9, 1.0, 1.5), (80.5, -95.25, -40.75)

# What a file is: written by hand, so that no library's idea of a good header gets in the way

def rotation(b, c, d):
    "The matrix of a unit quaternion, as nifti1.h gives it."
    a = np.sqrt(1 - b*b - c*c - d*d)
    return np.array([
        [a*a + b*b - c*c - d*d, 2*b*c - 2*a*d, 2*b*d + 2*a*c],
        [2*b*c + 2*a*d, a*a + c*c - b*b - d*d, 2*c*d - 2*a*b],
        [2*b*d - 2*a*c, 2*c*d + 2*a*b, a*a + d*d - c*c - b*b],
    ])

def true_affine():
    affine = np.eye(4)
    affine[:3, :3] = rotation(*QUATERNION) @ np.diag([*SPACING[:2], -SPACING[2]])
    affine[:3, 3] = ORIGIN # qfac is -1
    return affine.astype(np.float32).astype(float)

def header_type(version, order):
    return {1: nib.nifti1.header_dtype, 2: nib.nifti2.header_dtype}[version].newbyteorder(order)

def nifti(array, *, version=1, order='<', placed='sform', affine=None, extension=b'', **fields):
    "The bytes of a file; `fields` overwrite those of its header."
    length, magic = {1: (348, b'n+1'), 2: (540, b'n+2')}[version]
    header = np.zeros((), header_type(version, order))
    rows = true_affine() if affine is None else affine
    good = dict(
        sizeof_hdr=length,
        magic=magic,
        dim=[array.ndim, *array.shape] + [1]*(7 - array.ndim),
        datatype=CODES.get(array.dtype.name, 0),
        bitpix=8*array.itemsize,
        pixdim=[-1, *SPACING, 1, 0, 0, 0],
        vox_offset=length + 4 + len(extension),
        scl_slope=1,
        xyzt_units=10,
        descrip=b'made for a test',
        qform_code=1,
        quatern_b=QUATERNION[0],
        quatern_c=QUATERNION[1],
        quatern_d=QUATERNION[2],
        qoffset_x=ORIGIN[0],
        qoffset_y=ORIGIN[1],
        qoffset_z=ORIGIN[2],
    )
    if version == 2:
        good['eol_check'] = [13, 10, 26, 10]
    if placed == 'sform':
        good |= dict(sform_code=2, srow_x=rows[0], srow_y=rows[1], srow_z=rows[2])
    for name, value in (good | fields).items():
        header[name] = value
    voxels = array.astype(array.dtype.newbyteorder(order)).tobytes('F')
    return header.tobytes() + bytes([bool(extension), 0, 0, 0]) + extension + voxels

def extension(size, content=b'', code=6):
    return struct.pack('<ii', size, code) + content.ljust(max(size, 16) - 8, b'\0')[:max(size, 16) - 8]

def pack(content, **how):
    return gzip.compress(content, mtime=0, **how)

def bomb(zeros, content=b'', whole=False):
    "`content` and then very many zeros, as gzip, without ever holding them; only a `whole` one has the right checksum."
    block = bytes(2**24)
    piece = zlib.compressobj(9, wbits=-15)
    once = piece.compress(block) + piece.flush(zlib.Z_FULL_FLUSH) # such pieces can be strung together
    first = zlib.compressobj(9, wbits=-15)
    check = zlib.crc32(content)
    for _ in range(whole*zeros//2**24):
        check = zlib.crc32(block, check)
    head = b'\x1f\x8b\x08\0\0\0\0\0\0\x03' + first.compress(content) + first.flush(zlib.Z_FULL_FLUSH)
    size = (len(content) + zeros//2**24*2**24) & 0xffffffff
    return head + once*(zeros//2**24) + b'\x03\0' + struct.pack('<II', check, size)

# What has to become of it

REFUSED = 'refused' # there is something wrong that can be known
READ = 'read' # exactly what was put in comes out
REFUSED_OR_READ = 'refused, or what was put in'
AS_NIBABEL = 'refused, or as nibabel' # what was put in can't be known any more; nibabel reads the same, and repaired nothing that matters

@dataclass(eq=False)
class File:
    category: str
    wanted: str
    content: bytes = field(repr=False)
    array: np.ndarray = field(repr=False, default=None) # what was put in
    affine: np.ndarray = field(repr=False, default=None)
    ending: str = '.nii'
    size: int = 0 # make a sparse file of this size
    note: str = ''
    make: Callable = None # instead of writing it
    path: Path = None

def flipped(content, at, how):
    return content[:at] + bytes([content[at] ^ how]) + content[at + 1:]

UNUSED = {
    'data_type', 'db_name', 'extents', 'session_error', 'regular', 'dim_info', 'intent_p1', 'intent_p2', 'intent_p3',
    'intent_code', 'bitpix', 'slice_start', 'slice_end', 'slice_code', 'cal_max', 'cal_min', 'slice_duration',
    'toffset', 'glmax', 'glmin', 'descrip', 'aux_file', 'intent_name', 'unused_str'
}
QFORM = {'qform_code', 'quatern_b', 'quatern_c', 'quatern_d', 'qoffset_x', 'qoffset_y', 'qoffset_z'}
SFORM = {'srow_x', 'srow_y', 'srow_z'}

def wanted_of_flip(name, item, placed):
    "What has to become of a file with a damaged byte in this field of the header."
    if name in ('sizeof_hdr', 'magic', 'eol_check', 'vox_offset'):
        return REFUSED
    if name in UNUSED or name in (QFORM if placed == 'sform' else SFORM):
        return READ
    if name == 'dim' and item == 0:
        return REFUSED_OR_READ # 7 axes instead of 3 are harmless, if the others have length 1
    if name == 'dim':
        return READ if item > 3 else REFUSED
    if name == 'pixdim':
        return READ if item > 3 or placed == 'sform' else AS_NIBABEL
    return AS_NIBABEL

class Maker:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.files = []

    def values(self, dtype='int16', shape=SHAPE):
        if np.dtype(dtype).kind == 'f':
            return self.random.normal(300, 90, shape).astype(dtype)
        return self.random.integers(0, min(np.iinfo(dtype).max, 2000), shape, dtype)

    def bit(self):
        return 1 << int(self.random.integers(8))

    def byte(self):
        return int(self.random.integers(1, 256))

    def some(self, start, end, count):
        return self.random.choice(np.arange(start, end), count, replace=False).tolist() # places, each once

    def add(self, category, wanted, content, array=None, affine=None, **more):
        self.files.append(File(category, wanted, content, array, true_affine() if affine is None else affine, **more))

    def both(self, category, wanted, content, array=None, **more):
        "The same file plain and compressed."
        self.add(category, wanted, content, array, **more)
        self.add(category, wanted, pack(content), array, ending='.nii.gz', **more)

    def sound(self):
        for dtype in CODES:
            for version, order in ((1, '<'), (1, '>'), (2, '<'), (2, '>')):
                array = self.values(dtype)
                placed = ('sform', 'qform')[self.random.integers(2)]
                self.both('sound', READ, nifti(array, version=version, order=order, placed=placed), array)
        array = self.values()
        self.add('sound', READ, nifti(array), array, ending='.nii.gz', note='plain, though its name says otherwise')
        self.add('sound', READ, pack(nifti(array)), array, ending='.nii', note='the other way round')
        for axes in (4, 5, 7):
            self.both('sound', READ, nifti(array, dim=[axes, *SHAPE, 1, 1, 1, 1]), array, note='axes of length 1')
        for level in (0, 1, 9):
            self.add('sound', READ, pack(nifti(array), compresslevel=level), array, ending='.nii.gz')
        for bits in (0, 1, 32):
            self.both('sound', READ, nifti(array, bitpix=bits), array, note='bitpix is wrong, the length right')
        self.both(
            'sound', READ, nifti(array, pixdim=[7, -1, 0, np.nan, 0, 0, 0, 0]), array,
            note='pixdim is wrong, the sform right'
        )
        self.both(
            'sound',
            READ,
            nifti(array, placed='qform', quatern_b=0, quatern_c=0, quatern_d=0, pixdim=[0, 1, 1, 2, 0, 0, 0, 0]),
            array,
            affine=np.array([[1, 0, 0, ORIGIN[0]], [0, 1, 0, ORIGIN[1]], [0, 0, 2, ORIGIN[2]], [0, 0, 0, 1]], float),
            note='a qfac of 0 means 1',
        )
        self.both(
            'sound', READ, nifti(array, version=2, eol_check=[0]*4), array,
            note='without the bytes that tell of a transfer as text'
        )
        array = self.values(shape=(64, 64, 40))
        self.both('sound', READ, nifti(array), array)

    def four_axes(self):
        for shape in ((2,), (4,), (1, 3)):
            for version, order, dtype in ((1, '<', 'int16'), (2, '>', 'float32')):
                array = self.values(dtype, (*SHAPE, *shape))
                wanted = READ if shape != (1, 3) else REFUSED
                self.both('four axes', wanted, nifti(array, version=version, order=order), array)

    def header_flipped(self):
        kinds = ((1, '<', 'sform'), (1, '<', 'qform'), (1, '>', 'sform'), (2, '<', 'sform'), (2, '<', 'qform'))
        for version, order, placed in kinds:
            array = self.values('float32' if version == 2 else 'int16')
            layout = header_type(version, order)
            content = nifti(array, version=version, order=order, placed=placed)
            for name, (dtype, start) in layout.fields.items():
                width = dtype.base.itemsize if dtype.base.kind != 'S' else dtype.itemsize
                every = version == 1 and order == '<' # each byte in some, else one per value
                for at in range(start, start + dtype.itemsize, 1 if every and dtype.base.kind != 'S' else width):
                    where = at if every and dtype.base.kind != 'S' else at + int(self.random.integers(width))
                    damaged = flipped(content, where, self.bit() if self.random.integers(2) else self.byte())
                    packed = self.random.integers(4) == 0
                    self.add(
                        'header flipped',
                        wanted_of_flip(name, (where - start)//width, placed),
                        pack(damaged) if packed else damaged,
                        array,
                        ending='.nii.gz' if packed else '.nii',
                        note=f'NIfTI-{version} {order} {placed}: {name}, byte {where}',
                    )
            for at in range(4):
                self.add(
                    'header flipped', READ, flipped(content, layout.itemsize + at, self.byte()), array,
                    note='an extension is announced but not there'
                )

    def data_flipped(self):
        for dtype in ('uint8', 'int16', 'float32'):
            content = nifti(self.values(dtype))
            for at in self.some(352, len(content), 12):
                self.add('data flipped', AS_NIBABEL, flipped(content, at, self.bit()))
        for start in (352, 1000, 2500): # a bad sector: its bytes are zero
            content = nifti(self.values())
            self.add('data flipped', AS_NIBABEL, content[:start] + bytes(512) + content[start + 512:])

    def packed_flipped(self):
        for dtype in ('uint8', 'int16', 'float32'):
            array = self.values(dtype)
            content = pack(nifti(array))
            for at in range(10):
                self.add(
                    'gzip header flipped',
                    REFUSED_OR_READ,
                    flipped(content, at, self.byte()),
                    array,
                    ending='.nii.gz',
                    note=f'byte {at}',
                )
            for at in (*self.some(10, len(content) - 8, 40), *range(len(content) - 8, len(content))):
                wanted = REFUSED if at >= len(content) - 8 else REFUSED_OR_READ # a spare bit of the last byte means nothing
                self.add(
                    'packed flipped',
                    wanted,
                    flipped(content, at, self.bit()),
                    array,
                    ending='.nii.gz',
                    note=f'byte {at} of {len(content)}',
                )
            for start in self.some(10, len(content) - 600, 3):
                self.add(
                    'packed flipped', REFUSED, content[:start] + bytes(512) + content[start + 512:], ending='.nii.gz',
                    note='a bad sector'
                )

    def cut(self):
        for version in (1, 2):
            content = nifti(self.values(), version=version)
            packed = pack(content)
            for at in (
                0, 1, 4, 200, 347, 348, 349, 351, 352, 353, 540, 544, len(content) - 2, len(content) - 1,
                *self.some(600, len(content) - 9, 12)
            ):
                self.both('cut', REFUSED, content[:at], note=f'at {at}')
            for at in (
                0, 1, 2, 9, 10, 11, 100, *range(len(packed) - 9, len(packed)), *self.some(200, len(packed) - 9, 20)
            ):
                self.add('cut', REFUSED, packed[:at], ending='.nii.gz', note=f'compressed, at {at}')

    def longer(self):
        array = self.values()
        content = nifti(array)
        for more in (b'\0', b'\n', bytes(2), bytes(160), bytes(512), self.random.bytes(77), content):
            self.both('longer', REFUSED, content + more)
            if more.strip(b'\0'):
                self.add('longer', REFUSED, pack(content) + more, ending='.nii.gz')
            else:
                self.add(
                    'longer',
                    READ,
                    pack(content) + more,
                    array,
                    ending='.nii.gz',
                    note='zeros after gzip are filling',
                )
        self.both('longer', REFUSED, content.replace(b'\n', b'\r\n'), note='sent as text')
        self.add(
            'longer', REFUSED, pack(content).replace(b'\n', b'\r\n') + b'\r\n', ending='.nii.gz', note='sent as text'
        )
        self.add('longer', REFUSED, content, size=3*2**30, note='a sparse file of 3 GiB')

    def no_nifti(self):
        content = nifti(self.values())
        for text in (
            b'',
            b'\0',
            b'\n',
            b'not an image',
            b'<!DOCTYPE html><title>404 Not Found</title>'*40,
            b'\x89PNG\r\n\x1a\n' + bytes(900),
            bytes(128) + b'DICM' + bytes(900),
            b'\x93NUMPY\x01\0' + bytes(900),
            bytes(352),
            b'\xff'*4000,
            'é'.encode('utf-16')*400,
            b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n',
            self.random.bytes(5000),
            self.random.bytes(352),
            bytes(content[:4]) + self.random.bytes(4000),
            b'PK\x03\x04' + self.random.bytes(900),
        ):
            self.both('no NIfTI', REFUSED, text)
        for magic in (b'', b'ni1', b'n+2', b'n+3', b'N+1', b'n+1x', b'xn+1'):
            self.both('no NIfTI', REFUSED, nifti(self.values(), magic=magic), note=f'magic {magic}')
        for magic in (b'', b'ni2', b'n+1'):
            self.both('no NIfTI', REFUSED, nifti(self.values(), version=2, magic=magic), note=f'magic {magic}')
        self.add('no NIfTI', REFUSED, b'\x1f\x8b', ending='.nii.gz')
        self.add('no NIfTI', REFUSED, pack(pack(content)), ending='.nii.gz', note='compressed twice')
        self.add('no NIfTI', REFUSED, b'BZh9' + self.random.bytes(900), ending='.nii.gz')
        for order in '<>':
            if order == '<':
                mixed = content[:4][::-1] + content[4:]
            else:
                mixed = nifti(self.values(), order='>')[:40] + content[40:]
            self.both('no NIfTI', REFUSED, mixed, note='mixed orders of bytes')

    def dimensions(self):
        for version in (1, 2):
            top = 32767 if version == 1 else 2**62
            for axis in range(3):
                for length in (0, -1, -SHAPE[axis], SHAPE[axis] - 1, SHAPE[axis] + 1, 2*SHAPE[axis], top):
                    shape = [*SHAPE]
                    shape[axis] = length
                    self.both(
                        'dimensions', REFUSED, nifti(self.values(), version=version, dim=[3, *shape, 1, 1, 1, 1]),
                        note=f'{shape}'
                    )
            for dim in (
                [0, *SHAPE, 1, 1, 1, 1],
                [-1, *SHAPE, 1, 1, 1, 1],
                [8, *SHAPE, 1, 1, 1, 1],
                [top, *SHAPE, 1, 1, 1, 1],
                [1, *SHAPE, 1, 1, 1, 1],
                [2, *SHAPE, 1, 1, 1, 1],
                [4, *SHAPE, 0, 1, 1, 1],
                [4, *SHAPE, 2, 1, 1, 1],
                [4, *SHAPE, -1, 1, 1, 1],
                [7, *SHAPE, top, top, top, top],
                [3, top, top, top, 1, 1, 1, 1],
                [3, 1000, 1000, 1000, 1, 1, 1, 1],
                [3, 1280, 1280, 1280, 1, 1, 1, 1],
                [2, 1680, 1, 1, 1, 1, 1, 1],
                [2, 120, 14, 1, 1, 1, 1, 1],
                [1, 1680, 1, 1, 1, 1, 1, 1],
                [0]*8,
                [-1]*8,
                [3, -1, 1, 1, 1, 1, 1, 1],
            ):
                self.both('dimensions', REFUSED, nifti(self.values(), version=version, dim=dim), note=f'{dim}')
        for offset in (0, 1, 348, 351, 351.5, 352.5, 368, 1e9, 1e30, -352, np.nan, np.inf):
            self.both('dimensions', REFUSED, nifti(self.values(), vox_offset=offset), note=f'voxels from {offset}')
        for offset in (0, 352, 540, 545, 2**40, 2**62, -544):
            self.both(
                'dimensions', REFUSED, nifti(self.values(), version=2, vox_offset=offset), note=f'voxels from {offset}'
            )

    def bombs(self):
        small = self.values()
        zeros = np.zeros(SHAPE, np.uint8)
        self.add(
            'bombs', REFUSED, bomb(3 * 2**30, nifti(small)), ending='.nii.gz',
            note='small, says the header; 3 GiB of zeros follow'
        )
        self.add(
            'bombs', REFUSED, bomb(3 * 2**30, nifti(np.zeros((160, 160, 160), np.uint8))), ending='.nii.gz',
            note='4 MB, says the header; 3 GiB of zeros follow, in 3 MB'
        )
        self.add('bombs', REFUSED, bomb(8 * 2**30), ending='.nii.gz', note='8 GiB of zeros and no header')
        self.add(
            'bombs', REFUSED, pack(nifti(small)) + pack(bytes(2**20))*3000, ending='.nii.gz',
            note='the same in 3000 members'
        )
        self.add(
            'bombs', REFUSED, pack(nifti(small)) + pack(b'')*20000 + pack(b'1'), ending='.nii.gz',
            note='20000 empty members, and one that is not'
        )
        for shape in ((1500, 1500, 900), (32767, 32767, 1), (1024, 1024, 2047)):
            self.both('bombs', REFUSED, nifti(small, dim=[3, *shape, 1, 1, 1, 1]), note=f'{shape}, says the header')
            self.add(
                'bombs', REFUSED, bomb(2**24, whole=True, content=nifti(zeros, dim=[3, *shape, 1, 1, 1, 1])),
                ending='.nii.gz', note=f'{shape}, says the header; 16 MB of it are there'
            )
        self.add('bombs', REFUSED, pack(nifti(small)), size=2**30, ending='.nii.gz', note='1 GiB of filling')

    def too_large(self):
        "Nothing is wrong with these, but the memory doesn't hold them."
        zeros = np.zeros(SHAPE, np.uint8)
        self.add(
            'too large', REFUSED,
            bomb(18 * 2**27, nifti(zeros, dim=[3, 1024, 1024, 2304, 1, 1, 1, 1])[:352], whole=True), ending='.nii.gz',
            note='2.3 GiB of zeros, as the header says'
        )
        self.add(
            'too large', REFUSED, nifti(zeros, dim=[3, 2048, 1024, 1500, 1, 1, 1, 1])[:352], size=2048*1024*1500 + 352,
            note='3 GB of zeros in a sparse file, as the header says'
        )

    def no_file(self):
        makers = {
            'a folder': Path.mkdir,
            'a link to nowhere': lambda path: path.symlink_to('nowhere'),
            'a pipe that nobody writes to': os.mkfifo,
            'nothing': lambda path: None,
        }
        for note, make in makers.items():
            for ending in ('.nii', '.nii.gz'):
                self.add('no file', REFUSED, b'', ending=ending, note=note, make=make)

    def members(self):
        for dtype in ('uint8', 'float32'):
            array = self.values(dtype)
            content = nifti(array)
            halves = pack(content[:1500]), pack(content[1500:])
            self.add('members', READ, b''.join(halves), array, ending='.nii.gz')
            self.add(
                'members',
                READ,
                pack(content[:100]) + pack(content[100:]),
                array,
                ending='.nii.gz',
                note='the header in two members',
            )
            self.add(
                'members',
                READ,
                b''.join(pack(content[n:n + 256]) for n in range(0, len(content), 256)) + pack(b''),
                array,
                ending='.nii.gz',
                note='as bgzip does it',
            )
            self.add('members', READ, pack(b'') + pack(content), array, ending='.nii.gz')
            for damaged in (
                halves[0],
                halves[1],
                halves[1] + halves[0],
                halves[0] + halves[0],
                halves[0] + halves[1][:-1],
                halves[0] + halves[1][:-8],
                halves[0][:-1] + halves[1],
                halves[0] + pack(content[1501:]),
                *(flipped(b''.join(halves), len(halves[0]) - 1 - n, self.bit()) for n in range(8)),
                *(flipped(b''.join(halves), -1 - n + len(b''.join(halves)), self.bit()) for n in range(8)),
                halves[0] + b'xx' + halves[1],
                halves[0] + halves[1] + b'x',
            ):
                self.add('members', REFUSED, damaged, ending='.nii.gz')

    def no_numbers(self):
        for code, bits in NO_NUMBERS.items():
            content = nifti(
                self.values('uint8', (*SHAPE[:2], SHAPE[2]*max(bits//8, 1))), datatype=code, bitpix=bits,
                dim=[3, *SHAPE, 1, 1, 1, 1]
            )
            self.both('no numbers', REFUSED, content, note=f'type {code}')

    def values_as_they_are(self):
        for dtype in ('float32', 'float64'):
            for odd in (np.nan, np.inf, -np.inf, np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal, -0.0):
                array = self.values(dtype)
                array[3:5, 2, 1] = odd
                self.both('values', READ, nifti(array), array, note=f'{odd}')
            for all_of in (0, 7, np.nan):
                self.both(
                    'values', READ, nifti(np.full(SHAPE, all_of, dtype)), np.full(SHAPE, all_of, dtype),
                    note=f'all {all_of}'
                )
        for dtype in ('int8', 'uint16', 'int64', 'uint64'):
            array = self.values(dtype)
            array[0, 0, :2] = np.iinfo(dtype).min, np.iinfo(dtype).max
            self.both('values', READ, nifti(array), array, note='as small and as large as can be')

    def affines(self):
        rows = true_affine()
        array = self.values()
        bad = {
            'zeros': np.zeros((4, 4)),
            'a column twice': rows[:, [0, 0, 2, 3]],
            'almost a column twice': rows[:, [0, 0, 2, 3]] + np.diag([0, 1e-3, 0, 0]),
            'metres': rows*1e-3,
            'micrometres': rows*1e3,
            'a sum of columns': np.stack([rows[:, 0], rows[:, 1], rows[:, 0] + rows[:, 1], rows[:, 3]], 1),
            'huge': rows*1e30,
            'tiny': rows*1e-30,
            'far away': rows + np.diag([0, 0, 0, 1]) + [[0, 0, 0, 1e6]]*4,
        }
        for axis in range(3):
            for value in (0, 1e-5, 1e5):
                bad[f'axis {axis} times {value}'] = rows * np.where(np.arange(4) == axis, value, 1)
            for value in (np.nan, np.inf, -np.inf):
                for column in (axis, 3):
                    bad[f'{value} in row {axis}, column {column}'] = rows.copy()
                    bad[f'{value} in row {axis}, column {column}'][axis, column] = value
        for note, affine in bad.items():
            for version in (1, 2):
                self.both(
                    'affines', REFUSED, nifti(array, version=version, affine=affine.astype(np.float32)), note=note
                )
        changes = {
            'sheared': [[1, 0.4, 0], [0, 1, 0], [0, 0, 1]],
            'mirrored': np.diag([-1, 1, 1]),
            'flat voxels': np.diag([1, 1, 20]),
            'fine': np.diag([0.05]*3),
            'swapped': np.eye(3)[[2, 0, 1]],
        }
        for note, change in changes.items():
            affine = (rows @ nib.affines.from_matvec(change)).astype(np.float32).astype(float)
            self.both('affines', READ, nifti(array, affine=affine), array, affine=affine, note=note)
        changes = [dict(quatern_b=v) for v in (1.5, -7, np.nan, np.inf, 1e30)]
        changes += [dict(qoffset_y=v) for v in (np.nan, np.inf, 1e8)]
        changes += [dict(pixdim=[q, *SPACING, 1, 0, 0, 0]) for q in (7, -2, 0.5, np.nan, np.inf)]
        for v in (0, -1, -1e-9, 1e-5, 1e5, np.nan, np.inf, -np.inf):
            changes.append(dict(pixdim=[-1, 1, v, 1, 1, 0, 0, 0]))
        for change in changes:
            for version in (1, 2):
                self.both('affines', REFUSED, nifti(array, version=version, placed='qform', **change), note=f'{change}')

    def units_and_codes(self):
        array = self.values()
        for units in (0, 2, 8, 10, 18, 26, 56):
            self.both('units', READ, nifti(array, xyzt_units=units), array, note=f'{units}')
        for units in (1, 3, 4, 5, 6, 7, 9, 11, 17):
            self.both('units', REFUSED, nifti(array, xyzt_units=units), note=f'{units}')
        for sform, qform in ((0, 0), (-1, 1), (6, 1), (255, 0), (0, 6), (0, -1), (0, 300), (300, 300)):
            self.both('codes', REFUSED, nifti(array, sform_code=sform, qform_code=qform), note=f'{sform} {qform}')
        for sform, qform in ((1, 0), (2, 1), (3, 99), (4, 4), (5, -1)):
            self.both('codes', READ, nifti(array, sform_code=sform, qform_code=qform), array, note=f'{sform} {qform}')
        for qform in range(1, 6):
            self.both('codes', READ, nifti(array, placed='qform', qform_code=qform), array, note=f'qform {qform}')

    def scaling(self):
        for dtype in ('uint8', 'int16', 'float32'):
            array = self.values(dtype)
            for slope, intercept in ((1, 0), (0, 0), (0, 5), (np.nan, 0), (np.nan, np.nan)):
                self.both(
                    'scaling', READ, nifti(array, scl_slope=slope, scl_inter=intercept), array,
                    note=f'{slope} {intercept}'
                )
            for slope, intercept in ((2, 0), (0.5, -1024), (-1, 0), (1, 10), (1e-3, 0), (1, -0.25)):
                self.both(
                    'scaling', READ, nifti(array, scl_slope=slope, scl_inter=intercept),
                    array*np.float64(np.float32(slope)) + (intercept or -0.0), note=f'{slope} {intercept}'
                )
            for slope, intercept in ((np.inf, 0), (-np.inf, 0), (1, np.nan), (1, np.inf), (2, -np.inf)):
                for version in (1, 2):
                    self.both(
                        'scaling', REFUSED, nifti(array, version=version, scl_slope=slope, scl_inter=intercept),
                        note=f'{slope} {intercept}'
                    )
            for slope, intercept in ((1e38, 0), (1e-45, 0), (1, 1e38)):
                self.both(
                    'scaling', AS_NIBABEL, nifti(array, scl_slope=slope, scl_inter=intercept),
                    note=f'{slope} {intercept}'
                )
            for slope, intercept in ((1e308, 0), (1.7e308, 1.7e308), (5e-324, 0)):
                self.both(
                    'scaling', AS_NIBABEL, nifti(array, version=2, scl_slope=slope, scl_inter=intercept),
                    note=f'{slope} {intercept}'
                )

    def extensions(self):
        array = self.values()
        for good in (
            extension(16),
            extension(32, b'a comment'),
            extension(64, self.random.bytes(56), 2),
            extension(16) + extension(4000, self.random.bytes(3992), 99),
        ):
            self.both('extensions', READ, nifti(array, extension=good), array)
        for size in (0, -16, 8, 15, 17, 4096, 2**31 - 1, -2**31):
            self.both(
                'extensions', READ, nifti(array, extension=struct.pack('<ii', size, 6) + bytes(24)), array,
                note=f'one that says it has {size} bytes'
            )
            self.both(
                'extensions', REFUSED, nifti(array, extension=struct.pack('<ii', size, 6) + bytes(24), vox_offset=352),
                note='the voxels are said to begin where it does'
            )
        for offset in (352 + 16, 352 + 48, 352 + 33):
            self.both(
                'extensions', REFUSED, nifti(array, extension=extension(32), vox_offset=offset),
                note=f'the voxels are said to begin at {offset}'
            )

MAKERS = (
    Maker.sound, Maker.four_axes, Maker.header_flipped, Maker.data_flipped, Maker.packed_flipped, Maker.cut,
    Maker.longer, Maker.no_nifti, Maker.dimensions, Maker.bombs, Maker.members, Maker.no_numbers,
    Maker.values_as_they_are, Maker.affines, Maker.units_and_codes, Maker.scaling, Maker.extensions, Maker.no_file,
    *([Maker.too_large] if LIMITED else [])
)

def make_files(folder, seed):
    "All of the files, in one folder and named like the FLAIR of a case each."
    maker = Maker(seed)
    for make in MAKERS:
        make(maker)
    for n, file in enumerate(maker.files):
        file.path = folder/f"{file.category.replace(' ', '-')}-{n:04d}_flair{file.ending}"
        if file.make:
            file.make(file.path)
        else:
            file.path.write_bytes(file.content)
        if file.size:
            os.truncate(file.path, file.size)
    return maker.files

# Reading them, in a process of its own: this file as a program

def digest(array):
    native = array.dtype.newbyteorder('=')
    content = array.astype(native).tobytes('F')
    return f'{array.shape} {native} {hashlib.sha256(content).hexdigest()}'

def limit_memory():
    "No more than MEMORY beyond what is in use now."
    import resource
    if LIMITED:
        used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))

def outcome_of(read, path):
    try:
        volumes = read(path)
    except Exception as error:
        return dict(refused=str(error), by=type(error).__name__)
    return dict(arrays=[digest(v.array) for v in volumes], affine=volumes[0].affine.tolist())

def read_all(folder):
    from mriseg.volumes.nifti import read_channels, read_volume
    limit_memory()
    for name in json.loads((folder/'names.json').read_text()):
        volume = outcome_of(lambda path: [read_volume(path)], folder/name)
        channels = outcome_of(read_channels, folder/name)
        print(json.dumps(dict(name=name, volume=volume, channels=channels)), flush=True)

def check_all(folder):
    from mriseg.cases.find import find_cases
    from mriseg.cases.check import check_cases
    limit_memory()
    cases = find_cases(folder)
    report = check_cases(cases)
    flairs = {case.case_id: str(case.sequences['flair']) for case in cases}
    faults = [(fault.case_id, fault.kind, str(fault), fault.must_mend) for fault in report.faults]
    print(json.dumps(dict(cases=flairs, text=str(report), faults=faults)))

def in_a_child(task, folder):
    "What a task printed on its lines, and not a word beside."
    quiet = {**os.environ, 'TQDM_DISABLE': '1', 'OMP_NUM_THREADS': '1', 'MALLOC_ARENA_MAX': '1', 'MPLBACKEND': 'agg'}
    lines = folder.parent/f'{task}.txt'
    with lines.open('w') as out:
        try:
            done = subprocess.run(
                [sys.executable, __file__, task, str(folder)],
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                env=quiet,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            pytest.fail(f'{task} hangs; the last it said is {lines.read_text()[-300:]}')
    last = f'the last it said is {lines.read_text()[-300:]}'
    assert done.returncode == 0, f'{task} ended with {done.returncode}: {done.stderr[-3000:]}; {last}'
    assert done.stderr == '', done.stderr[-3000:]
    return [json.loads(line) for line in lines.read_text().splitlines()]

# Judging

def is_a_sentence(message, path):
    "Whether a refusal says which file, what is wrong and what to do, in words and on one line."
    if str(path) not in message or '\n' in message or len(message) >= 600:
        return False
    if re.search(r'Traceback|\w+(Error|Exception|Warning)\b|<class|None|0x', message.replace(str(path), '')):
        return False
    advice = message.rpartition('; ')[2].split()
    return len(advice) >= 3 and '; ' in message or message == f'there is no file {path}'

HARMLESS = ('bitpix does not match datatype', 'vox offset', 'EOL check all 0')
HARMLESS_BESIDE_AN_SFORM = ('qform_code', 'pixdim[0] (qfac)', 'pixdim[1,2,3]')

def as_nibabel_reads(content):
    "What nibabel makes of a file, and what it has to repair for it; the extensions are left out."
    if content[:2] == b'\x1f\x8b':
        content = gzip.decompress(content)
    kind = nib.Nifti2Image if b'n+2' in content[:8] else nib.Nifti1Image
    length = kind.header_class.sizeof_hdr
    with np.errstate(all='ignore'):
        repaired = kind.header_class.diagnose_binaryblock(content[:length])
        image = kind.from_bytes(content[:length] + bytes(4) + content[length + 4:])
        array = np.asanyarray(image.dataobj)
    harmless = HARMLESS
    if image.header['sform_code']:
        harmless += HARMLESS_BESIDE_AN_SFORM
    elif kind.header_class(content[:length], check=False)['pixdim'][0] == 0:
        harmless += ('pixdim[0] (qfac)',)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return array, image.affine, [line for line in repaired.splitlines() if not line.startswith(harmless)]

def apart(array):
    return [array] if array.ndim == 3 else [array[..., n] for n in range(array.shape[3])]

REASONS = { # for which something of a category may be refused
    'cut': 'does not begin as one|promises|breaks off',
    'longer': 'promises .* but (it|even)|is damaged|mark of NIfTI',
    'no NIfTI': 'does not begin|mark of NIfTI|of a pair|breaks off|dimensions|is damaged',
    'dimensions': 'dimensions|promises|voxels begin|has the shape',
    'bombs': 'promises|does not begin as one',
    'too large': 'needs more memory',
    'members': 'is damaged|breaks off|promises|does not begin as one',
    'no numbers': 'holds values of the type',
    'affines': 'affine|qform|has voxels of',
    'units': 'gives lengths in',
    'codes': 'does not say how it lies|form code is',
    'scaling': 'its scale factors are',
    'extensions': 'promises',
    'no file': 'there is no file',
    'four axes': 'has the shape',
}

def fault_of_refusal(file, outcome):
    if outcome['by'] != ('FileNotFoundError' if file.make else 'ValueError'):
        return f"{outcome['by']} was raised: {outcome['refused']}"
    if not re.search(REASONS.get(file.category, ''), outcome['refused'].replace(str(file.path), '')):
        return f"this is not the reason: {outcome['refused']}"
    if not is_a_sentence(outcome['refused'], file.path):
        return f"this is no good sentence: {outcome['refused']}"

def fault_of_reading(file, outcome):
    digests = outcome['arrays']
    affine = np.array(outcome['affine'])
    array, placed, repaired = as_nibabel_reads(file.content)
    if digests != [digest(one) for one in apart(array)] or not np.array_equal(affine, placed):
        return 'it was read otherwise than by nibabel'
    if repaired:
        return f'it was read, though nibabel had to repair: {repaired}'
    if file.wanted != AS_NIBABEL:
        if digests != [digest(one) for one in apart(file.array)]:
            return 'the values are not those that were put in'
        if not np.allclose(affine, file.affine, rtol=1e-5, atol=1e-4):
            return f'the affine is not the one that was put in:\n{affine}'

def fault(file, outcome):
    "What is wrong with what became of a file; nothing if all is well."
    whole, single = outcome['channels'], outcome['volume']
    if 'refused' in whole:
        if single != whole:
            return 'read_volume and read_channels disagree'
        return 'it was refused: ' + whole['refused'] if file.wanted == READ else fault_of_refusal(file, whole)
    if file.wanted == REFUSED:
        return 'it was read'
    if len(whole['arrays']) > 1:
        if 'split it into one file per image' not in single.get('refused', ''):
            return 'read_volume took one of several'
        return fault_of_refusal(file, single) or fault_of_reading(file, whole)
    return 'read_volume and read_channels disagree' if single != whole else fault_of_reading(file, whole)

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('damaged')/'files'
    folder.mkdir()
    return make_files(folder, SEED)

@pytest.fixture(scope='module')
def outcomes(files):
    folder = files[0].path.parent
    (folder/'names.json').write_text(json.dumps([file.path.name for file in files]))
    return {outcome['name']: outcome for outcome in in_a_child('read_all', folder)}

COUNTS = {
    'sound': 105, 'four axes': 12, 'header flipped': 618, 'data flipped': 39, 'gzip header flipped': 30,
    'packed flipped': 153, 'cut': 176, 'longer': 25, 'no NIfTI': 59, 'dimensions': 198, 'bombs': 15, 'members': 60,
    'no numbers': 24, 'values': 44, 'affines': 238, 'units': 32, 'codes': 36, 'scaling': 162, 'extensions': 46,
    'no file': 8
}
if LIMITED:
    COUNTS['too large'] = 2

def test_all_files_are_there(files, outcomes):
    "The generator makes what it always made, and each file was read or refused."
    assert Counter(file.category for file in files) == COUNTS
    assert list(outcomes) == [file.path.name for file in files]

@pytest.mark.parametrize('category', COUNTS)
def test_refused_or_read_correctly(files, outcomes, category):
    judged = {file: fault(file, outcomes[file.path.name]) for file in files if file.category == category}
    complaints = [
        f'{file.path.name} ({file.note}; wanted is {file.wanted}): {wrong}'
        for file, wrong in judged.items()
        if wrong
    ]
    assert not complaints, '\n'.join(complaints)

def is_no_image(array):
    "Whether a network could learn nothing from these values: they are all the same, or float32 can't hold them."
    return not (np.abs(array) <= np.finfo(np.float32).max).all() or array.min() == array.max()

def test_a_whole_data_set_of_them(files, outcomes):
    """All files as cases: each is found, and each that can't be read, or holds no image, is listed with its name.

    Nothing else is called unreadable."""
    folder = files[0].path.parent
    for file in files:
        if file.category == 'too large':
            file.path.unlink() # read at the same time as others, it would leave them no memory
    there = [file for file in files if file.path.is_file()]
    [report] = in_a_child('check_all', folder)
    assert {str(file.path) for file in there} <= set(report['cases'].values())
    listed = {case_id: [] for case_id in report['cases']}
    for fault in report['faults']:
        if fault[0] in listed:
            listed[fault[0]].append(fault)
    for file in there:
        case_id = file.path.name.removesuffix(f'_flair{file.ending}')
        volume = outcomes[file.path.name]['volume']
        must_mend = [(kind, text) for _, kind, text, must_mend in listed[case_id] if must_mend]
        if 'refused' in volume or file.wanted == READ and is_no_image(file.array):
            assert any(str(file.path) in text for _, text in must_mend), f'{file.path.name} ({file.note}) is not listed'
        if 'refused' not in volume:
            assert 'unreadable' not in dict(must_mend), f'{file.path.name} ({file.note}): {must_mend}'
        for _, _, text, _ in listed[case_id]:
            assert not re.search('Traceback|<class|0x', text.replace(str(file.path), '')), text
        assert case_id in report['text'] or not listed[case_id]

if __name__ == '__main__':
    {'read_all': read_all, 'check_all': check_all}[sys.argv[1]](Path(sys.argv[2]))
