#!/usr/bin/env python3
"""Score a model on images whose labels are known: one JSON line.

Run in the environment of the model's family (docs/training.md says where the scores of the
shipped models come from):

    PYTHON benchmarks/shipped_models.py stardist assets/models/stardist_nuclei IMAGES LABELS

IMAGES and LABELS are folders, quoted globs or files, as in training. F1 and AP pool the objects of
all images; Cellpose is given the median diameter of each image.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bin"))

import train_cellpose3
import train_stardist

from cytoloom import training_data


def stardist(folder, pairs, prob):
    """Score a StarDist model as StarDist itself predicts."""
    train_stardist.start_up(2, gpu=False)
    from stardist.models import StarDist2D

    model = StarDist2D(None, name=folder.name, basedir=str(folder.parent))
    return train_stardist.evaluate(model, pairs, prob)


def cellpose3(folder, pairs, _prob):
    """Score a Cellpose 3 model as Cellpose itself predicts."""
    return train_cellpose3.evaluate(folder / train_cellpose3.WEIGHTS, pairs, "cpu")


ENGINES = {"stardist": (stardist, 99.8), "cellpose3": (cellpose3, train_cellpose3.PERCENTILE)}


def main():
    """Read the pairs that are asked for and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("images")
    parser.add_argument("labels")
    parser.add_argument("--only", type=Path, help="text file with the names of the images to take")
    parser.add_argument("--frames", type=int, nargs="+", help="frames of stacks to take")
    parser.add_argument("--prob", type=float, help="StarDist's probability (default: the model's)")
    asked = parser.parse_args()
    evaluate, high = ENGINES[asked.engine]
    files = training_data.find_pairs(asked.images, asked.labels)
    if asked.only:
        names = set(asked.only.read_text(encoding="utf-8").split())
        files = [file for file in files if file[0] in names]
    pairs = training_data.read_pairs(files, high)
    if asked.frames:
        pairs = [pairs[frame] for frame in asked.frames]
    print(json.dumps(evaluate(asked.model.resolve(), pairs, asked.prob)))


if __name__ == "__main__":
    main()
