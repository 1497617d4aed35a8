"""What a pipeline names as input: per position the images, label images and tables.

They come from ``channels``, ``labels`` and ``tables`` (one position), or from ``input``: a
sample sheet, positions written out in the YAML, or files that each are one position
with all channels. Nothing is opened here.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytoloom.errors import BadData, InputMissing
from cytoloom.plan.model import Pipeline, unique
from cytoloom.sources import expand

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


def givens_of(pipeline: Pipeline) -> dict[str, list[Given]]:
    """Return the inputs by the name of their position.

    Raises
    ------
    BadData, InputMissing
        With one line for each mistake in the sample sheet.
    """
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
    problems += _mismatches(found, pipeline)
    if problems:
        raise BadData("\n".join(problems))
    return found


def _mismatches(found: Mapping[str, Sequence[Given]], pipeline: Pipeline) -> list[str]:
    """Say what each position lacks, has twice, or has although the YAML does not list it."""
    problems = []
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
    return problems


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
