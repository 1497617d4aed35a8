"""Runs that are hurt on purpose, under the real SLURM, and what they leave.

The project is copied, and the copy's `writing` gets a gate: while a file ``armed`` names an
output, the task that is about to finish that output (all is written, nothing renamed) stops
there and says who it is. The test then does to it what can happen on a cluster. Nothing
waits for a time: tests wait for the gate, for SLURM and for Nextflow's end.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from nextflow import Result, copy_project, installed, run, trace_rows
from slurm_daemons import Slurm

PATIENCE = 600  # s, of a loaded machine

PIPELINE = """
channels: {A: a.tif}
labels: {A: a_labels.tif}
spacing: [0.5, 0.5]
frame_interval: 30
output_dir: results
pipeline:
  label_to_sparse:
    image_label_pair: [[A, A]]
  tracking:
    - {name: LapTrack, tag: Track, channels: [A], args: {linking_max_distance: 15}}
"""
RESOURCES = "pipeline: {label_to_sparse: {core: {batch_size: 2}}}\n"
CONFIG = """
executor.pollInterval = '500 ms'
executor.queueStatInterval = '1 sec'
executor.exitReadTimeout = '5 sec'
"""
GATE = """
def _gate(target):
    import fnmatch
    import time

    gate = Path({gate!r})
    try:
        what = json.loads((gate / "armed").read_text())
    except FileNotFoundError:
        return
    if not fnmatch.fnmatch(target.name, what["output"]):
        return
    if what.get("megabytes"):
        held = bytearray(b"1") * (what["megabytes"] << 20)
        time.sleep(6)  # SLURM looks every other second
        return
    try:
        (gate / "armed").rename(gate / "taken")
    except FileNotFoundError:
        return
    about = {{"pid": os.getpid(), "job": os.environ.get("SLURM_JOB_ID"), "folder": os.getcwd()}}
    (gate / "new").write_text(json.dumps(about))
    (gate / "new").rename(gate / "reached")
    while not (gate / "open").exists():
        time.sleep(0.1)
"""


def movie(folder: Path, name: str = "a", frames: int = 4, size: tuple[int, int] = (96, 80)) -> None:
    """Write discs that move to the right, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.zeros((frames, *size), np.uint16)
    yy, xx = np.mgrid[: size[0], : size[1]]
    for label, (y, x) in enumerate([(20, 15), (50, 30), (75, 20)], start=1):
        for t in range(frames):
            labels[t][(yy - y) ** 2 + (xx - x - 5 * t) ** 2 < 60] = label
    image = rng.integers(90, 110, labels.shape) + 1000 * (labels > 0)
    for end, data in (("", image.astype(np.uint16)), ("_labels", labels)):
        options = {"metadata": {"axes": "TYX"}, "photometric": "minisblack"}
        tifffile.imwrite(folder / f"{name}{end}.tif", data, **options)


class Gated:
    """A copy of the project whose tasks stop where a test wants them to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = copy_project(folder / "project")
        self.gate = folder / "gate"
        self.gate.mkdir()
        module = self.project / "bin" / "cytoloom" / "files.py"
        text = module.read_text()
        assert text.count("yield temporary\n") == 1
        text = text.replace("yield temporary\n", "yield temporary\n        _gate(target)\n")
        text = text.replace("import glob\n", "import glob\nimport json\n")
        module.write_text(text + GATE.format(gate=str(self.gate)))
        movie(folder)
        (folder / "r.yaml").write_text(RESOURCES)
        (folder / "p.yaml").write_text(PIPELINE)
        (folder / "quick.config").write_text(CONFIG)

    def arm(self, output: str, **more: Any) -> None:
        """Stop the first task that is about to finish an output (a glob of its name)."""
        for name in ("armed", "taken", "reached", "open"):
            (self.gate / name).unlink(missing_ok=True)
        (self.gate / "armed").write_text(json.dumps({"output": output, **more}))

    def disarm(self) -> None:
        """Let all tasks through, and those that wait."""
        (self.gate / "armed").unlink(missing_ok=True)
        (self.gate / "open").touch()

    def reached(self, process: subprocess.Popen[str] | None = None) -> dict[str, Any]:
        """Wait until a task stands at the gate; return its pid, job and folder."""
        wait_for((self.gate / "reached").exists, "a task at the gate", process)
        return dict(json.loads((self.gate / "reached").read_text()))

    def words(self, *more: str, resources: str = "r.yaml") -> list[str]:
        """Return the words of a run under SLURM."""
        return [
            "-c", "quick.config", "--pipeline", "p.yaml", "--resources", resources,
            "-profile", "slurm,local", *more,
        ]  # fmt: skip

    def go(self, slurm: Slurm, *more: str, resources: str = "r.yaml") -> Result:
        """Run to the end; results are in ``results`` unless --outdir says otherwise."""
        if "--outdir" not in more:
            more = ("--outdir", "results", *more)
        words = self.words(*more, resources=resources)
        return run(words, self.folder, "v1", env=slurm.env, project=self.project)

    @contextmanager
    def going(self, slurm: Slurm, *more: str, resources: str = "r.yaml") -> Iterator[Any]:
        """Start a run and yield its process; it is ended if the test did not."""
        command, environment = installed.start_command()
        words = ["run", str(self.project / "main.nf"), *self.words(*more, resources=resources)]
        settings = {"NXF_SYNTAX_PARSER": "v1", "NXF_ANSI_LOG": "false"}
        with open(self.folder / "said.txt", "w") as said:
            process = subprocess.Popen(
                [*command, *words],
                cwd=self.folder,
                env={**environment, **settings, **slurm.env},
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
            )
        try:
            yield process
        finally:
            self.disarm()
            if process.poll() is None:
                process.terminate()
                process.wait(PATIENCE)

    def said(self) -> str:
        """What the run that was started said."""
        return (self.folder / "said.txt").read_text()


def wait_for(
    found: Callable[[], Any], what: str, process: subprocess.Popen[str] | None = None
) -> Any:
    """Wait until something holds; fail when the process ends before, or after long."""
    began = time.monotonic()
    while not (value := found()):
        assert process is None or process.poll() is None, f"the run ended before {what}"
        assert time.monotonic() - began < PATIENCE, f"waited in vain for {what}"
        time.sleep(0.1)
    return value


def results(outdir: Path) -> dict[str, str]:
    """Digest of each result by its path, without the records of a run, which hold times."""
    records = ("report.html", "ro-crate-metadata.json")
    return {
        str(path.relative_to(outdir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(outdir.rglob("*"))
        if path.is_file() and path.name not in records and "pipeline_info" not in path.parts
    }


def ran(result: Result) -> set[str]:
    """Jobs that ran in this run: neither taken from an earlier one nor unfinished."""
    return {row["tag"] for row in trace_rows(result) if row["status"] != "CACHED"}


def finished(outdir: Path) -> set[str]:
    """Jobs that a run has finished so far, by its trace."""
    rows = trace_rows(Result(0, "", "", outdir, outdir))
    return {row["tag"] for row in rows if row["status"] in ("COMPLETED", "CACHED")}


def half_written(folder: Path) -> list[Path]:
    """Temporary files of outputs that were never finished."""
    return sorted(folder.rglob(".*.part-*"))
