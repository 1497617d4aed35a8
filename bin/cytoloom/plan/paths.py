"""Paths in a pipeline YAML, and where they are looked up.

A relative path is one in the folder of the YAML if it exists there, else in the folder
where the run is launched. Globs follow the same rule by their matches; URLs stay as they
are. An input that is missing is a mistake, or a warning in a dry run.
"""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path

from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems, nearest, quoted

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Paths:
    """Finds the files that a YAML names."""

    folder: Path
    launch_dir: Path
    dry_run: bool
    problems: Problems

    def find(self, node: Node, text: str) -> str:
        """Return an absolute path (or glob, or URL), noting one that matches nothing."""
        if _URL.match(text):
            return text
        bases = (self.folder, self.launch_dir)
        candidates = list(dict.fromkeys(str(base / expanded(text)) for base in bases))
        for candidate in candidates:
            if exists(candidate):
                return candidate
        message = f"{quoted(text, 200)}: {self._missing(text, candidates)}"
        if self.dry_run:
            self.problems.warn(node.line, node.where, message)
        else:
            self.problems.add(node.line, node.where, message, missing_file=True)
        return candidates[-1]

    def _missing(self, text: str, candidates: list[str]) -> str:
        if _is_glob(text):
            return f"no file matches (looked in {' and '.join(self._bases(text))})"
        for candidate in candidates:
            path = Path(candidate)
            near = nearest(path.name, _listing(path.parent))
            if near:
                return f"no such file; did you mean {Path(text).parent / near!s}?"
        return f"no such file (looked in {' and '.join(self._bases(text))})"

    def _bases(self, text: str) -> list[str]:
        if Path(text).is_absolute():
            return [str(Path(text).parent)]
        return list(dict.fromkeys(str(base) for base in (self.folder, self.launch_dir)))


def expanded(text: str) -> Path:
    """Return a path with ~ written out, where there is such a home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _is_glob(text: str) -> bool:
    return any(c in text for c in "*?[")


def _listing(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())[:10_000]
    except (OSError, ValueError):
        return []


def exists(path: str) -> bool:
    """Tell whether a path exists or a glob matches anything."""
    try:
        if Path(path).exists():
            return True
        # Path.glob refuses absolute patterns
        return _is_glob(path) and next(glob.iglob(path, recursive=True), None) is not None  # noqa: PTH207
    except (OSError, ValueError, re.error, RuntimeError):
        return False
