"""Measure prediction and identification, into nbs/benchmarks/prediction/ (numbers only).

    python tools/measure_prediction.py speed DATA MODEL     # time and memory; cases without faults, and a run's folder
    python tools/measure_prediction.py lesions DATA MODEL   # lesions found, in the cases that the run held out
    python tools/measure_prediction.py healthy MODEL        # phantoms with and without lesions

MODEL of the last has learned from phantoms, and mriseg postprocess has seen it. Time is a ratio within one run:
reading, predicting, identifying and writing, over the network's bare forward pass on the same slices plus decoding the
same files. Memory is the peak of a fresh process for 1, 20 and 100 cases (the same ones again under other names).
"""
import math, subprocess, sys, tempfile, time
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch

from mriseg.cases.case import read_case
from mriseg.networks.model import load_model
from mriseg.volumes.components import connected_components
from mriseg.device import autocasting, default_precision, to_device
from mriseg.files import write_csv
from mriseg.cases.find import find_cases
from mriseg.prediction.lesions import SPECK_ML, case_probability, find_lesions
from mriseg.volumes.nifti import read_volume
from mriseg.volumes.phantom import make_phantom
from mriseg.prediction.predict import loaded_images, mask_from, predict_loaded, predict_probabilities, read_unlabelled
from mriseg.cases.preprocess import structure_masks
from mriseg.networks.segnet import fold_batch_norm
from mriseg.volumes.volume import Volume
from mriseg.prediction.folder import identify, predict_cases

OUT = Path(__file__).resolve().parent.parent/'nbs'/'benchmarks'/'prediction'
CPU = torch.device('cpu')
CASES = 4
ROUNDS = 5
BATCH = 16

def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin

def forward(model, images):
    precision = default_precision(CPU)
    network = fold_batch_norm(model.network).to(CPU, memory_format=precision.memory_format)
    with torch.inference_mode():
        for some in torch.from_numpy(images).split(BATCH):
            with autocasting(CPU, precision):
                network(to_device(some, CPU, precision))

def predict(model, cases):
    with tempfile.TemporaryDirectory() as folder:
        for report in predict_cases(model, cases, Path(folder)/'out', device=CPU):
            if report.fault:
                sys.exit(str(report))

def measure_time(model, cases):
    slices = [loaded_images(model, read_unlabelled(model, case))[0] for case in cases]
    slices = [images[(images != 0).any(axis=(1, 2, 3))] for images in slices]
    for number in range(ROUNDS + 1): # the first warms up
        paths = [case.sequences[name] for case in cases for name in model.sequences]
        decoding = seconds(lambda: [read_volume(path) for path in paths])
        bare = seconds(lambda: [forward(model, images) for images in slices])
        whole = seconds(lambda: predict(model, cases))
        if number:
            a_case = [f'{taken/len(cases):.3f}' for taken in (decoding, bare, whole)]
            yield number, *a_case, f'{whole/(decoding + bare):.3f}'

def peak(data, model, count): # MiB, in a fresh process
    found = subprocess.run(
        [sys.executable, __file__, 'one_process', data, model, str(count)], capture_output=True, text=True, check=True
    )
    return int(found.stdout.split()[-1])

def speed(data, path):
    model = load_model(path)
    cases = find_cases(data)
    write_csv(OUT/'memory.csv', [('cases', 'peak_mib'), *((count, peak(data, path, count)) for count in (1, 20, 100))])
    header = ('round', 'decoding_s', 'forward_s', 'whole_s', 'ratio')
    write_csv(OUT/'time.csv', [header, *measure_time(model, cases[:CASES])])

def one_process(data, path, count): # that `peak` measures
    cases = find_cases(data)
    predict(load_model(path), [replace(cases[n % len(cases)], case_id=f'case_{n}') for n in range(int(count))])
    print(next(int(line.split()[1])//1024 for line in open('/proc/self/status') if line.startswith('VmHWM'))) # Linux; getrusage counts the parent's memory in

def lesions(data, path):
    model = load_model(path)
    rows = []
    for case in [case for case in find_cases(data) if case.case_id in model.facts['valid']]:
        loaded = read_case(case, model.sequences, needs_label=True)
        prediction = predict_loaded(model, loaded, device=CPU)
        for name, finding in identify(prediction, loaded).findings.items():
            truth, = structure_masks(loaded.label, {name: model.structures[name]})
            true = find_lesions(Volume(truth, loaded.grid.affine), minimum_ml=SPECK_ML)
            found = [lesion for lesion in finding.lesions if lesion.volume_ml >= SPECK_ML]
            apart = math.dist(true[0].centroid_mm, found[0].centroid_mm) if true and found else math.nan
            volumes = [sum(one.volume_ml for one in true), sum(one.volume_ml for one in found)]
            figures = [*(f'{volume:.2f}' for volume in volumes), f'{apart:.2f}', f'{finding.probability:.4f}']
            rows.append((case.case_id, name, len(true), len(found), *figures))
    header = ('case', 'structure', 'true', 'found', 'true_ml', 'found_ml', 'centroids_apart_mm', 'case_probability')
    write_csv(OUT/'lesions.csv', [header, *rows])

def healthy(path):
    model = load_model(path)
    rows = []
    plain = replace(model, threshold=0.5, keep_largest=False, minimum_ml=0.)
    for seed, count in product(range(900_000, 900_100), (0, 1)):
        phantom = make_phantom(seed, (80, 96, 48), lesions=count)
        for probability in predict_probabilities(model, phantom, device=CPU).values():
            masks = [mask_from(one, probability) for one in (plain, model)]
            found = [connected_components(mask, minimum_ml=SPECK_ML)[1] for mask in masks]
            found_ml = [f'{volumes.sum():.4f}' for volumes in found]
            rows.append((seed, count, f'{case_probability(probability):.4f}', *found_ml))
    write_csv(OUT/'healthy.csv', [('seed', 'lesions', 'case_probability', 'plain_ml', 'chosen_ml'), *rows])

if __name__ == '__main__':
    parts = dict(speed=speed, lesions=lesions, healthy=healthy, one_process=one_process)
    if len(sys.argv) < 3 or sys.argv[1] not in parts:
        sys.exit(__doc__)
    parts[sys.argv[1]](*sys.argv[2:])
