#!/usr/bin/env python3
"""Ingest: a user's table of cells (CSV or Parquet) becomes a table of the contract."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, tables
from cytoloom.errors import BadData, InputMissing

REQUIRED = ("frame", "label", "y", "x")


def to_cells(frame, *, position, channel, pixel_size, source):
    """Return a user's table with the columns of ``cells`` (or of ``tracks``, with ``track_id``).

    Parameters
    ----------
    frame : DataFrame
        At least frame, label, y, x [px], under our names or pyCyto's.
    pixel_size : sequence of 3 floats
        Micrometre along z, y, x.
    source : str
        The file, for errors.

    Returns
    -------
    DataFrame, kind

    Raises
    ------
    BadData
        If a needed column is missing or does not hold numbers.
    """
    renamed = {
        old: new
        for old, new in tables.PYCYTO_COLUMNS.items()
        if old in frame.columns and new not in frame.columns
    }
    if {"i", "j"} <= set(frame.columns):  # pyCyto's x and y are physical, i and j are pixels
        frame = frame.drop(columns=[c for c in ("x", "y") if c in frame.columns])
        renamed |= {"i": "y", "j": "x"}
    frame = frame.rename(columns=renamed)
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise BadData(
            f"{source}: column {', '.join(missing)} is missing (needed: {', '.join(REQUIRED)})"
        )
    for name in (*REQUIRED, *(["z"] if "z" in frame.columns else [])):
        frame[name] = _numbers(frame[name], name, source)
    twice = frame.duplicated(["frame", "label"])
    if twice.any():
        row = frame.iloc[int(np.flatnonzero(twice)[0])]
        raise BadData(
            f"{source}: frame {row['frame']:g} has label {row['label']:g} more than once; "
            "a label is one object of a frame"
        )
    kind = "tracks" if "track_id" in frame.columns else "cells"
    defaults = {"position": position, "channel": channel, "label_channel": channel, "z": 0.0}
    for name, value in defaults.items():
        if name not in frame.columns:
            frame[name] = value
    frame["position"], frame["channel"] = position, channel
    for axis, size in zip("zyx", pixel_size, strict=True):
        frame[f"{axis}_um"] = frame[axis] * size
    for field in tables.SCHEMAS[kind]:
        if field.name not in frame.columns and not field.nullable:
            whole = str(field.type).startswith(("int", "uint"))
            frame[field.name] = 0 if whole else np.nan
    return frame, kind


def _numbers(column, name, source):
    """Return a column as numbers; frames and labels must be whole, from 0 and from 1."""
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64)
    least = {"frame": 0, "label": 1}.get(name)
    wrong = ~np.isfinite(numbers)
    if least is not None:
        wrong |= (numbers != np.floor(numbers)) | (numbers < least)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        needed = "a finite number" if least is None else f"a whole number from {least}"
        raise BadData(f"{source}: row {row + 2}: {name} is {column.iloc[row]}, not {needed}")
    return numbers


def main(
    source: Annotated[str, typer.Option(help="CSV or Parquet file")],
    out_cells: cli.OutTable,
    position: Annotated[str, typer.Option(help="name of the position")],
    channel: Annotated[str, typer.Option(help="name of the channel")],
    pixel_size: Annotated[list[float], typer.Option(help="micrometre; once each for z, y, x")],
    frame_interval: Annotated[float | None, typer.Option(help="second between frames")] = None,
) -> None:
    """Bring a table of cells in: columns frame, label, y, x in pixels, and any others."""
    import pandas as pd

    path = Path(source)
    if not path.is_file():
        raise InputMissing(f"{path}: no such file")
    try:
        parquet = path.suffix.lower() in (".parquet", ".pq")
        frame = pd.read_parquet(path) if parquet else pd.read_csv(path, sep=None, engine="python")
    except Exception as error:
        raise BadData(f"{path}: not a readable table ({error}); needed: CSV or Parquet") from error
    cells, kind = to_cells(
        frame, position=position, channel=channel, pixel_size=pixel_size, source=source
    )
    cells.attrs = {
        "position": position,
        "channel": channel,
        "pixel_size": list(pixel_size),
        "frame_interval": frame_interval,
    }
    tables.write_table(out_cells, cells, kind)


if __name__ == "__main__":
    cli.run(main)
