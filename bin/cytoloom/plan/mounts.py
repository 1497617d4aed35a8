"""Folders of this machine that tasks in an image must see.

Nextflow binds a task's work folder and what it stages there. A command of the plan names
more by path: the user's files, a model, jars. Those paths, and what links among them point
to, are bound as they are, so that a path means the same inside and outside of an image.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

MOST = 30  # more folders than this are bound by those that hold them
LOOK_AT = 100_000  # entries of a folder that are looked at for links


def folders_of(commands: Iterable[str], extra: Iterable[Path] = ()) -> list[str]:
    """Return the folders, and files beside the root, that commands name, none inside another.

    Parameters
    ----------
    commands
        Command lines; every word that is an absolute path counts, a glob with all its files.
    extra
        More that must be seen, where it exists.
    """
    words = {word for command in commands for word in shlex.split(command)}
    named = {Path(path) for word in words if (path := _path_in(word))}
    named |= {path for path in extra if path.exists()}
    found = {place for path in named for place in _places(path)}
    return [str(path) for path in _few(_outermost(found))]


def _path_in(word: str) -> str | None:
    """Return the path of a word or of ``name=path``."""
    match = re.match(r"(?:[\w.-]+=)?(/.+)", word, re.DOTALL)
    return match[1] if match else None


def _places(path: Path) -> Iterator[Path]:
    """Yield what must be bound for a path to be readable: its folder, and those of its targets."""
    while not os.path.lexists(path):
        if path == path.parent:
            return
        path = path.parent
    if path == path.parent:
        return
    yield _holder(path)
    real = path.resolve()
    if real != path and real.exists():
        yield _holder(real)
    if real.is_dir():
        with os.scandir(real) as entries:
            for _, entry in zip(range(LOOK_AT), entries, strict=False):
                if entry.is_symlink() and (target := Path(entry.path).resolve()).exists():
                    yield _holder(target)


def _holder(path: Path) -> Path:
    """Return a folder itself, else the folder of a file; never one right below the root.

    Those, as /usr and /opt, are the image's own.
    """
    if path.is_dir() or len(path.parent.parts) < 3:
        return path
    return path.parent


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that lie in no other one, sorted."""
    kept: list[Path] = []
    for path in sorted(set(paths)):
        if not any(path.is_relative_to(one) for one in kept):
            kept.append(path)
    return kept


def _few(paths: list[Path]) -> list[Path]:
    """Return the same for fewer binds: the deepest are replaced by what holds them."""
    while len(paths) > MOST:
        deepest = max(len(path.parts) for path in paths)
        if deepest <= 3:
            break
        paths = _outermost(p.parent if len(p.parts) == deepest else p for p in paths)
    return paths
