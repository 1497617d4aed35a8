"""The command that measures what steps cost: all steps are in it, and it measures one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cytoloom.plan.registry import load_registry

PROJECT = Path(__file__).parents[2]
COSTS = PROJECT / "benchmarks" / "step_costs.py"
NOT_THERE = {"TrackMate"}  # needs its jars


def test_every_step_is_measured() -> None:
    given = YAML(typ="safe").load(COSTS.with_suffix(".yaml"))
    stages = [data["pipeline"] for name, data in given.items() if name != "needs"]
    steps = {
        step["name"] for stage in stages for found in stage.values()
        if isinstance(found, list) for step in found
    }  # fmt: skip
    available = {row.name for row in load_registry() if row.available}
    assert available - steps - {"LabelToSparse"} == NOT_THERE


@pytest.mark.slow
def test_a_step_is_measured_beside_what_the_registry_says(tmp_path: Path) -> None:
    words = ["--steps", "GammaCorrection", "--sizes", "2x128", "6x128", "2x256"]
    command = [sys.executable, COSTS, *words, "--json", tmp_path / "costs.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    heads, row, *rest = done.stdout.splitlines()
    assert heads.split()[:4] == ["step", "phase", "B/voxel", "B/frame"]
    assert row.split()[:2] == ["GammaCorrection", "core"]
    assert not rest
    tasks = json.loads((tmp_path / "costs.json").read_text())
    assert [task["voxels"] for task in tasks] == [2 * 128**2, 6 * 128**2, 2 * 256**2]
    assert all(20 < task["peak_mb"] < task["planned_mb"] for task in tasks)
    assert all(task["cpu_seconds"] > 0 for task in tasks)
