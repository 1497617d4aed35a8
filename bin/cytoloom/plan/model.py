"""A checked pipeline: frozen settings that the rest of the plan builds on.

A ``Layer`` names what one step made for one channel; a ``Group`` is one unit of work of a
step (a channel, pair or triple) with the layers that it reads and makes. Names of channels
and tags are the user's; ``slug`` and ``Pipeline.slugs`` hold their forms for file names
(letters, digits, _ and - only, unique, at most ``LONGEST_SLUG`` characters).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoloom.plan.nodes import Node
from cytoloom.plan.registry import Row

LONGEST_SLUG = 48
INGEST = "ingest"
RESERVED = (INGEST, "delivery", "report", "in", "out")


@dataclass(frozen=True)
class ChannelSource:
    """Where a channel comes from: a path or glob, and a channel of a multi-channel file."""

    name: str
    path: str | None  # absolute, or a URL; None: from ``Pipeline.input``
    channel: int | str | None  # index or name within the file
    line: int
    axes: str | None = None  # where the file's own are wrong
    fov: int | None = None  # which position of a file that holds several
    z: str | None = None  # all, a plane, or a projection


@dataclass(frozen=True)
class GivenResult:
    """An existing label image or table of a channel."""

    name: str
    path: str | None  # None: from the sample sheet
    line: int


@dataclass(frozen=True)
class InputSource:
    """Many positions: a sample sheet, files, or rows written in the YAML."""

    sheet: Path | None = None
    files: tuple[str, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    line: int = 1


@dataclass(frozen=True)
class Slice:
    """A part of an axis; ``stop`` None means to the end."""

    start: int = 0
    stop: int | None = None
    step: int = 1


@dataclass(frozen=True)
class Patching:
    """How a field of view is cut: ``count`` patches along (y, x), those of them to do."""

    count: tuple[int, int] = (1, 1)
    patches: tuple[int, ...] | None = None  # row by row from 0; None: all
    overlap: int | None = None  # px; None: what the step needs


@dataclass(frozen=True)
class Layer:
    """What one step (or ``ingest``) made for one channel."""

    channel: str
    kind: str
    tag: str  # the step's slug, or "ingest"


@dataclass(frozen=True)
class Group:
    """One unit of work: its channels, the layers read by role and those made by role."""

    channels: tuple[str, ...]
    output_channel: str
    inputs: Mapping[str, tuple[Layer, ...]]
    outputs: Mapping[str, Layer]


@dataclass(frozen=True)
class Step:
    """One step, checked; ``lines`` has the line of each key that the user wrote."""

    index: int  # 1 for the first step
    name: str
    tag: str
    slug: str
    stage: str
    row: Row
    groups: tuple[Group, ...]
    args: Mapping[str, Any]  # only what the user gave, checked
    takes: Mapping[str, frozenset[str]]  # the names of the arguments of each executable
    input_type: tuple[str, ...]
    output_type: tuple[str, ...]
    output_channel_name: tuple[str, ...]
    output: bool
    line: int
    lines: Mapping[str, int]

    def args_of(self, executable: str) -> dict[str, Any]:
        """Return those of the arguments that one of the step's executables takes."""
        return {k: v for k, v in self.args.items() if k in self.takes.get(executable, ())}

    @property
    def channels(self) -> tuple[tuple[str, ...], ...]:
        """The channels of each group."""
        return tuple(group.channels for group in self.groups)


@dataclass(frozen=True)
class Pipeline:
    """A whole pipeline YAML, checked and resolved."""

    path: Path
    description: str | None
    channels: Mapping[str, ChannelSource]
    labels: Mapping[str, GivenResult]
    tables: Mapping[str, GivenResult]
    input: InputSource | None
    image_range: Mapping[str, Slice]  # axes x, y, z, t; an axis left out is whole
    spacing: tuple[float, ...] | None  # um per px: (y, x) or (z, y, x)
    frame_interval: float | None  # s
    output_dir: Path
    patching: Patching
    steps: tuple[Step, ...]  # up to and including --until
    start: int  # index into ``steps`` of the first to run (--from), usually 0
    slugs: Mapping[str, str]  # channel name -> name in files
    all_steps: tuple[Step, ...] = ()  # those after --until included
    warnings: tuple[str, ...] = ()
    fiji_dir: str | None = None  # where the user's Java jars are
    execution_profile: str | None = None  # of the container profiles in the resource YAML
    config: str | None = None  # PyAMA's processing_config.yaml as it saves it, if it was given one

    def step(self, tag: str) -> Step | None:
        """Return the step of a tag."""
        return next((step for step in self.steps if step.tag == tag), None)


@dataclass(frozen=True)
class Overrides:
    """What the command line says over the YAML."""

    output_dir: Path | None = None
    input: str | None = None
    until: str | None = None
    from_tag: str | None = None
    dry_run: bool = False
    launch_dir: Path = field(default_factory=Path.cwd)
    edit: Callable[[Node], Node] | None = None  # what a sweep changes in the YAML


def slugs(names: Iterable[str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """Map names to unique names for files (unique also where upper and lower case are one)."""
    taken = {name.casefold() for name in reserved}
    made = {}
    for name in names:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        base = re.sub(r"[^A-Za-z0-9_-]+", "_", plain)[:LONGEST_SLUG].strip("_-") or "unnamed"
        slug, count = base, 1
        while slug.casefold() in taken:
            count += 1
            slug = f"{base}_{count}"
        taken.add(slug.casefold())
        made[name] = slug
    return made


def unique(name: str, taken: Iterable[str]) -> str:
    """Return ``name``, or ``name_2``, ``name_3`` … where it is taken."""
    used, candidate, count = set(taken), name, 1
    while candidate in used:
        count += 1
        candidate = f"{name}_{count}"
    return candidate
