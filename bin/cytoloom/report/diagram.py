"""The plan as a diagram: a box per step, a column per stage, arrows where data flow.

Columns stand in the order in which stages first occur, steps of a stage below each other.
Between steps of one stage an arrow goes straight down to the next box, or around the
boxes between on their right. Arrows over several columns pass between boxes, through the
gap nearest to the straight line. Coordinates are those of the SVG, in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

BOX, TALL, GAP_X, GAP_Y, TOP = 158, 52, 42, 24, 40
CHAR = 0.62  # mean width of a character, in heights of the letters
SMALLEST = 9.5  # px: letters are made smaller down to this, then the text is cut
TITLES = {
    "input": "input",
    "label_to_sparse": "tabulation",
}


@dataclass(frozen=True)
class Box:
    """A step and where it stands."""

    tag: str
    title: str
    words: tuple[str, ...]
    stage: str
    column: int
    row: int
    tip: str

    @property
    def x(self) -> float:
        """Return the left edge."""
        return 8.0 + self.column * (BOX + GAP_X)

    @property
    def y(self) -> float:
        """Return the upper edge."""
        return float(TOP + self.row * (TALL + GAP_Y))

    @property
    def middle(self) -> float:
        """Return the middle height."""
        return self.y + TALL / 2


def place(steps: Sequence[Mapping[str, Any]], input_words: Sequence[str]) -> list[Box]:
    """Give every step a column (its stage) and a row; the input comes first."""
    boxes = [Box("ingest", "Input", tuple(input_words[:2]), "io", 0, 0, ", ".join(input_words))]
    columns: dict[str, int] = {}
    rows: dict[str, int] = {}
    for step in steps:
        stage = str(step["stage"])
        column = columns.setdefault(stage, len(columns) + 1)
        row = rows.get(stage, 0)
        rows[stage] = row + 1
        groups = [group_words(group, stage) for group in step["channels"]]
        method = step["name"] if step["name"] != step["tag"] else ""
        channels = ", ".join(dict.fromkeys(groups))
        words = tuple(w for w in (method, channels) if w)
        tip = f"{step['tag']}: {step['name']}; channels {channels}"
        boxes.append(Box(step["slug"], step["tag"], words, stage, column, row, tip))
    tallest = max(rows.values(), default=1)
    middle = (tallest - 1) / 2
    return [
        Box(b.tag, b.title, b.words, b.stage, b.column, b.row, b.tip)
        if b.tag != "ingest"
        else Box(b.tag, b.title, b.words, b.stage, 0, round(min(middle, 1)), b.tip)
        for b in boxes
    ]


def links(steps: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return (from, to) of all arrows."""
    return [(source, str(step["slug"])) for step in steps for source in step["inputs_from"]]


def draw(
    steps: Sequence[Mapping[str, Any]],
    palette: Mapping[str, str],
    input_words: Sequence[str],
) -> str:
    """Return the plan as inline SVG."""
    boxes = place(steps, input_words)
    where = {box.tag: box for box in boxes}
    width = max(box.x for box in boxes) + BOX + GAP_X
    height = max(box.y for box in boxes) + TALL + GAP_Y
    arrows = [
        _arrow(where[a], where[b], boxes) for a, b in links(steps) if a in where and b in where
    ]
    words = "; ".join(
        f"{step['tag']} ({step['name']}) takes from {', '.join(step['inputs_from']) or 'nothing'}"
        for step in steps
    )
    return (
        f'<svg class="plan" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'style="min-width:{min(width, 1180) * 0.72:.0f}px;max-width:{width * 1.15:.0f}px" '
        f'aria-label="{escape("The plan: " + words, quote=True)}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0.6 8 4 0 7.4z" fill="#64748b"/></marker>'
        "</defs>" + _headings(boxes, palette) + "".join(arrows)
        + "".join(_box(box, palette) for box in boxes) + "</svg>"
    )  # fmt: skip


def _headings(boxes: Sequence[Box], palette: Mapping[str, str]) -> str:
    first = {box.column: box for box in reversed(boxes)}
    return "".join(
        f'<text x="{box.x + BOX / 2:.0f}" y="20" text-anchor="middle" font-size="12" '
        f'font-weight="600" fill="{_fill(box, palette)}">'
        f"{escape(TITLES.get(box.stage, 'input' if box.stage == 'io' else box.stage))}</text>"
        for box in first.values()
    )


def _fill(box: Box, palette: Mapping[str, str]) -> str:
    return palette.get(box.stage, palette.get("optional", "#6b7280"))


