"The documentation site: built from the files of the tree alone, held against `tools/check_site.py`, which can fail."
import os, shutil, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))
from check_site import check_site, exported   # noqa: E402

LINKS = '<a href="index.html">Start</a> <a href="volume.html#volume">volume</a>'
PAGE = f'<html><body><nav>{LINKS}</nav><main>{{}}</main></body></html>'

@pytest.fixture
def site(tmp_path):
    "A site of two pages that nothing is wrong with."
    spoken = '<p>Three colons <code>:::</code> and <code>#| export</code> may be spoken of.</p><img src="a.png">'
    (tmp_path/'index.html').write_text(PAGE.format(spoken))
    defined = '<h3 id="volume">Volume</h3><pre><code>class Volume(array)</code></pre>'
    (tmp_path/'volume.html').write_text(PAGE.format(defined))
    (tmp_path/'a.png').write_bytes(b'')
    return tmp_path

def test_nothing_wrong(site):
    assert check_site(site)[0] == []

@pytest.mark.parametrize(
    'planted, said',
    [
        ('<a href="nowhere.html">x</a>', 'nowhere.html: there is no such file'),
        ('<a href="volume.html#nothing">x</a>', 'volume.html#nothing: the page has no such place'),
        ('<a href="../../secret.html">x</a>', 'leads out of the site'),
        ('<img src="missing.png">', 'missing.png: there is no such file'),
        ('<script src="https://example.com/track.js"></script>', 'loaded from outside, and not declared'),
        ('<pre><code>#| export\ndef f(): pass</code></pre>', 'a directive that nobody processed: #| export'),
        ('<p>\n::: {.callout-note}</p>', 'a fence left over'),
        (
            '<div class="cell-output"><pre><code>VBox(children=(IntSlider(value=3),))</code></pre></div>',
            'raw text of a widget',
        ),
        ('<script type="application/vnd.jupyter.widget-view+json">{}</script>', 'raw text of a widget'),
        (
            '<div class="cell-output"><pre><code>&lt;Figure size 600x350 with 1 Axes&gt;</code></pre></div>',
            'a picture that is not there',
        ),
        ('<pre><code># from [`pool`](segnet.html#pool)</code></pre>', 'a link that is read as it is written'),
    ],
)
def test_what_is_planted_is_found(site, planted, said):
    (site/'volume.html').write_text((site/'volume.html').read_text().replace('</main>', planted + '</main>'))
    findings = check_site(site)[0]
    assert len(findings) == 1 and said in findings[0] and findings[0].startswith('volume.html: ')

def test_a_page_that_nobody_finds(site):
    (site/'hidden.html').write_text(PAGE.format(''))
    assert 'hidden.html: the start page has no way there' in check_site(site)[0][0]

def test_what_the_reference_lacks(site):
    "A constant needs no place; a class is there, one function is on no page, and one lacks a parameter."
    package = site/'code'
    package.mkdir()
    public = "__all__ = ['SIZE', 'Volume', 'read', 'turn']\nSIZE = 1\n"
    defined = 'class Volume: pass\ndef read(path): pass\ndef turn(volume, angle): pass\n'
    (package/'volume.py').write_text(public + defined)
    places = {f'code.volume.{name}': (f'volume.html#{name.lower()}', '') for name in ('Volume', 'read', 'turn')}
    (package/'_modidx.py').write_text(f"d = {dict(settings={}, syms={'code.volume': places})}\n")
    with_turn = '<h3 id="turn">turn</h3><pre>def turn(volume)</pre></main>'
    page = site/'volume.html'
    page.write_text(page.read_text().replace('</main>', with_turn))
    assert check_site(site, package)[0] == [
        'code.volume.read: volume.html#read is missing', 'code.volume.turn: volume.html#turn does not show angle'
    ]

def test_the_site_is_whole(tmp_path):
    "Whoever has the files that are in the repository, and no others, can build a site that nothing is wrong with."
    listed = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard', '-z'], cwd=ROOT, capture_output=True,
        text=True
    )
    if listed.returncode:
        pytest.skip('not a git checkout')
    for name in filter(None, listed.stdout.split('\0')):
        if (ROOT/name).is_file() or (ROOT/name).is_symlink():
            (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT/name, tmp_path/name, follow_symlinks=False)
    built = subprocess.run(
        [sys.executable, 'tools/docs.py'], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, 'PYTHONPATH': str(tmp_path)}
    )
    assert built.returncode == 0, built.stdout + built.stderr
    findings, counts, _ = check_site(tmp_path/'_docs', tmp_path/'mriseg')
    assert not findings, '\n'.join(findings)
    assert counts['pages'] == len([*(tmp_path/'nbs').rglob('*.ipynb')])
    assert counts['symbols'] == len([*exported(tmp_path/'mriseg')]) > 200
