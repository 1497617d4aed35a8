"""GEFF, the graph exchange file format, through its reference library.

A node is a tracked object, an edge a link. Node positions are in frames and pixels
(they lie on the label image), with the scale to second and micrometre in the axes.
Node properties are the table's numbers: label, track and tree (declared as GEFF's
tracklet and lineage), measurements; nulls are marked as missing. Intensities of
several channels have the channel's name at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

_LEFT_OUT = {"position", "channel", "label_channel", "frame", "z", "y", "x"}


def write(
    folder: Path | str,
    nodes: pd.DataFrame,
    edges: NDArray[np.int64],
    *,
    table: pd.DataFrame | None = None,
    pixel_size: tuple[float, float, float] | None = None,
    frame_interval: float | None = None,
) -> None:
    """Write a GEFF store (zarr v3).

    Parameters
    ----------
    folder
        Store to make.
    nodes : DataFrame
        One row per tracked object; see `cytoloom.tracks.objects`.
    edges : ndarray of int64, shape (m, 2)
        Links as positions in ``nodes``.
    table : DataFrame
        Of kind ``tracks``, all channels; None: ``nodes``.
    pixel_size
        z, y, x [um].
    frame_interval
        [s]; None: not known.
    """
    from geff import GeffMetadata
    from geff.core_io import write_arrays

    metadata = GeffMetadata(
        directed=True,
        axes=_axes(pixel_size, frame_interval),
        node_props_metadata={},
        edge_props_metadata={},
        track_node_props={"tracklet": "track_id", "lineage": "tree_id"},
    )
    step = nodes[["z_um", "y_um", "x_um"]].to_numpy(dtype=float)
    length = np.linalg.norm(step[edges[:, 1]] - step[edges[:, 0]], axis=1)
    write_arrays(
        str(folder),
        np.arange(len(nodes), dtype=np.uint64),
        _properties(nodes, nodes if table is None else table),
        edges.astype(np.uint64),
        {"distance_um": {"values": length, "missing": None}},
        metadata,
        zarr_format=3,
    )


def _axes(pixel_size: tuple[float, float, float] | None, frame_interval: float | None) -> list[Any]:
    from geff_spec import Axis

    time: dict[str, Any] = {"name": "t", "type": "time", "unit": "frame"}
    if frame_interval is not None:
        time |= {"scale": float(frame_interval), "scaled_unit": "second"}
    axes = [Axis(**time)]
    for index, name in enumerate("zyx"):
        space: dict[str, Any] = {"name": name, "type": "space", "unit": "pixel"}
        if pixel_size is not None:
            space |= {"scale": float(pixel_size[index]), "scaled_unit": "micrometer"}
        axes.append(Axis(**space))
    return axes


def _properties(nodes: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    columns: dict[str, pd.Series] = {"t": nodes["frame"]} | {a: nodes[a] for a in "zyx"}
    channels = list(dict.fromkeys(table["channel"]))
    for name in nodes.columns:
        if name in _LEFT_OUT or nodes[name].dtype.kind not in "iuf":
            continue
        if len(channels) < 2 or not name.startswith("intensity_"):
            columns[name] = nodes[name]
            continue
        for channel in channels:
            rows = table[table["channel"] == channel]
            columns[f"{name}_{channel}"] = nodes[["frame", "label"]].merge(
                rows, on=["frame", "label"], how="left"
            )[name]
    return {
        name: values
        for name, column in columns.items()
        if (values := _property(column)) is not None
    }


def _property(column: pd.Series) -> dict[str, Any] | None:
    missing = column.isna().to_numpy()
    if len(column) and missing.all():
        return None
    dtype = np.float64 if column.dtype.kind == "f" else np.int64
    values = column.fillna(0).to_numpy(dtype=dtype)
    return {"values": values, "missing": missing if missing.any() else None}


def read(folder: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read and validate a GEFF store with the reference library.

    Returns
    -------
    nodes, edges : DataFrame
        ``id`` and the properties; ``source``, ``target`` and the properties.
    """
    from geff.convert import geff_to_dataframes
    from geff.core_io import read_to_memory
    from geff.validate.data import ValidationConfig, validate_data

    everything = ValidationConfig(graph=True, lineage=True, tracklet=True)
    validate_data(read_to_memory(str(folder)), everything)
    return geff_to_dataframes(str(folder))
