"The checks that CI runs. `python tools/gate.py` runs all, `python tools/gate.py export clean` those two."
import ast, json, os, re, subprocess, sys, sysconfig, tempfile, tokenize
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, NOTEBOOKS = ROOT/'mriseg', ROOT/'nbs'
ENV = {**os.environ, 'PATH': sysconfig.get_path('scripts') + os.pathsep + os.environ['PATH'],   # nbdev_* and ruff are called by name
       'OMP_NUM_THREADS': '1', 'MPLBACKEND': 'agg'}   # the notebooks run side by side: more threads each is slower

def run(*command):
    return subprocess.run(command, cwd=ROOT, env=ENV, text=True, capture_output=True)

def complaint(result):
    "What a command said, if it failed."
    return [(result.stdout + result.stderr).strip() or f'exit status {result.returncode}'] if result.returncode else []

def modules():
    "Each exported module with the notebook it says it is made from."
    for path in sorted(PACKAGE.rglob('*.py')):
        if path.name in ('__init__.py', '_modidx.py'):
            continue
        found = re.search(r'File to edit: (\S+\.ipynb)', path.read_text(encoding='utf-8'))
        yield path, found and (path.parent/found[1]).resolve()

def changed_by(command, folder, pattern):
    "What `command` changes is not as it should be. It stays changed, and is named."

    def contents():
        return {path: path.read_bytes() for path in folder.rglob(pattern) if '.ipynb_checkpoints' not in path.parts}

    before = contents()
    result = run(command)
    after = contents()
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    names = sorted(str(path.relative_to(ROOT)) for path in changed)
    told = [f'{name}: {command} has just rewritten it; look at the difference and commit it' for name in names]
    return complaint(result) + told

# --- Checks that are one each: they return what is wrong

def export():
    "the package is what the notebooks export"
    strays = [path for path, notebook in modules() if not (notebook and notebook.exists())]
    return changed_by('nbdev_export', PACKAGE, '*.py') + [
        f'{path.relative_to(ROOT)}: no notebook exports it' for path in strays
    ]

def clean():
    "the notebooks are clean"
    return changed_by('nbdev_clean', NOTEBOOKS, '*.ipynb')

EACH_IN_A_COPY = '''
import os, sys, traceback
failed = 0
for name in sys.argv[1:]:
    copy = os.fork()
    if not copy:
        try:
            __import__(name)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    if status:
        print(f'{name} ended with {status}', file=sys.stderr, flush=True)
        failed += 1
sys.exit(failed > 0)
'''

def imports():
    "each module can be imported alone"
    lots = {'': [], 'import torch': []}   # what a process has loaded before it is copied for each of some modules
    for path, _ in modules():
        begins = re.search('^(import|from) torch', path.read_text(encoding='utf-8'), re.M)
        lots['import torch' if begins else ''].append(dotted(path))   # it loads torch anyway, which takes two seconds
    if sys.platform == 'darwin':   # where a copy of a process may not plot
        lots = {f'import {name}': [] for names in lots.values() for name in names}
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda lot: run(sys.executable, '-c', f'{lot[0]}\n{EACH_IN_A_COPY}', *lot[1]), lots.items())
    return [said for result in results for said in complaint(result)]

def dotted(path):
    "The name by which a module is imported."
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts)

def order():
    "a module imports only modules of earlier notebooks"
    place = {dotted(path): notebook.name for path, notebook in modules() if notebook}
    return [
        f'{module} ({place[module]}) imports {name} ({place[name]})'
        for path, notebook in modules()
        if notebook
        for module in [dotted(path)]
        for name in imported(path)
        if name in place and place[name] >= place[module]
    ]

def imported(path):
    "What a module imports of the package, wherever in it: modules, and the names in them."
    parts = dotted(path).split('.')
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parts[:-node.level] if node.level else []
            base = '.'.join([*above, *filter(None, [node.module])])
            yield base
            yield from (f'{base}.{alias.name}' for alias in node.names)

def cells():
    "imports stand in cells of their own: building the site executes what stands beside them"
    mixed = []
    for path in sorted(NOTEBOOKS.rglob('*.ipynb')):
        if '.ipynb_checkpoints' in path.parts:
            continue
        for number, cell in enumerate(json.loads(path.read_text(encoding='utf-8'))['cells']):
            text = ''.join(cell['source'])
            if cell['cell_type'] != 'code' or 'nbdev_export()' in text or text.startswith(('%', '!')):
                continue
            kinds = {isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(text).body}
            if kinds == {True, False}:
                mixed.append(f'{path.relative_to(ROOT)}, cell {number}: it imports and does something else; split it')
    return mixed

LONGEST = 120 # characters of code in a line

