"""Ultrack's database of hypotheses, cut into files that are written once.

Ultrack keeps candidate cells (nodes), which of them exclude each other (overlaps) and how
they may be linked in time (links) in one database that every sub-step changes. Here each
task writes a SQLite file of its own, and reads those of the tasks before it: a part holds
the rows of its frames in Ultrack's own tables, and ours:

- ``cytoloom``: settings, as JSON by key
- ``outlines``: the mask of each node as packed bits, so that labels are painted without Ultrack
- ``windows`` and ``solution``: what the solver chose, and how well it did

With PostgreSQL the rows of nodes, overlaps and links lie in the server; the files then hold
the rest. The number of a node tells its frame: (frame + 1) * `PER_FRAME` + its index.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData
from cytoloom.files import find

PER_FRAME = 1_000_000
NO_PARENT = -1
TABLES = {
    "cytoloom": "key TEXT PRIMARY KEY, value TEXT",
    "outlines": "id INTEGER PRIMARY KEY, t INTEGER, box TEXT, bits BLOB",
    "windows": "number INTEGER PRIMARY KEY, start INTEGER, stop INTEGER, about TEXT",
    "solution": "id INTEGER PRIMARY KEY, t INTEGER, parent_id INTEGER",
}


@dataclass(frozen=True)
class Server:
    """A schema of a PostgreSQL database; the password is in the password file or nowhere."""

    address: str  # user@host:port/database
    schema: str
    passfile: str | None = None


@dataclass(frozen=True)
class Settings:
    """What all tasks of one step at one position share.

    Attributes
    ----------
    shape
        Lengths along t, z, y, x.
    pixel_size
        Micrometre along z, y, x.
    areas
        Areas [px] of the cells of the label images: the 1st percentile, the median and the
        greatest; None where there are none.
    server
        None: SQLite.
    """

    position: str
    channel: str
    shape: tuple[int, int, int, int]
    pixel_size: tuple[float, float, float]
    areas: tuple[int, int, int] | None = None
    server: Server | None = None

    @property
    def volume(self) -> bool:
        """Whether the data are 3-D."""
        return self.shape[1] > 1

    @property
    def diameter(self) -> float | None:
        """Diameter of a disc or ball of the median area [px along x]; None: no cells known."""
        if self.areas is None:
            return None
        z, y, x = (size / self.pixel_size[2] for size in self.pixel_size)
        if self.volume:
            return float((6 * self.areas[1] * z * y * x / np.pi) ** (1 / 3))
        return float(np.sqrt(4 * self.areas[1] * y * x / np.pi))


@dataclass(frozen=True)
class Outline:
    """A candidate cell: its mask inside the box that starts at ``corner`` (z, y, x)."""

    id: int
    corner: tuple[int, int, int]
    mask: NDArray[np.bool_]


@contextmanager
def opened(path: Path | str) -> Iterator[sqlite3.Connection]:
    """Open a file to read; it is never changed, and nothing is written beside it.

    Raises
    ------
    BadData
        If it is not one of our files.
    """
    address = f"{Path(path).absolute().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(address, uri=True)
    try:
        connection.execute("SELECT value FROM cytoloom").fetchone()
        yield connection
    except sqlite3.DatabaseError as error:
        raise BadData(f"{path}: not a database of Ultrack's phases ({error})") from error
    finally:
        connection.close()


@contextmanager
def made(path: Path | str, settings: Settings) -> Iterator[sqlite3.Connection]:
    """Add our tables and the settings to a new or copied file; open it to write."""
    connection = sqlite3.connect(path)
    try:
        for name, columns in TABLES.items():
            connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
        connection.execute(
            "INSERT OR REPLACE INTO cytoloom VALUES ('settings', ?)",
            (json.dumps(asdict(settings)),),
        )
        yield connection
        connection.commit()
    finally:
        connection.close()


def read_settings(pattern: Path | str) -> Settings:
    """Return the settings that a file (or the first of several) carries."""
    with opened(find(pattern, what="database")[0]) as connection:
        found = connection.execute("SELECT value FROM cytoloom WHERE key = 'settings'").fetchone()
    values = json.loads(found[0])
    values |= {key: tuple(values[key]) for key in ("shape", "pixel_size")}
    values["areas"] = tuple(values["areas"]) if values["areas"] else None
    values["server"] = Server(**values["server"]) if values["server"] else None
    return Settings(**values)


def numbers(start: int, stop: int) -> tuple[int, int]:
    """Return the lowest and highest number of nodes in the frames ``start`` ... ``stop - 1``."""
    return (start + 1) * PER_FRAME, (stop + 1) * PER_FRAME - 1


def copy_tables(source: Path | str, target: sqlite3.Connection) -> None:
    """Make Ultrack's tables, empty, as they are in another file."""
    with opened(source) as connection:
        for (statement,) in connection.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL "
            "AND name IN ('nodes', 'overlaps', 'links', 'gt_nodes', 'gt_links') ORDER BY rowid"
        ):
            target.execute(statement)


