"""Binary morphology on 64 pixels at a time: rows of a mask packed into 64-bit words.

A mask becomes a canvas of words with a margin as wide as the footprint on all sides; what
lies in the margin is what the mask is taken to be outside the image. A dilation is then
shifts and ORs of whole arrays that fit into the processor's cache: tens of times faster
than pixel by pixel, and equal to ``scipy.ndimage`` bit for bit, for footprints that are
symmetric and whose rows are runs about the middle: discs and squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Footprint:
    """A symmetric footprint: ``half[d]`` is the half width of its rows d above and below.

    The row in the middle is ``2 * half[0] + 1`` wide; a half width below 0 is an empty row.
    """

    half: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.half or self.half[0] < 0:
            raise ValueError("a footprint holds its middle")

    @property
    def radius(self) -> int:
        """How far it reaches up and down [px]."""
        return len(self.half) - 1

    @classmethod
    def disk(cls, radius: int) -> Footprint:
        """Return ``skimage.morphology.disk``: offsets of length at most ``radius``."""
        rows = range(radius + 1)
        return cls(tuple(int(np.sqrt(radius * radius - d * d)) for d in rows))

    @classmethod
    def square(cls, width: int) -> Footprint:
        """Return a square of an odd width."""
        if width % 2 == 0:
            raise ValueError(f"a square of even width {width} has no middle")
        return cls((width // 2,) * (width // 2 + 1))

    @property
    def is_square(self) -> bool:
        """Whether all rows are as wide as there are rows."""
        return set(self.half) == {self.radius}

    def again(self, iterations: int) -> tuple[Footprint, int]:
        """Return a footprint and a number of iterations of the same effect, the fewest."""
        if self.is_square:
            return Footprint.square(2 * self.radius * iterations + 1), 1
        return self, iterations

    def array(self) -> Mask:
        """Return the footprint as an array, for other libraries."""
        reach = max(self.radius, self.half[0])
        across = np.abs(np.arange(-reach, reach + 1))
        half = np.array([*self.half[:0:-1], *self.half])
        return across[np.newaxis] <= half[:, np.newaxis]


def dilated(mask: Mask, footprint: Footprint, iterations: int = 1) -> Mask:
    """Return a mask (y, x) grown by a footprint, again and again."""
    footprint, iterations = footprint.again(iterations)
    canvas = _Canvas.of(mask, footprint)
    for _ in range(iterations):
        canvas.dilate(outside=False)
    return canvas.mask()


def closed(mask: Mask, footprint: Footprint, iterations: int = 1, *, outside: bool = False) -> Mask:
    """Return the closing: ``iterations`` dilations, then as many erosions.

    ``outside`` is what lies outside the image for the erosions (scipy: False, so that what is
    near the edge is eroded too).
    """
    footprint, iterations = footprint.again(iterations)
    canvas = _Canvas.of(mask, footprint)
    for _ in range(iterations):
        canvas.dilate(outside=False)
    for _ in range(iterations):
        canvas.erode(outside=outside)
    return canvas.mask()


def opened(mask: Mask, footprint: Footprint, iterations: int = 1, *, outside: bool = False) -> Mask:
    """Return the opening: ``iterations`` erosions, then as many dilations."""
    footprint, iterations = footprint.again(iterations)
    canvas = _Canvas.of(mask, footprint)
    for _ in range(iterations):
        canvas.erode(outside=outside)
    for _ in range(iterations):
        canvas.dilate(outside=False)
    return canvas.mask()


def eroded(mask: Mask, footprint: Footprint, iterations: int = 1, *, outside: bool = False) -> Mask:
    """Return a mask (y, x) shrunk by a footprint, again and again."""
    footprint, iterations = footprint.again(iterations)
    canvas = _Canvas.of(mask, footprint)
    for _ in range(iterations):
        canvas.erode(outside=outside)
    return canvas.mask()


class _Canvas:
    """A packed mask with its margin, changed in place, and buffers of the same shape."""

    def __init__(self, words: Words, shape: tuple[int, int], footprint: Footprint) -> None:
        self.words, self.shape, self.footprint = words, shape, footprint
        self.wide, self.work = np.empty_like(words), np.empty_like(words)
        self.out = np.empty((shape[0], words.shape[1]), words.dtype)
        self.side = _side(footprint)

    @classmethod
    def of(cls, mask: Mask, footprint: Footprint) -> _Canvas:
        height, width = mask.shape
        margin = footprint.radius
        packed = np.packbits(mask, axis=1, bitorder="little")
        across = -(-width // 64)
        side = _side(footprint)
        words = np.zeros((height + 2 * margin, across + 2 * side), "<u8")
        inner = words.view(np.uint8)[margin : margin + height]
        inner[:, 8 * side : 8 * side + packed.shape[1]] = packed
        return cls(words, (height, width), footprint)

    def mask(self) -> Mask:
        height, width = self.shape
        margin = self.footprint.radius
        packed = self.words.view(np.uint8)[margin : margin + height, 8 * self.side :]
        return np.unpackbits(packed, axis=1, count=width, bitorder="little").view(np.bool_)

    def dilate(self, *, outside: bool) -> None:
        self._set_margin(outside)
        half, height, margin = self.footprint.half, self.shape[0], self.footprint.radius
        if self.footprint.is_square:
            self.words[margin : margin + height] = self._square(2 * margin + 1)
            return
        wide, out = self.words, self.out
        out[:] = 0
        for width in range(max(half) + 1):
            if width:
                self._widen(wide)
                wide = self.wide
            for distance in (d for d, w in enumerate(half) if w == width):
                out |= wide[margin - distance : margin - distance + height]
                if distance:
                    out |= wide[margin + distance : margin + distance + height]
        self.words[margin : margin + height] = out

    def _square(self, width: int) -> Words:
        """Return the rows of the mask, grown by a square."""
        source, target, other = self.words, self.wide, self.work
        covered = 1  # rows from each one down
        while covered < width:
            step = min(covered, width - covered)
            np.bitwise_or(source[:-step], source[step:], out=target[:-step])
            source, target, other = target, other, target
            covered += step
        source, target, other = (rows[: self.shape[0]] for rows in (source, target, other))
        covered = 1  # pixels from each one to the left
        while covered < width:
            step = min(covered, width - covered)
            _moved(source, step, target)
            target |= source
            source, target, other = target, other, target
            covered += step
        return _moved(source, -(width // 2), self.out)

    def _widen(self, words: Words) -> None:
        """Grow rows by one pixel to the left and to the right, into ``wide``."""
        one, top = np.uint64(1), np.uint64(63)
        work = self.work
        np.left_shift(words, one, out=work)
        work |= words
        carried = work[:, 1:]
        # The bit that leaves a word on one side enters its neighbour.
        np.bitwise_or(carried, words[:, :-1] >> top, out=carried)
        carried = work[:, :-1]
        np.bitwise_or(carried, words[:, 1:] << top, out=carried)
        if words is self.wide:
            words >>= one
            words |= work
        else:
            np.right_shift(words, one, out=self.wide)
            self.wide |= work

    def erode(self, *, outside: bool) -> None:
        np.invert(self.words, out=self.words)
        self.dilate(outside=not outside)
        np.invert(self.words, out=self.words)

    def _set_margin(self, value: bool) -> None:
        height, width = self.shape
        margin = self.footprint.radius
        full = np.uint64(2**64 - 1) if value else np.uint64(0)
        words = self.words
        words[:margin] = full
        words[margin + height :] = full
        words[:, : self.side] = full
        words[:, -self.side :] = full
        used = width % 64
        if used:
            beyond = np.uint64((2**64 - 1) ^ ((1 << used) - 1))
            last = words[margin : margin + height, -self.side - 1]
            if value:
                last |= beyond
            else:
                last &= ~beyond


def _moved(words: Words, pixels: int, out: Words) -> Words:
    """Move rows to the right, or to the left where ``pixels`` is negative; 0 comes in."""
    far, near = divmod(abs(pixels), 64)
    ahead: Any = np.left_shift
    back: Any = np.right_shift
    source, target = words, out
    if pixels < 0:
        ahead, back = back, ahead
        source, target = words[:, ::-1], out[:, ::-1]
    width = words.shape[1] - far
    target[:, :far] = 0
    ahead(source[:, :width], np.uint64(near), out=target[:, far:])
    if near:  # the bits that leave a word enter its neighbour
        target[:, far + 1 :] |= back(source[:, : width - 1], np.uint64(64 - near))
    return out


def _side(footprint: Footprint) -> int:
    """Return the words of margin on the left and on the right."""
    return max(footprint.half) // 64 + 1
