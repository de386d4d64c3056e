"""From the files through cache and network and back, a marker stays where it is in the patient.

SimpleITK, which no one here wrote, is the judge."""
import itertools
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from mriseg.cases.cache import build_cache
from mriseg.cases.case import Case, read_case
from mriseg.networks.model import Model
from mriseg.training.dataset import SliceDataset
from mriseg.cases.find import find_cases
from mriseg.prediction.predict import predict_case, write_masks
from mriseg.networks.segnet import SegNet, preset_config

MIDDLE = np.array([4., -7, 12])
HALF_AXES = np.array([26., 31, 29])   # of a small head, mm in RAS
BALLS = np.array([[11., 6, 3], [-5, -4, 24]]), np.array([9., 6])   # the marker: centres and radii in mm, off all midplanes, no two axes alike
MILLILITRES = 4/3*np.pi*BALLS[1]**3/1000
SEQUENCES = ('flair',)
STRUCTURES = dict(marker=(1, 2))
CODES = [
    ''.join(code)
    for axes in itertools.permutations(('RL', 'AP', 'SI'))
    for code in itertools.product(*axes)
]
SPACINGS = dict(isotropic=(1.25, 1.25, 1.25), thick=(0.47, 0.47, 8), unequal=(2.5, 1.25, 3))   # mm along the stored axes, wherever they lead
TARGETS = dict(isotropic=(1.25, 1.25), thick=(1.25, 1), unequal=(1, 1.25))   # mm along H and W in cache and network: the first stay as they are, the others are resampled

def axes_of(code):
    return np.stack([dict(zip('RASLPI', np.vstack([np.eye(3), -np.eye(3)])))[letter] for letter in code], axis=1)

def write_head(folder, name, axes, spacing, rng, sform=True):
    "Write a head that is 100 and its marker, 300, as nibabel would: `axes` are the directions of I, J and K."
    reach = np.sqrt((HALF_AXES[:, None]**2*axes**2).sum(0)) + 2
    shape = np.round(2*reach/spacing).astype(int)
    steps = axes*spacing
    affine = np.eye(4)
    affine[:3, :3] = steps
    affine[:3, 3] = MIDDLE + steps@(rng.uniform(-0.5, 0.5, 3) - (shape - 1)/2)   # never twice on the same raster
    places = np.moveaxis(np.indices(shape), 0, -1)@steps.T + affine[:3, 3]
    label = np.zeros(shape, np.uint8)
    for value, centre, radius in zip((1, 2), *BALLS):
        label[((places - centre)**2).sum(-1) < radius**2] = value
    head = (((places - MIDDLE)/HALF_AXES)**2).sum(-1) < 1
    for part, array in dict(flair=np.where(label, 300, 100*head).astype(np.int16), seg=label).items():
        image = nib.Nifti1Image(array, affine)
        image.set_sform(affine if sform else np.eye(4), 1 if sform else 0)   # what has the code 0 says nothing
        image.set_qform(affine, 0 if sform else 1)
        nib.save(image, folder/f'{name}_{part}.nii')

SHARE = MILLILITRES.sum()*1000/(4/3*np.pi*HALF_AXES.prod())   # of the head's voxels are marker, which makes its z-score √((1 - share)/share)
HALFWAY = (np.sqrt((1 - SHARE)/SHARE) - np.sqrt(SHARE/(1 - SHARE)))/2   # between the z-scores of head and marker

class MarksBright(torch.nn.Module):
    "Stands in for a network that has learned the task perfectly."
    config = SimpleNamespace(input_channels=1, output_channels=1)

    def forward(self, images):
        return 8*(images - float(HALFWAY))

def predicted(case, folder, spacing, network=MarksBright()):
    model = Model(network, SEQUENCES, STRUCTURES, spacing=spacing)
    return write_masks(predict_case(model, case, device=torch.device('cpu')), folder)[0]

