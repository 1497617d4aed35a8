#!/usr/bin/env python3
"""Time of one frame's measurements: ours against scikit-image's regionprops_table.

    python benchmarks/tabulation.py [--size 2048] [--repeat 5] [--volume] [--tasks]

Frames of irregular elliptic cells (2,000 and 20,000 of them) and of Poisson noise, one core
each. Both measure the same columns, scikit-image no others; ours also gives sums, percentiles
and micrometres. All columns must agree to 1e-6, relative or absolute, or the run fails.
``--volume`` adds a 3-D frame with anisotropic voxels, ``--tasks`` the time of whole tasks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "bin"))

import numpy as np
from skimage.measure import regionprops_table

from cytoloom import images, layouts, measure
from cytoloom.regions import Region

BIN = Path(__file__).parents[1] / "bin"
COMMON = [
    "label", "bbox", "area", "centroid", "equivalent_diameter_area", "feret_diameter_max",
    "solidity", "extent", "axis_major_length", "axis_minor_length", "intensity_mean",
    "intensity_median", "intensity_std", "intensity_min", "intensity_max",
]  # fmt: skip
FLAT = ["perimeter", "eccentricity", "orientation"]


def frame_of_cells(size, count, seed):
    """Return labels (Y, X) of ``count`` irregular ellipses on a jittered grid, and an image."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(count)))
    step = size / side
    labels = np.zeros((size, size), np.uint32)
    reach = int(step)
    for label in range(1, count + 1):
        centre = (np.array(divmod(label - 1, side)) + 0.5 + rng.uniform(-0.1, 0.1, 2)) * step
        y0, x0 = np.maximum(0, centre.astype(int) - reach)
        box = labels[y0 : y0 + 2 * reach + 1, x0 : x0 + 2 * reach + 1]
        dy, dx = np.ogrid[y0 : y0 + box.shape[0], x0 : x0 + box.shape[1]]
        dy, dx = dy - centre[0], dx - centre[1]
        long, short = step * rng.uniform(0.3, 0.55), step * rng.uniform(0.2, 0.4)
        turn = rng.uniform(0, np.pi)
        u = (dx * np.cos(turn) + dy * np.sin(turn)) / long
        v = (dy * np.cos(turn) - dx * np.sin(turn)) / short
        angle, phase = np.arctan2(v, u), rng.uniform(0, 2 * np.pi, 3)
        waves = zip((0.1, 0.07, 0.05), (2, 3, 5), phase, strict=True)
        wave = [a * np.sin(k * angle + p) for a, k, p in waves]
        box[(np.hypot(u, v) < 1 + sum(wave)) & (box == 0)] = label
    image = rng.poisson(100 + 400 * (labels > 0) + 50 * (labels % 7)).astype(np.uint16)
    return labels, image


