"""What a run left in the input folder of the report, and how to read a little of it.

File names carry the position, step, channel and kind (see docs/architecture.md), so the
index is made from names alone. Tables are read column by column into numpy: numbers
that may be null come as float with NaN. The order of everything is that of the plan.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cytoloom.errors import BadData, InputMissing

NEEDED = ("version", "pipeline", "pipeline_text", "preflight", "warnings", "positions", "steps")
Columns = dict[str, NDArray[Any]]


def read_run(path: Path) -> dict[str, Any]:
    """Read the description of a run.

    Raises
    ------
    InputMissing, BadData
        If the file is missing, or is not what the plan writes.
    """
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputMissing(f"{path}: no such file; the plan writes it") from error
    except (ValueError, OSError) as error:
        raise BadData(f"{path}: not a description of a run ({error})") from error
    missing = [key for key in NEEDED if not isinstance(run, dict) or key not in run]
    if missing:
        raise BadData(f"{path}: not a description of a run: no {', '.join(missing)}")
    try:
        for place in run["positions"]:
            _ = (place["name"], place["slug"], list(place["shape"])[3], place["pixel_size"][2])
        for step in run["steps"]:
            _ = (step["tag"], step["slug"], step["name"], step["stage"], list(step["channels"]))
    except (KeyError, TypeError, IndexError) as error:
        raise BadData(f"{path}: a position or step is not complete ({error!r})") from error
    return dict(run)


@dataclass(frozen=True)
class Table:
    """All parts of one table of one position; ``kind`` is that of its schema."""

    position: str
    tag: str
    channel: str
    kind: str
    paths: tuple[Path, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        """Return the schema of the first part."""
        return pq.read_schema(self.paths[0])

    @cached_property
    def about(self) -> dict[str, Any]:
        """Return position, channel, pixel size and frame interval that travel with the table."""
        return dict(json.loads((self.schema.metadata or {}).get(b"cytoloom", b"{}")))

    @cached_property
    def rows(self) -> int:
        """Return the number of rows, from the footers."""
        return sum(pq.read_metadata(path).num_rows for path in self.paths)

    def first(self, column: str) -> Any:
        """Return the first value of a column, or None where there is none."""
        if column in self.schema.names:
            for path in self.paths:
                for batch in pq.ParquetFile(path).iter_batches(batch_size=1, columns=[column]):
                    if batch.num_rows:
                        return batch.column(0)[0].as_py()
        return None

    def read(self, *names: str) -> Columns:
        """Return columns; one that the table does not have is all NaN."""
        present = [name for name in names if name in self.schema.names]
        # Not read_table: it imports pyarrow.dataset, which takes longer than the reading.
        parts = [pq.ParquetFile(path).read(columns=present) for path in self.paths]
        table = pa.concat_tables(parts, promote_options="permissive")
        found = {name: _to_numpy(table.column(name)) for name in present}
        return {name: found.get(name, np.full(table.num_rows, np.nan)) for name in names}


def _to_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_string(column.type) or pa.types.is_list(column.type):
        values = np.empty(len(column), object)
        values[:] = column.to_pylist()
        return values
    if column.null_count:
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy())


@dataclass
class Inputs:
    """Index of the input folder.

    Attributes
    ----------
    tables : sorted by position and by the order of steps
    stores, networks : by the slug of the position
    fields : illumination fields (TIFF)
    provenance : all files of provenance
    problems : what could not be read, in words
    used : values (JSON) of all arguments by the slug of the step, once provenance is read
    summary : numbers, once they are counted
    """

    run: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    stores: dict[str, Path] = field(default_factory=dict)
    networks: dict[str, dict[tuple[str, str], list[Path]]] = field(default_factory=dict)
    fields: list[Path] = field(default_factory=list)
    provenance: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    used: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    _labels: dict[Table, str] = field(default_factory=dict)

    def of(self, *kinds: str, position: str | None = None) -> Iterator[Table]:
        """Yield tables of some kinds, of one position (slug) or of all."""
        for table in self.tables:
            if table.kind in kinds and position in (None, table.position):
                yield table

    def columns(self, kinds: Sequence[str] | str, *names: str) -> Iterator[tuple[Table, Columns]]:
        """Yield the columns of all tables of some kinds; unreadable tables are noted."""
        for table in self.of(*([kinds] if isinstance(kinds, str) else kinds)):
            try:
                yield table, table.read(*names)
            except (OSError, pa.ArrowException) as error:
                self.problems.append(f"{table.paths[0].name}: not readable ({error})")

    def label_channel(self, table: Table) -> str:
        """Return the label image that a table of cells was measured in."""
        if table not in self._labels:
            self._labels[table] = self._find_label_channel(table)
        return self._labels[table]

    def _find_label_channel(self, table: Table) -> str:
        found = table.first("label_channel")
        if found:
            return str(found)
        channel = str(table.about.get("channel") or table.channel)
        for step in self.run["steps"]:
            if step["slug"] == table.tag and step["stage"] == "label_to_sparse":
                pairs = {group[0]: group[-1] for group in step["channels"]}
                return str(pairs.get(channel, channel))
        return channel

    def measured(self, position: str) -> dict[str, Table]:
        """Return for each label image the first table in which its cells are listed."""
        found: dict[str, tuple[int, Table]] = {}
        for table in self.of("cells", "tracks", position=position):
            label = self.label_channel(table)
            own = 0 if table.about.get("channel") == label else 1
            if label not in found or self._before(table, own, found[label]):
                found[label] = (own, table)
        return {label: table for label, (_, table) in found.items()}

    def _before(self, table: Table, own: int, other: tuple[int, Table]) -> bool:
        return table.tag == other[1].tag and own < other[0]

    def tracked(self, position: str) -> dict[str, Table]:
        """Return for each label image its table of tracks: the last tracking step's."""
        linked = {t.tag for t in self.of("edges", position=position)}
        found: dict[str, Table] = {}
        for table in self.of("tracks", position=position):
            label = self.label_channel(table)
            if label not in found or table.tag in linked:
                found[label] = table
        return found

    def moving(self, position: str) -> dict[str, Table]:
        """Return for each label image the last table of tracks that has speeds."""
        return {
            self.label_channel(table): table
            for table in self.of("tracks", position=position)
            if "speed_um_per_s" in table.schema.names
        }


