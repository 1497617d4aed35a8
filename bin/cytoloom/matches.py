"""Scores of segmentations while training: objects matched by their overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.augment import Pair


@dataclass(frozen=True)
class Matches:
    """Objects matched one to one between true and found labels, pooled over images."""

    matched: int = 0
    only_found: int = 0
    only_true: int = 0

    def __add__(self, other: Matches) -> Matches:
        """Pool the objects of two sets of images."""
        return Matches(
            self.matched + other.matched,
            self.only_found + other.only_found,
            self.only_true + other.only_true,
        )

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where there is no object at all."""
        total = 2 * self.matched + self.only_found + self.only_true
        return 2 * self.matched / total if total else 1.0

    @property
    def precision(self) -> float:
        """Average precision of the field: TP / (TP + FP + FN)."""
        total = self.matched + self.only_found + self.only_true
        return self.matched / total if total else 1.0


def overlaps(true: NDArray, found: NDArray) -> NDArray[np.float64]:
    """Intersection over union of all objects, shape (true, found)."""
    _, a = np.unique(true, return_inverse=True)
    _, b = np.unique(found, return_inverse=True)
    a = a.ravel() + int(true.min() > 0)
    b = b.ravel() + int(found.min() > 0)
    table = np.zeros((a.max() + 1, b.max() + 1), np.int64)
    np.add.at(table, (a, b), 1)
    union = table.sum(1)[1:, np.newaxis] + table.sum(0)[np.newaxis, 1:] - table[1:, 1:]
    return table[1:, 1:] / np.maximum(union, 1)


def match(true: NDArray, found: NDArray, iou: float = 0.5) -> Matches:
    """Match objects at an IoU of more than ``iou`` (at least 0.5, where matches are unique)."""
    table = overlaps(true, found)
    matched = int((table > iou).sum())
    return Matches(matched, table.shape[1] - matched, table.shape[0] - matched)


def seg(true: NDArray, found: NDArray) -> NDArray[np.float64]:
    """Cell Tracking Challenge's SEG of each true object.

    Its IoU with the object that covers more than half of it, 0 where there is none.
    """
    table = overlaps(true, found)
    if not table.size:
        return np.zeros(table.shape[0])
    best = table.max(axis=1)
    covering = table.argmax(axis=1) + 1
    scores = np.zeros(len(best))
    numbers = np.unique(true)
    numbers = numbers[numbers > 0]
    names = np.unique(found)
    names = names[names > 0]
    for row, number in enumerate(numbers):
        inside = true == number
        share = (found[inside] == names[covering[row] - 1]).mean()
        scores[row] = best[row] if share > 0.5 else 0.0
    return scores


def pooled(pairs: Iterable[tuple[NDArray, NDArray]], iou: float = 0.5) -> Matches:
    """Pool the matches of several images."""
    return sum((match(true, found, iou) for true, found in pairs), Matches())


def evaluate(pairs: Sequence[Pair], segment: Callable[[NDArray], NDArray]) -> dict[str, Any]:
    """Score a segmentation of normalised images on pairs that were held out.

    Returns
    -------
    dict
        ``images``, ``objects``, ``at``: F1 and average precision (AP) at IoU 0.5, 0.7 and
        0.9, objects pooled; ``seg``: mean SEG of the true objects.
    """
    found = [(pair.labels, segment(pair.image)) for pair in pairs]
    rows = []
    for iou in (0.5, 0.7, 0.9):
        matches = pooled(found, iou)
        rows.append({"iou": iou, "f1": round(matches.f1, 4), "ap": round(matches.precision, 4)})
    each = np.concatenate([seg(true, labels) for true, labels in found] or [np.zeros(0)])
    return {
        "images": len(found),
        "objects": len(each),
        "at": rows,
        "seg": round(float(each.mean()), 4) if each.size else None,
    }
