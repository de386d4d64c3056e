"""Measure transfer on the real data of `MRISEG_DATA` (default ../shared/data), one part at a time.

The scores, and only they, go into nbs/benchmarks/transfer/.

    python tools/measure_transfer.py subsets BASE     # every part of T1, T2, FLAIR on the BraTS cases held out
    python tools/measure_transfer.py curve BASE       # hippocampus: 1 to 40 cases, with the base and from scratch
    python tools/measure_transfer.py ms BASE          # multiple sclerosis: train on one patient, score on the other
    python tools/measure_transfer.py suggest BASE     # five hippocampi that disagreement suggests, or five at random

BASE is the folder of a run such as `mriseg train brats2018 --valid aside.txt --epochs 30 --modality-dropout 0.5`. What
was begun goes on where it stopped; caches and trainings are kept in MRISEG_SCRATCH (default: mriseg_measure in the
folder for temporary files), those of the curve beside it.
"""
import csv, os, sys, tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch

from mriseg.transfer.task import INITIALISATIONS, few_case_settings, fit_task, prepare_task
from mriseg.networks.model import load_model
from mriseg.transfer.curve import sampled_cases, learning_curve
from mriseg.training.dataset import SliceDataset
from mriseg.evaluation.compare import score_subsets, subset_table
from mriseg.files import write_csv
from mriseg.cases.find import find_cases
from mriseg.volumes.metrics import detect_lesions, overlap_scores
from mriseg.prediction.predict import predict_case
from mriseg.cases.preprocess import structure_masks
from mriseg.cases.split import Split
from mriseg.transfer.suggest import suggest_cases
from mriseg.training.epoch import validate_case
from mriseg.transfer.transfer import unchanged_base
from mriseg.cases.case import read_case
from mriseg.volumes.volume import Volume

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get('MRISEG_DATA', ROOT.parent/'shared'/'data'))
OUT = ROOT/'nbs'/'benchmarks'/'transfer'
SCRATCH = Path(os.environ.get('MRISEG_SCRATCH', Path(tempfile.gettempdir())/'mriseg_measure'))
CPU = torch.device('cpu')
HIPPOCAMPUS = dict(anterior=(1,), posterior=(2,))

def write_rows(name, header, rows):
    write_csv(OUT/name, [header, *rows])

def read_rows(name):
    return list(csv.reader((OUT/name).open(encoding='utf-8')))[1:] if (OUT/name).exists() else []

def hippocampi():
    "The cases in the order of their names: 40 to train on, 20 held out."
    cases = sorted(find_cases(DATA/'hippocampus'), key=lambda case: case.case_id)
    return Split(cases[:40], cases[40:])

def subsets(base):
    cases = [case for case in find_cases(DATA/'brats2018') if case.case_id in base.facts['valid']]
    scores = score_subsets(base, cases, device=CPU)
    print(subset_table(scores))
    table = [
        ['+'.join(part), row.case, f'{row.dice:.4f}']
        for part, rows in scores.items()
        for row in rows
    ]
    write_rows('subsets.csv', ['sequences', 'case', 'dice'], table)

def curve(base):
    split = hippocampi()
    task = prepare_task(base, [*split.train, *split.valid], HIPPOCAMPUS, SCRATCH/'cache', split=split)
    for one in learning_curve(task, OUT/'hippocampus', device=CPU):
        print(one, flush=True)

def ms(base):
    cases = sorted(find_cases(DATA/'ms'), key=lambda case: case.case_id)
    rows = read_rows('ms.csv')
    initialisations = ('base', *INITIALISATIONS)
    for seed, (train, test), initialisation in product(range(2), (cases, cases[::-1]), initialisations):
        done = [row[:3] for row in rows]
        if (initialisation, seed) == ('base', 1) or [train.case_id, initialisation, str(seed)] in done:
            continue # untrained: no seed
        task = prepare_task(base, [train], dict(lesion=(1,)), SCRATCH/'cache')
        run = SCRATCH/'ms'/train.case_id/f'{initialisation}_{seed}'
        if initialisation == 'base':
            model = unchanged_base(task)
        else:
            settings = few_case_settings(seed=seed)
            for _ in fit_task(task, initialisation, settings=settings, run_folder=run, device=CPU):
                pass
            model = load_model(run/'last')
        mask = predict_case(model, test, device=CPU).masks['lesion']
        truth = structure_masks(read_case(test, ('flair',), needs_label=True).label, task.structures)[0]
        found = detect_lesions(mask, Volume(truth, mask.affine), minimum_ml=0.01)
        scores = [f'{score:.4f}' for score in overlap_scores(mask.array, truth)]
        lesions = [found.found, found.missed, found.false]
        rows.append([train.case_id, initialisation, str(seed), test.case_id, *scores, *lesions])
        print(*rows[-1], flush=True)
        header = ['trained_on', 'initialisation', 'seed', 'scored_on', 'dice', 'sensitivity', 'precision']
        write_rows('ms.csv', [*header, 'found', 'missed', 'false'], rows)

def suggest(base, begin=2, more=5, draws=5):
    split = hippocampi()
    rows = read_rows('suggest.csv')
    task = prepare_task(base, [*split.train, *split.valid], HIPPOCAMPUS, SCRATCH/'cache', split=split)
    files = {case.case_id: case for case in split.train}
    for draw in range(draws):
        done = {row[1] for row in rows if row[0] == str(draw)}
        if len(done) == 2:
            continue
        order = sampled_cases(task, len(task.train), draw)
        known, others = order[:begin], order[begin:]
        def model_of(cases, name):
            run = SCRATCH/'suggest'/f'{draw}_{name}'
            some = replace(task, train=cases, valid=())
            settings = few_case_settings(seed=draw)
            for _ in fit_task(some, INITIALISATIONS[0], settings=settings, run_folder=run, device=CPU):
                pass
            return load_model(run/'last')
        ranked = suggest_cases(model_of(known, 'begin'), [files[case.case_id] for case in others], device=CPU)
        best = {one.case_id for one in ranked[:more]}
        suggested = [case for case in others if case.case_id in best]
        for name, taken in dict(suggested=suggested, random=others[:more]).items():
            if name in done:
                continue
            model = model_of([*known, *taken], name)
            scored = [validate_case(model.network, SliceDataset([case]), model.threshold, CPU) for case in task.valid]
            dice = np.mean([scores[0] for scores in scored])
            rows.append([str(draw), name, f'{dice:.4f}', ' '.join(case.case_id for case in taken)])
            print(*rows[-1], flush=True)
            write_rows('suggest.csv', ['draw', 'taken', 'dice', 'cases'], rows)

if __name__ == '__main__':
    if len(sys.argv) != 3 or sys.argv[1] not in ('subsets', 'curve', 'ms', 'suggest'):
        sys.exit(__doc__)
    OUT.mkdir(parents=True, exist_ok=True)
    globals()[sys.argv[1]](load_model(sys.argv[2]))