def long_lines(text):
    "The numbers of lines that are too long, a comment at their end not counted."
    ends = {}
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            ends[token.start[0]] = token.start[1]
    lines = enumerate(text.splitlines(), 1)
    return [number for number, line in lines if len(line[:ends.get(number)].rstrip()) > LONGEST]

def lines():
    "no line of code is longer than 120 characters, in notebooks, tests and tools"
    found = []
    for path in sorted([*ROOT.glob('tests/*.py'), *ROOT.glob('tools/*.py'), *NOTEBOOKS.rglob('*.ipynb')]):
        if '.ipynb_checkpoints' in path.parts:
            continue
        text = path.read_text(encoding='utf-8')
        parts = {'': text} if path.suffix == '.py' else {
            f', cell {cell["id"]}': ''.join(cell['source'])
            for cell in json.loads(text)['cells']
            if cell['cell_type'] == 'code' and not cell['source'][:1] == ['%']
        }
        for place, code in parts.items():
            found += [f'{path.relative_to(ROOT)}{place}, line {number}' for number in long_lines(code)]
    return found

def lint():
    "nothing of a notebook is missing in its module, no import is unused"
    options = ['--select', 'F401,F403,F405,F811,F821', '--exclude', '__init__.py,_modidx.py']
    return complaint(run('ruff', 'check', '--isolated', '--quiet', *options, str(PACKAGE)))

def readme():
    "README.md is what nbs/index.ipynb gives"
    return complaint(run(sys.executable, 'tools/readme.py', '--check'))

# --- Checks that are many: they return how many passed, failed and were skipped

def notebooks():
    "each notebook runs from top to bottom"
    files, skipped = tested_notebooks()
    workers = '0' if sys.platform == 'darwin' else '2'   # macOS would start each worker anew, and nbdev was made for forked ones
    with subprocess.Popen(['nbdev_test', '--timing', '--n_workers', workers], cwd=ROOT, env=ENV, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        said = []
        for line in process.stdout:
            print(line, end='')
            said.append(line)
    listed = ''.join(said).partition('Tests Failed On The Following Notebooks')[2]
    failed = len(re.findall(r'^\s+\S.*\.ipynb\s*$', listed, re.M))
    if process.returncode and not failed or not files or not process.returncode and 'Success.\n' not in said:
        failed = max(len(files), 1)   # it died as a whole, or found nothing to run, which nbdev_test calls no failure
    return Counter(passed=max(len(files) - failed, 0), failed=failed, skipped=len(skipped))

def tested_notebooks():
    "The notebooks that nbdev_test runs, and those that say `skip_exec: true`."
    from nbdev.doclinks import nbglob
    from nbdev.frontmatter import FrontmatterProc
    from nbdev.process import NBProcessor
    found = nbglob(NOTEBOOKS, as_path=True)
    skipped = [
        path
        for path in found
        if NBProcessor(path, procs=FrontmatterProc, process=True).nb.frontmatter_.get('skip_exec')
    ]
    return [path for path in found if path not in skipped], skipped

def pytest():
    "tests/: what cannot be tested in a notebook's cell"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder)/'junit.xml'
        pytest = [sys.executable, '-m', 'pytest', '-v', '-n', '2', '--dist', 'loadfile']
        status = subprocess.run([*pytest, 'tests', f'--junitxml={report}'], cwd=ROOT, env=ENV).returncode
        suites = list(ElementTree.parse(report).getroot().iter('testsuite')) if report.exists() else []
    total, failures, errors, skipped = (
        sum(int(suite.get(key)) for suite in suites) for key in ('tests', 'failures', 'errors', 'skipped')
    )
    failed = failures + errors or int(status != 0)   # no tests at all is a failure too
    return Counter(passed=max(total - failed - skipped, 0), failed=failed, skipped=skipped)

def verdict(check):
    "Run one check and say how it went."
    print(f'\n== {check.__name__}: {check.__doc__}')
    result = check()
    if not isinstance(result, Counter):
        print('\n'.join(result) or 'ok')
        result = Counter(failed=1) if result else Counter(passed=1)
    elif result['failed']:
        print(f'{check.__name__}: {result["failed"]} failed')
    return result

ALL = (export, clean, imports, order, cells, lines, lint, readme, notebooks, pytest)
CHECKS = {check.__name__: check for check in ALL}

if __name__ == '__main__':
    sys.stdout.reconfigure(line_buffering=True)
    unknown = set(sys.argv[1:]) - CHECKS.keys()
    if unknown:
        sys.exit(f'no such check: {", ".join(unknown)}; there are {", ".join(CHECKS)}')
    count = sum((verdict(CHECKS[name]) for name in sys.argv[1:] or CHECKS), Counter())
    skipped = f', {count["skipped"]} skipped' if count['skipped'] else ''
    print(f'\n{count["passed"]} passed, {count["failed"]} failed{skipped}')
    sys.exit(count['failed'] > 0)
