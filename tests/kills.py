"Work that is killed at random moments and begun again has to come to the same end."
import os, random, shutil, signal, sys, time
from threading import RLock

import torch
from tqdm import tqdm

import mriseg.training.loop

def kill_at_random(run, folder, *, kills, takes):
    "Do `run` in copies of this process, and kill so many of them after a random part of the seconds that it takes."
    rng = random.Random(0)
    while kills:
        process = os.fork()
        if not process:
            sys.stdout = sys.stderr = open(os.devnull, 'w')
            torch.set_num_threads(1)
            tqdm.set_lock(RLock())   # as in test_resume.py
            mriseg.training.loop.SAVE_SECONDS = 0
            try:
                run()
            finally:
                os._exit(0)
        ends = time.monotonic() + rng.uniform(0.05, 0.25)*takes
        while time.monotonic() < ends and os.waitpid(process, os.WNOHANG) == (0, 0):
            time.sleep(0.005)
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            shutil.rmtree(folder) # it came to its end before it could be killed often enough: once more from the beginning
        else:
            kills -= os.waitpid(process, 0)[1] == signal.SIGKILL

def timed(run):
    "What `run` returns, and the seconds that it takes."
    started = time.monotonic()
    result = run()
    return result, time.monotonic() - started
