"""What a plan is made of: steps of jobs, each job one task with its command and its files.

A job's command carries the digest of its code, so that Nextflow, which hashes the
command, runs again exactly what a change of code reaches.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

BASE_MEMORY_MB = 700


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
    incomplete
        Of a job that gathers layers and can do without some that are lost: what its command
        gets added then. None: it needs all its inputs.
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
    incomplete: str | None = None


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
