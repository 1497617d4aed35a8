"""Plans of shell commands, made by hand, and a stand-in for the environment that runs them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from nextflow import PROJECT

Job = dict[str, Any]


def job(
    name: str, command: str, inputs: list[str], outputs: list[str], **more: dict[str, str]
) -> Job:
    """A job as the plan has it; its inputs are given in reverse to test the sorting."""
    return {
        "id": name,
        "command": command,
        "code": "1",
        "family": "core",
        "inputs": inputs[::-1],
        "outputs": outputs,
        **more,
    }


def step(
    tag: str, stage: str, tool: str, memory_mb: int = 200, **phases: list[Job]
) -> dict[str, Any]:
    """A step with its phases."""
    resources = {"cpus": 1, "memory_mb": memory_mb, "seconds": 600, "partition": None, "gres": None}
    merge = "MERGE_TABLES" if stage == "tabulation" else "MERGE_PARTS"
    processes = {"number": "NUMBER", "stitch": "STITCH", "merge": merge, "relabel": "RELABEL"}
    return {
        "tag": tag,
        "stage": stage,
        "tools": {phase: processes.get(phase, tool) for phase in phases},
        "name": tag,
        "phases": phases,
        "resources": dict.fromkeys(phases, resources),
    }


def make_environment(envs: Path) -> None:
    """A stand-in for ``core``: ``python`` copies the plan, or fails as that program would."""
    lock = (PROJECT / "containers/core/requirements.lock").read_bytes()
    programs = envs / f"core-{hashlib.sha256(lock).hexdigest()[:12]}" / "bin"
    programs.mkdir(parents=True)
    python = """#!/bin/bash
[ "$1" = -m ] && exec python3 "$@"
while [ $# -gt 0 ]; do
    case $1 in --pipeline) from=$2;; --out) to=$2;; esac
    shift
done
case $from in
    bad.yaml)
        echo "bad.yaml:3: pipeline: unknown step 'Stardust'; did you mean StarDist?" >&2
        exit 65;;
    *) cp "$from" "$to";;
esac
"""
    for name, text in {"python": python, "own_program": "#!/bin/sh\nprintf ' own'\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
