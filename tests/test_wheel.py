"The wheel in an environment of its own: what a user installs, without the notebooks, nbdev and Jupyter."
import os, subprocess, sys, venv, zipfile
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

import nibabel, numpy, pytest

ROOT = Path(__file__).resolve().parent.parent
settings = ConfigParser(delimiters=['='])
settings.read(ROOT/'settings.ini', encoding='utf-8')
COMMANDS = [script.split('=')[0] for script in settings['DEFAULT']['console_scripts'].split()]

def run(*command, cwd):
    "What a command printed; its whole output is the message where it fails. Never run in the checkout, whose mriseg would be imported."
    result = subprocess.run([str(part) for part in command], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
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
    files = [Path(name) for name in zipfile.ZipFile(wheel).namelist() if name.startswith('mriseg/') and name.endswith('.py')]
    modules = ['.'.join(file.with_suffix('').parts).removesuffix('.__init__') for file in files]
    assert set(modules) >= {'mriseg', 'mriseg.cli', 'mriseg.phantom'}
    code = f'import importlib, mriseg\nfor name in {modules}: importlib.import_module(name)\nprint(mriseg.__file__)'
    assert str(bin_folder.parent) in run(bin_folder/'python', '-c', code, cwd=tmp_path)

@pytest.mark.parametrize('command', COMMANDS)
def test_help(command, bin_folder, tmp_path):
    assert command in run(bin_folder/command, '--help', cwd=tmp_path)

def test_train_predict_and_look(bin_folder, tmp_path):
    make = 'from mriseg.phantom import write_phantoms; write_phantoms("data", 4, seed=7, shape=(48, 56, 24))'
    run(bin_folder/'python', '-c', make, cwd=tmp_path)
    run(bin_folder/'mriseg_train', 'data', '--out', 'run', '--preset', 'small', '--epochs', '1', '--batch_size', '4', '--device', 'cpu', cwd=tmp_path)
    run(bin_folder/'mriseg_predict', 'data', '--model', 'run', '--out', 'masks', cwd=tmp_path)
    cases = sorted(path for path in (tmp_path/'data').iterdir() if path.is_dir())
    assert len(cases) == 4
    for case in cases:
        image, mask = nibabel.load(next(case.glob('*_flair.nii*'))), nibabel.load(tmp_path/'masks'/f'{case.name}_mask.nii.gz')
        assert mask.shape == image.shape
        numpy.testing.assert_allclose(mask.affine, image.affine)
    run(bin_folder/'mriseg_browse', 'data', '--model', 'run', '--out', 'look.html', '--device', 'cpu', cwd=tmp_path)   # the script that draws slices is in the wheel too
    assert (tmp_path/'look.html').read_text().count('standalone(root, "') == 4
