"""Tables as Parquet with a declared schema per kind, units in the field metadata.

Each kind lists its columns with type, unit and meaning; writing checks and orders
them, keeps further columns after them, and gives an empty table its full schema.
Rows are sorted by the kind's key. Reading joins all parts of a layer. Position,
channel, pixel size and frame interval travel in the file's metadata and are found
in ``DataFrame.attrs``. Declared columns that may be null come back as pandas'
nullable types, so a missing ``track_id`` is never a float.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cytoloom.errors import BadData
from cytoloom.files import find, writing
from cytoloom.schemas import KEYS, PYCYTO_COLUMNS, SCHEMAS

if TYPE_CHECKING:
    import pandas as pd

    from cytoloom.images import Layer

ATTRIBUTES = ("position", "channel", "pixel_size", "frame_interval", "pixels", "odd")


def describe(layer: Layer) -> dict[str, Any]:
    """Return the attributes that a table measured on ``layer`` carries in ``DataFrame.attrs``."""
    return {
        "position": layer.position,
        "channel": layer.channel,
        "pixel_size": list(layer.pixel_size),
        "frame_interval": layer.frame_interval,
    }


def write_table(
    path: Path | str,
    frame: pd.DataFrame,
    kind: str,
    *,
    units: dict[str, str] | None = None,
) -> None:
    """Write a table, whole or not at all.

    Parameters
    ----------
    path
        File to make.
    frame : DataFrame
        Columns of the kind, in any order, and further ones; ``attrs`` go into the metadata.
    kind
        A key of ``SCHEMAS``.
    units
        Units of further columns.

    Raises
    ------
    BadData
        If a column that may not be null is missing or holds nulls, or a value does not
        fit its type.
    """
    write_arrow(path, to_arrow(frame, kind, units=units))


def write_arrow(path: Path | str, table: pa.Table) -> None:
    """Write an Arrow table of ours, whole or not at all."""
    with writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def to_arrow(frame: pd.DataFrame, kind: str, *, units: dict[str, str] | None = None) -> pa.Table:
    """Return ``frame`` as an Arrow table with the schema and key order of ``kind``."""
    columns = {str(name): frame[name] for name in frame.columns}
    return from_columns(columns, kind, about=frame.attrs, units=units)


def from_columns(
    columns: Mapping[str, Any],
    kind: str,
    *,
    about: Mapping[Any, Any],
    units: dict[str, str] | None = None,
) -> pa.Table:
    """Return columns of equal length as an Arrow table with the schema and key order of ``kind``.

    As `write_table`, but ``about`` takes the place of ``DataFrame.attrs``, and a text as a
    column stands for a column of that text. Where the columns are numpy arrays of the declared
    types, pandas, which takes a second to import, is not needed.
    """
    schema = SCHEMAS[kind]
    rows = next((len(values) for values in columns.values() if not isinstance(values, str)), 0)
    columns = {k: _repeat(v, rows) if isinstance(v, str) else v for k, v in columns.items()}
    arrays, fields = [], []
    for field in schema:
        if field.name in columns:
            values = _convert(columns[field.name], field, kind)
        elif field.nullable or not rows:
            values = pa.nulls(rows, field.type)
        else:
            raise BadData(f"table {kind}: column {field.name!r} is missing")
        if values.null_count and not field.nullable:
            raise BadData(f"table {kind}: column {field.name!r} holds {values.null_count} nulls")
        arrays.append(values)
        fields.append(field)
    for name, column in columns.items():
        if name not in schema.names:
            values = pa.array(column, from_pandas=True)
            if isinstance(values, pa.ChunkedArray):
                values = values.combine_chunks()
            arrays.append(values)
            metadata = {"unit": (units or {}).get(name, "")}
            fields.append(pa.field(name, values.type, metadata=metadata))
    header = {"kind": kind} | {k: about[k] for k in ATTRIBUTES if k in about}
    table = pa.Table.from_arrays(
        arrays, schema=pa.schema(fields, metadata={"cytoloom": json.dumps(header)})
    )
    return table.sort_by([(k, "ascending") for k in KEYS[kind]]) if KEYS[kind] else table


def _repeat(text: str, rows: int) -> pa.Array:
    letters = text.encode()
    ends = np.arange(rows + 1, dtype=np.int32) * np.int32(len(letters))
    return pa.StringArray.from_buffers(rows, pa.py_buffer(ends), pa.py_buffer(letters * rows))


def _from_numpy(values: NDArray[Any], type_: pa.DataType) -> pa.Array:
    """Return numbers of exactly the Arrow type as an array; NaN becomes null."""
    valid = None
    if values.dtype.kind == "f" and (broken := np.isnan(values)).any():
        valid = pa.py_buffer(np.packbits(~broken, bitorder="little"))
    buffers = [valid, pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(type_, values.size, buffers)


def _convert(column: Any, field: pa.Field, kind: str) -> pa.Array:
    if isinstance(column, pa.Array) and column.type == field.type:
        return column
    plain = isinstance(column, np.ndarray) and column.dtype.kind in "iuf"
    if plain and pa.from_numpy_dtype(column.dtype) == field.type:
        return _from_numpy(column, field.type)
    try:
        values = pa.array(column, type=field.type, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise BadData(
            f"table {kind}: column {field.name!r} is not {field.type}: {error}"
        ) from error
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def read_arrow(pattern: Path | str, kind: str | Sequence[str] | None = None) -> pa.Table:
    """Read and join all parts of a table, sorted by key.

    Parameters
    ----------
    pattern
        Path or glob.
    kind
        The kind, or kinds, that the table must have.

    Raises
    ------
    InputMissing
        If nothing matches.
    BadData
        If a file is not one of our tables, or of another kind.
    """
    paths = find(pattern, what="table")
    parts = [_read_file(path) for path in paths]
    kinds = [kind_of(part) for part in parts]
    wanted = [kind] if isinstance(kind, str) else list(kind or [kinds[0]])
    for path, found in zip(paths, kinds, strict=True):
        if found not in wanted or found != kinds[0]:
            raise BadData(f"{path}: a table of kind {found!r}, not {' or '.join(wanted)}")
    table = parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="permissive")
    table = table.replace_schema_metadata(parts[0].schema.metadata)
    key = [(k, "ascending") for k in KEYS[kinds[0]]]
    return table.sort_by(key) if key and len(parts) > 1 else table


def read_table(pattern: Path | str, kind: str | Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table as a DataFrame; see `read_arrow`. ``attrs`` hold kind, position, pixel size."""
    import pandas as pd

    table = read_arrow(pattern, kind)
    nullable = {
        pa.int64(): pd.Int64Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    frame = pd.DataFrame(
        {
            field.name: column.to_pandas(types_mapper=nullable.get if field.nullable else None)
            for field, column in zip(table.schema, table.columns, strict=True)
        }
    )
    frame.attrs.update(metadata_of(table))
    return frame


def _read_file(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()  # read_table would import pyarrow.dataset
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"{path}: not a Parquet table ({error})") from error


def metadata_of(table: pa.Table) -> dict[str, Any]:
    """Return kind, position, channel, pixel size and frame interval of a table."""
    about = (table.schema.metadata or {}).get(b"cytoloom")
    return dict(json.loads(about)) if about else {}


def units(pattern: Path | str) -> dict[str, str]:
    """Return the units of a table's columns, further ones included."""
    found: dict[str, str] = {}
    for path in find(pattern, what="table"):
        for field in pq.read_schema(path):
            found.setdefault(field.name, (field.metadata or {}).get(b"unit", b"").decode())
    return found


def kind_of(table: pa.Table) -> str:
    """Return the kind of a table; raises BadData where it has none."""
    kind = metadata_of(table).get("kind")
    if kind not in SCHEMAS:
        raise BadData("not a table made by Cytoloom; bring other tables in with `tables:`")
    return str(kind)


def column_name(name: str, columns: Sequence[str]) -> str:
    """Return the column that a user means by ``name``: ours, or pyCyto's name for it.

    Raises
    ------
    BadData
        If there is none; the message gives the nearest name.
    """
    for candidate in (name, PYCYTO_COLUMNS.get(name, name)):
        if candidate in columns:
            return candidate
    near = difflib.get_close_matches(name, [*columns, *PYCYTO_COLUMNS], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise BadData(f"no column {name!r}{hint} (columns: {', '.join(columns)})")
