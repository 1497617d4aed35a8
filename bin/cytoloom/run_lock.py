"""One run at a time in an output folder.

The head of a run starts ``python -m cytoloom.run_lock FOLDER`` and keeps the pipe to it open:
this process holds the lock until the pipe closes, however the head ends, SIGKILL included. The
lock is the kernel's, on ``pipeline_info/.run.lock``, so a dead process holds none. Where
a file system's locks are not seen by other hosts, or there are none, the file tells: it says
who wrote it, and is written anew every 20 s. One of another host that is silent for two
minutes, or of a process that is gone, is stale and is taken over. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cytoloom.errors import FULL, CytoloomError, TryAgain

BEAT, SILENCE = 20.0, 120.0  # s between two signs of life; s without one until it is stale
HELD = "held"
_STARTED = time.time()


def lock_file(outdir: Path | str) -> Path:
    """Return the lock of an output folder."""
    return Path(outdir) / "pipeline_info" / ".run.lock"


def check(outdir: Path | str) -> None:
    """Raise TryAgain if a run is at work in an output folder; change nothing."""
    path = lock_file(outdir)
    try:
        with _opened(path) as file:
            _refuse_if_held(path, file, _locked(file))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return


@contextlib.contextmanager
def holding(outdir: Path | str) -> Iterator[int]:
    """Hold the lock of an output folder, which is made; yields the open lock file.

    Raises
    ------
    TryAgain
        In one line that says who holds it.
    """
    path = lock_file(outdir)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with _opened(path, os.O_CREAT) as file:
            locked = _locked(file)
            if not _is_still(path, file):
                continue  # its holder ended and removed it in between
            _refuse_if_held(path, file, locked)
            try:
                os.truncate(file, sign(file))
                yield file
            finally:
                path.unlink(missing_ok=True)
            return


def sign(file: int) -> int:
    """Write who holds the lock, in place; the time of the file is the sign of life."""
    about = {
        "pid": os.getppid(),  # the head
        "holder": os.getpid(),
        "host": socket.gethostname(),
        "user": os.environ.get("USER") or str(os.getuid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(_STARTED)),
    }
    return os.pwrite(file, json.dumps(about).encode() + b"\n", 0)


@contextlib.contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | flags, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def _is_still(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _locked(file: int) -> bool | None:
    """Lock a file; False where another holds it, None where there are no locks."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _refuse_if_held(path: Path, file: int, locked: bool | None) -> None:
    try:
        about: dict[str, Any] = dict(json.loads(os.pread(file, 4096, 0) or "{}"))
    except (ValueError, TypeError):
        about = {}
    silent = _now(path) - os.fstat(file).st_mtime
    here = about.get("host") == socket.gethostname()
    if locked is False:
        mend = "wait for its end, stop it, or give another --outdir"
    elif about and (_alive(about["holder"]) and not locked if here else silent <= SILENCE):
        mend = f"if it is dead, wait {max(1, SILENCE - silent):.0f} s or delete {path}"
    else:
        return
    raise TryAgain(
        f"{path.parents[1]} is in use by another run: process {about.get('pid', '?')} of "
        f"{about.get('user', '?')} on {about.get('host', '?')}, since {about.get('since', '?')}; "
        + mend
    )


def _alive(pid: int) -> bool:
    return Path("/proc", str(pid)).exists()


def _now(path: Path) -> float:
    """Return the time by the clock that stamps this folder's files: it may be a server's."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as probe:
            probe.write(b"0")
            probe.flush()
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()


def main(outdir: str) -> int:
    """Hold the lock until standard input closes; say so, or why not, on standard output."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the head may still be at work
    try:
        with holding(outdir) as file:
            print(HELD, flush=True)
            while not select.select([sys.stdin], [], [], BEAT)[0]:
                with contextlib.suppress(OSError):
                    sign(file)
    except CytoloomError as error:
        print(error, flush=True)
        return error.exit_code
    except OSError as error:
        full = error.errno in FULL
        what = "make room there and run again" if full else "cannot be written"
        print(f"{error.filename or outdir}: {error.strerror}: {what}", flush=True)
        return 75 if full else 65
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
