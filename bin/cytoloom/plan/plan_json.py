"""The plan as ``plan.json``, which main.nf reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cytoloom.plan.assemble import Plan
from cytoloom.plan.grammar import CAP
from cytoloom.plan.jobs import Job
from cytoloom.plan.mounts import folders_of
from cytoloom.plan.resources import Wait
from cytoloom.plan.submissions import job_name

STAGE_FOLDERS = {"label_to_sparse": "tabulation"}


def to_json(
    plan: Plan,
    environment: Callable[[str], str],
    image: Callable[[str], str],
    version: str,
    mounts: Sequence[Path] = (),
) -> dict[str, Any]:
    """Return ``plan.json``.

    Parameters
    ----------
    environment, image
        Give the names of a family's environment and image.
    mounts
        Folders that every task in an image must see besides those that the jobs name.
    """
    asked = plan.submissions()
    slugs_ = {step.tag: step.slug for step in plan.pipeline.steps}
    may_fail = {slugs_[tag] for tag in asked.may_fail()}
    return {
        "version": version,
        "cap": CAP,
        "outdir": str(plan.outdir),
        "positions": len(plan.positions),
        "mounts": folders_of((job.command for job in plan.jobs()), mounts),
        "given": [{"name": name, "path": path} for name, path in plan.given],
        "steps": [
            {
                "index": index,
                "tag": step.tag,
                "name": step.name,
                "stage": STAGE_FOLDERS.get(step.stage, step.stage),
                "tools": {phase: step.tools.get(phase, step.tool) for phase in step.phases},
                "phases": {
                    phase: [_job_json(job, environment, image) for job in jobs]
                    for phase, jobs in step.phases.items()
                },
                "resources": {
                    phase: {"name": job_name(step, phase), **asked.asked(step, phase)}
                    for phase in step.phases
                },
                "after": {phase: _after(plan, asked.waits(step, phase)) for phase in step.phases},
                "may_fail": step.tag in may_fail,
            }
            for index, step in enumerate(plan.steps, start=1)
        ],
    }


def _after(plan: Plan, waits: list[tuple[Wait, bool]]) -> list[dict[str, Any]]:
    """Return what a phase waits for, as main.nf reads it: steps by the tags of the plan."""
    slugs_ = {step.tag: step.slug for step in plan.pipeline.steps}
    return [
        {"step": slugs_[wait.tag], "phase": wait.phase, "any": any_end} for wait, any_end in waits
    ]


def _job_json(
    job: Job, environment: Callable[[str], str], image: Callable[[str], str]
) -> dict[str, Any]:
    return {
        "id": job.id,
        "command": job.command,
        "code": job.code,
        "family": job.family,
        "environment": environment(job.family),
        "image": image(job.family),
        "inputs": job.inputs,
        "outputs": job.outputs,
        "publish": job.publish,
        "position": job.position,
        "reads_engine": job.reads_engine,
        "incomplete": job.incomplete,
    }
