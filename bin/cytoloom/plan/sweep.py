"""A sweep: one pipeline over a grid of arguments, as one plan in which shared steps run once.

The sweep YAML names values for arguments by the tag of their step, and what part of the
data to use. Each point of the grid is the same pipeline with other arguments
(`edited`), read by the grammar as any other. `join` then puts their steps together:
steps that agree in their arguments and in all that they read are one step. Steps that
depend on a swept argument get a name made from what they depend on, so that a longer
grid runs again nothing that was done.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cytoloom.plan import checks, nodes, settings
from cytoloom.plan.arguments import Signatures, check_all
from cytoloom.plan.model import Group, Layer, Pipeline, Slice, Step
from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems, suggestion

KEYS = ("arguments", "crop", "rank_by", "description")
MOST_POINTS = 400
Choice = tuple[Node, ...]


@dataclass(frozen=True)
class Sweep:
    """A checked sweep YAML.

    Attributes
    ----------
    axes
        (tag, argument, values) in the order of the file; the last varies fastest.
    crop
        Parts of axes that take the place of the pipeline's ``image_range``.
    rank_by
        Metric of an evaluation step, or None: the first that there is, else stability.
    """

    path: Path
    axes: tuple[tuple[str, str, tuple[Node, ...]], ...]
    crop: Mapping[str, Slice]
    rank_by: str | None

    @property
    def tags(self) -> frozenset[str]:
        """The steps whose arguments vary."""
        return frozenset(tag for tag, _, _ in self.axes)

    def points(self) -> Iterator[Choice]:
        """Yield one value per axis, for every point of the grid."""
        return itertools.product(*(values for _, _, values in self.axes))

    def words(self, choice: Choice) -> dict[str, dict[str, Any]]:
        """Return the arguments of a point by tag, as plain values."""
        found: dict[str, dict[str, Any]] = {}
        for (tag, name, _), node in zip(self.axes, choice, strict=True):
            found.setdefault(tag, {})[name] = node.plain()
        return found


@dataclass(frozen=True)
class Point:
    """One point of the grid: its arguments, and the names of its steps by tag."""

    index: tuple[int, ...]  # place of each value on its axis
    arguments: Mapping[str, Mapping[str, Any]]
    slugs: Mapping[str, str]


@dataclass
class Joined:
    """The steps of all points, each once."""

    steps: list[Step] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)


def load_sweep(path: Path, base: Pipeline, signatures: Signatures | None = None) -> Sweep:
    """Read and check a sweep YAML against its pipeline.

    Raises
    ------
    PlanProblems
        With one line for each mistake in the file.
    """
    problems = Problems(str(path))
    root = nodes.read(path, problems)
    if root is None:
        problems.raise_if_any()
    assert root is not None
    checks.known_keys(root, KEYS, problems, "key of a sweep")
    axes = _axes(root, base, signatures or Signatures(), problems)
    crop = settings.read_range(root.get("crop"), problems)
    rank_by = None
    if (node := root.get("rank_by")) is not None:
        rank_by = checks.text(node, problems, "a metric")
    count = 1
    for _, _, values in axes:
        count *= len(values)
    if count > MOST_POINTS:
        message = f"{count} points are more than the {MOST_POINTS} that one sweep can have"
        problems.add(root.line, "arguments", message)
    problems.raise_if_any()
    return Sweep(path, tuple(axes), crop, rank_by)


def _axes(
    root: Node, base: Pipeline, signatures: Signatures, problems: Problems
) -> list[tuple[str, str, tuple[Node, ...]]]:
    node = root.get("arguments")
    if node is None or node.kind != "map" or not node.fields:
        line = node.line if node else root.line
        example = "Segment: {prob_thresh: [0.3, 0.5]}"
        problems.add(line, "arguments", f"is missing: map tags to arguments, as in {example}")
        return []
    steps = {step.tag: step for step in base.steps}
    found = []
    for tag, child in node.fields.items():
        if tag not in steps:
            message = f"the pipeline has no step with this tag{suggestion(tag, steps)}"
            problems.add(child.line, child.where, message)
        elif child.kind != "map":
            message = f"must map arguments to lists of values, not {child}"
            problems.add(child.line, child.where, message)
        else:
            for name, values in child.fields.items():
                one = _values(values, problems)
                if _valid(steps[tag], name, values, one, signatures, problems):
                    found.append((tag, name, one))
    return found


def _values(node: Node, problems: Problems) -> tuple[Node, ...]:
    """Read a list of values, or ``{from, to, count}``: evenly spaced, both ends included."""
    if node.kind == "list" and node.items:
        return node.items
    if node.kind != "map":
        message = f"must be a list of values, or {{from, to, count}}, not {node}"
        problems.add(node.line, node.where, message)
        return ()
    before = len(problems.found)
    checks.known_keys(node, ("from", "to", "count"), problems, "key of a range of values")
    ends: list[float | None] = []
    for key in ("from", "to", "count"):
        if (child := node.get(key)) is None:
            problems.add(node.line, node.where, f"has no {key}")
        elif key == "count":
            ends.append(checks.integer(child, problems, minimum=2))
        else:
            ends.append(checks.number(child, problems))
    if len(problems.found) > before:
        return ()
    first, last, count = ends
    assert first is not None
    assert last is not None
    assert count is not None
    values = [first + (last - first) * i / (int(count) - 1) for i in range(int(count))]
    whole = all(value == int(value) for value in values)
    return tuple(
        Node("scalar", node.line, f"{node.where}[{i}]", value=number, text=f"{number:g}")
        for i, value in enumerate(values)
        for number in [int(value) if whole else float(f"{value:.6g}")]
    )


def _valid(
    step: Step,
    name: str,
    node: Node,
    values: Sequence[Node],
    signatures: Signatures,
    problems: Problems,
) -> bool:
    """Check the values of one argument of a step, one by one."""
    before = len(problems.found)
    signature = signatures.of_step(step.row)
    for value in values:
        one = Node("map", node.line, node.where.rpartition(".")[0], fields={name: value})
        check_all(one, signature, step.name, problems)
    return bool(values) and len(problems.found) == before


def edited(root: Node, base: Pipeline, sweep: Sweep, choice: Choice) -> Node:
    """Return the YAML of the pipeline with the arguments and the crop of one point."""
    wanted = {step.tag: step for step in base.steps if step.tag in sweep.tags}
    given: dict[int, dict[str, Node]] = {}
    for (tag, name, _), value in zip(sweep.axes, choice, strict=True):
        given.setdefault(wanted[tag].line, {})[name] = value
    pipeline = root.fields["pipeline"]
    stages = {key: _with_arguments(stage, given) for key, stage in pipeline.fields.items()}
    return replace(root, fields={**root.fields, "pipeline": replace(pipeline, fields=stages)})


def _with_arguments(stage: Node, given: Mapping[int, Mapping[str, Node]]) -> Node:
    """Return a stage with other arguments of the steps that begin in the lines of ``given``."""
    if stage.kind == "list":
        return replace(stage, items=tuple(_with_arguments(item, given) for item in stage.items))
    if stage.kind != "map" or stage.line not in given:
        return stage
    args = stage.get("args") or Node("map", stage.line, f"{stage.where}.args")
    args = replace(args, fields={**args.fields, **given[stage.line]})
    return replace(stage, fields={**stage.fields, "args": args})


def join(sweep: Sweep, pipelines: Sequence[Pipeline]) -> Joined:
    """Put the steps of all points together, in order; equal ones become one.

    Parameters
    ----------
    pipelines
        One per point of the sweep, in the order of ``sweep.points()``.
    """
    joined = Joined()
    taken: set[str] = set()
    indices = itertools.product(*(range(len(values)) for _, _, values in sweep.axes))
    for choice, index, pipeline in zip(sweep.points(), indices, pipelines, strict=True):
        names: dict[str, str] = {}  # slug in this pipeline -> slug in the plan
        for step in pipeline.steps:
            depends = step.tag in sweep.tags or any(
                names.get(layer.tag, layer.tag) != layer.tag for layer in _read(step)
            )
            names[step.slug] = f"{step.slug}-{_digest(step, names)}" if depends else step.slug
            if names[step.slug] not in taken:
                taken.add(names[step.slug])
                joined.steps.append(_renamed(step, names))
        slugs = {step.tag: names[step.slug] for step in pipeline.steps}
        joined.points.append(Point(index, sweep.words(choice), slugs))
    return joined


def _read(step: Step) -> list[Layer]:
    return [layer for group in step.groups for layers in group.inputs.values() for layer in layers]


def _digest(step: Step, names: Mapping[str, str]) -> str:
    """Return what a step of a sweep is named after: its arguments and where its input is from."""
    read = sorted({names.get(layer.tag, layer.tag) for layer in _read(step)})
    content = json.dumps([step.name, dict(step.args), read], sort_keys=True, default=str)
    return hashlib.blake2b(content.encode(), digest_size=4).hexdigest()


def _renamed(step: Step, names: Mapping[str, str]) -> Step:
    def rename(layer: Layer) -> Layer:
        return replace(layer, tag=names.get(layer.tag, layer.tag))

    groups = tuple(
        Group(
            group.channels,
            group.output_channel,
            {role: tuple(map(rename, layers)) for role, layers in group.inputs.items()},
            {role: rename(layer) for role, layer in group.outputs.items()},
        )
        for group in step.groups
    )
    return replace(step, slug=names[step.slug], groups=groups)
