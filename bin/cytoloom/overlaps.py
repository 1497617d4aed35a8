"""How objects of two label images overlap, and scores of a segmentation from it.

Objects are matched one to one at a threshold of their intersection over union (IoU), as
``stardist.matching`` and ``cellpose.metrics`` define it; the tests hold the counts and
scores against both. AP is what these two call average precision (StarDist: accuracy),
TP / (TP + FP + FN), not the area under a curve.

References
----------
Caicedo et al., Nature Methods 16, 1247 (2019); Kirillov et al., Panoptic segmentation,
CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData


@dataclass(frozen=True)
class Overlaps:
    """The objects of two label images and how they overlap.

    Attributes
    ----------
    true, found : ndarray of int64
        The labels of each image, ascending.
    true_size, found_size : ndarray of int64
        Their pixels.
    i, j : ndarray of int64, shape (pairs,)
        Indices into ``true`` and ``found`` of the pairs that overlap, by ``i``, then ``j``.
    shared : ndarray of int64, shape (pairs,)
        Common pixels of each pair.
    """

    true: NDArray[np.int64]
    found: NDArray[np.int64]
    true_size: NDArray[np.int64]
    found_size: NDArray[np.int64]
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    shared: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair."""
        return self.shared / (self.true_size[self.i] + self.found_size[self.j] - self.shared)

    def majority(self) -> NDArray[np.bool_]:
        """Tell which pairs share more than half of the true object's pixels.

        This is how the Cell Tracking Challenge matches: each true object has one match at
        most, an object that was found may have several.
        """
        return np.asarray(self.shared / self.true_size[self.i] > 0.5)


def overlaps(true: NDArray[np.integer], found: NDArray[np.integer]) -> Overlaps:
    """Compare two label images of one shape; 0 is background.

    Raises
    ------
    BadData
        If the shapes differ.
    """
    if true.shape != found.shape:
        raise BadData(
            f"the ground truth has the shape {true.shape} and the result {found.shape}; "
            "both must show the same pixels"
        )
    names_true, sizes_true = np.unique(true[true > 0], return_counts=True)
    names_found, sizes_found = np.unique(found[found > 0], return_counts=True)
    both = (true > 0) & (found > 0)
    codes = (true[both].astype(np.uint64) << np.uint64(32)) | found[both].astype(np.uint64)
    codes, shared = np.unique(codes, return_counts=True)
    i = np.searchsorted(names_true, (codes >> np.uint64(32)).astype(np.int64))
    j = np.searchsorted(names_found, (codes & np.uint64(0xFFFFFFFF)).astype(np.int64))
    whole = (names_true, names_found, sizes_true, sizes_found, i, j, shared)
    return Overlaps(*(values.astype(np.int64) for values in whole))


@dataclass(frozen=True)
class Score:
    """Objects matched and not matched at a threshold; those of several images can be added.

    Where there is nothing to divide by, a score is None.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    matched_iou: float = 0.0

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP)."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """TP / (TP + FN)."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def ap(self) -> float | None:
        """TP / (TP + FP + FN)."""
        return _share(self.tp, self.tp + self.fp + self.fn)

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN)."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def mean_matched_iou(self) -> float | None:
        """Mean IoU of the matched objects."""
        return _share(self.matched_iou, self.tp)

    @property
    def panoptic_quality(self) -> float | None:
        """Sum of the matched IoU / (TP + FP / 2 + FN / 2)."""
        return _share(self.matched_iou, self.tp + self.fp / 2 + self.fn / 2)

    def __add__(self, other: Score) -> Score:
        return Score(
            self.tp + other.tp,
            self.fp + other.fp,
            self.fn + other.fn,
            self.matched_iou + other.matched_iou,
        )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def score(compared: Overlaps, threshold: float) -> Score:
    """Match the objects of two images one to one at an IoU of at least ``threshold``.

    As many as possible are matched; of equal matchings, that of the greatest IoU.
    """
    iou = compared.iou
    good = _matches(compared, iou, threshold)
    tp = len(good)
    fp, fn = len(compared.found) - tp, len(compared.true) - tp
    return Score(tp, fp, fn, float(np.sum(iou[good])))


def total(scores: Iterable[Score]) -> Score:
    """Add scores."""
    return sum(scores, Score())


def _matches(compared: Overlaps, iou: NDArray[np.float64], threshold: float) -> NDArray[np.integer]:
    """Return the matched pairs, as positions among the pairs, by true object."""
    good = np.flatnonzero(iou >= threshold)
    if threshold < 0.5 and len(good):
        return _assigned(compared, iou, threshold)
    # Over one half a match is unique. At one half exactly, one object may be two true ones, or
    # two one: each a pair of equal halves, of which one counts.
    good = good[np.unique(compared.j[good], return_index=True)[1]]
    return np.sort(good[np.unique(compared.i[good], return_index=True)[1]])


def _assigned(
    compared: Overlaps, iou: NDArray[np.float64], threshold: float
) -> NDArray[np.integer]:
    """Return the pairs of an optimal assignment, group by group of objects that overlap."""
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_true, n_found = len(compared.true), len(compared.found)
    links = (np.ones(len(iou), bool), (compared.i, compared.j + n_true))
    graph = coo_array(links, shape=(n_true + n_found,) * 2)
    group = connected_components(graph, directed=False)[1][compared.i]
    order = np.argsort(group, kind="stable")
    chosen = []
    for pairs in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        rows, i = np.unique(compared.i[pairs], return_inverse=True)
        columns, j = np.unique(compared.j[pairs], return_inverse=True)
        quality = np.zeros((len(rows), len(columns)))
        quality[i, j] = iou[pairs]
        number = np.full(quality.shape, -1)
        number[i, j] = pairs
        cost = -(quality >= threshold).astype(float) - quality / (2 * min(n_true, n_found))
        a, b = linear_sum_assignment(cost)
        chosen.append(number[a, b][quality[a, b] >= threshold])
    return np.sort(np.concatenate(chosen))
