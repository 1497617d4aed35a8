"""What a pipeline names as input: per position the images, label images and tables.

They come from ``channels``, ``labels`` and ``tables`` (one position), or from ``input``: a
sample sheet, positions written out in the YAML, or files that hold all channels. A file
that holds several fields of view gives a position for each, named by its number; only
for these the files are looked into.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from cytoloom.errors import BadData, CytoloomError, InputMissing
from cytoloom.plan.model import Pipeline
from cytoloom.positions import parse_fovs
from cytoloom.sources import SPLIT, SUFFIXES, Scene, expand, scenes_of
from cytoloom.zarr_files import is_zarr

SHEET_COLUMNS = (
    "position", "channel", "path", "source_channel", "axes",
    "pixel_size", "pixel_size_z", "frame_interval", "kind", "fovs", "z",
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
    scene: int | None = None  # index in the file; None: it holds only one
    z: str | None = None  # all, a plane, or a projection


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
    where = f"{pipeline.path}:{pipeline.input.line}"
    if pipeline.input.files and (pipeline.labels or pipeline.tables):
        raise BadData(f"{where}: input: labels and tables of many positions need a sample sheet")
    rows = [(where, row) for row in pipeline.input.rows]
    rows += [(f"{where}: input", {"path": file}) for file in pipeline.input.files]
    return _from_rows(rows, pipeline, pipeline.path.parent)


def _from_channels(pipeline: Pipeline) -> list[Given]:
    def at(line: int, key: str) -> str:
        return f"{pipeline.path}:{line}: {key}"

    givens = [
        Given(
            c.name, c.path, source_channel=c.channel, axes=c.axes,
            where=at(c.line, f"channels.{c.name}"), scene=c.fov, z=c.z,
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
        if "path" not in cells or ("position" not in cells and "channel" in cells):
            problems.append(f"{where}: position and path are needed")
            continue
        channels = [cells["channel"]] if "channel" in cells else list(pipeline.channels)
        try:
            for name, file, scene in _scenes(where, cells, folder, found):
                for channel in channels:
                    given = _row(where, cells, str(channel), file, scene, pipeline)
                    found.setdefault(name, []).append(given)
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


def _scenes(
    where: str, cells: Mapping[str, Any], folder: Path, taken: Mapping[str, Sequence[Given]]
) -> list[tuple[str, str, int | None]]:
    """Return the positions that a row stands for: name, file, index in a file of several.

    A row without a name stands for every position of its files that no row before it has.
    """
    path, name = _one_of_split(_resolve(str(cells["path"]), folder)), cells.get("position")
    wanted = _numbers(where, cells["fovs"]) if "fovs" in cells else None
    one = str(cells.get("kind", "image")) == "table" or "://" in path
    here = Path(path)
    folder_of_files = here.is_dir() and not is_zarr(here)
    if name is not None and (one or folder_of_files or not (here.exists() or wanted)):
        return [(str(name).replace("{fov}", "000"), path, None)]
    found: dict[str, tuple[str, int | None]] = {}
    used = {(given.path, given.scene) for givens in taken.values() for given in givens}
    for file in [path] if name is not None or one else _files(where, path):
        there = _scenes_in(where, str(file), wanted)
        chosen = {
            scene.number: (scene.path, scene.inside if len(there) > 1 else None)
            for scene in there
            if wanted is None or scene.number in wanted
        }
        if name is None:  # the files of a split set stand for each other
            chosen = {number: place for number, place in chosen.items() if place not in used}
        alone = len(there) == 1 or (name is not None and len(chosen) == 1)
        named = partial(_named, chosen, alone=alone)
        if name is not None:
            found |= named(str(name))
        else:
            stem = _stem(file)
            bases = (stem if i == 1 else f"{stem}_{i}" for i in count(1))
            found |= next(n for n in map(named, bases) if not n.keys() & {*taken, *found})
        used.update(chosen.values())
    return [(key, *place) for key, place in found.items()]


def _named(
    chosen: Mapping[int, tuple[str, int | None]], base: str, *, alone: bool
) -> dict[str, tuple[str, int | None]]:
    """Name positions by their number, or by ``base`` alone."""
    template = base if alone or "{fov}" in base else f"{base}_{{fov}}"
    return {template.replace("{fov}", f"{n:03d}"): place for n, place in chosen.items()}


def _one_of_split(path: str) -> str:
    """Return one file of a set of scenes where a glob names such a set: it stands for all."""
    try:
        files = [] if "://" in path or Path(path).exists() else expand(path)
    except InputMissing:
        return path
    found = {match and match[1] for match in (SPLIT.fullmatch(file.name) for file in files)}
    return str(files[0]) if len(found) == 1 and None not in found else path


def _files(where: str, path: str) -> list[str]:
    try:
        return [str(file) for file in expand(path, suffixes=SUFFIXES)]
    except InputMissing as error:
        if Path(path).is_dir():
            raise InputMissing(f"{where}: {error}") from error
        return [path]  # said where it is opened


def _numbers(where: str, value: Any) -> list[int]:
    try:
        return parse_fovs(str(value) if type(value) is int else value)
    except ValueError as error:
        raise BadData(f"{where}: fovs: {error}") from error


def _scenes_in(where: str, file: str, wanted: Sequence[int] | None) -> list[Scene]:
    """Return all positions of a file; of a missing one those that are asked for."""
    try:
        there = scenes_of(file)
    except InputMissing:  # said where it is opened
        return [Scene(file, n, n) for n in wanted or [0]]
    except CytoloomError as error:
        raise type(error)(f"{where}: {error}") from error
    missing = sorted(set(wanted or ()) - {scene.number for scene in there})
    if missing:
        numbers = [scene.number for scene in there]
        last = f" to {max(numbers)}" if len(numbers) > 1 else ""
        raise BadData(
            f"{where}: fovs: {file} has no position {missing[0]} (there are {len(numbers)}: "
            f"{min(numbers)}{last})"
        )
    return there


def _stem(file: str) -> str:
    """Return the name of a file up to its first dot, without the number of a scene."""
    split = SPLIT.fullmatch(Path(file).name)
    return (split[1] if split else Path(file).name).split(".")[0]


def _row(
    where: str,
    cells: Mapping[str, Any],
    channel: str,
    file: str,
    scene: int | None,
    pipeline: Pipeline,
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
        path=file,
        kind=kind,
        source_channel=cells.get("source_channel", inside),
        axes=cells.get("axes", declared.axes if declared else None),
        pixel_size=(number("pixel_size_z"), size, size),
        frame_interval=number("frame_interval"),
        where=where,
        scene=scene,
        z=str(cells["z"]) if "z" in cells else declared.z if declared else None,
    )


def _resolve(path: str, folder: Path) -> str:
    return path if Path(path).is_absolute() or "://" in path else str(folder / path)
