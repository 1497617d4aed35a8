#!/usr/bin/env python3
"""Many small tasks under SLURM: do all run, how long, and how much memory the head takes.

    eval "$(tests/system/slurm/start.sh)"     # a real SLURM on this machine; or use your own
    python benchmarks/scale_slurm.py 2000

The plan is made by hand: tasks that write one byte, and one that needs the files of all. So
what is measured is Nextflow, SLURM and main.nf. Prints one JSON line.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "bin")]

from launcher import nextflow  # noqa: E402 - needs the path above


def plan(outdir: Path, tasks: int) -> dict:
    """Plan of ``tasks`` jobs that need nothing, and one that needs them all."""
    size = len(str(tasks))
    names = [f"{i:0{size}d}" for i in range(tasks)]
    few = {"cpus": 1, "memory_mb": 200, "seconds": 600}
    common = {"code": "", "family": "", "publish": {}}
    small = [
        {
            "id": f"task {n}",
            "command": f"printf x > out/{n}",
            "inputs": [],
            "outputs": [n],
            **common,
        }
        for n in names
    ]
    last = {
        "id": "all",
        "command": "cat in/* | wc -c > out/all",
        "inputs": names,
        "outputs": ["all"],
        **common,
        "publish": {"all": "all.txt"},
    }
    steps = [("ingest", "IMAGES", small), ("delivery", "REPORT", [last])]
    return {
        "version": "0",
        "outdir": str(outdir),
        "steps": [
            {
                "tag": stage,
                "name": stage,
                "stage": stage,
                "tools": {"core": tool},
                "phases": {"core": jobs},
                "resources": {"core": few},
            }
            for stage, tool, jobs in steps
        ],
    }


def peak_memory(pid: int) -> int:
    """Most memory that a process has held so far [MB]; 0 when it is gone."""
    try:
        text = Path("/proc", str(pid), "status").read_text()
    except OSError:
        return 0
    return next((int(w.split()[1]) // 1024 for w in text.splitlines() if w[:5] == "VmHWM"), 0)


def measure(folder: Path, tasks: int, env: dict[str, str], *words: str) -> dict:
    """Run ``tasks`` tasks in a folder and return what it took.

    Raises
    ------
    RuntimeError
        When the run fails or a task's result is not there.
    """
    (folder / "plan.json").write_text(json.dumps(plan(folder / "out", tasks)))
    command, environment = nextflow.start_command()
    given = ["--plan", "plan.json", "--outdir", "out", "-profile", "slurm,local", *words]
    before, began, most = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic(), 0
    with open(folder / "said.txt", "w") as said:
        head = subprocess.Popen(
            [*command, "run", str(PROJECT / "main.nf"), *given],
            cwd=folder,
            env={**environment, "NXF_ANSI_LOG": "false", **env},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        while head.poll() is None:
            most = max(most, peak_memory(head.pid))
            time.sleep(0.5)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if head.returncode or int((folder / "out" / "all.txt").read_text()) != tasks:
        raise RuntimeError((folder / "said.txt").read_text()[-2000:])
    return {
        "tasks": tasks,
        "seconds": round(time.monotonic() - began),
        "head_cpu_seconds": round(
            used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        ),
        "head_peak_memory_mb": most,
        "heap_limit_mb": nextflow.heap_megabytes(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", type=int, nargs="?", default=2000)
    parser.add_argument("--folder", type=Path, help="where to run; default: a temporary folder")
    given, words = parser.parse_known_args()
    if "SLURM_CONF" not in os.environ and not Path("/etc/slurm/slurm.conf").exists():
        parser.error('no SLURM: eval "$(tests/system/slurm/start.sh)"')
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(measure(folder, given.tasks, {}, *words)), flush=True)


if __name__ == "__main__":
    main()
