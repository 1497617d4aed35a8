"""The resource YAML: what SLURM is asked for, per step, read and checked.

Keyed ``pipeline.<stage>.<tag>`` as in pyCyto, with nested sub-jobs (``core`` and ``merge``
of label_to_sparse, the five of Ultrack, our own phases of a step in patches) that inherit
from their step. Times become seconds, memory MB. A ``dependency`` orders jobs beyond what
their data already order; one against the data, or in a circle, is a mistake.
Used so far: ``batch_size``; the rest is checked here and applied by the executor's setup.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from cytoloom.plan import checks, nodes
from cytoloom.plan.entries import STAGE_ALIASES, TABULATION
from cytoloom.plan.model import INGEST, Pipeline, Step
from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems, nearest, quoted, suggestion
from cytoloom.plan.registry import STAGES

KEYS = (
    "partition",
    "gres",
    "cpus-per-task",
    "ntasks",
    "mem",
    "time",
    "batch_size",
    "dependency",
    "dependency_type",
)
TOP_KEYS = ("pipeline", "description", "tasks", "execution_configs", "default_profile")
PATCHING = "patching"
SINGLETON = "singleton"
DEPENDENCY_TYPES = ("afterok", "afterany")
_MB = {"K": 2**-10, "M": 1.0, "G": 2.0**10, "T": 2.0**20}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?)?", re.IGNORECASE)
_TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<hours>\d{1,2})(?::(?P<minutes>\d{1,2})(?::(?P<seconds>\d{1,2}))?)?)"
    r"|(?:(?:(?P<h>\d+):)?(?P<m>\d+):(?P<s>\d{1,2}))"
    r"|(?P<only>\d+)"
)
_GRES = re.compile(r"[A-Za-z][\w.-]*(:[\w.+-]+){0,2}")
_PARTITION = re.compile(r"[\w.-]+(,[\w.-]+)*")


@dataclass(frozen=True)
class Job:
    """What one kind of job asks for; None: not said."""

    partition: str | None = None
    gres: str | None = None
    cpus: int | None = None
    ntasks: int | None = None
    memory_mb: int | None = None
    seconds: int | None = None
    batch_size: int | None = None  # frames per task
    dependency: tuple[str, ...] = ()  # tags of steps to wait for
    singleton: bool = False  # no two jobs of one name at once
    dependency_type: str = "afterok"
    line: int = 0


@dataclass(frozen=True)
class StepResources:
    """The resources of one step, and of its parts where they differ."""

    job: Job
    parts: Mapping[str, Job] = field(default_factory=dict)

    def part(self, phase: str) -> Job:
        """Return the resources of a phase (``core``, ``merge`` …)."""
        return self.parts.get(phase, self.job)


@dataclass(frozen=True)
class Resources:
    """A whole resource YAML, by the tags of the pipeline's steps."""

    path: Path | None = None
    steps: Mapping[str, StepResources] = field(default_factory=dict)
    patching: Job | None = None

    def batch_size(self, tag: str, phase: str = "core") -> int | None:
        """Return the frames per task that a step asks for, or None."""
        found = self.steps.get(tag)
        return found.part(phase).batch_size if found else None


def load_resources(path: Path | str, pipeline: Pipeline) -> Resources:
    """Read and check a resource YAML against the pipeline that it is for.

    Raises
    ------
    PlanProblems
        With one line for each mistake in the file.
    """
    path = Path(path)
    problems = Problems(str(path))
    root = nodes.read(path, problems)
    if root is None:
        problems.raise_if_any()
    assert root is not None
    checks.known_keys(root, TOP_KEYS, problems, "key")
    reader = _Reader(pipeline, problems)
    resources = reader.read(root, path)
    reader.check_dependencies()
    problems.raise_if_any()
    return resources


