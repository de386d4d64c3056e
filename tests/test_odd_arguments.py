"Odd arguments, typed after every command: one sentence each, no step of training. One process for all is faster."
import random, re, shutil, sys, warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import mriseg.start
import mriseg.training.loop
from mriseg.networks.model import Model, save_model
from mriseg.volumes.phantom import write_phantoms
from mriseg.networks.segnet import SegNet, SegNetConfig

FIRST = 'BraTS20_Training_001'
NUMBERS = ('nan', '-1', 'inf', '1e400', '१e', '')   # what no option that wants a number takes
WORDS = ('', ' ', ',', 'x\ny', '../..', '\x1b[31m')   # what no option that wants a known word takes

ODD = {   # by command and option; DATA, RUN, NOTE (a file) and LINK (to nothing) stand for paths
    'train': {
        '--epochs': ('0', '-1', '100001', '1.5', 'many', *NUMBERS),
        '--minutes': ('0', '20161', '1e-9', *NUMBERS),
        '--batch-size': ('0', '4097', '5000000', *NUMBERS),
        '--learning-rate': ('0', '11', '1e30', *NUMBERS),
        '--pos-weight': ('0', '1e7', *NUMBERS),
        '--augmentation': ('5.1', '1000', *NUMBERS),
        '--modality-dropout': ('1.1', '100', *NUMBERS),
        '--seed': ('4294967296', '9'*21, '0.5', *NUMBERS),
        '--workers': ('500', *NUMBERS),
        '--structures': (
            'a', 'a=', '=1', 'a=0', 'a=1,A=2', 'a=1,a=2', 'a=²', 'a=1;b=2', 'a=-1', 'a=1.5', '../x=1', 'a:b=1',
            'bone=9', 'a=99999999999999999999', *WORDS
        ),
        '--sequences': ('pd', 't1,t1', 't1;t2', 'T1,t1', 'seg', 'label', *WORDS),
        '--preset': ('huge', 'Small', *WORDS),
        '--optimizer': ('adam', 'SGD', *WORDS),
        '--precision': ('fp8', 'fp16', *WORDS),
        '--device': ('gpu', 'tpu', 'cuda:99', 'cpu:7', *WORDS),
        '--encoder': ('none.pth', 'imagenet', *WORDS),
        '--valid': ('0', '1', '1.5', '-0.2', 'nan', 'inf', 'nobody', f'{FIRST},nobody', 'DATA', 'NOTE', *WORDS),
        '--pattern': ('{case}', '{x}', '{case', 'nothing', '{case}/{case}', *WORDS),
        '--out': ('DATA', 'NOTE', 'NOTE/x', 'LINK', '/dev/null/x', 'n'*300, '', ' '),
        '--cache': ('NOTE', 'NOTE/x', 'LINK/x', '/dev/null', 'n'*300, ''),
    },
    'check': {
        '--structures': ('a=0', 'a', 'a=²', ''),
        '--sequences': ('pd', 't1,t1', ''),
        '--valid': ('nobody.txt', 'DATA', 'NOTE', ''),
        '--out': ('NOTE', '/dev/null/x', 'LINK/x', ''),
        '--pattern': ('{x}', '{case', ''),
    },
    'predict': {
        '--threshold': ('0', '1', '1.5', *NUMBERS),
        '--minimum-ml': ('1e7', *NUMBERS),
        '--keep-largest': ('maybe', 'True', *WORDS),
        '--maps': ('heat', 'probability;uncertainty', *WORDS),
        '--model': ('empty', 'NOTE', 'DATA', 'TENSORS', ''),
        '--out': ('DATA', 'DATA/deep', 'NOTE', '/dev/null/x', ''),
        '--device': ('gpu', 'cuda:99', ''),
        '--pattern': ('{x}', ''),
    },
    'evaluate': {
        '--cases': ('valid', 'nobody.txt', 'DATA', 'NOTE', ''),
        '--model': ('empty', 'NOTE', ''),
        '--out': ('DATA', 'NOTE', '/dev/null/x', ''),
        '--device': ('gpu', ''),
        '--subsets': ('yes', None),
    },
    'postprocess': {
        '--model': ('empty', 'RUN', 'NOTE', ''),
        '--device': ('gpu', ''),
    },
    'compare': {
        None: (('DATA', 'DATA'), ('empty', 'NOTE'), ('NOTE', 'NOTE'), ('', ''), ('RUN',)),
    },
    'browse': {
        '--port': ('-1', '0', '80', '70000', '99999999', '8866.5', 'http', ''),
        '--out': ('page.txt', 'NOTE/x.html', '/dev/null/x.html', ''),
        '--masks': ('empty', 'NOTE', ''),
        '--cases': ('valid', 'nobody', ''),
        '--device': ('gpu', ''),
        '--model': ('empty', 'NOTE', ''),
    },
    'transfer': {
        '--base': ('empty', 'NOTE', 'DATA', ''),
        '--structures': ('a=0', 'a=1,A=2', 'cyst=9', ''),
        '--sequences': ('pd', ''),
        '--minutes': ('0', 'inf', '-1', ''),
        '--seed': ('-1', '9'*21),
        '--valid': ('1.5', 'nobody'),
        '--suggest': ('empty', 'NOTE', 'DATA', ''),
        '--out': ('DATA', 'NOTE/x', ''),
        '--cache': ('NOTE', ''),
        '--device': ('gpu', ''),
    },
    'audit': {
        '--backend': ('tpu', ''),
        '--preset': ('huge', ''),
        '--precision': ('fp8', ''),
        '--device': ('gpu', ''),
    },
    'demo': {
        '--train': ('0', '-3', '3', '10001', 'x'),
        '--test': ('0', '-1', ''),
        '--seed': ('-1', '9'*21, ''),
        '--minutes': ('inf', 'nan', '0', ''),
        '--out': ('NOTE', '/dev/null/x', ''),
        '--device': ('gpu', ''),
    },
}
ACCEPTED = [   # odd, but meant: a training begins
    ('train', '--structures', 'a=1,1'),
    ('train', '--structures', 'whole tumour=1,2,4'),
    ('train', '--structures', 'whole=1,2,4,core=1,4'),
    ('train', '--structures', ' a = 1 '),
    ('train', '--structures', 'a=٤'),
    ('train', '--sequences', 'FLAIR'),
    ('train', '--sequences', 't1,'),
    ('train', '--valid', f' {FIRST[:-1]}2 '),
    ('train', '--learning-rate', '1E-3'),
    ('train', '--minutes', '20160'),
    ('train', '--seed', '4294967295'),
    ('train', '--valid', '0.0001'),
    ('train', '--batch-size', '9'),
]

