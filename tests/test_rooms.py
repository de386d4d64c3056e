"The map of the house holds: who may import whom, and what a room brings along."
import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent/'mriseg'
ROOMS = ('', 'volumes', 'cases', 'networks', 'prediction', 'viewing', 'training', 'evaluation', 'transfer')
GROUND = ('files', 'folders', 'terminal', 'device', 'processes', 'page', 'interrupt', 'serve') # the other modules without a room stand on top of all
MODULES = sorted(path for path in PACKAGE.rglob('*.py') if not path.name.startswith('_'))

def dotted(path):
    return '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)

def imported(path):
    "The modules of the package that a module imports, wherever in it."
    names = {dotted(other) for other in MODULES}
    here = path.relative_to(PACKAGE).parts
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = here[:len(here) - node.level]
            base = '.'.join([*above, *filter(None, [node.module])])
            found = {base, *('.'.join(filter(None, [base, alias.name])) for alias in node.names)}
            yield from found & names

def height(module):
    "The number of the floor that a module is on."
    room = module.rpartition('.')[0]
    return len(ROOMS) if not room and module not in GROUND else ROOMS.index(room)

@pytest.mark.parametrize('path', MODULES, ids=dotted)
def test_nothing_is_imported_from_a_floor_above(path):
    above = [name for name in imported(path) if height(name) > height(dotted(path))]
    assert not above, f'{dotted(path)} imports {above}'

def test_a_floor_above_would_be_seen():
    "The test itself: the commands import from every floor but their own."
    found = {height(name) for name in imported(PACKAGE/'cli.py')}
    assert found >= {0, 2, 3, 5, 6, 8}

def test_the_networks_know_nothing_of_images():
    found = {name for path in PACKAGE.glob('networks/*.py') for name in imported(path)}
    assert not [name for name in found if name.startswith(('volumes.', 'cases.'))]

def brought(*modules):
    "What is loaded when modules are imported in a fresh process."
    program = f'import sys, {", ".join(modules)}\nprint(*sys.modules)'
    ran = subprocess.run([sys.executable, '-c', program], text=True, capture_output=True, check=True)
    return set(ran.stdout.split())

@pytest.mark.parametrize('room, without', [('volumes', 'torch'), ('cases', 'torch'), ('networks', 'nibabel')])
def test_a_room_does_without(room, without):
    modules = [f'mriseg.{dotted(path)}' for path in PACKAGE.glob(f'{room}/*.py') if not path.name.startswith('_')]
    assert len(modules) > 3
    assert without not in brought(*modules)

def test_predicting_needs_few_modules():
    own = {name for name in brought('mriseg.prediction.predict') if name.startswith('mriseg.')}
    modules = sorted({dotted(path) for path in MODULES} & {name.removeprefix('mriseg.') for name in own})
    assert len(modules) <= 12, modules
    assert not [name for name in modules if name.startswith(('training', 'viewing')) or name == 'networks.augment']

def test_the_training_loop_knows_no_viewer():
    assert not [name for name in brought('mriseg.training.loop') if name.startswith('mriseg.viewing')]

def test_a_page_is_called_as_its_module():
    "The map, the sidebar and a link's text name a page by its module."
    pages = [path for path in (PACKAGE.parent/'nbs').rglob('[0-9][0-9]_*.ipynb') if path.parent.name != 'tutorials']
    called = {}
    for path in pages:
        title = ''.join(json.loads(path.read_text(encoding='utf-8'))['cells'][0]['source']).splitlines()[0]
        called[path.stem] = title.removeprefix('# ').replace('\\_\\_', '').replace(' ', '_')
    assert len(called) > 60
    assert {page: title for page, title in called.items() if page[3:] != title} == {}
