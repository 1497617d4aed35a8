"""Blocks of a frame that a network sees one after the other, so that memory stays bounded.

A block is a core, whose outputs are kept, and what is read around it: the network's reach,
so that a core's outputs are those of the whole frame. Blocks begin on multiples of the
network's stride: pooling depends on it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

Spans = tuple[tuple[int, int], ...]


def blocks(
    shape: Sequence[int], stride: Sequence[int], reach: Sequence[int], most: int
) -> Iterator[tuple[Spans, Spans]]:
    """Cut a frame into blocks of at most ``most`` pixels, their surroundings included.

    Parameters
    ----------
    shape, stride, reach
        Of the frame and of the network, along each axis [px].
    most
        Pixels of a block; more where the reach alone takes more.

    Yields
    ------
    core, read
        Spans (first, end) along each axis; ``read`` begins on the stride.
    """
    margin = [_up(r, s) for r, s in zip(reach, stride, strict=True)]
    edge = [_up(n, s) for n, s in zip(shape, stride, strict=True)]

    def seen() -> int:
        return math.prod(min(e + 2 * m, n) for e, m, n in zip(edge, margin, shape, strict=True))

    while seen() > most:
        axis = max(range(len(edge)), key=lambda i: edge[i] if edge[i] > stride[i] else 0)
        if edge[axis] <= stride[axis]:
            break
        edge[axis] = _up(-(-edge[axis] // 2), stride[axis])
    cuts = [[(a, min(a + e, n)) for a in range(0, n, e)] for n, e in zip(shape, edge, strict=True)]
    for core in itertools.product(*cuts):
        pairs = zip(core, margin, shape, strict=True)
        yield core, tuple((max(0, a - m), min(n, b + m)) for (a, b), m, n in pairs)


def _up(n: int, unit: int) -> int:
    return -(-n // unit) * unit
