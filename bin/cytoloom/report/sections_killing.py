"""Contacts and killing: per frame, per pair, survival, deaths and killers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.report import charts, charts_killing, charts_motion
from cytoloom.report.inputs import Columns, Inputs, Table
from cytoloom.report.page import Block, Picture, Section, attempt
from cytoloom.report.page import Table as PageTable

POSITIONS = 6  # positions shown in detail
EVENT = ("effector_track_id", "target_track_id", "start_frame", "end_frame", "duration_s")
DEATH = ("target_track_id", "first_frame", "last_frame", "death_time", "kill_class", "died")
SUMMARY = {
    "targets": "target tracks",
    "analysed": "analysed",
    "dead_at_start": "dead when first seen",
    "deaths": "died under observation",
    "killed_single": "killed by one effector",
    "killed_multi": "killed by several effectors",
    "died_after_contact": "died after contact",
    "died_spontaneous": "died without contact",
    "censored": "alive when last seen",
    "effectors": "effector tracks",
    "effectors_that_killed": "effectors that killed",
    "median_survival_s": "median survival (s)",
    "logrank_p": "p, contacted against not contacted (Mantel-Byar)",
}


def _places(inputs: Inputs) -> dict[str, Mapping[str, Any]]:
    return {place["slug"]: place for place in inputs.run["positions"]}


def _tag(inputs: Inputs, table: Table) -> str:
    tags = {step["slug"]: step["tag"] for step in inputs.run["steps"]}
    return f"{tags.get(table.tag, table.tag)} ({table.channel})"


def _axis(place: Mapping[str, Any]) -> tuple[float, str]:
    return charts.time_axis(int(place["shape"][0]), place.get("frame_interval"))


# ---- contacts ---------------------------------------------------------------------------


def contacts(inputs: Inputs) -> Section | None:
    """Return the section of contacts; None where no step looked for them."""
    layers = dict.fromkeys((t.tag, t.channel) for t in inputs.of("contacts", "contact_events"))
    if not layers:
        return None
    section = Section("contacts", "Contacts")
    for tag, channel in layers:
        found = [t for t in inputs.of("contacts", "contact_events")
                 if (t.tag, t.channel) == (tag, channel)]  # fmt: skip
        section.blocks.append(_contact_block(inputs, found))
    return section


def _contact_block(inputs: Inputs, found: list[Table]) -> Block:
    block = Block(_tag(inputs, found[0]))
    rows = [t for t in found if t.kind == "contacts"]
    events = [t for t in found if t.kind == "contact_events"]
    total = sum(t.rows for t in rows), sum(t.rows for t in events)
    if not sum(total):
        block.notes.append("No cells were in contact.")
        return block
    block.notes.append(
        f"{total[0]:,} pairs in contact, counted in every frame; {total[1]:,} contacts of tracked "
        "cells from start to end."
    )
    if rows:
        block.pictures += attempt("the contacts per frame", partial(_per_frame, inputs, rows))
    if total[1]:
        block.pictures += attempt("the durations", partial(_durations, events))
        for table in events[:POSITIONS]:
            what = f"the timeline of contacts at {table.position}"
            block.pictures += attempt(what, partial(_timeline, inputs, table))
    return block


def _per_frame(inputs: Inputs, rows: list[Table]) -> Picture:
    places = _places(inputs)
    series, interval = {}, None
    for table in rows[:POSITIONS]:
        place = places[table.position]
        frames = table.read("frame")["frame"].astype(np.int64)
        series[place["name"]] = np.bincount(frames, minlength=int(place["shape"][0]))
        interval = place.get("frame_interval")
    colours = {name: number for number, name in enumerate(series)}
    figure = charts_motion.counts_per_frame(
        series, colours, interval=interval, ylabel="pairs in contact"
    )
    caption = "Pairs in contact in each frame"
    if len(rows) > POSITIONS:
        caption += f", first {POSITIONS} of {len(rows)} positions"
    return Picture(charts.to_img(figure, caption), caption)


def _durations(events: list[Table]) -> Picture:
    seconds, frames = [], []
    for table in events:
        columns = table.read("duration_s", "start_frame", "end_frame")
        seconds.append(columns["duration_s"].astype(float))
        frames.append(columns["end_frame"] - columns["start_frame"] + 1)
    values = np.concatenate(seconds)
    if np.isfinite(values).all():
        factor, unit = charts.time_unit(float(values.max()) * 2)
        values = values / factor
    else:
        values, unit = np.concatenate(frames), "frames"
    median = float(np.median(values))
    figure = charts.histogram(
        [("contacts", values, 0)], xlabel=f"duration ({unit})", ylabel="contacts"
    )
    caption = f"Durations of {values.size:,} contacts: median {median:.3g} {unit}"
    return Picture(charts.to_img(figure, caption), caption)


def _timeline(inputs: Inputs, table: Table) -> Picture | None:
    if not table.rows:
        return None
    place = _places(inputs)[table.position]
    scale, xlabel = _axis(place)
    columns = table.read(*EVENT)
    pairs: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for row in np.argsort(columns["start_frame"], kind="stable"):
        start, end = columns["start_frame"][row], columns["end_frame"][row]
        pair = int(columns["effector_track_id"][row]), int(columns["target_track_id"][row])
        pairs.setdefault(pair, []).append((start * scale, (end + 1 - start) * scale))
    longest = sorted(pairs, key=lambda pair: -sum(length for _, length in pairs[pair]))
    kept = set(longest[: charts_killing.ROWS_SHOWN])
    shown = {pair: spans for pair, spans in pairs.items() if pair in kept}
    figure = charts_killing.contact_timeline(
        [f"{a} → {b}" for a, b in shown], list(shown.values()), xlabel=xlabel
    )
    caption = f"Contacts of each pair over time at {place['name']}"
    if len(shown) < len(pairs):
        caption += f": the {len(shown)} of {len(pairs)} pairs that touched longest"
    return Picture(charts.to_img(figure, caption), caption)


# ---- killing ----------------------------------------------------------------------------


def killing(inputs: Inputs) -> Section | None:
    """Return the section of killing; None where no step looked for deaths."""
    kinds = ("deaths", "survival", "killers", "cell_state", "killing_summary", "death_thresholds")
    layers = dict.fromkeys((t.tag, t.channel) for t in inputs.of(*kinds))
    if not layers:
        return None
    section = Section("killing", "Killing")
    for tag, channel in layers:
        found = [t for t in inputs.of(*kinds) if (t.tag, t.channel) == (tag, channel)]
        section.blocks += _killing_blocks(inputs, found)
    return section


def _killing_blocks(inputs: Inputs, found: list[Table]) -> list[Block]:
    first = Block(_tag(inputs, found[0]))
    summaries = [t for t in found if t.kind == "killing_summary"]
    first.tables += _summary(inputs, summaries) + _thresholds(found)
    positions = list(dict.fromkeys(t.position for t in found))
    if len(positions) > POSITIONS:
        first.notes.append(f"Charts show the first {POSITIONS} of {len(positions)} positions.")
    blocks = [first]
    for position in positions[:POSITIONS]:
        block = first if len(positions) == 1 else Block(f"Position {position}")
        _fill(Killing(inputs, block, {t.kind: t for t in found if t.position == position}))
        if block is not first:
            blocks.append(block)
    return blocks


@dataclass
class Killing:
    """What one step found at one position, by the kind of its table, and where it is shown."""

    inputs: Inputs
    block: Block
    tables: Mapping[str, Table]

    @property
    def any(self) -> Table:
        """Return one of the tables."""
        return next(iter(self.tables.values()))

    def axis(self) -> tuple[float, str]:
        """Return the length of a frame in the unit of the axis of time, and the axis' name."""
        return _axis(_places(self.inputs)[self.any.position])


