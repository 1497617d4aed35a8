#!/usr/bin/env python3
"""Contacts between effector and target cells, frame by frame (CrossCellContactMeasures).

Reads the label images and tables of two channels, whole frames, and writes the contacts
of every frame, the effectors' table with their contacts, lines between the centroids
of contacting cells, and the network. Cells that the tables no longer hold (filtered
ones) take no part. Each frame stands for itself: frames without effectors or targets
give no contact, and results do not depend on how frames were batched.
See cytoloom/contacts.py for what gap and contact size mean.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, contacts, devices, images, networks, statistics, tables
from cytoloom.errors import BadData, UsageError
from cytoloom.regions import Region

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

log = logging.getLogger("cytoloom")
UNITS = {"closest_distance_um": "um"}
CENTROID_UM = ["z_um", "y_um", "x_um"]


class Method(StrEnum):
    """What makes a contact."""

    overlap = "overlap"
    distance = "distance"


@dataclass(frozen=True)
class Rule:
    """What counts as a contact, and on what grid.

    Attributes
    ----------
    reach
        Largest gap in micrometre; None: the two must share a pixel.
    pixel_size
        Micrometre along z, y, x.
    channels
        Names of the effector and the target label image.
    same
        Whether both are of the same label image; a cell is then no partner of itself.
    nearest
        How distances between outlines are found; None: on the CPU.
    """

    reach: float | None
    pixel_size: tuple[float, float, float]
    channels: tuple[str, str]
    same: bool = False
    nearest: contacts.Nearest | None = None


def reach_of(method: Method | None, distance: float) -> float | None:
    """Return the largest gap in micrometre, None for overlap; see the command's options."""
    if method is Method.overlap and distance > 0:
        raise UsageError("--distance has no meaning with --method overlap: leave one of them out")
    return distance if method is Method.distance or distance > 0 else None


