"""The resource YAML: what SLURM is asked for, per step, read and checked.

Keyed ``pipeline.<stage>.<tag>`` as in pyCyto, with nested sub-jobs (``core`` and ``merge``
of label_to_sparse, the five of Ultrack, our own phases of a step in patches) that inherit
from their step. A ``dependency`` orders jobs beyond what their data already order; one
against the data, or in a circle, is a mistake. ``submissions`` turns what is read here into
what each phase of a step asks for; ``profiles`` reads pyCyto's container profiles.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from cytoloom.plan import checks, nodes, resource_values
from cytoloom.plan.entries import STAGE_ALIASES, TABULATION
from cytoloom.plan.model import INGEST, Pipeline, Step
from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems, nearest, quoted, suggestion
from cytoloom.plan.profiles import PROFILE_KEYS, Profile, read_profile
from cytoloom.plan.registry import STAGES

VALUES = {
    "partition": ("partition", resource_values.partition),
    "gres": ("gres", resource_values.gres),
    "cpus-per-task": ("cpus", resource_values.whole),
    "ntasks": ("ntasks", resource_values.whole),
    "mem": ("memory_mb", resource_values.memory),
    "time": ("seconds", resource_values.seconds),
    "batch_size": ("batch_size", resource_values.whole),
}
OPTIONS = ("account", "qos", "constraint", "reservation", "nodelist", "exclude")
KEYS = (*VALUES, "dependency", "dependency_type", *OPTIONS)
TOP_KEYS = ("pipeline", "description", *PROFILE_KEYS)
PATCHING = "patching"
SINGLETON = "singleton"
DEPENDENCY_TYPES = ("afterok", "afterany")


@dataclass(frozen=True, order=True)
class Wait:
    """What a job waits for: a step, or one of its phases."""

    tag: str
    phase: str | None = None

    def __str__(self) -> str:
        return self.tag if self.phase is None else f"{self.tag}.{self.phase}"


@dataclass(frozen=True)
class Job:
    """What one kind of job asks for; None: not said."""

    partition: str | None = None
    gres: str | None = None
    cpus: int | None = None
    ntasks: int | None = None
    memory_mb: int | None = None
    seconds: int | None = None
    batch_size: int | None = None  # frames per task, or patches where the registry says so
    dependency: tuple[Wait, ...] = ()
    singleton: bool = False  # one run of this step per output folder at a time
    dependency_type: str = "afterok"
    options: Mapping[str, str] = field(default_factory=dict)  # more options of sbatch
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
    warnings: tuple[str, ...] = ()

    def batch_size(self, tag: str, phase: str = "core") -> int | None:
        """Return the frames per task that a step asks for, or None."""
        found = self.steps.get(tag)
        return found.part(phase).batch_size if found else None

    def wants_gpu(self, step: Step) -> bool:
        """Tell whether the step's own phase is given a GPU."""
        found = self.steps.get(step.tag)
        return found is not None and (found.part(step.row.phase).gres or "").startswith("gpu")


def beside(pipeline: Path) -> Path | None:
    """Return the resource YAML that goes with a pipeline by its name, as pyCyto finds it.

    It is ``pipeline-resources.X.yaml`` in the folder of ``X.yaml``.
    """
    names = (f"pipeline-resources.{pipeline.stem}{end}" for end in (".yaml", ".yml"))
    return next((path for name in names if (path := pipeline.with_name(name)).is_file()), None)


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
    resources = reader.read(root, path, read_profile(root, pipeline, problems))
    reader.check_dependencies()
    problems.raise_if_any()
    return replace(resources, warnings=problems.warnings)


