"""Connected pieces of a mask by its stretches: runs of true pixels along a row.

A mask has far fewer stretches than pixels. Pieces (connected by edges) are found on them,
numbered in the raster order of their first pixel as everywhere, and only what is kept is
painted: several times faster than labelling pixel by pixel, with equal results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Pieces:
    """The stretches of a mask (y, x), in raster order, and the piece of each, from 0.

    Attributes
    ----------
    row, start, stop : ndarray of int64, shape (stretches,)
        ``stop`` is not included.
    piece : ndarray, shape (stretches,)
    count
        Number of pieces.
    shape
        Of the mask.
    """

    row: Integers
    start: Integers
    stop: Integers
    piece: NDArray[np.int32]
    count: int
    shape: tuple[int, int]

    @classmethod
    def of(cls, mask: Mask) -> Pieces:
        """Find the pieces of a mask."""
        height, width = mask.shape
        places = _changes(mask)
        first, last = places[0::2], places[1::2]
        row = first // (width + 1)
        piece, count = _connected(first, last, width + 1)
        return cls(
            row, first - row * (width + 1), last - row * (width + 1), piece, count, (height, width)
        )

    def areas(self) -> Integers:
        """Return the number of pixels of each piece."""
        return np.bincount(self.piece, self.stop - self.start, self.count).astype(np.int64)

    def boxes(self) -> tuple[Integers, Integers]:
        """Return the lower and upper (not included) corners y, x of the pieces."""
        low = np.full((2, self.count), max(self.shape), np.int64)
        high = np.zeros((2, self.count), np.int64)
        np.minimum.at(low[0], self.piece, self.row)
        np.minimum.at(low[1], self.piece, self.start)
        np.maximum.at(high[0], self.piece, self.row + 1)
        np.maximum.at(high[1], self.piece, self.stop)
        return low.T, high.T

    def painted(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return an image with a number for each piece, and 0 elsewhere."""
        ends = np.empty(2 * self.row.size + 1, np.int64)
        ends[0:-1:2] = self.row * self.shape[1] + self.start
        ends[1::2] = self.row * self.shape[1] + self.stop
        ends[-1] = self.shape[0] * self.shape[1]
        values = np.zeros(ends.size, numbers.dtype)
        values[1::2] = numbers[self.piece]
        return np.repeat(values, np.diff(ends, prepend=0)).reshape(self.shape)

    def pixels(self, kept: Mask) -> Integers:
        """Return the places in the flat image of the pixels of some pieces."""
        chosen = np.flatnonzero(kept[self.piece])
        length = (self.stop - self.start)[chosen]
        begin = (self.row * self.shape[1] + self.start)[chosen]
        return expanded(begin, length)


def expanded(begin: Integers, length: Integers) -> Integers:
    """Return all whole numbers of stretches, one stretch after the other."""
    before = np.cumsum(length) - length
    return np.repeat(begin - before, length) + np.arange(length.sum())


def _changes(mask: Mask) -> Integers:
    """Return where stretches begin and where they have ended, in an image one pixel wider."""
    height, width = mask.shape
    packed = np.packbits(mask, axis=1, bitorder="little")
    words = np.zeros((height, width // 64 + 1), "<u8")
    words.view(np.uint8)[:, : packed.shape[1]] = packed
    before = words << np.uint64(1)
    before[:, 1:] |= words[:, :-1] >> np.uint64(63)
    words ^= before
    full = np.flatnonzero(words)  # few of the words hold a change
    row, column = np.divmod(full, words.shape[1])
    changed = np.unpackbits(words.ravel()[full].view(np.uint8), bitorder="little")
    inside = np.flatnonzero(changed.view(np.bool_))
    word = inside >> 6
    places: Integers = (row * (width + 1) + column * 64)[word] + (inside & 63)
    return places


def _connected(first: Integers, last: Integers, pitch: int) -> tuple[NDArray[np.int32], int]:
    """Return the piece of each stretch: those that share a column with one in the row above."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    number = first.size
    low = np.searchsorted(last, first + pitch, side="right")
    high = np.searchsorted(first, last + pitch, side="left")
    below = np.maximum(high - low, 0)
    ends = np.concatenate([[0], np.cumsum(below)])
    neighbours = np.repeat(low - ends[:-1], below) + np.arange(ends[-1])
    if not number:
        return np.empty(0, np.int32), 0
    graph = csr_array(
        (np.ones(neighbours.size, np.int8), neighbours.astype(np.int32), ends.astype(np.int32)),
        shape=(number, number),
    )
    count, piece = connected_components(graph, directed=False)
    return _in_order(piece, count), int(count)


def _in_order(piece: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Number pieces by their first stretch."""
    first = np.full(count, piece.size, np.int64)
    np.minimum.at(first, piece, np.arange(piece.size))
    order = np.argsort(first)
    if (order[1:] > order[:-1]).all():
        return piece
    numbers = np.empty(count, np.int32)
    numbers[order] = np.arange(count, dtype=np.int32)
    return numbers[piece]


def filled(mask: Mask, widest: int) -> Mask:
    """Fill the holes of a mask (y, x) that are at most ``widest`` wide and high [px].

    What touches the edge of the image is no hole; diagonal gaps do not open one.
    """
    gaps = Pieces.of(~mask)
    low, high = gaps.boxes()
    inside = (high - low <= widest) & (low > 0) & (high < mask.shape)
    hole: Mask = np.all(inside, axis=1)
    if not hole.any():
        return mask
    out = mask.copy()
    out.ravel()[gaps.pixels(hole)] = True
    return out


def labelled(mask: Mask, min_size: int = 0, max_size: int = 0) -> NDArray[Any]:
    """Label the pieces of a mask (y, x) of ``min_size`` ... ``max_size`` pixels (0: no limit).

    Returns
    -------
    ndarray of uint32, shape (y, x), numbered 1...n in raster order of the first pixel
    """
    pieces = Pieces.of(mask)
    sizes = pieces.areas()
    keep = sizes >= min_size
    if max_size:
        keep &= sizes <= max_size
    numbers = np.where(keep, np.cumsum(keep), 0).astype(np.uint32)
    return pieces.painted(numbers)
