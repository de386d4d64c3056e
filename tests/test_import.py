"Importing the library decides nothing: no device is looked for, none is touched."
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent/'mriseg'

def test_no_module_touches_a_device_when_it_is_imported():
    found = [path for path in sorted(PACKAGE.rglob('*.py')) if not path.stem.startswith('_')]
    modules = ['.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts) for path in found]
    program = f"""
import importlib, torch
def touched(*args, **kwargs): raise AssertionError('a device was asked for at import')
torch.cuda.is_available = torch.cuda._lazy_init = torch.cuda.device_count = torch.backends.mps.is_available = touched
torch.accelerator.current_accelerator = torch.get_num_threads = touched
before = torch.get_default_dtype(), torch.initial_seed()
for name in {modules}: importlib.import_module(name)
assert before == (torch.get_default_dtype(), torch.initial_seed()) and not torch.cuda.is_initialized()
from mriseg.device import default_device
try: default_device()
except AssertionError: print('only when called')
"""
    result = subprocess.run([sys.executable, '-c', program], text=True, capture_output=True)
    assert result.stdout.strip() == 'only when called', result.stderr

def test_importing_the_network_brings_nothing_along():
    "What `mriseg.networks.segnet` adds to torch is itself: no notebook tool, no plotting, no image reader."
    program = '''
import sys, torch
before = set(sys.modules)
import mriseg.networks.segnet
brought = set(sys.modules) - before
print(*sorted({name.split('.')[0] for name in brought}))
'''
    brought = subprocess.run([sys.executable, '-c', program], text=True, capture_output=True, check=True).stdout.split()
    assert brought == ['mriseg'], brought
