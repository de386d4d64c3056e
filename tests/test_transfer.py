"A transfer, or a learning curve, that is killed goes on, and comes to the same end."
import os

import pytest
import torch

from kills import kill_at_random, timed
from mriseg.networks.model import Model, load_model
from mriseg.transfer.curve import learning_curve, read_curve
from mriseg.cases.find import find_cases
from mriseg.volumes.phantom import write_phantoms
from mriseg.networks.segnet import SegNet, SegNetConfig
from mriseg.training.settings import Settings
from mriseg.transfer.transfer import transfer
from mriseg.transfer.plan import plan_transfer

STRUCTURES = dict(whole_tumour=(1, 2, 4))
CPU = torch.device('cpu')
SETTINGS = Settings(epochs=3, epoch_steps=3, batch_size=4)

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return find_cases(write_phantoms(tmp_path_factory.mktemp('phantoms'), 8, seed=7, shape=(64, 80, 24)))

def plan_of(data, count):
    torch.manual_seed(0)
    network = SegNet(SegNetConfig(3, 1, widths=(8, 16), depths=(1, 1), dropout=0.2))
    base = Model(network, ('t1', 't2', 'flair'), STRUCTURES, spacing=(2.5, 2.4))
    return plan_transfer(data[:count], base, structures=STRUCTURES)

def run_transfer(data, cache, folder): # three cases, so that each is left out in turn
    outcome = transfer(plan_of(data, 3), folder, settings=SETTINGS, cache=cache, device=CPU)
    candidates = [(one.initialisation, one.epochs, one.case_dice) for one in outcome.candidates]
    return candidates, outcome.chosen, outcome.model.network.state_dict()

def run_curve(data, cache, folder):
    plan = plan_of(data, 8)
    for _ in learning_curve(plan, folder, settings=SETTINGS, draws=2, cache=cache, device=CPU):
        pass
    return [(one.size, one.draw, one.initialisation, one.case_dice) for one in read_curve(folder)]

def same(one, other):
    if isinstance(one, dict) and all(isinstance(value, torch.Tensor) for value in one.values()):
        return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or one != one and other != other

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='Windows can not copy a process')
@pytest.mark.parametrize('run', [run_transfer, run_curve])
def test_killed_at_random_moments(data, run, tmp_path):
    cache = tmp_path/'cache'
    folder = tmp_path/'killed'/'run'
    undisturbed, takes = timed(lambda: run(data, cache, tmp_path/'whole'/'run'))
    kill_at_random(lambda: run(data, cache, folder), folder, kills=4, takes=takes)
    for name in ('curve.csv', 'candidates.csv'):
        (folder/f'.0123abcd-{name}').touch()   # as a kill in the middle of writing leaves it
    assert same(run(data, cache, folder), undisturbed)
    assert not list(folder.rglob('.*-*')), 'something half-written is left'

def test_a_transferred_model_predicts_and_remembers(data, tmp_path):
    run_transfer(data, tmp_path/'cache', tmp_path/'run')
    model = load_model(tmp_path/'run')
    assert model.facts['initialisation'] in ('transfer', 'scratch', 'base')
    assert set(model.facts['compared']) == {'transfer', 'scratch', 'base'}
