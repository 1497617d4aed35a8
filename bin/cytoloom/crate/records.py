"""The provenance of all tasks of a run, summed up by step and executable.

What is kept does not grow with the number of tasks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VALUES = 20  # values of one argument or fact that are kept


@dataclass
class Work:
    """The tasks of one executable in one step.

    ``resolved`` holds what arguments became that were left to the model or the data.
    """

    step: str  # slug; `ingest`, or the part of delivery
    executable: str
    tasks: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    started: str | None = None
    ended: str | None = None
    arguments: dict[str, list[Any]] = field(default_factory=dict)
    resolved: dict[str, list[Any]] = field(default_factory=dict)
    facts: dict[str, list[str]] = field(default_factory=dict)


def read_records(lines: Iterable[str], steps: Mapping[str, str]) -> list[Work]:
    """Sum up records of provenance, one JSON object per line, in the order of the pipeline.

    Parameters
    ----------
    lines
        As ``provenance.jsonl`` holds them.
    steps
        The slugs of the steps of the pipeline, and of the points of a sweep, with the slug of
        the step that they belong to; other tasks are the run's own ends.
    """
    found: dict[tuple[str, str], Work] = {}
    for line in lines:
        try:
            record = json.loads(line)
            executable, output = str(record["executable"]), str(record["output"])
        except (ValueError, KeyError, TypeError):
            continue
        step = _step(executable, output, steps)
        _add(found.setdefault((step, executable), Work(step, executable)), record)
    order = {slug: place for place, slug in enumerate(["ingest", *dict.fromkeys(steps.values())])}
    last = len(order)
    return sorted(
        found.values(), key=lambda work: (order.get(work.step, last), work.started or "", work.step)
    )


def read_record(path: Path) -> str:
    """Return one record of provenance as a line of ``provenance.jsonl``."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return json.dumps({"output": path.name.removesuffix(".provenance.json"), **content})


def _step(executable: str, output: str, steps: Mapping[str, str]) -> str:
    if executable.startswith("deliver_"):
        return executable.removeprefix("deliver_")
    fields = output.split(".")
    return steps.get(fields[1] if len(fields) > 1 else "", "ingest")


def _add(work: Work, record: dict[str, Any]) -> None:
    work.tasks += 1
    seconds = record.get("seconds") or {}
    work.seconds += sum(float(value) for value in seconds.values())
    work.peak_mb = max(work.peak_mb, float(record.get("peak_memory_mb") or 0))
    if started := record.get("started"):
        work.started = min(started, work.started or started)
    if ended := record.get("ended"):
        work.ended = max(ended, work.ended or ended)
    for name, value in (record.get("arguments") or {}).items():
        _keep(work.arguments.setdefault(name, []), value)
    for name, value in (record.get("resolved") or {}).items():
        if value is not None:
            _keep(work.resolved.setdefault(name, []), value)
    for name in ("python", "device", "version"):
        if name in record:
            _keep(work.facts.setdefault(name, []), str(record[name]))


def _keep(values: list[Any], value: Any) -> None:
    if value not in values and len(values) < VALUES:
        values.append(value)