def _fill(here: Killing) -> None:
    deaths = here.tables.get("deaths")
    if deaths is not None and not deaths.rows:
        here.block.notes.append("No target could be followed for long enough to be analysed.")
    makers = {
        "survival": (_survival, "the survival curves"),
        "deaths": (_deaths, "the timeline of deaths"),
        "cell_state": (_index, "the cell death index"),
        "killers": (_killers, "the killers"),
    }
    for kind, (maker, what) in makers.items():
        if kind in here.tables and here.tables[kind].rows:
            what = f"{what} at {here.any.position}"
            here.block.pictures += attempt(what, partial(maker, here))


def _summary(inputs: Inputs, tables: list[Table]) -> list[PageTable]:
    tables = tables[:POSITIONS]
    if not tables:
        return []
    places = _places(inputs)
    read = [t.read(*SUMMARY) for t in tables]
    rows = []
    for name, words in SUMMARY.items():
        cells = [_number(columns[name]) for columns in read]
        rows.append([words, *cells])
    names = [places[t.position]["name"] for t in tables]
    return [PageTable(["", *names] if len(names) > 1 else ["killing", "number"], rows)]


def _number(values: NDArray[Any]) -> str:
    if not len(values) or not np.isfinite(float(values[0])):
        return "none"
    value = float(values[0])
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"


def _thresholds(found: list[Table]) -> list[PageTable]:
    names = ("death_threshold", "deaths", "killed_single", "killed_multi",
             "died_after_contact", "died_spontaneous", "mean_death_s")  # fmt: skip
    tables = [t for t in found if t.kind == "death_thresholds" and t.rows][:1]
    if not tables:
        return []
    columns = tables[0].read(*names)
    rows = [[_number(columns[n][row : row + 1]) for n in names] for row in range(tables[0].rows)]
    head = ["threshold", "deaths", "one effector", "several", "after contact",
            "no contact", "mean time (s)"]  # fmt: skip
    words = f"Deaths by the threshold of the cell death index, position {tables[0].position}"
    return [PageTable(head, rows, words)]


