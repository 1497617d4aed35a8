"""Positions and preflight: what the run will read, from headers, before any work.

Positions come from ``channels:`` (one position) or from ``input:`` (a sample sheet, rows in
the YAML, or files that each are one position with all channels). For every channel the
preflight says shape, type, pixel size, frame interval, where each value comes from, and
what is missing. A value in the sample sheet wins over the YAML, the YAML over the file;
what nobody says is assumed (1 um, 1 s) with a warning.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cytoloom.errors import BadData, CytoloomError, InputMissing
from cytoloom.ingest import check_dtype
from cytoloom.plan.model import Pipeline, unique
from cytoloom.regions import Shape
from cytoloom.selection import Selection
from cytoloom.sources import Source, expand, open_source

SHEET_COLUMNS = (
    "position", "channel", "path", "source_channel", "axes",
    "pixel_size", "pixel_size_z", "frame_interval", "kind",
)  # fmt: skip
KINDS = ("image", "label", "table")


@dataclass(frozen=True)
class Given:
    """One input of a position: a channel's images, labels or table."""

    channel: str
    path: str
    kind: str = "image"
    source_channel: str | int | None = None
    axes: str | None = None
    pixel_size: tuple[float | None, float | None, float | None] = (None, None, None)
    frame_interval: float | None = None
    where: str = ""


@dataclass
class Opened:
    """An input whose header has been read."""

    given: Given
    source: Source | None
    selection: Selection | None


@dataclass
class PositionSource:
    """A position with its inputs and calibration."""

    name: str
    inputs: list[Opened]
    shape: Shape
    pixel_size: tuple[float, float, float]
    frame_interval: float | None
    notes: list[str] = field(default_factory=list)


def find_positions(
    pipeline: Pipeline, *, assume_shape: Shape | None = None, lenient: bool = False
) -> tuple[list[PositionSource], list[str]]:
    """Open every input of a pipeline.

    Parameters
    ----------
    assume_shape
        Shape (T, Z, Y, X) of inputs that are absent, in a dry run.
    lenient
        Absent inputs are warnings (dry run), not errors.

    Returns
    -------
    positions, warnings

    Raises
    ------
    BadData, InputMissing
        All problems of all inputs, one per line.
    """
    problems: list[str] = []
    absent = True  # nothing but missing files is wrong
    warnings: list[str] = []
    positions = []
    for name, givens in _givens(pipeline).items():
        opened = []
        for given in givens:
            try:
                opened.append(_open(given, pipeline, assume_shape, lenient, warnings))
            except CytoloomError as error:
                absent &= isinstance(error, InputMissing)
                problems.append(f"{given.where}: {error}" if given.where else str(error))
        if not problems:
            try:
                positions.append(_calibrate(name, opened, pipeline))
            except CytoloomError as error:
                absent = False
                problems.append(str(error))
    if problems:
        raise (InputMissing if absent else BadData)("\n".join(problems))
    for position in positions:
        warnings += position.notes
    return positions, warnings


def _givens(pipeline: Pipeline) -> dict[str, list[Given]]:
    if pipeline.input is None:
        name = "p1"
        return {name: _from_channels(pipeline)}
    if pipeline.input.sheet is not None:
        return _from_rows(_read_sheet(pipeline.input.sheet), pipeline, pipeline.input.sheet.parent)
    if pipeline.input.rows:
        rows = [(f"{pipeline.path}:{pipeline.input.line}", row) for row in pipeline.input.rows]
        return _from_rows(rows, pipeline, pipeline.path.parent)
    return _from_files(pipeline)


def _from_channels(pipeline: Pipeline) -> list[Given]:
    def at(line: int, key: str) -> str:
        return f"{pipeline.path}:{line}: {key}"

    givens = [
        Given(
            c.name, c.path, source_channel=c.channel, axes=c.axes,
            where=at(c.line, f"channels.{c.name}"),
        )
        for c in pipeline.channels.values()
        if c.path
    ]  # fmt: skip
    for group, kind in ((pipeline.labels, "label"), (pipeline.tables, "table")):
        givens += [
            Given(g.name, g.path, kind, where=at(g.line, f"{kind}s.{g.name}"))
            for g in group.values()
            if g.path
        ]
    return givens


