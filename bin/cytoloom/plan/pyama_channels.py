"""Channels of PyAMA's ``processing_config.yaml``, in every form that it writes them, and saved.

The forms: ``{channel, features}``, ``[n, [features]]``, ``{n: [features]}``, ``n``. Entries
that are no channel are left out with a warning, as PyAMA does.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoloom.plan import checks
from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems


@dataclass(frozen=True)
class Channel:
    """A channel of the file with the features to measure on it."""

    inside: int | str
    line: int
    features: tuple[str, ...] = ()

    def name(self, kind: str) -> str:
        """Return what the channel is called: ``pc_ch_<n>``; names hold no / of the file's own."""
        return f"{kind}_ch_" + re.sub(r"[/\x00-\x1f\x7f]", "_", str(self.inside))


@dataclass
class Config:
    """What the file says, checked."""

    path: Path
    pc: Channel | None = None
    fl: dict[str, Channel] = field(default_factory=dict)
    params: Mapping[str, Node] = field(default_factory=dict)


def saved(root: Node) -> str:
    """Return a configuration as PyAMA saves it beside its results: features are sorted."""
    from ruamel.yaml import YAML

    config, ignored = Config(Path()), Problems("")
    read_channels(config, root.get("channels"), root.line, ignored)

    def block(channel: Channel) -> dict[str, Any]:
        return {"channel": channel.inside, "features": sorted(channel.features)}

    fl = [block(config.fl[name]) for name in sorted(config.fl)]
    channels = {"pc": block(config.pc)} if config.pc else {}
    params = root.get("params")
    written = {
        "channels": {**channels, "fl": fl},
        "params": params.plain() if params is not None else {},
    }
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(written, out)
    return out.getvalue()


def read_channels(config: Config, node: Node | None, line: int, problems: Problems) -> None:
    """Put the channels of a configuration into it, one for each number."""
    if node is None or node.kind != "map":
        problems.add(line, "channels", "is missing: a mapping of pc and fl is needed")
        return
    checks.known_keys(node, ("pc", "fl"), problems, "kind of channel")
    pc = [one for one in _entries(node.get("pc"), problems) if one is not None]
    config.pc = pc[0] if pc else None
    if len(pc) > 1:
        problems.add(pc[1].line, "channels.pc", "two channels: PyAMA has one of phase contrast")
    fl = node.get("fl")
    if fl is not None and (fl.kind == "scalar" or "channel" in fl.fields):
        problems.add(fl.line, "channels.fl", f"must be a list of channels, not {fl}")
        return
    for one in _entries(fl, problems, many=True):
        if one is None:
            continue
        name = one.name("fl")
        earlier = config.fl.get(name, Channel(one.inside, one.line))
        features = tuple(dict.fromkeys((*earlier.features, *one.features)))
        config.fl[name] = Channel(one.inside, earlier.line, features)
    if config.pc is None and not config.fl:
        problems.add(node.line, "channels", "names no channel: pc or fl is needed")


def _entries(
    node: Node | None, problems: Problems, *, many: bool = False
) -> Iterable[Channel | None]:
    """Yield channels: ``{channel, features}``, ``[n, [features]]``, ``{n: [features]}``, ``n``."""
    if node is None:
        return
    if node.kind == "list" and (many or (node.items and node.items[0].kind != "scalar")):
        for item in node.items:
            yield _entry(item, problems)
    elif node.kind == "map" and not {"channel", "features"} & set(node.fields):
        for key, child in node.fields.items():
            inside = int(key) if key.isdecimal() else key
            yield Channel(inside, child.line, _features(child, problems))
    else:
        yield _entry(node, problems)


def _entry(node: Node, problems: Problems) -> Channel | None:
    number, features = node, None
    if node.kind == "map":
        checks.known_keys(node, ("channel", "features"), problems, "key of a channel")
        child = node.get("channel")
        if child is None:
            problems.warn(node.line, node.where, "has no channel: left out, as PyAMA does")
            return None
        number, features = child, node.get("features")
    elif node.kind == "list":
        if not 1 <= len(node.items) <= 2:
            problems.warn(node.line, node.where, "is not [channel, [features]]: left out")
            return None
        number = node.items[0]
        features = node.items[1] if len(node.items) == 2 else None
    if isinstance(number.value, str):
        inside: int | str | None = checks.text(number, problems, "a channel")
    else:
        inside = checks.integer(number, problems, minimum=0)
    if inside is None:
        return None
    return Channel(inside, node.line, _features(features, problems))


def _features(node: Node | None, problems: Problems) -> tuple[str, ...]:
    if node is None or node.is_null:
        return ()
    items = node.items if node.kind == "list" else (node,)
    found = [checks.text(item, problems, "the name of a feature") for item in items]
    return tuple(sorted({name for name in found if name}))
