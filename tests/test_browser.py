"The slice browser where people use it: in JupyterLab, in a page of its own, in pages without Python; a real Chromium."
import re, shutil, subprocess, sys
from pathlib import Path

import numpy as np
import pytest

from mriseg.viewing.browser import SliceBrowser
from mriseg.page import write_page
from mriseg.viewing.slices import Scene, folded_scene, pack_scene, scene_html, scene_picture
from mriseg.volumes.volume import LoadedCase, Volume, reorient

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))
from lab import CHROMIUM, PROBE, chromium, free_port, jupyter_lab, memory, new_page, open_notebook
from lab import run_all, time_keys, turn, write_notebook

pytestmark = pytest.mark.skipif(
    not CHROMIUM,
    reason='no Chromium or Chrome is installed here, so nothing can be drawn in a page (Debian: apt install chromium)'
)

MADE_UP = '''
import numpy as np
from mriseg.viewing.slices import Scene
from mriseg.volumes.volume import LoadedCase, Volume

def make_scene(seed=0, shape=(240, 240, 155)): # as large as a case of BraTS; another seed, another size of the head
    "A head of noise with a ball, and a prediction that lies beside it."
    rng = np.random.default_rng(seed)
    affine = np.diag([-1., -1, 1, 1])
    affine[:3, 3] = 120, 110, -70
    places = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing='ij', sparse=True)
    head = (places[0]/(0.6 - seed/20))**2 + (places[1]/0.72)**2 + (places[2]/(0.9 - seed/5))**2 < 1
    centre = rng.uniform(-0.3, 0.3, 3)
    balls = []
    for shift in (0.02, 0):
        apart = sum((place - middle - shift)**2 for place, middle in zip(places, centre))
        balls.append(Volume(apart < 0.03, affine))
    scans = {}
    for name in ('t1', 't2', 'flair'):
        grey = np.where(head, rng.integers(200, 900, shape), 0)
        scans[name] = Volume(grey.astype(np.int16), affine)
    return Scene(LoadedCase(f'case {seed}', scans), dict(tumour=balls[0]), dict(tumour=balls[1]))
'''
BROWSE = '''
browser = SliceBrowser({f'case {n}': lambda n=n: make_scene(n) for n in range(3)})
browser.controls['outlines'].value = False
browser
'''
CELLS = [
    'import os, psutil\nfrom mriseg.viewing.browser import SliceBrowser\nfrom made_up import make_scene',
    BROWSE.strip(),
    "print('kernel', os.getpid())",
]
exec(MADE_UP) # the same scenes here as in the notebook

@pytest.fixture(scope='module')
def browser():
    with chromium() as one:
        yield one

@pytest.fixture(scope='module')
def lab(tmp_path_factory, browser):
    "A JupyterLab with a notebook in which a browser stands, run from top to bottom, and the page that shows it."
    folder = tmp_path_factory.mktemp('lab')
    (folder/'made_up.py').write_text(MADE_UP)
    write_notebook(folder/'browse.ipynb', CELLS)
    page, wrong = new_page(browser)
    with jupyter_lab(folder) as address:
        open_notebook(page, address, 'browse.ipynb')
        run_all(page)
        page.wait_for_selector('canvas.slice', timeout=120_000)
        page.get_by_text('kernel ').last.wait_for(timeout=60_000)
        page.evaluate(PROBE)
        page.wait_for_timeout(500)
        page.mirror = SliceBrowser({f'case {n}': lambda n=n: make_scene(n) for n in range(3)}) # what the page should show
        page.mirror.controls['outlines'].value = False
        yield page
        assert not wrong, wrong
        page.close()

def expected(page):
    "The picture that Python draws for what the page says that it shows; only its place is read from the page."
    place = int(page.locator('.readout').first.inner_text().split('slice ')[1].split()[0])
    return scene_picture(page.mirror.packed, page.mirror.view | {page.mirror.controls['plane'].value: place}), place

