"A cache that is killed, runs out of room, is built twice at once or is damaged ends up as if nothing had happened."
import os, random, signal, subprocess, sys, threading, time
from types import SimpleNamespace

import pytest

from mriseg.cases.cache import build_cache
from mriseg.files import remove_unfinished, atomic_write
from mriseg.cases.find import find_cases
from mriseg.volumes.phantom import write_phantoms

SEQUENCES = ('t1', 't1ce', 't2', 'flair')
STRUCTURES = dict(whole_tumour=(1, 2, 4))

BUILDER = f'''
import hashlib, os, shutil, sys
from mriseg.cases.cache import build_cache
from mriseg.cases.find import find_cases
cases = find_cases(sys.argv[1])
exec(sys.argv[2])
print('ready', flush=True)
for line in sys.stdin:
    try:
        cached = build_cache(cases, {SEQUENCES}, {STRUCTURES}, line.strip())
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    read = []
    for case in cached:
        images, masks = (hashlib.sha256(array).hexdigest() for array in (case.images, case.masks))
        read.append((case.case_id, repr(case.placement), images, masks))
    print('built', read, flush=True)
'''

class Builder:
    "A process that builds a cache in each folder it is told, and says what it then reads there."
    def __init__(self, data, before=''): # a program to run before the first of them
        self.process = subprocess.Popen(
            [sys.executable, '-c', BUILDER, data, before],
            text=True,
            env={**os.environ, 'TQDM_DISABLE': '1', 'OMP_NUM_THREADS': '1'},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.answer('ready')

    def tell(self, line):
        print(line, file=self.process.stdin, flush=True)

    def answer(self, word):
        for line in self.process.stdout:
            if line.startswith(word):
                return line
        raise AssertionError(self.process.communicate()[1])

    def build(self, folder):
        self.tell(folder)
        return self.answer('built')

    def end(self, last=None): # exit status, and what it said on the error stream
        said = self.process.communicate(last and f'{last}\n')[1]
        return self.process.returncode, said.strip()

def finished(folder):
    return {p.name: p.read_bytes() for p in folder.glob('[!.]*')}

def stamps(folder):
    return {p.name: p.stat().st_mtime_ns for p in folder.glob('[!.]*')}

def leftovers(folder):
    return list(folder.glob('.*'))

def wait_for(condition):
    "Until it holds, to a millisecond or so."
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends, 'nothing came'
        time.sleep(0.0005)

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp('phantoms'), 6, seed=10, shape=(80, 96, 32))

@pytest.fixture(scope='module')
def undisturbed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('undisturbed')
    builder = Builder(data)
    builder.tell(folder)
    wait_for(lambda: any(folder.iterdir()))
    began = time.perf_counter()
    wait_for(lambda: len(stamps(folder)) == 6)
    seconds = time.perf_counter() - began
    read = builder.answer('built')
    assert builder.end() == (0, '') and not leftovers(folder)
    return SimpleNamespace(files=finished(folder), read=read, seconds=seconds) # from the first file's beginning to the last one's end

def goes_on(data, folder, undisturbed):
    "A new process leaves alone what is there, and with what it adds all is as in an undisturbed build."
    before = stamps(folder)
    builder = Builder(data)
    assert builder.build(folder) == undisturbed.read and builder.end() == (0, '')
    assert finished(folder) == undisturbed.files and before.items() <= stamps(folder).items()

def test_killed_at_ten_random_moments(data, undisturbed, tmp_path):
    rng = random.Random(0)
    halfway = 0
    for tenth in range(10):
        folder = tmp_path/f'killed{tenth}'
        builder = Builder(data)
        folder.mkdir()
        builder.tell(folder)
        wait_for(lambda: any(folder.iterdir()))
        time.sleep((tenth + rng.random())/10*undisturbed.seconds)
        builder.process.kill()
        assert builder.end()[0] == -signal.SIGKILL
        halfway += len(finished(folder)) < 6
        assert finished(folder).items() <= undisturbed.files.items()   # never half a case under its own name
        goes_on(data, folder, undisturbed)
    assert halfway >= 3   # or little was tested; on a machine twice as fast as it was in the measurement five moments lie within the build

ONE_BY_ONE = 'import mriseg.cases.cache; mriseg.cases.cache.AT_ONCE = 1\n'   # so that it is known how many cases find room

def test_killed_in_the_middle_of_a_file(data, undisturbed, tmp_path):
    "The system kills a process that writes more into a file than it may."
    pytest.importorskip('resource', reason='this system has no limits for the size of files')
    limit = min(map(len, undisturbed.files.values()))//2
    status, _ = Builder(data, ONE_BY_ONE + f'''
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0)), resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
''').end(tmp_path)
    left, = tmp_path.iterdir()
    assert status == -signal.SIGXFSZ and left.name.startswith('.') and left.stat().st_size <= limit
    goes_on(data, tmp_path, undisturbed)
    assert leftovers(tmp_path) == [left]   # for all the next process knows, another one may still be writing it
    os.utime(left, (time.time() - 7200,)*2)
    goes_on(data, tmp_path, undisturbed)
    assert not leftovers(tmp_path)   # after hours nobody is

