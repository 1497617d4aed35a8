"""Real Nextflow for tests: run ``main.nf`` and read the trace.

Nextflow and Java are those that ``./cytoloom setup`` put into the cache (``launcher``).
A run keeps its work folder, history and log in the folder it is started in, so a test gives
each pipeline a folder of its own and resumes by running there again.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from launcher import nextflow as installed

PROJECT = Path(__file__).resolve().parents[2]


def copy_project(target: Path) -> Path:
    """Copy what a run needs of the project, for a test that changes its code."""
    for name in ("bin", "assets", "modules", "conf", "containers"):
        ignored = shutil.ignore_patterns("__pycache__", "demo", ".mypy_cache")
        shutil.copytree(PROJECT / name, target / name, ignore=ignored)
    for name in ("main.nf", "nextflow.config", "nextflow_schema.json"):
        shutil.copy(PROJECT / name, target / name)
    return target


@dataclass(frozen=True)
class Result:
    """What a run left: exit status, output, and the folders to look into."""

    returncode: int
    stdout: str
    stderr: str
    cwd: Path
    outdir: Path

    @property
    def text(self) -> str:
        """Both streams, for messages and searches."""
        return self.stdout + self.stderr


def nextflow(
    words: list[str], cwd: Path, parser: str = "v1", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run any Nextflow command; ``parser`` is v1 (what users of 25.04 have) or v2 (strict)."""
    command, environment = installed.start_command()
    settings = {"NXF_SYNTAX_PARSER": parser, "NXF_ANSI_LOG": "false"}
    return subprocess.run(
        [*command, *words],
        cwd=cwd,
        env={**environment, **settings, **(env or {})},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def run(
    args: list[str],
    cwd: Path,
    parser: str = "v2",
    env: dict[str, str] | None = None,
    project: Path = PROJECT,
) -> Result:
    """Run a project's ``main.nf`` with ``args`` in ``cwd``; never raises for a failed run."""
    words = [str(word) for word in args]
    done = nextflow(["run", str(project / "main.nf"), *words], cwd, parser, env)
    given = words[words.index("--outdir") + 1] if "--outdir" in words else "."
    return Result(done.returncode, done.stdout, done.stderr, cwd, cwd / given)


def trace_rows(result: Result) -> list[dict[str, str]]:
    """Rows of the run's trace, in the order in which its tasks ended."""
    with open(result.outdir / "pipeline_info" / "trace.txt", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def trace(result: Result) -> dict[str, str]:
    """Status of each job by its id: COMPLETED, CACHED, FAILED, ...; of its last attempt."""
    return {row["tag"]: row["status"] for row in trace_rows(result)}


def begin(
    folder: Path, words: list[str], env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a run in a folder."""
    command, environment = installed.start_command()
    with open(folder / "said.txt", "w") as said:
        return subprocess.Popen(
            [*command, "run", str(PROJECT / "main.nf"), *words],
            cwd=folder,
            env={**environment, "NXF_ANSI_LOG": "false", **(env or {})},
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )


def ended(outdir: Path) -> dict[str, str]:
    """Jobs in the trace of an output folder, with their status; none before there is one."""
    found = outdir / "pipeline_info" / "trace.txt"
    return trace(Result(0, "", "", outdir, outdir)) if found.exists() else {}