def balls_in(image, above=0): # centres (2, 3) in RAS mm, volumes (2,) in mL
    "Where SimpleITK sees the two balls of a bright marker, the larger one first."
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(image > above))
    found = sitk.LabelShapeStatisticsImageFilter()
    found.Execute(parts)
    assert found.GetLabels() == (1, 2)
    centres = np.array([found.GetCentroid(n) for n in (1, 2)])
    volumes = np.array([found.GetPhysicalSize(n) for n in (1, 2)])
    return centres*(-1, -1, 1), volumes/1000

def grid_of(image):
    return np.array([*image.GetSize(), *image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()])

def assert_at_the_marker(balls, label, case_id):
    "Each ball lies where the label and the truth have it, and the marker is as large."
    centres, volumes = balls
    label_centres, label_volumes = balls_in(label)
    voxel = np.abs(np.reshape(label.GetDirection(), (3, 3)))@label.GetSpacing()   # mm along R, A and S
    # What the way there and back may add: a fifth of a pixel of 1.25 mm, as errors of the outline all round a ball
    # nearly cancel, and a fiftieth of a voxel, for thick slices that stand upright are drawn by interpolation.
    added = 0.2*1.25 + 0.02*voxel
    assert (abs(centres - label_centres) <= added).all(), (case_id, centres - label_centres)
    # What the raster of the files does before that: of slices 8 mm apart a single one may meet the ball of 6 mm, and it
    # can lie up to 2 mm off its middle. That is a quarter of a voxel; smaller voxels do much less.
    assert (abs(centres - BALLS[0]) <= added + 0.25*voxel).all(), (case_id, centres - BALLS[0])
    # Two to four slices of 8 mm meet the marker, which makes its volume uncertain by a sixth, 3 mm by a twelfth,
    # 1.25 mm by a twentieth.
    uncertain = 0.02 + 0.02*max(label.GetSpacing())
    assert abs(volumes.sum()/MILLILITRES.sum() - 1) <= uncertain, (case_id, volumes, MILLILITRES)
    assert abs(volumes.sum()/label_volumes.sum() - 1) <= 0.08, (case_id, volumes, label_volumes)

@pytest.fixture(scope='module', params=SPACINGS)
def heads(request, tmp_path_factory):
    "The same head in 48 orientations and in some oblique ones, some given by their qform, and the cache made of it."
    folder = tmp_path_factory.mktemp(request.param)
    rng = np.random.default_rng(0)
    for code in CODES:
        write_head(folder, code, axes_of(code), SPACINGS[request.param], rng)
    for n, code in enumerate(rng.choice(CODES, 6)):
        tilt = Rotation.from_euler('xyz', rng.uniform(10, 25, 3)*rng.choice([-1, 1], 3), degrees=True).as_matrix()
        write_head(folder, f'oblique{n}-{code}', tilt@axes_of(code), SPACINGS[request.param], rng, sform=n % 2)
    cases = find_cases(folder)
    assert len(cases) == 48 + 6
    return list(zip(cases, build_cache(cases, SEQUENCES, STRUCTURES, folder/'cache', spacing=TARGETS[request.param])))

def test_the_written_mask_lies_on_the_marker_and_on_the_grid_of_the_image(heads, tmp_path):
    for case, cached in heads:
        mask, image, label = (
            sitk.ReadImage(path)
            for path in (predicted(case, tmp_path, cached.placement.spacing), case.sequences['flair'], case.label)
        )
        np.testing.assert_allclose(grid_of(mask), grid_of(image), atol=1e-4, err_msg=case.case_id)
        assert_at_the_marker(balls_in(mask), label, case.case_id)
        for ours, theirs in zip(balls_in(image, above=200), balls_in(label)):
            np.testing.assert_array_equal(ours, theirs)   # or the test would be wrong

def test_a_cached_mask_returns_to_its_label(heads, tmp_path):
    for case, cached in heads:
        label = sitk.ReadImage(case.label)
        back = cached.placement.restore(cached.masks[:, 0])
        image = sitk.GetImageFromArray(back.array.T.astype(np.uint8))   # SimpleITK counts axes from the last
        image.CopyInformation(label)
        assert_at_the_marker(balls_in(image), label, case.case_id)
        np.testing.assert_allclose(back.affine, nib.load(case.label).affine, atol=1e-4)
        if cached.placement.step == (1, 1):
            np.testing.assert_array_equal(back.array, nib.load(case.label).get_fdata() > 0)   # not resampled, so exactly

