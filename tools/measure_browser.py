"""`python tools/measure_browser.py [ROUNDS]`, into nbs/benchmarks/browsing/.

How long a key takes to change the picture in JupyterLab, and what 500 steps leave in memory."""
import csv, sys, tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tests'))
from test_browser import CELLS, MADE_UP   # the same case as there: 240×240×155, three sequences, truth and prediction
from lab import chromium, jupyter_lab, memory, new_page, open_notebook, run_all, time_keys, turn, write_notebook

MATPLOTLIB = '''import ipywidgets, matplotlib.pyplot as plt
from made_up import make_scene
scene, slider, out = make_scene(), ipywidgets.IntSlider(75, 0, 154), ipywidgets.Output()
slider.add_class('mriseg-axial')
def draw(k):
    with out:
        out.clear_output(wait=True)
        plt.figure(figsize=(6, 5))
        plt.imshow(scene.loaded.sequences['flair'].array[:, :, k].T, cmap='gray')
        for masks, colour in ((scene.prediction, 'C1'), (scene.truth, 'C9')):
            plt.contour(masks['tumour'].array[:, :, k].T, levels=[0.5], colors=[colour])
        plt.axis('off')
        plt.show()
slider.observe(lambda change: draw(change.new), 'value')
draw(75)
ipywidgets.VBox([slider, out])'''
WAYS = {
    'matplotlib in an Output': ([MATPLOTLIB], '.jp-OutputArea .jp-RenderedImage img'),
    'SliceBrowser without anywidget': (
        [CELLS[0], 'browser = SliceBrowser(make_scene(), live=False)\nbrowser'], '.widget-image'
    ),
    'SliceBrowser': ([CELLS[0], "browser = SliceBrowser(make_scene())\nbrowser", CELLS[2]], 'canvas.slice'),
}

def measure(browser, cells, picture):
    "Milliseconds from key to pixels; and for the last way what 500 steps leave behind, in MB."
    folder = Path(tempfile.mkdtemp())
    page, wrong = new_page(browser)
    grown = None
    (folder/'made_up.py').write_text(MADE_UP)
    write_notebook(folder/'one.ipynb', cells)
    with jupyter_lab(folder) as address:
        open_notebook(page, address, 'one.ipynb')
        run_all(page)
        page.wait_for_selector(picture, timeout=120_000)
        page.wait_for_timeout(3000)
        focus = picture if picture == 'canvas.slice' else '.mriseg-axial .noUi-handle'
        times = time_keys(page, focus, picture, ['ArrowRight']*50 + ['ArrowLeft']*50)
        if picture == 'canvas.slice':
            before = memory(page)
            turn(page, 500)
            grown = memory(page) - before
        if wrong:
            raise RuntimeError(wrong)
    page.close()
    return np.array(times), grown

if __name__ == '__main__':
    rows = []
    with chromium() as browser:
        for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
            for way, (cells, picture) in WAYS.items():
                times, grown = measure(browser, cells, picture)
                taken = [f'{value:.1f}' for value in np.percentile(times, [50, 95, 100])]
                left = ['', ''] if grown is None else [f'{value:.1f}' for value in grown]
                rows.append([number + 1, way, len(times), *taken, *left])
                print(*rows[-1], flush=True)
    out = ROOT/'nbs'/'benchmarks'/'browsing'/'keys.csv'
    out.parent.mkdir(exist_ok=True)
    with out.open('w', newline='') as file:
        header = ['round', 'way', 'keys', 'median_ms', 'p95_ms', 'longest_ms', 'page_mb', 'kernel_mb']
        csv.writer(file, lineterminator='\n').writerows([header, *rows])
