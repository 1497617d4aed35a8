"""The graph of ``main.nf`` under the real Nextflow, with hand-made plans of shell commands.

A stand-in for the environment of ``core`` holds a ``python`` that prints a plan instead of
making one, and a program to be found on the PATH. One run is made and looked at by many
tests, then resumed twice, in order: with other resources, and with one job changed and one
step put in front. Each start of Nextflow takes about six seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
from hand_made import job, make_environment, step
from nextflow import PROJECT, Result, nextflow, run, trace, trace_rows

pytestmark = pytest.mark.slow

ODD = 'a $HOME `x` "q" \\n ü it\'s  two blanks'
CORES = "executor.cpus = 4\nexecutor.memory = '8 GB'\nexecutor.pollInterval = '100 ms'\n"


def whole_plan(folder: Path) -> dict[str, Any]:
    """All kinds of phases. ``In 2`` ends only when ``Seg 0`` runs: no step may be waited for."""
    started, tried = quote(str(folder / "started")), quote(str(folder / "tried"))
    wait = f"for i in $(seq 300); do [ -e {started} ] && break; sleep 0.1; done; [ -e {started} ]"
    three = range(3)
    ingest = [job(f"In {i}", f"echo {i} > out/in.{i}", [], [f"in.{i}"]) for i in three]
    ingest[2]["command"] = f"{wait}; echo 2 > out/in.2"
    segment = [
        job(f"Seg {i}", f"cp in/in.{i} out/seg.{i}; cp in/in.{i} out/obj.{i}", [f"in.{i}"],
            [f"seg.{i}", f"obj.{i}"])
        for i in three
    ]  # fmt: skip
    segment[0]["command"] += f"; touch {started}"
    number = [job("Seg number", "cat in/* > out/numbers", [f"obj.{i}" for i in three], ["numbers"])]
    stitch = [
        job(f"Seg stitch {i}", f"ls in > out/lab.{i}; cat in/* >> out/lab.{i}",
            ["numbers", f"seg.{i}"], [f"lab.{i}"])
        for i in three
    ]  # fmt: skip
    tabulate = [
        job(f"Tab {i}", f"cp in/lab.{i} out/cells.{i}", [f"lab.{i}"], [f"cells.{i}"]) for i in three
    ]
    parts = [f"cells.{i}" for i in three]
    merge = [job("Tab merge", "ls -U in | tr '\\n' ' ' > out/cells", parts, ["cells"])]
    again = f"[ -e {tried} ] || {{ touch {tried}; exit 75; }}"
    track = [job("Track", f"{again}; cp in/cells out/tracks", ["cells"], ["tracks"])]
    odd = [
        job(f"Odd {ODD}", f"printf %s {quote(ODD)} > out/odd; own_program >> out/odd", [], ["odd"])
    ]
    relabel = [
        job("Track labels", "cat in/* > out/relabelled", ["tracks", "lab.0"], ["relabelled"])
    ]
    unite = job(
        "Unite",
        'mkdir -p out/u.zarr/0/c; for f in in/lab.*; do ln "$(readlink $f)" out/u.zarr/0/c; done',
        [f"lab.{i}" for i in three],
        ["u.zarr"],
        publish={"u.zarr": "images/p 1 ü.zarr"},
    )
    report = job("Report", "cp in/tracks out/r.html", ["tracks", "odd"], ["r.html"],
                 publish={"r.html": "report.html"})  # fmt: skip
    steps = [
        step("ingest", "ingest", "IMAGES", core=ingest),
        step("Odd", "preprocessing", "GAMMA", core=odd),
        step("Seg", "segmentation", "THRESHOLD", core=segment, number=number, stitch=stitch),
        step("Tab", "tabulation", "REGIONS", core=tabulate, merge=merge),
        step("Track", "tracking", "LAPTRACK", core=track, relabel=relabel),
        step("unite", "delivery", "UNITE", core=[unite]),
        step("report", "delivery", "REPORT", core=[report]),
    ]
    return {"version": "0", "steps": steps}


def start(folder: Path, plan: dict[str, Any] | None, *more: str, parser: str = "v2") -> Result:
    """Run a plan in a folder that has an environment of its own."""
    folder.mkdir(exist_ok=True)
    if not (folder / "envs").exists():
        make_environment(folder / "envs")
        (folder / "cores.config").write_text(CORES)
    if plan is not None:
        plan["outdir"] = "output"
        (folder / "plan.yaml").write_text(json.dumps(plan))
        more = ("--pipeline", "plan.yaml", *more)
    return run(["-c", "cores.config", *more, "--envs", "envs"], folder, parser)


def task_folder(result: Result, name: str) -> Path:
    """Work folder of a job's last attempt."""
    return Path({row["tag"]: row["workdir"] for row in trace_rows(result)}[name])


def job_names(plan: dict[str, Any]) -> set[str]:
    """Ids of all jobs of a plan."""
    return {j["id"] for s in plan["steps"] for jobs in s["phases"].values() for j in jobs}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graph with blank's") / "run"


