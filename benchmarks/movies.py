#!/usr/bin/env python3
"""Scores of whole pipelines on simulated movies of dividing nuclei: one JSON line for each.

    python benchmarks/movies.py [--movies large crowded ...] [--ways LapTrack StarDist CellPose ...]

The ways LapTrack and Ultrack track the true labels; StarDist and CellPose segment the images
with the shipped model, all defaults, and LapTrack tracks that with the arguments of
docs/tracking.md. Nuclei have outlines that wobble, chromatin of noise of all scales, which is
not the one that the models were trained with, and little light.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "bin"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import pandas as pd
import tifffile
from dividing import Culture, simulate
from scipy import ndimage
from scored import lines_of, truth_folder

PROJECT = Path(__file__).resolve().parents[1]
MOVIES = {  # a culture, and photons of a nucleus and of the ground beside it
    "large": (Culture(65, (560, 640), 14, 26.0, 3.0, 36, 1), 10, 20),
    "crowded": (Culture(80, (560, 640), 40, 20.0, 2.0, 40, 2), 20, 20),
    "long": (Culture(150, (480, 480), 12, 18.0, 2.5, 45, 3), 8, 25),
    "small": (Culture(65, (384, 384), 30, 9.0, 1.5, 33, 4), 13, 10),
}
LAPTRACK = {
    "unit": "diameter", "linking_max_distance": 1, "gap_closing_max_distance": 0.5,
    "max_frame_gap": 3, "splitting_max_distance": 1, "rules": "laptrack",
}  # fmt: skip
SCORES = ("DET", "SEG", "TRA", "division_f1")


def wobbled(labels, radius, rng):
    """Bend all frames alike, so that discs become nuclei; shape (t, y, x)."""
    grid = np.indices(labels.shape[1:], np.float32)
    bend = [rng.standard_normal(labels.shape[1:]) for _ in range(2)]
    bend = np.stack([ndimage.gaussian_filter(b, 0.6 * radius) for b in bend])
    at = grid + bend * (0.22 * radius / bend.std())
    return np.stack(
        [ndimage.map_coordinates(frame, at, order=0, mode="nearest") for frame in labels]
    )


def chromatin(shape, radius, rng):
    """Noise of all scales from 2 px to a nucleus, of mean 1 and at least 0.2."""
    noise = np.zeros(shape)
    for scale in 2.0 ** np.arange(1, np.log2(radius) + 1):
        octave = ndimage.gaussian_filter(rng.standard_normal(shape), scale / 2)
        noise += np.sqrt(scale) * octave / octave.std()
    return np.clip(1 + 0.3 * noise / noise.std(), 0.2, None)


def lit(labels, radius, photons, ground, rng):
    """Images of labels (t, y, x): chromatin that moves with its nucleus, blur and shot noise."""
    edge = int(6 * radius)
    textures, gains, images = {}, {}, []
    for frame in labels:
        light = np.zeros(frame.shape)
        for label, box in enumerate(ndimage.find_objects(frame.astype(np.int32)), 1):
            if box is None:
                continue
            if label not in textures:
                textures[label] = chromatin((edge, edge), radius, rng)
                gains[label] = np.exp(rng.normal(0, 0.25))
            inside = frame[box] == label
            y, x = inside.shape
            light[box][inside] = (gains[label] * textures[label][:y, :x])[inside]
        light = ndimage.gaussian_filter(light, 0.06 * radius)
        glow = 0.15 * ndimage.gaussian_filter(light, radius)
        seen = rng.poisson(photons * (light + glow) + ground)
        images.append(100 + 4 * seen + rng.normal(0, 8, seen.shape))
    return np.clip(np.rint(images), 0, 65535).astype(np.uint16)


def pipeline(way):
    """Return the pipeline of a way, as in a YAML file."""
    steps = {"channels": {"Nuclei": "images.tif"}}
    segment = {"name": way, "channels": ["Nuclei"], "output_type": "label"}
    if way == "CellPose":
        segment["args"] = {"model_type": "cellpose3_nuclei"}
    track = {"name": "LapTrack", "tag": "Track", "channels": ["Nuclei"], "args": LAPTRACK}
    if way in ("LapTrack", "Ultrack"):
        steps["labels"] = {"Nuclei": "labels.tif"}
        if way == "Ultrack":
            track = {"name": way, "labels": ["Nuclei"], "args": {"window_size": 20}}
    phases = {
        "label_to_sparse": {"image_label_pair": [["Nuclei", "Nuclei"]]},
        "tracking": [track],
        "evaluation": [
            {"name": "EvaluateTracking", "channels": ["Nuclei"], "args": {"ground_truth": "GT"}}
        ],
    }
    if way == "Ultrack":  # makes a table of cells of its own
        del phases["label_to_sparse"]
    if way not in ("LapTrack", "Ultrack"):
        phases = {"segmentation": [segment], **phases}
    return {**steps, "pipeline": phases}


def scores(folder, way):
    """Run a way in the folder of a movie; return its scores over all frames."""
    file = folder / f"{way}.yaml"
    file.write_text(json.dumps(pipeline(way)))
    words = [PROJECT / "cytoloom", "run", "--pipeline", file, "--outdir", folder / way]
    done = subprocess.run(
        [*map(str, words)], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{way}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    (table,) = (folder / way / "tables").glob("*.evaluation.csv")
    frame = pd.read_csv(table)
    frame = frame[frame["frame"].isna()].drop_duplicates("metric").set_index("metric")
    return {name: round(float(frame.loc[name, "value"]), 4) for name in SCORES}


def main():
    """Simulate the movies that are asked for and score all ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movies", nargs="+", choices=MOVIES, default=[*MOVIES])
    ways = ("LapTrack", "Ultrack", "StarDist", "CellPose")
    parser.add_argument("--ways", nargs="+", choices=ways, default=["LapTrack", *ways[2:]])
    asked = parser.parse_args()
    for name in asked.movies:
        culture, photons, ground = MOVIES[name]
        rng = np.random.default_rng([culture.seed, 99])
        truth = simulate(culture)
        labels = wobbled(truth.labels, culture.radius, rng)
        images = lit(labels, culture.radius, photons, ground, rng)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            tifffile.imwrite(folder / "images.tif", images, metadata={"axes": "TYX"})
            tifffile.imwrite(
                folder / "labels.tif", labels.astype(np.uint16), metadata={"axes": "TYX"}
            )
            lines = lines_of(labels, truth.parents)
            truth_folder(folder / "GT", labels, lines, seg=dict(enumerate(labels)))
            for way in asked.ways:
                print(json.dumps({"movie": name, "way": way, **scores(folder, way)}), flush=True)


if __name__ == "__main__":
    main()
