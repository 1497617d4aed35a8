#!/usr/bin/env python3
"""MergeSamples: traces of many positions joined by sample, as PyAMA's merged CSV files."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cytoloom import cli, positions, tables, traces
from cytoloom.errors import BadData
from cytoloom.files import writing


class Layout(StrEnum):
    """Which CSV files are written."""

    both = "both"
    wide = "wide"
    split = "split"


class Unit(StrEnum):
    """Unit of the times in CSV files."""

    h = "h"
    min = "min"
    s = "s"


PER_HOUR = {Unit.h: 1, Unit.min: 60, Unit.s: 3600}


def merged(rows, samples):
    """Return the good rows of each sample, sorted by time, position and cell."""
    import pandas as pd

    good = rows[rows["good"].astype(bool)]
    parts = []
    for sample, names in samples.items():
        part = good[good["position"].isin(names)].copy()
        part.insert(0, "sample", sample)
        parts.append(part.sort_values(["time_h", "fov", "position", "cell"], kind="stable"))
    return pd.concat(parts) if parts else good.assign(sample="").iloc[:0]


def file_name(sample):
    """Return a sample's name as part of a file name."""
    return re.sub(r"[^\w.+-]+", "_", sample).strip("._") or "sample"


def write_wide(folder, sample, rows, fovs, unit):
    """Write all traces of a sample as one CSV with the columns of the traces."""
    names = [*traces.BASE, *traces.features_of([c for c in rows if c != "sample"])]
    with (folder / f"{file_name(sample)}_merged.csv").open("w", encoding="utf-8") as file:
        file.write(f"# Sample: {sample}\n# FOVs: {', '.join(map(str, fovs))}\n")
        file.write(f"# Time units: {unit.value}\n")
        rows[names].to_csv(file, index=False)


def write_split(folder, sample, rows, unit):
    """Write one CSV of time, fov, cell and value for each feature and channel of a sample."""
    for name in traces.features_of([c for c in rows if c != "sample"]):
        part = rows[["time_h", "fov", "cell", name]].rename(
            columns={"time_h": "time", name: "value"}
        )
        part = part.assign(time=part["time"] * PER_HOUR[unit], value=part["value"].astype(float))
        with (folder / f"{file_name(sample)}_{name}.csv").open("w", encoding="utf-8") as file:
            file.write(f"# Time units: {unit.value}\n")
            part.to_csv(file, index=False, float_format="%.6f")


def check_names(samples):
    """Raise BadData where two samples would write the same files."""
    seen = {}
    for sample in samples:
        other = seen.setdefault(file_name(sample).casefold(), sample)
        if other != sample:
            raise BadData(
                f"samples {other!r} and {sample!r} have one file name: rename one of them"
            )


def main(
    table: cli.Table,
    out_samples: cli.OutTable,
    out_samplescsv: Annotated[
        Path, cli.Contract("output"), typer.Option(help="folder of CSV files to write")
    ],
    samples: Annotated[
        str | None,
        typer.Option(
            help="samples.yaml: {samples: [{name, fovs: '0-2, 4'}]}; default: each position is one"
        ),
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(
            help="wide: one file per sample; split: one per sample, feature and channel; or both"
        ),
    ] = Layout.both,
    time_units: Annotated[Unit, typer.Option(help="unit of the times in CSV files")] = Unit.h,
) -> None:
    """Join the traces of all positions by sample; rows that are not good are left out.

    Positions that are missing, in two samples or in none are reported. The number of a position
    stands at the end of its name.
    """
    rows = tables.read_table(table, "traces")
    about = {k: v for k, v in rows.attrs.items() if k not in ("position", "kind", "pixels")}
    fovs = positions_of(table)
    if samples:
        try:
            wanted = positions.read_samples(samples)
        except ValueError as error:
            raise BadData(str(error)) from error
        chosen, odd = positions.samples_by_position(wanted, fovs)
    else:
        chosen, odd = {name: [name] for name in fovs}, []
    for line in odd:
        cli.log.warning("%s", line)
    check_names(chosen)
    found = merged(rows, chosen)
    names = traces.features_of([c for c in found if c != "sample"])
    if layout is not Layout.wide and not names:
        raise BadData("no channel has features: nothing can be split; take layout: wide")
    with writing(out_samplescsv) as folder:
        folder.mkdir()
        for sample, members in chosen.items():
            part = found[found["sample"] == sample]
            numbers = sorted({fovs[name] for name in members})
            if layout is not Layout.split:
                write_wide(folder, sample, part, numbers, time_units)
            if layout is not Layout.wide:
                write_split(folder, sample, part, time_units)
        (folder / "problems.txt").write_text("".join(f"{line}\n" for line in odd))
    found.attrs.clear()
    found.attrs.update(about)
    found.attrs["odd"] = odd
    tables.write_table(out_samples, found, "samples")
    cli.log.info("%d samples of %d positions", len(chosen), len(fovs))


def positions_of(pattern):
    """Return the number of each position whose traces a pattern names, empty tables included."""
    from cytoloom.files import find

    names = [tables.metadata_of(tables.read_arrow(p)).get("position") for p in find(pattern)]
    return {name: traces.fov_of(name) for name in sorted(map(str, names), key=traces.fov_of)}


if __name__ == "__main__":
    cli.run(main)
