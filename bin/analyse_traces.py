#!/usr/bin/env python3
"""Extraction, second phase: whole traces. Filters, the flag ``good``, times, and the CSV."""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, tables, traces
from cytoloom.errors import BadData
from cytoloom.files import writing

SECONDS_PER_HOUR = 3600


def times_of(frames, interval, mapping):
    """Return the time of each frame [h].

    Parameters
    ----------
    frames : ndarray of int
    interval : float
        Seconds between frames.
    mapping : dict of int to float, or None
        Minutes of each frame.
    """
    if mapping is None:
        return frames * (interval / SECONDS_PER_HOUR)
    missing = sorted(set(frames.tolist()) - set(mapping))
    if missing:
        raise BadData(f"time_mapping has no time for frame {missing[0]}")
    return np.array([mapping[int(f)] / 60 for f in frames], float)


def read_mapping(path):
    """Read minutes by frame: a CSV of two columns (frame, minutes), or a YAML or JSON mapping.

    PyAMA's ``processing_config.yaml`` with a parameter ``time_mapping`` is such a file too.
    """
    text = Path(path).read_text(encoding="utf-8-sig")
    try:
        if Path(path).suffix.lower() in (".csv", ".tsv", ".txt"):
            rows = [
                line.replace("\t", ",").split(",") for line in text.splitlines() if line.strip()
            ]
            rows = rows[1:] if not rows[0][0].strip().isdigit() else rows
            return {int(row[0]): float(row[1]) for row in rows}
        from ruamel.yaml import YAML

        found = YAML(typ="safe", pure=True).load(text)
        for key in ("params", "time_mapping"):  # of PyAMA's processing_config.yaml
            found = found.get(key, found)
        return {int(k): float(v) for k, v in found.items()}
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        raise BadData(f"time_mapping {path}: not frames and minutes ({error})") from error


def filtered(rows, *, min_frames, border_margin, height, width):
    """Return the rows of cells that are long enough and away from the border, and the losses.

    Returns
    -------
    rows : DataFrame
    losses : list of (str, int, int)
        Step, cells and rows that are left after it.
    """
    losses = [("tracked", rows["cell"].nunique(), len(rows))]
    rows = rows[traces.lengths(rows["cell"].to_numpy()) >= min_frames]
    losses.append((f"in at least {min_frames} frames", rows["cell"].nunique(), len(rows)))
    rows = rows[~traces.at_border(rows, border_margin, height, width)]
    losses.append((f"{border_margin} px from the border", rows["cell"].nunique(), len(rows)))
    return rows.reset_index(drop=True), losses


def write_csv(path, rows):
    """Write the CSV with PyAMA's columns."""
    with writing(path) as temporary:
        names = [*traces.BASE, *traces.features_of(rows.columns)]
        rows[names].to_csv(temporary, index=False)


def main(
    table: cli.Table,
    out_traces: cli.OutTable,
    out_tracescsv: Annotated[
        Path, cli.Contract("output"), typer.Option(help="CSV with PyAMA's columns to write")
    ],
    out_trace_filters: cli.OutTable,
    min_frames: Annotated[int, typer.Option(min=1, help="cells in fewer frames are left out")] = 30,
    border_margin: Annotated[
        int,
        typer.Option(min=0, help="cells that ever come closer to the border are left out [px]"),
    ] = 50,
    frame_interval: Annotated[
        float | None, typer.Option(min=0, help="time between frames, if not the file's [min]")
    ] = None,
    time_mapping: Annotated[
        str | None,
        typer.Option(help="file of frame and time [min]: CSV, or a YAML mapping"),
    ] = None,
    quality: Annotated[
        str | None,
        cli.Contract("input"),
        typer.Option(help="CSV of rows that a user flagged as not good (made by the plan)"),
    ] = None,
) -> None:
    """Filter whole traces and write them as Parquet and as PyAMA's CSV."""
    rows = tables.read_table(table, "traces")
    about = dict(rows.attrs)
    height, width = about.get("pixels") or (0, 0)
    rows = rows.sort_values(["cell", "frame"], kind="stable").reset_index(drop=True)
    seconds = frame_interval * 60 if frame_interval else about.get("frame_interval") or 1.0
    mapping = read_mapping(time_mapping) if time_mapping else None
    rows["time_h"] = times_of(rows["frame"].to_numpy(), seconds, mapping)
    kept, losses = filtered(
        rows, min_frames=min_frames, border_margin=border_margin, height=height, width=width
    )
    if quality:
        import pandas as pd

        bad, lost = traces.flagged(kept, pd.read_csv(quality))
        kept["good"] = ~bad
        if lost:
            cli.log.warning("%d rows flagged as not good have no cell now", lost)
    good = kept[kept["good"].astype(bool)]
    losses.append(("good", good["cell"].nunique(), len(good)))
    kept.attrs.update(about)
    tables.write_table(out_traces, kept, "traces")
    write_csv(out_tracescsv, kept)
    write_losses(out_trace_filters, losses, about)
    cli.log.info("%s", json.dumps({step: cells for step, cells, _ in losses}))


def write_losses(path, losses, about):
    """Write how many cells and rows are left after each filter."""
    steps, cells, rows = zip(*losses, strict=True)
    columns = {
        "position": str(about.get("position", "")),
        "order": np.arange(len(losses), dtype=np.int32),
        "step": list(steps),
        "cells": np.array(cells, np.int64),
        "rows": np.array(rows, np.int64),
    }
    tables.write_arrow(path, tables.from_columns(columns, "trace_filters", about=about))


if __name__ == "__main__":
    cli.run(main)
