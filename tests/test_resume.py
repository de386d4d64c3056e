"A training that is killed, or whose disk fills up, goes on, and ends as if nothing had happened."
import csv, os, random, signal, subprocess, sys, sysconfig, time
from dataclasses import replace
from pathlib import Path
from threading import RLock

import pytest
import torch
from tqdm import tqdm

import mriseg.training.loop
from mriseg.cases.cache import build_cache
from mriseg.networks.model import Model, load_model, load_tensors
from mriseg.training.dataset import SliceDataset
from mriseg.cases.find import find_cases
from mriseg.volumes.phantom import write_phantoms
from mriseg.networks.segnet import SegNet, SegNetConfig
from mriseg.training.loop import fit
from mriseg.training.settings import Settings

SEQUENCES = ('t1', 't2', 'flair')
STRUCTURES = dict(whole_tumour=(1, 2, 4))
SETTINGS = Settings(epochs=4, batch_size=4)
TIMES = ('seconds', 'waiting', 'slices_per_second', 'memory')   # columns that differ from run to run

@pytest.fixture(scope='module')
def cached(tmp_path_factory):
    data = write_phantoms(tmp_path_factory.mktemp('phantoms'), 5, seed=7, shape=(64, 80, 24))
    return build_cache(find_cases(data), SEQUENCES, STRUCTURES, tmp_path_factory.mktemp('cache'))

def train(cached, folder, settings=SETTINGS):
    "With dropout, so that PyTorch's own random numbers have to be the same too."
    torch.manual_seed(0)
    network = SegNet(SegNetConfig(3, 1, widths=(8, 16), depths=(1, 1), dropout=0.2))
    return fit(
        Model(network, SEQUENCES, STRUCTURES),
        SliceDataset(cached[2:]),
        valid=cached[:2],
        settings=settings,
        run_folder=folder,
        device=torch.device('cpu'),
    )

def outcome(folder):
    "All that a run leaves behind, but for the times it took."
    rows = list(csv.DictReader((folder/'history.csv').open()))
    for row in rows:
        for name in TIMES:
            row.pop(name, None)
    state = load_tensors(folder/'state.safetensors')[0]
    models = {name: load_model(folder/name).network.state_dict() for name in ('best', 'last')}
    return rows, state, models

def assert_same(one, other):
    (rows, state, models), (rows2, state2, models2) = one, other
    assert rows == rows2
    for tensors, tensors2 in ((state, state2), *((models[name], models2[name]) for name in models)):
        assert tensors.keys() == tensors2.keys()
        for name in tensors:
            assert torch.equal(tensors[name], tensors2[name]), name

@pytest.fixture(scope='module')
def undisturbed(cached, tmp_path_factory):
    folder = tmp_path_factory.mktemp('undisturbed')/'run'
    started = time.perf_counter()
    assert len(list(train(cached, folder))) == 4
    return outcome(folder), time.perf_counter() - started

def test_the_same_seed_gives_the_same_run(cached, undisturbed, tmp_path):
    list(train(cached, tmp_path/'run'))
    assert_same(outcome(tmp_path/'run'), undisturbed[0])

def start(cached, folder):
    "Train in a process of its own that begins at once, a copy of this one."
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        torch.set_num_threads(1)
        tqdm.set_lock(RLock())   # the usual one is shared by all processes, and lost to all of them if one is killed while it holds it
        sys.stdout = sys.stderr = open(os.devnull, 'w')
        mriseg.training.loop.SAVE_SECONDS = 0   # after every step, so that there is something to be torn
        status = int(len(list(train(cached, folder))) < 0)
    finally:
        os._exit(status)

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='Windows can not copy a process')
def test_killed_at_thirty_random_moments(cached, undisturbed, tmp_path):
    rng = random.Random(0)
    kills = 0
    within = 0
    number = 0
    while kills < 30:
        folder, seen = tmp_path/f'run{number}', 0.
        while True:
            process = start(cached, folder)
            ends = time.monotonic() + rng.uniform(0.02, 0.35)*undisturbed[1]
            while time.monotonic() < ends and os.waitpid(process, os.WNOHANG) == (0, 0):
                time.sleep(0.001)
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                break   # it has come to its end
            if os.waitpid(process, 0)[1] != signal.SIGKILL:
                break
            kills += 1
            if (folder/'state.safetensors').exists():
                facts = load_tensors(folder/'state.safetensors')[1]   # never a torn file
                within += facts['done'] > 0
                assert facts['steps'] >= seen
                seen = facts['steps']
        assert_same(outcome(folder), undisturbed[0])
        assert not list(folder.rglob('.????????-*'))   # nothing half-written is left
        number += 1
    assert within >= 5   # several kills came in the middle of a pass

