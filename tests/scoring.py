"""A plain scorer of segmentations: objects matched one to one by intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Score:
    """Counts of matched and unmatched objects; scores of several images can be added."""

    matched: int = 0
    only_found: int = 0
    only_true: int = 0

    @property
    def f1(self) -> float:
        """F1 = 2 TP / (2 TP + FP + FN); 1 where there is no object at all."""
        both = 2 * self.matched
        total = both + self.only_found + self.only_true
        return both / total if total else 1.0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.matched + other.matched,
            self.only_found + other.only_found,
            self.only_true + other.only_true,
        )


def score(true: NDArray, found: NDArray, iou: float = 0.5) -> Score:
    """Match objects of two label images of the same shape at an IoU of at least ``iou``.

    Above 0.5 a match is unique; at exactly 0.5 the optimal assignment decides.
    """
    overlap = _overlap(true, found)
    sizes_true, sizes_found = overlap.sum(axis=1)[1:], overlap.sum(axis=0)[1:]
    inner = overlap[1:, 1:]
    union = sizes_true[:, np.newaxis] + sizes_found[np.newaxis, :] - inner
    quality = np.where(inner > 0, inner / np.maximum(union, 1), 0.0)
    good = quality >= iou
    if iou > 0.5 or not good.any():
        matched = int(good.sum())
    else:
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(-good.astype(float) - quality / 1e3)
        matched = int(good[rows, columns].sum())
    return Score(
        matched, int((sizes_found > 0).sum()) - matched, int((sizes_true > 0).sum()) - matched
    )


def _overlap(true: NDArray, found: NDArray) -> NDArray[np.int64]:
    numbers_true, a = np.unique(true.ravel(), return_inverse=True)
    numbers_found, b = np.unique(found.ravel(), return_inverse=True)
    a = a + (numbers_true[0] != 0)
    b = b + (numbers_found[0] != 0)
    table = np.zeros((a.max() + 1, b.max() + 1), np.int64)
    np.add.at(table, (a, b), 1)
    return table
