"Bad input on the command line: one clear sentence, exit status 1, and nothing half-written."
import shutil
from pathlib import Path

import nibabel as nib
import pytest

from copies import call
from mriseg.volumes.phantom import write_phantoms

QUICK = ('--epochs', '1', '--batch-size', '4', '--device', 'cpu')

def refused(result, *words):
    "The command ended with status 1 and said so in plain words, without a traceback."
    said = result.stderr
    assert result.returncode == 1, result.stdout + result.stderr
    assert said.startswith('mriseg: ') and 'Traceback' not in said, said
    for word in words:
        assert str(word) in said, said

@pytest.fixture(scope='module')
def phantoms(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp('phantoms'), 4, seed=7, shape=(48, 56, 24))

@pytest.fixture(scope='module')
def run(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')/'run'
    assert call('train', phantoms, '--out', folder, *QUICK).returncode == 0
    return folder

@pytest.fixture
def data(phantoms, tmp_path):
    return Path(shutil.copytree(phantoms, tmp_path/'data'))

def file_of(data, sequence, case='BraTS20_Training_002'):
    return data/case/f'{case}_{sequence}.nii.gz'

def contents(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob('*')}

def test_the_same_command_again_is_done_at_once(phantoms, run):
    before = contents(run)
    again = call('train', phantoms, '--out', run, *QUICK)
    assert again.returncode == 0 and 'best model' in again.stdout
    assert contents(run) == before

def test_a_folder_without_cases(tmp_path):
    (tmp_path/'empty').mkdir()
    for command in ('check', 'train'):
        out = ['--out', tmp_path/'run'] if 'train' in command else []
        refused(call(command, tmp_path/'empty', *out), 'no cases in', tmp_path/'empty')
    refused(call('check', tmp_path/'nowhere'), 'there is no folder')
    assert not (tmp_path/'run').exists()

@pytest.mark.parametrize('lost', ['flair', 'seg'])
def test_a_case_without_flair_or_label(data, tmp_path, lost):
    file_of(data, lost).unlink()
    lacks = 'has no label' if lost == 'seg' else 'has no flair'
    refused(call('train', data, '--out', tmp_path/'run', *QUICK), 'BraTS20_Training_002', lacks)
    assert not (tmp_path/'run').exists()

def test_predicting_needs_no_label_but_flair(data, run, tmp_path):
    file_of(data, 'seg').unlink()
    assert call('predict', data, '--model', run, '--out', tmp_path/'masks', '--device', 'cpu').returncode == 0
    file_of(data, 'flair').unlink()
    refused(
        call('predict', data, '--model', run, '--out', tmp_path/'again', '--device', 'cpu'), '1 of 4 cases',
        'BraTS20_Training_002 has no flair, but this model takes'
    )
    written = sorted(p.name for p in (tmp_path/'again').glob('*_mask.nii.gz'))
    assert written == [f'BraTS20_Training_00{n}_mask.nii.gz' for n in (1, 3, 4)]

def test_two_sequences_of_different_shape(data, tmp_path):
    t2 = nib.load(file_of(data, 't2'))
    nib.save(t2.slicer[:, :, :20], file_of(data, 't2'))
    refused(
        call('train', data, '--out', tmp_path/'run', *QUICK), 'BraTS20_Training_002: t2 is Volume(48×56×20',
        'share one grid'
    )
    checked = call('check', data)
    refused(checked, '1 fault in')
    assert 't2 is Volume(48×56×20' in checked.stdout
    assert not (tmp_path/'run').exists()

def test_a_truncated_file(data, run, tmp_path):
    broken = file_of(data, 't1')
    broken.write_bytes(broken.read_bytes()[:5000])
    refused(
        call('train', data, '--out', tmp_path/'run', *QUICK), 'BraTS20_Training_002', broken,
        'is not a whole NIfTI file'
    )
    refused(call('predict', data, '--model', run, '--out', tmp_path/'masks', '--device', 'cpu'), broken)
    assert not (tmp_path/'run').exists() and not (tmp_path/'masks'/'BraTS20_Training_002_mask.nii.gz').exists()
    assert {p.name for p in tmp_path.rglob('.*')} <= {'.mriseg.written'}   # the record of what was written

@pytest.mark.parametrize(
    'option, value, said',
    [
        ('--sequences', 't1,pd', "no case has a sequence 'pd'"),
        ('--preset', 'huge', "there is no preset 'huge'"),
        ('--device', 'gpu', "you asked for the device 'gpu'"),
        ('--structures', 'tumour', 'should be names with label values'),
        ('--structures', 'bone=9', "any voxel of the structure 'bone'"),
        ('--minutes', '-1', 'minutes must be above 0'),
        ('--valid', 'nobody.txt', 'there is no file nobody.txt'),
    ],
)
def test_an_unknown_choice(phantoms, tmp_path, option, value, said):
    refused(call('train', phantoms, '--out', tmp_path/'run', option, value), said)
    assert not (tmp_path/'run').exists()

def test_a_model_that_is_none(phantoms, tmp_path):
    (tmp_path/'model.safetensors').write_text('not a model')
    (tmp_path/'model.pt').write_text('not a model')
    for model, said in [
        (tmp_path/'model.safetensors', 'is not a whole safetensors file'),
        (tmp_path/'model.pt', 'looks like a pickle'),
        (phantoms, 'there is no model in'),
    ]:
        refused(call('predict', phantoms, '--model', model, '--out', tmp_path/'masks'), said)
    assert not (tmp_path/'masks').exists()

def test_a_folder_that_holds_something_else(phantoms, run, tmp_path):
    before = contents(run)
    refused(call('train', phantoms, '--out', run, *QUICK, '--seed', '5'), 'holds another run', 'seed')
    assert contents(run) == before
    (tmp_path/'thesis').mkdir()
    (tmp_path/'thesis'/'chapter.txt').write_text('my life')
    refused(call('train', phantoms, '--out', tmp_path/'thesis', *QUICK), 'holds something else')
    assert [p.name for p in (tmp_path/'thesis').iterdir()] == ['chapter.txt']

def test_a_precision_that_the_device_cannot_do(data, tmp_path, monkeypatch):
    refused(
        call('train', data, '--out', tmp_path/'run', *QUICK, '--precision', 'fp16'),
        'fp16, which is not offered on the CPU', 'use bf16 or fp32'
    )
    monkeypatch.setenv('MRISEG_PRECISION', 'fp8')
    refused(
        call('train', data, '--out', tmp_path/'run', *QUICK), "MRISEG_PRECISION asks for the precision 'fp8'",
        'fp32, bf16, fp16'
    )
    assert list(tmp_path.iterdir()) == [data]

def test_encoder_weights_that_do_not_fit(data, tmp_path):
    (tmp_path/'photo.pth').write_bytes(b'no weights')
    before = contents(tmp_path)
    refused(
        call('train', data, '--out', tmp_path/'run', *QUICK, '--preset', 'paper', '--encoder', tmp_path/'none.pth'),
        'there is no file', 'none.pth'
    )
    refused(
        call('train', data, '--out', tmp_path/'run', *QUICK, '--preset', 'paper', '--encoder', tmp_path/'photo.pth'),
        'photo.pth', 'can not be read as weights'
    )
    assert contents(tmp_path) == before

def test_the_audit_finds_every_kernel():
    result = call('audit')
    assert result.returncode == 0 and result.stdout.count('0 missing') == 2, result.stdout + result.stderr
    refused(call('audit', '--backend', 'tpu'), "there is no table for 'tpu'")

def test_the_self_test_refuses_to_test_a_fallback(monkeypatch):
    monkeypatch.setenv('PYTORCH_ENABLE_MPS_FALLBACK', '1')
    refused(call('audit', '--run', '--device', 'cpu'), 'PYTORCH_ENABLE_MPS_FALLBACK is set', 'unset it')
