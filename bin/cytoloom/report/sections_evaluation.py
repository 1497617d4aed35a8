"""Scores against ground truth: a table per step, and charts of the first few positions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.report import charts, charts_evaluation
from cytoloom.report.inputs import Columns, Inputs, Table
from cytoloom.report.page import Block, Picture, Section, attempt
from cytoloom.report.page import Table as PageTable

POSITIONS = 6
NAMES = ("frame", "metric", "threshold", "value")
SHOWN = {
    "DET": "DET", "SEG": "SEG", "TRA": "TRA", "LNK": "LNK", "CT": "CT", "TF": "TF", "BC": "BC",
    "HOTA": "HOTA", "IDF1": "IDF1", "F1": "F1", "AP": "AP", "precision": "precision",
    "recall": "recall", "panoptic_quality": "panoptic quality", "edge_f1": "F1 of links",
    "division_f1": "F1 of divisions", "identity_switches": "identity switches",
    "complete_lineages": "complete lineages", "true_objects": "objects, truth",
    "found_objects": "objects, found", "count_error": "error of counting",
    "mean_absolute_count_error": "mean absolute error of counting",
}  # fmt: skip
COUNTS = ("identity_switches", "true_objects", "found_objects", "count_error")
AT = {"F1": (0.5, 0.75, 0.9), "AP": (0.5, 0.75)}  # where there are others, these are enough
ERRORS = {
    "AOGM_FN": "missed objects",
    "AOGM_FP": "surplus objects",
    "AOGM_NS": "objects that join several",
    "false_negative_edges": "missed links",
    "false_positive_edges": "wrong links",
    "identity_switches": "identity switches",
    "false_negative_divisions": "missed divisions",
    "false_positive_divisions": "wrong divisions",
}


def make(inputs: Inputs) -> Section | None:
    """Return the section of scores; None where nothing was evaluated."""
    found: dict[tuple[str, str], list[tuple[Table, Columns]]] = {}
    for table, columns in inputs.columns("evaluation", *NAMES):
        found.setdefault((table.tag, table.channel), []).append((table, columns))
    section = Section("evaluation", "Scores against ground truth")
    steps = {step["slug"]: step for step in inputs.run["steps"]}
    places = {place["slug"]: place for place in inputs.run["positions"]}
    for (tag, channel), tables in found.items():
        step = steps.get(tag, {"tag": tag, "args": {}})
        block = Block(f"{step['tag']} ({channel})")
        truth = step["args"].get("ground_truth")
        if truth:
            block.notes.append(f"Ground truth: {truth}")
        block.tables.append(_table(tables, places))
        for table, columns in tables[:POSITIONS]:
            place = places.get(table.position, {"name": table.position})
            name = str(place["name"]) if len(tables) > 1 else ""
            block.pictures += _pictures(columns, place.get("frame_interval"), name)
        if len(tables) > POSITIONS:
            block.notes.append(f"Charts of the first {POSITIONS} of {len(tables)} positions.")
        section.blocks.append(block)
    return section if section.blocks else None


def _table(
    tables: list[tuple[Table, Columns]], places: Mapping[str, Mapping[str, Any]]
) -> PageTable:
    """Return the main scores over all frames: one row per score, one column per position."""
    values = [_whole(columns) for _, columns in tables]
    keys = list(dict.fromkeys(key for one in values for key in one if key[0] in SHOWN))
    keys = [(m, t) for m, t in keys if m not in AT or t in AT[m] or not _has(keys, m)]
    order = list(SHOWN)
    keys = [(m, t) for m, t in keys if m not in ("precision", "recall", "panoptic_quality")
            or t == min(u for n, u in keys if n == m)]  # fmt: skip
    keys.sort(key=lambda key: (order.index(key[0]), key[1]))
    rows = [
        [_words(*key), *(_number(key[0], one.get(key, np.nan)) for one in values)] for key in keys
    ]
    names = [str(places.get(t.position, {"name": t.position})["name"]) for t, _ in tables]
    return PageTable(["score over all frames", *names], rows)


def _has(keys: list[tuple[str, float]], metric: str) -> bool:
    return any(m == metric and t in AT[metric] for m, t in keys)


def _whole(columns: Columns) -> dict[tuple[str, float], float]:
    frame, metric, threshold, value = (columns[name] for name in NAMES)
    threshold = np.nan_to_num(threshold.astype(float), nan=-1)
    rows = np.flatnonzero(~np.isfinite(frame.astype(float)))
    return {(str(metric[i]), float(threshold[i])): float(value[i]) for i in rows}


def _words(metric: str, threshold: float) -> str:
    name = SHOWN[metric]
    if threshold < 0:
        return name
    if metric in ("division_f1", "BC"):
        frames = "1 frame" if threshold == 1 else f"{threshold:g} frames"
        return f"{name}, up to {frames} early or late" if threshold else f"{name}, exact"
    return f"{name} at IoU {threshold:g}"


def _number(metric: str, value: float) -> str:
    if not np.isfinite(value):
        return "none"
    return f"{value:,.0f}" if metric in COUNTS else f"{value:.4f}"


def _frames(columns: Columns, metric: str, threshold: float | None = None) -> Any:
    """Return frames and values of a metric, by frame; None where there is none."""
    frame, at = columns["frame"].astype(float), columns["threshold"].astype(float)
    rows = (columns["metric"] == metric) & np.isfinite(frame)
    if threshold is not None:
        rows &= at == threshold
    order = np.argsort(frame[rows], kind="stable")
    value = columns["value"].astype(float)[rows][order]
    return (frame[rows][order], value) if np.isfinite(value).any() else None


def _thresholds(columns: Columns) -> NDArray[np.float64]:
    rows = columns["metric"] == "F1"
    return np.unique(columns["threshold"].astype(float)[rows])


def _pictures(columns: Columns, interval: float | None, name: str) -> list[Picture]:
    place = f"{name}: " if name else ""
    steps = _thresholds(columns)
    made = []
    if len(steps) > 1:
        made += attempt("the scores over the IoU", partial(_over_iou, columns, place))
    made += attempt("the numbers of objects", partial(_counts, columns, interval, place))
    made += attempt("the scores per frame", partial(_per_frame, columns, steps, interval, place))
    return [*made, *attempt("the errors", partial(_errors, columns, interval, place))]


def _over_iou(columns: Columns, place: str) -> Picture:
    whole = _whole(columns)
    series = {}
    for metric in ("F1", "AP", "precision", "recall"):
        points = sorted((t, v) for (m, t), v in whole.items() if m == metric)
        series[metric] = (np.array([t for t, _ in points]), np.array([v for _, v in points]))
    figure = charts_evaluation.over_iou(series)
    caption = f"{place}Scores over the IoU, all frames together"
    return Picture(charts.to_img(figure, caption), caption)


def _counts(columns: Columns, interval: float | None, place: str) -> Picture | None:
    names = {"true_objects": "ground truth", "found_objects": "found"}
    series = {word: curve for n, word in names.items() if (curve := _frames(columns, n))}
    if not series:
        return None
    figure = charts_evaluation.per_frame(series, interval=interval, ylabel="objects in frame")
    caption = f"{place}Objects in each frame, of ground truth and result"
    return Picture(charts.to_img(figure, caption), caption)


def _per_frame(
    columns: Columns, steps: NDArray[np.float64], interval: float | None, place: str
) -> Picture | None:
    wanted: list[tuple[str, str, float | None]] = [("DET", "DET", None), ("SEG", "SEG", None)]
    if len(steps):
        wanted.append(("F1", f"F1 at IoU {steps[0]:g}", float(steps[0])))
    series = {w: curve for m, w, t in wanted if (curve := _frames(columns, m, t))}
    if not series:
        return None
    figure = charts_evaluation.per_frame(series, interval=interval, ylabel="score")
    caption = f"{place}Scores of single frames"
    return Picture(charts.to_img(figure, caption), caption)


def _errors(columns: Columns, interval: float | None, place: str) -> Picture | None:
    series = {word: curve for n, word in ERRORS.items() if (curve := _frames(columns, n))}
    if not series:
        return None
    series = {word: curve for word, curve in series.items() if np.nansum(curve[1])}
    if not series:
        return None
    figure = charts_evaluation.errors(series, interval=interval)
    total = "; ".join(f"{word}: {np.nansum(v):g}" for word, (_, v) in series.items())
    return Picture(charts.to_img(figure, f"Errors per frame. {total}"), f"{place}{total}")