def on_canvas(page, shape):
    "The pixels of the canvas at the middle of each voxel, for a picture of this shape."
    rows, columns = shape[:2]
    return np.array(page.evaluate('([columns, rows]) => window.shown(columns, rows)', [columns, rows])).reshape(shape)

def agrees(page):
    "Wait until the canvas shows what Python draws, but for marks at the edges and sub-pixels; return the place."
    for _ in range(100): # a busy machine takes its time
        picture, place = expected(page)
        shown = on_canvas(page, picture.shape)
        inner = np.abs(shown[6:-6, 6:-6] - picture[6:-6, 6:-6].astype(int))
        if inner.max() <= 1:
            return place
        page.wait_for_timeout(100)
    told = f'{(inner.max(axis=2) > 1).mean():.1%} of the pixels differ, at {place}'
    raise AssertionError(told)

def pick(page, name, option):
    "Choose from a list, in the page and in the mirror."
    if name == 'plane':
        page.locator('.mriseg-plane button', has_text=option).click()
    else:
        page.locator(f'.mriseg-{name} select').select_option(option)
    page.mirror.controls[name].value = option

def test_the_page_shows_what_python_draws(lab):
    agrees(lab)

def test_arrow_keys_wheel_and_strip_turn_slices(lab):
    place = agrees(lab)
    lab.locator('canvas.slice').click(position=dict(x=300, y=200))
    for key, by in (('ArrowRight', 1), ('ArrowUp', 1), ('ArrowLeft', -1), ('PageDown', -10), ('ArrowDown', -1)):
        lab.keyboard.press(key)
        place += by
        assert agrees(lab) == place
    lab.mouse.wheel(0, -100)
    assert agrees(lab) == place + 1
    lab.locator('canvas.strip').click(position=dict(x=450, y=9))
    slider = lab.mirror.controls['axial']
    assert abs(agrees(lab) - (slider.min + 0.75*(slider.max - slider.min))) <= 1

def test_the_slider_is_dragged_with_the_mouse(lab):
    before = agrees(lab)
    handle = lab.locator('.mriseg-axial .noUi-handle')
    box = handle.bounding_box()
    x, y = box['x'] + box['width']/2, box['y'] + box['height']/2
    lab.mouse.move(x, y)
    lab.mouse.down()
    lab.mouse.move(x - 200, y, steps=12)
    lab.mouse.up()
    assert agrees(lab) < before - 30
    handle.press('ArrowRight')
    agrees(lab)

def test_play_goes_on_by_itself_and_stops(lab):
    before = agrees(lab)
    lab.locator('.jupyter-widgets.widget-play button:visible').first.click()
    lab.wait_for_function(
        'before => !document.querySelector(".readout").textContent.includes(`slice ${before}`)', arg=before,
        timeout=20_000
    )
    lab.locator('.jupyter-widgets.widget-play button:visible').first.click()
    lab.wait_for_timeout(300)
    stopped = agrees(lab)
    lab.wait_for_timeout(400)
    assert stopped != before and agrees(lab) == stopped

def test_planes_sequences_overlays_window(lab):
    for plane in ('coronal', 'sagittal', 'axial'):
        pick(lab, 'plane', plane)
        lab.wait_for_function('plane => document.querySelector(".readout").textContent.includes(plane)', arg=plane)
        agrees(lab)
        assert lab.locator('.side.left').inner_text() == ('A' if plane == 'sagittal' else 'R')
    lists = dict(sequence=('t1', 't2', 'flair'), overlay=('truth', 'errors', 'nothing', 'prediction'))
    for name, options in lists.items():
        for option in options:
            pick(lab, name, option)
            agrees(lab)
    handle = lab.locator('.mriseg-window .noUi-handle')
    for _ in range(5):
        handle.press('ArrowLeft')
    lab.mirror.controls['window'].value -= 5
    agrees(lab)