def group_words(group: Sequence[str], stage: str) -> str:
    """Return channels that are processed together: ``TCell + Cancer``, ``Dead in Cancer``."""
    if stage == "label_to_sparse" and len(group) == 2:
        return group[0] if group[0] == group[1] else f"{group[0]} in {group[1]}"
    return " + ".join(group)


def _fit(text: str, size: float) -> tuple[str, float]:
    """Return text and size of its letters so that it fits into a box."""
    room = (BOX - 10) / CHAR
    size = max(SMALLEST, min(size, room / max(1, len(text))))
    most = int(room / size)
    return (text if len(text) <= most else text[: most - 1] + "…"), size


def _box(box: Box, palette: Mapping[str, str]) -> str:
    lines = [(*_fit(box.title, 12.5), 600), *((*_fit(words, 11), 400) for words in box.words)]
    start = box.middle - (len(lines) - 1) * 7 + 4
    text = "".join(
        f'<text x="{box.x + BOX / 2:.0f}" y="{start + 14 * i:.1f}" text-anchor="middle" '
        f'fill="#fff" font-size="{size:.1f}" font-weight="{weight}">{escape(line)}</text>'
        for i, (line, size, weight) in enumerate(lines)
    )
    return (
        f"<g><title>{escape(box.tip)}</title>"
        f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{BOX}" height="{TALL}" rx="7" '
        f'fill="{_fill(box, palette)}"/>{text}</g>'
    )


def _arrow(start: Box, end: Box, boxes: Sequence[Box]) -> str:
    if start.column == end.column:
        path = _within(start, end)
    elif start.column < end.column:
        path = _across(start, end, boxes)
    else:
        path = _back(start, end)
    return (
        f'<path d="{path}" fill="none" stroke="#64748b" stroke-width="1.4" '
        'stroke-opacity="0.75" marker-end="url(#tip)"/>'
    )


def _within(start: Box, end: Box) -> str:
    x = start.x + BOX / 2
    if end.row == start.row + 1:
        return f"M{x:.0f} {start.y + TALL:.0f}V{end.y - 1:.0f}"
    right, bulge = start.x + BOX, start.x + BOX + min(10 + 4 * abs(end.row - start.row), GAP_X - 6)
    return (
        f"M{right:.0f} {start.middle:.0f}C{bulge:.0f} {start.middle:.0f} {bulge:.0f} "
        f"{start.middle:.0f} {bulge:.0f} {start.middle + (20 if end.row > start.row else -20):.0f}"
        f"V{end.middle - (20 if end.row > start.row else -20):.0f}"
        f"C{bulge:.0f} {end.middle:.0f} {bulge:.0f} {end.middle:.0f} {right + 1:.0f} "
        f"{end.middle:.0f}"
    )


def _across(start: Box, end: Box, boxes: Sequence[Box]) -> str:
    """Go right, through the gaps of the columns between."""
    x, y = start.x + BOX, start.middle
    path = f"M{x:.0f} {y:.0f}"
    for column in range(start.column + 1, end.column):
        share = (column - start.column) / (end.column - start.column)
        ideal = start.middle + share * (end.middle - start.middle)
        rows = [box.row for box in boxes if box.column == column]
        free = {float(TOP + (row + side) * (TALL + GAP_Y) - GAP_Y / 2)
                for row in rows for side in (0, 1)}  # fmt: skip
        through = min(free, key=lambda gap: (abs(gap - ideal), gap)) if free else ideal
        left = 8.0 + column * (BOX + GAP_X)
        path += _curve(x, y, left, through) + f"H{left + BOX:.0f}"
        x, y = left + BOX, through
    return path + _curve(x, y, end.x - 1, end.middle)


def _curve(x0: float, y0: float, x1: float, y1: float) -> str:
    bend = (x1 - x0) * 0.55
    return f"C{x0 + bend:.0f} {y0:.0f} {x1 - bend:.0f} {y1:.0f} {x1:.0f} {y1:.0f}"


def _back(start: Box, end: Box) -> str:
    """Go back to an earlier column, below the boxes."""
    x0, x1 = start.x + BOX / 2, end.x + BOX / 2
    low = max(start.y, end.y) + TALL + 14
    return (
        f"M{x0:.0f} {start.y + TALL:.0f}C{x0:.0f} {low:.0f} {x1:.0f} {low:.0f} "
        f"{x1:.0f} {end.y + TALL + 1:.0f}"
    )