@pytest.fixture(scope="module")
def first(folder: Path) -> Result:
    folder.mkdir()
    result = start(folder, whole_plan(folder), "--outdir", "res ults")
    assert result.returncode == 0, result.text
    return result


@pytest.fixture(scope="module")
def other_resources(first: Result, folder: Path) -> Result:
    plan = whole_plan(folder)
    for one in plan["steps"]:
        one["resources"] = {phase: {"cpus": 2, "memory_mb": 333} for phase in one["phases"]}
    return start(folder, plan, "--outdir", "res ults", "-resume")


@pytest.fixture(scope="module")
def changed(other_resources: Result, folder: Path) -> Result:
    plan = whole_plan(folder)
    plan["steps"][3]["phases"]["core"][1]["command"] += "; true"
    new = [job("New", "cp in/in.0 out/new", ["in.0"], ["new"])]
    plan["steps"].insert(1, step("New", "segmentation", "THRESHOLD", core=new))
    return start(folder, plan, "--outdir", "res ults", "-resume")


def test_every_job_runs(first: Result, folder: Path) -> None:
    status = trace(first)
    assert set(status) == job_names(whole_plan(folder))
    assert set(status.values()) == {"COMPLETED"}


def test_phases_see_what_earlier_phases_made(first: Result) -> None:
    stitched = (task_folder(first, "Seg stitch 1") / "out/lab.1").read_text().split()
    assert stitched == ["numbers", "seg.1", "0", "1", "2", "1"]
    made = {p.name for p in (task_folder(first, "Track labels") / "in").iterdir()}
    assert made == {"tracks", "lab.0"}


def test_a_job_starts_when_its_own_files_are_there(first: Result) -> None:
    # `In 2` waited for `Seg 0` to run and would have failed otherwise.
    assert trace(first)["In 2"] == "COMPLETED"


def test_all_parts_come_to_a_merge(first: Result) -> None:
    merged = (task_folder(first, "Tab merge") / "out/cells").read_text().split()
    assert sorted(merged) == ["cells.0", "cells.1", "cells.2"]


def test_odd_characters_survive_and_programs_are_on_the_path(first: Result) -> None:
    assert (task_folder(first, f"Odd {ODD}") / "out/odd").read_text() == ODD + " own"


def test_a_temporary_failure_is_tried_again_with_more_memory(first: Result) -> None:
    rows = [row for row in trace_rows(first) if row["tag"] == "Track"]
    assert [(row["status"], row["attempt"], row["memory"]) for row in rows] == [
        ("FAILED", "1", "200 MB"),
        ("COMPLETED", "2", "400 MB"),
    ]


def test_results_are_hard_links_and_nothing_else_is_published(first: Result) -> None:
    store = first.outdir / "images/p 1 ü.zarr"
    files = sorted(path for path in first.outdir.rglob("*") if not path.is_dir())
    results = [path for path in files if path.parent.name != "pipeline_info"]
    assert results == sorted(
        [store / f"0/c/lab.{i}" for i in range(3)] + [first.outdir / "report.html"]
    )
    assert not any(path.is_symlink() for path in first.outdir.rglob("*"))
    for i in range(3):
        made = task_folder(first, f"Seg stitch {i}") / f"out/lab.{i}"
        assert made.samefile(store / f"0/c/lab.{i}")
        assert not (store / f"0/c/lab.{i}").is_symlink()


def test_a_task_runs_again_by_hand(first: Result, tmp_path: Path) -> None:
    # In a copy: a file made anew in the work folder would run its readers again.
    folder = task_folder(first, f"Odd {ODD}")
    copy = Path(shutil.copytree(folder, tmp_path / "copy", symlinks=True))
    shutil.rmtree(copy / "out")
    path = {"PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", ".command.sh"], cwd=copy, env=path, check=False)
    assert done.returncode == 0
    assert (copy / "out/odd").read_bytes() == (folder / "out/odd").read_bytes()


def test_run_leaves_its_records(first: Result) -> None:
    records = {path.name for path in (first.outdir / "pipeline_info").iterdir()}
    made = {"plan.json", "files.tsv", "trace.txt", "timeline.html", "report.html", "engine.json"}
    assert records == made
    listed = dict(
        line.split("\t")
        for line in (first.outdir / "pipeline_info/files.tsv").read_text().splitlines()
    )
    assert len(listed) == 22
    assert all(Path(path).name == name and Path(path).exists() for name, path in listed.items())


def test_other_resources_run_nothing_again(other_resources: Result, folder: Path) -> None:
    assert other_resources.returncode == 0, other_resources.text
    status = trace(other_resources)
    assert set(status) == job_names(whole_plan(folder))
    assert set(status.values()) == {"CACHED"}


def test_a_changed_job_and_a_new_step_run_only_what_they_reach(changed: Result) -> None:
    assert changed.returncode == 0, changed.text
    ran = {name for name, status in trace(changed).items() if status != "CACHED"}
    assert ran == {"New", "Tab 1", "Tab merge", "Track", "Track labels", "Report"}


