"""Messages, the cache folder, locks, and commands that run with a progress line.

Whatever is installed is made under a temporary name in the folder where it will stay and
then renamed, under a file lock: a second launcher waits, a killed one leaves nothing that
counts, and what exists is never changed. Reading the cache needs no lock and no right to
write, so one cache can serve many users.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cytoloom.environments import cache_folder

USAGE, BAD_DATA, INPUT_MISSING, TRY_AGAIN, FAILED = 2, 65, 66, 75, 1

# What package clients say when the network is the trouble.
NETWORK_SIGNS = (
    "error sending request",
    "failed to lookup",
    "dns error",
    "tcp connect",
    "connection refused",
    "connection error",
    "max retries exceeded",
    "newconnectionerror",
    "name resolution",
    "network is unreachable",
    "proxyerror",
    "connecttimeout",
    "timed out",
    "no matching distribution found for uv",
    "network connectivity is disabled",
    "failed getting release file",
    "could not resolve",
    "temporary failure resolving",
)


class Failure(Exception):
    """Ends the launcher with one line on stderr and an exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def say(text: str, end: str = "\n") -> None:
    """Write a line of progress on stderr; stdout is left to results."""
    print(text, end=end, file=sys.stderr, flush=True)


def cache() -> Path:
    """Cache folder of this user."""
    return cache_folder()


def clean_environment() -> dict[str, str]:
    """Environment variables for children: no foreign Python packages may leak in."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}


def make_folder(folder: Path) -> Path:
    """Make a folder of the cache, or fail in one line that names it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "no right to write")
    except OSError as error:
        raise Failure(
            f"cannot write the cache folder {folder} ({error.strerror}); "
            "set CYTOLOOM_CACHE to a folder that you can write"
        ) from error
    return folder


def check_space(folder: Path, gigabytes: float) -> None:
    """Fail before an installation that the disk has no room for."""
    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes:
        raise Failure(
            f"{folder} has {free:.1f} GB free and {gigabytes:.1f} GB are needed; free some space, "
            "or set CYTOLOOM_CACHE to a folder on a larger disk"
        )


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock of a name; say so when another launcher holds it."""
    path = make_folder(cache() / "locks") / f"{name}.lock"
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another cytoloom that is installing {name} ...")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            # Some network file systems have no locks; the rename still keeps things whole.
            say(f"the file system of {path.parent} has no locks; going on without")
        yield


def is_there(path: Path) -> bool:
    """Whether a path can be reached; a dangling link, or one into a closed folder, cannot."""
    return os.access(path, os.R_OK)


def install_once(
    target: Path, probe: str, make: Callable[[Path], None], anew: bool = False
) -> Path:
    """Make a folder or file of the cache, whole or not at all, unless it is there.

    Parameters
    ----------
    target : Path
        The folder or file.
    probe : str
        A path inside it that exists in a sound installation, empty for a file; a dangling
        link (the base Python was removed) does not count.
    make : callable
        Makes the installation under the temporary path that it is given.
    anew : bool
        Make it even though it is there.
    """
    if is_there(target / probe) and not anew:
        return target
    make_folder(target.parent)
    with locked(target.name):
        if is_there(target / probe) and not anew:
            return target
        for stale in target.parent.glob(f".{target.name}.*"):
            remove(stale)
        temporary = target.parent / f".{target.name}.{os.getpid()}"
        try:
            make(temporary)
            remove(target)
            temporary.rename(target)
        except OSError as error:
            reason = f"cannot install {target.name} in {target.parent} ({error.strerror or error})"
            raise Failure(reason) from error
        finally:
            remove(temporary)
    return target


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def progress(
    what: str,
    command: Sequence[str | Path],
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a command with one progress line: `what`, and the seconds that it took.

    The command's own words go to a log file in the cache; the last of them are in the
    error when it fails.
    """
    folder = make_folder(cache() / "logs")
    log = folder / f"{what.split(' (', maxsplit=1)[0].replace(' ', '-').replace('/', '-')}.log"
    live = sys.stderr.isatty()
    say(f"{what} ...", end="")
    start = time.monotonic()
    with log.open("w") as handle:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            env=env or clean_environment(),
            cwd=cwd or folder,
        )
        try:
            while True:
                try:
                    code = child.wait(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    if live:
                        say(f"\r{what} ... {time.monotonic() - start:.0f} s", end="")
        except BaseException:
            child.terminate()
            child.wait()
            say("")
            raise
    say(f"{chr(13) + what + ' ...' if live else ''} {time.monotonic() - start:.0f} s")
    if code:
        raise explain(what, log)


def explain(what: str, log: Path) -> Failure:
    """Failure of a command from its log: no network, full disk, or its last words."""
    what = what.split(" (", maxsplit=1)[0]
    text = log.read_text(errors="replace")
    lowered = text.lower()
    if "no space left on device" in lowered or "os error 28" in lowered:
        return Failure(f"{what}: the disk is full; free some space, or set CYTOLOOM_CACHE")
    if any(sign in lowered for sign in NETWORK_SIGNS):
        return Failure(
            f"{what}: the package registry cannot be reached, and the cache {cache()} does not "
            f"hold it yet; check the network (details: {log})",
            TRY_AGAIN,
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if line.lower().startswith("error")]
    fatal = [line for line in lines if line.startswith(("E: ", "FATAL:"))]
    last = (marked or fatal or lines or ["no message"])[-1]
    return Failure(f"{what}: {last} (details: {log})")
