"What several test files use."
import os, subprocess, sys

import pytest

@pytest.fixture
def small_disk(tmp_path):
    "A disk of 20 MB, to be filled."
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', tmp_path]
    if not sys.platform.startswith('linux') or os.geteuid() or subprocess.run(mount, capture_output=True).returncode: pytest.skip('only root on Linux can mount a small disk to fill')
    yield tmp_path
    subprocess.run(['umount', tmp_path], check=True)