class _Reader:
    def __init__(self, pipeline: Pipeline, problems: Problems) -> None:
        self.pipeline = pipeline
        self.problems = problems
        self.waits: dict[str, dict[str, Node]] = {}  # tag -> tag waited for -> its node

    def read(self, root: Node, path: Path) -> Resources:
        steps: dict[str, StepResources] = {}
        patching = None
        node = root.get("pipeline")
        if node is None:
            message = "is missing: it holds the resources by stage and tag"
            self.problems.add(root.line, "pipeline", message)
        elif node.kind != "map":
            message = f"must map stages to the resources of their steps, not {node}"
            self.problems.add(node.line, node.where, message)
        else:
            for key, child in node.fields.items():
                stage = STAGE_ALIASES.get(key, key)
                if child.is_null:
                    continue
                if stage == PATCHING:
                    patching = self._job(child, Job(), PATCHING, ())
                elif stage in STAGES:
                    steps |= self._stage(stage, child)
                else:
                    message = f"unknown stage{suggestion(key, (*STAGES, PATCHING))}"
                    self.problems.add(child.line, child.where, message)
        return Resources(path, steps, patching)

    def _stage(self, stage: str, node: Node) -> dict[str, StepResources]:
        if node.kind != "map":
            message = f"must map tags of steps to their resources, not {node}"
            self.problems.add(node.line, node.where, message)
            return {}
        steps = {step.tag: step for step in self.pipeline.all_steps if step.stage == stage}
        if stage == TABULATION and steps and not set(node.fields) & set(steps):
            return self._shared(steps, node)
        found = {}
        for tag, child in node.fields.items():
            if tag not in steps:
                self.problems.add(child.line, child.where, self._unknown_tag(tag, stage, steps))
            elif not child.is_null:
                found[tag] = self._step(steps[tag], child)
        return found

    def _shared(self, steps: Mapping[str, Step], node: Node) -> dict[str, StepResources]:
        """Read label_to_sparse without tags: the same resources for each of its entries."""
        first, *others = steps
        resources = self._step(steps[first], node)
        for tag in others:
            self.waits.setdefault(tag, {}).update(self.waits.get(first, {}))
        return dict.fromkeys(steps, resources)

    def _unknown_tag(self, tag: str, stage: str, steps: Mapping[str, Step]) -> str:
        other = next((s for s in self.pipeline.all_steps if s.tag == tag), None)
        if other is not None:
            return f"{quoted(tag)} is a step of {other.stage}, not of {stage}: move it there"
        message = f"the pipeline has no step with this tag in {stage}"
        if steps:
            return message + suggestion(tag, steps)
        near = nearest(tag, [step.tag for step in self.pipeline.all_steps])
        return message + (f"; did you mean {near}?" if near else "")

    def _step(self, step: Step, node: Node) -> StepResources:
        phases = step.row.phases
        job = self._job(node, Job(), step.tag, phases)
        parts = {}
        for phase in phases:
            child = node.get(phase) if node.kind == "map" else None
            if child is not None:
                parts[phase] = self._job(child, job, step.tag, ())
        return StepResources(job, parts)

    def _job(self, node: Node, outer: Job, tag: str, phases: tuple[str, ...]) -> Job:
        """Read the keys of one job; what it does not say is taken from ``outer``."""
        problems = self.problems
        if node.kind != "map":
            problems.add(node.line, node.where, f"must be a mapping of resources, not {node}")
            return outer
        valid = (*KEYS, *(phases if len(phases) > 1 else ()))
        checks.known_keys(node, valid, problems, "key of resources")
        values: dict[str, object] = {"line": node.line}
        for key, name in (
            ("cpus-per-task", "cpus"),
            ("ntasks", "ntasks"),
            ("batch_size", "batch_size"),
        ):
            if (child := node.get(key)) is not None:
                values[name] = checks.integer(child, problems, minimum=1)
        for key, name, read in (
            ("partition", "partition", _partition),
            ("gres", "gres", _gres),
            ("mem", "memory_mb", _memory),
            ("time", "seconds", _time),
        ):
            if (child := node.get(key)) is not None:
                values[name] = read(child, problems)
        if (child := node.get("dependency_type")) is not None:
            kind = checks.choice(child, DEPENDENCY_TYPES, problems)
            values["dependency_type"] = kind or outer.dependency_type
        if (child := node.get("dependency")) is not None:
            tags = self._dependency(child, tag)
            values["dependency"] = tuple(t for t in tags if t != SINGLETON)
            values["singleton"] = SINGLETON in tags
        return replace(outer, **values)  # type: ignore[arg-type]

    def _dependency(self, node: Node, tag: str) -> list[str]:
        """Read ``dependency``: singleton, a tag, or a list of tags."""
        items = node.items if node.kind == "list" else (node,)
        known = {step.tag: [step.tag] for step in self.pipeline.all_steps}
        tabulation = [step.tag for step in self.pipeline.all_steps if step.stage == TABULATION]
        if tabulation:
            known.setdefault(TABULATION, tabulation)
        found: list[str] = []
        for item in items:
            name = checks.name(item, self.problems, "a step to wait for")
            if name is None or name in (SINGLETON, PATCHING):
                found += [SINGLETON] if name == SINGLETON else []
            elif name in known:
                found += known[name]
                for other in known[name]:
                    self.waits.setdefault(tag, {})[other] = item
            else:
                valid = (SINGLETON, *known)
                message = f"there is no step with the tag {quoted(name)}{suggestion(name, valid)}"
                self.problems.add(item.line, item.where, message)
        return found

    def check_dependencies(self) -> None:
        """Note each circle of dependencies, those through the data included."""
        graph: dict[str, set[str]] = {tag: set(to) for tag, to in self.waits.items()}
        for step in self.pipeline.all_steps:
            graph.setdefault(step.tag, set()).update(self._needs(step))
        while True:
            try:
                TopologicalSorter(graph).prepare()
                return
            except CycleError as error:
                circle = list(reversed(error.args[1]))
            declared = [(a, b) for a, b in itertools.pairwise(circle) if b in self.waits.get(a, {})]
            for a, b in declared:
                graph[a].discard(b)
            self._note_circle(circle, declared)

    def _note_circle(self, circle: list[str], declared: list[tuple[str, str]]) -> None:
        node = self.waits[declared[0][0]][declared[0][1]]
        words = [circle[0]]
        for a, b in itertools.pairwise(circle):
            how = "waits for" if (a, b) in declared else "needs the results of"
            words += [how, b] if len(words) == 1 else [f", which {how}", b]
        shown = " ".join(words).replace(" ,", ",")
        self.problems.add(node.line, node.where, f"dependencies go in a circle: {shown}")

    def _needs(self, step: Step) -> set[str]:
        tags = {other.slug: other.tag for other in self.pipeline.all_steps}
        return {
            tags[layer.tag]
            for group in step.groups
            for layers in group.inputs.values()
            for layer in layers
            if layer.tag not in (INGEST, step.slug) and layer.tag in tags
        }


