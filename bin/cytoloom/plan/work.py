"""The tasks of one step for one group of channels, at one position or at all together.

A task names only the parts that meet its region and halo; tasks that take all positions
together read them whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cytoloom.layouts import KINDS_OF_IMAGES
from cytoloom.plan.jobs import BASE_MEMORY_MB, Command, Job, PlannedStep
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
from cytoloom.plan.model import Group, Layer, Step
from cytoloom.plan.registry import Phase
from cytoloom.regions import Region, cut

if TYPE_CHECKING:
    from cytoloom.plan.builder import Builder


@dataclass
class Between:
    """What is between the phases of a step at a position: layers made, and roles left out."""

    made: dict[str, LayerPlan] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Work:
    """One step, one group of channels, and the positions that a task takes together.

    Attributes
    ----------
    together
        Whether a task takes all positions; where not, there is one.
    known
        For each position, what is between the phases.
    """

    builder: Builder
    planned: PlannedStep
    step: Step
    group: Group
    positions: Sequence[Position]
    together: bool
    known: Sequence[Between]

    @property
    def position(self) -> Position:
        """The position, or the first of all."""
        return self.positions[0]

    @property
    def between(self) -> Between:
        """What is between the phases at the position."""
        return self.known[0]

    @property
    def patched(self) -> bool:
        """Whether labels are made in patches, and joined at their seams."""
        row = self.step.row
        return row.seams and row.fan_out == "patch" and self.position.grid.patched

    # ---- phases ---------------------------------------------------------------------------

    def before(self, phase: Phase) -> None:
        """Add the tasks of a phase that comes before the step's own."""
        replaced = phase.unless and self.step.args.get(phase.unless)
        needed = not replaced and (not phase.patched or self.position.grid.patched)
        regions = self.regions(phase) if needed else []
        if not regions:
            for known in self.known:
                known.left_out |= set(phase.makes)
            return
        made = {}
        for role, kind in phase.makes.items():
            result = self.group.outputs.get(role)
            made[role] = self.layer(kind, regions, result.channel if result else None)
            made[role].inner = result is None
        for index, region in enumerate(regions):
            self._task(phase, index, region, made)
        for known in self.known:
            known.made |= made

    def core(self) -> tuple[list[Region], dict[str, LayerPlan]]:
        """Add the tasks of the step's own phase; return their regions and what they make."""
        row = self.step.row
        core = row.core
        regions = self.regions(core)
        merging = self.merging(regions)
        joined = set(row.merge_makes) if merging else set()
        made = {}
        for role, layer in self.group.outputs.items():
            later = row.relabel if role == "trackedlabel" else role in joined
            later = later or (self.patched and layer.kind == "detections")
            if later or role in self.between.made or role in self.between.left_out:
                continue
            kind = "corelabel" if self.patched and layer.kind == "label" else layer.kind
            part = merging and kind not in EXTENSIONS
            made[role] = self.layer(f"{kind}part" if part else kind, regions, layer.channel)
        if self.patched:
            made["objects"] = self.layer("objects", regions)
        if any(layer.kind in KINDS_OF_IMAGES for layer in made.values()):
            made["statistics"] = self.layer("statistics", regions)
        for index, region in enumerate(regions):
            self._task(core, index, region, made)
        return regions, made

    def merging(self, regions: Sequence[Region]) -> bool:
        """Tell whether the tables of parts are joined by a phase of its own."""
        row = self.step.row
        return bool(row.merge) and (len(regions) > 1 or row.merge_always)

    # ---- regions and layers ---------------------------------------------------------------

    def batch(self, phase: Phase) -> int | None:
        """Frames per batch: what the resources ask for, else a share of a long step."""
        asked = self.builder.batch_size(self.step.tag, phase.name)
        grid = self.position.grid
        if asked and self.step.row.batch_of == "patches":
            asked = frames_for_patches(asked, grid.patches, grid.shape[0])
        if self.step.row.batch_size:
            asked = asked or self.step.args.get(self.step.row.batch_size)
        return asked or share_of(grid.shape, phase.seconds_per_voxel)

    def regions(self, phase: Phase) -> list[Region]:
        """Return the region of each task of a phase."""
        grid = self.position.grid
        if self.together:
            return [Region.whole(grid.shape)]
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
            return grid.tiles(self.batch(phase))
        if phase.fan_out == "frames":
            return grid.frames(self.batch(phase))
        return [Region.whole(grid.shape)]

    def layer(
        self, kind: str, regions: Iterable[Region | None], channel: str | None = None
    ) -> LayerPlan:
        """Plan a layer that this step makes, and note it at each position."""
        channel = channel or self.group.output_channel
        place = self.builder.run if self.together else self.position.slug
        name = self._file_channel(channel)
        parts = tuple(
            (part_name(place, self.step.slug, name, kind, index), region)
            for index, region in enumerate(regions)
        )
        layer = LayerPlan(place, self.step.slug, name, kind, parts)
        for position in self.positions:
            position.add(self.step.slug, channel, kind, layer)
        return layer

    def published(self, layer: LayerPlan, name: str) -> dict[str, str]:
        """Return where a file goes in the results, if it leaves as it is made."""
        if layer.kind not in PLACES or not self.step.output or layer.inner:
            return {}
        return {name: PLACES[layer.kind](layer, name, self.position.base)}

    def _file_channel(self, channel: str) -> str:
        return self.builder.slugs.get(channel, slug(channel))

    # ---- tasks ----------------------------------------------------------------------------

    def _task(
        self, phase: Phase, index: int, region: Region, made: Mapping[str, LayerPlan]
    ) -> None:
        """Add one task of a phase: its region of all that the phase makes."""
        command, files = Command(phase.executable), []
        reach = self._reach(phase, region)
        for position, known in zip(self.positions, self.known, strict=True):
            for role, layers in self._inputs(phase, position, known).items():
                for layer in layers:
                    if position is self.position:
                        command.option(role, layer.glob_of_all if self.together else layer.glob)
                    files += layer.names(None if role in phase.whole or self.together else reach)
        if phase.statistics:
            files += self._statistics(phase, command, region)
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
            publish |= self.published(layer, name)
        command.option("cores", phase.cores if phase.cores > 1 else None)
        model, digest = self.builder.model(self.step)
        given, content = self.builder.files(self.step, self.position.name, self.group)
        takes = self.step.takes.get(phase.executable, frozenset())
        model = {name: value for name, value in model.items() if name in takes}
        given = {name: value for name, value in given.items() if name in {*takes, "select"}}
        for name, value in (self.step.args_of(phase.executable) | model | given).items():
            command.option(name, value)
        where = f"{index:04d}" if phase.name == self.step.row.phase else f"{phase.name} {index:04d}"
        self.add(
            phase.name, command, files, outputs, reach, where,
            phase=phase, also=f"{digest if model else ''} {content if given else ''}".strip(),
            publish=publish,
        )  # fmt: skip

    def _inputs(
        self, phase: Phase, position: Position, known: Between
    ) -> dict[str, list[LayerPlan]]:
        """Return what a phase reads by role: layers of the step, or what phases before it made."""
        found = {}
        for role, source in phase.reads.items():
            if source in known.made:
                found[role] = [known.made[source]]
            elif source not in known.left_out:
                found[role] = [_find(position, layer) for layer in self.group.inputs[source]]
        return found

    def _statistics(self, phase: Phase, command: Command, region: Region) -> list[str]:
        """Add the histograms of the step's images, over a frame batch or the whole stack."""
        scope = Region.whole(self.position.grid.shape)
        if phase.statistics == "frame":
            scope = Region(region.t, scope.z, scope.y, scope.x)
        files = []
        for layer in self.group.inputs["image"]:
            for position in self.positions:
                histograms = _find(position, layer, "statistics")
                files += histograms.names(None if self.together else scope)
            command.option(
                "statistics", histograms.glob_of_all if self.together else histograms.glob
            )
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

    def find(self, layer: Layer) -> LayerPlan:
        """Return the plan of a layer at the position."""
        return _find(self.position, layer)

    def add(
        self,
        name: str,
        command: Command,
        files: Iterable[str],
        outputs: list[str],
        reach: Region | None,
        where: str,
        *,
        phase: Phase | None = None,
        also: str = "",
        publish: dict[str, str] | None = None,
    ) -> None:
        """Add one task; without ``phase`` it is of the core environment, and joins parts."""
        row = phase or self.step.row
        family = row.family if phase else "core"
        voxels = reach.size if reach else 0
        fixed = self.step.row.fixed_mb(reach.frame(reach.t[0]).size if reach else 0)
        args = self.step.args_of(row.executable) if phase else {}
        channel = self._file_channel(self.group.output_channel)
        place = self.builder.run if self.together else self.position.slug
        self.planned.add(
            name,
            Job(
                id=f"{self.step.slug} {place} {channel} {where}",
                command=str(command),
                code=f"{self.builder.code(command.executable, family)} {also}".strip(),
                family=family,
                inputs=sorted(set(files)),
                outputs=outputs,
                memory_mb=BASE_MEMORY_MB + fixed + int(voxels * row.bytes_per_voxel / 2**20),
                seconds=600 + int(4 * voxels * row.seconds_per_voxel),
                cores=row.cores,
                gpu=bool(self.step.row.gpu and args.get("gpu")),
                region=str(reach) if reach else None,
                position=None if self.together else place,
                publish=publish or {},
            ),
        )


def _find(position: Position, layer: Layer, kind: str | None = None) -> LayerPlan:
    return position.find(layer.tag, layer.channel, kind or layer.kind)
