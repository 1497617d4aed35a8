"""A position whose tasks are killed three times does not stop the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from faults import wait_for
from hand_made import job, make_environment, step
from nextflow import Result, begin, ended, run, trace_rows

pytestmark = pytest.mark.slow
KILLED = {
    "bad": "bash -c 'kill -9 $$'",  # the program alone, as the kernel does when memory runs out
    "worse": "kill -9 $$",  # the task's script with it, as SLURM does
}


def plan_of(kills: dict[str, str]) -> dict:
    """Three positions: what each makes is published, and one task gathers all."""
    names = ("good", "bad", "worse")
    made = [
        job(
            f"Make {p}", f"{kills.get(p, 'true')}; echo {p} > out/{p}.made", [], [f"{p}.made"],
            position=p,
        )
        for p in names
    ]  # fmt: skip
    read = [
        job(
            f"Read {p}", f"cp in/{p}.made out/{p}.read", [f"{p}.made"], [f"{p}.read"],
            position=p, publish={f"{p}.read": f"fov_{p}/{p}.csv"},
        )
        for p in names
    ]  # fmt: skip
    reads = [f"{p}.read" for p in names]
    gather = job("Gather", "cat in/* > out/all", reads, ["all"], publish={"all": "all.txt"})
    return {
        "outdir": "results",
        "positions": 3,
        "steps": [
            step("Make", "preprocessing", "GAMMA", core=made),
            step("Read", "postprocessing", "FIT_TRACES", core=read),
            step("Report", "delivery", "REPORT", core=[gather]),
        ],
    }


class Run(NamedTuple):
    """A run: what it said, its exit status as ./cytoloom would have it, its files, its tasks."""

    result: Result
    status: str
    files: list[str]
    tasks: list[tuple[str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("failed positions")
    make_environment(folder / "envs")
    (folder / "cores.config").write_text("executor.cpus = 4\nexecutor.pollInterval = '100 ms'\n")
    asked = folder / "status"
    words = ["-c", "cores.config", "--pipeline", "plan.yaml", "--outdir", "results"]
    found = []
    for kills, more in ((KILLED, []), ({}, ["-resume"])):
        (folder / "plan.yaml").write_text(json.dumps(plan_of(kills)))
        asked.write_text("")
        env = {"CYTOLOOM_EXIT_FILE": str(asked)}
        result = run([*words, "--envs", "envs", *more], folder, env=env)
        files = sorted(str(p.relative_to(result.outdir)) for p in result.outdir.rglob("*"))
        tasks = [(row["tag"], row["status"]) for row in trace_rows(result)]
        found.append(Run(result, asked.read_text(), files, tasks))
    return found


def test_the_others_are_whole_and_the_run_says_which_failed(runs: list[Run]) -> None:
    result, status, files, _ = runs[0]
    assert status == "65", result.text
    assert "cytoloom: 2 positions failed, the others are done; -resume tries" in result.stderr
    said = [line.strip() for line in result.stderr.splitlines() if "cytoloom:   " in line]
    assert said == [
        "cytoloom:   bad: Make bad: ended by signal 9",
        "cytoloom:   worse: Make worse: killed three times (memory, time, or its node)",
    ]
    results = [name for name in files if not name.startswith("pipeline_info")]
    assert results == ["all.txt", "fov_good", "fov_good/good.csv"]
    assert "pipeline_info/failed.txt" in files


def test_each_was_tried_three_times(runs: list[Run]) -> None:
    tasks = runs[0].tasks
    assert tasks.count(("Make good", "COMPLETED")) == 1
    assert tasks.count(("Make bad", "FAILED")) == 2
    assert tasks.count(("Make bad", "COMPLETED")) == 1  # the third notes the failure
    assert tasks.count(("Make worse", "FAILED")) == 3
    assert tasks.count(("Make worse", "COMPLETED")) == 1


def test_mended_the_failed_positions_alone_run_again(runs: list[Run]) -> None:
    result, status, files, tasks = runs[1]
    assert (result.returncode, status) == (0, ""), result.text
    ran = {name for name, status in tasks if status != "CACHED"}
    assert ran == {"Make bad", "Make worse", "Read bad", "Read worse", "Gather"}
    assert (result.outdir / "all.txt").read_text().split() == ["bad", "good", "worse"]
    assert "pipeline_info/failed.txt" not in files


def test_a_failed_position_runs_again_when_the_head_was_killed(tmp_path: Path) -> None:
    """What stands for its files is neither a result nor taken as done."""
    make_environment(tmp_path / "envs")
    fails = "[ -e ../../../mended ] || { echo 'a.tif: damaged' >&2; exit 65; }; echo 1 > out/bad"
    waits = "while [ ! -e ../../../mended ]; do sleep 0.1; done; echo 1 > out/good"
    jobs = [
        job(f"Make {p}", command, [], [p], position=p, publish={p: f"fov_{p}.csv"})
        for p, command in (("bad", fails), ("good", waits))
    ]
    steps = [step("Make", "preprocessing", "GAMMA", core=jobs)]
    plan = {"outdir": "results", "positions": 2, "steps": steps}
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    words = ["--pipeline", "plan.yaml", "--envs", "envs", "--outdir", "results"]
    outdir = tmp_path / "results"
    first = begin(tmp_path, words)
    try:
        wait_for(lambda: ended(outdir).get("Make bad"), "the position that fails", first)
    finally:
        first.kill()
        first.wait()
    assert not list(outdir.glob("*.csv"))
    (tmp_path / "mended").touch()
    result = run([*words, "-resume"], tmp_path)
    assert result.returncode == 0, result.text
    assert ended(outdir) == {"Make bad": "COMPLETED", "Make good": "COMPLETED"}
    assert [p.read_text() for p in sorted(outdir.glob("*.csv"))] == ["1\n"] * 2
    assert not list((tmp_path / "work").glob(".failures-*/*"))
