"How the commands meet the terminal: real processes, signals, closed streams, ports, full and read-only disks."
import os, random, re, signal, socket, subprocess, sys, time
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
import torch

from copies import call
from mriseg.networks.model import Model, save_model
from mriseg.volumes.phantom import write_phantoms
from mriseg.networks.segnet import SegNet, SegNetConfig

ENV = {**os.environ, 'TQDM_DISABLE': '1'}

def line(*arguments, first=''):
    "What pip's program does, with the package that these tests import."
    program = f'{first}\nimport sys; sys.argv[0] = "mriseg"\nfrom mriseg.start import main\nsys.exit(main())'
    return [sys.executable, '-c', program, *map(str, arguments)]

def start(*arguments, first='', **more):
    "A process of its own, where it matters how one begins."
    return subprocess.run(line(*arguments, first=first), capture_output=True, text=True, env=ENV | more)

def refused(result, *words):
    "One sentence, status 1, no traceback."
    assert result.returncode == 1, result.stdout + result.stderr
    assert result.stderr.startswith('mriseg: ') and result.stderr.count('\n') == 1, result.stderr
    for word in words:
        assert str(word) in result.stderr, result.stderr

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp('phantoms'), 4, seed=7, shape=(48, 56, 24))

@pytest.fixture(scope='module')
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('models')/'run'
    network = SegNet(SegNetConfig(3, 1, widths=(4, 8), depths=(1, 1)))
    save_model(folder, Model(network, ('t1', 't2', 'flair'), dict(tumour=(1, 2, 4))))
    return folder

def free_port():
    with socket.socket() as door:
        door.bind(('127.0.0.1', 0))
        return door.getsockname()[1]

def answers(port):
    try:
        socket.create_connection(('127.0.0.1', port), timeout=1).close()
    except OSError:
        return False
    return True

# --- The page ends with its command

@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has other signals')
@pytest.mark.parametrize(
    'number', [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name
)
def test_the_page_ends_with_its_command(data, model, tmp_path, number):
    pytest.importorskip('voila', reason='Voilà is not installed, which serves this page')
    port = free_port()
    places = tmp_path/'temporary'
    places.mkdir()
    command = line('browse', data, '--model', model, '--no-open', '--port', port, '--device', 'cpu')
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENV | dict(TMPDIR=str(places))
    )
    below = []
    try:
        told = next(text for text in process.stdout if re.search(r'http://\S+', text))
        address = re.search(r'http://\S+', told)[0]
        assert f'127.0.0.1:{port}/?token=' in address
        with urlopen(address, timeout=90) as answer:
            assert answer.status == 200 and 'jupyter' in answer.read().decode()
        with urlopen(f'http://127.0.0.1:{port}/', timeout=90) as answer:
            assert '/login' in answer.geturl()   # nobody without the token
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 2   # Voilà and a kernel
        secret = address.split('=')[1]
        for one in (psutil.Process(process.pid), *below):
            assert not any(secret in part for part in one.cmdline())
        assert any(places.iterdir())
        process.send_signal(number)
        assert process.wait(30) == (0 if number == signal.SIGINT else -number)
        assert psutil.wait_procs(below, timeout=30)[1] == []
        assert not answers(port)
        assert [path for path in places.rglob('*') if path.name.startswith(('mriseg', 'voila'))] == []
    finally:
        for one in (process, *below):
            try:
                one.kill()
            except psutil.NoSuchProcess:
                pass
        process.stdout.close()
        process.wait()

def test_a_port_that_can_not_be(data, model, tmp_path):
    for port in (-1, 99999999):
        refused(
            call('browse', tmp_path/'nowhere', '--model', model, '--port', port),
            'the port is a number from 1024 to 65535', port
        )
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        refused(
            call('browse', tmp_path/'nowhere', '--model', model, '--port', port),
            f'port {port} is taken by another program; give another, such as'
        )

# --- Streams

