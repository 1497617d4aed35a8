"""The numbers of a run: cells, tracks, contacts, killed targets.

A cell is one detection: a row of the first table made from a label image, so an object
seen in 50 frames counts 50 times, and a label image measured on several channels counts
once. A track is one ``track_id`` of one label image at one position. A contact is one
event, from its start to its end. A target is killed when it died in contact with at
least one effector. What no step of the plan made is left out, not given as zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cytoloom.report.inputs import Inputs


def summarise(inputs: Inputs) -> dict[str, Any]:
    """Return the summary: whole numbers first, then ``per_channel`` and ``per_position``.

    It is kept in ``inputs.summary``.
    """
    channels: dict[str, dict[str, Any]] = {}
    positions: dict[str, dict[str, int]] = {}
    for place in inputs.run["positions"]:
        counts = _count_position(inputs, place, channels)
        positions[place["name"]] = counts
    total: dict[str, Any] = {}
    for key in ("cells", "tracks", "contacts", "killed"):
        found = [counts[key] for counts in positions.values() if key in counts]
        if found:
            total[key] = sum(found)
    total["positions"] = len(positions)
    for values in channels.values():
        _finish(values)
    inputs.summary = total | {"per_channel": channels, "per_position": positions}
    return inputs.summary


def _count_position(
    inputs: Inputs, place: dict[str, Any], channels: dict[str, dict[str, Any]]
) -> dict[str, int]:
    counts: dict[str, int] = {}
    slug, frames = place["slug"], int(place["shape"][0])
    for label, table in inputs.measured(slug).items():
        counts["cells"] = counts.get("cells", 0) + table.rows
        values = channels.setdefault(label, {"cells": 0, "frames": 0})
        values["cells"] += table.rows
        values["frames"] += frames
        size = next((c for c in ("area_um2", "volume_um3") if not _blank(table, c)), "area_um2")
        values.setdefault("_sizes", []).append((size, table.read(size)[size]))
    for label, table in inputs.tracked(slug).items():
        tracks = table.read("track_id")["track_id"]
        tracks = tracks[np.isfinite(tracks.astype(float))]
        ids, lengths = np.unique(tracks, return_counts=True)
        counts["tracks"] = counts.get("tracks", 0) + len(ids)
        values = channels.setdefault(label, {"cells": table.rows, "frames": frames})
        values["tracks"] = values.get("tracks", 0) + len(ids)
        values.setdefault("_lengths", []).append(lengths)
    for table in inputs.of("contact_events", position=slug):
        counts["contacts"] = counts.get("contacts", 0) + table.rows
    for table in inputs.of("deaths", position=slug):
        classes = table.read("kill_class")["kill_class"]
        killed = int(np.isin(classes.astype(str), ("single", "multi")).sum())
        counts["killed"] = counts.get("killed", 0) + killed
    return counts


def _blank(table: Any, column: str) -> bool:
    return column not in table.schema.names or table.first(column) is None


def _finish(values: dict[str, Any]) -> None:
    """Turn collected arrays into medians."""
    if values["frames"]:
        values["cells_per_frame"] = round(values["cells"] / values["frames"], 2)
    sizes = values.pop("_sizes", [])
    for name in ("area_um2", "volume_um3"):
        pooled = [a.astype(float) for kind, a in sizes if kind == name]
        joined = np.concatenate(pooled) if pooled else np.empty(0)
        joined = joined[np.isfinite(joined)]
        if joined.size:
            values[f"median_{name}"] = round(float(np.median(joined)), 3)
    lengths = values.pop("_lengths", [])
    linked = np.concatenate(lengths) if lengths else np.empty(0)
    linked = linked[linked > 1]
    if lengths:
        values["tracks_linked"] = int(linked.size)
    if linked.size:
        values["median_track_frames"] = float(np.median(linked))