class Begun(BaseException):
    "A step of training was about to be done."

@pytest.fixture(scope='module')
def places(tmp_path_factory):
    "Data, a model that nobody has trained, and what can be in the way."
    home = tmp_path_factory.mktemp('odd')
    torch.manual_seed(0)
    network = SegNet(SegNetConfig(3, 1, widths=(4, 8), depths=(1, 1)))
    save_model(home/'run', Model(network, ('t1', 't2', 'flair'), dict(tumour=(1, 2, 4))))
    write_phantoms(home/'data', 4, seed=7, shape=(48, 56, 24))
    (home/'note').write_text('nothing of use\n')
    (home/'link').symlink_to(home/'nowhere')
    save_file({'a': torch.zeros(1)}, home/'tensors.safetensors')
    return dict(
        DATA=home/'data',
        RUN=home/'run',
        NOTE=home/'note',
        LINK=home/'link',
        TENSORS=home/'tensors.safetensors',
        home=home,
    )

@pytest.fixture
def typed(places, monkeypatch, capsys):
    "A function that types a line, and gives the status, what was printed, and what was complained of."

    def begun(*args, **kwargs):
        raise Begun

    monkeypatch.setattr(mriseg.training.loop, 'training_step', begun)
    monkeypatch.chdir(places['home'])
    def type_line(command, *arguments):
        monkeypatch.setattr(sys, 'argv', ['mriseg', command, *arguments])
        with warnings.catch_warnings():
            try:
                status = mriseg.start.main() or 0
            except SystemExit as end:
                status = end.code
            except Begun:
                status = 'a step of training'
        out, said = capsys.readouterr()
        return status, out, re.sub(r'[^\n]*\r', '', said)   # without bars of progress
    return type_line

