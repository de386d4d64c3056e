"Build the documentation site in `_docs/` with smalldocs, or with Quarto if `--quarto` asks for it."
import os, re, shutil, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT/'_site_src'

def page_name(path):
    "The name that nbdev's links give a notebook's page: 00_device -> device."
    return path.with_name(re.sub(r'^\d+[a-zA-Z0-9]*_', '', path.name.lower()))

def stage():
    "Lay out in `_site_src/` what is rendered: nbdev's processed notebooks, named as they are linked."
    from nbdev.doclinks import nbdev_export
    from nbdev.serve import proc_nbs
    nbdev_export.__wrapped__()
    processed = Path(proc_nbs(force=True))
    shutil.rmtree(STAGE, ignore_errors=True)
    paths = [path.relative_to(processed) for path in processed.rglob('*') if path.is_file() and path.suffix != '.yml']
    for place, path in enumerate(sorted(paths, key=lambda path: (path.stem != 'index', path))):
        target = STAGE/page_name(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != '.ipynb': shutil.copy(processed/path, target)
        else: target.write_text(as_page((processed/path).read_text(encoding='utf-8'), place, len(path.parents) - 1), encoding='utf-8')
    shutil.copy(ROOT/'_quarto.yml', STAGE)

def as_page(notebook, place, depth):
    "The notebook's text with its place in the sidebar, which its name no longer tells, and links that hold in a folder this deep."
    notebook = notebook.replace('---\\n', f'---\\norder: {place}\\n', 1)
    notebook = re.sub(r'(\]\([^)\s]*?)\d+[a-zA-Z0-9]*_(\w+\.ipynb)', r'\1\2', notebook)
    return re.sub(r'\]\((\w+\.html#)', r'](' + '../'*depth + r'\1', notebook)

def build(renderer):
    stage()
    subprocess.run([*renderer, 'render', str(STAGE)], check=True)
    shutil.rmtree(ROOT/'_docs', ignore_errors=True)
    shutil.move(STAGE/'_docs', ROOT/'_docs')
    shutil.rmtree(STAGE)

if __name__ == '__main__':
    os.chdir(ROOT)
    build(['quarto'] if '--quarto' in sys.argv else [sys.executable, '-m', 'smalldocs.cli'])
