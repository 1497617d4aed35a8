"""Lock files: which version of which package an environment holds.

A lock file serves several versions of Python and systems; what a line is for stands in its
marker. An environment is made from its lock file alone, so these are the versions in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

LINE = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*(.*?))?\s*\\?$", re.MULTILINE)
NAMED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)
Pin = tuple[str, str, str]  # package, version, marker ("": always)


def pins(lock: Path) -> list[Pin]:
    """Return the lines of a lock file."""
    return [
        (canonical(name), version, marker)
        for name, version, marker in LINE.findall(lock.read_text(encoding="utf-8"))
    ]


def named(requirements: Path) -> list[str]:
    """Return the packages that a requirements.in names, in order, each once."""
    found = NAMED.findall(requirements.read_text(encoding="utf-8"))
    return list(dict.fromkeys(canonical(name) for name in found))


def packages(lines: Iterable[Pin], python: str | None = None) -> dict[str, str]:
    """Return the version of each package under a version of Python, default the running one."""
    from packaging.markers import Marker

    own = {"python_version": ".".join(python.split(".")[:2]), "python_full_version": python,
           "implementation_version": python} if python else {}  # fmt: skip
    return {
        name: version
        for name, version, marker in lines
        if not marker or Marker(marker).evaluate(dict(own))
    }


def canonical(name: str) -> str:
    """Return the one spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()