def test_jumps_and_cases(lab):
    wrong = lambda: np.array(lab.mirror.packed.header['counts']['axial'][0]['wrong'])
    slider = lab.mirror.controls['axial']
    lab.get_by_role('button', name='worst slice').click()
    lab.wait_for_function(
        'place => document.querySelector(".readout").textContent.includes(`slice ${place}`)',
        arg=int(slider.min + wrong().argmax())
    )
    agrees(lab)
    lab.keyboard.press('Escape')
    lab.locator('canvas.slice').press('Home')
    assert agrees(lab) == slider.min
    lab.get_by_role('button', name='next error').click()
    lab.wait_for_function(
        'place => document.querySelector(".readout").textContent.includes(`slice ${place}`)',
        arg=int(slider.min + np.flatnonzero(wrong())[0])
    )
    lab.locator('.widget-dropdown:has(label:text-is("case")) select').select_option('case 1')
    lab.wait_for_function('document.querySelector(".readout").textContent.startsWith("case 1")', timeout=60_000)
    lab.mirror.case.value = 'case 1'
    assert agrees(lab) == lab.mirror.packed.header['start']['axial']
    for name in ('case 2', 'case 0', 'case 2', 'case 1'): # heads of different sizes: each opens where it should be looked at, and stays there
        lab.locator('.widget-dropdown:has(label:text-is("case")) select').select_option(name)
        lab.wait_for_function(
            'name => document.querySelector(".readout").textContent.startsWith(name)', arg=name, timeout=60_000
        )
        lab.mirror.case.value = name
        lab.wait_for_timeout(400)
        assert agrees(lab) == lab.mirror.packed.header['start']['axial'], name
    lab.get_by_role('button', name='worst case').click()
    lab.wait_for_function(
        'document.querySelector(".jp-Notebook").textContent.includes("the lowest of 3 cases")', timeout=60_000
    )
    worst = min(lab.mirror.deck.dice, key=lab.mirror.deck.dice.get)
    lab.wait_for_function(
        'worst => document.querySelector(".readout").textContent.startsWith(worst)', arg=worst, timeout=60_000
    )
    lab.mirror.case.value = worst
    agrees(lab)

def test_the_pointer_is_told_where_it_is(lab):
    agrees(lab)
    header = lab.mirror.packed.header
    canvas = lab.locator('canvas.slice')
    box = canvas.bounding_box()
    view = lab.mirror.view
    columns, rows = header['shape'][0], header['shape'][1]
    lab.mouse.move(box['x'] + 10.5*box['width']/columns, box['y'] + 20.5*box['height']/rows)
    said = lab.locator('.readout').inner_text()
    place = int(said.split('slice ')[1].split()[0])
    packed = [columns - 1 - 10, rows - 1 - 20, place - header['origin'][2], 1]
    i, j, k = (np.array(header['stored']) @ packed)[:3].round().astype(int)
    x, y, z = (np.array(header['affine']) @ packed)[:3]
    assert f'voxel ({i}, {j}, {k})' in said
    across, along, upwards = (two[int(at > 0)] for two, at in (('LR', x), ('PA', y), ('IS', z)))
    assert f'{across} {abs(x):.1f}, {along} {abs(y):.1f}, {upwards} {abs(z):.1f} mm' in said

def test_five_hundred_steps_leave_no_memory_behind(lab):
    lab.locator('canvas.slice').focus()
    turn(lab, 80)
    before = memory(lab)
    lab.evaluate('''() => {
        window.turned = 0;
        const observer = new MutationObserver(() => window.turned++);
        observer.observe(document.querySelector(".readout"), {childList: true});
    }''')
    turn(lab, 500)
    page, kernel_grown = memory(lab) - before
    assert lab.evaluate('window.turned') > 450 # the slices did turn
    print(f'after 500 steps: page {page:+.1f} MB, kernel {kernel_grown:+.1f} MB')
    assert page < 20 and kernel_grown < 20

