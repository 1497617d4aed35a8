"""The order that `dependency` of the resource YAML adds, and what goes on after a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nextflow import Result, trace
from test_graph import job, start, step

pytestmark = pytest.mark.slow


PARTS = ["p.Read.a.table.0000.x", "p.Read.a.table.0001.x"]  # of one layer
UNITED = ["any0", "any1", *PARTS]


def waits(*steps: str, any_end: bool = False, phase: str | None = None) -> dict[str, Any]:
    """What the plan says of a phase that waits for steps."""
    return {"core": [{"step": tag, "phase": phase, "any": any_end} for tag in steps]}


def plan(first: str) -> dict[str, Any]:
    """Eight steps; only `Read` needs the file of `First`, whose command is given."""
    steps = [
        step("In", "ingest", "IMAGES", core=[job("In", "touch out/in", [], ["in"])]),
        step("First", "segmentation", "THRESHOLD", core=[job("First", first, ["in"], ["first"])]),
        step("Read", "tabulation", "REGIONS",
             core=[job("Read", f"cp in/first out/{PARTS[0]}", ["first"], [PARTS[0]]),
                   job("Read on", f"touch out/{PARTS[1]}", ["in"], [PARTS[1]])]),
        step("Ok", "preprocessing", "GAMMA", core=[job("Ok", "touch out/ok", ["in"], ["ok"])]),
        step("Any", "tracking", "LAPTRACK",
             core=[job(f"Any {i}", f"date +%s%N > out/any{i}", ["in"], [f"any{i}"])
                   for i in range(2)]),
        step("Own", "postprocessing", "FILTER", core=[job("Own", "touch out/own", [], ["own"])]),
        step("Last", "postprocessing", "DENSITY",
             core=[job("Last", "touch out/last", ["any0"], ["last"])]),
        step("Unite", "delivery", "UNITE", core=[
            job("Unite", "ls in > out/united; echo >> out/united united", UNITED, ["united"],
                publish={"united": "united.txt"}, incomplete="without some"),
            job("Nothing", "touch out/nothing", PARTS[:1], ["nothing"], incomplete=""),
        ]),
    ]  # fmt: skip
    steps[1]["may_fail"] = True
    steps[3]["after"] = waits("First")
    steps[4]["after"] = waits("First", any_end=True)
    steps[5]["after"] = waits("Any", phase="core")
    return {"version": "0", "steps": steps}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("done")
    return start(folder, plan("sleep 2; date +%s%N > out/first"))


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("failed")
    return start(folder, plan("echo 'in: damaged' >&2; exit 65"))


def made(result: Result, name: str) -> int:
    (path,) = (result.cwd / "work").glob(f"*/*/out/{name}")
    return int(path.read_text())


def test_a_step_waits_for_another_whose_data_it_does_not_need(done: Result) -> None:
    assert done.returncode == 0, done.text
    assert set(trace(done).values()) == {"COMPLETED"}
    assert min(made(done, "any0"), made(done, "any1")) > made(done, "first")


def test_after_a_failure_only_afterany_goes_on_and_the_run_fails(failed: Result) -> None:
    assert failed.returncode != 0
    went = {name: status for name, status in trace(failed).items() if name != "In"}
    others = dict.fromkeys(["Any 0", "Any 1", "Own", "Last", "Read on", "Unite"], "COMPLETED")
    assert went == {"First": "FAILED", **others}
    (line,) = (line for line in failed.stderr.splitlines() if line.startswith("cytoloom: failed"))
    assert "First: in: damaged" in line


def test_what_gathers_does_without_layers_that_are_not_whole(failed: Result, done: Result) -> None:
    (text,) = (path.read_text() for path in failed.cwd.rglob("out*/united.txt"))
    assert text.split("\n") == ["any0", "any1", "united without some", ""]
    (text,) = (path.read_text() for path in done.cwd.rglob("out*/united.txt"))
    assert text.split("\n") == [*UNITED, "united", ""]


def test_the_rest_runs_after_the_mend(failed: Result, tmp_path: Path) -> None:
    again = start(failed.cwd, plan("touch out/first"), "-resume")
    assert again.returncode == 0, again.text
    status = trace(again)
    assert {name for name, one in status.items() if one == "CACHED"} == {
        "In", "Any 0", "Any 1", "Own", "Last", "Read on"
    }  # fmt: skip
    ran = ("First", "Read", "Ok", "Unite", "Nothing")
    assert {status[name] for name in ran} == {"COMPLETED"}
    (text,) = (path.read_text() for path in again.cwd.rglob("out*/united.txt"))
    assert text.split("\n") == [*UNITED, "united", ""]