def collect(
    target: sqlite3.Connection,
    table: str,
    pattern: Path | str,
    start: int,
    stop: int,
    *,
    without: Sequence[str] = (),
) -> None:
    """Copy the rows of some frames of one of Ultrack's tables out of all files of a layer.

    Parameters
    ----------
    start, stop
        Frames; a link belongs to the frame of its source.
    without
        Columns that become null.
    """
    key = {"nodes": "id", "overlaps": "node_id", "links": "source_id"}[table]
    columns = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    if table != "nodes":
        columns.remove("id")
    taken = ", ".join("NULL" if name in without else name for name in columns)
    order = "t, id" if table == "nodes" else "id"
    query = f"SELECT {taken} FROM {table} WHERE {key} BETWEEN ? AND ? ORDER BY {order}"
    marks = ", ".join("?" for _ in columns)
    for path in find(pattern, what="database"):
        with opened(path) as source:
            target.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",
                source.execute(query, numbers(start, stop)),
            )


def last_frame(pattern: Path | str) -> int | None:
    """Return the last frame that has a node; None: no frame has."""
    found = []
    for path in find(pattern, what="database"):
        with opened(path) as connection:
            found += connection.execute("SELECT max(t) FROM outlines").fetchone()
    return max((int(t) for t in found if t is not None), default=None)


def pack(
    number: int, frame: int, corner: Sequence[int], mask: NDArray[np.bool_]
) -> tuple[Any, ...]:
    """Return a row of the table ``outlines``; ``mask`` has the axes z, y, x."""
    box = " ".join(str(int(n)) for n in (*corner, *mask.shape))
    return number, frame, box, np.packbits(mask).tobytes()


def unpack(number: int, box: str, bits: bytes) -> Outline:
    """Return the outline that a row holds."""
    z, y, x, *shape = (int(n) for n in box.split())
    size = shape[0] * shape[1] * shape[2]
    mask = np.unpackbits(np.frombuffer(bits, np.uint8), count=size).astype(bool)
    return Outline(number, (z, y, x), mask.reshape(shape))


def outlines(pattern: Path | str, frame: int, wanted: set[int]) -> list[Outline]:
    """Return those nodes of a frame that are wanted, in the order of their first pixel."""
    found = []
    for path in find(pattern, what="database"):
        with opened(path) as connection:
            rows = connection.execute("SELECT id, box, bits FROM outlines WHERE t = ?", (frame,))
            found += [unpack(*row) for row in rows if row[0] in wanted]
    return sorted(found, key=_first_pixel)


def _first_pixel(outline: Outline) -> tuple[int, ...]:
    first = np.unravel_index(int(outline.mask.argmax()), outline.mask.shape)
    return tuple(int(a) + b for a, b in zip(first, outline.corner, strict=True))


@dataclass(frozen=True)
class Window:
    """One window of the solver: its frames, and what the solver said (as a row of ``solver``)."""

    number: int
    start: int
    stop: int
    about: dict[str, Any]


def windows(patterns: Sequence[Path | str]) -> list[Window]:
    """Return the windows that were solved, in order."""
    found = []
    for path in _all(patterns):
        with opened(path) as connection:
            rows = connection.execute("SELECT number, start, stop, about FROM windows")
            found += [Window(n, start, stop, json.loads(about)) for n, start, stop, about in rows]
    return sorted(found, key=lambda window: window.number)


def solution(
    patterns: Sequence[Path | str], start: int, stop: int, *, borders: bool = False
) -> dict[int, int]:
    """Return the chosen nodes of some frames with the node that each came from (or -1).

    Parameters
    ----------
    borders
        Also what a window chose in the frames beside its own, which its neighbours keep to.
    """
    chosen: dict[int, int] = {}
    for path in _all(patterns):
        with opened(path) as connection:
            for low, high in connection.execute("SELECT start, stop FROM windows").fetchall():
                first, last = (start, stop) if borders else (max(start, low), min(stop, high))
                chosen |= dict(
                    connection.execute(
                        "SELECT id, parent_id FROM solution WHERE t >= ? AND t < ? ORDER BY id",
                        (first, last),
                    )
                )
    return chosen


def _all(patterns: Sequence[Path | str]) -> list[Path]:
    return [path for pattern in patterns for path in find(pattern, what="solution")]
