"""The diameter of a network's objects, estimated from fixed samples of a stack.

Networks want to see objects of a certain size. The samples are the same however the stack is
cut, and one diameter is taken for all frames, so that cells do not change with the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData
from cytoloom.files import find, writing

FRAMES = 3  # first, middle, last
EDGE = 512  # of a sample [px]
PLACES = 3  # samples of a large frame are taken from a grid of so many by so many
SAMPLES = 2  # per frame
Diameters = NDArray[np.floating[Any]]


def sample_frames(count: int) -> list[int]:
    """Return the frames to sample of ``count``: the first, the last and between."""
    return sorted({round(i * (count - 1) / (FRAMES - 1)) for i in range(FRAMES)})


def sample_windows(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Return the places (y, x) that may be sampled in a frame."""
    axes = []
    for size in shape:
        places = PLACES if size > EDGE else 1
        starts = {round(i * max(0, size - EDGE) / max(1, places - 1)) for i in range(places)}
        axes.append([slice(a, min(a + EDGE, size)) for a in sorted(starts)])
    return [(y, x) for y in axes[0] for x in axes[1]]


def brightest(samples: Sequence[NDArray[np.float32]]) -> list[int]:
    """Return which samples to take: those with the most signal, the first of equal ones."""
    signal = [-float(np.clip(sample, 0, 1).mean()) for sample in samples]
    return sorted(np.argsort(signal, kind="stable")[:SAMPLES].tolist())


def of_labels(labels: NDArray[np.integer[Any]]) -> Diameters:
    """Return the diameter of a disc of each object's area [px], labels of shape (y, x)."""
    area = np.bincount(labels.ravel())[1:]
    return 2 * np.sqrt(area[area > 0] / np.pi)


def estimate(measure: Callable[[float], Diameters], usual: float) -> float:
    """Return the median diameter of the objects that a network finds.

    The network is asked for objects of its usual size, then of the size that it found, until
    the two agree; where it finds none, for larger and smaller ones.

    Parameters
    ----------
    measure
        Gives the diameters of the objects found when those of a diameter are asked for [px].
    usual
        Of the objects that the network was trained on [px].

    Returns
    -------
    float
        [px]; ``usual`` where nothing is found.
    """
    found: Diameters = np.empty(0)
    asked = usual
    for factor in (1.0, 2.0, 0.5, 4.0):
        asked = usual * factor
        found = measure(asked)
        if found.size:
            break
    if not found.size:
        return usual
    for _ in range(3):
        median = float(np.median(found))
        if abs(np.log(median / asked)) < 0.1:
            return median
        asked, found = median, measure(median)
        if not found.size:
            return median
    return float(np.median(found))


def write(path: Path | str, diameter: float | None) -> None:
    """Write the diameter of a stack [px], or that there is none to be given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"diameter_px": pa.array([diameter], pa.float64())})
    with writing(path) as temporary:
        pq.write_table(table, temporary)


def read(path: Path | str) -> float | None:
    """Read what `write` wrote.

    Raises
    ------
    BadData
        If it is not such a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    (file,) = find(path, what="diameter")
    try:
        (diameter,) = pq.read_table(file, partitioning=None)["diameter_px"].to_pylist()
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise BadData(f"{file}: not the file of an estimated diameter ({error})") from error
    return None if diameter is None else float(diameter)
