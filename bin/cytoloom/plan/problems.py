"""Mistakes in a user's YAML, collected and reported together.

A ``Problem`` is one line: ``file:line: where: what is wrong; what would be valid``.
Readers add to a ``Problems`` collector and go on, so that one run shows all mistakes.
Whatever depends on a broken entry is left unchecked rather than reported again.
``raise_if_any`` ends the reading with ``PlanProblems`` (exit 65, or 66 where nothing
but missing files is wrong). Warnings never raise.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

from cytoloom.errors import BadData, InputMissing


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake, with its place."""

    file: str
    line: int
    where: str
    message: str
    missing_file: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}: {where}{self.message}"


class PlanProblems(BadData):
    """All mistakes of one or more YAML files."""

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[str] = ()) -> None:
        self.problems = tuple(sorted(set(problems)))
        self.warnings = tuple(warnings)
        if all(problem.missing_file for problem in self.problems):
            self.exit_code = InputMissing.exit_code
        super().__init__("\n".join(self.lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """One line of text for each problem, sorted by file and line."""
        return tuple(str(problem) for problem in self.problems)


@dataclass
class Problems:
    """Collects the mistakes and warnings of one file."""

    file: str
    found: list[Problem] = field(default_factory=list)
    warned: list[Problem] = field(default_factory=list)
    refused_names: set[str] = field(default_factory=set)  # reported once, wherever they are used

    def add(self, line: int, where: str, message: str, *, missing_file: bool = False) -> None:
        """Note a mistake."""
        self.found.append(
            Problem(self.file, line, one_line(where), one_line(message), missing_file)
        )

    def warn(self, line: int, where: str, message: str) -> None:
        """Note something that does not stop the plan."""
        self.warned.append(Problem(self.file, line, one_line(where), one_line(message)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line of text for each warning, sorted by line."""
        return tuple(str(problem) for problem in sorted(set(self.warned)))

    def raise_if_any(self) -> None:
        """Raise ``PlanProblems`` when a mistake was noted."""
        if self.found:
            raise PlanProblems(self.found, self.warnings)


def one_line(text: str) -> str:
    """Return ``text`` without line breaks and control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def quoted(text: str, limit: int = 60) -> str:
    """Return user text in quotes, on one line and shortened."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name that is most like ``name``, or None where none is alike."""
    folded: dict[str, str] = {}
    for candidate in valid:
        folded.setdefault(candidate.casefold(), candidate)
    found = difflib.get_close_matches(name.casefold()[:200], folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def suggestion(
    name: str, valid: Iterable[str], *, also: Iterable[str] = (), limit: int = 12
) -> str:
    """Return ``; did you mean X? (valid: …)`` for a name that is not among ``valid``.

    Names in ``also`` may be meant but are not listed.
    """
    names = list(dict.fromkeys(valid))
    near = nearest(name, [*names, *also])
    mean = f"; did you mean {near}?" if near else ""
    if not names:
        return mean
    shown = ", ".join(names[:limit]) + (f", … {len(names) - limit} more" if names[limit:] else "")
    return f"{mean} (valid: {shown})"
