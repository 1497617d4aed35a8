"""Scores of tracked labels by py-ctcmetrics and traccuracy, used directly."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray


def write_ctc(folder: Path, name: str, labels: NDArray, parents: dict[int, int]) -> Path:
    """Write labels by track (t, y, x) as files of the Cell Tracking Challenge; return the lines.

    ``name`` is ``man_track`` (ground truth) or ``mask`` (result).
    """
    folder.mkdir(parents=True)
    for frame, data in enumerate(labels):
        tifffile.imwrite(folder / f"{name}{frame:03d}.tif", data.astype(np.uint16))
    lines = []
    for track in np.unique(labels[labels > 0]):
        seen = np.flatnonzero((labels == track).any(axis=(1, 2)))
        lines.append(f"{track} {seen[0]} {seen[-1]} {parents.get(int(track), 0)}\n")
    path = folder / ("man_track.txt" if name == "man_track" else "res_track.txt")
    path.write_text("".join(lines))
    return path


def scores(
    folder: Path,
    truth: tuple[NDArray, dict[int, int]],
    found: tuple[NDArray, dict[int, int]],
) -> dict[str, float]:
    """Return TRA, DET and the F1 of divisions (in the very frame) of a result."""
    from ctc_metrics import evaluate_sequence
    from traccuracy import run_metrics
    from traccuracy.loaders import load_ctc_data
    from traccuracy.matchers import IOUMatcher
    from traccuracy.metrics import DivisionMetrics

    gt, res = folder / "01_GT", folder / "01_RES"
    true_lines = write_ctc(gt / "TRA", "man_track", *truth)
    (gt / "SEG").mkdir()
    for path in (gt / "TRA").glob("*.tif"):
        (gt / "SEG" / path.name.replace("man_track", "man_seg")).write_bytes(path.read_bytes())
    lines = write_ctc(res, "mask", *found)
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ctc = evaluate_sequence(str(res), str(gt), metrics=["DET", "TRA"])
        true = load_ctc_data(str(gt / "TRA"), str(true_lines), name="true", run_checks=False)
        ours = load_ctc_data(str(res), str(lines), name="found", run_checks=False)
        results, _ = run_metrics(
            gt_data=true,
            pred_data=ours,
            matcher=IOUMatcher(iou_threshold=0.5, one_to_one=True),
            metrics=[DivisionMetrics()],
        )
    logging.disable(logging.NOTSET)
    division = results[0]["results"]["Frame Buffer 0"]
    return {
        "TRA": float(ctc["TRA"]),
        "DET": float(ctc["DET"]),
        "division_f1": float(division["Division F1"]),
        "divisions": int(division["Total GT Divisions"]),
    }
