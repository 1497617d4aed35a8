"""From checked steps to jobs: how the work of a step is cut, and in which order.

For every step, position and group of channels the registry row says how the work is
cut (patch x frame batch, frame batch, position, run), what it reads and what it makes.
The phases are those before the step's own, its own (`work`), and those that join what
was cut (`joins`). Nothing here knows a method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cytoloom.plan.jobs import PlannedStep
from cytoloom.plan.joins import add_joins
from cytoloom.plan.layers import Position
from cytoloom.plan.model import Group, Step, unique
from cytoloom.plan.registry import Phase
from cytoloom.plan.work import Between, Work

MERGES = {"label_to_sparse": "MERGE_TABLES"}  # process of the merge phase by stage


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
        row = step.row
        tools = {
            "number": "NUMBER",
            "stitch": "STITCH",
            "merge": MERGES.get(step.stage, "MERGE_PARTS"),
            "relabel": "RELABEL",
        } | {phase.name: phase.tool for phase in row.before}
        planned = PlannedStep(step.slug, step.name, step.stage, row.tool, tools=tools)
        between: dict[tuple[int, str], Between] = {}
        for phase in row.before:
            for work in self._works(step, planned, phase, between):
                work.before(phase)
        for work in self._works(step, planned, row.core, between):
            regions, made = work.core()
            add_joins(work, regions, made)
        return planned

    def _works(
        self,
        step: Step,
        planned: PlannedStep,
        phase: Phase,
        between: dict[tuple[int, str], Between],
    ) -> Iterator[Work]:
        """Yield what is done together in a phase: a group at one position, or at all of them."""
        together = phase.fan_out == "run" or bool(
            phase.scope and self.value(step, phase.scope) == "run"
        )
        sets = [tuple(self.positions)] if together else [(one,) for one in self.positions]
        for positions in sets:
            for group in step.groups:
                known = [between.setdefault((id(group), p.slug), Between()) for p in positions]
                yield Work(self, planned, step, group, positions, together, known)
