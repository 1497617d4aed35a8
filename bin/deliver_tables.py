#!/usr/bin/env python3
"""Tables: the tables of all positions joined, as Parquet and CSV; networks as GraphML."""

import shutil
from typing import Annotated

import typer

from cytoloom import cli, tables
from cytoloom.files import find, is_there, writing

NAMED = cli.Contract("control")


def write_csv(table, path):
    """Write an Arrow table as CSV; lists become text with ``;`` between the values."""
    import pyarrow as pa
    import pyarrow.csv

    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_list(column.type):
            texts = [None if v is None else ";".join(map(str, v)) for v in column.to_pylist()]
            column = pa.chunked_array([pa.array(texts, pa.string())])
        columns[name] = column
    pyarrow.csv.write_csv(pa.table(columns), path)


def write_columns(kinds, path):
    """Write what every column means: table, column, type, unit, meaning."""
    lines = ["table,column,type,unit,meaning"]
    for name, table in kinds.items():
        for field in table.schema:
            about = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
            meaning = about.get("description", "").replace('"', "'")
            lines.append(f'{name},{field.name},{field.type},{about.get("unit", "")},"{meaning}"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(
    out_tables: cli.OutFile,
    table: Annotated[
        list[str] | None, NAMED, typer.Option(help="NAME=GLOB of a table; repeated")
    ] = None,
    network: Annotated[
        list[str] | None, NAMED, typer.Option(help="NAME=GLOB of networks; repeated")
    ] = None,
    partial: cli.Partial = False,
) -> None:
    """Join the tables of all positions into one Parquet and one CSV file each.

    ``columns.csv`` in the same folder says what every column means, with its unit.
    """
    with writing(out_tables) as folder:
        folder.mkdir()
        read = {}
        for text in table or ():
            name, _, pattern = text.rpartition("=")
            if partial and not is_there(pattern):
                continue
            read[name] = tables.read_arrow(pattern)
            tables.write_arrow(folder / f"{name}.parquet", read[name])
            write_csv(read[name], folder / f"{name}.csv")
        write_columns(read, folder / "columns.csv")
        for text in network or ():
            _, _, pattern = text.rpartition("=")
            if partial and not is_there(pattern):
                continue
            for path in find(pattern, what="network"):
                shutil.copyfile(path, folder / path.name)


if __name__ == "__main__":
    cli.run(main)