def test_the_tutorial_runs_in_jupyterlab(browser, lab, tmp_path):
    "The page that a newcomer opens, run from top to bottom: no cell fails, and its browsers are alive."
    shutil.copy(ROOT/'nbs'/'tutorials'/'04_browsing_and_scoring.ipynb', tmp_path/'tutorial.ipynb')
    page, wrong = new_page(browser, height=1400)
    with jupyter_lab(tmp_path) as address:
        open_notebook(page, address, 'tutorial.ipynb')
        run_all(page)
        cells = "[...window.jupyterapp.shell.currentWidget.content.model.cells].filter(cell => cell.type === 'code')"
        all_run = f'{cells}.every(cell => cell.executionCount)'
        idle = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
        page.wait_for_function(f'{all_run} && {idle}', timeout=240_000)
        has_failed = "cell => cell.toJSON().outputs.some(output => output.output_type === 'error')"
        failed = page.evaluate(f'{cells}.filter({has_failed}).map(cell => cell.sharedModel.source)')
        assert not failed, failed
        page.evaluate("window.jupyterapp.shell.currentWidget.content.scrollToItem(6)") # what is far away isn't drawn by JupyterLab
        page.locator('canvas.slice').first.wait_for()
        before = page.locator('.readout').first.inner_text()
        page.locator('canvas.slice').first.press('ArrowRight')
        page.wait_for_function('before => document.querySelector(".readout").textContent !== before', arg=before)
        assert not wrong, wrong
    page.close()

def test_the_page_draws_sooner_than_the_kernel(browser, lab, tmp_path):
    "The time from key to pixels, as a ratio within one run; tools/measure_browser.py measures it at leisure."
    live = time_keys(lab, 'canvas.slice', 'canvas.slice', ['ArrowRight', 'ArrowLeft']*20)
    (tmp_path/'made_up.py').write_text(MADE_UP)
    write_notebook(tmp_path/'plain.ipynb', [CELLS[0], 'browser = SliceBrowser(make_scene(), live=False)\nbrowser'])
    page, wrong = new_page(browser)
    with jupyter_lab(tmp_path) as address:
        open_notebook(page, address, 'plain.ipynb')
        run_all(page)
        page.wait_for_selector('.widget-image', timeout=120_000)
        plain = time_keys(page, '.mriseg-axial .noUi-handle', '.widget-image', ['ArrowRight', 'ArrowLeft']*10)
        assert not wrong, wrong
    print(f'median from key to pixels: page {np.median(live):.0f} ms, kernel {np.median(plain):.0f} ms')
    assert np.isfinite([*live, *plain]).all() and np.median(live) < 0.7*np.median(plain)

def test_sides_are_right_in_a_page_for_all_orientations(browser, tmp_path):
    "A marker at the patient's left, front and top, in all 48 orientations: where it is drawn, beside which letters."
    from itertools import permutations, product
    head = np.zeros((8, 10, 6), np.int16)
    head[2:6, 2:8, 1:5] = 50
    head[1, 8, 4] = 200
    marked = Volume(head, np.diag([2., 2, 3, 1]))
    places = dict(axial=4, coronal=8, sagittal=1)
    blocks = []
    codes = [
        ''.join(letters)
        for axes in permutations(('RL', 'AP', 'SI'))
        for letters in product(*axes)
    ]
    for code in codes:
        stored = reorient(marked, code)
        spot = Volume(stored.array == 200, stored.affine)
        packed = pack_scene(Scene(LoadedCase(code, dict(t1=stored)), dict(spot=spot)))
        packed.header['start'] |= places | dict(opacity=100, outlines=False)
        blocks.append(scene_html(packed))
    (tmp_path/'sides.html').write_text('<!doctype html><meta charset="utf-8">' + ''.join(blocks))
    page, wrong = new_page(browser)
    page.goto((tmp_path/'sides.html').as_uri())
    page.wait_for_function('document.querySelectorAll("canvas.slice").length === 48', timeout=60_000)
    found = page.evaluate('''async () => {
        const found = [];
        for (const scene of document.querySelectorAll('.mriseg-scene')) for (const plane of [0, 1, 2]) {
            const select = scene.querySelector('select.plane');
            const canvas = scene.querySelector('canvas.slice'), pen = canvas.getContext('2d');
            select.selectedIndex = plane;
            select.onchange();
            await new Promise(requestAnimationFrame);
            const {width, height} = canvas, data = pen.getImageData(0, 0, width, height).data;
            let x = 0, y = 0, n = 0;
            for (let at = 0; at < width*height; at++)
                if (data[4*at] === 255 && data[4*at + 1] === 159 && data[4*at + 2] === 28) {
                    x += at % width;
                    y += Math.floor(at/width);
                    n++;
                }
            const sides = ['left', 'right', 'top', 'bottom'];
            const letters = sides.map(side => scene.querySelector('.side.' + side).textContent);
            const code = scene.querySelector('.readout').textContent.slice(0, 3);
            found.push([code, select.value, x/n/width, y/n/height, ...letters]);
        }
        return found;
    }''')
    assert not wrong, wrong
    assert len(found) == 3*48 and len({one[0] for one in found}) == 48
    sides = dict(axial=['R', 'L', 'A', 'P'], coronal=['R', 'L', 'S', 'I'], sagittal=['A', 'P', 'S', 'I'])
    for code, plane, x, y, *letters in found:
        assert letters == sides[plane], (code, plane)
        assert (x < 0.5 if plane == 'sagittal' else x > 0.5) and y < 0.5, (code, plane, x, y) # the front is on the left of a sagittal picture