@pytest.mark.skipif(sys.platform == 'win32', reason='there is no sh')
@pytest.mark.parametrize('closed', ['2>&-', '1>&-', '0<&- 1>&- 2>&-'])
def test_predicting_without_streams(data, model, tmp_path, closed):
    command = line('predict', data, '--model', model, '--out', tmp_path/'masks', '--device', 'cpu')
    shown = {name: value for name, value in os.environ.items() if name != 'TQDM_DISABLE'}   # with progress bars, which go to the closed stream
    result = subprocess.run(
        ['sh', '-c', f'exec "$0" "$@" {closed}', *command], env=shown, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(list((tmp_path/'masks').glob('*_mask.nii.gz'))) == 4
    assert (tmp_path/'masks'/'summary.csv').read_text().startswith('case,structure')   # nobody wrote into it

@pytest.mark.parametrize('name', ['stdout', 'stderr'])
def test_commands_without_a_stream_of_python(data, model, tmp_path, name):
    first = f'import sys; sys.{name} = None'

    def done(command, *arguments):
        assert start(command, *arguments, first=first).returncode == 0, command

    done('check', data, '--out', tmp_path/'checked')
    assert start('check', tmp_path/'nowhere', first=first).returncode == 1
    done('browse', data, '--model', model, '--out', tmp_path/'page.html', '--device', 'cpu')
    assert (tmp_path/'page.html').exists()
    if name == 'stdout':
        return   # the others meet it in the same place
    done('train', data, '--out', tmp_path/'run', '--epochs', 1, '--batch-size', 4, '--device', 'cpu', '--valid', '0.5')
    done('predict', data, '--model', tmp_path/'run', '--out', tmp_path/'masks', '--device', 'cpu')
    done('evaluate', data, '--model', tmp_path/'run', '--out', tmp_path/'scores', '--device', 'cpu')
    done('postprocess', data, '--model', tmp_path/'run', '--device', 'cpu')
    done('compare', tmp_path/'scores', tmp_path/'scores')
    done('audit', '--backend', 'mps')
    assert (tmp_path/'scores'/'scores.csv').exists()

@pytest.fixture(scope='module')
def renamed(data, tmp_path_factory):
    "The same cases under names that are no ASCII, and one of them in Chinese."
    folder = tmp_path_factory.mktemp('renamed')
    for case, name in zip(sorted(path for path in data.iterdir() if path.is_dir()), ('José', '患者一')):
        for path in case.iterdir():
            target = folder/name/path.name.replace(case.name, name)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    return folder

def test_names_that_the_terminal_does_not_know(renamed, model, tmp_path):
    plain = dict(LC_ALL='POSIX', PYTHONIOENCODING='ascii')
    result = start('predict', renamed, '--model', model, '--out', tmp_path/'masks', '--device', 'cpu', **plain)
    assert result.returncode == 0, result.stderr
    assert r'Jos\xe9: ' in result.stdout
    masks = sorted(path.name for path in (tmp_path/'masks').glob('*_mask.nii.gz'))
    assert masks == ['José_mask.nii.gz', '患者一_mask.nii.gz']
    refused(start('check', renamed/'Zoë', **plain), r'Zo\xeb')

def test_letters_without_a_font_are_not_worth_a_warning(renamed, model, tmp_path):
    model_and_device = ('--model', model, '--device', 'cpu')
    options = dict(check=(), predict=(*model_and_device, '--pictures'), evaluate=model_and_device)
    for command, more in options.items():
        result = call(command, renamed, '--out', tmp_path/command, *more)
        assert result.returncode == 0 and result.stderr == '', result.stderr

def test_a_reader_that_has_enough(data):
    command = subprocess.Popen(
        line('check', data), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV | dict(PYTHONUNBUFFERED='1')
    )
    command.stdout.close()
    said = command.stderr.read().decode()
    command.stderr.close()
    assert command.wait() == 1, said
    assert said.count('\n') == 1, said
    assert 'what read the output of this command has ended' in said, said

# --- Interruptions

def interrupted(command, seconds):
    "What a command says that is interrupted after some time."
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    return process.returncode, said

@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has other signals')
def test_interrupted_while_it_is_loaded(data):
    "As soon as the first line of the program runs: before that Python itself is being loaded."
    rng = random.Random(0)
    first = 'import sys; print("begun", flush=True)'
    early = 0
    for _ in range(12):
        process = subprocess.Popen(
            line('check', data, first=first), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV
        )
        process.stdout.readline()
        time.sleep(rng.uniform(0.15, 2))
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
        if process.returncode == 0:
            continue   # it was faster
        assert process.returncode == 130, (process.returncode, said)
        assert said.startswith('mriseg: interrupted'), (process.returncode, said)
        assert said.count('\n') == 1, (process.returncode, said)
        early += 'before anything was begun' in said
    assert early >= 6

AFTERWARDS = dict(check='begins anew', evaluate='does what is left', predict='does what is left')

@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has other signals')
@pytest.mark.parametrize('command, wanted', AFTERWARDS.items())
def test_what_an_interruption_leaves(data, model, tmp_path, command, wanted):
    "Interrupted when it says its first line, which is when the cases were found."
    more = [] if command == 'check' else ['--model', model, '--device', 'cpu']
    slow = 'import time\nfrom mriseg.volumes.nifti import *\nimport mriseg.volumes.nifti as v\nread = v.read_volume\n'
    slow += 'def slowly(*args, **kwargs): time.sleep(1); return read(*args, **kwargs)\nv.read_volume = slowly'
    process = subprocess.Popen(
        line(command, data, '--out', tmp_path/'out', *more, first=slow), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=ENV | dict(PYTHONUNBUFFERED='1')
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130, said
    assert said.count('\n') == 1, said
    assert said.startswith('mriseg: interrupted; '), said
    assert wanted in said, said
    assert 'saved state' not in said

@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has other signals')
def test_a_training_that_is_interrupted_says_what_is_saved(data, tmp_path):
    command = line(
        'train', data, '--out', tmp_path/'run', '--minutes', 5, '--batch-size', 4, '--device', 'cpu', '--valid', '0.5'
    )
    for saved in (False, True):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)
        for text in process.stdout:
            if not saved or text.startswith('epoch'):
                break
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
        assert process.returncode == 130 and said.count('mriseg: interrupted; ') == 1 and 'Traceback' not in said, said
        assert ('the state is saved in' in said) == saved == (tmp_path/'run'/'state.safetensors').exists(), said

# --- Arguments and disks

@pytest.mark.parametrize(
    'command, options',
    [
        ('evaluate', ('--cases', '--pattern', '--device', '--out', '--model')),
        ('train', ('--structures', '--sequences', '--valid', '--cache', '--out')),
        ('audit', ('--backend',)),
        ('check', ('--out', '--valid')),
        ('demo', ('--out',)),
    ],
)
def test_an_empty_argument_is_refused(command, options, tmp_path):
    for option in options:
        for typed in ([option, ''], [f'{option}=']):
            refused(call(command, *([] if command in ('audit', 'demo') else [tmp_path]), *typed), f'{option} is empty')

@pytest.mark.parametrize(
    'command, option',
    [
        ('check', '--out'), ('train', '--out'), ('train', '--cache'), ('predict', '--out'), ('evaluate', '--out'),
        ('browse', '--out'), ('transfer', '--out'), ('transfer', '--cache'), ('demo', '--out')
    ],
)
def test_a_place_that_can_not_be_written_to(data, tmp_path, command, option, read_only):
    (tmp_path/'note').touch()
    out = ['--out', tmp_path/'out']
    needed = dict(
        train=out, predict=['--model', 'RUN', *out], evaluate=['--model', 'RUN', *out], browse=['--model', 'RUN'],
        transfer=['--base', 'RUN', *out])
    given = [] if command == 'demo' else [data, *needed.get(command, [])]
    refusals = {
        tmp_path/'note'/'x': 'is a file where a folder is needed',
        read_only/'x': 'nothing can be written in',
    }
    for place, said in refusals.items():
        place = place/'page.html' if command == 'browse' else place
        real = start if (command, option) in (('transfer', '--out'), ('demo', '--out')) else call   # one of each is started
        result = real(command, *given, option, place)
        refused(result, option, said)
        assert result.stdout == ''   # nothing was read for that

@pytest.fixture
def read_only(tmp_path):
    "A disk that can only be read."
    place = tmp_path/'disk'
    place.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1m,ro', 'tmpfs', place]
    if not sys.platform.startswith('linux') or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('only root on Linux can mount a small disk')
    yield place
    subprocess.run(['umount', place], check=True)

def test_a_full_disk_is_named(data, model, small_disk):
    with (small_disk/'filler').open('wb', buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    for command, out in dict(evaluate='scores', browse='page.html', check='checked').items():
        more = () if command == 'check' else ('--model', model, '--device', 'cpu')
        result = call(command, data, '--out', small_disk/out, *more)
        assert result.returncode == 1, result.stderr
        assert 'Errno' not in result.stderr, result.stderr
        assert 'Traceback' not in result.stderr, result.stderr
        assert str(small_disk) in result.stderr and 'make room' in result.stderr, result.stderr

def test_the_demonstration_refuses_at_once(tmp_path):
    for wrong, said in (('--train', '0'), '--train N must be from 8'), (('--seed', '9'*21), 'seed must be from 0'):
        refused(call('demo', '--out', tmp_path/'demo', *wrong), said)
    assert not (tmp_path/'demo').exists()

# --- Results of other data, and the home folder

def test_scores_of_other_data_are_not_written_over(data, model, tmp_path):
    "Another patient may have the same name there."
    other = write_phantoms(tmp_path/'other', 2, seed=8, shape=(48, 56, 24))
    evaluate = ['--model', model, '--out', tmp_path/'scores', '--device', 'cpu']
    assert call('evaluate', data, *evaluate).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path/'scores').rglob('*') if path.is_file()}
    refused(call('evaluate', other, *evaluate), 'holds another run: data was', other)
    assert {path: path.read_bytes() for path in (tmp_path/'scores').rglob('*') if path.is_file()} == before

def test_parts_of_sequences_are_refused_before_a_folder_is_claimed(data, model, tmp_path):
    evaluate = ['--model', model, '--out', tmp_path/'scores', '--device', 'cpu']
    refused(call('evaluate', data, *evaluate, '--subsets'), "can't do without any of them")
    assert not (tmp_path/'scores').exists()

def test_a_tilde_is_the_home_folder(data, model, tmp_path):
    (tmp_path/'home').mkdir()
    predict = ['--model', model, '--out=~/masks', '--device', 'cpu']
    result = subprocess.run(
        line('predict', data, *predict), capture_output=True, text=True, env=ENV | dict(HOME=str(tmp_path/'home')),
        cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path/'home'/'masks').glob('*_mask.nii.gz'))) == 4
    assert [path.name for path in tmp_path.iterdir()] == ['home']
