"""A folder of a hundred cases: ten are broken, and the computer is switched off in the middle.

Still nothing is lost, done twice or half-written."""
import csv, json, os, shutil, signal, subprocess, sysconfig, time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from mriseg.networks.model import Model, save_model
from mriseg.volumes.phantom import write_phantoms
from mriseg.networks.segnet import SegNet, SegNetConfig
from mriseg.prediction.folder import read_report

PROGRAM = Path(sysconfig.get_path('scripts'))/'mriseg'
COUNT = 100
ENVIRONMENT = {**os.environ, 'TQDM_DISABLE': '1', 'OMP_NUM_THREADS': '1'}

def rewrite(path, change):
    image = nib.load(path)
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)).astype(np.float32), image.affine), path)

def shorten(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size//2])

def rewritten(change):
    return lambda path: rewrite(path, change)

def half_nan(array):
    return np.where(np.arange(array.shape[0])[:, None, None] % 2, np.nan, array)

BREAKS = dict(
    shortened=shorten,
    removed=Path.unlink,
    emptied=lambda path: path.write_bytes(b''),
    text=lambda path: path.write_text('not an image'),
    other_shape=rewritten(lambda a: a[:-1]),
    not_numbers=rewritten(half_nan),
    constant=rewritten(lambda a: 0*a),
    channels=rewritten(lambda a: np.stack([a, a], axis=-1)),
    flat=rewritten(lambda a: a[:, :, 0]),
    damaged=lambda path: path.write_bytes(path.read_bytes()[:-6] + b'abcdef'),
)

@pytest.fixture(scope='module')
def cases(tmp_path_factory): # the folder, and the names of the broken ones
    folder = write_phantoms(tmp_path_factory.mktemp('many')/'data', COUNT, seed=3, shape=(32, 40, 10))
    names = sorted(path.name for path in folder.iterdir())
    broken = dict(zip(names[4::10], BREAKS))
    for name, how in broken.items():
        BREAKS[how](folder/name/f'{name}_flair.nii.gz')
    return folder, broken

@pytest.fixture(scope='module')
def model(tmp_path_factory):
    torch.manual_seed(1)
    network = SegNet(SegNetConfig(3, 1, widths=(4, 8), depths=(1, 1)))
    model = Model(network, ('t1', 't2', 'flair'), dict(whole_tumour=(1, 2, 4)), spacing=(5., 4.8))
    return save_model(tmp_path_factory.mktemp('model'), model)

def arguments(cases, model, out):
    return [PROGRAM, 'predict', cases[0], '--model', model, '--out', out, '--device', 'cpu']

def predict(*given):
    return subprocess.run(arguments(*given), capture_output=True, text=True, env=ENVIRONMENT)

@pytest.fixture(scope='module')
def undisturbed(cases, model, tmp_path_factory):
    out = tmp_path_factory.mktemp('undisturbed')/'out'
    return out, predict(cases, model, out)

def test_ninety_masks_and_ten_reasons(cases, undisturbed):
    out, result = undisturbed
    assert result.returncode == 1, result.stdout + result.stderr
    assert 'Traceback' not in result.stderr and '10 of 100 cases could not be done' in result.stderr
    masks = {path.name.removesuffix('_mask.nii.gz') for path in out.glob('*_mask.nii.gz')}
    assert len(masks) == 90 and not masks & set(cases[1])
    lines = {line['case']: line for line in csv.DictReader((out/'summary.csv').open())}
    assert len(lines) == COUNT and {name for name, line in lines.items() if line['fault']} == set(cases[1])
    for name in cases[1]:
        assert name in result.stderr and name in lines[name]['fault'] and not list(out.glob(f'{name}*')), name

def test_another_program_opens_each_mask_at_the_same_place(cases, undisturbed):
    rng = np.random.default_rng(0)
    for path in sorted(undisturbed[0].glob('*_mask.nii.gz')):
        name = path.name.removesuffix('_mask.nii.gz')
        theirs = sitk.ReadImage(path)
        source = sitk.ReadImage(cases[0]/name/f'{name}_flair.nii.gz')
        ours = nib.load(path)
        assert theirs.GetSize() == source.GetSize() and theirs.GetPixelID() == sitk.sitkUInt8
        assert ours.header.get_xyzt_units()[0] == 'mm' and ours.header['descrip'].item().startswith(b'mriseg')
        np.testing.assert_allclose(ours.get_qform(), ours.get_sform(), atol=1e-3)
        voxels = np.stack([rng.integers(0, n, 100) for n in ours.shape], axis=1)
        mm = nib.affines.apply_affine(ours.affine, voxels)*[-1, -1, 1]   # SimpleITK counts to the left and to the back
        for voxel, place in zip(voxels.tolist(), mm):
            np.testing.assert_allclose(theirs.TransformIndexToPhysicalPoint(voxel), place, atol=1e-3)
            np.testing.assert_allclose(source.TransformIndexToPhysicalPoint(voxel), place, atol=1e-3)

def whole(out): # the finished cases, each with all of its files as they should be
    finished = {}
    for record in out.glob('BraTS20_*.json'):
        for name, size in json.loads(record.read_text())['files'].items():
            assert (out/name).stat().st_size == size, name
        finished[record.stem] = read_report(record)
    return finished

@pytest.mark.skipif(os.name == 'nt', reason='Windows has no SIGKILL')
def test_switched_off_in_the_middle(cases, model, undisturbed, tmp_path):
    out = tmp_path/'out'
    kills = 0
    finished = {}
    while kills < 3:
        process = subprocess.Popen(
            arguments(cases, model, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
        goal = len(finished) + 20
        while process.poll() is None and len(list(out.glob('BraTS20_*.json'))) < goal:
            time.sleep(0.002)
        assert process.poll() is None, 'it came to its end before it was killed'
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        finished = whole(out)
    times = {}
    for name in finished:
        times |= {path: path.stat().st_mtime_ns for path in out.glob(f'{name}*')}
    for left in out.glob('.*'):
        os.utime(left, (0, 0))   # two hours later
    last = predict(cases, model, out)
    assert last.returncode == 1 and f'of which {len(finished)} were done before' in last.stdout, last.stdout[-500:]
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert whole(out) == whole(undisturbed[0])
    for path in undisturbed[0].glob('*_mask.nii.gz'):
        np.testing.assert_array_equal(nib.load(out/path.name).dataobj, nib.load(path).dataobj)
    assert [path.name for path in out.glob('.*')] == ['.mriseg.written'], 'something half-written is left'

def test_mended_cases_are_done_and_nothing_else(cases, model, undisturbed, tmp_path):
    mended = shutil.copytree(cases[0], tmp_path/'data')
    out = shutil.copytree(undisturbed[0], tmp_path/'out')
    for name in cases[1]:
        anothers = mended/'BraTS20_Training_001'/'BraTS20_Training_001_flair.nii.gz' # another patient's, but whole
        shutil.copy(anothers, mended/name/f'{name}_flair.nii.gz')
    result = predict((mended, cases[1]), model, out)
    assert result.returncode == 0 and len(list(out.glob('*_mask.nii.gz'))) == COUNT, result.stderr
    assert 'of which 90 were done before' in result.stdout
