#!/usr/bin/env python3
"""Cropping: every tracked cell as small movies of its own, one for each channel."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, tables, viewing
from cytoloom.errors import BadData
from cytoloom.files import writing
from cytoloom.regions import Region

BATCH_BYTES = 2**27  # of crops that are gathered at once


@dataclass(frozen=True)
class Cells:
    """Where the cells are.

    Attributes
    ----------
    ids : ndarray, int32, shape (N,)
    boxes : ndarray, int32, shape (N, T, 4)
        y0, x0, y1, x1 with padding, the ends excluded, within the frame; 0 where a cell is not.
    valid : ndarray, bool, shape (N, T)
    labels : list of dicts
        For each frame the labels of each cell, by its index.
    """

    ids: np.ndarray
    boxes: np.ndarray
    valid: np.ndarray
    labels: list[dict[int, list[int]]]

    def size(self, cell):
        """Return the height and width of a cell's crops: its largest box."""
        spans = self.boxes[cell, :, 2:] - self.boxes[cell, :, :2]
        return tuple(int(n) for n in spans.max(axis=0))


def find_cells(tracks, shape, padding, min_frames):
    """Return the cells that are there in enough frames.

    Parameters
    ----------
    tracks : DataFrame
        frame, label, track_id and bounding boxes with the ends excluded.
    shape : T, H, W
    padding : int
        Pixels around the bounding box of each frame.
    """
    frames, height, width = shape
    known = tracks[tracks["track_id"].notna()]
    counts = known.groupby("track_id")["frame"].nunique()
    ids = np.sort(counts.index[counts >= min_frames].to_numpy(np.int64))
    place = {int(track): i for i, track in enumerate(ids)}
    boxes = np.zeros((len(ids), frames, 4), np.int32)
    valid = np.zeros((len(ids), frames), bool)
    labels: list[dict[int, list[int]]] = [{} for _ in range(frames)]
    columns = ["track_id", "frame", "label", "bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1"]
    for track, frame, label, y0, x0, y1, x1 in known[columns].itertuples(index=False):
        cell = place.get(int(track))
        if cell is None:
            continue
        box = (
            max(0, y0 - padding), max(0, x0 - padding),
            min(height, y1 + padding), min(width, x1 + padding),
        )  # fmt: skip
        if valid[cell, frame]:  # two objects of one track in a frame
            old = boxes[cell, frame]
            box = (*np.minimum(old[:2], box[:2]), *np.maximum(old[2:], box[2:]))
        boxes[cell, frame], valid[cell, frame] = box, True
        labels[frame].setdefault(cell, []).append(int(label))
    return Cells(ids.astype(np.int32), boxes, valid, labels)


def batches(cells, bytes_per_pixel):
    """Return the indices of cells in batches whose crops take ``BATCH_BYTES`` or less."""
    found, size = [[]], 0
    for cell in range(len(cells.ids)):
        height, width = cells.size(cell)
        needed = height * width * cells.valid.shape[1] * bytes_per_pixel
        if found[-1] and size + needed > BATCH_BYTES:
            found.append([])
            size = 0
        found[-1].append(cell)
        size += needed
    return [batch for batch in found if batch]


def cut(read, cells, batch, dtype):
    """Return the crops of some cells, shape (T, H, W) each, reading each frame once."""
    frames = cells.valid.shape[1]
    crops = {cell: np.zeros((frames, *cells.size(cell)), dtype) for cell in batch}
    for frame in range(frames):
        there = [cell for cell in batch if cells.valid[cell, frame]]
        if not there:
            continue
        plane = read(frame)
        for cell in there:
            y0, x0, y1, x1 = cells.boxes[cell, frame]
            crops[cell][frame, : y1 - y0, : x1 - x0] = plane[y0:y1, x0:x1]
    return crops


def masks_of(read, cells, batch, margin):
    """Return the masks of some cells, widened by ``margin`` px, as `cut` does."""
    from scipy.ndimage import binary_dilation

    frames = cells.valid.shape[1]
    found = {cell: np.zeros((frames, *cells.size(cell)), np.uint8) for cell in batch}
    square = np.ones((2 * margin + 1,) * 2, bool)
    for frame in range(frames):
        there = [cell for cell in batch if cells.valid[cell, frame]]
        plane = read(frame) if there else None
        for cell in there:
            y0, x0, y1, x1 = cells.boxes[cell, frame]
            mask = np.isin(plane[y0:y1, x0:x1], cells.labels[frame][cell])
            if margin:
                mask = binary_dilation(mask, square)
            found[cell][frame, : y1 - y0, : x1 - x0] = mask
    return found


def planes(layer):
    """Return a function that reads the single plane of a frame."""
    return lambda frame: layer.read(Region.whole(layer.shape).frame(frame))[0, 0]


def write(group, name, crops, **attributes):
    """Write the crops of a cell, each frame a chunk, all in one file."""
    from zarr.codecs import BloscCodec

    frames, height, width = crops.shape
    array = group.create_array(
        name,
        shape=crops.shape,
        dtype=crops.dtype,
        chunks=(1, height, width),
        shards=(frames, height, width),
        compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")],
        dimension_names=["t", "y", "x"],
        attributes=attributes,
    )
    array[:] = crops


