#!/usr/bin/env python3
"""FeatureFilter: keep the rows of a table whose column meets a condition."""

import operator
from enum import StrEnum
from typing import Annotated

import typer

from cytoloom import cli, tables
from cytoloom.errors import BadData, UsageError


class Operation(StrEnum):
    """How a value is compared."""

    less = "<"
    greater = ">"
    equal = "=="
    different = "!="
    at_most = "<="
    at_least = ">="


COMPARE = {
    Operation.less: operator.lt,
    Operation.greater: operator.gt,
    Operation.equal: operator.eq,
    Operation.different: operator.ne,
    Operation.at_most: operator.le,
    Operation.at_least: operator.ge,
}


def meets(values, operation, value):
    """Compare each value with a number or a text; a null never meets a condition.

    Parameters
    ----------
    values : Series
        Numbers, true and false (1 and 0), or texts.
    operation : Operation
    value : float or str

    Returns
    -------
    Series of bool

    Raises
    ------
    BadData
        If numbers are compared with a text, or texts with a number.
    """
    from pandas.api import types

    numbers = types.is_numeric_dtype(values.dtype)
    if not numbers and not types.is_string_dtype(values.dropna()):
        raise BadData(f"column {values.name!r} holds lists: filter by another column")
    if numbers == isinstance(value, str):
        held, instead = ("numbers", "--value") if numbers else ("text", "--text")
        raise BadData(f"column {values.name!r} holds {held}: give {instead}, not {value!r}")
    return (COMPARE[operation](values, value) & values.notna()).fillna(False).astype(bool)


def main(
    table: cli.Table,
    out_table: cli.OutTable,
    column: Annotated[str, typer.Option(help="column to look at; pyCyto's names are known")],
    operation: Annotated[Operation, typer.Option(help="comparison with the value")],
    value: Annotated[
        float | None, typer.Option(help="number to compare with [unit of the column]")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="text to compare with, for columns of text")
    ] = None,
) -> None:
    """Keep the cells whose column meets a condition, such as ``area > 100``.

    Cells that have no value in the column are left out. The table keeps its kind and columns.
    """
    if (value is None) == (text is None):
        raise UsageError("give either --value (a number) or --text")
    cells = tables.read_table(table)
    chosen = meets(cells[tables.column_name(column, list(cells))], operation,
                   text if value is None else value)  # fmt: skip
    kept = cells[chosen]
    kept.attrs = cells.attrs
    cli.log.info("%d of %d rows kept", len(kept), len(cells))
    if empty := int(cells[tables.column_name(column, list(cells))].isna().sum()):
        cli.log.warning("%d rows have no value in %s and are left out", empty, column)
    tables.write_table(out_table, kept, cells.attrs["kind"], units=tables.units(table))


if __name__ == "__main__":
    cli.run(main)
