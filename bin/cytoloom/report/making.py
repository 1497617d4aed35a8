"""How a run was made: provenance of all tasks summed up per step.

One file is read at a time; what is kept does not grow with the number of tasks, but for
the digests of results, of which at most `DIGESTS` are shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoloom.report.inputs import Inputs

DIGESTS = 150
VALUES = 6  # values of one argument that are kept
STANDARD = {
    "executable", "version", "python", "arguments", "region", "halo", "inputs", "outputs",
    "seconds", "started", "ended", "peak_memory_mb",
}  # fmt: skip


@dataclass
class Work:
    """The tasks of one executable in one step."""

    step: str
    executable: str
    stage: str
    tasks: int = 0
    compute: float = 0.0
    start_up: float = 0.0
    peak_mb: float = 0.0
    started: str = ""
    arguments: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Making:
    """What all provenance says together."""

    work: list[Work] = field(default_factory=list)
    facts: dict[str, set[str]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    files: int = 0
    unread: int = 0

    @property
    def compute(self) -> float:
        """Return all seconds of compute."""
        return sum(work.compute for work in self.work)

    @property
    def start_up(self) -> float:
        """Return all seconds of start-up."""
        return sum(work.start_up for work in self.work)

    @property
    def tasks(self) -> int:
        """Return the number of tasks."""
        return sum(work.tasks for work in self.work)


def sum_up(inputs: Inputs) -> Making:
    """Read all provenance."""
    steps = {step["slug"]: step for step in inputs.run["steps"]}
    shown = {path.name for table in inputs.tables for path in table.paths}
    shown |= {path.name for path in inputs.stores.values()}
    making = Making()
    found: dict[tuple[str, str], Work] = {}
    for path in inputs.provenance:
        try:
            record = json.loads(path.read_bytes())
            step, stage = _belongs(path, record, steps)
            key = (step, record["executable"])
            work = found.setdefault(key, Work(step, record["executable"], stage))
            _add(work, record, inputs.used.setdefault(_slug(path), {}))
        except (OSError, ValueError, KeyError, TypeError) as error:
            making.unread += 1
            if making.unread == 1:
                inputs.problems.append(f"{path.name}: provenance that cannot be read ({error!r})")
            continue
        _note(making, record, shown)
    order = ["ingest", *(step["tag"] for step in inputs.run["steps"])]
    places = {tag: number for number, tag in enumerate(order)}
    making.work = sorted(
        found.values(), key=lambda w: (places.get(w.step, len(places)), w.step, w.started)
    )
    return making


def _belongs(
    path: Path, record: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]
) -> tuple[str, str]:
    """Return the step and stage to which a task belongs."""
    name = str(record["executable"])
    if name.startswith("deliver_"):
        return name.removeprefix("deliver_"), "output"
    step = steps.get(_slug(path))
    return (str(step["tag"]), str(step["stage"])) if step else ("ingest", "io")


def _slug(path: Path) -> str:
    fields = path.name.split(".")
    return fields[1] if len(fields) > 1 else ""


def _add(work: Work, record: Mapping[str, Any], used: dict[str, list[str]]) -> None:
    work.tasks += 1
    work.compute += float(record["seconds"]["compute"])
    work.start_up += float(record["seconds"]["start_up"])
    work.peak_mb = max(work.peak_mb, float(record["peak_memory_mb"]))
    started = str(record.get("started", ""))
    work.started = min(work.started or started, started)
    for name, value in record["arguments"].items():
        text = json.dumps(value, ensure_ascii=False)
        for values in (work.arguments.setdefault(name, []), used.setdefault(name, [])):
            if text not in values and len(values) < VALUES:
                values.append(text)


def _note(making: Making, record: Mapping[str, Any], shown: set[str]) -> None:
    for name in ("version", "python", *(key for key in record if key not in STANDARD)):
        value = record.get(name)
        if isinstance(value, str | int | float):
            kept = making.facts.setdefault(name, set())
            if len(kept) < 20:
                kept.add(str(value))
    for name, digest in record.get("outputs", {}).items():
        if name in shown or ".ingest." in name:
            making.files += 1
            if len(making.digests) < DIGESTS:
                making.digests[name] = str(digest)


def parameters(step: Mapping[str, Any], making: Making) -> list[tuple[str, str, bool]]:
    """Return (name, value, given) of all arguments of a step, those of the YAML first."""
    given = dict(step["args"])
    rows = [(name, _text(value), True) for name, value in given.items()]
    used: dict[str, list[str]] = {}
    for work in making.work:
        if work.step == step["tag"]:
            for name, values in work.arguments.items():
                kept = used.setdefault(name, [])
                kept += [value for value in values if value not in kept]
    for name, values in sorted(used.items()):
        if name not in given:
            shown = ("none" if value == "null" else value for value in values)
            rows.append((name, " | ".join(shown), False))
    return rows


def _text(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def libraries() -> list[tuple[str, str]]:
    """Return the versions of the libraries on which results rest, of this environment."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("numpy", "scipy", "scikit-image", "zarr", "pyarrow", "pandas", "laptrack",
                 "trackpy", "lifelines", "networkx", "matplotlib"):  # fmt: skip
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found
