"""Results put into the output folder, each whole or not at all, while a run goes on.

The head of a run starts ``python -m cytoloom.publishing FOLDER link|copy`` and gives it a line
of JSON, ``[source, place]``, for each result as it comes; the end of its input is the end of the
run. A file or folder of the same names, sizes and times is there already; any other that has its
place, such as that of a run with other parameters, gives way. Links of files in the work folder
take no room; where there can be none they are copies. A CSV, which users may edit, always is
one. What cannot be written is said once, at the end. Once the head is dead nothing is put into
place any more: the folder may be another run's. Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from cytoloom.files import writing

FULL = (errno.ENOSPC, errno.EDQUOT)


class HeadIsDead(Exception):
    """The process that started this one has ended."""


def publish(source: Path, target: Path, *, linked: bool, head: int) -> None:
    """Put a file or folder in a second place with its times, unless it is there already.

    Raises
    ------
    HeadIsDead
        If the parent of this process is not ``head`` any more; nothing is changed then.
    """
    if is_same(source, target):
        return

    def place(one: str, other: str) -> None:
        if linked and not one.endswith(".csv"):
            try:
                os.link(one, other)
                return
            except OSError:
                Path(other).unlink(missing_ok=True)
        shutil.copy2(one, other)

    with writing(target) as temporary:
        if source.is_dir():
            shutil.copytree(source, temporary, copy_function=place)
        else:
            place(str(source), str(temporary))
        if os.getppid() != head:
            raise HeadIsDead


def is_same(source: Path, target: Path) -> bool:
    """Whether two files, or the files of two folders, agree in name, size and time."""
    if source.is_dir() != target.is_dir() or not target.exists():
        return False
    return dict(_about(source)) == dict(_about(target))


def _about(top: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for path in top.rglob("*") if top.is_dir() else (top,):
        if path.is_file():
            about = path.stat()
            yield str(path.relative_to(top)), (about.st_size, about.st_mtime_ns)


def publish_all(
    lines: Iterable[str], outdir: Path, *, linked: bool, head: int
) -> tuple[str, int] | None:
    """Publish what each line names; return what to say, and the exit code, where it failed."""
    failed: list[OSError] = []
    for line in lines:
        source, place = json.loads(line)
        try:
            publish(Path(source), outdir / place, linked=linked, head=head)
        except shutil.Error as error:  # of a folder: the first of its files tells
            failed.append(OSError(0, str(error.args[0][0][2])))
        except OSError as error:
            failed.append(error)
    if not failed:
        return None
    full = any(error.errno in FULL or "No space left" in str(error) for error in failed)
    why = "the disk is full (or over quota)" if full else failed[0].strerror
    said = f"{len(failed)} result{'s' * (len(failed) > 1)} could not be written to {outdir}: {why}"
    mend = "make room" if full else "see to it that it can be written"
    return f"{said}: {mend} and run again with -resume", 75 if full else 65


def main(outdir: str, mode: str) -> int:
    """Publish until standard input closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the head, which closes the pipe
    head = os.getppid()
    try:
        problem = publish_all(sys.stdin, Path(outdir), linked=mode == "link", head=head)
    except HeadIsDead:
        return 75
    if problem is None:
        return 0
    print(problem[0], flush=True)
    return problem[1]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