def usual(command, places):
    "What makes a command complete."
    data = [str(places['DATA'])]
    out = ['--out', str(places['home']/'out')]
    model = ['--model', str(places['RUN'])]
    usual_options = dict(
        train=[*data, *out, '--cache', str(places['home']/'cache'), '--device', 'cpu', '--batch-size', '4'],
        check=data,
        predict=[*data, *model, *out, '--device', 'cpu'],
        evaluate=[*data, *model, *out, '--device', 'cpu'],
        postprocess=[*data, *model, '--device', 'cpu'],
        compare=[],
        browse=[*data, *model, '--device', 'cpu'],
        audit=[],
        demo=[*out],
        transfer=[*data, '--base', str(places['RUN']), *out, '--cache', str(places['home']/'cache'), '--device', 'cpu'],
    )
    return usual_options[command]

def with_places(text, places):
    return re.sub('^(DATA|RUN|NOTE|LINK|TENSORS)(?=$|/)', lambda found: str(places[found[0]]), text)

def lines(places):
    "Every command with one odd argument, in an order that a seed chooses."
    found = []
    for command, options in ODD.items():
        for option, values in options.items():
            for value in values:
                if value is None:
                    odd = [option]
                elif option is None:
                    odd = list(value)
                elif value.startswith('-'):
                    odd = [f'{option}={value}']
                else:
                    odd = [option, value]
                odd = [with_places(text, places) for text in odd]
                found.append((command, usual(command, places) + odd, odd))
    random.Random(0).shuffle(found)
    return found

def complaint(status, out, said):
    "What is wrong with the way in which a command ended."
    last = said.strip().splitlines() or ['']
    usage = said.startswith('usage: mriseg ') and last[-1].startswith('mriseg ') and ': error: ' in last[-1]
    if status not in (1, 2):
        return f'ended with {status}'
    if not usage and (not said.startswith('mriseg: ') or len(re.findall('^mriseg: ', said, re.M)) != 1):
        return 'is no sentence'
    if re.search(r'Traceback|Errno|\w+Error:|invalid literal|Overflow|<class|out of bounds|\x1b', said):
        return 'is raw'
    return ''

def test_each_of_them_ends_with_one_sentence(places, typed):
    wrong = []
    all_lines = lines(places)
    for command, arguments, odd in all_lines:
        try:
            status, out, said = typed(command, *arguments)
        except Exception as error:
            status = f'{type(error).__name__}'
            out = ''
            said = str(error)   # a traceback, in a terminal
        what = complaint(status, out, said)
        if what:
            wrong.append(f'mriseg {command} … {odd}: {what}: {said}')
        if (places['home']/'out').exists():   # which a training that is out of time at once has claimed by then
            if '1e-9' not in odd:
                wrong.append(f'mriseg {command} … {odd}: wrote something')
            shutil.rmtree(places['home']/'out')
    assert not wrong, '\n'.join([f'{len(wrong)} of {len(all_lines)}', *wrong])
    assert len(all_lines) >= 160

def test_what_is_odd_but_meant_begins(places, typed):
    for command, *odd in ACCEPTED:
        status, out, said = typed(command, *usual(command, places), '--valid', f'{FIRST[:-1]}2', *odd)
        assert status == 'a step of training', (odd, said)
        shutil.rmtree(places['home']/'out')   # which belongs to this run from the moment it has settings