def measure_frame(
    labels: Sequence[NDArray[Any]], cells: Sequence[pd.DataFrame], rule: Rule
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the contacts of one frame, and its effectors with their contacts.

    Parameters
    ----------
    labels : two ndarrays of integers, shape (z, y, x)
    cells : two DataFrames
        Rows of this frame of the effectors' and the targets' table.
    rule : Rule

    Returns
    -------
    contacts : DataFrame
        Kind `contacts`, sorted by effector, then target.
    effectors : DataFrame
        The effectors' rows and contact, contact_count, contact_labels, contact_track_ids
        (numbers parted by blanks), closest_distance_um.
    """
    flat = labels[0].shape[0] == 1
    own = numbers_among(*cells) if rule.same else None
    frames = [number_frame(*each) for each in zip(labels, cells, rule.channels, strict=True)]
    pairs = contacts.find_contacts(
        *((index[0] if flat else index) for index in frames),
        (len(cells[0]), len(cells[1])),
        rule.pixel_size[1:] if flat else rule.pixel_size,
        reach=rule.reach,
        own=own,
        nearest=rule.nearest,
    )
    found = contact_table(pairs, cells, rule.channels, flat=flat)
    closest = contacts.closest_distances(*(c[CENTROID_UM].to_numpy() for c in cells), own=own)
    return found, with_contacts(cells[0], found, pairs, closest)


def numbers_among(effectors: pd.DataFrame, targets: pd.DataFrame) -> NDArray[np.int64]:
    """Return the row number of each effector among the targets, from 1; 0 where it is none."""
    import pandas as pd

    return pd.Index(targets["label"]).get_indexer(effectors["label"]) + 1


def number_frame(image: NDArray[Any], cells: pd.DataFrame, channel: str) -> NDArray[np.int32]:
    """Return one frame's labels as row numbers of its table, from 1."""
    where = f"{channel}, frame {cells['frame'].iloc[0]}" if len(cells) else channel
    twice = cells["label"][cells["label"].duplicated()]
    if len(twice):
        raise BadData(f"{where}: label {twice.iloc[0]} is twice in the table; keep one row a cell")
    return contacts.number_objects(image, cells["label"].to_numpy(), where=where)


def contact_table(
    pairs: contacts.Pairs, cells: Sequence[pd.DataFrame], channels: tuple[str, str], *, flat: bool
) -> pd.DataFrame:
    """Return pairs of rows as a table of kind `contacts`."""
    import pandas as pd

    sides = [
        side.iloc[rows].reset_index(drop=True)
        for side, rows in zip(cells, (pairs.effector, pairs.target), strict=True)
    ]
    steps = sides[0][CENTROID_UM].to_numpy() - sides[1][CENTROID_UM].to_numpy()
    table = {"position": sides[0]["position"], "frame": sides[0]["frame"]}
    for role, side, channel in zip(("effector", "target"), sides, channels, strict=True):
        tracks = side["track_id"] if "track_id" in side.columns else [None] * len(side)
        table[f"{role}_channel"] = [channel] * len(side)
        table[f"{role}_label"] = side["label"]
        table[f"{role}_track_id"] = pd.array(tracks, dtype="Int64")
    unknown = np.full(len(pairs), np.nan)
    return pd.DataFrame(
        table
        | {
            "distance_um": np.sqrt((steps**2).sum(axis=1)),
            "gap_um": pairs.gap,
            "overlap_um2": pairs.overlap,
            "contact_length_um": pairs.size if flat else unknown,
            "contact_area_um2": unknown if flat else pairs.size,
        }
    )


def with_contacts(
    effectors: pd.DataFrame,
    found: pd.DataFrame,
    pairs: contacts.Pairs,
    closest: NDArray[np.float64],
) -> pd.DataFrame:
    """Return the effectors with their contacts; ``found`` and ``pairs`` have the same rows."""
    bounds = np.searchsorted(pairs.effector, np.arange(len(effectors) + 1))
    count = np.diff(bounds).astype(np.int32)
    lists = {}
    for name in ("label", "track_id"):
        values = found[f"target_{name}"]
        known = values.astype("string").where(values.notna(), "").to_list()
        lists[name] = [
            " ".join(filter(None, known[start:stop])) for start, stop in pairwise(bounds)
        ]
    return effectors.assign(
        contact=count > 0,
        contact_count=count,
        contact_labels=_text(lists["label"]),
        contact_track_ids=_text(lists["track_id"]),
        closest_distance_um=closest,
    )


def _text(values: list[str]) -> Any:
    import pandas as pd

    return pd.array(values, dtype="string")


def contact_network(found: pd.DataFrame, cells: Sequence[pd.DataFrame], rule: Rule) -> nx.Graph:
    """Return the graph of all frames: nodes are cells, edges are contacts.

    An edge's ``weight`` is the distance of the centroids in micrometre, as in pyCyto
    (there in pixels); its other attributes are the columns of the contacts.
    """
    import networkx as nx

    graph = nx.Graph(effector=rule.channels[0], target=rule.channels[1])
    for side, channel in zip(cells, rule.channels, strict=True):
        networks.add_cells(graph, side, channel)
    columns = ["distance_um", "gap_um", "overlap_um2", "contact_length_um", "contact_area_um2"]
    values = found[columns].to_numpy()
    for frame, effector, target, row in zip(
        found["frame"], found["effector_label"], found["target_label"], values, strict=True
    ):
        ends = (
            networks.node_id(frame, channel, label)
            for channel, label in zip(rule.channels, (effector, target), strict=True)
        )
        known = {n: float(v) for n, v in zip(columns, row, strict=True) if not np.isnan(v)}
        graph.add_edge(*ends, weight=float(row[0]), **known)
    return graph


def contact_image(
    found: pd.DataFrame, cells: Sequence[pd.DataFrame], frame: int, shape: Sequence[int]
) -> NDArray[np.bool_]:
    """Return where lines between the centroids of one frame's contacts run, shape (z, y, x)."""
    here = found[found["frame"] == frame]
    ends = []
    for side, role in zip(cells, ("effector", "target"), strict=True):
        place = side[side["frame"] == frame].set_index("label")[["z", "y", "x"]]
        ends.append(place.loc[here[f"{role}_label"].to_list()].to_numpy())
    return networks.draw_lines(shape, zip(*ends, strict=True))


def main(
    label: cli.Labels,
    table: cli.Tables,
    out_contacts: cli.OutTable,
    image: cli.Images = None,  # type: ignore[assignment]
    out_contact_events: cli.OutTable = None,  # type: ignore[assignment]
    out_table: cli.OutTable = None,  # type: ignore[assignment]
    out_image: cli.OutImage = None,  # type: ignore[assignment]
    out_network: cli.OutNetwork = None,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    channel: cli.Channel = None,
    cores: cli.Cores = 1,
    method: Annotated[
        Method | None,
        typer.Option(
            help="overlap: the two cells share a pixel; distance: their outlines are at most "
            "--distance apart; default: distance where --distance is above 0, else overlap"
        ),
    ] = None,
    distance: Annotated[
        float,
        typer.Option(min=0, help="largest gap between outlines, um; 0: touching or overlapping"),
    ] = 0.0,
    base_image: Annotated[
        bool, typer.Option(help="draw the lines over the effectors' image, not over black")
    ] = False,
    max_gap: Annotated[
        int, typer.Option(min=0, help="frames without contact that one contact event may bridge")
    ] = 0,
    gpu: devices.Gpu = False,
) -> None:
    """Contacts between effectors and targets: labels and tables of two channels, in this order.

    Events are of the frames of this task alone; a fanned-out run joins its tasks' contacts
    by analyse_contact_merge.py.
    """
    device = devices.choose_device(gpu, "torch")
    layers, cells = _open(label, table)
    where = _whole_frames(region, layers[0])
    rule = Rule(
        reach_of(method, distance),
        layers[0].pixel_size,
        (layers[0].channel, layers[1].channel),
        same=label[0] == label[1],
        nearest=contacts.nearest_on(device) if gpu else None,
    )
    if rule.same and rule.reach is None:
        log.warning(
            "effectors and targets are of the same label image, where no cell overlaps another: "
            "give --distance to find contacts"
        )
    base = _base(image, layers[0]) if base_image else None
    cells = [c[c["frame"].between(where.t[0], where.t[1] - 1)] for c in cells]
    by_frame = [dict(iter(c.groupby("frame"))) for c in cells]

    def one(frame: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        rows = [found.get(frame, c.iloc[:0]) for found, c in zip(by_frame, cells, strict=True)]
        return measure_frame([a.read(where.frame(frame))[0] for a in layers], rows, rule)

    with ThreadPoolExecutor(cores) as pool:
        measured = list(cli.progress(pool.map(one, where.frames), "contacts", len(where.frames)))
    found, effectors = (_join(each, cells[0]) for each in zip(*measured, strict=True))

    tables.write_table(out_contacts, found, "contacts")
    if out_contact_events is not None:
        events = contacts.contact_events(found, max_gap=max_gap)
        tables.write_table(out_contact_events, events, "contact_events")
    if out_table is not None:
        tables.write_table(out_table, effectors, cells[0].attrs["kind"], units=UNITS)
    if out_network is not None:
        networks.write_graphml(out_network, contact_network(found, cells, rule))
    if out_image is not None:
        pictures = [
            networks.render(
                contact_image(found, cells, frame, where.shape[1:]),
                None if base is None else base.read(where.frame(frame))[0],
            )
            for frame in where.frames
        ]
        data = np.stack(pictures)
        images.write_part(
            out_image, data, region=where, like=layers[0], kind="image", channel=channel
        )
        if out_statistics is not None:
            statistics.write(out_statistics, data, where)


def _open(label: list[str], table: list[str]) -> tuple[list[images.Layer], list[pd.DataFrame]]:
    if len(label) != 2 or len(table) != 2:
        raise UsageError(
            f"contacts need two channels, [effector, target]: {len(label)} --label and "
            f"{len(table)} --table given"
        )
    layers = [images.open_layer(pattern, kind="label") for pattern in label]
    if layers[0].shape != layers[1].shape:
        raise BadData(
            f"labels of {layers[0].channel} and {layers[1].channel} differ in shape (t, z, y, x): "
            f"{layers[0].shape} and {layers[1].shape}; they must be of one movie"
        )
    return layers, [tables.read_table(pattern, ("cells", "tracks")) for pattern in table]


def _whole_frames(region: str | None, layer: images.Layer) -> Region:
    where = Region.parse(region, layer.shape)
    if where.shape[1:] != tuple(layer.shape[1:]):
        raise UsageError(f"region {where}: contacts need whole frames; give only t=start:stop")
    return where


def _base(image: list[str] | None, like: images.Layer) -> images.Layer:
    if not image:
        raise UsageError("--base_image needs the effectors' image: give --image")
    base = images.open_layer(image[0], kind="image")
    if base.shape != like.shape:
        raise BadData(
            f"image of {base.channel} has the shape (t, z, y, x) {base.shape}, the labels of "
            f"{like.channel} have {like.shape}; they must be of one movie"
        )
    return base


def _join(parts: Sequence[pd.DataFrame], like: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    filled = [part for part in parts if len(part)] or [parts[0]]
    joined = pd.concat(filled, ignore_index=True)
    joined.attrs.update(like.attrs)
    return joined


if __name__ == "__main__":
    cli.run(main)