MOVE_RANGES = '''given => Object.entries(given).forEach(([name, value]) => {
    const range = document.querySelector("input." + name);
    range.value = value;
    range.oninput();
})'''

@pytest.mark.parametrize('most_voxels', [10**7, 8000])
def test_the_script_draws_what_python_draws(browser, tmp_path, most_voxels):
    """Every plane, overlay and structure, of an oblique grid.

    Three structures overlap, one of them is without truth, and two have maps."""
    rng = np.random.default_rng(1)
    turn = 0.2
    affine = np.diag([-1., 1.3, 2, 1])
    shape = (31, 37, 23)
    affine[:2, :2] = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ affine[:2, :2]
    image = rng.integers(1, 800, shape).astype(np.int16)
    image[3, 4, 5] = 20000
    image[10:14] = -20

    def masks(*names):
        return {name: Volume(rng.random(shape) < 0.25, affine) for name in names}

    maps = {name: Volume(rng.random(shape).astype(np.float32), affine) for name in ('a', 'c')}
    case_id = '"quoted" </script> <b>bold</b> · B7'
    loaded = LoadedCase(case_id, dict(t1=Volume(image, affine), flair=Volume(image[::-1].copy(), affine)))
    scene = Scene(loaded, masks('a', 'b', 'c'), masks('a', 'b'), maps, notes=('without t2',))
    packed = pack_scene(scene, most_voxels=most_voxels)
    assert (max(packed.header['every']) > 1) == (most_voxels == 8000)
    (tmp_path/'page.html').write_text('<!doctype html><meta charset="utf-8">' + scene_html(packed, shades=256))
    page, wrong = new_page(browser)
    page.goto((tmp_path/'page.html').as_uri())
    page.wait_for_selector('canvas.slice')
    page.evaluate(PROBE)
    page.locator('input.outlines').uncheck()
    pictures = 0
    for plane in range(3):
        page.locator('select.plane').select_option(index=plane)
        for overlay in range(len(packed.header['overlays'])):
            page.locator('select.overlay').select_option(index=overlay)
            for structure in range(4):
                page.locator('select.structure').select_option(index=structure)
                for window, level in ((100, 50), (37, 70)):
                    greys = dict(window=window, level=level)
                    page.evaluate(MOVE_RANGES, greys)
                    chosen = dict(plane=plane, overlay=overlay, structure=structure, outlines=False)
                    picture = scene_picture(packed, packed.header['start'] | chosen | greys)
                    shown = on_canvas(page, picture.shape)
                    differs = np.abs(shown[1:-1, 1:-1] - picture[1:-1, 1:-1].astype(int))
                    assert differs.max() <= 1, (plane, overlay, structure, window)
                    pictures += 1
    assert pictures == 3*5*4*2
    assert packed.header['overlays'] == ['prediction', 'truth', 'errors', 'probability', 'nothing']
    assert page.locator('.readout').inner_text().startswith(case_id)
    assert page.locator('.readout').inner_text().endswith('without t2')
    assert not page.locator('b').count()
    page.close()
    assert not wrong, wrong

