"""Files of the user that arguments of a step name: found, and part of the step's tasks.

A row of the registry lists such arguments under ``files``. ``{position}`` and ``{channel}``
in a path stand for the names of the position and of the group's first channel. A path is
looked up as all others (``paths``); its content's digest goes into the task, so that a
changed file runs the step again. A row with ``select`` also gets ``--select``, the part of
the user's stack that the run works on.
"""

from __future__ import annotations

import glob
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoloom.plan.digests import files_digest
from cytoloom.plan.model import Group, Step
from cytoloom.plan.paths import exists, expanded
from cytoloom.plan.problems import Problems, quoted

PLACES = ("position", "channel")


@dataclass(frozen=True)
class UserFiles:
    """Finds the files that arguments name; notes what is missing.

    Attributes
    ----------
    folders
        Where a relative path is looked up, in order.
    selections
        The selected part of the user's stack by position, empty where it is whole.
    cache
        Folder that keeps digests between runs; None: digests are not computed.
    lenient
        A missing file is a warning (dry run), not a mistake.
    """

    folders: tuple[Path, ...]
    selections: Mapping[str, str]
    problems: Problems
    cache: Path | None
    verify: bool = False
    lenient: bool = False
    _digests: dict[str, str] = field(default_factory=dict)

    def of(self, step: Step, position: str, group: Group) -> tuple[dict[str, Any], str]:
        """Return options of the step's tasks at a position, and the digest of its files."""
        found: dict[str, Any] = {}
        digests = []
        for name in step.row.files:
            if (text := step.args.get(name)) is None:
                continue
            line = step.lines.get(f"args.{name}", step.line)
            path = self._find(str(text), f"step {step.tag}: {name}", line, position, group)
            if path is not None:
                found[name] = path
                digests.append(f"{name} {self._digest(path)}")
        if step.row.select and self.selections.get(position):
            found["select"] = self.selections[position]
        return found, " ".join(digests)

    @property
    def used(self) -> list[str]:
        """The files that steps were given, in order."""
        names = list(self._digests)
        return [f for n in names for f in ([n] if Path(n).exists() else sorted(glob.glob(n)))]  # noqa: PTH207

    def _find(self, text: str, where: str, line: int, position: str, group: Group) -> str | None:
        names = {"position": position, "channel": group.channels[0]}
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
        except ValueError:
            fields = {text}
        if not fields <= set(names):
            valid = " and ".join(f"{{{name}}}" for name in PLACES)
            self.problems.add(line, where, f"{quoted(text, 200)}: only {valid} are filled in")
            return None
        filled = text.format(**names)
        candidates = [str(folder / expanded(filled)) for folder in self.folders]
        for candidate in candidates:
            if exists(candidate):
                return candidate
        message = f"{quoted(filled, 200)}: no such file or folder"
        if "{position}" in text:
            message += f" (position {position})"
        if self.lenient:
            self.problems.warn(line, where, message)
        else:
            self.problems.add(line, where, message, missing_file=True)
        return candidates[-1]

    def _digest(self, path: str) -> str:
        if self.cache is None or not exists(path):
            return "not computed"
        if path not in self._digests:
            here = Path(path)
            files = [here] if here.exists() else sorted(map(Path, glob.glob(path)))  # noqa: PTH207
            self._digests[path] = files_digest(files, cache=self.cache, verify=self.verify)
        return self._digests[path]
