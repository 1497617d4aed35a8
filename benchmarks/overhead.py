#!/usr/bin/env python3
"""What a run costs beside its compute: seconds of each task, and the wall time of all.

    ./cytoloom demo --outdir demo
    python benchmarks/overhead.py demo

Reads ``pipeline_info/provenance.jsonl`` (compute and start-up of each task, measured
inside it) and Nextflow's trace (wall time of each task, and of the run).
"""

import csv
import json
import sys
from collections import defaultdict
from datetime import datetime
from pathlib import Path

UNITS = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Return the seconds of Nextflow's ``1m 2.5s``."""
    total = 0.0
    for word in text.split():
        unit = word.lstrip("0123456789.")
        total += float(word.removesuffix(unit)) * UNITS[unit]
    return total


def main(folder: Path) -> None:
    """Print a table by executable and the sums."""
    info = folder / "pipeline_info"
    tasks = [json.loads(line) for line in (info / "provenance.jsonl").read_text().splitlines()]
    with open(info / "trace.txt", newline="") as file:
        trace = list(csv.DictReader(file, delimiter="\t"))
    groups = defaultdict(list)
    for task in tasks:
        groups[task["executable"]].append(task["seconds"])
    print(f"{'executable':28}{'tasks':>6}{'compute':>10}{'start-up':>10}{'greatest start-up':>20}")
    for name, found in sorted(groups.items(), key=lambda i: -sum(s["compute"] for s in i[1])):
        compute, start = (sum(s[k] for s in found) for k in ("compute", "start_up"))
        most = max(s["start_up"] for s in found)
        print(f"{name:28}{len(found):6}{compute:10.2f}{start:10.2f}{most:20.2f}")
    compute, start = (sum(t["seconds"][k] for t in tasks) for k in ("compute", "start_up"))
    real = sum(seconds(row["realtime"]) for row in trace)
    begin = min(datetime.fromisoformat(row["submit"]) for row in trace)
    end = max(
        datetime.fromisoformat(row["start"]).timestamp() + seconds(row["duration"]) for row in trace
    )
    wall = end - begin.timestamp()
    print(f"\nsum of compute {compute:.1f} s, of start-up {start:.1f} s, of tasks {real:.1f} s")
    print(f"first task to last: {wall:.1f} s = {wall / (real / 2):.2f} x (tasks / 2 cores)")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