def test_outlines_values_and_greys(browser, tmp_path):
    "The outline runs around a mask, a saturated voxel says so, and a drag with the right button changes the greys."
    image = np.full((20, 20, 5), 100, np.int16)
    mask = np.zeros((20, 20, 5), bool)
    image[:, :10] = 50
    image[4, 15, 2] = 30_000
    mask[5:9, 5:9] = True
    square = LoadedCase('square', dict(t1=Volume(image, np.eye(4))))
    packed = pack_scene(Scene(square, dict(spot=Volume(mask, np.eye(4)))))
    packed.header['start'] |= dict(axial=2, overlay=packed.header['overlays'].index('nothing'))
    (tmp_path/'page.html').write_text('<!doctype html><meta charset="utf-8">' + scene_html(packed))
    page, wrong = new_page(browser)
    page.goto((tmp_path/'page.html').as_uri())
    page.wait_for_selector('canvas.slice')
    orange = """() => {
        const canvas = document.querySelector('canvas.slice'), {width, height} = canvas;
        const data = canvas.getContext('2d').getImageData(0, 0, width, height).data, found = [];
        for (let at = 0; at < width*height; at++)
            if (data[4*at] - data[4*at + 2] > 90 && at % width > 20 && at % width < width - 20
                && at > 20*width && at < (height - 20)*width)
                found.push([at % width/width*20, Math.floor(at/width)/height*20]);
        return found;
    }"""
    found = np.array(page.evaluate(orange))
    # Around voxels 5 to 8, counted from the right and from the top; lines are smoothed, so any orange will do.
    assert np.allclose([found.min(0), found.max(0)], [[11, 11], [15, 15]], atol=0.15)
    assert not ((found > 11.3) & (found < 14.7)).all(axis=1).any() # an outline, nothing filled
    page.locator('input.outlines').uncheck()
    assert not page.evaluate(orange)
    box = page.locator('canvas.slice').bounding_box()

    def at(i, j):
        return box['x'] + (19.5 - i)*box['width']/20, box['y'] + (19.5 - j)*box['height']/20

    page.mouse.move(*at(4, 15))
    assert 't1 ≥ ' in page.locator('.readout').inner_text()
    assert 'voxel (4, 15, 2)' in page.locator('.readout').inner_text()
    page.mouse.move(*at(6, 6))
    assert 'prediction: spot' in page.locator('.readout').inner_text()
    assert 'truth' not in page.locator('.readout').inner_text() # nobody drew one
    page.mouse.down(button='right')
    page.mouse.move(at(6, 6)[0] - 40, at(6, 6)[1] + 20, steps=4)
    page.mouse.up(button='right')
    assert [int(page.locator(f'input.{name}').input_value()) for name in ('window', 'level')] == [80, 60]
    page.mouse.move(*at(9, 9))
    assert [int(page.locator(f'input.{name}').input_value()) for name in ('window', 'level')] == [80, 60] # the drag has ended
    page.mouse.click(*at(3, 17)) # the other planes go there
    page.locator('select.plane').select_option('sagittal')
    assert 'sagittal slice 3' in page.locator('.readout').inner_text()
    page.locator('canvas.slice').press('Alt+ArrowLeft')
    assert 'sagittal slice 3' in page.locator('.readout').inner_text() # that key is the browser's
    page.close()
    assert not wrong, wrong