def test_a_disk_that_fills_up(data, undisturbed, small_disk):
    largest = max(map(len, undisturbed.files.values()))
    filler = small_disk/'filler'
    folder = small_disk/'cache'
    fill = f'''
def disk_usage(folder, really=shutil.disk_usage):
    "After the room was found sufficient, another program takes most of it."
    usage = really(folder)
    with open({str(filler)!r}, 'wb') as file:
        file.write(bytes(usage.free - {int(2.5*largest)}))
    return usage
shutil.disk_usage = disk_usage
'''
    status, said = Builder(data, ONE_BY_ONE + fill).end(folder)
    assert status == 1, said
    assert said.startswith(f'{folder}: '), said
    assert 'No space left on device' in said, said
    assert '2 of 6 cases are decoded and stay so' in said, said
    assert '\n' not in said, said
    assert len(finished(folder)) == 2 and not leftovers(folder)
    filler.unlink()
    goes_on(data, folder, undisturbed)

def test_a_file_that_is_not_allowed_to_grow(data, undisturbed, tmp_path):
    "What a full disk does to a file, on systems where none can be mounted."
    pytest.importorskip('resource', reason='this system has no limits for the size of files')
    sizes = [len(undisturbed.files[name]) for name in sorted(undisturbed.files)]
    limit = max(sizes) - 1
    before = sizes.index(max(sizes))
    assert before > 0
    limited = f'import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))'
    status, said = Builder(data, ONE_BY_ONE + limited).end(tmp_path)
    assert status == 1, said
    assert said.startswith(f'{tmp_path}: '), said
    assert 'File too large' in said, said
    assert f'{before} of 6 cases are decoded and stay so' in said, said
    assert '\n' not in said, said
    assert len(finished(tmp_path)) == before and not leftovers(tmp_path)
    goes_on(data, tmp_path, undisturbed)

def test_two_processes_at_once(data, undisturbed, tmp_path):
    both = [Builder(data), Builder(data)]
    for n in range(5):
        folder = tmp_path/str(n)
        for builder in both:
            builder.tell(folder)
        for builder in both:
            assert builder.answer('built') == undisturbed.read
        assert finished(folder) == undisturbed.files and not leftovers(folder)
    assert [builder.end() for builder in both] == [(0, '')]*2

def test_what_another_process_finished_meanwhile_is_taken_as_it_is(data, undisturbed, tmp_path):
    late, early = Builder(data, '''
def disk_usage(folder, really=shutil.disk_usage): # it has found no case in the cache, and now it waits
    print('looked', flush=True), sys.stdin.readline()
    return really(folder)
shutil.disk_usage = disk_usage
'''), Builder(data)
    late.tell(tmp_path), late.answer('looked')
    early.build(tmp_path)
    before = stamps(tmp_path)
    late.tell('go on')
    assert late.answer('built') == undisturbed.read
    assert stamps(tmp_path) == before   # no case was decoded again, or gone for a moment while the other process wanted to read it
    assert early.end() == late.end() == (0, '')

def test_tidying_while_another_process_writes(tmp_path):
    ends = time.monotonic() + 1
    def write():
        while time.monotonic() < ends:
            with atomic_write(tmp_path/'case') as meanwhile:
                meanwhile.touch()
    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        remove_unfinished(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ['case']

DAMAGES = dict(
    one_bit=lambda b: b[:len(b)//2] + bytes([b[len(b)//2] ^ 1]) + b[len(b)//2 + 1:],
    last_byte=lambda b: b[:-1] + bytes([b[-1] ^ 1]),
    short=lambda b: b[:-4096],
    zeros=lambda b: bytes(len(b)),
    empty=lambda b: b'',
)

def test_a_damaged_file_is_noticed_and_only_that_case_rebuilt(data, undisturbed, tmp_path):
    for name, content in undisturbed.files.items():
        (tmp_path/name).write_bytes(content)
    cases = find_cases(data)
    for n, (kind, damage) in enumerate(DAMAGES.items()):
        before = stamps(tmp_path)
        victim = sorted(undisturbed.files)[n]
        (tmp_path/victim).write_bytes(damage(undisturbed.files[victim]))
        build_cache(cases, SEQUENCES, STRUCTURES, tmp_path)
        assert finished(tmp_path) == undisturbed.files and not leftovers(tmp_path), kind
        assert {name for name, stamp in stamps(tmp_path).items() if stamp != before[name]} == {victim}, kind
