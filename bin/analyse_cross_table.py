#!/usr/bin/env python3
"""CrossTableOperation: combine one column of two tables, cell by cell."""

from enum import StrEnum
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, tables
from cytoloom.errors import BadData, UsageError

KEY = ["position", "frame", "label"]


class Operation(StrEnum):
    """What is done with the two values."""

    divide = "divide"
    multiply = "multiply"
    add = "add"
    subtract = "subtract"


COMBINE = {
    Operation.divide: np.divide,
    Operation.multiply: np.multiply,
    Operation.add: np.add,
    Operation.subtract: np.subtract,
}


def partner_values(first, second, column):
    """Return the column of ``second`` for each row of ``first``, NaN where there is none.

    Parameters
    ----------
    first, second : DataFrame
        With the columns of ``KEY``; rows of one object have the same key, in any order.
    column : str

    Raises
    ------
    BadData
        If an object stands twice in ``second``.
    """
    doubles = second.duplicated(KEY)
    if doubles.any():
        row = second[doubles].iloc[0]
        where = ", ".join(f"{name} {row[name]}" for name in KEY)
        raise BadData(f"second table: {where} stands twice; give a table of one channel")
    found = first[KEY].merge(second[[*KEY, column]], on=KEY, how="left", validate="many_to_one")
    return found[column].astype("Float64").to_numpy(np.float64, na_value=np.nan)


def combine(first, second, operation):
    """Combine two arrays of float64 value by value; what is not finite is NaN."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        result = COMBINE[operation](first, second)
    return np.where(np.isfinite(result), result, np.nan)


def unit_of(operation, unit):
    """Return the unit of the result of an operation on two values of one unit."""
    if operation is Operation.divide or not unit:
        return ""
    return f"{unit} x {unit}" if operation is Operation.multiply else unit


def main(
    table: cli.Tables,
    out_table: cli.OutTable,
    column: Annotated[str, typer.Option(help="column of both tables; pyCyto's names are known")],
    operation: Annotated[
        Operation, typer.Option(help="first table's value (operation) second table's value")
    ] = Operation.divide,
) -> None:
    """Combine one column of two tables: the first table with a column ``<column>_<operation>``.

    Cells are matched by position, frame and label, not by row. A cell that the second table
    does not have, and a division by zero, give a null.
    """
    if len(table) != 2:
        raise UsageError(f"--table must be given twice, not {len(table)} times")
    first, second = (tables.read_table(path) for path in table)
    numbers = []
    for cells, path in zip((first, second), table, strict=True):
        name = tables.column_name(column, list(cells))
        if cells[name].dtype.kind not in "iufb":
            raise BadData(f"{path}: column {name!r} does not hold numbers")
        numbers.append(name)
    outlines = [set(cells["label_channel"]) for cells in (first, second)]
    if all(outlines) and outlines[0] != outlines[1]:
        cli.log.warning(
            "the cells come from different label images (%s; %s): the same number need not be "
            "the same cell", ", ".join(sorted(outlines[0])), ", ".join(sorted(outlines[1])),
        )  # fmt: skip
    ours = first[numbers[0]].astype("Float64").to_numpy(np.float64, na_value=np.nan)
    theirs = partner_values(first, second, numbers[1])
    missing = int(np.isnan(theirs).sum())
    if missing:
        cli.log.info("%d of %d cells have no value in the second table", missing, len(first))
    units = tables.units(table[0])
    made = f"{column}_{operation}"
    first[made] = combine(ours, theirs, operation)
    units[made] = unit_of(operation, units.get(numbers[0], ""))
    tables.write_table(out_table, first, first.attrs["kind"], units=units)


if __name__ == "__main__":
    cli.run(main)
