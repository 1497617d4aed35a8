"""The registry of steps: ``assets/steps.yaml`` as frozen rows, one per step name.

A row says what a step reads and makes, how it fans out and what it costs; a step's
arguments are not in it but in the signature of its executable (``arguments.py``).
A row of a method that is not part of this version has ``available: false`` and
``instead``. Mistakes in the registry are bugs of ours, not of the user: ``RegistryError``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

STEPS = Path(__file__).parents[3] / "assets" / "steps.yaml"
STAGES = (
    "preprocessing",
    "segmentation",
    "label_to_sparse",
    "tracking",
    "postprocessing",
    "evaluation",
)
CHANNELS = ("one", "pair", "triple", "many", "some", "image_label", "images_labels")
FAN_OUTS = ("patch", "frames", "position", "run")
TURNS = (None, "even", "odd")
BATCHES = ("frames", "patches")
STATISTICS = (None, "frame", "stack")
GPU = (None, "optional")
_TUPLES = ("input_type", "output_type", "aliases", "cite", "merge_makes", "merge_args", "whole",
           "files", "model_families")  # fmt: skip
_MAPPINGS = ("inputs", "outputs", "reads", "makes", "edited", "forms")


class RegistryError(Exception):
    """The registry itself is wrong."""


@dataclass(frozen=True)
class Phase:
    """A part of a step that has its own executable and its own cut of the work.

    Attributes
    ----------
    name
        As in the resource YAML; the process is named after it.
    reads
        Role to kind: of the step's inputs (by their role), or of what earlier phases made.
    whole
        Roles that each task reads whole, whatever its region.
    around
        Frames before and after its region that a task reads too.
    makes
        Role to kind.
    batch
        Argument that gives the frames per task; where it is not given, one task does all.
    turn
        ``even`` or ``odd``: only every second batch, counted from 0. A phase without any is
        left out.
    patched
        Only where frames are cut into patches.
    scope
        Argument that says how much a phase takes together: where it is ``run``, one task does
        all positions.
    unless
        Argument that takes the place of this phase: where it is given, there is no phase.
    resources
        Phase whose resources are this one's too, where the resource YAML says none of its own.
    """

    name: str
    executable: str
    tool: str
    family: str = "core"
    reads: Mapping[str, str] = field(default_factory=dict)
    whole: tuple[str, ...] = ()
    around: int = 0
    makes: Mapping[str, str] = field(default_factory=dict)
    fan_out: str = "position"
    statistics: str | None = None
    halo: Any = 0
    cores: int = 1
    bytes_per_voxel: float = 40
    seconds_per_voxel: float = 1e-7
    scope: str | None = None
    unless: str | None = None
    batch: str | None = None
    turn: str | None = None
    patched: bool = False
    resources: str | None = None


@dataclass(frozen=True)
class Row:
    """One step of the registry; the fields are described in ``assets/steps.yaml``."""

    name: str
    stage: str
    tool: str = ""
    executable: str = ""
    family: str = "core"
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    channels: str = "one"
    before: tuple[Phase, ...] = ()
    phase: str = "core"
    reads: Mapping[str, str] = field(default_factory=dict)
    whole: tuple[str, ...] = ()
    around: int = 0
    files: tuple[str, ...] = ()
    forms: Mapping[str, str] = field(default_factory=dict)
    edited: Mapping[str, str] = field(default_factory=dict)
    select: bool = False
    fan_out: str = "position"
    statistics: str | None = None
    halo: Any = 0
    stride: int = 1
    seams: bool = False
    merge: str | None = None
    merge_option: str | None = None
    merge_makes: tuple[str, ...] = ()
    merge_args: tuple[str, ...] = ()
    merge_always: bool = False
    tracked: int = 0
    relabel: str | None = None
    cores: int = 1
    gpu: str | None = None
    gpu_family: str | None = None
    variants: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    batch_size: str | None = None
    batch_of: str = "frames"
    model_families: tuple[str, ...] = ()
    memory_mb: int = 0
    frame_bytes_per_voxel: float = 0
    frame_voxels: int = 2**62
    bytes_per_voxel: float = 40
    seconds_per_voxel: float = 1e-7
    description: str = ""
    methods: str = ""
    cite: tuple[str, ...] = ()
    input_type: tuple[str, ...] = ()
    output_type: tuple[str, ...] = ()
    output_channel_name: str = "optional"
    aliases: tuple[str, ...] = ()
    may_fail: bool = False
    available: bool = True
    instead: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def phases(self) -> tuple[str, ...]:
        """The names under which the resource YAML may give resources for parts of the step."""
        found = (*(phase.name for phase in self.before), self.phase)
        found += ("number", "stitch") if self.seams else ()
        found += ("merge",) if self.merge else ()
        found += ("relabel",) if self.relabel else ()
        return found

    def resources_of(self, phase: str) -> str:
        """Return the phase whose resources are those of ``phase`` where it is given none."""
        if phase == "relabel":
            return self.phase
        return next((p.resources for p in self.before if p.name == phase and p.resources), phase)

    @property
    def core(self) -> Phase:
        """The phase of the step's own executable."""
        return Phase(
            self.phase,
            self.executable,
            self.tool,
            self.family,
            {role: kind for role, kind in self._reads.items() if kind},
            self.whole,
            self.around,
            {role: kind for role, kind in self.outputs.items() if role not in self._made_before},
            self.fan_out,
            self.statistics,
            self.halo,
            self.cores,
            self.bytes_per_voxel,
            self.seconds_per_voxel,
        )

    def fixed_mb(self, frame: int) -> int:
        """Return the memory beside that of a batch [MB], for frames of ``frame`` voxels."""
        seen = min(frame, self.frame_voxels)
        return self.memory_mb + int(seen * self.frame_bytes_per_voxel / 2**20)

    @property
    def _made_before(self) -> set[str]:
        return {role for phase in self.before for role in phase.makes}

    @property
    def _reads(self) -> Mapping[str, str | None]:
        return {**{role: role for role in self.inputs}, **self.reads}

    def variant(self, args: Mapping[str, Any]) -> Row:
        """Return the row as the values of the arguments in ``variants`` change it."""
        row = self
        for argument, values in self.variants.items():
            row = replace(row, **values.get(str(args.get(argument)), {}))
        return row

    def in_family(self, family: str) -> Row:
        """Return the row with its own phase, and those that share its family, in another one."""
        before = tuple(
            replace(phase, family=family) if phase.family == self.family else phase
            for phase in self.before
        )
        return replace(self, family=family, before=before)

    def kind(self, role: str, index: int = 0) -> str:
        """Return the kind of layer that ``role`` takes for the channel at ``index``."""
        kind = self.inputs[role]
        if isinstance(kind, dict):
            return str(kind["kind"])
        return "tracks" if kind == "table" and index < self.tracked else str(kind)

    def optional(self, role: str) -> bool:
        """Tell whether a step does without a layer of ``role`` where there is none."""
        kind = self.inputs[role]
        return isinstance(kind, dict) and bool(kind.get("optional"))

    def of(self, role: str) -> int | None:
        """Return of how many of the first channels together ``role`` takes one layer."""
        kind = self.inputs[role]
        return int(kind["of"]) if isinstance(kind, dict) and "of" in kind else None

    def at(self, role: str) -> int | None:
        """Return the index of the only channel that ``role`` takes a layer of."""
        kind = self.inputs[role]
        return int(kind["at"]) if isinstance(kind, dict) and "at" in kind else None


