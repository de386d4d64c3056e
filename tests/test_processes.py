"Two processes that share a training come to what one comes to, and one that dies doesn't leave the other waiting."
import csv, os, re, signal, subprocess, sys, time
from pathlib import Path

import numpy as np
import pytest
import torch

from mriseg.networks.model import load_tensors
from mriseg.volumes.phantom import write_phantoms

TRAINING = '''
import sys
import torch
from torch import nn
from torch.nn.functional import batch_norm
from mriseg.cases.cache import build_cache
from mriseg.networks.model import Model
from mriseg.training.dataset import SliceDataset
from mriseg.cases.find import find_cases
from mriseg.processes import joined_processes
from mriseg.networks.segnet import SegNet, SegNetConfig
from mriseg.training.loop import fit
from mriseg.training.settings import Settings
import mriseg.training.loop
data, folder, judged = sys.argv[1:]

class HalvesNorm(nn.BatchNorm2d):
    "Normalises every second slice of a batch apart from the others, as each of two processes does with its share."
    def forward(self, images):
        if not self.training:
            return super().forward(images)
        halves = [(self.running_mean.clone(), self.running_var.clone()) for _ in range(2)]
        out = torch.empty_like(images)
        for n, (mean, var) in enumerate(halves):
            out[n::2] = batch_norm(images[n::2], mean, var, self.weight, self.bias, True, self.momentum, self.eps)
        self.num_batches_tracked += 1
        self.running_mean.copy_((halves[0][0] + halves[1][0])/2)
        self.running_var.copy_((halves[0][1] + halves[1][1])/2)
        return out

with joined_processes() as processes:
    with processes.in_turn():
        cached = build_cache(find_cases(data), ('t1', 'flair'), dict(tumour=(1, 2, 4)), data + '_cache')
    torch.manual_seed(0)
    network = SegNet(SegNetConfig(2, 1, widths=(16, 32, 64), depths=(2, 2, 3)))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and processes.count == 1:
            module.__class__ = HalvesNorm
    # In float32 a sum in another order changes the seventh digit, and which pixel is the largest of four; from there
    # on two trainings part, on some machines within ten steps. In float64 they stay together for all that is compared.
    network.double().register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
    really, said = mriseg.training.loop.validate_case, open(f'{judged}{processes.rank}', 'w')
    def validate_case(network, slices, *rest):
        print(slices.cases[0].case_id, file=said, flush=True)
        return really(network, slices, *rest)
    mriseg.training.loop.validate_case = validate_case
    settings = Settings(epochs=3, batch_size=8, precision='fp32', augmentation=0, learning_rate=4e-3)
    model = Model(network, ('t1', 'flair'), dict(tumour=(1, 2, 4)))
    learn_from = SliceDataset(cached[3:])
    list(fit(model, learn_from, valid=cached[:3], settings=settings, run_folder=folder, device=torch.device('cpu')))
'''

def torchrun(count, *command):
    return [
        sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={count}', *map(str, command)
    ]

QUIET = {**os.environ, 'TQDM_DISABLE': '1', 'OMP_NUM_THREADS': '1'}

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp('phantoms')/'data', 9, seed=7, shape=(64, 80, 24))

@pytest.fixture(scope='module')
def both(data, tmp_path_factory):
    "The history of one process, that of two, and the cases that each of the two has judged."
    home = tmp_path_factory.mktemp('runs')
    (home/'train.py').write_text(TRAINING)
    histories = []
    for count in (1, 2):
        program = torchrun(count, home/'train.py', data, home/f'run{count}', home/f'judged{count}_')
        result = subprocess.run(program, text=True, capture_output=True, env=QUIET)
        assert result.returncode == 0, result.stderr
        histories.append(list(csv.DictReader((home/f'run{count}'/'history.csv').open())))
    judged = [(home/f'judged2_{rank}').read_text().split() for rank in (0, 1)]
    return *histories, judged, home

