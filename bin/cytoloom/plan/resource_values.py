"""The values of a resource YAML, as SLURM writes them: each reader returns the value, or None.

A value that cannot be read is noted with an example of one that can. Whole numbers may stand
in quotes here: resource files come from many hands, and the unit is never in doubt.
"""

from __future__ import annotations

import re

from cytoloom.plan import checks
from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems

_MB = {"K": 2**-10, "M": 1.0, "G": 2.0**10, "T": 2.0**20}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?)?", re.IGNORECASE)
_TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<hours>\d{1,2})(?::(?P<minutes>\d{1,2})(?::(?P<seconds>\d{1,2}))?)?)"
    r"|(?:(?:(?P<h>\d+):)?(?P<m>\d+):(?P<s>\d{1,2}))"
    r"|(?P<only>\d+)"
)
_GRES = re.compile(r"[A-Za-z][\w.-]*(:[\w.+-]+){0,2}")
_PARTITION = re.compile(r"[\w.-]+")
_OPTION = re.compile(r"[\w.,:&|*!@=+\[\]()-]+")


def whole(node: Node, problems: Problems) -> int | None:
    """Read a whole number of at least 1."""
    if isinstance(node.value, str) and node.value.strip().isdecimal():
        return whole(Node("scalar", node.line, node.where, int(node.value), node.text), problems)
    return checks.integer(node, problems, minimum=1)


def partition(node: Node, problems: Problems) -> str | None:
    """Read a partition, or several with commas or as a list."""
    return _parts(node, _PARTITION, "the name of a partition, such as short", problems)


def gres(node: Node, problems: Problems) -> str | None:
    """Read generic resources, one or several with commas or as a list."""
    what = "name:type:count, such as gpu:1 or gpu:a100-pcie-40gb:1"
    return _parts(node, _GRES, what, problems)


def option(node: Node, problems: Problems) -> str | None:
    """Read the value of an option that sbatch takes as it stands."""
    return _parts(node, _OPTION, "a word as sbatch takes it, without blanks", problems)


def _parts(node: Node, pattern: re.Pattern[str], what: str, problems: Problems) -> str | None:
    items = node.items if node.kind == "list" else (node,)
    texts = [item.text if isinstance(item.value, str | int) else "" for item in items]
    words = [part.strip() for text in texts for part in text.split(",")]
    if words and all(pattern.fullmatch(word) for word in words):
        return ",".join(words)
    problems.add(node.line, node.where, f"must be {what}, not {node}")
    return None


def memory(node: Node, problems: Problems) -> int | None:
    """Read memory as SLURM does, in MB: a number with K, M, G or T; without a unit, MB."""
    match = _MEMORY.fullmatch(node.text.strip()) if node.kind == "scalar" else None
    size = float(match[1]) * _MB[(match[2] or "M").upper()] if match else 0.0
    if not 0 < size < 2**40:
        message = f"must be memory such as 32G or 1024M, not {node}"
        problems.add(node.line, node.where, message)
        return None
    return max(1, round(size))


def seconds(node: Node, problems: Problems) -> int | None:
    """Read a time as SLURM does: minutes, [hours:]minutes:seconds, days-hours[:…]."""
    match = _TIME.fullmatch(node.text.strip()) if node.kind == "scalar" else None
    found = 0
    if match and len(node.text) < 30:
        parts = {key: int(value) for key, value in match.groupdict().items() if value}
        hours = parts.get("hours", 0) + parts.get("h", 0) + 24 * parts.get("days", 0)
        minutes = parts.get("minutes", 0) + parts.get("m", 0) + parts.get("only", 0)
        found = 3600 * hours + 60 * minutes + parts.get("seconds", 0) + parts.get("s", 0)
    if not 0 < found < 2**40:
        message = f'must be a time such as "04:00:00", "10-00:00:00" or minutes, not {node}'
        problems.add(node.line, node.where, message)
        return None
    return found


def memory_text(megabytes: int) -> str:
    """Return memory as sbatch takes it: ``32G``, or ``1500M`` where it is no whole number."""
    return f"{megabytes // 1024}G" if megabytes % 1024 == 0 else f"{megabytes}M"


def time_text(seconds_: int) -> str:
    """Return a time as sbatch takes it: ``04:00:00``, or ``10-00:00:00`` from a day on."""
    minutes, rest = divmod(seconds_, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{f'{days}-' if days else ''}{hours:02}:{minutes:02}:{rest:02}"
