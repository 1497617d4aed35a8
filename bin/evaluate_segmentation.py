#!/usr/bin/env python3
"""Scores of a segmentation against ground truth: AP, F1 over IoU, SEG, errors of counting."""

import logging
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, overlaps, tables
from cytoloom.errors import BadData
from cytoloom.ground_truth import annotated_frames
from cytoloom.regions import Region
from cytoloom.scores import CTC, OURS, STARDIST, Rows, add_counts

log = logging.getLogger("cytoloom")
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def compare(path, layer, select):
    """Yield (frame, overlaps) for each frame that the ground truth shows.

    Parameters
    ----------
    path : str
        Ground truth.
    layer : Layer
        Labels of the result.
    select : str or None
        Part of the user's stack that the result shows.
    """
    whole = Region.whole(layer.shape)
    for one in annotated_frames(path, layer.shape, select):
        found = layer.read(whole.frame(one.frame))[0]
        if one.planes is not None:
            found = found[list(one.planes)]
        yield one.frame, overlaps.overlaps(one.labels, found)


def add_seg(rows, compared, frame):
    """Add SEG of the Cell Tracking Challenge over some frames, by py-ctcmetrics."""
    from ctc_metrics.metrics import seg

    if not any(len(one.true) for one in compared):
        return rows.add("SEG", None, CTC, frame=frame)
    ious = [one.iou[one.majority()] for one in compared]
    return rows.add("SEG", seg([one.true for one in compared], ious), CTC, frame=frame)


def add_scores(rows, score, threshold, frame):
    """Add the scores at one threshold."""
    values = {
        "AP": score.ap,
        "F1": score.f1,
        "precision": score.precision,
        "recall": score.recall,
        "panoptic_quality": score.panoptic_quality,
        "mean_matched_iou": score.mean_matched_iou,
        "tp": score.tp,
        "fp": score.fp,
        "fn": score.fn,
    }
    for name, value in values.items():
        rows.add(name, value, STARDIST, frame=frame, threshold=threshold)


def main(
    label: cli.Label,
    ground_truth: Annotated[
        str,
        typer.Option(
            help="label image (TIFF, folder of TIFFs, OME-Zarr), or folder of the Cell Tracking "
            "Challenge: its SEG, which may hold some frames or planes only, else its TRA"
        ),
    ],
    out_evaluation: cli.OutTable,
    select: Annotated[
        str | None,
        cli.Contract("control"),
        typer.Option(help="part of the user's stack that the result shows: t=0:50:1,y=0:512:1"),
    ] = None,
    thresholds: Annotated[
        list[float], typer.Option(min=0.01, max=1, help="IoU from which two objects match")
    ] = THRESHOLDS,  # type: ignore[assignment]
) -> None:
    """Score a segmentation against ground truth: AP and F1 over IoU, SEG, error of counting.

    Objects are matched one to one; only frames (and planes) that the ground truth shows count.
    """
    layer = images.open_layer(label, kind="label")
    steps = sorted(set(thresholds))
    rows = Rows(layer.position, layer.channel)
    compared: list[overlaps.Overlaps] = []
    scores: dict[float, list[overlaps.Score]] = {step: [] for step in steps}
    for frame, one in cli.progress(compare(ground_truth, layer, select), "frame"):
        compared.append(one)
        add_counts(rows, len(one.true), len(one.found), frame)
        add_seg(rows, [one], frame)
        for step in steps:
            scores[step].append(overlaps.score(one, step))
            add_scores(rows, scores[step][-1], step, frame)
    if not compared:
        raise BadData(f"{ground_truth}: it shows no frame of the result")
    errors = [len(one.found) - len(one.true) for one in compared]
    true = sum(len(one.true) for one in compared)
    add_counts(rows, true, true + sum(errors), None)
    rows.add("mean_absolute_count_error", float(np.abs(errors).mean()), OURS)
    add_seg(rows, compared, None)
    for step in steps:
        add_scores(rows, overlaps.total(scores[step]), step, None)
    about = tables.describe(layer)
    tables.write_arrow(
        out_evaluation, tables.from_columns(rows.columns(), "evaluation", about=about)
    )
    f1 = rows.value("F1", steps[0])
    log.info("F1 at IoU %g: %s", steps[0], "none" if f1 is None else f"{f1:.4f}")


if __name__ == "__main__":
    cli.run(main)