@dataclass(frozen=True)
class Registry:
    """All rows by name."""

    rows: Mapping[str, Row]

    def find(self, name: str) -> Row | None:
        """Return the row of a step name or alias."""
        if name in self.rows:
            return self.rows[name]
        return next((row for row in self.rows.values() if name in row.aliases), None)

    def names(self, stage: str | None = None, *, available: bool = False) -> tuple[str, ...]:
        """Return the names of a stage's steps; with ``available`` those of this version."""
        rows = [row for row in self if stage in (None, row.stage)]
        rows = [row for row in rows if row.available or not available]
        names = [row.name for row in rows]
        return (*names, *(alias for row in rows for alias in row.aliases))

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows.values())


@cache
def load_registry(path: Path = STEPS) -> Registry:
    """Read the registry.

    Raises
    ------
    RegistryError
        If the file cannot be read, or a row is wrong.
    """
    try:
        with path.open(encoding="utf-8") as file:
            data = YAML(typ="safe", pure=True).load(file)
    except (OSError, YAMLError) as error:
        raise RegistryError(f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise RegistryError(f"{path}: must map step names to rows")
    return Registry({name: _row(path, str(name), row) for name, row in data.items()})


def _row(path: Path, name: str, data: Any) -> Row:
    if not isinstance(data, dict) or "stage" not in data:
        raise RegistryError(f"{path}: {name}: must be a mapping with a stage")
    known = {f.name for f in fields(Row)} - {"name", "extra"}
    values = {key: value for key, value in data.items() if key in known}
    _freeze(values)
    before = values.pop("before", None) or {}
    values["before"] = tuple(_phase(path, name, values, key, one) for key, one in before.items())
    extra = {key: value for key, value in data.items() if key not in known}
    row = Row(name=name, extra=MappingProxyType(extra), **values)
    for value, valid, key in (
        (row.stage, STAGES, "stage"),
        (row.channels, CHANNELS, "channels"),
        (row.fan_out, FAN_OUTS, "fan_out"),
        (row.statistics, STATISTICS, "statistics"),
        (row.gpu, GPU, "gpu"),
        (row.batch_of, BATCHES, "batch_of"),
        (row.output_channel_name, ("optional", "required"), "output_channel_name"),
    ):
        if value not in valid:
            raise RegistryError(f"{path}: {name}.{key}: {value!r} is not one of {valid}")
    if row.available and not row.executable:
        raise RegistryError(f"{path}: {name}: has no executable")
    if not row.available and not row.instead:
        raise RegistryError(f"{path}: {name}: is not available and names nothing instead")
    return row


def _freeze(values: dict[str, Any]) -> None:
    """Bring the values of a row or phase, as read, into the types of its fields."""
    for key in _TUPLES:
        if key in values:
            value = values[key]
            values[key] = (value,) if isinstance(value, str) else tuple(value or ())
    if values.get("statistics") == "absent":
        values["statistics"] = None
    for key in _MAPPINGS:
        if key in values:
            values[key] = MappingProxyType(dict(values[key] or {}))


def _phase(path: Path, step: str, row: Mapping[str, Any], name: str, data: Any) -> Phase:
    """Return one phase before the step's own; what it does not say is as in the row."""
    where = f"{path}: {step}.before.{name}"
    known = {f.name for f in fields(Phase)} - {"name"}
    if not isinstance(data, dict) or "executable" not in data:
        raise RegistryError(f"{where}: must be a mapping with an executable")
    if strange := set(data) - known:
        raise RegistryError(f"{where}: unknown {', '.join(sorted(strange))}")
    inherited = ("family", "fan_out", "statistics", "bytes_per_voxel", "seconds_per_voxel")
    values = {key: row[key] for key in inherited if key in row} | data
    values.setdefault("tool", f"{row.get('tool', '')}_{name.upper()}")
    _freeze(values)
    phase = Phase(name=name, **values)
    if phase.turn not in TURNS:
        raise RegistryError(f"{where}: turn must be of {TURNS}")
    if phase.fan_out not in FAN_OUTS or phase.statistics not in STATISTICS:
        raise RegistryError(f"{where}: fan_out must be of {FAN_OUTS}, statistics of {STATISTICS}")
    return phase