def write_channel(store, name, cells, layer, background):
    """Write one channel: ``0`` from 0 to 1, ``1`` for looking at, ``raw`` as measured."""
    read = planes(layer)
    under = planes(background) if background is not None else None
    group = store.create_group(name)
    behind = store.create_group(background_name(name)) if under else None
    size = layer.dtype.itemsize + (12 if under else 8)
    low, high = limits(read, under, cells)
    span = high - low or 1.0
    for batch in batches(cells, size):
        raw = cut(read, cells, batch, layer.dtype)
        lower = cut(under, cells, batch, np.float32) if under else {}
        for cell in batch:
            one = group.create_group(str(cells.ids[cell]))
            corrected = raw[cell].astype(np.float64) - lower.get(cell, 0)
            inside = inside_of(cells, cell)
            scaled = np.where(inside, (corrected - low) / span, 0).clip(0, 1).astype(np.float32)
            write(one, "0", scaled, low=low, high=high)
            write(one, "raw", raw[cell])
            write_level(one, scaled)
            if behind is not None:
                other = behind.create_group(str(cells.ids[cell]))
                write(other, "0", lower[cell])
                write_level(other, lower[cell])


def write_level(group, crops):
    """Write the level ``1`` of a cell."""
    low, high = np.percentile(crops, [viewing.LOW, viewing.HIGH])
    if not high > low:
        low, high = crops.min(), crops.max()
    level = viewing.create(group, "1", crops.shape)
    level[:] = viewing.half(viewing.Window(low, high).to_uint8(crops), labels=False)


def inside_of(cells, cell):
    """Return where the crops of a cell hold pixels of the image, shape (T, H, W)."""
    height, width = cells.size(cell)
    spans = cells.boxes[cell, :, 2:] - cells.boxes[cell, :, :2]
    rows = np.arange(height) < spans[:, :1]
    columns = np.arange(width) < spans[:, 1:]
    return rows[:, :, None] & columns[:, None, :]


def limits(read, under, cells):
    """Return the smallest and largest value in any crop, the background subtracted."""
    low, high = np.inf, -np.inf
    for frame in range(cells.valid.shape[1]):
        there = np.flatnonzero(cells.valid[:, frame])
        if not len(there):
            continue
        plane = read(frame).astype(np.float64)
        if under is not None:
            plane = plane - under(frame)
        for cell in there:
            y0, x0, y1, x1 = cells.boxes[cell, frame]
            part = plane[y0:y1, x0:x1]
            low, high = min(low, part.min()), max(high, part.max())
    return (float(low), float(high)) if np.isfinite([low, high]).all() else (0.0, 1.0)


def background_name(channel):
    """Return the name of the background of a channel, as PyAMA has it."""
    if channel.startswith("fl_ch_"):
        return f"fl_background_ch_{channel.removeprefix('fl_ch_')}"
    return f"background_{channel}"


def check(layers):
    """Raise BadData unless all layers are single planes of one shape, and can be groups."""
    for layer in layers:
        if layer.channel in ("mask", "metadata"):
            raise BadData(f"channel {layer.channel!r}: cells.zarr has a group of that name; rename")
        if layer.shape != layers[0].shape:
            raise BadData(f"{layer.kind} of {layer.channel!r}: another shape than the first image")
        if layer.shape[1] > 1:
            raise BadData(
                f"{layer.kind} of {layer.channel!r} has {layer.shape[1]} planes: crops are of "
                "single planes; choose one, or a projection, with `z:` of the input"
            )


def main(
    image: cli.Images,
    label: cli.Label,
    table: cli.Table,
    out_cells: cli.OutFile,
    background: Annotated[
        list[str] | None, cli.Contract("input"), typer.Option(help="backgrounds of the images")
    ] = None,
    padding: Annotated[int, typer.Option(min=0, help="margin around the bounding box [px]")] = 5,
    mask_margin: Annotated[int, typer.Option(min=0, help="the mask is widened by [px]")] = 0,
    min_frames: Annotated[int, typer.Option(min=1, help="fewest frames of a cell [frame]")] = 30,
) -> None:
    """Cut every tracked cell out of all channels, as PyAMA's ``cells.zarr``.

    ``<channel>/<cell>/0`` holds the crops from 0 to 1, the background subtracted where there is
    one, ``raw`` the values as measured, ``1`` an 8-bit copy at half size for looking at, and
    ``mask/<cell>/0`` the cell. Each crop begins at the upper left of its array; ``metadata`` has
    ``cell_ids``, ``bboxes`` (y0, x0, y1, x1, the ends excluded) and ``valid_frames``.
    """
    import zarr

    layers = [images.open_layer(pattern, kind="image") for pattern in image]
    cells_of = images.open_layer(label, kind="label")
    under = {
        layer.channel: layer
        for layer in (images.open_layer(one, kind="background") for one in background or ())
    }
    check([*layers, cells_of, *under.values()])
    frames, _, height, width = cells_of.shape
    tracks = tables.read_table(table, "tracks")
    cells = find_cells(tracks, (frames, height, width), padding, min_frames)
    with writing(out_cells) as folder:
        store = zarr.create_group(store=folder, zarr_format=3)
        about = store.create_group("metadata")
        for name, values in (
            ("cell_ids", cells.ids), ("bboxes", cells.boxes), ("valid_frames", cells.valid),
        ):  # fmt: skip
            about.create_array(name, shape=values.shape, dtype=values.dtype)[...] = values
        for layer in layers:
            write_channel(store, layer.channel, cells, layer, under.get(layer.channel))
        group = store.create_group("mask")
        for batch in batches(cells, 1):
            for cell, mask in masks_of(planes(cells_of), cells, batch, mask_margin).items():
                write(group.create_group(str(cells.ids[cell])), "0", mask)
    dropped = tracks["track_id"].nunique() - len(cells.ids)
    cli.log.info("%d cells; %d in fewer than %d frames", len(cells.ids), dropped, min_frames)


if __name__ == "__main__":
    cli.run(main)
