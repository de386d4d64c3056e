"""Check a built site: `python tools/check_site.py [FOLDER]` (default `_docs`).

Says what is wrong, counts what was looked at, and fails if anything is."""
import ast, re, sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {   # what a page may load from elsewhere; without it equations are read as TeX, and another font is used
    'https://cdn.jsdelivr.net/npm/katex@': 'equations, smalldocs',
    'https://cdn.jsdelivr.net/npm/mathjax@': 'equations, Quarto',
    'https://fonts.googleapis.com/': 'the font of the theme',
    'https://cdnjs.cloudflare.com/': "Quarto's own scripts",
    'https://cdn.jsdelivr.net/npm/requirejs@': "Quarto's own scripts",
    'https://cdn.jsdelivr.net/npm/jquery@': "Quarto's own scripts",
}
WIDGET = re.compile(r'''
    <\w*(?:Slider|Widget|Dropdown|ToggleButtons?)\b
    | \b(?:VBox|HBox|Output|\w*Slider|Dropdown)\(\w+=
    | <mriseg\.\w+\.\w+[ ]object
    | Widget[ ]Javascript
    | application/vnd\.jupyter\.widget
''', re.VERBOSE)
UNDRAWN = re.compile(r'<Figure size [^>]*>|<(?:Axes|Image|IPython|matplotlib)\b[^>]*>')   # what a picture is called, where it should be seen
VOID = {'area', 'base', 'br', 'col', 'embed', 'hr', 'img', 'input', 'link', 'meta', 'param', 'source', 'track', 'wbr'}
LOADED = {
    'img': 'src', 'script': 'src', 'iframe': 'src', 'source': 'src', 'link': 'href', 'video': 'src', 'audio': 'src',
    'embed': 'src', 'object': 'data'
}

class Page(HTMLParser):
    "What a page links to, loads, names and says."
    def __init__(self, path):
        super().__init__()
        self.path = path
        self.ids = set()
        self.links = []
        self.loads = []
        self.sections = [['', '']]
        self.text = dict.fromkeys(('prose', 'inline', 'code', 'output', 'nothing'), '')
        self.inside = []   # open tags, each with what its text counts as
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        kind = self.inside[-1][1] if self.inside else 'prose'
        classes = (said.get('class') or '').split()
        self.ids |= {said[key] for key in ('id', 'name') if said.get(key)}
        if tag == 'a' and said.get('href'):
            self.links.append(said['href'])
        if said.get(LOADED.get(tag)):
            self.loads.append(said[LOADED[tag]])
        if 'widget' in (said.get('type') or ''):
            self.text['output'] += said['type'] + '\n'
        if re.fullmatch('h[1-6]', tag):
            self.sections.append(['', ''])
        if 'cell-output' in classes and 'cell-output-markdown' not in classes:
            kind = 'output'
        elif tag in ('script', 'style'):
            kind = 'nothing'
        elif tag in ('pre', 'code') and kind == 'prose':
            kind = dict(pre='code', code='inline')[tag]
        if tag in ('div', 'p', 'pre', 'li'):
            self.text[kind] += '\n'
        if tag not in VOID:
            self.inside.append((tag, kind))

    def handle_endtag(self, tag):
        while self.inside and tag in [name for name, _ in self.inside] and self.inside.pop()[0] != tag:
            pass

    def handle_data(self, data):
        kind = self.inside[-1][1] if self.inside else 'prose'
        self.text[kind] += data
        if kind == 'nothing':
            return
        in_heading = any(re.fullmatch('h[1-6]', tag) for tag, _ in self.inside)
        self.sections[-1][0 if in_heading else 1] += data

def broken(page, href, pages, folder):
    "Why a link, or what a page loads, leads nowhere; nothing if it does lead somewhere."
    parts = urlsplit(href)
    if parts.scheme or parts.netloc:
        return ''
    target = page.path.parent/unquote(parts.path) if parts.path else page.path
    target = (target/'index.html' if target.is_dir() else target).resolve()
    if folder not in target.parents:
        return f'{href} leads out of the site'
    if not target.is_file():
        return f'{target.relative_to(folder)}: there is no such file'
    lost = parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids
    return f'{target.relative_to(folder)}#{parts.fragment}: the page has no such place' if lost else ''

def from_outside(href):
    return urlsplit(href).scheme in ('http', 'https') or href.startswith('//')

