"JupyterLab and Chromium without a screen, for tests and measurements of what is shown in a page."
import json, os, shutil, socket, subprocess, sys, time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import psutil

CHROMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
APPLICATIONS = ( # of a Mac
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
)
CHROMIUM = next(filter(None, map(shutil.which, CHROMES)), None)
CHROMIUM = CHROMIUM or next((path for path in APPLICATIONS if Path(path).exists()), None)
FLAGS = [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--enable-precise-memory-info', '--js-flags=--expose-gc'
]

def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]

def wait_for(address, process, seconds=60):
    "Until a server answers, whatever it says."
    for _ in range(10*seconds):
        if process.poll() is not None:
            told = f'{process.args[:3]} ended with status {process.returncode}'
            raise RuntimeError(told)
        try:
            return urlopen(address, timeout=5).status
        except HTTPError as error:
            return error.code
        except OSError:
            time.sleep(0.1)
    told = f'{address} did not answer in {seconds} s'
    raise TimeoutError(told)

def write_notebook(path, cells):
    "A notebook of code cells."
    cells = [
        dict(cell_type='code', id=f'cell{n}', metadata={}, execution_count=None, outputs=[], source=text)
        for n, text in enumerate(cells)
    ]
    kernel = dict(name='python3', display_name='Python 3', language='python')
    notebook = dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)
    Path(path).write_text(json.dumps(notebook))

@contextmanager
def jupyter_lab(folder):
    "A JupyterLab in a folder of its own, settings included; gives its address."
    port = free_port()
    home = Path(folder)/'.jupyter'
    env = {
        **os.environ,
        'JUPYTER_CONFIG_DIR': str(home),
        'JUPYTERLAB_WORKSPACES_DIR': str(home/'workspaces'),
        'JUPYTERLAB_SETTINGS_DIR': str(home/'settings'),
        'IPYTHONDIR': str(home/'ipython'),
        'MPLBACKEND': 'module://matplotlib_inline.backend_inline',
    }
    options = [
        '--no-browser', '--ip=127.0.0.1', f'--port={port}', '--allow-root', '--IdentityProvider.token=',
        '--ServerApp.password=', '--ServerApp.disable_check_xsrf=True', '--LabApp.expose_app_in_browser=True'
    ]
    with open(Path(folder)/'lab.log', 'w') as log:
        server = subprocess.Popen(
            [sys.executable, '-m', 'jupyterlab', *options], cwd=folder, env=env, stdout=log, stderr=log
        )
    try:
        wait_for(f'http://127.0.0.1:{port}/api', server)
        yield f'http://127.0.0.1:{port}'
    finally:
        server.terminate()
        server.wait(20)

@contextmanager
def chromium(flags=()):
    "A Chromium without a screen."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=[*FLAGS, *flags])
        yield browser
        browser.close()

def new_page(browser, width=1280, height=1000, **options):
    "A page of its own, and a list of what goes wrong in it."
    page = browser.new_page(viewport=dict(width=width, height=height), **options)
    wrong = []
    page.on('pageerror', lambda error: wrong.append(str(error)))
    page.on(
        'console',
        lambda message: wrong.append(f'{message.text} ({message.location["url"]})') if message.type == 'error' else None
    )
    return page, wrong

def open_notebook(page, lab, name):
    page.goto(f'{lab}/lab/tree/{name}?reset')
    page.wait_for_function('window.jupyterapp && document.querySelector(".jp-Notebook .jp-Cell")', timeout=60_000)

def run_all(page):
    "Run all cells, as from the menu."
    page.wait_for_function( # or Lab asks which kernel to take
        "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'", timeout=60_000
    )
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }") # without waiting for the end

# What a slice shows at the middle of each voxel, and how long a key takes to change it
PROBE = '''
window.shown = (columns, rows) => {
  const canvas = [...document.querySelectorAll('canvas.slice')].find(one => one.clientWidth > 50);
  const {width, height} = canvas, data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  const found = [];
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
    const row = Math.floor((y + 0.5)*height/rows), column = Math.floor((x + 0.5)*width/columns);
    const at = 4*(row*width + column);
    found.push(data[at], data[at + 1], data[at + 2]);
  }
  return found;
};
(() => {
  const small = Object.assign(document.createElement('canvas'), {width: 64, height: 64});
  const pen = small.getContext('2d', {willReadFrequently: true});
  const isLarge = one => one.getBoundingClientRect().width > 100;
  window.fingerprint = selector => {
    const one = [...document.querySelectorAll(selector)].find(isLarge);
    if (!one || one.tagName === 'IMG' && !(one.complete && one.naturalWidth)) return null;
    pen.clearRect(0, 0, 64, 64);
    pen.drawImage(one, 0, 0, 64, 64);
    return pen.getImageData(0, 0, 64, 64).data.reduce((sum, value) => (sum*31 + value) | 0, 0);
  };
  window.timeKeys = selector => {
    window.times = [];
    window.addEventListener('keydown', () => {
      const begin = performance.now(), before = window.fingerprint(selector);
      window.waiting = true;
      const end = time => {
        window.times.push(time);
        window.waiting = false;
      };
      const look = () => {
        const now = window.fingerprint(selector), passed = performance.now() - begin;
        if (now !== null && now !== before) end(passed);
        else if (passed > 8000) end(NaN);
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    }, true);
  };
})();'''

def time_keys(page, focus, selector, keys):
    "Milliseconds from each key to changed pixels."
    page.evaluate(PROBE)
    page.evaluate('selector => window.timeKeys(selector)', selector)
    page.locator(focus).first.focus()
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_function('window.waiting === false', timeout=12_000)
        page.wait_for_timeout(30)
    return page.evaluate('window.times')

def memory(page):
    "MB that page and kernel hold, after tidying up; a cell has printed 'kernel' and the number of its process."
    kernel = psutil.Process(int(page.get_by_text('kernel ').last.inner_text().split()[1]))
    page.evaluate('() => { for (let n = 0; n < 3; n++) window.gc(); }')
    page.wait_for_timeout(500)
    return np.array([page.evaluate('performance.memory.usedJSHeapSize'), kernel.memory_info().rss])/1e6

def turn(page, times):
    "Turn slices forth and back by the keys."
    for n in range(times):
        page.keyboard.press('ArrowRight' if n//40 % 2 else 'ArrowLeft')