def index(folder: Path, run: dict[str, Any]) -> Inputs:
    """List the input folder.

    Raises
    ------
    InputMissing
        If there is no such folder.
    """
    if not folder.is_dir():
        raise InputMissing(f"{folder}: no such folder")
    inputs = Inputs(run)
    found: dict[tuple[str, str, str, str], list[Path]] = {}
    for path in sorted(folder.iterdir()):
        fields = path.name.split(".")
        if path.name.endswith(".provenance.json"):
            inputs.provenance.append(path)
        elif path.name.endswith(".ome.zarr"):
            inputs.stores[path.name.removesuffix(".ome.zarr")] = path
        elif len(fields) == 6 and fields[-1] == "parquet":
            found.setdefault((fields[0], fields[1], fields[2], fields[3]), []).append(path)
        elif len(fields) == 6 and fields[-1] == "tif":
            inputs.fields.append(path)
        elif len(fields) == 6 and fields[-1] == "graphml":
            networks = inputs.networks.setdefault(fields[0], {})
            networks.setdefault((fields[1], fields[2]), []).append(path)
    for (position, tag, channel, kind), paths in found.items():
        table = Table(position, tag, channel, kind, tuple(paths))
        try:
            real = str(table.about.get("kind", kind))
        except (OSError, ValueError, pa.ArrowException) as error:
            inputs.problems.append(f"{paths[0].name}: not a Parquet table of ours ({error})")
            continue
        inputs.tables.append(table if real == kind else _of_kind(table, real))
    order = {step["slug"]: place for place, step in enumerate(run["steps"])}
    places = {place["slug"]: number for number, place in enumerate(run["positions"])}
    inputs.tables.sort(key=lambda t: (places.get(t.position, len(places)), order.get(t.tag, -1)))
    return inputs


def _of_kind(table: Table, kind: str) -> Table:
    return Table(table.position, table.tag, table.channel, kind, table.paths)