def slices_in_the_patient(stack, cached, size, case): # an image of SimpleITK
    "A stack of slices (K, H, W) as the network gets them, with each pixel where it lies in the patient."
    upright = nib.as_closest_canonical(nib.load(case.label)).affine
    step = np.array(cached.placement.spacing)/np.linalg.norm(upright[:3, :2], axis=0)   # in the case's own voxels
    corner = np.array(cached.placement.corner) - (np.array(size) - cached.placement.size)//2
    right, front = upright[:3, 0]*step[0], upright[:3, 1]*step[1]
    first = upright@[*((corner + 0.5)*step - 0.5), 0, 1]   # pixels are counted from the edge of the volume
    columns = np.stack([front, right, upright[:3, 2]], axis=1)
    flip = np.array([-1, -1, 1])   # W, H, K
    image = sitk.GetImageFromArray(np.ascontiguousarray(stack))
    spacing = np.linalg.norm(columns, axis=0)
    image.SetSpacing(spacing)
    image.SetOrigin(first[:3]*flip)
    image.SetDirection((flip[:, None]*columns/spacing).ravel())
    return image

def test_what_the_network_gets_lies_on_the_marker(heads):
    for case, cached in heads:
        slices = SliceDataset([cached], size=(96, 128))
        images, masks = slices[range(len(slices))]
        for stack in (images[:, 0] > HALFWAY, masks[:, 0] > 0):
            placed = slices_in_the_patient(stack.numpy().astype(np.uint8), cached, slices.size, case)
            assert_at_the_marker(balls_in(placed), sitk.ReadImage(case.label), case.case_id)

@pytest.mark.parametrize('shape', [(31, 40, 24), (512, 512, 16)])
def test_a_volume_of_any_size(shape, tmp_path):
    write_head(tmp_path, 'sized', axes_of('LPS'), 2*(HALF_AXES + 2)/shape, np.random.default_rng(0))
    case, = find_cases(tmp_path)
    image, label = (sitk.ReadImage(path) for path in (case.sequences['flair'], case.label))
    assert image.GetSize() == shape
    marked = sitk.ReadImage(predicted(case, tmp_path/'marked', (1.25, 1.25)))
    assert_at_the_marker(balls_in(marked), label, case.case_id)
    untrained = SegNet(preset_config('small', input_channels=1, output_channels=1))
    for spacing in (None, (1.25, 1.25)):
        mask = sitk.ReadImage(predicted(case, tmp_path/'untrained', spacing, untrained))
        np.testing.assert_allclose(grid_of(mask), grid_of(image), atol=1e-4)

# Two forms in one header: a mask has those of its image, so no viewer sees it elsewhere, whichever of the two it reads

TILTED = np.eye(4)
TILTED[:3, :3] = Rotation.from_euler('xyz', (8, -5, 12), degrees=True).as_matrix() @ np.diag([-1.25, -1, 2])
TILTED[:3, 3] = 15, 9, -7
APART = dict(agree=np.eye(4), shift=np.eye(4), turn=np.eye(4))   # what takes the sform to the qform, in mm
APART['shift'][:3, 3] = 7, -4, 3
APART['turn'][:3, :3] = Rotation.from_euler('z', 20, degrees=True).as_matrix()
# All pairs of the codes 0 (not filled in) to 4 (MNI) but 0 and 0, which is refused: such a file doesn't say where left
# is. SimpleITK reads all of these. What it can't read has tests of its own below: sheared sforms without a qform, and
# NIfTI-2.
CODE_PAIRS = [pair for pair in itertools.product(range(5), repeat=2) if any(pair)]
FORM_FIELDS = ('sform_code', 'srow_x', 'srow_y', 'srow_z', 'qform_code',
               'quatern_b', 'quatern_c', 'quatern_d', 'qoffset_x', 'qoffset_y', 'qoffset_z')

