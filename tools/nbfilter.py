"Quarto ipynb-filter: nbdev's documentation processors (show_doc, directives, links) for a raw notebook of `nbs/`."
import json, os, sys
from contextlib import redirect_stdout
from pathlib import Path

os.environ['IN_TEST'] = '1'   # a cell that calls nbdev_export() does nothing
from execnb.nbio import dict2nb, nb2str
from nbdev.processors import FilterDefaults

def find_notebook(cells):
    "The notebook's path: Quarto does not say which one it is, its cell ids do."
    ids = [c.get('id') for c in cells]
    for path in Path.cwd().rglob('*.ipynb'):
        if [c.get('id') for c in json.loads(path.read_text(encoding='utf-8'))['cells']] == ids:
            return path
    told = f'nbfilter: no notebook under {Path.cwd()} has the cells that Quarto sent; save it and render again'
    raise SystemExit(told)

def process(text):
    notebook = json.loads(text)
    nb = dict2nb(notebook)
    nb.path_ = find_notebook(notebook['cells'])
    with open(os.devnull, 'w') as null, redirect_stdout(null):
        FilterDefaults()(nb)   # stdout is for the notebook alone
    return nb2str(nb)

if __name__ == '__main__':
    text = sys.stdin.read()
    sys.stdout.write(text if {'_proc', '_site_src'} & {*Path.cwd().parts} else process(text))   # nbdev or docs.py has processed these
