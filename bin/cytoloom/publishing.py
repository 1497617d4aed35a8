"""Results put into the output folder, each whole or not at all, while a run goes on.

The head of a run starts ``python -m cytoloom.publishing FOLDER link|copy`` and gives it a line
of JSON, ``[source, place]``, for each result as it comes; the end of its input is the end of the
run. A file or folder of the same names, sizes and times is there already; any other that has its
place, such as that of a run with other parameters, gives way. Links of files in the work folder
take no room; where there can be none they are copies. A CSV, which users may edit, always is
one. Files of a user's own in a folder of results stay. What cannot be written is said once, at
the end. Once the head is dead nothing is put into place any more: the folder may be another run's.
Standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from cytoloom.errors import FULL
from cytoloom.files import writing

WHOLE = (".zarr", ".geff", ".ctc")  # folders that are one thing


class HeadIsDead(Exception):
    """The process that started this one has ended."""


@dataclass
class Publisher:
    """Puts results into an output folder.

    Attributes
    ----------
    head
        Number of the process that started this one: once it has ended nothing is changed.
    own
        Names of the files that were put into a folder by its place, by this run or an earlier
        one. Others are a user's own, and stay; but in a store, which is one thing.
    """

    outdir: Path
    linked: bool
    head: int
    own: dict[str, list[str]]

    def publish(self, source: Path, place: str) -> None:
        """Put a file or folder in its place with its times, unless it is there already.

        Raises
        ------
        HeadIsDead
            If the head has ended.
        """
        target = self.outdir / place
        foreign: set[str] = set()
        if source.is_dir() and source.suffix not in WHOLE:
            made = sorted(_files(source))
            if target.is_dir():
                foreign = _files(target).keys() - {*self.own.get(place, ()), *made}
            self.own[place] = made
        if is_same(source, target, apart_from=foreign):
            return
        with writing(target) as temporary:
            if source.is_dir():
                shutil.copytree(source, temporary, copy_function=self._place)
            else:
                self._place(str(source), str(temporary))
            for name in foreign:
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                self._place(str(target / name), str(temporary / name))
            if os.getppid() != self.head:
                raise HeadIsDead

    def _place(self, source: str, target: str) -> None:
        if self.linked and not source.endswith(".csv"):
            try:
                os.link(source, target)
                return
            except OSError:
                Path(target).unlink(missing_ok=True)
        shutil.copy2(source, target)


def is_same(source: Path, target: Path, *, apart_from: Collection[str] = ()) -> bool:
    """Whether two files, or the files of two folders, agree in name, size and time."""
    if source.is_dir() != target.is_dir() or not target.exists():
        return False
    found = {name: about for name, about in _files(target).items() if name not in apart_from}
    return _files(source) == found


def _files(top: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of a file, or of the files of a folder by name."""
    found = {}
    for path in top.rglob("*") if top.is_dir() else (top,):
        if path.is_file():
            about = path.stat()
            found[str(path.relative_to(top))] = about.st_size, about.st_mtime_ns
    return found


def publish_all(
    lines: Iterable[str], outdir: Path, *, linked: bool, head: int
) -> tuple[str, int] | None:
    """Publish what each line names; return what to say, and the exit code, where it failed."""
    record = outdir / "pipeline_info" / ".published.json"
    before = json.loads(record.read_text()) if record.exists() else {}
    publisher = Publisher(outdir, linked, head, dict(before))
    failed: list[OSError] = []
    for line in lines:
        source, place = json.loads(line)
        try:
            publisher.publish(Path(source), place)
        except shutil.Error as error:  # of a folder: the first of its files tells
            failed.append(OSError(0, str(error.args[0][0][2])))
        except OSError as error:
            failed.append(error)
    if publisher.own != before:
        try:
            with writing(record) as temporary:
                temporary.write_text(json.dumps(publisher.own))
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
