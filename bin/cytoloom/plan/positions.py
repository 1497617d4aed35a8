"""Positions and preflight: what the run will read, from headers, before any work.

What the pipeline names (``given``) is opened, headers only. For every channel the
preflight says shape, type, pixel size, frame interval, where each value comes from, and
what is missing. A value in the sample sheet wins over the YAML, the YAML over the file;
what nobody says is assumed (1 um, 1 s) with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cytoloom.errors import BadData, CytoloomError, InputMissing
from cytoloom.ingest import check_dtype
from cytoloom.plan.given import Given, givens_of
from cytoloom.plan.model import Pipeline
from cytoloom.regions import Shape
from cytoloom.selection import Selection
from cytoloom.sources import Source, open_source


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

    @property
    def selected(self) -> str:
        """The part of the user's stack that is worked on, as text; empty where it is whole."""
        for one in self.inputs:
            if one.source is not None and one.selection is not None:
                whole = one.selection.shape == one.source.shape
                return "" if whole else str(one.selection)
        return ""


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
    for name, givens in givens_of(pipeline).items():
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
        raise (InputMissing if absent else BadData)("\n".join(dict.fromkeys(problems)))
    for position in positions:
        warnings += position.notes
    return positions, warnings


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
        if pipeline.image_range:
            warnings.append(
                f"{given.path}: a table is not cut by image_range: its frames and pixels are taken "
                "as those of the chosen part"
            )
        return Opened(given, None, None)
    try:
        source = open_source(given.path, axes=given.axes, scene=given.scene)
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
    return Opened(given, source, Selection.of(ranges, source.shape).of_planes(given.z))


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
