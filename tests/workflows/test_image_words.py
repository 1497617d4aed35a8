"""How tasks are put into images: the words that Apptainer is given, noted by a stand-in for it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hand_made import job, make_environment, step
from nextflow import run, trace_rows

pytestmark = pytest.mark.slow

# Notes its words in the task's folder and runs the command that follows the image.
APPTAINER = """#!/bin/bash
printf '%s\\n' "$@" > apptainer.words
until [[ $1 == *.sif ]]; do shift; done
shift
exec "$@"
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Words of Apptainer by job: one that was given a GPU, and one that was not."""
    folder = tmp_path_factory.mktemp("images")
    make_environment(folder / "envs")
    for name, text in (("programs/apptainer", APPTAINER), ("images/one.sif", "")):
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    plan = {
        "version": "0",
        "outdir": "output",
        "steps": [
            step("In", "ingest", "IMAGES", core=[job("In", "touch out/a", [], ["a"], image="one")]),
            step("Net", "segmentation", "STARDIST",
                 core=[job("Net", "touch out/b", ["a"], ["b"], image="one")]),
        ],
    }  # fmt: skip
    plan["steps"][1]["resources"] = {"core": {"cpus": 1, "memory_mb": 200, "gres": "gpu:1"}}
    (folder / "plan.yaml").write_text(json.dumps(plan))
    path = f"{folder / 'programs'}{os.pathsep}{os.environ['PATH']}"
    asked = ["-profile", "apptainer", "--pipeline", "plan.yaml", "--envs", "envs"]
    result = run([*asked, "--images", "images"], folder, env={"PATH": path})
    assert result.returncode == 0, result.text
    return {
        row["tag"]: Path(row["workdir"], "apptainer.words").read_text().splitlines()
        for row in trace_rows(result)
    }


def test_a_task_that_asks_for_a_gpu_sees_it_in_its_image(words: dict[str, list[str]]) -> None:
    assert words["Net"].index("--nv") < words["Net"].index(image_of(words["Net"]))
    # On one's own machine any task may use a GPU that is there.
    assert ("--nv" in words["In"]) == Path("/dev/nvidiactl").exists()


def test_tasks_run_in_their_image_without_the_home_folder(words: dict[str, list[str]]) -> None:
    for said in words.values():
        assert said[0] == "exec"
        assert "--no-home" in said
        assert Path(image_of(said)).name == "one.sif"


def image_of(said: list[str]) -> str:
    (found,) = (word for word in said if word.endswith(".sif"))
    return found
