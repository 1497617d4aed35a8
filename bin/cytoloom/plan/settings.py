"""The top-level keys of a pipeline YAML other than its steps: data, range, units, patches.

Each reader takes the value of its key and returns settings, or a harmless default after
noting problems. ``channels`` maps names to a path, a glob, or ``{path, channel, axes}``; with
``input`` a channel may instead be an index or name within the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cytoloom.plan import checks
from cytoloom.plan.model import ChannelSource, GivenResult, InputSource, Patching, Slice
from cytoloom.plan.nodes import Node
from cytoloom.plan.paths import Paths
from cytoloom.plan.problems import Problems
from cytoloom.selection import PROJECTIONS

AXES = ("x", "y", "z", "t")
PLANES = ("all", *PROJECTIONS)
MOST_PATCHES = 10_000


def read_channels(
    node: Node | None, with_input: bool, paths: Paths, problems: Problems
) -> dict[str, ChannelSource]:
    """Read ``channels``."""
    if node is None:
        return {}
    if node.kind == "list" and with_input:
        named = [(checks.name(item, problems, "a channel"), item) for item in node.items]
        return {name: ChannelSource(name, None, name, item.line) for name, item in named if name}
    found = {}
    for name, child in _named(node, "a channel", "a path", problems).items():
        source = _channel(name, child, with_input, paths, problems)
        if source is not None:
            found[name] = source
    return found


def _named(node: Node, what: str, value: str, problems: Problems) -> dict[str, Node]:
    if node.kind != "map":
        problems.add(node.line, node.where, f"must map the name of {what} to {value}, not {node}")
        return {}
    return {
        name: child
        for name, child in node.fields.items()
        if checks.usable_name(name, child, problems, what)
    }


def _channel(
    name: str, node: Node, with_input: bool, paths: Paths, problems: Problems
) -> ChannelSource | None:
    """Read one channel; None after noting a problem."""
    channel: int | str | None = None
    axes: str | None = None
    fov: int | None = None
    z: str | None = None
    path_node: Node | None = node
    if node.kind == "map":
        keys = ("path", "channel", "axes", "fov", "z")
        checks.known_keys(node, keys, problems, "key of a channel")
        inner = node.get("channel")
        letters = node.get("axes")
        axes = checks.text(letters, problems, "axes, for example TYX") if letters else None
        channel = _within(inner, problems) if inner is not None else None
        if (number := node.get("fov")) is not None:
            fov = checks.integer(number, problems, minimum=0)
        z = _planes(node.get("z"), problems)
        path_node = node.get("path")
    elif with_input:
        channel = name if node.is_null else _within(node, problems)
        return ChannelSource(name, None, channel, node.line)
    if path_node is None or path_node.is_null:
        if with_input:
            chosen = name if channel is None else channel
            return ChannelSource(name, None, chosen, node.line, axes, fov, z)
        problems.add(node.line, node.where, "has no path: give a file, a folder or a glob")
        return None
    text = checks.text(path_node, problems, "a path or glob")
    if text is None:
        return None
    return ChannelSource(name, paths.find(path_node, text), channel, node.line, axes, fov, z)


def _planes(node: Node | None, problems: Problems) -> str | None:
    """Read ``z``: the index of a plane, or all, max, min, mean."""
    if node is None or node.is_null:
        return None
    if isinstance(node.value, str) and node.value.lower() in PLANES:
        return node.value.lower()
    valid = ", ".join(PLANES)
    if isinstance(node.value, str):
        problems.add(node.line, node.where, f"must be the index of a plane or one of {valid}")
        return None
    found = checks.integer(node, problems, minimum=0)
    return None if found is None else str(found)


def _within(node: Node, problems: Problems) -> int | str | None:
    """Read the index or name of a channel within a file."""
    if isinstance(node.value, str):
        return checks.text(node, problems)
    return checks.integer(node, problems, minimum=0)


def read_results(
    node: Node | None, what: str, with_input: bool, paths: Paths, problems: Problems
) -> dict[str, GivenResult]:
    """Read ``labels`` or ``tables``: existing results of channels by path.

    With ``input`` they are a list of channels, whose paths stand in the sample sheet.
    """
    found: dict[str, GivenResult] = {}
    if node is None:
        return found
    if with_input:
        if node.kind != "list":
            message = f"with input, list the channels; the path of each {what} is in the sheet"
            problems.add(node.line, node.where, message)
            return found
        named = [(checks.name(item, problems, "a channel"), item) for item in node.items]
        return {name: GivenResult(name, None, item.line) for name, item in named if name}
    for name, child in _named(node, "a channel", f"the path of its {what}", problems).items():
        text = checks.text(child, problems, "a path or glob")
        if text is not None:
            found[name] = GivenResult(name, paths.find(child, text), child.line)
    return found


def read_input(node: Node | None, paths: Paths, problems: Problems) -> InputSource | None:
    """Read ``input``: a sample sheet (.csv, .tsv), files, or positions written out."""
    if node is None:
        return None
    if node.kind == "map":
        path = node.get("path")
        whole = path is not None and path.kind != "map"  # all positions of its files
        rows = [_row(node, paths, problems)] if whole else _positions(node, paths, problems)
        return InputSource(rows=tuple(rows), line=node.line)
    if node.kind == "scalar":
        text = checks.text(node, problems, "a sample sheet, a path or a glob")
        if text is None:
            return InputSource(line=node.line)
        found = paths.find(node, text)
        if Path(text).suffix.lower() in (".csv", ".tsv"):
            return InputSource(sheet=Path(found), line=node.line)
        return InputSource(files=(found,), line=node.line)
    files: list[str] = []
    listed = []
    for item in checks.listed(node, problems, "a list of files or of positions"):
        if item.kind == "map":
            listed.append(_row(item, paths, problems))
        elif (text := checks.text(item, problems, "a path or glob")) is not None:
            files.append(paths.find(item, text))
    return InputSource(files=tuple(files), rows=tuple(listed), line=node.line)


def _positions(node: Node, paths: Paths, problems: Problems) -> list[dict[str, Any]]:
    rows = []
    for name, child in _named(node, "a position", "its file", problems).items():
        if child.kind == "map":
            rows.append({"position": name, **_row(child, paths, problems)})
        elif (text := checks.text(child, problems, "a path or glob")) is not None:
            rows.append({"position": name, "path": paths.find(child, text)})
    return rows


def _row(node: Node, paths: Paths, problems: Problems) -> dict[str, Any]:
    """Read one row of a sample sheet; only ``path`` is looked up here."""
    row: dict[str, Any] = {}
    for key, child in node.fields.items():
        if child.kind == "scalar":
            row[key] = child.value
        elif key == "fovs" and child.kind == "list":
            row[key] = [item.value if item.kind == "scalar" else str(item) for item in child.items]
        else:
            problems.add(child.line, child.where, f"must be a single value, not {child}")
    path = node.get("path")
    if path is not None and (text := checks.text(path, problems, "a path or glob")) is not None:
        row["path"] = paths.find(path, text)
    return row


def read_range(node: Node | None, problems: Problems) -> dict[str, Slice]:
    """Read ``image_range``: ``[start, stop, step]`` for any of the axes x, y, z, t."""
    if node is None:
        return {}
    if node.kind != "map":
        problems.add(node.line, node.where, f"must map axes to [start, stop, step], not {node}")
        return {}
    checks.known_keys(node, AXES, problems, "axis")
    found = {}
    for axis in AXES:
        child = node.get(axis)
        span = None if child is None else _slice(child, problems)
        if span is not None:
            found[axis] = span
    return found


def _slice(node: Node, problems: Problems) -> Slice | None:
    what = "[start, stop, step], with null for the end"
    if node.kind != "list" or len(node.items) not in (2, 3):
        found = f"a list of {len(node.items)}" if node.kind == "list" else str(node)
        problems.add(node.line, node.where, f"must be {what}, not {found}")
        return None
    before = len(problems.found)
    first, second, *rest = node.items
    start = 0 if first.is_null else checks.integer(first, problems, minimum=0)
    stop = None
    if not second.is_null and second.value != -1:
        stop = checks.integer(second, problems, minimum=0)
    step = 1
    if rest and not rest[0].is_null:
        step = checks.integer(rest[0], problems, minimum=1) or 1
    if len(problems.found) > before or start is None:
        return None
    if stop is not None and stop <= start:
        problems.add(node.line, node.where, f"is empty: it starts at {start} and stops at {stop}")
        return None
    return Slice(start, stop, step)


def read_spacing(node: Node | None, problems: Problems) -> tuple[float, ...] | None:
    """Read ``spacing``: micrometre per pixel as [y, x] or [z, y, x]."""
    if node is None:
        return None
    if node.kind != "list" or len(node.items) not in (2, 3):
        found = f"a list of {len(node.items)}" if node.kind == "list" else str(node)
        problems.add(
            node.line, node.where, f"must be [y, x] or [z, y, x] in micrometre, not {found}"
        )
        return None
    values = [checks.number(item, problems, above=0) for item in node.items]
    return None if None in values else tuple(float(v) for v in values if v is not None)


def read_interval(node: Node | None, problems: Problems) -> float | None:
    """Read ``frame_interval`` in seconds."""
    value = None if node is None else checks.number(node, problems, above=0)
    return None if value is None else float(value)


def read_patching(node: Node | None, problems: Problems) -> Patching:
    """Read ``patching``."""
    if node is None:
        return Patching()
    if node.kind != "map":
        problems.add(node.line, node.where, f"must be a mapping with patch_count, not {node}")
        return Patching()
    checks.known_keys(node, ("patch_count", "patches", "overlap"), problems, "key of patching")
    found = len(problems.found)
    count = _patch_count(node.get("patch_count"), problems)
    total = count[0] * count[1] if len(problems.found) == found else MOST_PATCHES
    overlap = node.get("overlap")
    return Patching(
        count=count,
        patches=_patches(node.get("patches"), total, problems),
        overlap=None if overlap is None else checks.integer(overlap, problems, minimum=0),
    )


def _patch_count(node: Node | None, problems: Problems) -> tuple[int, int]:
    if node is None:
        return (1, 1)
    if node.kind != "list" or len(node.items) != 2:
        problems.add(node.line, node.where, f"must be [ny, nx], not {_shown(node)}")
        return (1, 1)
    values = [checks.integer(item, problems, minimum=1) for item in node.items]
    ny, nx = (value or 1 for value in values)
    if ny * nx > MOST_PATCHES:
        problems.add(node.line, node.where, f"{ny} x {nx} patches are over {MOST_PATCHES}")
        return (1, 1)
    return (ny, nx)


def _patches(node: Node | None, total: int, problems: Problems) -> tuple[int, ...] | None:
    if node is None or node.value == "all":
        return None
    if node.kind != "list":
        problems.add(
            node.line, node.where, f"must be all, or a list of numbers 0 to {total - 1}, not {node}"
        )
        return None
    found = [
        checks.integer(item, problems, minimum=0, maximum=total - 1)
        for item in checks.listed(node, problems, "all, or a list of patch numbers")
    ]
    return tuple(sorted({value for value in found if value is not None})) or None


def _shown(node: Node) -> str:
    return f"a list of {len(node.items)}" if node.kind == "list" else str(node)


def texts(fields: Mapping[str, Node], key: str) -> str | None:
    """Return free text of a key that has no effect, or None."""
    node = fields.get(key)
    return str(node.value) if node is not None and isinstance(node.value, str) else None