class _Reader:
    def __init__(self, pipeline: Pipeline, problems: Problems) -> None:
        self.pipeline = pipeline
        self.problems = problems
        self.waits: dict[str, dict[str, Node]] = {}  # tag -> tag waited for -> its node

    def read(self, root: Node, path: Path, profile: Profile) -> Resources:
        steps: dict[str, StepResources] = {}
        patching = None
        node = root.get("pipeline")
        if node is None:
            if not profile.found:
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
        return Resources(path, self._with_profile(steps, profile), patching)

    def _with_profile(
        self, steps: dict[str, StepResources], profile: Profile
    ) -> dict[str, StepResources]:
        """Fill what the file does not say of a step with what its container profile says."""
        found = dict(steps)
        for tag, asked in profile.steps.items():
            written = found.get(tag, StepResources(Job()))
            values = {k: v for k, v in asked.items() if getattr(written.job, k) is None}
            found[tag] = replace(written, job=replace(written.job, **values))  # type: ignore[arg-type]
        for tag, others in profile.after.items():
            written = found.get(tag, StepResources(Job()))
            waits = tuple(dict.fromkeys((*written.job.dependency, *map(Wait, others))))
            found[tag] = replace(written, job=replace(written.job, dependency=waits))
            self.waits.setdefault(tag, {}).update(others)
        return found

    def _stage(self, stage: str, node: Node) -> dict[str, StepResources]:
        if node.kind != "map":
            message = f"must map tags of steps to their resources, not {node}"
            self.problems.add(node.line, node.where, message)
            return {}
        steps = {step.tag: step for step in self.pipeline.all_steps if step.stage == stage}
        if stage == TABULATION and not set(node.fields) & set(steps):
            if steps:
                return self._shared(steps, node)
            if not set(node.fields) - {"core", "merge", *KEYS}:
                self.problems.warn(node.line, node.where, "the pipeline has no step of this stage")
                return {}
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
        return {tag: _moved(resources, first, tag) for tag in steps}

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
        parts: dict[str, Job] = {}
        for phase in phases:
            child = node.get(phase) if node.kind == "map" else None
            if child is not None:
                parts[phase] = self._job(child, job, step.tag, phases, phase)
        for phase in set(phases) - set(parts):
            like = step.row.resources_of(phase)
            if like in parts:
                parts[phase] = replace(parts[like], dependency=job.dependency)
        return StepResources(job, parts)

    def _job(
        self, node: Node, outer: Job, tag: str, phases: tuple[str, ...], phase: str | None = None
    ) -> Job:
        """Read the keys of one job; what it does not say is taken from ``outer``.

        Parameters
        ----------
        phases
            Of the step, in order: a whole step may hold a mapping for each, and a phase may
            wait for those before it.
        phase
            The phase whose resources these are; None: those of the whole step.
        """
        problems = self.problems
        if node.kind != "map":
            problems.add(node.line, node.where, f"must be a mapping of resources, not {node}")
            return outer
        valid = (*KEYS, *(phases if phase is None else ()))
        checks.known_keys(node, valid, problems, "key of resources")
        values: dict[str, object] = {"line": node.line}
        for key, (name, read) in VALUES.items():
            if (child := node.get(key)) is not None:
                values[name] = read(child, problems)
        given = {key: node.get(key) for key in OPTIONS}
        read_options = {
            key: resource_values.option(child, problems) for key, child in given.items() if child
        }
        said = {key: value for key, value in read_options.items() if value is not None}
        values["options"] = {**outer.options, **said}
        if (child := node.get("dependency_type")) is not None:
            kind = checks.choice(child, DEPENDENCY_TYPES, problems)
            values["dependency_type"] = kind or outer.dependency_type
        if (child := node.get("dependency")) is not None:
            before = phases[: phases.index(phase)] if phase else ()
            found = list(self._dependency(child, tag, before))
            values["dependency"] = tuple(wait for wait in found if wait is not None)
            values["singleton"] = None in found
        return replace(outer, **values)  # type: ignore[arg-type]

    def _dependency(self, node: Node, tag: str, before: tuple[str, ...]) -> Iterator[Wait | None]:
        """Read ``dependency``: a tag, ``tag.phase``, several of them, or singleton (None)."""
        known = self._known()
        for item in node.items if node.kind == "list" else (node,):
            written = checks.name(item, self.problems, "a step to wait for")
            whole = written is None or written in known or written == SINGLETON
            for name in [written] if whole else str(written).split(","):
                name = (name or PATCHING).strip()
                if name == SINGLETON:
                    yield None
                elif name in before:
                    yield Wait(tag, name)
                elif name in known:
                    for wait in known[name]:
                        self.waits.setdefault(tag, {})[wait.tag] = item
                        yield wait
                elif name != PATCHING:  # which comes before all steps
                    valid = (SINGLETON, *(key for key in known if "." not in key))
                    near = suggestion(name, valid, also=known)
                    message = f"there is no step with the tag {quoted(name)}{near}"
                    self.problems.add(item.line, item.where, message)

    def _known(self) -> dict[str, list[Wait]]:
        """Return what may be waited for: tags, their phases, and label_to_sparse by its key."""
        known: dict[str, list[Wait]] = {}
        for step in self.pipeline.all_steps:
            names = [step.tag, step.stage] if step.stage == TABULATION else [step.tag]
            for name in dict.fromkeys(names):
                known.setdefault(name, []).append(Wait(step.tag))
                for phase in step.row.phases:
                    known.setdefault(f"{name}.{phase}", []).append(Wait(step.tag, phase))
        return known

    def check_dependencies(self) -> None:
        """Note each circle of dependencies, those through the data included."""
        graph: dict[str, set[str]] = {tag: set(to) for tag, to in self.waits.items()}
        for step in self.pipeline.all_steps:
            graph.setdefault(step.tag, set()).update(_reads(self.pipeline, step))
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


def needs(pipeline: Pipeline, step: Step) -> set[str]:
    """Return the tags of all steps whose data a step needs, directly or through others."""
    steps = {one.tag: one for one in pipeline.all_steps}
    found: set[str] = set()
    left = _reads(pipeline, step)
    while left:
        tag = left.pop()
        found.add(tag)
        left |= _reads(pipeline, steps[tag]) - found
    return found


def _reads(pipeline: Pipeline, step: Step) -> set[str]:
    """Return the tags of the steps whose layers a step reads."""
    tags = {other.slug: other.tag for other in pipeline.all_steps}
    return {
        tags[layer.tag]
        for group in step.groups
        for layers in group.inputs.values()
        for layer in layers
        if layer.tag not in (INGEST, step.slug) and layer.tag in tags
    }


def _moved(resources: StepResources, first: str, tag: str) -> StepResources:
    """Return resources written for several steps at once as those of one of them."""

    def moved(job: Job) -> Job:
        waits = (Wait(tag, w.phase) if w.tag == first and w.phase else w for w in job.dependency)
        return replace(job, dependency=tuple(waits))

    parts = {phase: moved(job) for phase, job in resources.parts.items()}
    return StepResources(moved(resources.job), parts)
