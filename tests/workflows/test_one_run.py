"""Two runs in one output folder, a run whose head is killed, and what its trace keeps.

Hand-made plans of shell commands, so that nothing is waited for but Nextflow itself, and SLURM
where the tasks are its jobs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from faults import wait_for
from hand_made import job, make_environment, step
from nextflow import begin, ended, run

from cytoloom.run_lock import lock_file

pytestmark = pytest.mark.slow


def write_plan(folder: Path) -> list[str]:
    """A job that ends at once, one that waits for a file, one that needs both."""
    folder.mkdir()
    make_environment(folder / "envs")
    wait = "while [ ! -e ../../../open ]; do sleep 0.1; done; echo b > out/b"
    jobs = [job("A", "echo a > out/a", [], ["a"]), job("B", wait, [], ["b"])]
    end = job("C", "cat in/* > out/c", ["a", "b"], ["c"], publish={"c": "c.txt"})
    steps = [
        step("in", "ingest", "IMAGES", core=jobs),
        step("report", "delivery", "REPORT", core=[end]),
    ]
    plan = {"version": "0", "outdir": str(folder.parent / "out"), "steps": steps}
    (folder / "plan.yaml").write_text(json.dumps(plan))
    return ["--pipeline", "plan.yaml", "--envs", "envs", "--outdir", str(folder.parent / "out")]


@pytest.mark.parametrize(
    ("killed", "profile"),
    [
        ("head", "standard"),
        ("head and holder", "standard"),
        pytest.param("head", "slurm,local", marks=pytest.mark.full),
    ],
)
def test_a_second_run_is_refused_and_a_killed_one_resumed(
    tmp_path: Path, killed: str, profile: str, request: pytest.FixtureRequest
) -> None:
    env = request.getfixturevalue("slurm").env if "slurm" in profile else {}
    outdir = tmp_path / "out"
    words, other = ([*write_plan(tmp_path / n), "-profile", profile] for n in "12")
    first = begin(tmp_path / "1", words, env)
    try:
        wait_for(lambda: ended(outdir).get("A"), "the first job", first)
        held = json.loads(lock_file(outdir).read_text())
        before = {path: path.stat().st_mtime_ns for path in outdir.rglob("*") if path.is_file()}

        refused = run(other, tmp_path / "2", "v1", env=env)
        assert refused.returncode == 75
        (line,) = refused.stderr.splitlines()
        assert line.startswith(f"cytoloom: {outdir} is in use by another run: process {first.pid}")
        assert not list((tmp_path / "2" / "work").glob("*/*/.command.sh"))
        now = {path: path.stat().st_mtime_ns for path in outdir.rglob("*") if path.is_file()}
        assert now.keys() == before.keys()
        assert {path for path in now if now[path] != before[path]} <= {lock_file(outdir)}

        first.kill()
        first.wait()
        if killed == "head and holder":
            subprocess.run(["kill", "-9", str(held["holder"])], check=False)
        wait_for(lambda: not Path("/proc", str(held["holder"])).exists(), "the holder to end")
    finally:
        first.kill()
        first.wait()
    (tmp_path / "1" / "open").touch()
    result = run([*words, "-resume"], tmp_path / "1", "v1", env=env)
    assert result.returncode == 0, result.text
    assert ended(outdir) == {"A": "CACHED", "B": "COMPLETED", "C": "COMPLETED"}
    assert (outdir / "c.txt").read_text() == "a\nb\n"
    wait_for(lambda: not lock_file(outdir).exists(), "the lock to go with its run")


def test_what_publishes_is_killed(tmp_path: Path) -> None:
    """The run says so at its end; a resumed one puts into place what is missing."""
    outdir = tmp_path / "out"
    words = write_plan(tmp_path / "1")
    first = begin(tmp_path / "1", words)
    try:
        wait_for(lambda: ended(outdir).get("A"), "the first job", first)
        children = Path(f"/proc/{first.pid}/task").glob("*/children")
        pids = [pid for path in children for pid in path.read_text().split()]
        (one,) = (p for p in pids if b"publishing" in Path("/proc", p, "cmdline").read_bytes())
        os.kill(int(one), signal.SIGKILL)
        (tmp_path / "1" / "open").touch()
        assert first.wait() != 0
    finally:
        first.kill()
        first.wait()
    said = (tmp_path / "1" / "said.txt").read_text()
    assert f"cytoloom: results are missing in {outdir}: what puts them there was killed" in said
    assert not (outdir / "c.txt").exists()
    result = run([*words, "-resume"], tmp_path / "1", "v1")
    assert result.returncode == 0, result.text
    assert set(ended(outdir).values()) == {"CACHED"}
    assert (outdir / "c.txt").read_text() == "a\nb\n"
