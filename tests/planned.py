"""Pipelines without Nextflow: a plan is made and its jobs are run here, one after another.

The commands are those that Nextflow would run, each in a folder of its own with its inputs
in ``in/``, but in this process, so that no interpreter has to start for every job.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from cytoloom import cli, images

PROJECT = Path(__file__).resolve().parent.parent
# What modules/plan.nf writes of Nextflow, for the crate.
ENGINE = {"nextflow": "", "java": "", "profile": "standard", "user": "", "container": "",
          "images": "", "parameters": {}}  # fmt: skip


class Exited(BaseException):
    """Stands for the end of a process."""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self):
        """Lines on stderr."""
        return self.err.splitlines()


def command(executable, *words, cwd=None):
    """Run an executable's command line in this process, through `cli.run`."""
    out, err = io.StringIO(), io.StringIO()
    code = None

    def leave(value):
        nonlocal code
        code = value
        raise Exited

    here = Path.cwd()
    images._array.cache_clear()  # noqa: SLF001 - its keys are paths relative to the folder
    try:
        os.chdir(cwd or here)
        with (
            mock.patch.object(os, "_exit", leave),
            mock.patch.object(sys, "argv", [f"{executable}.py", *map(str, words)]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.suppress(Exited),
        ):
            cli.run(importlib.import_module(executable).main)
    finally:
        os.chdir(here)
    return Ended(code, out.getvalue(), err.getvalue())


@dataclass
class Run:
    """What a pipeline left: how each job ended, and where every file lies."""

    plan: Ended
    document: dict = field(default_factory=dict)
    jobs: dict[str, Ended] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def code(self):
        """Exit code of the plan, else of the last job."""
        return self.plan.code or next(reversed(self.jobs.values())).code

    @property
    def err(self):
        """Stderr of what failed, or of the plan."""
        return next(reversed(self.jobs.values())).err if self.jobs else self.plan.err

    def paths(self, pattern):
        """Files whose names match a regular expression, in order."""
        return [self.files[name] for name in sorted(self.files) if re.fullmatch(pattern, name)]

    def image(self, tag, channel, kind="image", position="p1"):
        """Pixels of a layer, axes tzyx."""
        name = rf"{position}\.{tag}\.{channel}\.{kind}\.\d+\.zarr"
        layers = [images.open_layer(path) for path in self.paths(name)]
        whole = images.Layer(layers[0].layout, tuple(p for one in layers for p in one.parts))
        return whole.read()

    def table(self, tag, channel, kind, position="p1"):
        """Return a table."""
        from cytoloom import tables

        (path,) = self.paths(rf"{position}\.{tag}\.{channel}\.{kind}\.\d+\.parquet")
        return tables.read_table(path)


def run(folder, pipeline, *words, delivery=False):
    """Plan a pipeline (text, or a mapping) in ``folder`` and run it up to the first failure."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    shutil.rmtree(folder / "work", ignore_errors=True)
    yaml = folder / "pipeline.yaml"
    yaml.write_text(
        pipeline if isinstance(pipeline, str) else json.dumps(pipeline, ensure_ascii=False)
    )
    out = folder / "work" / "plan.json"
    given = ["--pipeline", yaml, "--out", out, "--outdir", folder / "results", *words]
    done = Run(command("plan_pipeline", *given))
    if done.plan.code:
        return done
    done.document = json.loads(out.read_text())
    engine = folder / "results" / "pipeline_info" / "engine.json"
    engine.parent.mkdir(parents=True, exist_ok=True)
    engine.write_text(json.dumps(ENGINE))
    done.files = {one["name"]: Path(one["path"]) for one in done.document["given"]}
    for step in done.document["steps"]:
        if step["stage"] == "delivery" and not delivery:
            continue
        for jobs in step["phases"].values():
            for job in jobs:
                if job_of(done, job, out.parent).code:
                    return done
    return done


def job_of(done, job, work):
    """Run one job of a plan in a folder of its own."""
    folder = work / f"{len(done.jobs):04d}"
    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    for name in job["inputs"]:
        (folder / "in" / name).symlink_to(done.files[name])
    program, *words = shlex.split(job["command"])
    ended = command(program.removesuffix(".py"), *words, cwd=folder)
    done.jobs[job["id"]] = ended
    for name in job["outputs"]:
        path = folder / "out" / name
        assert ended.code or path.exists(), f"{job['id']} did not make {name}"
        done.files[name] = path
    return ended