def _read_sheet(sheet: Path) -> list[tuple[str, Mapping[str, Any]]]:
    try:
        text = sheet.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputMissing(f"{sheet}: no such sample sheet") from error
    except OSError as error:
        raise BadData(f"{sheet}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadData(f"{sheet}: not UTF-8 text") from error
    first = text.split("\n", 1)[0]
    delimiter = next((d for d in "\t,;" if d in first), ",")
    try:
        cells = list(csv.reader(text.splitlines(), delimiter=delimiter))
    except csv.Error as error:
        raise BadData(f"{sheet}: not a sample sheet ({error})") from error
    lines = [(i, [c.strip() for c in row]) for i, row in enumerate(cells, 1) if any(row)]
    if len(lines) < 2:
        raise BadData(f"{sheet}: a sample sheet without rows")
    (_, names), *rows = lines
    for number, row in rows:
        if any(row[len(names) :]):
            raise BadData(f"{sheet}:{number}: more cells than the {len(names)} columns")
    return [(f"{sheet}:{number}", dict(zip(names, row, strict=False))) for number, row in rows]


def _from_rows(
    rows: Sequence[tuple[str, Mapping[str, Any]]], pipeline: Pipeline, folder: Path
) -> dict[str, list[Given]]:
    found: dict[str, list[Given]] = {}
    problems = []
    for where, row in rows:
        cells = {k: v for k, v in row.items() if k and v not in (None, "")}
        unknown = [k for k in cells if k not in SHEET_COLUMNS]
        if unknown:
            problems.append(
                f"{where}: unknown column {unknown[0]!r} (valid: {', '.join(SHEET_COLUMNS)})"
            )
        if "position" not in cells or "path" not in cells:
            problems.append(f"{where}: position and path are needed")
            continue
        channels = [cells["channel"]] if "channel" in cells else list(pipeline.channels)
        try:
            for channel in channels:
                given = _row(where, cells, str(channel), folder, pipeline)
                found.setdefault(str(cells["position"]), []).append(given)
        except BadData as error:
            problems.append(str(error))
    wanted = {
        *(("image", name) for name in pipeline.channels),
        *(("label", name) for name in pipeline.labels),
        *(("table", name) for name in pipeline.tables),
    }
    for position, givens in found.items():
        there = [(g.kind, g.channel) for g in givens]
        for kind, name in sorted(wanted - set(there)):
            problems.append(f"position {position}: no path for the {kind} of {name}")
        for kind, name in sorted({one for one in there if there.count(one) > 1}):
            problems.append(f"position {position}: two paths for the {kind} of {name}")
        for given in givens:
            if (given.kind, given.channel) not in wanted:
                key = {"image": "channels", "label": "labels", "table": "tables"}[given.kind]
                problems.append(f"{given.where}: {given.channel} is not listed in {key}:")
    if problems:
        raise BadData("\n".join(problems))
    return found


def _row(
    where: str, cells: Mapping[str, Any], channel: str, folder: Path, pipeline: Pipeline
) -> Given:
    def number(key: str) -> float | None:
        if key not in cells:
            return None
        try:
            value = float(cells[key])
        except (TypeError, ValueError) as error:
            raise BadData(f"{where}: {key}: {cells[key]!r} is not a number") from error
        if not 0 < value < np.inf:
            raise BadData(f"{where}: {key}: {cells[key]!r} is not a finite number above 0")
        return value

    size = number("pixel_size")
    kind = str(cells.get("kind", "image"))
    if kind not in KINDS:
        raise BadData(f"{where}: kind: {kind!r} is not one of {', '.join(KINDS)}")
    declared = pipeline.channels.get(channel) if kind == "image" else None
    inside = declared.channel if declared else None
    if inside == channel and "channel" in cells:  # its own file: the name is only ours
        inside = None
    return Given(
        channel=channel,
        path=_resolve(str(cells["path"]), folder),
        kind=kind,
        source_channel=cells.get("source_channel", inside),
        axes=cells.get("axes", declared.axes if declared else None),
        pixel_size=(number("pixel_size_z"), size, size),
        frame_interval=number("frame_interval"),
        where=where,
    )


def _resolve(path: str, folder: Path) -> str:
    return path if Path(path).is_absolute() or "://" in path else str(folder / path)


def _from_files(pipeline: Pipeline) -> dict[str, list[Given]]:
    assert pipeline.input is not None
    if pipeline.labels or pipeline.tables:
        where = f"{pipeline.path}:{pipeline.input.line}: input"
        raise BadData(f"{where}: labels and tables of many positions need a sample sheet")
    found: dict[str, list[Given]] = {}
    for pattern in pipeline.input.files:
        for path in expand(pattern):
            name = unique(path.name.split(".")[0], found)
            found[name] = [
                Given(
                    c.name, str(path), source_channel=c.name if c.channel is None else c.channel,
                    axes=c.axes,
                    where=f"{pipeline.path}:{pipeline.input.line}: input",
                )
                for c in pipeline.channels.values()
            ]  # fmt: skip
    return found


def _open(
    given: Given,
    pipeline: Pipeline,
    assume_shape: Shape | None,
    lenient: bool,
    warnings: list[str],
) -> Opened:
    if "://" in given.path:
        raise BadData(f"{given.path}: input from object stores is not supported yet; copy it")
    if given.kind == "table":
        if not Path(given.path).is_file():
            if not lenient:
                raise InputMissing(f"{given.path}: no such file")
            warnings.append(f"{given.path}: no such file")
        return Opened(given, None, None)
    try:
        source = open_source(given.path, axes=given.axes)
    except InputMissing as error:
        if not lenient:
            raise
        warnings.append(f"{error}; its shape is assumed")
        source = _assumed(given, assume_shape or (1, 1, 1024, 1024))
    source.channel_index(given.source_channel)
    if source.format != "assumed":
        check_dtype(source, kind=given.kind)
    warnings += source.notes
    ranges = {a: (s.start, s.stop, s.step) for a, s in pipeline.image_range.items()}
    return Opened(given, source, Selection.of(ranges, source.shape))


def _assumed(given: Given, shape: Shape) -> Source:
    def read(*_: Any) -> Any:
        raise InputMissing(f"{given.path}: no such file or folder")

    name = str(given.source_channel or 0)
    channels = tuple(str(i) for i in range(int(name) + 1)) if name.isdecimal() else (name,)
    return Source(
        (Path(given.path),), "assumed", shape, np.dtype(np.uint16), channels,
        (None, None, None), None, read,
    )  # fmt: skip


def _calibrate(name: str, opened: list[Opened], pipeline: Pipeline) -> PositionSource:
    images = [o for o in opened if o.source is not None and o.selection is not None]
    if not images:
        raise BadData(f"position {name}: no image or label image; a shape cannot be known")
    shape = images[0].selection.shape  # type: ignore[union-attr]
    for other in images[1:]:
        if other.selection.shape != shape:  # type: ignore[union-attr]
            raise BadData(
                f"{other.given.where}: {other.given.path}: shape {other.selection.shape} "  # type: ignore[union-attr]
                f"(t, z, y, x) differs from {shape} of {images[0].given.path}; "
                "all channels of a position must have one shape"
            )
    notes = [
        f"position {name}: image_range.{a} stops at {pipeline.image_range[a].stop}, beyond the "
        f"{size} that there are"
        for a, size in zip("tzyx", images[0].source.shape, strict=True)  # type: ignore[union-attr]
        if a in pipeline.image_range and (pipeline.image_range[a].stop or 0) > size
    ]
    steps = images[0].selection.steps  # type: ignore[union-attr]
    spacing = pipeline.spacing or ()
    written = (None,) * (3 - len(spacing)) + tuple(spacing)
    size = tuple(
        _choose(
            [
                ("sample sheet", [o.given.pixel_size[i] for o in images]),
                ("spacing", [written[i]]),
                ("file", [o.source.pixel_size[i] for o in images]),  # type: ignore[union-attr]
            ],
            f"position {name}: pixel size along {axis}",
            "um",
            notes,
            quiet=axis == "z" and shape[1] == 1,
        )
        for i, axis in enumerate("zyx")
    )
    interval = _choose(
        [
            ("sample sheet", [o.given.frame_interval for o in images]),
            ("frame_interval", [pipeline.frame_interval]),
            ("file", [o.source.frame_interval for o in images]),  # type: ignore[union-attr]
        ],
        f"position {name}: frame interval",
        "s",
        notes,
        quiet=shape[0] == 1,
    )
    z, y, x = (s * step for s, step in zip(size, steps[1:], strict=True))
    return PositionSource(name, opened, shape, (z, y, x), interval * steps[0], notes)


def _choose(
    places: Sequence[tuple[str, Sequence[float | None]]],
    what: str,
    unit: str,
    notes: list[str],
    *,
    quiet: bool,
) -> float:
    """Return the first value that some place gives; note a missing or contradicted one."""
    chosen: tuple[str, float] | None = None
    for place, values in places:
        for value in values:
            if value is None:
                continue
            if chosen is None:
                chosen = (place, value)
            elif abs(value - chosen[1]) > 0.01 * chosen[1] and not quiet:
                notes.append(
                    f"{what}: {chosen[0]} says {chosen[1]:g} {unit}, {place} says {value:g}; "
                    f"{chosen[1]:g} is used"
                )
                return chosen[1]
    if chosen is None:
        if not quiet:
            notes.append(f"{what}: nobody says; 1 {unit} is assumed")
        return 1.0
    return chosen[1]


def preflight(positions: Sequence[PositionSource]) -> list[dict[str, Any]]:
    """Return one row per input: what was found and what was assumed."""
    rows = []
    for position in positions:
        for opened in position.inputs:
            source, given = opened.source, opened.given
            missing = []
            if source is not None:
                if source.pixel_size[1] is None:
                    missing.append("pixel size")
                if source.frame_interval is None and source.shape[0] > 1:
                    missing.append("frame interval")
            rows.append(
                {
                    "position": position.name,
                    "channel": given.channel,
                    "kind": given.kind,
                    "path": given.path,
                    "files": len(source.files) if source else 1,
                    "format": source.format if source else "table",
                    "shape_tzyx": "x".join(map(str, source.shape)) if source else "",
                    "used_tzyx": "x".join(map(str, position.shape)) if source else "",
                    "dtype": str(source.dtype) if source else "",
                    "pixel_size_um": "x".join(f"{s:g}" for s in position.pixel_size),
                    "frame_interval_s": f"{position.frame_interval:g}",
                    "missing_in_file": ", ".join(missing),
                }
            )
    return rows
