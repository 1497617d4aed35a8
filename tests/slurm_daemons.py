"""A real SLURM for tests: tests/system/slurm/start.sh and stop.sh, shared by all processes.

Several processes of pytest, and a user's own shell, may use the one SLURM of a machine. Each
process that uses it leaves its number in a folder; the last one ends the daemons, unless they
ran before the first of them came. Tests hold a lock together; one that sets a node down or
restarts a daemon holds it alone (fixture ``slurm_alone``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent / "system" / "slurm"
CANNOT_BE_HAD = 69


@dataclass(frozen=True)
class Slurm:
    """The SLURM that runs: its folder, and the variables that its commands need.

    Nodes are ``cpu1`` (partition ``cpu``) and ``gpu1`` (partition ``gpu``, a pretended GPU).
    """

    root: Path

    @property
    def env(self) -> dict[str, str]:
        """Variables that make sbatch, squeue and Nextflow speak to it."""
        return {"SLURM_CONF": str(self.root / "slurm.conf")}

    def run(self, *words: str, check: bool = True) -> str:
        """Output of one of SLURM's commands, such as ``run("squeue", "-h")``."""
        env = {**os.environ, **self.env}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """What scontrol knows of every job, array elements one by one."""
        text = self.run("scontrol", "show", "job", "--oneliner")
        rows = [line.split() for line in text.splitlines() if line.startswith("JobId=")]
        return [dict(word.split("=", 1) for word in row if "=" in word) for row in rows]

    def pid(self, daemon: str) -> int:
        """Process of ``slurmctld``, ``slurmd-cpu1`` or ``slurmd-gpu1``."""
        return int((self.root / "run" / f"{daemon}.pid").read_text())


class CannotBeHad(Exception):
    """SLURM is not installed and cannot be."""


def root() -> Path:
    """Folder of the daemons."""
    return Path(os.environ.get("CYTOLOOM_SLURM", "/tmp/cytoloom-slurm"))


def start() -> Slurm:
    """Start the daemons where they do not run.

    Raises
    ------
    CannotBeHad
        With the reason.
    """
    done = subprocess.run([SCRIPTS / "start.sh"], capture_output=True, text=True, check=False)
    if done.returncode == CANNOT_BE_HAD:
        raise CannotBeHad(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return Slurm(root())


@contextlib.contextmanager
def using() -> Iterator[Slurm]:
    """The daemons, for as long as this process needs them."""
    users = root() / "users"
    users.mkdir(parents=True, exist_ok=True)
    own = users / str(os.getpid())
    with _locked("users.lock"):
        before = running()
        slurm = start()
        if not before:
            (root() / "started_by_tests").touch()
        own.touch()
    try:
        yield slurm
    finally:
        with _locked("users.lock"):
            own.unlink(missing_ok=True)
            others = [path for path in users.iterdir() if Path("/proc", path.name).exists()]
            started = root() / "started_by_tests"
            if not others and started.exists():
                started.unlink()
                subprocess.run([SCRIPTS / "stop.sh"], check=True)


def running() -> bool:
    """Whether the controller runs."""
    try:
        name = Path("/proc", (root() / "run" / "slurmctld.pid").read_text().strip(), "comm")
        return name.read_text().strip() == "slurmctld"
    except OSError:
        return False


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """No other test uses the daemons meanwhile."""
    with _locked("use.lock"):
        yield


@contextlib.contextmanager
def together() -> Iterator[None]:
    """No test that needs them alone uses the daemons meanwhile."""
    with _locked("use.lock", fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def _locked(name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    with open(root() / name, "w") as file:
        fcntl.flock(file, how)
        yield