def test_two_processes_learn_what_one_learns(both):
    "The same losses and Dice in each pass, the same weights and statistics of batch normalisation at the end."
    one, two, _, home = both
    for column in ('loss', 'dice'):
        values, values2 = (np.array([float(row[column]) for row in rows]) for rows in (one, two))
        np.testing.assert_allclose(values, values2, rtol=1e-3, atol=1e-6, err_msg=column)
    (tensors, facts), (tensors2, _) = (load_tensors(home/f'run{count}'/'state.safetensors') for count in (1, 2))
    assert facts['steps'] >= 30 and float(one[0]['loss']) > float(one[-1]['loss']) + 0.3
    assert any('running_var' in name for name in tensors)
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, tensors2[name], rtol=1e-3, atol=1e-3, msg=lambda text: f'{name}: {text}')

def test_each_case_is_judged_once_in_a_pass(both):
    _, two, judged, _ = both
    epochs = len(two)
    cases = sorted(judged[0] + judged[1])
    assert len(cases) == 3*epochs and len(set(cases)) == 3 and not set(judged[0]) & set(judged[1])

def test_one_writer(both):
    *_, home = both
    one, two = (sorted(path.name for path in (home/name).iterdir()) for name in ('run1', 'run2'))
    assert one == two
    assert all(tensor.isfinite().all() for tensor in load_tensors(home/'run2'/'best'/'model.safetensors')[0].values())

def command(count, data, out, *more):
    options = ['--out', out, '--batch-size', '4', '--device', 'cpu', '--valid', '0.3', *more]
    return torchrun(count, '-m', 'mriseg', 'train', data, *options)

def test_one_process_killed_ends_the_other_and_the_run_goes_on(data, tmp_path):
    out = tmp_path/'run'
    job = subprocess.Popen(
        command(2, data, out, '--epochs', 6), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=QUIET
    )
    for line in job.stdout:
        if line.startswith('epoch   2'):
            break
    below = subprocess.run(['pgrep', '-P', str(job.pid)], text=True, capture_output=True)
    workers = [int(pid) for pid in below.stdout.split()]
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    killed = time.monotonic()
    said = job.communicate(timeout=60)[1]
    assert job.returncode != 0 and time.monotonic() - killed < 60
    assert re.search(r'SIGKILL|exitcode\s*:\s*-9', said), said
    assert not [pid for pid in workers if Path(f'/proc/{pid}').exists()]
    again = subprocess.run(command(2, data, out, '--epochs', 6), text=True, capture_output=True, env=QUIET)
    assert again.returncode == 0, again.stdout + again.stderr
    assert 'epoch   6' in again.stdout, again.stdout + again.stderr
    assert 'epoch   1' not in again.stdout, again.stdout + again.stderr
    assert again.stdout.count('epoch   6') == 1   # one of them prints

def test_prediction_and_scores_are_shared(data, tmp_path):
    trained = subprocess.run(command(1, data, tmp_path/'run', '--epochs', 1), capture_output=True, env=QUIET)
    assert trained.returncode == 0
    scores = {}
    for count in (1, 2):
        options = ['--model', tmp_path/'run', '--out', tmp_path/f'scores{count}', '--device', 'cpu']
        evaluate = torchrun(count, '-m', 'mriseg', 'evaluate', data, *options)
        result = subprocess.run(evaluate, text=True, capture_output=True, env=QUIET)
        assert result.returncode == 0, result.stderr
        rows = list(csv.DictReader((tmp_path/f'scores{count}'/'scores.csv').open()))
        scores[count] = sorted(map(tuple, map(dict.items, rows)))
    assert scores[1] == scores[2] and len(scores[1]) == 9
    assert len(list((tmp_path/'scores2'/'masks').glob('*_mask.nii.gz'))) == 9

def test_a_batch_that_can_not_be_shared(data, tmp_path):
    result = subprocess.run(command(3, data, tmp_path/'run', '--epochs', 1), text=True, capture_output=True, env=QUIET)
    assert result.returncode != 0
    assert 'a batch of 4 slices can not be shared by 3 processes; use a multiple of 3' in result.stderr
