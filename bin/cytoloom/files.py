"""Files written whole or not at all, digests, and layers named by globs.

``writing`` gives a temporary name beside the target; only when its block ends
well is the file or folder renamed over. A killed task leaves at most a hidden
``.<name>.part-*`` which no glob of a layer matches. Digests are BLAKE2b-160 of
content and relative names, never of times or absolute paths. Standard library only.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cytoloom.errors import InputMissing

Read = TypeVar("Read")


def remembered(read: Callable[[Path], Read]) -> Callable[[Path], Read]:
    """Let a function read a file once, and again when its size or time has changed."""

    @functools.lru_cache(maxsize=64)
    def kept(path: Path, size: int, time: int) -> Read:  # noqa: ARG001 - key of the cache
        return read(path)

    @functools.wraps(read)
    def asked(path: Path) -> Read:
        about = path.stat()
        return kept(path, about.st_size, about.st_mtime_ns)

    return asked


@contextmanager
def writing(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path that becomes ``target`` when the block ends without an error."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.part-", dir=target.parent))
    temporary = holder / target.name
    try:
        yield temporary
        if temporary.is_file():
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        if target.is_dir() and not target.is_symlink():
            target.rename(holder / "earlier")  # a removal in place could be cut short
        os.replace(temporary, target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def find(pattern: Path | str, *, what: str = "input") -> list[Path]:
    """Return the files that a path or glob names, sorted by name.

    Raises
    ------
    InputMissing
        If nothing matches.
    """
    text = str(pattern)
    if Path(text).exists():
        return [Path(text)]
    found = sorted(Path(name) for name in glob.glob(text))  # noqa: PTH207 - absolute patterns too
    if not found:
        raise InputMissing(f"{what} {text}: no such file or folder")
    return found


def is_there(pattern: Path | str) -> bool:
    """Whether a path or glob names any file."""
    try:
        return bool(find(pattern))
    except InputMissing:
        return False


def digest(path: Path | str) -> str:
    """Return the BLAKE2b-160 of a file, or of a folder's relative names and contents."""
    path = Path(path)
    state = hashlib.blake2b(digest_size=20)
    if path.is_dir():
        for name in sorted(p for p in path.rglob("*") if p.is_file()):
            state.update(str(name.relative_to(path)).encode() + b"\0")
            _feed(state, name)
    else:
        _feed(state, path)
    return state.hexdigest()


def _feed(state: hashlib.blake2b, path: Path) -> None:
    state.update(path.stat().st_size.to_bytes(8, "little"))
    with open(path, "rb") as source:
        while block := source.read(1 << 22):
            state.update(block)
