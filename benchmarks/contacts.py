#!/usr/bin/env python3
"""Time of one frame's contacts: ours against the algorithm that pyCyto ships.

    python benchmarks/contacts.py [--size 2048] [--cells 2000] [--distance 2]

Both get the same two label images and centroids. The literal algorithm is the dense one:
distances of all centroid pairs, and a matrix of all label pairs that share a pixel. The
contacts, closest distances and overlaps of both must agree, or the run fails.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist

sys.path.insert(0, str(Path(__file__).parents[1] / "bin"))
from cytoloom import contacts


def cells(size, count, seed):
    """Discs at random places, later ones over earlier ones; compact labels and centroids."""
    rng = np.random.default_rng(seed)
    radius = 0.35 * size / np.sqrt(count)
    image = np.zeros((size, size), np.int32)
    for label in range(1, count + 1):
        y, x = rng.uniform(0, size, 2)
        r = radius * rng.uniform(0.7, 1.3)
        y0, x0 = max(0, int(y - r)), max(0, int(x - r))
        box = image[y0 : int(y + r) + 2, x0 : int(x + r) + 2]
        rows, columns = np.ogrid[y0 : y0 + box.shape[0], x0 : x0 + box.shape[1]]
        box[(rows - y) ** 2 + (columns - x) ** 2 <= r**2] = label
    labels = np.unique(image[image > 0])
    index = contacts.number_objects(image, labels, where="benchmark")
    flat = index.ravel()
    area = np.bincount(flat)
    place = [np.bincount(flat, weights=g.ravel()) / area for g in np.indices(index.shape)]
    return index, labels.size, np.stack(place, axis=1)[1:]


def shipped(labels, counts, centroids):
    """Literally: a dense matrix of overlaps, a dense matrix of distances, masked."""
    distance = cdist(*centroids)
    overlap = np.zeros(counts, bool)
    for row in range(counts[0]):
        partners = np.unique(labels[1][labels[0] == row + 1])
        overlap[row, partners[partners > 0] - 1] = True
    return overlap, distance.min(axis=1)


def ours(labels, counts, centroids, reach=None):
    """Return pairs and closest distances."""
    pairs = contacts.find_contacts(*labels, counts, (1.0, 1.0), reach=reach)
    places = [np.column_stack([np.zeros(len(c)), c]) for c in centroids]
    return pairs, contacts.closest_distances(*places)


def timed(function, *arguments):
    """Return the result and the seconds."""
    began = time.perf_counter()
    return function(*arguments), time.perf_counter() - began


def main():
    """Print the seconds of each as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--size", type=int, default=2048)
    options.add_argument("--cells", type=int, default=2000)
    options.add_argument("--distance", type=float, default=2.0, help="pixels")
    given = options.parse_args()
    labels, counts, centroids = zip(
        *(cells(given.size, given.cells, seed) for seed in (1, 2)), strict=True
    )
    ours([a[:64, :64] for a in labels], counts, centroids)  # imports, first calls
    (pairs, closest), our_seconds = timed(ours, labels, counts, centroids)
    (near, _), near_seconds = timed(ours, labels, counts, centroids, given.distance)
    (overlap, plain_closest), shipped_seconds = timed(shipped, labels, counts, centroids)
    found = np.zeros(counts, bool)
    found[pairs.effector, pairs.target] = True
    assert np.array_equal(found, overlap), "contacts differ from the literal algorithm"
    assert np.allclose(closest, plain_closest), "closest distances differ"
    print(
        json.dumps(
            {
                "cells": counts,
                "contacts": len(pairs),
                "contacts_within_distance": len(near),
                "overlap_s": round(our_seconds, 3),
                "distance_s": round(near_seconds, 3),
                "shipped_s": round(shipped_seconds, 3),
                "speedup": round(shipped_seconds / our_seconds, 1),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