def test_folded_cases_are_unpacked_when_they_are_looked_at(browser, tmp_path):
    scenes = [folded_scene(make_scene(seed, shape=(40, 40, 30)), f'case {seed}') for seed in range(2)]
    write_page(tmp_path/'page.html', 'two cases', scenes)
    page, wrong = new_page(browser)
    page.goto((tmp_path/'page.html').as_uri())
    page.wait_for_timeout(500)
    assert page.locator('canvas.slice').count() == 0
    page.locator('summary').nth(1).click()
    page.locator('canvas.slice').wait_for()
    assert page.locator('canvas.slice').count() == 1 and page.locator('.readout').inner_text().startswith('case 1')
    page.close()
    assert not wrong, wrong

def test_a_page_without_python_is_turned_through(browser, tmp_path):
    packed = pack_scene(make_scene(shape=(60, 70, 40)))
    (tmp_path/'page.html').write_text('<!doctype html><meta charset="utf-8">' + scene_html(packed, shades=256))
    page, wrong = new_page(browser, 390, 844)
    page.route('http*://**', lambda route: route.abort())
    page.goto((tmp_path/'page.html').as_uri())
    page.wait_for_selector('canvas.slice')
    page.evaluate(PROBE)
    page.locator('input.outlines').uncheck()
    for plane in ('axial', 'coronal', 'sagittal'):
        page.locator('select.plane').select_option(plane)
        page.get_by_role('button', name='worst slice').click()
        wrong_counts = np.array(packed.header['counts'][plane][0]['wrong'])
        axis = dict(axial=2, coronal=1, sagittal=0)[plane]
        worst = packed.header['origin'][axis] + int(wrong_counts.argmax())
        number = ('axial', 'coronal', 'sagittal').index(plane)
        view = packed.header['start'] | {plane: worst, 'plane': number, 'outlines': False}
        picture = scene_picture(packed, view)
        shown = on_canvas(page, picture.shape)
        assert np.abs(shown[3:-3, 3:-3] - picture[3:-3, 3:-3].astype(int)).max() <= 1, plane
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    before = page.locator('.readout').inner_text()
    page.locator('.play').click()
    page.wait_for_function('before => document.querySelector(".readout").textContent !== before', arg=before)
    assert not wrong, wrong

def test_a_page_of_its_own(browser, tmp_path):
    "mriseg browse serves a page with the browser in it."
    pytest.importorskip('voila', reason='Voilà is not installed, which serves this page')
    import torch
    from mriseg.networks.model import Model, save_model
    from mriseg.volumes.phantom import write_phantoms
    from mriseg.networks.segnet import SegNet, SegNetConfig
    torch.manual_seed(0)
    data = write_phantoms(tmp_path/'data', 1, seed=2, shape=(48, 56, 16))
    port = free_port()
    network = SegNet(SegNetConfig(3, 1, widths=(4, 8), depths=(1, 1)))
    save_model(tmp_path/'run', Model(network, ('t1', 't2', 'flair'), dict(tumour=(1, 2, 4))))
    page, wrong = new_page(browser)
    command = [
        str(Path(sys.executable).with_name('mriseg')), 'browse', data, '--model', tmp_path/'run', '--port', str(port),
        '--no-open', '--device', 'cpu'
    ]
    quiet = dict(stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    with subprocess.Popen(list(map(str, command)), **quiet) as process:
        try:
            said = next(line for line in process.stdout if 'the page is at' in line)
            address = re.search(r'http://\S+', said)[0]
            assert f':{port}/?token=' in address
            page.goto(f'http://127.0.0.1:{port}/', timeout=90_000)   # another account of this computer doesn't have the token
            assert '/login' in page.url and page.locator('canvas.slice').count() == 0
            page.goto(address, timeout=90_000)
            page.wait_for_selector('canvas.slice', timeout=90_000)
            before = page.locator('.readout').inner_text()
            page.locator('canvas.slice').press('ArrowRight')
            page.wait_for_function('before => document.querySelector(".readout").textContent !== before', arg=before)
        finally:
            process.terminate()   # which ends all that it has started
