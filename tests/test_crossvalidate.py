"A cross-validation that is killed goes on, and comes to the same scores; two of them share the folds."
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from kills import kill_at_random, timed
from mriseg.cases.find import find_cases
from mriseg.evaluation.crossvalidate import crossvalidate
from mriseg.training.plan import plan_training
from mriseg.training.settings import Settings
from mriseg.volumes.phantom import write_phantoms

SETTINGS = Settings(epochs=2, epoch_steps=4, batch_size=4)

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp('phantoms'), 6, seed=7, shape=(48, 56, 24))

def run(data, cache, folder):
    plan = plan_training(find_cases(data), structures=dict(tumour=(1, 2, 4)))
    plan = replace(plan, config=replace(plan.config, widths=(8, 16), depths=(1, 1)))
    for _ in crossvalidate(plan, folder, folds=3, settings=SETTINGS, cache=cache, device='cpu'):
        pass
    return (folder/'scores.csv').read_bytes(), (folder/'ensemble.json').read_bytes()

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='Windows can not copy a process')
def test_killed_at_ten_random_moments(data, tmp_path):
    cache, folder = tmp_path/'cache', tmp_path/'killed'/'CV'
    undisturbed, takes = timed(lambda: run(data, cache, tmp_path/'whole'/'CV'))
    kill_at_random(lambda: run(data, cache, folder), folder, kills=10, takes=takes)
    for part in ('.', 'masks', 'cases', 'fold_1'):
        (folder/part).mkdir(parents=True, exist_ok=True)
        (folder/part/'.0123abcd-scores.csv').touch() # as a kill in the middle of writing leaves it
    assert run(data, cache, folder) == undisturbed
    assert not list(folder.rglob('.*-*')), 'something half-written is left'

def test_two_at_once_share_the_folds(data, tmp_path):
    command = [sys.executable, '-m', 'mriseg', 'crossvalidate', str(data), '--out', str(tmp_path/'CV'), '--folds', '3',
               '--epochs', '1', '--structures', 'tumour=1,2,4', '--device', 'cpu', '--cache', str(tmp_path/'cache')]
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    piped = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    both = [subprocess.Popen(command, **piped) for _ in range(2)]
    told = [one.communicate(timeout=300) for one in both]
    again = subprocess.run(command, **piped) # whoever came last may have left a fold to the other
    assert again.returncode == 0, again.stderr
    assert (tmp_path/'CV'/'scores.csv').is_file()
    trained = [sum(f'fold {n} of 3, epoch   1' in out for out, _ in told) for n in (1, 2, 3)]
    assert trained == [1, 1, 1], told # each fold once, by one of both
