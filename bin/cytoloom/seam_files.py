"""Files of the three phases of labels across patches, and the loop that segments a part.

``segment_part`` is the core phase of every segmentation: it chooses what to read, hands
the method one frame at a time, and writes the label part and, where the layer is cut
into patches, the objects. A method says how far it looks (``halo``) and on what grid the
origin of an image must lie (``stride``: pooling networks depend on it), and gets whole
frames or tiles with their global origin. Objects and numbers are Parquet, one row per
object, masks packed to bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, images, tables
from cytoloom.errors import BadData
from cytoloom.files import find, writing
from cytoloom.images import Layer
from cytoloom.regions import Region
from cytoloom.seams import (
    Box,
    Final,
    Mask,
    View,
    box_of,
    find_objects,
    keep_touching,
    number_in_raster_order,
)

OutObjects = Annotated[
    Path | None,
    cli.Contract("output"),
    typer.Option(help="objects of a patch to write, for the number and stitch phases"),
]
OutDetections = Annotated[
    Path | None,
    cli.Contract("output"),
    typer.Option(help="table of what the method knows of each object to write (Parquet)"),
]
Origin = tuple[int, int, int]


@dataclass(frozen=True)
class Found:
    """Labels of a frame, and what the method knows of the objects 1, 2, … .

    Attributes
    ----------
    labels : ndarray, shape (z, y, x), integers
    probability : ndarray, shape (n,), or None
        That there is an object.
    class_id : ndarray, shape (n,), integers, or None
        Class of the object.
    in_order : bool
        The labels are 1...n in the raster order of the objects' first pixels.
    """

    labels: NDArray[np.integer[Any]]
    probability: NDArray[np.floating[Any]] | None = None
    class_id: NDArray[np.integer[Any]] | None = None
    in_order: bool = False

    def of(self, label: int) -> dict[str, Any]:
        """Return probability and class of a label."""
        return {
            "probability": None if self.probability is None else float(self.probability[label - 1]),
            "class_id": None if self.class_id is None else int(self.class_id[label - 1]),
        }


Segment = Callable[[NDArray[Any], int, Origin], NDArray[np.integer[Any]] | Found]
_BOX = ("z0", "y0", "x0", "z1", "y1", "x1")


def reading_region(region: Region, halo: int, stride: int, layer: Layer) -> Region:
    """Return what to read so that tiles see what the whole image shows.

    The region grown by ``halo`` in y and x (and z of 3-D data) as far as the parts at hand go,
    its origin on multiples of ``stride`` in y and x, and its end too where it is not the end of
    the image.
    """
    wide = region.widen(halo, layer.shape)
    spans = [region.t, wide.z]
    hand = layer.region
    spans[1] = (max(wide.z[0], hand.z[0]), min(wide.z[1], hand.z[1]))
    for (start, stop), (first, last), (own, end), size in zip(
        wide.spans[2:], hand.spans[2:], region.spans[2:], layer.shape[2:], strict=True
    ):
        low = max(start // stride * stride, -(-first // stride) * stride)
        high = min(-(-stop // stride) * stride, last // stride * stride)
        if max(stop, high) >= size and last == size:
            high = size
        spans.append((min(low, own), max(high, end)))
    return Region(*spans)


def segment_part(
    image: str,
    out_label: Path,
    segment: Segment,
    *,
    out_detections: Path | None = None,
    out_objects: Path | None = None,
    region: str | None = None,
    halo: int = 0,
    stride: int = 1,
    channel: str | None = None,
) -> None:
    """Segment a region of an image layer frame by frame and write its label part.

    Parameters
    ----------
    image
        Pattern of the image layer.
    segment
        ``segment(image (z, y, x), frame, origin (z, y, x)) -> labels (z, y, x)``, or `Found`.
    out_detections
        Table of probabilities and classes, where the layer is not cut into patches.
    out_objects
        Given where the layer is cut into patches; the phase ``number`` then makes the table.
    halo, stride
        How far the method looks, and the grid of its origin [px].
    """
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    read = reading_region(box, halo, stride, layer)
    core, around = box_of(box), box_of(read)
    labels = np.zeros(box.shape, np.uint32)
    views: list[View] = []
    rows: list[dict[str, Any]] = []
    for frame in cli.progress(box.frames, "frames", len(box.frames)):
        plane = layer.read(read.frame(frame))[0]
        answer = segment(plane, frame, around[:3])
        found = answer if isinstance(answer, Found) else Found(answer)
        if found.labels.shape != plane.shape:
            raise ValueError(f"labels of shape {found.labels.shape} for an image of {plane.shape}")
        own = box.frame(frame).within(read.frame(frame))[1:]
        if out_objects is None:
            inside = found.labels[own]
            if found.in_order and inside.shape == found.labels.shape and out_detections is None:
                labels[frame - box.t[0]] = inside
                continue
            numbered = labels[frame - box.t[0]] = number_in_raster_order(inside)
            for number, label in enumerate(_former(numbered, inside), start=1):
                rows.append({"frame": frame, "label": number, **found.of(label)})
            continue
        kept = keep_touching(found.labels, around, core)
        labels[frame - box.t[0]] = kept[own]
        former = _former(kept, found.labels)
        views += [
            replace(view, **found.of(former[view.label - 1]))
            for view in find_objects(kept, frame, around, core, layer.shape[1:])
        ]
    images.write_part(out_label, labels, region=box, like=layer, kind="label", channel=channel)
    about = tables.describe(layer) | ({"channel": channel} if channel else {})
    if out_objects is not None:
        write_objects(out_objects, views, about)
    if out_detections is not None:
        write_detections(out_detections, rows, about)


def _former(numbered: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]]) -> list[int]:
    """Return, for the numbers 1, 2, …, the label that each had before."""
    former = np.zeros(int(numbered.max(initial=0)) + 1, np.int64)
    former[numbered] = labels
    return [int(label) for label in former[1:]]


def write_detections(
    path: Path | str, rows: Sequence[dict[str, Any]], about: dict[str, Any]
) -> None:
    """Write what the method knows of each object: frame, label, probability and class."""
    columns: dict[str, Any] = {
        name: [row[name] for row in rows] for name in ("frame", "label", "probability", "class_id")
    }
    columns |= {"position": about["position"], "label_channel": about["channel"]}
    tables.write_arrow(path, tables.from_columns(columns, "detections", about=about))


def write_objects(
    path: Path | str, views: Sequence[View], about: dict[str, Any] | None = None
) -> None:
    """Write the objects that a tile sees, whole or not at all; ``about`` describes the layer."""
    columns: dict[str, list[Any]] = {
        "frame": [v.frame for v in views],
        "label": [v.label for v in views],
        "core": [json.dumps(v.core) for v in views],
        "read": [json.dumps(v.read) for v in views],
        "area": [v.area for v in views],
        "cut": [v.cut for v in views],
        "mask": [v.bits for v in views],
        "probability": [v.probability for v in views],
        "class_id": [v.class_id for v in views],
        **_columns("first_", [v.first for v in views], "zyx"),
        **_columns("", [v.box for v in views], _BOX),
    }
    _write(path, "objects", columns, about)


def read_objects(pattern: Path | str, frames: range | None = None) -> list[View]:
    """Read the objects of all tiles that a path or glob names, or those of some frames."""
    return [
        View(
            frame=row["frame"],
            label=row["label"],
            core=_box(row["core"]),
            read=_box(row["read"]),
            first=(row["first_z"], row["first_y"], row["first_x"]),
            area=row["area"],
            cut=row["cut"],
            box=_row_box(row),
            bits=row["mask"],
            probability=row["probability"],
            class_id=row["class_id"],
        )
        for path in find(pattern, what="objects")
        for row in _read(path, "objects")
        if frames is None or row["frame"] in frames
    ]


def read_about(pattern: Path | str) -> dict[str, Any]:
    """Return what the objects of tiles say of their layer: position, channel, pixel size."""
    return dict(_metadata(find(pattern, what="objects")[0], "objects").get("about") or {})


def write_numbers(path: Path | str, finals: Sequence[Final]) -> None:
    """Write the final objects of a frame batch, whole or not at all."""
    boxes = [f.mask.box if f.mask else (None,) * 6 for f in finals]
    columns: dict[str, list[Any]] = {
        "frame": [f.frame for f in finals],
        "label": [f.label for f in finals],
        "core": [json.dumps(f.core) for f in finals],
        "number": [f.number for f in finals],
        "mask": [f.mask.packed() if f.mask else None for f in finals],
        **_columns("", boxes, _BOX),
    }
    _write(path, "numbers", columns)


def read_numbers(pattern: Path | str, frames: range | None = None) -> list[Final]:
    """Read the final objects of the frame batches that a path or glob names."""
    return [
        Final(
            frame=row["frame"],
            number=row["number"],
            core=_box(row["core"]),
            label=row["label"],
            mask=None if row["mask"] is None else Mask.unpacked(_row_box(row), row["mask"]),
        )
        for path in find(pattern, what="numbers")
        for row in _read(path, "numbers")
        if frames is None or row["frame"] in frames
    ]


def _columns(
    prefix: str, rows: Sequence[Sequence[int | None]], names: Sequence[str]
) -> dict[str, list[int | None]]:
    return {prefix + name: [row[i] for row in rows] for i, name in enumerate(names)}


def _box(text: str) -> Box:
    z0, y0, x0, z1, y1, x1 = json.loads(text)
    return (z0, y0, x0, z1, y1, x1)


def _row_box(row: dict[str, Any]) -> Box:
    return (row["z0"], row["y0"], row["x0"], row["z1"], row["y1"], row["x1"])


def _write(
    path: Path | str, kind: str, columns: dict[str, list[Any]], about: dict[str, Any] | None = None
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "frame": pa.int32(),
        "label": pa.uint32(),
        "number": pa.uint32(),
        "core": pa.string(),
        "read": pa.string(),
        "cut": pa.bool_(),
        "mask": pa.binary(),
        "probability": pa.float64(),
        "class_id": pa.int32(),
    }
    arrays = {name: pa.array(v, types.get(name, pa.int64())) for name, v in columns.items()}
    header = json.dumps({"kind": kind, "about": about})
    table = pa.table(arrays).replace_schema_metadata({"cytoloom": header})
    with writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _metadata(path: Path, kind: str) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        header = json.loads((pq.read_schema(path).metadata or {}).get(b"cytoloom", b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadData(f"{path}: not a file of {kind} ({error})") from error
    if header.get("kind") != kind:
        raise BadData(f"{path}: not a file of {kind}; give the files of the core phase")
    return dict(header)


def _read(path: Path, kind: str) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    _metadata(path, kind)
    try:
        rows: list[dict[str, Any]] = pq.read_table(path, partitioning=None).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"{path}: not a file of {kind} ({error})") from error
    return rows
