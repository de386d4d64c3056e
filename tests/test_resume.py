"A training that is killed goes on, and ends as if nothing had happened."
import signal, subprocess, sysconfig
from pathlib import Path

import torch

from mriseg.checkpoint import load_tensors
from mriseg.phantom import write_phantoms

def start(data, out):
    command = [Path(sysconfig.get_path('scripts'))/'mriseg_train', data, '--out', out, '--epochs', '5', '--batch_size', '4', '--device', 'cpu', '--valid', '0.3']
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

def test_killed_in_the_middle_of_a_pass(tmp_path):
    data = write_phantoms(tmp_path/'data', 5, seed=7, shape=(64, 80, 24))
    whole = start(data, tmp_path/'whole')
    whole.communicate()
    assert whole.returncode == 0
    for after in ('epoch   1', 'epoch   3'):
        process = start(data, tmp_path/'killed')
        for line in process.stdout:
            if line.startswith(after): process.send_signal(signal.SIGKILL)   # the next pass has begun by then, or begins
        assert process.wait() == -signal.SIGKILL
    last = start(data, tmp_path/'killed')
    said = last.communicate()[0]
    assert last.returncode == 0 and 'epoch   5' in said and 'epoch   1' not in said
    tensors, again = (load_tensors(tmp_path/name/'state.safetensors')[0] for name in ('whole', 'killed'))
    assert tensors.keys() == again.keys()
    for name in tensors: assert torch.equal(tensors[name], again[name]), name
