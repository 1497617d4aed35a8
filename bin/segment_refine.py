#!/usr/bin/env python3
"""Refine: shape and selection of labelled objects, each by itself.

In this order: opening, closing, filling of holes, selection by size, removal of what
touches the border of the image, expansion. Objects keep their numbers and never take a
pixel from another one. Every object is read whole, and with it all that expands towards
it, so the result is the same for any cut into patches.
"""

from collections import defaultdict
from itertools import product
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images
from cytoloom.errors import UsageError
from cytoloom.labels import read_whole_objects
from cytoloom.regions import Region


def refine(
    labels,
    *,
    opening=0.0,
    closing=0.0,
    fill_holes=False,
    min_size=0,
    max_size=0,
    clear_border=False,
    expand=0.0,
    at_border=None,
):
    """Refine the objects of one frame.

    Parameters
    ----------
    labels : ndarray, shape (z, y, x), uint32
    opening, closing : float
        Radius of a disc (in 3-D data a ball) [px]; an object that vanishes is dropped.
    fill_holes : bool
        Fill holes that are background all through.
    min_size, max_size : int
        Size after the steps before [px or voxel]; 0 for no limit.
    clear_border : bool
        Drop objects that touch the image's border in y or x.
    expand : float
        Grow into the background by this distance [px]; the nearest object takes a pixel, of
        equally near ones the one with the lower number.
    at_border : tuple of 4 bool, optional
        Whether the first and last row and column are the image's border; default: all are.

    Returns
    -------
    ndarray, shape (z, y, x), uint32
    """
    numbers, flat = np.unique(labels, return_inverse=True)
    if not numbers.any():
        return labels.astype(np.uint32)
    numbers = numbers if numbers[0] == 0 else np.concatenate([[0], numbers])
    compact = flat.reshape(labels.shape) + (numbers.size > flat.max() + 1)
    if opening or closing or fill_holes:
        compact = _reshape(compact, opening, closing, fill_holes)
    sizes = np.bincount(compact.ravel(), minlength=numbers.size)
    drop = sizes < min_size
    if max_size:
        drop |= sizes > max_size
    if clear_border:
        drop[_border_numbers(compact, at_border or (True,) * 4)] = True
    compact[drop[compact]] = 0
    if expand:
        compact = _expand(compact, expand)
    return numbers.astype(np.uint32)[compact]


def _reshape(labels, opening, closing, fill_holes):
    """Open, close and fill each object; a pixel outside all goes only to the nearest object."""
    from scipy import ndimage

    out = np.zeros_like(labels)
    nearest = _expand(labels, closing) if closing else labels
    margin = int(np.ceil(closing)) + 1
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        wide = tuple(
            slice(max(0, s.start - margin), s.stop + margin) if size > 1 else s
            for s, size in zip(place, labels.shape, strict=True)
        )
        mask = labels[wide] == number
        if opening:
            mask = _dilated(_eroded(mask, opening), opening)
        if closing:
            mask = _closed(mask, closing) & (nearest[wide] == number)
        if fill_holes:
            holes = np.stack([ndimage.binary_fill_holes(p) for p in mask])
            mask |= holes & ((labels[wide] == 0) | (labels[wide] == number))
        out[wide][mask] = number
    return out


def _padded(mask, radius):
    edge = int(np.ceil(radius)) + 1
    return np.pad(mask, [(edge, edge) if n > 1 else (0, 0) for n in mask.shape])


def _eroded(mask, radius):
    """Pixels farther than ``radius`` from the outside; beyond the array is outside."""
    from scipy import ndimage

    padded = _padded(mask, 0)
    inner = tuple(slice(1, -1) if n > 1 else slice(None) for n in mask.shape)
    return (ndimage.distance_transform_edt(padded) > radius)[inner]


def _dilated(mask, radius):
    from scipy import ndimage

    return ndimage.distance_transform_edt(~mask) <= radius if mask.any() else mask


def _closed(mask, radius):
    padded = _padded(mask, radius)
    grown = _dilated(padded, radius)
    edge = int(np.ceil(radius)) + 1
    inner = tuple(slice(edge, -edge) if n > 1 else slice(None) for n in mask.shape)
    return _eroded(grown, radius)[inner] | mask