def small_scan():
    "A head of 12×14×10 voxels that is 100, with a marker of 300 in it."
    scan = np.zeros((12, 14, 10), np.int16)
    scan[1:11, 1:13, 1:9] = 100
    scan[6:10, 3:8, 2:4] = 300
    return scan

def write_scan(path, sform, sform_code, qform, qform_code, kind=nib.Nifti1Image, order='<'):
    "Write the small scan with these two forms, as nibabel does."
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16), header.set_data_shape(small_scan().shape)
    header.set_sform(sform, sform_code), header.set_qform(qform, qform_code)
    nib.save(kind(small_scan(), header.get_best_affine(), header), path)
    return path

class SeesTheLast(torch.nn.Module):
    "Marks what is bright on the last sequence: a right mask shows that it was turned onto the grid of the first."
    def __init__(self, sequences):
        super().__init__()
        self.config = SimpleNamespace(input_channels=sequences, output_channels=1)
        self.last = MarksBright()

    def forward(self, images):
        return self.last(images[:, -1:])

def mask_of(folder, **paths): # the mask's path; `paths` by sequence
    case = Case('scan', paths)
    model = Model(SeesTheLast(len(paths)), tuple(paths), STRUCTURES)
    return write_masks(predict_case(model, case, device=torch.device('cpu')), folder)[0]

def assert_same_forms(mask, image, exactly=True):
    "nibabel finds the same affines and codes in both headers, and no field of them differs."
    mask = nib.load(mask)
    image = nib.load(image)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), small_scan() == 300)
    assert mask.header.get_xyzt_units()[0] == 'mm'
    for form in ('get_sform', 'get_qform'):
        (ours, our_code), (theirs, their_code) = (getattr(one, form)(coded=True) for one in (mask, image))
        assert our_code == their_code
        if our_code:
            np.testing.assert_allclose(ours, theirs, atol=0 if exactly else 1e-5, rtol=0)
    for field in FORM_FIELDS:
        theirs = image.header[field].astype(mask.header[field].dtype)
        np.testing.assert_array_equal(mask.header[field], theirs, err_msg=field)
    np.testing.assert_array_equal(mask.header['pixdim'][:4], image.header['pixdim'][:4].astype(np.float32))

@pytest.mark.parametrize('apart', APART)
@pytest.mark.parametrize('codes', CODE_PAIRS, ids=str)
def test_mask_and_image_lie_at_one_place_in_every_viewer(codes, apart, tmp_path):
    path = write_scan(tmp_path/'flair.nii', TILTED, codes[0], APART[apart] @ TILTED, codes[1])
    mask = mask_of(tmp_path, flair=path)
    np.testing.assert_array_equal(grid_of(sitk.ReadImage(mask)), grid_of(sitk.ReadImage(path)))
    assert_same_forms(mask, path)

@pytest.mark.parametrize('kind, order', [(nib.Nifti1Image, '>'), (nib.Nifti2Image, '<'), (nib.Nifti2Image, '>')])
def test_forms_of_other_versions_and_orders_of_bytes(kind, order, tmp_path):
    forms = TILTED, 2, APART['turn'] @ TILTED, 1
    path = write_scan(tmp_path/'flair.nii', *forms, kind, order)
    mask = mask_of(tmp_path, flair=path)
    assert_same_forms(mask, path, exactly=kind is nib.Nifti1Image)   # NIfTI-2 has float64, and the mask float32
    # ITK doesn't read NIfTI-2 (it knows no such header), so it is shown the same image as NIfTI-1.
    seen = path if kind is nib.Nifti1Image else write_scan(tmp_path/'again.nii', *forms)
    np.testing.assert_array_equal(grid_of(sitk.ReadImage(mask)), grid_of(sitk.ReadImage(seen)))

