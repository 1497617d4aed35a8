"""One frame of a network, read from GraphML element by element.

Only cells and links are kept, as tuples. Parts over `LARGEST` bytes are not read: a
picture is not worth minutes at the end of a run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from cytoloom.errors import BadData

LARGEST = 24 * 2**20
_SPACE = "{http://graphml.graphdrawing.org/xmlns}"
Cell = tuple[int, str, int, float, float]  # frame, channel, label, y (um), x (um)


@dataclass
class FrameNetwork:
    """The cells and links of one frame; links are pairs of rows of ``cells``."""

    frame: int
    cells: list[Cell]
    links: list[tuple[int, int]]


def read_frame(paths: list[Path], wanted: int | None = None) -> FrameNetwork:
    """Read the frame that is wanted, or where it has no link the one with most links.

    Raises
    ------
    BadData
        If a part is too large or is no GraphML, or no part has a link.
    """
    order = sorted(paths, key=lambda path: path.name)
    middle = len(order) // 2
    for path in order[middle:] + order[:middle][::-1]:
        if path.stat().st_size > LARGEST:
            raise BadData(f"{path.name} is too large to be drawn ({path.stat().st_size:,} bytes)")
        try:
            cells, links = _parse(path)
        except ET.ParseError as error:
            raise BadData(f"{path.name}: not GraphML ({error})") from error
        counts = Counter(cells[a][0] for a, _ in links if a in cells)
        if counts:
            most = max(counts, key=lambda f: (counts[f], -f))
            frame = wanted if wanted is not None and wanted in counts else most
            return _select(frame, cells, links)
    raise BadData("no two cells are linked in the frames that were looked at")


def _parse(path: Path) -> tuple[dict[str, Cell], list[tuple[str, str]]]:
    names: dict[str, str] = {}
    cells: dict[str, Cell] = {}
    links: list[tuple[str, str]] = []
    root: Any = None
    for event, element in ET.iterparse(path, events=("start", "end")):
        if event == "start":
            root = element if root is None else root
            continue
        if element.tag == f"{_SPACE}key":
            names[element.get("id", "")] = element.get("attr.name", "")
        elif element.tag == f"{_SPACE}node":
            values = {names.get(d.get("key", ""), ""): d.text or "" for d in element}
            cells[element.get("id", "")] = (
                int(values.get("frame", 0)), values.get("channel", ""),
                int(values.get("label", 0)), float(values.get("y_um", "nan")),
                float(values.get("x_um", "nan")),
            )  # fmt: skip
            element.clear()
        elif element.tag == f"{_SPACE}edge":
            links.append((element.get("source", ""), element.get("target", "")))
            element.clear()
    return cells, links


def _select(frame: int, cells: dict[str, Cell], links: list[tuple[str, str]]) -> FrameNetwork:
    here = [name for name, cell in cells.items() if cell[0] == frame]
    row = {name: number for number, name in enumerate(here)}
    pairs = [(row[a], row[b]) for a, b in links if a in row and b in row]
    return FrameNetwork(frame, [cells[name] for name in here], pairs)
