"The wheel in an environment of its own: what a user installs, without the notebooks, nbdev and Jupyter."
import os, subprocess, sys, venv, zipfile
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

import nibabel, numpy, pytest

from copies import call
from mriseg.start import LEAVES

ROOT = Path(__file__).resolve().parent.parent
settings = ConfigParser(delimiters=['='])
settings.read(ROOT/'settings.ini', encoding='utf-8')

def run(*command, cwd, **env):
    "What a command printed, or all of it as the message of a failure; not in the checkout, or its mriseg is imported."
    everything = dict(text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    result = subprocess.run([str(part) for part in command], cwd=cwd, env={**os.environ, **env}, **everything)
    assert result.returncode == 0, f'{command} ended with {result.returncode}:\n{result.stdout}'
    return result.stdout

@pytest.fixture(scope='session')
def wheel(tmp_path_factory):
    "Built from the source distribution, so that one is whole too."
    folder = tmp_path_factory.mktemp('dist')
    run(sys.executable, '-m', 'build', '--outdir', folder, ROOT, cwd=folder)
    return next(folder.glob('*.whl'))

@pytest.fixture(scope='session')
def bin_folder(wheel, tmp_path_factory):
    "The programs of a fresh environment that holds the wheel and what it requires, in the tested versions."
    folder = tmp_path_factory.mktemp('wheel')
    venv.create(folder/'venv', with_pip=True)
    found = folder/'venv'/'bin'
    install = [found/'python', '-m', 'pip', 'install', '-qq', '-c', ROOT/'constraints.txt']
    if index := os.environ.get('TORCH_INDEX'):   # as in the Makefile
        run(*install, '--no-deps', '--retries', '0', '--timeout', '15', '--extra-index-url', index, 'torch', cwd=folder)
    run(*install, wheel, cwd=folder)
    return found

def test_environment(bin_folder, tmp_path):
    listed = run(bin_folder/'python', '-c', 'from importlib.metadata import distributions as d\n'
                 'for each in d(): print(each.metadata["Name"].lower(), each.version)', cwd=tmp_path)
    versions = dict(line.split() for line in listed.splitlines())
    assert versions['mriseg'] == version('mriseg')
    assert versions['torch'] == version('torch'), 'the tests ran with another torch than the wheel is given'
    assert not versions.keys() & {'nbdev', 'execnb', 'jupyterlab', 'notebook', 'nbconvert', 'pytest', 'ruff'}

def test_modules(wheel, bin_folder, tmp_path):
    names = zipfile.ZipFile(wheel).namelist()
    files = [Path(name) for name in names if name.startswith('mriseg/') and name.endswith('.py')]
    modules = ['.'.join(file.with_suffix('').parts).removesuffix('.__init__') for file in files]
    assert set(modules) >= {'mriseg', 'mriseg.cli', 'mriseg.volumes.phantom'}
    code = f'import importlib, mriseg\nfor name in {modules}: importlib.import_module(name)\nprint(mriseg.__file__)'
    assert str(bin_folder.parent) in run(bin_folder/'python', '-c', code, cwd=tmp_path)

@pytest.mark.parametrize('command', LEAVES)
def test_help(command, bin_folder):
    shown = call(command, '--help', python=bin_folder/'python', folder=bin_folder.parent)
    assert shown.returncode == 0 and shown.stdout.startswith(f'usage: mriseg {command}'), shown.stderr

def test_overview(bin_folder, tmp_path):
    told = run(bin_folder/'mriseg', '--help', cwd=tmp_path)
    assert [line.split()[0] for line in told.splitlines() if line.startswith('  ')] == list(LEAVES)

def train_predict_and_look(bin_folder, tmp_path, **env):
    make = 'from mriseg.volumes.phantom import write_phantoms; write_phantoms("data", 4, seed=7, shape=(48, 56, 24))'
    run(bin_folder/'python', '-c', make, cwd=tmp_path, **env)
    mriseg, cpu = bin_folder/'mriseg', ('--device', 'cpu')
    quick = ('--preset', 'small', '--epochs', '1', '--batch-size', '4', '--learning_rate', '1e-3')   # either way
    run(mriseg, 'train', 'data', '--out', 'run', *quick, *cpu, cwd=tmp_path, **env)
    run(mriseg, 'predict', 'data', '--model', 'run', '--out', 'masks', cwd=tmp_path, **env)
    cases = sorted(path for path in (tmp_path/'data').iterdir() if path.is_dir())
    assert len(cases) == 4
    for case in cases:
        image = nibabel.load(next(case.glob('*_flair.nii*')))
        mask = nibabel.load(tmp_path/'masks'/f'{case.name}_mask.nii.gz')
        assert mask.shape == image.shape
        numpy.testing.assert_allclose(mask.affine, image.affine)
    run(mriseg, 'evaluate', 'data', '--model', 'run', '--out', 'scores', *cpu, cwd=tmp_path, **env)
    run(mriseg, 'browse', 'data', '--model', 'run', '--out', 'look.html', *cpu, cwd=tmp_path, **env)   # with its script
    assert (tmp_path/'look.html').read_text().count('standalone(root, "') == 4

def test_train_predict_and_look(bin_folder, tmp_path):
    train_predict_and_look(bin_folder, tmp_path)

def test_with_the_newest_versions(bin_folder, tmp_path):
    "What the requirements allow today, which nobody has tested: all but torch, of which the newest may be gigabytes."
    wanted = [text for text in settings['DEFAULT']['requirements'].split() if not text.startswith('torch')]
    newest = tmp_path/'newest'
    run(bin_folder/'python', '-m', 'pip', 'install', '-qq', '--no-deps', '--target', newest, *wanted, cwd=tmp_path)
    code = 'import fastcore, mriseg; print(fastcore.__file__, fastcore.__version__)'
    place, found = run(bin_folder/'python', '-c', code, cwd=tmp_path, PYTHONPATH=str(newest)).split()
    assert str(newest) in place and int(found.split('.')[0]) >= 2   # whose commands have hyphens
    train_predict_and_look(bin_folder, tmp_path, PYTHONPATH=str(newest))
