"""What a task leaves beside its outputs: ``<output>.provenance.json``, by its first name in order.

Executable, version, arguments, digests of inputs and outputs, device, seconds, peak
memory, and when the task began and ended (UTC). Seconds are split into ``compute`` and
``start_up`` (the interpreter's start and all imports, wherever they happen), so that the
overhead of a task can be read off. Nothing here goes into the outputs themselves: they
stay the same byte for byte from run to run.
"""

from __future__ import annotations

import builtins
import contextlib
import datetime as dt
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from cytoloom import __version__
from cytoloom.files import digest, find, writing

_notes: dict[str, Any] = {}


def note(**facts: Any) -> None:
    """Add facts to this task's provenance (``device="cuda:0"``, ``model="…"``).

    ``resolved`` holds, by name, what arguments became that were left to the model or the data.
    """
    _notes.update(facts)


@contextmanager
def recording(executable: str, values: dict[str, Any], roles: dict[str, Any]) -> Iterator[None]:
    """Run the block and write the provenance of its outputs when it ends well.

    Parameters
    ----------
    executable
        Its name without ``.py``.
    values
        All options by parameter name.
    roles
        The contract mark of each parameter, None for the step's arguments.
    """
    _notes.clear()
    clock = _ImportClock()
    began = time.perf_counter()
    with clock:
        yield
    total = time.perf_counter() - began
    start = _process_start()
    inputs = _paths(values, roles, "input")
    outputs = _paths(values, roles, "output")
    existing = [path for path in outputs if path.exists()]
    if not existing:
        return
    record = {
        "executable": executable,
        "version": __version__,
        "python": platform.python_version(),
        "arguments": {k: _plain(v) for k, v in values.items() if roles[k] is None},
        "region": values.get("region"),
        "halo": values.get("halo"),
        "inputs": {p.name: digest(p) for p in inputs if p.exists()},
        "outputs": {p.name: digest(p) for p in existing},
        "device": "cpu",
        "seconds": {
            "compute": round(total - clock.seconds, 3),
            "start_up": round(clock.seconds + began - start, 3),
        },
        "started": _utc(time.time() - (time.perf_counter() - start)),
        "ended": _utc(time.time()),
        "peak_memory_mb": round(_peak_memory_mb(), 1),
        **_notes,
    }
    first = min(outputs, key=lambda path: path.name)
    with writing(first.with_name(provenance_name([first.name]))) as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def join_records(records: Iterable[Path], target: Path) -> None:
    """Join the provenance of tasks: one JSON object per line, with the name of its output."""
    with open(target, "w", encoding="utf-8") as lines:
        for record in records:
            output = record.name.removesuffix(".provenance.json")
            content = {"output": output, **json.loads(record.read_text(encoding="utf-8"))}
            lines.write(json.dumps(content, ensure_ascii=False) + "\n")


def provenance_name(outputs: Iterable[str]) -> str:
    """Return the name of the provenance file of a task that writes ``outputs``."""
    return f"{min(outputs)}.provenance.json"


def _paths(values: dict[str, Any], roles: dict[str, Any], role: str) -> list[Path]:
    found: list[Path] = []
    for name, value in values.items():
        mark = roles[name]
        if mark is None or mark.role != role or value is None:
            continue
        for item in value if isinstance(value, list | tuple) else [value]:
            found += [Path(item)] if role == "output" else find(item)
    return found


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | None) else str(value)


def _utc(seconds: float) -> str:
    """Return a time of the system's clock as ISO 8601 in UTC, to the millisecond."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds")


def _process_start() -> float:
    """Return when this process began, on the clock of ``time.perf_counter``."""
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):
        fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot
        return time.perf_counter() - age
    return time.perf_counter()


def _peak_memory_mb() -> float:
    scale = 2**20 if sys.platform == "darwin" else 2**10
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / scale


class _ImportClock:
    """Sums the wall time of the outermost ``import`` statements while it is on."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    def __enter__(self) -> Self:
        self._import = builtins.__import__
        builtins.__import__ = self._timed
        return self

    def __exit__(self, *_: object) -> None:
        builtins.__import__ = self._import

    def _timed(self, *args: Any, **kwargs: Any) -> Any:
        self._depth += 1
        began = time.perf_counter()
        try:
            return self._import(*args, **kwargs)
        finally:
            self._depth -= 1
            if self._depth == 0:
                self.seconds += time.perf_counter() - began
