"Write README.md and README_files/ from nbs/index.ipynb, without Quarto; `--check` only says what is out of date."
import posixpath, re, shutil, sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK, README, PICTURES = ROOT/'nbs'/'index.ipynb', ROOT/'README.md', ROOT/'README_files'
NOTE = '<!-- Made from nbs/index.ipynb by `make readme`: edit it there -->'

def front_matter(cell):
    "A raw cell of YAML becomes the title and subtitle that it declares; `# title`, `> subtitle` already are Markdown."
    found = dict(re.findall(r'^(title|description):\s*["\']?(.*?)["\']?\s*$', cell.source, re.M))
    cell.cell_type = 'markdown'
    cell.source = '\n\n'.join(
        mark + found[key] for key, mark in [('title', '# '), ('description', '> ')] if key in found
    )

def link_from_root(markdown):
    "Links and pictures that are relative to nbs/ become relative to the README."

    def rebase(m):
        return m[1] + posixpath.normpath('nbs/' + m[2])

    return re.sub(r'(\]\(|src=")(?![a-z]+:|#|/)([^)\s"]+)', rebase, markdown)

def as_shown(cell):
    "Apply the cell's `#|` directives and drop them from its source; False if nothing of it is shown."
    directives = dict(re.findall(r'^#\|\s*([\w-]+):?[ \t]*(.*?)\s*$', cell.source, re.M))
    if {'hide', 'export', 'exporti', 'default_exp'} & directives.keys() or directives.get('include') == 'false':
        return False
    cell.source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip()
    if directives.get('echo') == 'false':
        cell.metadata['transient'] = {'remove_source': True}
    cell.outputs = [] if directives.get('output') == 'false' else [out for out in cell.outputs if on_github(out)]
    return bool(cell.source)

def on_github(output):
    "GitHub runs no scripts: of an interactive output the picture is shown, or nothing."
    data = output.get('data', {})
    if '<script' not in data.get('text/html', ''):
        return True
    del data['text/html']
    return any(kind.startswith('image/') for kind in data)

def render():
    "The README's text, and its pictures by name."
    nb = nbformat.read(NOTEBOOK, as_version=4)
    nb.metadata['language_info'] = {'name': 'python'}   # nbdev_clean has dropped it; it names the code blocks' language
    for cell in nb.cells:
        if cell.cell_type == 'raw':
            front_matter(cell)
        elif cell.cell_type == 'markdown':
            cell.source = link_from_root(cell.source)
    nb.cells = [cell for cell in nb.cells if cell.cell_type != 'code' or as_shown(cell)]
    text, resources = MarkdownExporter().from_notebook_node(
        nb, {'output_files_dir': PICTURES.name, 'unique_key': 'index'}
    )
    text = NOTE + '\n\n' + re.sub(r'\n\s*\n', '\n\n', text).strip() + '\n'
    return text, {Path(name).name: data for name, data in resources['outputs'].items()}

def outdated(text, pictures):
    "The names of the files that are not what the notebook gives."
    have = {path.name: path.read_bytes() for path in PICTURES.glob('*')}
    names = [README.name] if not README.exists() or README.read_text(encoding='utf-8') != text else []
    return names + [
        f'{PICTURES.name}/{name}'
        for name in sorted(have.keys() | pictures.keys())
        if have.get(name) != pictures.get(name)
    ]

def write(text, pictures):
    README.write_text(text, encoding='utf-8')
    shutil.rmtree(PICTURES, ignore_errors=True)
    if pictures:
        PICTURES.mkdir()
    for name, data in pictures.items():
        (PICTURES/name).write_bytes(data)

if __name__ == '__main__':
    made = render()
    if '--check' not in sys.argv:
        write(*made)
        sys.exit()
    names = outdated(*made)
    if names:
        told = f'not what nbs/index.ipynb gives, run `make readme`: {", ".join(names)}'
        sys.exit(told)