def _partition(node: Node, problems: Problems) -> str | None:
    return _matching(node, _PARTITION, "the name of a partition, such as short", problems)


def _gres(node: Node, problems: Problems) -> str | None:
    text = node.text if node.kind == "scalar" else ""
    if node.kind == "scalar" and all(_GRES.fullmatch(part) for part in text.split(",")):
        return text
    message = f"must be name:type:count, such as gpu:1 or gpu:a100-pcie-40gb:1, not {node}"
    problems.add(node.line, node.where, message)
    return None


def _matching(node: Node, pattern: re.Pattern[str], what: str, problems: Problems) -> str | None:
    if isinstance(node.value, str | int) and pattern.fullmatch(node.text):
        return node.text
    problems.add(node.line, node.where, f"must be {what}, not {node}")
    return None


def _memory(node: Node, problems: Problems) -> int | None:
    """Read memory as SLURM does: a number with K, M, G or T; without a unit, MB."""
    match = _MEMORY.fullmatch(node.text.strip()) if node.kind == "scalar" else None
    size = float(match[1]) * _MB[(match[2] or "M").upper()] if match else 0.0
    if not 0 < size < 2**40:
        message = f"must be memory such as 32G or 1024M, not {node}"
        problems.add(node.line, node.where, message)
        return None
    return max(1, round(size))


def _time(node: Node, problems: Problems) -> int | None:
    """Read a time as SLURM does: minutes, [hours:]minutes:seconds, days-hours[:…]."""
    match = _TIME.fullmatch(node.text.strip()) if node.kind == "scalar" else None
    seconds = 0
    if match and len(node.text) < 30:
        parts = {key: int(value) for key, value in match.groupdict().items() if value}
        hours = parts.get("hours", 0) + parts.get("h", 0) + 24 * parts.get("days", 0)
        minutes = parts.get("minutes", 0) + parts.get("m", 0) + parts.get("only", 0)
        seconds = 3600 * hours + 60 * minutes + parts.get("seconds", 0) + parts.get("s", 0)
    if not 0 < seconds < 2**40:
        message = f'must be a time such as "04:00:00", "10-00:00:00" or minutes, not {node}'
        problems.add(node.line, node.where, message)
        return None
    return seconds
