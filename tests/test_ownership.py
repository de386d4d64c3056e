"""Two programs at once on one folder: one goes on, the other says who has it, and nothing is lost.

A claim dies with its program."""
import os, random, re, signal, sys, time
from pathlib import Path
from threading import RLock

import pytest
import torch
from tqdm import tqdm

import mriseg.start
from mriseg.networks.model import Model, load_model, save_model
from mriseg.evaluation.table import read_scores
from mriseg.cases.find import find_cases
from mriseg.folders import LOCK
from mriseg.volumes.phantom import write_phantoms
from mriseg.networks.segnet import SegNet, SegNetConfig

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='Windows can not copy a process')
MANY = 16   # cases that are predicted and scored, so that it takes some seconds
PAIRS = int(os.environ.get('MRISEG_PAIRS', 2))   # of each command, more if one asks for them

@pytest.fixture(scope='module')
def places(tmp_path_factory):
    home = tmp_path_factory.mktemp('two')
    torch.manual_seed(0)
    network = SegNet(SegNetConfig(3, 1, widths=(16, 32), depths=(1, 1)))
    save_model(home/'model', Model(network, ('t1', 't2', 'flair'), dict(whole_tumour=(1, 2, 4)), spacing=(5., 4.8)))
    write_phantoms(home/'data', 5, seed=7, shape=(48, 56, 24))
    write_phantoms(home/'many', MANY, seed=8, shape=(48, 56, 24))
    return home

def typed(command, home, out, seed):
    "A line with which a command may be started, of one of two works that differ."
    data = str(home/'data')
    many = str(home/'many')
    model = str(home/'model')
    common = ['--out', str(out), '--device', 'cpu']
    course = ['--cache', str(home/'cache'), '--seed', str(seed)]
    return dict(
        train=[data, *common, *course, '--epochs', '2', '--batch-size', '4'],
        predict=[many, '--model', model, *common, '--threshold', str(0.5 + seed/100)],
        evaluate=[many, '--model', model, *common],
        transfer=[data, '--base', model, *common, *course, '--minutes', '0.02'])[command]

def start(command, arguments, log):
    "Run a command in a copy of this process."
    process = os.fork()
    if process:
        return process
    status = 99
    try:
        torch.set_num_threads(1)
        tqdm.set_lock(RLock())   # the usual one is lost to all if a process is killed while it holds it
        stream = open(log, 'w', buffering=1)
        sys.stdout = sys.stderr = stream
        sys.argv = ['mriseg', command, *arguments]
        status = mriseg.start.main() or 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        os._exit(status)

def ended(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

def assert_whole(command, out, home):
    "What the one that went on has left behind is what it would have been alone."
    if command in ('train', 'transfer'):
        assert load_model(out).network is not None
    if command == 'train':
        assert len((out/'history.csv').read_text().splitlines()) == 3
    if command == 'predict':
        assert len(list(out.glob('*_mask.nii.gz'))) == MANY
        assert len((out/'summary.csv').read_text().splitlines()) == MANY + 1
    if command == 'evaluate':
        assert len(read_scores(out/'scores.csv')) == MANY
    assert not list(out.rglob('.????????-*')) and not (out/LOCK).exists()

@pytest.mark.parametrize('command', ['train', 'predict', 'evaluate', 'transfer'])
def test_two_at_once(command, places, tmp_path):
    rng = random.Random(command)
    refused = 0
    for number in range(PAIRS):
        out = tmp_path/f'out{number}'
        logs = [tmp_path/f'{number}_{n}.log' for n in (0, 1)]
        first = start(command, typed(command, places, out, 0), logs[0])
        time.sleep(rng.uniform(0, 0.6))
        second = start(command, typed(command, places, out, 1), logs[1])
        status = [ended(first), ended(second)]
        told = [log.read_text() for log in logs]
        assert sorted(status) == [0, 1] or status == [0, 0] and command == 'evaluate', (status, told)   # the same scores again are fine
        loser = told[status.index(1)] if 1 in status else ''
        assert 'Traceback' not in ''.join(told), told
        owned = f'mriseg {command} \\(process \\d+ on .*\\) has been writing into {re.escape(str(out))} since 20'
        if re.search(owned, loser):
            refused += 1
        else:   # the first had come to its end by then
            assert not loser or 'holds another run' in loser, loser
        assert_whole(command, out, places)
    assert refused, 'the two never met: the moments have to come earlier'

@pytest.mark.parametrize('command', ['train', 'predict'])
def test_a_claim_ends_with_its_program(command, places, tmp_path):
    out = tmp_path/'out'
    line = typed(command, places, tmp_path/'out', 0)
    killed = start(command, line, tmp_path/'killed.log')
    while not (out/LOCK).exists():
        time.sleep(0.005)
    os.kill(killed, signal.SIGKILL)
    assert ended(killed) == -signal.SIGKILL
    assert ended(start(command, line, tmp_path/'again.log')) == 0, (tmp_path/'again.log').read_text()
    assert_whole(command, out, places)

def test_corrected_masks_outlive_an_evaluation(places, tmp_path):
    out = tmp_path/'out'
    line = typed('evaluate', places, tmp_path/'out', 0)
    assert ended(start('evaluate', line, tmp_path/'first.log')) == 0
    case = find_cases(places/'many')[0]
    mask = out/'masks'/f'{case.case_id}_mask.nii.gz'
    mask.write_bytes(case.label.read_bytes())   # somebody's own outline
    assert ended(start('evaluate', line, tmp_path/'second.log')) == 1
    said = (tmp_path/'second.log').read_text()
    assert f'case {case.case_id}: {mask} was changed since it was written' in said
    assert f'1 of {MANY} cases could not be done' in said
    assert mask.read_bytes() == case.label.read_bytes()
    assert not (set(Path(out/'masks').glob('.????????-*')))