def _survival(here: Killing) -> Picture:
    table = here.tables["survival"]
    scale, xlabel = here.axis()
    names = ("group", "time_frames", "survival", "lower95", "upper95", "events")
    columns = table.read(*names)
    curves: list[Any] = []
    for group in dict.fromkeys(columns["group"]):
        rows = np.flatnonzero(columns["group"] == group)
        rows = rows[np.argsort(columns["time_frames"][rows], kind="stable")]
        events = int(columns["events"][rows].sum())
        words = f"{str(group).replace('_', ' ')} ({events} died)"
        time, *rest = (columns[n][rows].astype(float) for n in names[1:5])
        curves.append((words, time * scale, *rest))
    figure = charts_killing.survival(curves, xlabel=xlabel)
    caption = "Survival of targets (Kaplan-Meier) with 95 % bands"
    words = "; ".join(f"{name}: {alive[-1]:.0%} alive at the end" for name, _, alive, *_ in curves)
    return Picture(charts.to_img(figure, f"{caption}. {words}"), caption)


def _deaths(here: Killing) -> Picture:
    table = here.tables["deaths"]
    scale, xlabel = here.axis()
    columns = table.read(*DEATH)
    death = columns["death_time"].astype(float)
    touched = _touches(here.inputs, table, scale)
    order = np.lexsort((columns["target_track_id"], np.where(np.isfinite(death), death, np.inf)))
    shown = order[: charts_killing.ROWS_SHOWN]
    rows = []
    for row in shown:
        track, how = int(columns["target_track_id"][row]), str(columns["kill_class"][row])
        first, last = columns["first_frame"][row], columns["last_frame"][row] + 1
        when = first if how == "at_start" else death[row]
        rows.append((str(track), first * scale, last * scale, when * scale, how,
                     touched.get(track, [])))  # fmt: skip
    figure = charts_killing.death_timeline(rows, xlabel=xlabel)
    caption = "Each target: alive blue, dead grey; dark line: contact with an effector"
    if len(shown) < len(order):
        caption += f"; {len(shown)} of {len(order)} targets"
    died = int(columns["died"].astype(bool).sum())
    return Picture(charts.to_img(figure, f"{caption}. {died} of {len(order)} died"), caption)


def _touches(inputs: Inputs, table: Table, scale: float) -> dict[int, list[tuple[float, float]]]:
    """Return the contacts of each target, where it is clear which targets they mean."""
    feeding: list[str] = next(
        (s["inputs_from"] for s in inputs.run["steps"] if s["slug"] == table.tag), []
    )
    events = [t for t in inputs.of("contact_events", position=table.position) if t.tag in feeding]
    if len(events) != 1:
        return {}
    found: dict[int, list[tuple[float, float]]] = {}
    columns: Columns = events[0].read(*EVENT)
    for target, start, end in zip(
        columns["target_track_id"], columns["start_frame"], columns["end_frame"], strict=True
    ):
        found.setdefault(int(target), []).append((start * scale, (end + 1 - start) * scale))
    return found


def _index(here: Killing) -> Picture | None:
    table = here.tables["cell_state"]
    scale, xlabel = here.axis()
    columns = table.read("track_id", "frame", "cdi_smoothed")
    traces = {}
    for track in np.unique(columns["track_id"])[: charts_killing.TRACES_SHOWN]:
        rows = np.flatnonzero(columns["track_id"] == track)
        rows = rows[np.argsort(columns["frame"][rows], kind="stable")]
        traces[int(track)] = (columns["frame"][rows] * scale, columns["cdi_smoothed"][rows])
    died: set[int] = set()
    if "deaths" in here.tables:
        dead = here.tables["deaths"].read("target_track_id", "died")
        died = {int(t) for t in dead["target_track_id"][dead["died"].astype(bool)]}
    figure = charts_killing.death_index(
        traces, died, threshold=_threshold(here.inputs, table), xlabel=xlabel
    )
    caption = (
        f"Cell death index of {len(traces)} targets; they die where it stays over the threshold"
    )
    return Picture(charts.to_img(figure, caption), caption)


def _threshold(inputs: Inputs, table: Table) -> float | None:
    """Return the threshold of death that the step used, from its provenance."""
    values = inputs.used.get(table.tag, {}).get("death_threshold", [])
    return float(values[0]) if len(values) == 1 and values[0] != "null" else None


def _killers(here: Killing) -> Picture | None:
    table = here.tables["killers"]
    names = ("effector_track_id", "kills", "kill_credit", "n_targets_contacted")
    columns = table.read(*names)
    order = np.lexsort((columns["effector_track_id"], -columns["kill_credit"]))
    order = order[columns["kills"][order] > 0]
    if not len(order):
        here.block.notes.append("No effector was in contact with a target when it died.")
        return None
    shown = order[: charts_killing.KILLERS_SHOWN]
    rows = [
        (str(int(columns["effector_track_id"][r])), int(columns["kills"][r]),
         float(columns["kill_credit"][r]), int(columns["n_targets_contacted"][r]))
        for r in shown
    ]  # fmt: skip
    caption = f"{len(order)} of {table.rows} effectors killed"
    if len(shown) < len(order):
        caption += f"; the first {len(shown)} are shown"
    return Picture(charts.to_img(charts_killing.killers(rows), caption), caption)
