"""What each phase of a step asks the scheduler for, what it waits for, and how that looks.

The resource YAML says it, else the shape of the data. Phases of a step on a GPU that need
none themselves (numbering, stitching) do not ask for it: they go where ``pipeline.patching``
goes, with what the data need. A `Site` holds what is the same for all jobs of a cluster.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cytoloom.plan.jobs import Job, PlannedStep
from cytoloom.plan.model import INGEST, Pipeline, Step
from cytoloom.plan.resource_values import memory_text, time_text
from cytoloom.plan.resources import Job as Asked
from cytoloom.plan.resources import Resources, Wait, needs

FEW = 2  # jobs of a phase that are worth an array


@dataclass(frozen=True)
class Site:
    """What holds for all jobs on a cluster, where the resource YAML says nothing else."""

    partition: str | None = None
    gpu_partition: str | None = None
    gpu_type: str | None = None
    account: str | None = None
    qos: str | None = None
    array_size: int | None = None

    def of(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a phase asks for with the site's own values filled in."""
        gres = str(asked.get("gres") or "")
        gpu = gres.startswith("gpu")
        if gpu and self.gpu_type and (gres == "gpu" or gres.removeprefix("gpu:").isdecimal()):
            gres = f"gpu:{self.gpu_type}:{gres.removeprefix('gpu').lstrip(':') or 1}"
        partition = asked.get("partition") or (self.gpu_partition if gpu else None)
        options = {"account": self.account, "qos": self.qos, **asked.get("options", {})}
        return {
            **asked,
            "gres": gres,
            "partition": partition or self.partition,
            "options": {key: value for key, value in options.items() if value},
        }


@dataclass(frozen=True)
class Submissions:
    """The requests and the order of all planned steps."""

    pipeline: Pipeline
    resources: Resources
    steps: Sequence[PlannedStep]
    by_slug: Mapping[str, Step] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_slug", {step.slug: step for step in self.pipeline.steps})

    def asked(self, planned: PlannedStep, phase: str) -> dict[str, Any]:
        """Return what the tasks of a phase ask for."""
        jobs = planned.phases[phase]
        said = self._said(planned, phase)
        found: dict[str, Any] = {
            "cpus": (said.cpus or max(job.cores for job in jobs)) * (said.ntasks or 1),
            "memory_mb": said.memory_mb or max(job.memory_mb for job in jobs),
            "seconds": said.seconds or max(job.seconds for job in jobs),
        }
        gres = said.gres or ("gpu:1" if any(job.gpu for job in jobs) else None)
        more = {"gres": gres, "partition": said.partition, "options": dict(said.options)}
        return found | {key: value for key, value in more.items() if value}

    def _said(self, planned: PlannedStep, phase: str) -> Asked:
        """Return what the resource YAML says of a phase."""
        patching = self.resources.patching or Asked()
        if planned.stage == INGEST:
            return patching
        step = self.by_slug.get(planned.tag)
        given = self.resources.steps.get(step.tag) if step else None
        if given is None or step is None:
            return Asked()
        said = given.part(phase)
        of_data = phase not in given.parts and phase in ("number", "stitch", "merge", "relabel")
        if of_data and (said.gres or "").startswith("gpu"):
            return Asked(partition=patching.partition, options=said.options)
        return said

    def waits(self, planned: PlannedStep, phase: str) -> list[tuple[Wait, bool]]:
        """Return what a phase waits for, and whether the other may have failed.

        Only steps of this run count. Where data are needed, a failure of what makes them is
        one of this phase, whatever its ``dependency_type``.
        """
        step = self.by_slug.get(planned.tag)
        if step is None:
            return []
        given = self.resources.steps.get(step.tag)
        said = given.part(phase) if given else Asked()
        here = {self.by_slug[one.tag].tag: one for one in self.steps if one.tag in self.by_slug}
        read = needs(self.pipeline, step)
        return [
            (wait, said.dependency_type == "afterany" and wait.tag not in {*read, step.tag})
            for wait in said.dependency
            if wait.tag in here and (wait.phase is None or wait.phase in here[wait.tag].phases)
        ]

    def may_fail(self) -> set[str]:
        """Return the tags of steps after whose failure others go on."""
        harmless = {step.tag for step in self.pipeline.steps if step.row.may_fail}
        return harmless | {
            wait.tag
            for planned in self.steps
            for phase in planned.phases
            for wait, any_end in self.waits(planned, phase)
            if any_end
        }

    def singleton(self, planned: PlannedStep, phase: str) -> bool:
        """Tell whether a phase was asked to run once at a time."""
        return self._said(planned, phase).singleton

    def warnings(self) -> Iterator[str]:
        """Yield a line for each phase that is given less memory than its data need."""
        for planned in self.steps:
            for phase, jobs in planned.phases.items():
                said = self._said(planned, phase).memory_mb
                need = max(job.memory_mb for job in jobs)
                if said and said < need:
                    what = f"{planned.tag}, {phase}: mem {memory_text(said)}"
                    yield f"resources: {what} is less than the {need} MB that the data may need"

    def lines(self, site: Site) -> Iterator[str]:
        """Yield the submissions as sbatch lines: one for each phase and size of array."""
        for planned in self.steps:
            for phase, jobs in planned.phases.items():
                options = self._options(planned, phase, site)
                counts = Counter(Counter(_group(job) for job in jobs).values())
                for size, groups in counts.items():
                    array = [f"--array=0-{size - 1}"] if size >= FEW else []
                    words = " ".join(shlex.quote(word) for word in [*options, *array])
                    times = f"{groups} times (positions and channels)" if groups > 1 else ""
                    yield f"sbatch {words}{self._notes(planned, phase, times)}"

    def _options(self, planned: PlannedStep, phase: str, site: Site) -> list[str]:
        asked = site.of(self.asked(planned, phase))
        ends: dict[str, list[str]] = {}
        for wait, any_end in self.waits(planned, phase):
            ends.setdefault("afterany" if any_end else "afterok", []).append(str(wait))
        after = [":".join([kind, *tags]) for kind, tags in ends.items()]
        after += ["singleton"] if self.singleton(planned, phase) else []
        values = {
            "job-name": job_name(planned, phase),
            "partition": asked["partition"],
            "gres": asked["gres"],
            **asked["options"],
            "ntasks": 1,
            "cpus-per-task": asked["cpus"],
            "mem": memory_text(asked["memory_mb"]),
            "time": time_text(asked["seconds"]),
            "dependency": ",".join(after),
        }
        return [f"--{key}={value}" for key, value in values.items() if value]

    def _notes(self, planned: PlannedStep, phase: str, times: str) -> str:
        said = self._said(planned, phase)
        each = f"--ntasks={said.ntasks} of {said.cpus or 1}" if said.ntasks else ""
        notes = [each and f"{each} CPUs, as one task", times]
        return f"  # {'; '.join(filter(None, notes))}" if any(notes) else ""


def job_name(planned: PlannedStep, phase: str) -> str:
    """Return the name of a phase's jobs in squeue."""
    return planned.tag if phase == "core" else f"{planned.tag}.{phase}"


def _group(job: Job) -> str:
    """Return position and channel of a job, which its id begins with after the tag."""
    return " ".join(job.id.split(" ")[1:3])
