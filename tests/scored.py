"""Label layers and ground truths for the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from cytoloom import images, layouts, tables
from cytoloom.exchange import ctc
from cytoloom.regions import Region

PLAIN = {"photometric": "minisblack"}
DEMO = Path(__file__).parents[1] / "assets" / "demo" / "evaluation"


def layer(path, labels, *, kind="label", channel="Nuclei"):
    """Write labels of axes t, (z,) y, x as a layer, and return its path."""
    data = labels[:, np.newaxis] if labels.ndim == 3 else labels
    layout = layouts.Layout(
        shape=data.shape,
        dtype=np.dtype(np.uint32),
        chunks=(1, *data.shape[1:]),
        shards=(1, *data.shape[1:]),
        pixel_size=(2.0, 0.5, 0.5),
        frame_interval=60.0,
        position="p1",
        channel=channel,
        kind=kind,
    )
    images.write_part(
        path, data.astype(np.uint32), region=Region.whole(data.shape), like=layout, kind=kind
    )
    return str(path)


def demo_labels():
    """The labels of the bundled result, shape (t, y, x)."""
    return tifffile.imread(DEMO / "result.tif")


def demo_truth():
    """The masks of the bundled ground truth, shape (t, y, x)."""
    files = sorted((DEMO / "01_GT" / "TRA").glob("*.tif"))
    return np.stack([tifffile.imread(file) for file in files])


def truth_folder(folder, masks, lines, *, seg=None):
    """Write a ground truth of the Cell Tracking Challenge.

    Parameters
    ----------
    seg : dict
        Masks by frame, or by (frame, plane).
    """
    (folder / "TRA").mkdir(parents=True)
    for frame, mask in enumerate(masks):
        tifffile.imwrite(
            folder / "TRA" / f"man_track{frame:03d}.tif", mask.astype(np.uint16), **PLAIN
        )
    ctc.write_lines(folder / "TRA" / "man_track.txt", np.array(lines, np.int64).reshape(-1, 4))
    for key, mask in (seg or {}).items():
        (folder / "SEG").mkdir(exist_ok=True)
        number = f"_{key[0]:03d}_{key[1]:03d}" if isinstance(key, tuple) else f"{key:03d}"
        tifffile.imwrite(folder / "SEG" / f"man_seg{number}.tif", mask.astype(np.uint16), **PLAIN)
    return folder


def result_folder(folder, labels, parents=None):
    """Write labels whose numbers are tracks as a result of the Cell Tracking Challenge."""
    lines = lines_of(labels, parents)
    folder.mkdir(parents=True)
    for frame, mask in enumerate(labels):
        tifffile.imwrite(folder / f"mask{frame:03d}.tif", mask.astype(np.uint16), **PLAIN)
    ctc.write_lines(folder / "res_track.txt", np.array(lines, np.int64).reshape(-1, 4))
    return folder


def lines_of(labels, parents=None):
    """One line for each number of a stack: number, first frame, last frame, parent."""
    found = []
    for number in np.unique(labels[labels > 0]).tolist():
        frames = np.flatnonzero((labels == number).any(axis=tuple(range(1, labels.ndim))))
        found.append((number, frames[0], frames[-1], (parents or {}).get(number, 0)))
    return found


def scores(path, *, frame=None):
    """The values of a table by (metric, threshold), over all frames or of one."""
    table = tables.read_arrow(path, "evaluation").to_pylist()
    return {(r["metric"], r["threshold"]): r["value"] for r in table if r["frame"] == frame}
