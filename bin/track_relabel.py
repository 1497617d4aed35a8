#!/usr/bin/env python3
"""Label image by track: every pixel of a cell gets the number of its track."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytoloom import cli, images, tables
from cytoloom.errors import BadData
from cytoloom.regions import Region

if TYPE_CHECKING:
    import pandas as pd


def relabel(labels: NDArray[np.uint32], ids: dict[int, int]) -> NDArray[np.uint32]:
    """Replace labels by ``ids``; labels that ``ids`` does not name become 0.

    Parameters
    ----------
    labels : ndarray of uint32, any shape
        One frame.
    ids
        New number of each label.
    """
    import fastremap

    known = fastremap.mask_except(labels, list(ids))
    return fastremap.remap(known, ids, preserve_missing_labels=True, in_place=True)


def ids_by_frame(table: "pd.DataFrame") -> dict[int, dict[int, int]]:
    """Return the track of each label, by frame; untracked objects are left out.

    Raises
    ------
    BadData
        If a track's number does not fit into a label image.
    """
    tracked = table.loc[table["track_id"].notna(), ["frame", "label", "track_id"]]
    if len(tracked) and tracked["track_id"].max() > np.iinfo(np.uint32).max:
        raise BadData(f"track {tracked['track_id'].max()} does not fit into a label image (uint32)")
    return {
        int(frame): dict(zip(rows["label"].astype(int), rows["track_id"].astype(int), strict=True))
        for frame, rows in tracked.groupby("frame")
    }


def main(
    label: cli.Label,
    table: cli.Table,
    out_trackedlabel: cli.OutLabel,
    region: cli.RegionText = None,
) -> None:
    """Write the label image with track numbers for labels; untracked cells become 0."""
    layer = images.open_layer(label, kind="label")
    part = Region.parse(region, layer.shape)
    ids = ids_by_frame(tables.read_table(table, "tracks"))
    data = layer.read(part)
    for index, frame in enumerate(part.frames):
        data[index] = relabel(data[index], ids.get(frame, {}))
    images.write_part(out_trackedlabel, data, region=part, like=layer, kind="trackedlabel")


if __name__ == "__main__":
    cli.run(main)