def volume_of_cells(shape, count, seed):
    """Return labels (Z, Y, X) of ellipsoids, and an image."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    for label in range(1, count + 1):
        c = [rng.uniform(0.15, 0.85) * n for n in shape]
        r = rng.uniform(4, 9, 3)
        inside = sum(((a - m) / s) ** 2 for a, m, s in zip((z, y, x), c, r, strict=True)) < 1
        labels[inside & (labels == 0)] = label
    kept = np.bincount(labels.ravel()) > 200
    kept[0] = False
    labels[~kept[labels]] = 0
    return labels, rng.poisson(100 + 50 * (labels % 7)).astype(np.uint16)


def timed(function, repeat):
    """Return the result, the shortest time and that of the first call.

    Seconds of the processor, so that other work on the machine does not count; both sides
    use one thread.
    """
    seconds = []
    for _ in range(repeat):
        began = time.process_time()
        result = function()
        seconds.append(time.process_time() - began)
    return result, min(seconds), seconds[0]


def greatest_difference(ours, theirs, volume):
    """Return the greatest difference and its column, as |a - b| / max(1, |b|)."""
    axes = "zyx" if volume else "yx"
    names = {f"centroid-{i}": axis for i, axis in enumerate(axes)}
    names |= {f"bbox-{i}": f"bbox_{axis}0" for i, axis in enumerate(axes)}
    names |= {f"bbox-{i + len(axes)}": f"bbox_{axis}1" for i, axis in enumerate(axes)}
    worst = (0.0, "")
    for name, expected in theirs.items():
        found = ours[names.get(name, name)].astype(float)
        if name == "orientation":  # pi/2 and -pi/2 are one axis; scikit-image's sign is rounding
            turned = np.abs(np.abs(found - expected) - np.pi) < 1e-6
            found = np.where(turned, expected, found)
        relative = np.abs(found - expected) / np.maximum(1, np.abs(expected))
        worst = max(worst, (float(relative.max()), name))
    return worst


def compare(name, labels, image, *, volume, pixel_size, repeat):
    """Print one line for one frame; return the ratio."""
    columns = COMMON if volume else COMMON + FLAT
    stacked = (labels, image) if volume else (labels[None], image[None])
    ours, best, first = timed(
        lambda: measure.measure(*stacked, pixel_size=pixel_size, volume=volume), repeat
    )
    integers = labels.astype(np.int32)
    theirs, shipped, _ = timed(
        lambda: regionprops_table(integers, image, columns), 1 if volume else min(2, repeat)
    )
    difference, column = greatest_difference(ours, theirs, volume)
    row = {
        "frame": name,
        "cells": len(ours["label"]),
        "ours_s": round(best, 4),
        "ours_first_call_s": round(first, 4),
        "scikit_image_s": round(shipped, 3),
        "ratio": round(shipped / best, 1),
        "ratio_first_call": round(shipped / first, 1),
        "greatest_difference": difference,
        "in_column": column,
    }
    print(json.dumps(row))
    if difference > 1e-6:
        sys.exit(f"{name}: column {column} differs by {difference}")


def time_tasks(labels, image, frames=20):
    """Print the wall time of tasks of 1 and ``frames`` frames, reading and writing included."""
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, frames):
            shape = (count, 1, *labels.shape)
            layout = layouts.Layout(
                shape=shape, dtype=image.dtype, chunks=(1, 1, 1024, 1024),
                shards=(1, 1, *(-(-n // 1024) * 1024 for n in labels.shape)),
                pixel_size=(1.0, 0.5, 0.5), frame_interval=None, position="p", channel="a",
            )  # fmt: skip
            whole = Region.whole(shape)
            for kind, data in (("label", labels), ("image", image)):
                stack = np.broadcast_to(data, shape)
                images.write_part(f"{folder}/{kind}", stack, region=whole, like=layout, kind=kind)
            command = [sys.executable, BIN / "tabulate_regions.py", "--image", f"{folder}/image",
                       "--label", f"{folder}/label", "--out-cells", f"{folder}/cells"]  # fmt: skip
            began = time.perf_counter()
            subprocess.run(command, check=True)
            wall = time.perf_counter() - began
            about = json.loads(Path(f"{folder}/cells.provenance.json").read_text())
            print(json.dumps({"task_frames": count, "wall_s": round(wall, 2), **about["seconds"],
                              "peak_memory_mb": about["peak_memory_mb"]}))  # fmt: skip


def main():
    """Run the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048, help="edge of the frame [px]")
    parser.add_argument("--repeat", type=int, default=5, help="best of so many runs")
    parser.add_argument("--volume", action="store_true", help="also a 3-D frame (minutes)")
    parser.add_argument("--tasks", action="store_true", help="also whole tasks")
    given = parser.parse_args()
    for count in (2000, 20000):
        labels, image = frame_of_cells(given.size, count, seed=count)
        compare(f"{given.size} x {given.size}", labels, image, volume=False,
                pixel_size=(1.0, 0.5, 0.5), repeat=given.repeat)  # fmt: skip
        if count == 2000 and given.tasks:
            time_tasks(labels, image)
    if given.volume:
        shape = (48, 256, 256)
        compare(" x ".join(map(str, shape)), *volume_of_cells(shape, 60, seed=3), volume=True,
                pixel_size=(2.0, 0.325, 0.325), repeat=given.repeat)  # fmt: skip


if __name__ == "__main__":
    main()
