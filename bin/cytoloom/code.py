"""Digests of code: the executable, the shared modules that it imports, its lock file.

A task's command carries this digest, so that a changed line runs again exactly the
tasks that use it. Imports are read from the source, directly and indirectly, at any
depth of nesting; only modules of ``bin/cytoloom`` count, everything else is pinned by
the lock file. Standard library only.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from cytoloom.errors import InputMissing


def code_digest(executable: str, family: str, project: Path) -> str:
    """Return 16 hex digits that change with the code that ``executable`` runs.

    Parameters
    ----------
    executable
        Name in ``bin/`` without ``.py``.
    family
        Tool family, whose ``containers/<family>/requirements.lock`` counts.
    project
        Root folder of the project.

    Raises
    ------
    InputMissing
        If the executable or the lock file does not exist.
    """
    script = project / "bin" / f"{executable}.py"
    lock = project / "containers" / family / "requirements.lock"
    state = hashlib.blake2b(digest_size=8)
    for path in (script, lock, *modules_of(script)):
        if not path.is_file():
            raise InputMissing(f"{path}: no such file")
        state.update(f"{path.relative_to(project)}\0".encode())
        state.update(_bytes(path))
    return state.hexdigest()


def modules_of(script: Path) -> list[Path]:
    """Return the files of the shared package that a script imports, directly or indirectly."""
    root = script.parent
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        for path in _imports(waiting.pop(), root):
            if path not in found:
                found.add(path)
                waiting.append(path)
    return sorted(found)


@cache
def _bytes(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _imports(path: Path, root: Path) -> tuple[Path, ...]:
    if not path.is_file():
        return ()
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    files: set[Path] = set()
    for name in names:
        pieces = name.split(".")
        if pieces[0] != "cytoloom":
            continue
        for depth in range(1, len(pieces) + 1):
            base = root.joinpath(*pieces[:depth])
            files.update(p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file())
    return tuple(sorted(files))
