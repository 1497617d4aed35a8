"""Labels across patches: which tile owns an object, its final mask and its number.

Every tile segments its *core* region and a halo around it, and lists each object that
has a pixel in the core, with its whole mask as this tile sees it (`find_objects`).
An object belongs to the tile whose core holds its first pixel in raster order; the
owner's mask counts everywhere, other views of it are dropped. From all tiles' lists
`decide` makes the final objects:

1. views cut off by the edge of what their tile read, of objects wider than the halo,
   are joined where they agree over the common ground;
2. views are taken in a fixed order: whole ones of owners, whole ones of others, cut
   ones; within these by area and place. A view half covered by those already taken is
   a double and dropped; otherwise it is kept with the pixels that are still free. So an
   object that its owner missed is adopted, and no pixel has two objects;
3. the kept ones are numbered 1…n per frame in raster order of their first pixel.

Where tiles agree with the untiled image on the objects that they own, the result is
the untiled label image, numbers included. Nothing here depends on the order of the
tiles. Coordinates are those of the whole frame, in z, y, x.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytoloom.regions import Region

Box = tuple[int, int, int, int, int, int]  # z0, y0, x0, z1, y1, x1; half open
DOUBLE = 0.5


@dataclass(frozen=True, eq=False)
class Mask:
    """The pixels of one object: a box and a boolean array of its shape."""

    box: Box
    pixels: NDArray[np.bool_]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self.box == other.box and np.array_equal(self.pixels, other.pixels)

    __hash__ = None  # type: ignore[assignment]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.pixels))

    @property
    def first(self) -> tuple[int, int, int]:
        """The first pixel (z, y, x) in raster order."""
        at = np.unravel_index(int(np.argmax(self.pixels)), self.pixels.shape)
        return tuple(int(a) + o for a, o in zip(at, self.box[:3], strict=True))  # type: ignore[return-value]

    def part(self, box: Box) -> NDArray[np.bool_]:
        """Return the pixels in ``box``, which lies inside the mask's own box."""
        return self.pixels[_slices(box, self.box)]

    def without(self, other: Mask) -> Mask:
        """Return this mask less the pixels of another, in the same box."""
        common = meet(self.box, other.box)
        if common is None or not (self.part(common) & other.part(common)).any():
            return self
        pixels = self.pixels.copy()
        pixels[_slices(common, self.box)] &= ~other.part(common)
        return Mask(self.box, pixels)

    def outside(self, box: Box) -> Mask:
        """Return this mask less all pixels in ``box``."""
        common = meet(self.box, box)
        if common is None:
            return self
        pixels = self.pixels.copy()
        pixels[_slices(common, self.box)] = False
        return Mask(self.box, pixels)

    def packed(self) -> bytes:
        """Return the pixels as bits, in raster order of the box."""
        return np.packbits(self.pixels).tobytes()

    @classmethod
    def unpacked(cls, box: Box, bits: bytes) -> Mask:
        """Return the mask of a box and its packed pixels."""
        shape = tuple(b - a for a, b in zip(box[:3], box[3:], strict=True))
        count = int(np.prod(shape))
        flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=count)
        return cls(box, flat.astype(bool).reshape(shape))


@dataclass(frozen=True)
class View:
    """An object as one tile sees it.

    Attributes
    ----------
    frame, label
        Frame, and number of the object in the tile's label part.
    core, read
        Boxes that the tile writes and has read.
    first
        First pixel (z, y, x) in raster order.
    cut
        Whether it touches an edge of ``read`` inside the frame, so that more may follow.
    probability, class_id
        What the method knows of it, or None.
    """

    frame: int
    label: int
    core: Box
    read: Box
    first: tuple[int, int, int]
    area: int
    cut: bool
    box: Box
    bits: bytes
    probability: float | None = None
    class_id: int | None = None

    @property
    def mask(self) -> Mask:
        """The pixels."""
        return Mask.unpacked(self.box, self.bits)

    @property
    def owned(self) -> bool:
        """Whether the first pixel lies in the core."""
        return all(
            a <= p < b for a, p, b in zip(self.core[:3], self.first, self.core[3:], strict=True)
        )

    @property
    def inner(self) -> bool:
        """Whether all of it lies in the core."""
        return meet(self.box, self.core) == self.box


@dataclass(frozen=True)
class Final:
    """A numbered object: the view that it comes from, and its mask where that was changed."""

    frame: int
    number: int
    core: Box
    label: int
    mask: Mask | None = None