def _border_numbers(labels, at_border):
    top, bottom, left, right = at_border
    faces = [
        labels[:, 0] if top else None,
        labels[:, -1] if bottom else None,
        labels[:, :, 0] if left else None,
        labels[:, :, -1] if right else None,
    ]
    return np.unique(
        np.concatenate([f.ravel() for f in faces if f is not None] + [np.zeros(0, int)])
    )


def _expand(labels, distance):
    """Expand objects; ties go to the lower number, so that no scan order matters."""
    from scipy import ndimage

    reach = int(np.floor(distance))
    steps = [range(-reach, reach + 1) if n > 1 else range(1) for n in labels.shape]
    offsets = defaultdict(list)
    for step in product(*steps):
        offsets[sum(s * s for s in step)].append(step)
    pad = [reach if n > 1 else 0 for n in labels.shape]
    padded = np.pad(labels, [(p, p) for p in pad])
    free = (labels == 0) & (ndimage.distance_transform_edt(labels == 0) <= distance)
    where = np.argwhere(free) if labels.any() else np.zeros((0, 3), int)
    out = labels.copy()
    for squared in sorted(k for k in offsets if 0 < k <= distance * distance):
        best = np.full(len(where), np.iinfo(labels.dtype).max)
        for step in offsets[squared]:
            near = padded[tuple((where + np.add(step, pad)).T)]
            best = np.where(near > 0, np.minimum(best, near), best)
        reached = best < np.iinfo(labels.dtype).max
        out[tuple(where[reached].T)] = best[reached]
        where = where[~reached]
    return out


def main(
    label: cli.Label,
    out_label: cli.OutLabel,
    region: cli.RegionText = None,
    channel: cli.Channel = None,
    opening: Annotated[
        float, typer.Option(min=0, max=100, help="radius of an opening of each object [px]")
    ] = 0.0,
    closing: Annotated[
        float, typer.Option(min=0, max=100, help="radius of a closing of each object [px]")
    ] = 0.0,
    fill_holes: Annotated[bool, typer.Option(help="fill holes of objects")] = False,
    min_size: Annotated[
        int, typer.Option(min=0, help="smaller objects are dropped [px]; 0: none")
    ] = 0,
    max_size: Annotated[
        int, typer.Option(min=0, help="larger objects are dropped [px]; 0: none")
    ] = 0,
    clear_border: Annotated[
        bool, typer.Option(help="drop objects that touch the image's border in y or x")
    ] = False,
    expand: Annotated[
        float, typer.Option(min=0, max=100, help="grow objects into the background by [px]")
    ] = 0.0,
) -> None:
    """Refine labelled objects: opening, closing, holes, size, border, expansion, in this order.

    Each object by itself: objects never merge, and keep their numbers.
    """
    if max_size and max_size < min_size:
        raise UsageError(f"max_size ({max_size}) is below min_size ({min_size})")
    layer = images.open_layer(label, kind="label")
    box = Region.parse(region, layer.shape)
    out = np.zeros(box.shape, np.uint32)
    margin = 2 * int(np.ceil(expand)) + 2 * int(np.ceil(closing)) + 2
    for index, frame in enumerate(cli.progress(box.frames, "frames", len(box.frames))):
        here = box.frame(frame)
        labels, read = read_whole_objects(layer, here, margin)
        at_border = tuple(
            span[side] == (0, size)[side]
            for span, size in zip(read.spans[2:], layer.shape[2:], strict=True)
            for side in (0, 1)
        )
        refined = refine(
            labels[0],
            opening=opening,
            closing=closing,
            fill_holes=fill_holes,
            min_size=min_size,
            max_size=max_size,
            clear_border=clear_border,
            expand=expand,
            at_border=at_border,
        )
        out[index] = refined[here.within(read)[1:]]
    images.write_part(out_label, out, region=box, like=layer, kind="label", channel=channel)


if __name__ == "__main__":
    cli.run(main)