@pytest.mark.parametrize('codes', [(1, 0), (2, 0), (1, 1), (2, 1), (4, 1)])
def test_a_sheared_sform(codes, tmp_path):
    sheared = TILTED @ nib.affines.from_matvec([[1, 0.2, 0], [0, 1, 0], [0, 0, 1]])
    path = write_scan(tmp_path/'flair.nii', sheared, codes[0], TILTED, codes[1])
    mask = mask_of(tmp_path, flair=path)
    assert_same_forms(mask, path)
    np.testing.assert_allclose(nib.load(mask).affine, sheared, atol=1e-5)
    if codes[1]:
        np.testing.assert_array_equal(grid_of(sitk.ReadImage(mask)), grid_of(sitk.ReadImage(path)))   # ITK takes the qform
    for file in (mask, path) if not codes[1] else ():   # ITK knows only axes at right angles, so it can't read these two
        with pytest.raises(RuntimeError, match='orthonormal'):
            sitk.ReadImage(file)

@pytest.mark.parametrize('unfilled, change', [
    ('sform_code', dict(srow_x=[7, 0, np.nan, 1], srow_y=9)),
    ('qform_code', dict(quatern_b=3, quatern_c=np.inf, qoffset_x=1e20))])
def test_a_form_that_is_not_filled_in_may_hold_anything(unfilled, change, tmp_path):
    path = write_scan(tmp_path/'flair.nii', TILTED, 4, TILTED, 4)
    content = bytearray(path.read_bytes())
    header = np.ndarray((), nib.nifti1.header_dtype, content)
    for field, value in (change | {unfilled: 0}).items():
        header[field] = value
    path.write_bytes(content)
    mask = mask_of(tmp_path, flair=path)
    ours = nib.load(mask)
    theirs = nib.load(path)
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    for code in ('sform_code', 'qform_code'):
        assert ours.header[code] == theirs.header[code]
    np.testing.assert_array_equal(grid_of(sitk.ReadImage(mask)), grid_of(sitk.ReadImage(path)))

@pytest.mark.parametrize('code', ['RAS', 'LPS', 'PIR', 'SLA'])
def test_a_sequence_stored_in_another_orientation(code, tmp_path):
    "SimpleITK turns the second sequence; the mask lies on the first, and its forms are those of the first."
    first = write_scan(tmp_path/'t1.nii', TILTED, 4, APART['shift'] @ TILTED, 1)
    straight = sitk.ReadImage(write_scan(tmp_path/'straight.nii', TILTED, 1, TILTED, 1))   # by its sform, as we read the first
    sitk.WriteImage(sitk.DICOMOrient(straight, code), tmp_path/'turned.nii')
    assert ''.join(nib.aff2axcodes(nib.load(tmp_path/'turned.nii').affine)) == code
    mask = mask_of(tmp_path, t1=first, flair=tmp_path/'turned.nii')
    np.testing.assert_array_equal(grid_of(sitk.ReadImage(mask)), grid_of(sitk.ReadImage(first)))
    assert_same_forms(mask, first)

def test_what_is_said_of_forms_that_differ(tmp_path):
    agree = write_scan(tmp_path/'agree.nii', TILTED, 1, TILTED, 1)
    beside = write_scan(tmp_path/'beside.nii', TILTED, 1, APART['shift'] @ TILTED, 1)
    alone = write_scan(tmp_path/'alone.nii', TILTED, 1, APART['shift'] @ TILTED, 0)
    hair = TILTED.copy()
    hair[0, 3] += 0.09   # less than a tenth of the smallest spacing, which is 1 mm
    almost = write_scan(tmp_path/'almost.nii', TILTED, 1, hair, 1)

    def notes(**paths):
        return read_case(Case('scan', paths), tuple(paths)).notes

    for harmless in (dict(t1=agree), dict(t1=agree, flair=alone), dict(t1=almost, flair=agree)):
        assert notes(**harmless) == ()
    assert notes(t1=beside)[0].startswith('sform and qform of t1 lie 8.60 mm apart (')
    assert notes(t1=beside, flair=beside)[0].startswith('sform and qform of t1, flair lie 8.60 mm apart (')
    ahead = 'lie 8.60 mm apart, and by the qform flair would lie 8.60 mm beside t1 ('
    for other in (agree, alone):
        assert notes(t1=other, flair=beside)[0].startswith(f'sform and qform of flair {ahead}')
        assert notes(t1=beside, flair=other)[0].startswith(f'sform and qform of t1 {ahead}')