def check_page(page, pages, folder):
    "What is wrong with one page."
    yield from filter(None, [broken(page, href, pages, folder) for href in dict.fromkeys(page.links)])
    for href in dict.fromkeys(page.loads):
        yield from check_loaded(page.path, href)
    if found := WIDGET.search(page.text['output'] + page.text['prose']):
        yield f'raw text of a widget: {found[0]}'
    if found := UNDRAWN.search(page.text['output']):
        yield f'a picture that is not there: {found[0]}'
    if found := re.search(r'\[`[^`]+`\]\([^)]*\)', page.text['code']):
        yield f'a link that is read as it is written: {found[0]}'
    if found := re.search(r'^\s*#\|.*', page.text['code'] + '\n' + page.text['prose'], re.M):
        yield f'a directive that nobody processed: {found[0].strip()}'
    if found := re.search(r'^\s*:::.*', page.text['prose'], re.M):
        yield f'a fence left over: {found[0].strip()}'

def check_loaded(path, href):
    "What a page or a style sheet loads: it is there, or it is declared."
    if from_outside(href):
        if not href.startswith(tuple(OUTSIDE)):
            yield f'{href}: loaded from outside, and not declared'
    elif not href.startswith(('data:', '#')) and not (path.parent/unquote(urlsplit(href).path)).exists():
        yield f'{href}: there is no such file'

def exported(package):
    "Each function and class in the `__all__` of a module, with the page that nbdev links it to."
    index = (package/'_modidx.py').read_text(encoding='utf-8')
    syms = ast.literal_eval(re.search(r'^d = (\{.*\})', index, re.S | re.M)[1])['syms']
    for module, places in syms.items():
        tree = ast.parse((package.parent/(module.replace('.', '/') + '.py')).read_text(encoding='utf-8'))
        names = next(
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '__all__'
        )
        defined = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        yield from ((module, defined[name], places[f'{module}.{name}'][0]) for name in names if name in defined)

def check_symbol(node, place, pages, folder):
    "What the reference lacks of a function or class: its place, its heading, its signature with each parameter."
    page = pages.get(folder/place.partition('#')[0])
    if page is None or place.partition('#')[2] not in page.ids:
        return f'{place} is missing'
    said = [
        body
        for heading, body in page.sections
        if heading.strip() == node.name and re.search(rf'\b(def|class) {node.name}\b', body)
    ]
    if not said:
        return f'{place} shows no signature'
    names = [one.arg for one in node.args.args + node.args.kwonlyargs] if isinstance(node, ast.FunctionDef) else []
    lacking = [one for one in names if not re.search(rf'\b{one}\b', said[0])]
    return f'{place} does not show {", ".join(lacking)}' if lacking else ''

def check_site(folder, package=None):
    "Everything that is wrong with the site in a folder, and what was looked at."
    folder = Path(folder).resolve()
    pages = {path: Page(path) for path in sorted(folder.rglob('*.html')) if 'site_libs' not in path.parts}
    styles = {
        path: re.findall(r'''url\(\s*["']?([^"')]+)''', path.read_text(encoding='utf-8'))
        for path in folder.rglob('*.css')
    }
    said = {}   # what is wrong, and on which pages
    for path, page in pages.items():
        for wrong in check_page(page, pages, folder):
            said.setdefault(wrong, []).append(str(path.relative_to(folder)))
    for path, loads in styles.items():
        for href in loads:
            for wrong in check_loaded(path, href):
                said.setdefault(wrong, []).append(str(path.relative_to(folder)))
    findings = []
    for wrong, on in said.items():
        more = f' and {len(on) - 3} more' if on[3:] else ''
        findings.append(f'{", ".join(on[:3])}{more}: {wrong}')
    symbols = list(exported(package)) if package else []
    for module, node, place in symbols:
        wrong = check_symbol(node, place, pages, folder)
        if wrong:
            findings.append(f'{module}.{node.name}: {wrong}')
    start = folder/'index.html'
    reached = {(folder/urlsplit(href).path).resolve() for href in pages[start].links} if start in pages else set()
    findings += [
        f'{path.relative_to(folder)}: the start page has no way there: name it in the sidebar, in _quarto.yml'
        for path in pages
        if path not in {*reached, start, folder/'404.html'}
    ]
    loads = []
    for some in [*(page.loads for page in pages.values()), *styles.values()]:
        loads += some
    used = [part for part in OUTSIDE if any(href.startswith(part) for href in loads)]
    outside = sorted(f'{part} ({OUTSIDE[part]})' for part in used)
    links = sum(len(page.links) for page in pages.values())
    counts = dict(pages=len(pages), links=links, loaded=len(loads), symbols=len(symbols))
    return findings, counts, outside

if __name__ == '__main__':
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT/'_docs'
    findings, counts, outside = check_site(folder, ROOT/'mriseg')
    print(*findings, sep='\n', end='\n' if findings else '')
    print('loaded from outside, as declared:', ', '.join(outside) or 'nothing')
    print(', '.join(f'{number} {what}' for what, number in counts.items()) + f'; {len(findings)} findings')
    sys.exit(bool(findings) or not counts['pages'])
