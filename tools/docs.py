"Build the documentation site in `_docs/` with smalldocs, or with Quarto (1.4 or later, from quarto.org): `--quarto`."
import json, os, re, shutil, subprocess, sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT/'_site_src'
NUMBER = r'\d+[a-zA-Z0-9]*_'   # which nbdev's links leave out: 00_device -> device

def page_name(path):
    "The name that nbdev's links give a notebook's page: 00_device -> device."
    return path.with_name(re.sub(f'^{NUMBER}', '', path.name.lower()))

def without_numbers(text):
    "The sidebar, which names notebooks as they are called in `nbs/`, for the names that they have here."
    return re.sub(NUMBER + r'(\w+\.ipynb)', r'\1', text)

def stage():
    "Lay out in `_site_src/` what is rendered: nbdev's processed notebooks, named as they are linked."
    from nbdev.doclinks import nbdev_export
    from nbdev.serve import proc_nbs
    nbdev_export.__wrapped__()
    processed = Path(proc_nbs(force=True))
    shutil.rmtree(STAGE, ignore_errors=True)
    for path in sorted(processed.rglob('*')):
        if not path.is_file() or path.suffix == '.yml':
            continue
        target = STAGE/page_name(path.relative_to(processed))
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != '.ipynb':
            shutil.copy(path, target)
        else:
            depth = len(target.relative_to(STAGE).parents) - 1
            page = as_page(path.read_text(encoding='utf-8'), depth)
            target.write_text(page, encoding='utf-8')
    settings = without_numbers((ROOT/'_quarto.yml').read_text(encoding='utf-8'))
    (STAGE/'_quarto.yml').write_text(settings, encoding='utf-8')

def as_page(notebook, depth):
    """The notebook's text with links that hold in a folder this deep.

    Signatures are without links, and what a cell defines stands in the order in which it does."""
    notebook = re.sub(r'(\]\([^)\s]*?)' + NUMBER + r'(\w+\.ipynb)', r'\1\2', notebook)
    notebook = re.sub(r'\]\(([\w/]+\.html#)', r'](' + '../'*depth + r'\1', notebook)
    notebook = re.sub(r'output-file: [^"\\]*\\n', '', notebook)   # the notebook has that name already
    nb = json.loads(notebook)
    for cell in nb['cells']:
        for output in cell.get('outputs', []) if cell.get('has_sd') else []:
            unlink_signature(output.get('data', {}))
    nb['cells'] = [
        cell
        for shown, run in groupby(nb['cells'], lambda cell: cell.get('has_sd', False))
        for cell in (sorted(run, key=source_line) if shown else run)
    ]
    return json.dumps(nb, ensure_ascii=False)

def unlink_signature(data):
    "In code a link would be read as it is written, and nbdev makes them there too."
    prose = re.split('(```.*?```)', ''.join(data.get('text/markdown', '')), flags=re.S)
    data['text/markdown'] = ''.join(
        re.sub(r'\[(`[^`]+`)\]\([^)]*\)', r'\1', part) if part.startswith('```') else part for part in prose
    )

def source_line(cell):
    "The line of the module in which what a cell of nbdev's documents stands; nbdev puts the last one first."
    found = re.search(r'\.py#L(\d+)', json.dumps(cell['outputs']))
    return int(found[1]) if found else 0

def build(renderer):
    stage()
    subprocess.run([*renderer, 'render', str(STAGE)], check=True)
    shutil.rmtree(ROOT/'_docs', ignore_errors=True)
    shutil.move(STAGE/'_docs', ROOT/'_docs')
    shutil.rmtree(STAGE)

if __name__ == '__main__':
    os.chdir(ROOT)
    build(['quarto'] if '--quarto' in sys.argv else [sys.executable, '-m', 'smalldocs.cli'])