def test_results_are_those_of_the_last_run(tmp_path: Path) -> None:
    """Also where that goes back to earlier parameters, whose tasks are in the cache."""
    for number in (1, 2, 1):
        command = f"echo {number} > out/a; echo {number} > out/a.csv; cp -r out/a.csv out/d"
        made = job("A", f"mkdir out/d; {command}", [], ["a", "a.csv", "d"],
                   publish={"a": "a.txt", "a.csv": "fov/a.csv", "d": "d"})  # fmt: skip
        plan = {"version": "0", "steps": [step("A", "postprocessing", "FIT_TRACES", core=[made])]}
        result = start(tmp_path / "run", plan, "--outdir", "results", "-resume")
        assert result.returncode == 0, result.text
        found = [result.outdir / name for name in ("a.txt", "fov/a.csv", "d/a.csv")]
        assert [path.read_text() for path in found] == [f"{number}\n"] * 3
    assert trace(result) == {"A": "CACHED"}


@pytest.mark.parametrize(
    ("parser", "command", "said"),
    [
        ("v1", "echo noise >&2; echo 'x.tif: damaged' >&2; exit 65", "x.tif: damaged"),
        ("v2", "true", "Bad: did not make bad"),
    ],
)
def test_a_failed_task_says_what_and_where(
    tmp_path: Path, parser: str, command: str, said: str
) -> None:
    good = job("Good", "echo > out/good", [], ["good"])
    bad = job("Bad", command, ["good"], ["bad"])
    after = job("After", "echo > out/after", ["bad"], ["after"])
    plan = {"steps": [step("a", "ingest", "IMAGES", core=[good]),
                      step("b", "segmentation", "THRESHOLD", core=[bad]),
                      step("c", "delivery", "EXPORT", core=[after])]}  # fmt: skip
    result = start(tmp_path / "run", plan, parser=parser)
    assert result.returncode != 0
    assert trace(result) == {"Good": "COMPLETED", "Bad": "FAILED"}
    last = [line for line in result.stderr.splitlines() if line.startswith("cytoloom:")]
    where = task_folder(result, "Bad")
    assert last == [
        f"cytoloom: failed: Bad: {said}",
        f"cytoloom: its folder: {where} (bash .command.sh runs it again)",
    ]
    assert "Exception" not in result.text
    assert "\tat " not in result.text


@pytest.mark.parametrize("parser", ["v1"])
def test_stub_run_makes_every_planned_file(tmp_path: Path, parser: str) -> None:
    (tmp_path / "run").mkdir()
    plan = whole_plan(tmp_path / "run")
    result = start(tmp_path / "run", plan, "-stub-run", parser=parser)
    assert result.returncode == 0, result.text
    assert set(trace(result)) == job_names(plan)
    assert (result.outdir / "output/report.html").read_text() == ""


def test_a_failed_plan_ends_the_run_with_its_own_line(tmp_path: Path) -> None:
    result = start(tmp_path / "run", None, "--pipeline", "bad.yaml")
    assert result.returncode == 65
    assert result.stderr.splitlines() == [
        "bad.yaml:3: pipeline: unknown step 'Stardust'; did you mean StarDist?"
    ]


def test_wrong_parameters_are_named_all_at_once(tmp_path: Path) -> None:
    result = run(["--resorces", "r.yaml", "--dry-run"], tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "cytoloom: unknown parameter --resorces; did you mean --resources? (--help lists all)",
        "cytoloom: unknown parameter --dry-run; did you mean --dry_run? (--help lists all)",
        "cytoloom: no pipeline given: add --pipeline FILE.yaml",
    ]


def test_a_missing_environment_names_the_command_that_makes_it(tmp_path: Path) -> None:
    result = run(["--pipeline", "p.yaml", "--envs", "none"], tmp_path, parser="v1")
    assert result.returncode == 66
    assert result.stderr.splitlines() == [
        "cytoloom: environment 'core' is missing: run ./cytoloom setup core"
    ]


@pytest.mark.parametrize("parser", ["v1", "v2"])
def test_a_site_of_its_own_goes_with_a_profile(tmp_path: Path, parser: str) -> None:
    site = str(PROJECT / "conf" / "site.example.config")
    words = ["-c", site, "config", str(PROJECT), "-profile", "slurm,local", "-flat"]
    done = nextflow(words, tmp_path, parser)
    assert done.returncode == 0, done.stdout + done.stderr
    said = set(done.stdout.splitlines())
    assert {"executor.queueSize = 500", "process.executor = 'slurm'"} <= said
    assert {"params.partition = 'short'", "apptainer.enabled = false"} <= said


def test_scripts_and_configs_are_free_of_lint(tmp_path: Path) -> None:
    names = ["main.nf", "nextflow.config", "modules", "conf"]
    done = nextflow(["lint", *[str(PROJECT / name) for name in names]], tmp_path)
    assert done.returncode == 0, done.stdout
    # One line for each file, then the total: a warning would be a line more.
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("Linting")]
    assert len(lines) == 2, done.stdout
    assert lines[1].endswith("had no errors"), done.stdout
