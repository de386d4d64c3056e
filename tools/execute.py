"`python tools/execute.py nbs/volumes/11_volume.ipynb …`: run notebooks and store their outputs, without progress bars."
import os, re, subprocess, sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbdev.clean import nbdev_clean

def is_progress(output):
    "A progress bar is of no use to a reader, and as a widget it can't be drawn without a kernel."
    if output.output_type == 'stream':
        return output.name == 'stderr' and re.search(r'it/s|s/it|\d%\||^USDT:', output.text) # USDT: PyTorch's profiler
    data = output.get('data', {})
    return 'application/vnd.jupyter.widget-view+json' in data and 'it/s' in data.get('text/plain', '')

def without_kernel(output):
    "Of a widget that leaves a page or a picture behind, these are stored: they need no Python to be looked at."
    data = output.get('data', {})
    if {'text/html', 'image/png'} & data.keys():
        data.pop('application/vnd.jupyter.widget-view+json', None)
    return output

def execute(path):
    "Run one notebook in its own folder and write it back clean."
    nb = nbformat.read(path, as_version=4)
    timeout = None if os.environ.get('MRISEG_BENCHMARK') else 600
    here = {'metadata': {'path': str(path.parent)}}
    NotebookClient(nb, kernel_name='python3', timeout=timeout, resources=here).execute()
    for cell in nb.cells:
        if cell.cell_type == 'code':
            cell.outputs = [without_kernel(output) for output in cell.outputs if not is_progress(output)]
    if not any('widget-view+json' in str(cell.get('outputs', [])) for cell in nb.cells):
        nb.metadata.pop('widgets', None)
    nbformat.write(nb, path)
    nbdev_clean(str(path))

if __name__ == '__main__':
    os.environ['MPLBACKEND'] = 'module://matplotlib_inline.backend_inline'   # with another one no picture would be stored
    subprocess.run([Path(sys.executable).with_name('nbdev_export')], check=True)
    for name in sys.argv[1:]:
        execute(Path(name).resolve())