def start_counting(cached, folder, settings):
    "Train in a process of its own that saves every five minutes, as usual, and tells of each step that it begins."
    told, tell = os.pipe()
    process = os.fork()
    if process:
        os.close(tell)
        return process, told
    status = 1
    try:
        torch.set_num_threads(1)
        tqdm.set_lock(RLock())
        sys.stdout = sys.stderr = open(os.devnull, 'w')
        step = mriseg.training.loop.training_step
        def counted(*args, **kwargs):
            os.write(tell, b'.')
            return step(*args, **kwargs)
        mriseg.training.loop.training_step = counted
        list(train(cached, folder, settings))
        status = 0
    except KeyboardInterrupt:
        status = 130
    finally:
        os._exit(status)

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='Windows can not copy a process')
def test_interrupted_at_ten_random_moments_of_the_first_pass(cached, tmp_path):
    "The step is finished and saved, though no pass and no five minutes are over, and the run ends as if nothing was."
    settings = replace(SETTINGS, epochs=2, epoch_steps=60)
    rng = random.Random(1)
    seen = []
    list(train(cached, tmp_path/'calm', settings))
    for number in range(10):
        folder = tmp_path/f'run{number}'
        begun = rng.randrange(1, 50)
        process, told = start_counting(cached, folder, settings)
        for _ in range(begun):
            os.read(told, 1)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(process, signal.SIGINT)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130
        os.close(told)
        facts = load_tensors(folder/'state.safetensors')[1]
        assert facts['history'] == [] and begun <= facts['steps'] == facts['done'] < 60   # each step that was begun was finished
        seen.append(facts['steps'])
        list(train(cached, folder, settings))
        assert_same(outcome(folder), outcome(tmp_path/'calm'))
    assert len(set(seen)) >= 6

def test_interrupted_twice_it_ends_at_once(cached, tmp_path, monkeypatch):
    "In the midst of a step, which is thrown away with all that was not saved; the next run begins anew."
    settings = replace(SETTINGS, epochs=1)
    step = mriseg.training.loop.training_step
    list(train(cached, tmp_path/'calm', settings))
    def long(*args, **kwargs):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        return step(*args, **kwargs)
    monkeypatch.setattr(mriseg.training.loop, 'training_step', long)
    with pytest.raises(KeyboardInterrupt):
        list(train(cached, tmp_path/'run', settings))
    assert not (tmp_path/'run'/'state.safetensors').exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    list(train(cached, tmp_path/'run', settings))
    assert_same(outcome(tmp_path/'run'), outcome(tmp_path/'calm'))

def test_a_command_killed_in_the_middle_of_a_pass(tmp_path):
    data = write_phantoms(tmp_path/'data', 5, seed=7, shape=(64, 80, 24))
    command = [
        Path(sysconfig.get_path('scripts'))/'mriseg', 'train', data, '--out', tmp_path/'killed', '--epochs', '3',
        '--batch-size', '4', '--device', 'cpu', '--valid', '0.3'
    ]

    def start():
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    process = start()
    for line in process.stdout:
        if line.startswith('epoch   1'):
            process.send_signal(signal.SIGKILL)   # the next pass has begun by then, or begins
    assert process.wait() == -signal.SIGKILL
    last = start()
    said = last.communicate()[0]
    assert last.returncode == 0 and 'epoch   3' in said and 'epoch   1' not in said
    assert (tmp_path/'killed'/'report.html').exists()

def test_a_disk_that_fills_up_while_saving(cached, undisturbed, small_disk):
    folder, filler = small_disk/'run', small_disk/'filler'
    epochs = train(cached, folder)
    next(epochs)
    before = load_tensors(folder/'state.safetensors')[1]['history']
    with filler.open('wb', buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    with pytest.raises(OSError) as refusal:
        list(epochs)
    assert str(refusal.value).startswith(f'{folder}: '), refusal.value
    assert 'make room' in str(refusal.value), refusal.value
    assert 'run the same again' in str(refusal.value), refusal.value
    assert load_tensors(folder/'state.safetensors')[1]['history'] == before and len(before) == 1
    filler.unlink()
    list(train(cached, folder))
    assert_same(outcome(folder), undisturbed[0])
