"""Scores of a segmentation while training: objects of many images pooled, and SEG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.augment import Pair
from cytoloom.overlaps import Score, overlaps, score, total


def seg(true: NDArray, found: NDArray) -> NDArray[np.float64]:
    """Cell Tracking Challenge's SEG of each true object.

    Its IoU with the object that covers more than half of it, 0 where there is none.
    """
    compared = overlaps(true, found)
    covering = compared.majority()
    scores = np.zeros(len(compared.true))
    scores[compared.i[covering]] = compared.iou[covering]
    return scores


def pooled(pairs: Iterable[tuple[NDArray, NDArray]], iou: float = 0.5) -> Score:
    """Pool the matches of several images."""
    return total(score(overlaps(true, found), iou) for true, found in pairs)


def evaluate(pairs: Sequence[Pair], segment: Callable[[NDArray], NDArray]) -> dict[str, Any]:
    """Score a segmentation of normalised images on pairs that were held out.

    Returns
    -------
    dict
        ``images``, ``objects``, ``at``: F1 and average precision (AP) at IoU 0.5, 0.7 and
        0.9, objects pooled, 1 where there is none; ``seg``: mean SEG of the true objects.
    """
    found = [(pair.labels, segment(pair.image)) for pair in pairs]
    rows = []
    for iou in (0.5, 0.7, 0.9):
        whole = pooled(found, iou)
        f1, ap = (1.0 if value is None else value for value in (whole.f1, whole.ap))
        rows.append({"iou": iou, "f1": round(f1, 4), "ap": round(ap, 4)})
    each = np.concatenate([seg(true, labels) for true, labels in found] or [np.zeros(0)])
    return {
        "images": len(found),
        "objects": len(each),
        "at": rows,
        "seg": round(float(each.mean()), 4) if each.size else None,
    }
