#!/usr/bin/env python3
"""Join the parts of a table, of any kind, into one that is sorted by key.

Parts that hold different frames are joined one after the other, so memory holds the
rows of one batch of frames at a time, not the whole table.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cytoloom import cli, tables
from cytoloom.errors import BadData
from cytoloom.files import find, writing
from cytoloom.schemas import KEYS


def check_keys(table: pa.Table, key: Sequence[str], *, what: str) -> None:
    """Raise BadData if two neighbouring rows of a table sorted by ``key`` have the same key."""
    if table.num_rows < 2 or not key:
        return
    same = None
    for name in key:
        column = table[name].combine_chunks()
        # A null key equals another null.
        equal = pc.or_(
            pc.fill_null(pc.equal(column[1:], column[:-1]), False),
            pc.and_(pc.is_null(column[1:]), pc.is_null(column[:-1])),
        )
        same = equal if same is None else pc.and_(same, equal)
    doubles = pc.sum(same).as_py()
    if doubles:
        row = table.slice(pc.index(same, True).as_py(), 1)
        where = ", ".join(f"{name} {row[name][0].as_py()}" for name in key)
        raise BadData(
            f"{what}: {doubles} rows have the key of another row, first at {where}; a part was "
            "given twice, two regions overlap, or a label has separate pieces in a large frame"
        )


def batches(paths: Sequence[Path], key: Sequence[str]) -> list[list[Path]]:
    """Group the parts so that all rows of a group come before those of the next.

    Parts are sorted by key; parts without rows are left out.
    """
    spans = []
    for path in paths:
        lead = pq.read_table(path, columns=list(key[:2]), partitioning=None)
        if lead.num_rows:
            first, last = (
                tuple((v is not None, v) for v in lead.slice(i, 1).to_pylist()[0].values())
                for i in (0, lead.num_rows - 1)
            )
            spans.append((first, last, path))
    groups: list[list[Path]] = []
    reach = None
    for first, last, path in sorted(spans, key=lambda span: (span[0], str(span[2]))):
        if reach is None or first > reach:
            groups.append([])
            reach = last
        groups[-1].append(path)
        reach = max(reach, last)
    return groups


def common_schema(paths: Sequence[Path]) -> pa.Schema:
    """Return the schema that holds the columns of all parts, with the metadata of the first.

    Raises
    ------
    BadData
        If a part is not one of our tables, or of another kind than the first.
    """
    schemas = []
    for path in paths:
        try:
            schemas.append(pq.read_schema(path))
        except (pa.ArrowException, OSError) as error:
            raise BadData(f"{path}: not a Parquet table ({error})") from error
    kinds = [tables.kind_of(schema.empty_table()) for schema in schemas]
    for path, kind in zip(paths, kinds, strict=True):
        if kind != kinds[0]:
            raise BadData(f"{path}: a table of kind {kind!r}, but {paths[0]} is {kinds[0]!r}")
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    return schema.with_metadata(schemas[0].metadata)


def main(table: cli.Table, out_cells: cli.OutTable) -> None:
    """Join the parts of a table, of any kind, and sort its rows by the key of that kind.

    No two rows may have the same key.
    """
    paths = find(table, what="table")
    schema = common_schema(paths)
    key = KEYS[tables.kind_of(schema.empty_table())]
    groups = batches(paths, key) if key else [list(paths)]
    with (
        writing(out_cells) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        if not groups:
            writer.write_table(schema.empty_table())
        for group in cli.progress(groups, "batches"):
            parts = [schema.empty_table(), *(tables.read_arrow(path) for path in group)]
            joined = pa.concat_tables(parts, promote_options="permissive")
            if key:
                joined = joined.sort_by([(name, "ascending") for name in key])
            check_keys(joined, key, what=table)
            writer.write_table(joined.cast(schema))


if __name__ == "__main__":
    cli.run(main)
