"Commands in copies of a process that has loaded mriseg: as real as those that are started, three seconds sooner."
import atexit, json, os, subprocess, sys, tempfile
from functools import cache
from pathlib import Path

ORIGINAL = '''
import atexit, json, os, sys, traceback
import mriseg.cli
import torch._dynamo   # as every optimiser does
from mriseg.start import main
answers = os.fdopen(os.dup(1), 'w')
print('ready', file=answers, flush=True)
for line in sys.stdin:
    wanted = json.loads(line)
    copy = os.fork()
    if not copy:
        for number, path in enumerate((os.devnull, wanted['stdout'], wanted['stderr'])):
            os.dup2(os.open(path, os.O_RDWR), number)
        os.environ.clear()
        os.environ.update(wanted['environment'])
        os.chdir(wanted['folder'])
        sys.argv = ['mriseg', *wanted['arguments']]
        try:
            status = main() or 0
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
            status = 1
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(status)   # without taking each object apart, which takes two seconds in a copy
    print(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]), file=answers, flush=True)
'''
QUIET = dict(TQDM_DISABLE='1')   # without progress bars

@cache
def original(
    python, # the program, and so the environment, that mriseg is imported in
    folder, # where it is imported
):
    "A process that has loaded all that a command needs, and waits; it ends with this one."
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process = subprocess.Popen([python, '-c', ORIGINAL], env={**os.environ, **QUIET}, cwd=folder, **pipes)
    atexit.register(process.communicate)   # which ends it
    assert process.stdout.readline() == 'ready\n'
    return process

def call(*arguments, python=sys.executable, folder=None, **environment):
    "A command as a user would type it: its status, and what it wrote."
    environment = {**os.environ, **QUIET, **environment}
    if not hasattr(os, 'fork') or sys.platform == 'darwin':   # where a copy may not plot
        program = 'import sys; sys.argv[0] = "mriseg"; from mriseg.start import main; sys.exit(main())'
        command = [python, '-c', program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    process = original(python, folder)
    with tempfile.TemporaryDirectory() as home:
        written = [Path(home, name) for name in ('stdout', 'stderr')]
        for path in written:
            path.touch()
        wanted = dict(
            arguments=list(map(str, arguments)),
            environment=environment,
            folder=str(folder or Path.cwd()),
            stdout=str(written[0]),
            stderr=str(written[1]),
        )
        print(json.dumps(wanted), file=process.stdin, flush=True)
        status = int(process.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, *(path.read_text() for path in written))
