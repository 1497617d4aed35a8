"""From checked steps to jobs: one job is one task, with its command and its files.

For every step, position and group of channels the registry row says how the work is
cut (patch x frame batch, frame batch, position), what it reads and what it makes. A
job names only the parts that meet its region and halo. Nothing here knows a method.

A job's command carries the digest of its code, so that Nextflow, which hashes the
command, runs again exactly what a change of code reaches.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cytoloom.layouts import KINDS_OF_IMAGES
from cytoloom.plan.layers import (
    EXTENSIONS,
    PLACES,
    LayerPlan,
    Position,
    frames_for_patches,
    part_name,
    share_of,
    slug,
)
from cytoloom.plan.model import Group, Layer, Step, unique
from cytoloom.plan.registry import Phase
from cytoloom.regions import Region, cut
from cytoloom.traces import csv_name

BASE_MEMORY_MB = 700
MERGES = {"label_to_sparse": "MERGE_TABLES"}  # process of the merge phase by stage


@dataclass
class Job:
    """One task.

    Attributes
    ----------
    id
        What people see: tag, position, channel, part.
    command
        Shell command, quoted.
    inputs, outputs
        File names, unique in the run.
    position
        The position (its slug) that fails alone if the task fails; None: it gathers positions.
    publish
        For outputs that leave the work folder: name to path under the output folder.
    reads_engine
        Whether it reads what Nextflow says of itself, which then is part of the task.
    """

    id: str
    command: str
    code: str
    family: str
    inputs: list[str]
    outputs: list[str]
    memory_mb: int = BASE_MEMORY_MB
    seconds: int = 3600
    cores: int = 1
    gpu: bool = False
    region: str | None = None
    position: str | None = None
    publish: dict[str, str] = field(default_factory=dict)
    reads_engine: bool = False


@dataclass
class PlannedStep:
    """A step of the plan with its jobs by phase, and the process of each phase.

    A phase without an entry in ``tools`` runs in the process of the step's tool.
    """

    tag: str
    name: str
    stage: str
    tool: str
    phases: dict[str, list[Job]] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)

    def add(self, phase: str, job: Job) -> None:
        """Append a job to a phase."""
        self.phases.setdefault(phase, []).append(job)


class Command:
    """Builds the command line of one job, every word quoted."""

    def __init__(self, executable: str) -> None:
        self.executable = executable
        self.words = [f"{executable}.py"]

    def option(self, name: str, value: Any) -> Command:
        """Append ``--name value``; booleans become flags, lists repeat, None is left out."""
        if value is None:
            return self
        if isinstance(value, bool):
            self.words.append(f"--{name}" if value else f"--no_{name}")
        elif isinstance(value, list | tuple):
            for item in value:
                self.option(name, item)
        else:
            self.words += [f"--{name}={value}"] if str(value).startswith("-") else [
                f"--{name}", str(value)
            ]  # fmt: skip
        return self

    def output(self, role: str, name: str) -> Command:
        """Append the option that names an output file."""
        return self.option(f"out-{role.replace('_', '-')}", f"out/{name}")

    def __str__(self) -> str:
        return " ".join(shlex.quote(word) for word in self.words)


@dataclass(frozen=True)
class Builder:
    """Makes the jobs of steps, in order, noting the layers of each position.

    Attributes
    ----------
    positions
        All positions, with the layers that exist so far.
    slugs
        Names of channels in files.
    code
        Gives the digest of an executable's code: ``code(executable, family)``.
    batch_size
        Gives the frames per batch that a tag asks for its phase, or None.
    model
        Gives, for a step that uses a model, the argument that names it and its digest.
    files
        Gives, for a step that is given files of the user, the options that name them at a
        position (by its name) and for a group, and their digest.
    overlap
        Overlap of patches that the pipeline asks for [px].
    edits
        Gives, for a step whose results users may edit, the options that name what they flagged
        at a position, and their digest.
    value
        Gives the value of an argument of a step, given or by default.
    """

    positions: Sequence[Position]
    slugs: Mapping[str, str]
    code: Callable[[str, str], str]
    batch_size: Callable[[str, str], int | None] = lambda _tag, _phase: None
    model: Callable[[Step], tuple[dict[str, Any], str]] = lambda _step: ({}, "")
    files: Callable[[Step, str, Group], tuple[dict[str, Any], str]] = lambda *_: ({}, "")
    overlap: int = 0
    edits: Callable[[Step, Position], tuple[dict[str, str], str]] = lambda *_: ({}, "")
    value: Callable[[Step, str], Any] = lambda step, name: step.args.get(name)

    @property
    def run(self) -> str:
        """The name that stands for all positions together."""
        return unique("run", [position.slug for position in self.positions])

    def build(self, step: Step) -> PlannedStep:
        """Return the jobs of one step and note the layers that it makes."""
        if step.row.gpu_family and step.args.get("gpu"):
            step = replace(step, row=step.row.in_family(step.row.gpu_family))
        tools = {
            "number": "NUMBER",
            "stitch": "STITCH",
            "merge": MERGES.get(step.stage, "MERGE_PARTS"),
            "relabel": "RELABEL",
        } | {phase.name: phase.tool for phase in step.row.before}
        planned = PlannedStep(step.slug, step.name, step.stage, step.row.tool, tools=tools)
        all_jobs = [
            _GroupJobs(self, planned, step, position, group)
            for position in self.positions
            for group in step.groups
        ]
        for phase in step.row.before:
            if phase.scope and self.value(step, phase.scope) == "run":
                for group in step.groups:
                    first, *others = [jobs for jobs in all_jobs if jobs.group is group]
                    first.before(phase, others)
            else:
                for jobs in all_jobs:
                    jobs.before(phase)
        if step.row.fan_out == "run":
            for group in step.groups:
                first, *others = [jobs for jobs in all_jobs if jobs.group is group]
                first.build(others)
        else:
            for jobs in all_jobs:
                jobs.build()
        return planned


@dataclass
class _GroupJobs:
    """The jobs of one step for one group of channels at one position."""

    builder: Builder
    planned: PlannedStep
    step: Step
    position: Position
    group: Group
    between: dict[str, LayerPlan] = field(default_factory=dict)  # made by earlier phases
    left_out: set[str] = field(default_factory=set)  # what those that are not needed would make

    def build(self, others: Sequence[_GroupJobs] | None = None) -> None:
        """Add the tasks of the step's own phase and of those after it.

        Parameters
        ----------
        others
            The same group at all other positions, where one task does all.
        """
        row, grid = self.step.row, self.position.grid
        core = row.core
        regions = self._regions(core)
        seams = row.seams and row.fan_out == "patch" and grid.patched
        merging = bool(row.merge) and (len(regions) > 1 or row.merge_always)
        made = {}
        for role, layer in self.group.outputs.items():
            by_a_later_phase = (
                row.relabel if role == "trackedlabel" else merging and role in row.merge_makes
            )
            by_a_later_phase = by_a_later_phase or (seams and layer.kind == "detections")
            if by_a_later_phase or role in self.between or role in self.left_out:
                continue
            kind = "corelabel" if seams and layer.kind == "label" else layer.kind
            part = merging and kind not in EXTENSIONS
            place = None if others is None else self.builder.run
            made[role] = self._layer(f"{kind}part" if part else kind, regions, layer.channel, place)
            for jobs in others or ():
                jobs.position.add(self.step.slug, layer.channel, kind, made[role])
        if seams:
            made["objects"] = self._layer("objects", regions)
        if any(layer.kind in KINDS_OF_IMAGES for layer in made.values()):
            made["statistics"] = self._layer("statistics", regions)
        for index, region in enumerate(regions):
            self._task(core, index, region, made, others)
        if seams:
            self._stitch(regions, made)
        if merging:
            self._merge(made)
        if row.relabel and "relabel" in self.group.inputs:
            self._relabel(made)

    def before(self, phase: Phase, others: Sequence[_GroupJobs] = ()) -> None:
        """Add the tasks of a phase that comes before the step's own.

        Parameters
        ----------
        others
            The same group at all other positions, where one task does all.
        """
        together = bool(phase.scope and self.builder.value(self.step, phase.scope) == "run")
        if phase.unless and self.step.args.get(phase.unless):
            for jobs in (self, *others):
                jobs.left_out |= set(phase.makes)
            return
        if phase.patched and not self.position.grid.patched:
            self.left_out |= set(phase.makes)
            return
        regions = [Region.whole(self.position.grid.shape)] if together else self._regions(phase)
        if not regions:
            self.left_out |= set(phase.makes)
            return
        made = {}
        for role, kind in phase.makes.items():
            result = self.group.outputs.get(role)
            channel = result.channel if result else None
            made[role] = self._layer(kind, regions, channel, self.builder.run if together else None)
            made[role].inner = result is None
            for jobs in others:
                jobs.position.add(
                    self.step.slug, channel or self.group.output_channel, kind, made[role]
                )
        for index, region in enumerate(regions):
            self._task(phase, index, region, made, others if together else None)
        for jobs in (self, *others):
            jobs.between |= made

    def _batch(self, phase: Phase) -> int | None:
        """Frames per batch: what the resources ask for, else a share of a long step."""
        asked = self.builder.batch_size(self.step.tag, phase.name)
        grid = self.position.grid
        if asked and self.step.row.batch_of == "patches":
            asked = frames_for_patches(asked, grid.patches, grid.shape[0])
        if self.step.row.batch_size:
            asked = asked or self.step.args.get(self.step.row.batch_size)
        return asked or share_of(grid.shape, phase.seconds_per_voxel)

    def _regions(self, phase: Phase) -> list[Region]:
        grid = self.position.grid
        if phase.batch:
            frames, z, y, x = grid.shape
            size = self.builder.value(self.step, phase.batch) or frames
            batches = list(cut(grid.shape, (size, z, y, x)))
            return batches if phase.turn is None else batches[phase.turn == "odd" :: 2]
        asked = self.builder.batch_size(self.step.tag, phase.name)
        stores = any(EXTENSIONS.get(kind) == "zarr" for kind in phase.makes.values())
        if phase.fan_out == "frames" and phase.name != self.step.row.phase and asked and not stores:
            return list(cut(grid.shape, (asked, *grid.shape[1:])))  # tables need no whole shards
        if phase.fan_out == "patch":
            return grid.tiles(self._batch(phase))
        if phase.fan_out == "frames":
            return grid.frames(self._batch(phase))
        return [Region.whole(grid.shape)]

    def _layer(
        self,
        kind: str,
        regions: Iterable[Region | None],
        channel: str | None = None,
        position: str | None = None,
    ) -> LayerPlan:
        """Plan a layer that this step makes, and note it."""
        channel = channel or self.group.output_channel
        position = position or self.position.slug
        name = self._file_channel(channel)
        parts = tuple(
            (part_name(position, self.step.slug, name, kind, index), region)
            for index, region in enumerate(regions)
        )
        layer = LayerPlan(position, self.step.slug, name, kind, parts)
        self.position.add(self.step.slug, channel, kind, layer)
        return layer

    def _file_channel(self, channel: str) -> str:
        return self.builder.slugs.get(channel, slug(channel))

    def inputs(self, phase: Phase) -> dict[str, list[LayerPlan]]:
        """Return what a phase reads by role: layers of the step, or what phases before it made."""
        found = {}
        for role, source in phase.reads.items():
            if source in self.between:
                found[role] = [self.between[source]]
            elif source not in self.left_out:
                found[role] = [self.find(layer) for layer in self.group.inputs[source]]
        return found

    def find(self, layer: Layer, kind: str | None = None) -> LayerPlan:
        """Return the plan of a layer at this position."""
        return self.position.find(layer.tag, layer.channel, kind or layer.kind)

    def _task(
        self,
        phase: Phase,
        index: int,
        region: Region,
        made: dict[str, LayerPlan],
        others: Sequence[_GroupJobs] | None = None,
    ) -> None:
        """Add one task of a phase: its region of all that the phase makes.

        With ``others`` (possibly none) it takes all positions together.
        """
        command, files = Command(phase.executable), []
        reach = self._reach(phase, region)
        for role, layers in self.inputs(phase).items():
            for layer in layers:
                command.option(role, layer.glob if others is None else layer.glob_of_all)
                files += layer.names(None if role in phase.whole else reach)
        for jobs in others or ():
            files += [
                n for layers in jobs.inputs(phase).values() for a in layers for n in a.names()
            ]
        if phase.statistics:
            files += self._statistics(phase, command, region, others)
        if phase.fan_out not in ("position", "run"):
            command.option("region", str(region))
        command.option("halo", self._halo(phase) or None)
        if self.group.output_channel not in self.group.channels:
            command.option("channel", self.group.output_channel)
        outputs: list[str] = []
        publish: dict[str, str] = {}
        for role, layer in made.items():
            name = layer.parts[index][0]
            command.output(role, name)
            outputs.append(name)
            publish |= self._published(layer, name)
        command.option("cores", phase.cores if phase.cores > 1 else None)
        model, digest = self.builder.model(self.step)
        given, content = self.builder.files(self.step, self.position.name, self.group)
        takes = self.step.takes.get(phase.executable, frozenset())
        model = {name: value for name, value in model.items() if name in takes}
        given = {name: value for name, value in given.items() if name in {*takes, "select"}}
        for name, value in (self.step.args_of(phase.executable) | model | given).items():
            command.option(name, value)
        where = f"{index:04d}" if phase.name == self.step.row.phase else f"{phase.name} {index:04d}"
        self._add(
            phase.name, command, files, outputs, reach, where,
            phase=phase, also=f"{digest if model else ''} {content if given else ''}".strip(),
            place=self.builder.run if others is not None else None, publish=publish,
        )  # fmt: skip

    def _published(self, layer: LayerPlan, name: str) -> dict[str, str]:
        """Return where a file goes in the results, if it leaves as it is made."""
        if layer.kind not in PLACES or not self.step.output or layer.inner:
            return {}
        if layer.kind == "tracescsv":
            return {name: csv_name(layer.position, layer.tag, self.position.base)}
        return {name: PLACES[layer.kind](layer.position, layer.tag, name)}

    def _statistics(
        self,
        phase: Phase,
        command: Command,
        region: Region,
        others: Sequence[_GroupJobs] | None,
    ) -> list[str]:
        """Add the histograms of the step's images, over a frame batch or the whole stack."""
        scope = Region.whole(self.position.grid.shape)
        if phase.statistics == "frame":
            scope = Region(region.t, scope.z, scope.y, scope.x)
        files = []
        for layer in self.group.inputs["image"]:
            histograms = self.find(layer, "statistics")
            command.option(
                "statistics", histograms.glob if others is None else histograms.glob_of_all
            )
            files += histograms.names(scope)
            for jobs in others or ():
                files += jobs.find(layer, "statistics").names()
        return files

    def _halo(self, phase: Phase) -> int:
        if phase.fan_out != "patch" or not isinstance(phase.halo, int) or not phase.halo:
            return 0
        return max(phase.halo, self.builder.overlap)

    def _reach(self, phase: Phase, region: Region) -> Region:
        """Return what a task may read: its region, the patches and frames around it."""
        if phase.fan_out == "patch" and phase.halo:
            region = self.position.grid.neighbourhood(region)
        start, stop = region.t
        frames = self.position.grid.shape[0]
        t = (max(0, start - phase.around), min(frames, stop + phase.around))
        return Region(t, region.z, region.y, region.x)

    def _add(
        self,
        name: str,
        command: Command,
        files: list[str],
        outputs: list[str],
        reach: Region | None,
        where: str,
        *,
        executable: str | None = None,
        phase: Phase | None = None,
        also: str = "",
        place: str | None = None,
        publish: dict[str, str] | None = None,
    ) -> None:
        row = phase or self.step.row
        family = "core" if executable else row.family
        voxels = reach.size if reach else 0
        fixed = self.step.row.fixed_mb(reach.frame(reach.t[0]).size if reach else 0)
        args = self.step.args_of(row.executable) if phase else {}
        channel = self._file_channel(self.group.output_channel)
        self.planned.add(
            name,
            Job(
                id=f"{self.step.slug} {place or self.position.slug} {channel} {where}",
                command=str(command),
                code=f"{self.builder.code(executable or row.executable, family)} {also}".strip(),
                family=family,
                inputs=sorted(set(files)),
                outputs=outputs,
                memory_mb=BASE_MEMORY_MB + fixed + int(voxels * row.bytes_per_voxel / 2**20),
                seconds=600 + int(4 * voxels * row.seconds_per_voxel),
                cores=row.cores,
                gpu=bool(self.step.row.gpu and args.get("gpu")),
                region=str(reach) if reach else None,
                position=None if place else self.position.slug,
                publish=publish or {},
            ),
        )

    def _stitch(self, regions: Sequence[Region], made: dict[str, LayerPlan]) -> None:
        """Add the number and stitch phases of labels that are made in patches."""
        core = next(layer for layer in made.values() if layer.kind == "corelabel")
        objects = made["objects"]
        batches = self.position.grid.frames(self._batch(self.step.row.core))
        numbers = self._layer("numbers", batches)
        final = self._layer("label", regions)
        known = any(layer.kind == "detections" for layer in self.group.outputs.values())
        detections = self._layer("detections", batches) if known else None
        for index, batch in enumerate(batches):
            outputs = [numbers.parts[index][0]]
            command = Command("segment_number").option("objects", objects.glob)
            command.output("numbers", outputs[0])
            if detections:
                outputs.append(detections.parts[index][0])
                command.output("detections", outputs[1])
            self._add(
                "number", command, objects.names(batch), outputs, None,
                f"number {index:04d}", executable="segment_number",
            )  # fmt: skip
        for index, region in enumerate(regions):
            name = final.parts[index][0]
            around = self.position.grid.neighbourhood(region)
            command = Command("segment_stitch").option("label", core.glob)
            command.option("objects", objects.glob).option("numbers", numbers.glob)
            command.option("region", str(region)).output("label", name)
            files = [core.parts[index][0], *objects.names(around), *numbers.names(region)]
            self._add(
                "stitch", command, files, [name], region,
                f"stitch {index:04d}", executable="segment_stitch",
            )  # fmt: skip

    def _merge(self, made: dict[str, LayerPlan]) -> None:
        """Add the phase that joins the tables of all parts."""
        row = self.step.row
        command, files, outputs = Command(str(row.merge)), [], []
        for role, layer in made.items():
            if layer.kind.endswith("part"):
                command.option(row.merge_option or role, layer.glob)
                files += layer.names()
        kinds = {role: layer.kind for role, layer in self.group.outputs.items()}
        publish: dict[str, str] = {}
        for role, kind in (kinds | {kind: kind for kind in row.merge_makes}).items():
            if role in made and not made[role].kind.endswith("part"):
                continue
            if kind == "trackedlabel" or role in self.between:
                continue
            layer = self._layer(kind, [None])
            final = layer.parts[0][0]
            command.output(role, final)
            outputs.append(final)
            publish |= self._published(layer, final)
        given, content = self.builder.files(self.step, self.position.name, self.group)
        flagged, edits = self.builder.edits(self.step, self.position)
        for name in row.merge_args:
            command.option(name, given.get(name, self.step.args.get(name)))
        for name, path in flagged.items():
            command.option(name, path)
        used = content if set(given) & set(row.merge_args) else ""
        self._add(
            "merge", command, files, outputs, None, "merge", executable=row.merge,
            also=f"{used} {edits}".strip(), publish=publish,
        )  # fmt: skip

    def _relabel(self, made: dict[str, LayerPlan]) -> None:
        """Add the phase that paints the label image with track numbers."""
        tracks = next(layer for layer in made.values() if layer.kind == "tracks")
        label = self.find(self.group.inputs["relabel"][0])
        regions = [region for _, region in label.parts]
        painted = self._layer("trackedlabel", regions)
        for index, region in enumerate(regions):
            name = painted.parts[index][0]
            command = Command(str(self.step.row.relabel)).option("label", label.glob)
            command.option("table", tracks.glob).option("region", str(region))
            command.output("trackedlabel", name)
            self._add(
                "relabel", command, [label.parts[index][0], *tracks.names()], [name], region,
                f"relabel {index:04d}", executable=self.step.row.relabel,
            )  # fmt: skip
