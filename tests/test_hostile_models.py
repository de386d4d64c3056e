"Model files made to do harm, or damaged: each is refused with a reason, and nothing in them runs."
import json, os, pickle, struct, zipfile

import pytest
import torch
from safetensors.torch import save

from copies import call
from mriseg.networks.model import Model, load_model, load_tensors, save_model
from mriseg.networks.segnet import SegNet, SegNetConfig

@pytest.fixture(scope='module')
def good(tmp_path_factory):
    "A small model: its bytes, its tensors, its description."
    network = SegNet(SegNetConfig(2, 1, widths=(4, 8), depths=(1, 1)))
    structures = dict(whole_tumour=(1, 2, 4))
    model = Model(network, ('t1', 'flair'), structures, spacing=(1., 1.), facts=dict(dice=0.8))
    path = save_model(tmp_path_factory.mktemp('good'), model)
    assert load_model(path).sequences == ('t1', 'flair')
    return path.read_bytes(), *load_tensors(path)

class Trap:
    "Whoever opens a pickle of it makes a file."

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f'touch {self.marker}',))

def pickled(protocol):
    return lambda good, marker: pickle.dumps(Trap(marker), protocol)

def zipped(good, marker):
    path = marker.with_name('archive')
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', pickle.dumps(Trap(marker)))
    return path.read_bytes()

def saved_by_torch(good, marker):
    path = marker.with_name('by_torch')
    torch.save(dict(model=Trap(marker)), path)
    return path.read_bytes()

def header(text, length=None, rest=b''):
    "A file whose header is `text`."
    text = text if isinstance(text, bytes) else text.encode()
    return lambda good, marker: struct.pack('<Q', len(text) if length is None else length) + text + rest

def cut(share):
    return lambda good, marker: good[0][:int(share*len(good[0]))]

def entries(**changed):
    "The file with some entries of its header changed."
    def make(good, marker):
        length = struct.unpack('<Q', good[0][:8])[0]
        text = json.dumps(json.loads(good[0][8:8 + length]) | changed).encode()
        return struct.pack('<Q', len(text)) + text + good[0][8 + length:]
    return make

def with_facts(text):
    return lambda good, marker: save(good[1], metadata={'mriseg': text})

def described(change):
    "The file with its description changed."
    def make(good, marker):
        facts = json.loads(json.dumps(good[2]))
        change(facts)
        return save(good[1], metadata={'mriseg': json.dumps(facts)})
    return make

def tensors(change):
    "The file with its tensors changed."
    def make(good, marker):
        changed = {name: tensor.clone() for name, tensor in good[1].items()}
        change(changed)
        return save(changed, metadata={'mriseg': json.dumps(good[2])})
    return make

