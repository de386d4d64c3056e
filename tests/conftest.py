"What several test files use."
import os, signal, subprocess, sys

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)   # what runs in the background of a shell is deaf to it, and so would be all that tests start

@pytest.fixture
def small_disk(tmp_path):
    "A disk of 20 MB, to be filled."
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', tmp_path]
    if not sys.platform.startswith('linux') or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('only root on Linux can mount a small disk to fill')
    yield tmp_path
    subprocess.run(['umount', tmp_path], check=True)
