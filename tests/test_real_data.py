"Real MRI, where it is at hand: found by MRISEG_DATA or at ../shared/data, never part of the repository."
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from mriseg.cases.cache import build_cache
from mriseg.cases.case import Case
from mriseg.cases.find import find_cases
from mriseg.networks.model import Model
from mriseg.training.dataset import SliceDataset, balanced_batches
from mriseg.cases.check import check_cases
from mriseg.prediction.predict import predict_case, write_masks
from mriseg.networks.segnet import SegNet, preset_config

BRATS = Path(os.environ.get('MRISEG_DATA', Path(__file__).resolve().parents[2]/'shared'/'data'))/'brats2018'
WITHOUT = f'no real data at {BRATS}: it may not be given away with mriseg'
ADVICE = 'set MRISEG_DATA to a folder that holds brats2018'
pytestmark = pytest.mark.skipif(not BRATS.is_dir(), reason=f'{WITHOUT}; {ADVICE}')
SEQUENCES = ('t1', 't2', 'flair')
STRUCTURES = dict(whole_tumour=(1, 2, 4))

@pytest.fixture(scope='module')
def cases():
    return find_cases(BRATS)

def test_the_cases_are_found_and_whole(cases):
    assert len(cases) == 20 and all(case.label and len(case.sequences) == 4 for case in cases)
    assert check_cases(cases[:3], SEQUENCES, needs_label=True).faults == []

def test_ten_planted_faults_are_found_and_nothing_else(cases, tmp_path):
    for case in cases:
        for path in (*case.sequences.values(), case.label):
            (tmp_path/case.case_id).mkdir(exist_ok=True)
            (tmp_path/case.case_id/path.name).symlink_to(path.resolve())
    def spoil(number, what, change): # put another file in the place of a link
        case = cases[number]
        path = tmp_path/case.case_id/(case.sequences.get(what, case.label)).name
        content = path.read_bytes()
        image = nib.load(path)
        array = np.asarray(image.dataobj)
        affine = image.affine
        path.unlink()
        change(path, content, array, affine)
        return case.case_id

    def save(path, array, affine):
        nib.save(nib.Nifti1Image(array, affine), path)

    def hole(path, content, array, affine):
        save(path, np.where(np.indices(array.shape)[2] == 80, np.nan, array).astype(np.float32), affine)

    def slid(path, content, array, affine):
        save(path, array, affine + np.eye(4, k=3)*2)

    planted = {
        (spoil(0, 'flair', lambda *_: None), 'missing sequence'),
        (spoil(2, 'seg', lambda *_: None), 'missing label'),
        (spoil(4, 't1', lambda path, content, *_: path.write_bytes(content[:len(content)//2])), 'unreadable'),
        (spoil(5, 't2', lambda path, *_: path.touch()), 'unreadable'),
        (spoil(7, 'flair', hole), 'not numbers'),
        (spoil(9, 't1', lambda path, content, array, affine: save(path, array*0, affine)), 'constant'),
        (spoil(11, 't2', lambda path, content, array, affine: save(path, array[:, :, 3:], affine)), 'grids differ'),
        (spoil(13, 'seg', slid), 'grids differ'),
        (
            spoil(15, 'seg', lambda path, content, array, affine: save(path, (0.6*array).astype(np.float32), affine)),
            'label values',
        ),
        (
            spoil(17, 'flair', lambda path, *_: path.symlink_to(cases[16].sequences['flair'].resolve())),
            'same scan twice',
        ),
    }
    report = check_cases(find_cases(tmp_path), (*SEQUENCES, 't1ce'), structures=STRUCTURES, needs_label=True)
    assert len(planted) == 10, str(report)
    assert {(fault.case_id, fault.kind) for fault in report.faults} == planted, str(report)
    assert len(report.faults) == 10, str(report)
    assert all(fault.must_mend and fault.advice for fault in report.faults)

def test_every_slice_can_be_drawn_and_none_twice_in_a_pass(cases, tmp_path):
    slices = SliceDataset(build_cache(cases[:3], SEQUENCES, STRUCTURES, tmp_path))
    assert len(slices) == 3*155 and set(slices.places) == {(case, k) for case in range(3) for k in range(155)}
    epochs = [np.concatenate(balanced_batches(slices.present, 8, epoch=epoch)) for epoch in range(60)]
    assert all(len(set(drawn)) == len(drawn) for drawn in epochs)
    assert set(np.concatenate(epochs)) == set(range(len(slices)))

def turned(case, orientation, folder):
    "The files of a case, stored by nibabel with their axes in another order and direction."
    def save(path):
        image = nib.load(path)
        change = ornt_transform(io_orientation(image.affine), axcodes2ornt(orientation))
        nib.save(image.as_reoriented(change), folder/path.name)
        return folder/path.name
    return Case(case.case_id, {name: save(path) for name, path in case.sequences.items() if name in SEQUENCES})

@pytest.mark.parametrize('orientation', ['RAS', 'SPL', 'AIR'])
def test_a_turned_case_gets_the_same_mask_in_the_patient(cases, tmp_path, orientation):
    torch.manual_seed(1)
    model = Model(SegNet(preset_config('small', input_channels=3, output_channels=1)).eval(), SEQUENCES, STRUCTURES)   # untrained: geometry is the question
    masks = {}
    for name, case in dict(original=cases[0], turned=turned(cases[0], orientation, tmp_path)).items():
        path, = write_masks(predict_case(model, case, device=torch.device('cpu')), tmp_path/name)
        masks[name] = nib.load(path)
        flair = nib.load(case.sequences['flair'])
        assert masks[name].shape == flair.shape
        np.testing.assert_allclose(masks[name].affine, flair.affine, atol=1e-5)
    turn = ornt_transform(io_orientation(masks['turned'].affine), io_orientation(masks['original'].affine))
    back = masks['turned'].as_reoriented(turn)
    original = np.asarray(masks['original'].dataobj)
    assert 0 < original.sum() < original.size
    np.testing.assert_array_equal(np.asarray(back.dataobj), original)
    np.testing.assert_allclose(back.affine, masks['original'].affine, atol=1e-5)