HUGE = dict(dtype='F32', shape=[10**9, 10**9], data_offsets=[0, 4*10**18])
FILES = {
    'pickle.pt': pickled(2),
    'pickle.pth': pickled(4),
    'pickle.pkl': pickled(0),
    'pickle.bin': pickled(5),
    'pickle.ckpt': pickled(3),
    'torch.pt': saved_by_torch,
    'pickle.safetensors': pickled(4),
    'torch.safetensors': saved_by_torch,
    'zip.safetensors': zipped,
    'text_pickle.safetensors': pickled(0),
    'empty.safetensors': cut(0),
    'seven_bytes.safetensors': lambda good, marker: good[0][:7],
    'half_a_header.safetensors': lambda good, marker: good[0][:100],
    'half.safetensors': cut(0.5),
    'nearly_whole.safetensors': lambda good, marker: good[0][:-1],
    'longer.safetensors': lambda good, marker: good[0] + b'more',
    'endless_header.safetensors': header('{}', 2**63),
    'long_header.safetensors': header('{}', 10**6),
    'no_json.safetensors': header('{not json'),
    'list_header.safetensors': header('[1, 2]'),
    'huge_tensor.safetensors': entries(**{'head.bias': HUGE}),
    'negative_place.safetensors': entries(**{'head.bias': dict(dtype='F32', shape=[1], data_offsets=[-4, 0])}),
    'unknown_type.safetensors': entries(**{'head.bias': dict(dtype='X9', shape=[1], data_offsets=[0, 4])}),
    'shared_place.safetensors': entries(**{'head.bias': dict(dtype='F32', shape=[1], data_offsets=[0, 4])}),
    'no_facts.safetensors': lambda good, marker: save(good[1]),
    'facts_no_json.safetensors': with_facts('__import__("os").system("true")'),
    'facts_list.safetensors': with_facts('[]'),
    'facts_nested.safetensors': with_facts('['*100_000),
    'other_format.safetensors': described(lambda facts: facts.update(format='mriseg model 9')),
    **{
        f'without_{name}.safetensors': described(lambda facts, name=name: facts.pop(name))
        for name in ('format', 'config', 'sequences', 'structures', 'threshold', 'spacing', 'facts')
    },
    'unknown_setting.safetensors': described(lambda facts: facts['config'].update(run='rm -rf /')),
    'widths_text.safetensors': described(lambda facts: facts['config'].update(widths=['4', '8'])),
    'other_widths.safetensors': described(lambda facts: facts['config'].update(widths=[4, 9])),
    'endless_depth.safetensors': described(lambda facts: facts['config'].update(depths=[1, 10**12])),
    'negative_depth.safetensors': described(lambda facts: facts['config'].update(depths=[3, -1])),
    'kernel_size_text.safetensors': described(lambda facts: facts['config'].update(kernel_size='3')),
    'three_sequences.safetensors': described(lambda facts: facts.update(sequences=['t1', 't2', 'flair'])),
    'same_sequence.safetensors': described(lambda facts: facts.update(sequences=['t1', 't1'])),
    'sequence_number.safetensors': described(lambda facts: facts.update(sequences=['t1', 7])),
    'structures_list.safetensors': described(lambda facts: facts.update(structures=['tumour'])),
    'labels_number.safetensors': described(lambda facts: facts.update(structures=dict(tumour=4))),
    'threshold_text.safetensors': described(lambda facts: facts.update(threshold='half')),
    'threshold_nan.safetensors': described(lambda facts: facts.update(threshold=float('nan'))),
    'threshold_2.safetensors': described(lambda facts: facts.update(threshold=2)),
    'spacing_3.safetensors': described(lambda facts: facts.update(spacing=[1, 1, 1])),
    'spacing_negative.safetensors': described(lambda facts: facts.update(spacing=[1, -1])),
    'spacing_text.safetensors': described(lambda facts: facts.update(spacing='11')),
    'facts_text.safetensors': described(lambda facts: facts.update(facts='none')),
    'minimum_text.safetensors': described(lambda facts: facts.update(minimum_ml='much')),
    'minimum_nan.safetensors': described(lambda facts: facts.update(minimum_ml=float('nan'))),
    'minimum_negative.safetensors': described(lambda facts: facts.update(minimum_ml=-1)),
    'keep_largest_text.safetensors': described(lambda facts: facts.update(keep_largest='yes')),
    'one_less.safetensors': tensors(lambda held: held.pop('head.bias')),
    'one_more.safetensors': tensors(lambda held: held.update(more=torch.zeros(1))),
    'renamed.safetensors': tensors(lambda held: held.update(heed=held.pop('head.bias'))),
    'other_shape.safetensors': tensors(lambda held: held.update({'head.bias': torch.zeros(2)})),
    'short_numbers.safetensors': tensors(lambda held: held.update({'head.bias': held['head.bias'].half()})),
    'whole_numbers.safetensors': tensors(lambda held: held.update({'head.bias': torch.zeros(1, dtype=torch.int64)})),
    'nan.safetensors': tensors(lambda held: held['head.weight'].view(-1)[3:4].fill_(float('nan'))),
    'infinite.safetensors': tensors(lambda held: held['head.bias'].fill_(float('inf'))),
    'negative_variance.safetensors': tensors(lambda held: held['encoder.0.0.1.running_var'].fill_(-1)),
}

@pytest.mark.parametrize('name', FILES)
def test_refused(name, good, tmp_path):
    marker = tmp_path/'ran'
    path = tmp_path/name
    path.write_bytes(FILES[name](good, marker))
    with pytest.raises(ValueError) as refusal:
        load_model(path)
    said = str(refusal.value)
    assert said.startswith(f'{path}') and '\n' not in said, said
    assert len(said) > len(str(path)) + 15   # a reason is given
    assert not marker.exists()

def test_the_trap_would_have_worked(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path/'ran')))
    assert (tmp_path/'ran').exists()

def test_a_command_refuses_them_too(good, tmp_path):
    for name in ('pickle.pt', 'half.safetensors', 'nan.safetensors'):
        (tmp_path/name).write_bytes(FILES[name](good, tmp_path/'ran'))
        out = ('--out', tmp_path/'masks', '--device', 'cpu')
        result = call('predict', tmp_path/'cases', '--model', tmp_path/name, *out)
        assert result.returncode == 1, result.stderr
        assert result.stderr.startswith(f'mriseg: {tmp_path/name}'), result.stderr
        assert 'Traceback' not in result.stderr, result.stderr
    assert not (tmp_path/'ran').exists() and not (tmp_path/'masks').exists()