def box_of(region: Region) -> Box:
    """Return a region's box in z, y, x."""
    (z0, z1), (y0, y1), (x0, x1) = region.spans[1:]
    return (z0, y0, x0, z1, y1, x1)


def meet(a: Box, b: Box) -> Box | None:
    """Return the common box, or None."""
    low = tuple(max(p, q) for p, q in zip(a[:3], b[:3], strict=True))
    high = tuple(min(p, q) for p, q in zip(a[3:], b[3:], strict=True))
    if any(p >= q for p, q in zip(low, high, strict=True)):
        return None
    return (*low, *high)  # type: ignore[return-value]


def _slices(box: Box, outer: Box) -> tuple[slice, slice, slice]:
    z, y, x = (
        slice(start - origin, stop - origin)
        for start, stop, origin in zip(box[:3], box[3:], outer[:3], strict=True)
    )
    return z, y, x


def number_in_raster_order(labels: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Renumber objects 1…n by their first pixel in raster order; 0 stays."""
    import fastremap

    labels = np.ascontiguousarray(labels)
    if not labels.size:
        return labels.astype(np.uint32)
    numbered, _ = fastremap.renumber(labels, preserve_zero=True)
    return numbered.astype(np.uint32, copy=False)


def keep_touching(labels: NDArray[np.integer], read: Box, core: Box) -> NDArray[np.uint32]:
    """Drop objects without a pixel in ``core`` and number the others in raster order."""
    inside = np.unique(labels[_slices(core, read)])
    wanted = np.zeros(int(labels.max(initial=0)) + 1, bool)
    wanted[inside] = True
    wanted[0] = False
    return number_in_raster_order(np.where(wanted[labels], labels, 0))


def find_objects(
    labels: NDArray[np.uint32], frame: int, read: Box, core: Box, shape: Sequence[int]
) -> list[View]:
    """List the objects of one frame as a tile sees them.

    Parameters
    ----------
    labels : ndarray, shape (z, y, x) of ``read``
        As `keep_touching` returns them.
    shape
        Of the whole frame, (Z, Y, X).
    """
    from scipy import ndimage

    views = []
    for index, place in enumerate(ndimage.find_objects(labels.astype(np.int32))):
        if place is None:
            continue
        low = tuple(s.start + o for s, o in zip(place, read[:3], strict=True))
        high = tuple(s.stop + o for s, o in zip(place, read[:3], strict=True))
        mask = Mask((*low, *high), labels[place] == index + 1)
        cut = any(
            (p == a and a > 0) or (q == b and b < size)
            for p, q, a, b, size in zip(low, high, read[:3], read[3:], shape, strict=True)
        )
        views.append(
            View(frame, index + 1, core, read, mask.first, mask.area, cut, mask.box, mask.packed())
        )
    return views


def decide(views: Sequence[View]) -> list[Final]:
    """Make the final objects of all frames from the views of all tiles (see the module)."""
    frames: dict[int, list[View]] = defaultdict(list)
    for view in views:
        frames[view.frame].append(view)
    return [final for frame in sorted(frames) for final in _decide_frame(frames[frame])]


def _decide_frame(views: list[View]) -> list[Final]:
    views = sorted(views, key=lambda v: (v.first, v.core, v.label))
    pairs = _pairs(views)
    candidates = _join(views, pairs)
    kept: dict[int, Mask | None] = {}  # None: the view as it is
    for index in sorted(candidates, key=lambda i: _rank(views[i], candidates[i])):
        rivals = [kept[j] or views[j].mask for j in pairs[index] if j in kept]
        if not rivals:
            kept[index] = candidates[index]
            continue
        whole = candidates[index] or views[index].mask
        free = whole
        for rival in rivals:
            free = free.without(rival)
        if free.area > (1 - DOUBLE) * whole.area:
            kept[index] = candidates[index] if free is whole else free

    def first(index: int) -> tuple[int, int, int]:
        mask = kept[index]
        return views[index].first if mask is None else mask.first

    return [
        Final(views[i].frame, number, views[i].core, views[i].label, kept[i])
        for number, i in enumerate(sorted(kept, key=first), start=1)
    ]


def _rank(view: View, joined: Mask | None) -> tuple[int, int, tuple[int, int, int], Box]:
    whole = 0 if view.owned else 1
    area = joined.area if joined else view.area
    return (2 if view.cut or joined else whole, -area, view.first, view.core)


def _pairs(views: Sequence[View]) -> list[set[int]]:
    """Return for each view the views of other tiles whose boxes meet its box."""
    boxes = np.array([v.box for v in views], np.int64).reshape(-1, 6)
    tiles: dict[Box, list[int]] = defaultdict(list)
    for index, view in enumerate(views):
        tiles[view.core].append(index)
    found: list[set[int]] = [set() for _ in views]
    for core, own in tiles.items():
        leavers = np.array([i for i in own if not views[i].inner], np.int64)
        if not leavers.size:
            continue
        hull = (*boxes[leavers, :3].min(axis=0), *boxes[leavers, 3:].max(axis=0))
        for other, theirs in tiles.items():
            if other == core or meet(views[theirs[0]].read, hull) is None:
                continue
            near = np.array(theirs, np.int64)
            near = near[_meets(boxes[near], np.array([hull]))[:, 0]]
            for a, b in zip(*np.nonzero(_meets(boxes[leavers], boxes[near])), strict=True):
                found[leavers[a]].add(int(near[b]))
                found[near[b]].add(int(leavers[a]))
    return found


def _meets(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether boxes ``a`` (n, 6) meet boxes ``b`` (m, 6), shape (n, m)."""
    return np.logical_and.reduce(
        [
            (a[:, None, i] < b[None, :, i + 3]) & (b[None, :, i] < a[:, None, i + 3])
            for i in range(3)
        ]
    )


def _join(views: Sequence[View], pairs: list[set[int]]) -> dict[int, Mask | None]:
    """Join cut views of one object; return the candidates, with the mask of each joined one.

    The candidate of a group is its first view; it takes over the others' pairs.
    """
    candidates: dict[int, Mask | None] = {}
    for first, *others in _groups(views, pairs):
        candidates[first] = None
        if others:
            candidates[first] = _united([views[i] for i in (first, *others)])
            for j in {j for i in others for j in pairs[i]} - {first}:
                pairs[j].add(first)
                pairs[first].add(j)
    return candidates


def _groups(views: Sequence[View], pairs: Sequence[set[int]]) -> list[list[int]]:
    """Return the views in groups of one object each, every group in order."""
    leader = list(range(len(views)))

    def find(i: int) -> int:
        while leader[i] != i:
            i = leader[i]
        return i

    for i, partners in enumerate(pairs):
        for j in partners:
            if i < j and views[i].cut and views[j].cut and _agree(views[i], views[j]):
                a, b = sorted((find(i), find(j)))
                leader[b] = a
    groups: dict[int, list[int]] = defaultdict(list)
    for i in range(len(views)):
        groups[find(i)].append(i)
    return list(groups.values())


def _agree(a: View, b: View) -> bool:
    """Tell whether two views cover the same pixels of what both tiles have read."""
    common = meet(a.read, b.read)
    first, second = (m.box and meet(m.box, common) if common else None for m in (a, b))
    if common is None or first is None or second is None:
        return False
    one, two = Mask(first, a.mask.part(first)), Mask(second, b.mask.part(second))
    shared = one.area - one.without(two).area
    return shared > DOUBLE * (one.area + two.area - shared)


def _united(views: Sequence[View]) -> Mask:
    """Unite cut views: in its core each tile decides, elsewhere any."""
    boxes = np.array([v.box for v in views])
    box: Box = (*boxes[:, :3].min(axis=0).tolist(), *boxes[:, 3:].max(axis=0).tolist())
    pixels = np.zeros([b - a for a, b in zip(box[:3], box[3:], strict=True)], bool)
    for view in views:
        mask = view.mask
        for other in views:
            if other.core != view.core:
                mask = mask.outside(other.core)
        pixels[_slices(mask.box, box)] |= mask.pixels
    return Mask(box, pixels)


def paint(
    labels: NDArray[np.uint32],
    frame: int,
    core: Box,
    finals: Sequence[Final],
    views: Mapping[tuple[int, Box, int], View],
) -> NDArray[np.uint32]:
    """Return the final labels of a tile's core in one frame.

    Parameters
    ----------
    labels : ndarray, shape (z, y, x) of ``core``
        The tile's own label part.
    finals
        Final objects of this frame.
    views
        Views by frame, core and label; those of the neighbouring tiles are needed.
    """
    lookup = np.zeros(int(labels.max(initial=0)) + 1, np.uint32)
    masks = []
    for final in finals:
        view = views.get((frame, final.core, final.label))
        if final.mask is not None:
            masks.append((final.number, final.mask))
        elif final.core == core:
            lookup[final.label] = final.number
        elif view is not None and meet(view.box, core) is not None:
            masks.append((final.number, view.mask))
    out: NDArray[np.uint32] = lookup[labels]
    for number, mask in masks:
        common = meet(mask.box, core)
        if common is not None:
            out[_slices(common, core)][mask.part(common)] = number
    return out
