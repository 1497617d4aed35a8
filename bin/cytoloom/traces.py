"""Traces of single cells: names of columns, filters, and the flag ``good`` that users edit.

A row is one cell in one frame. The CSV has the columns of PyAMA in its order: ``fov``,
``cell``, ``frame``, ``good``, place and bounding box (ends included), then
``<feature>_ch_<channel>`` channel by channel, features sorted. The flag of a row is found
again after a run with other cell numbers by its place: see `flagged`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData

if TYPE_CHECKING:
    import pandas as pd

BOX = ("bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1")
BASE = ("fov", "cell", "frame", "good", "position_x", "position_y", *BOX)
USUAL_TAG = "Extraction"
OWN = ("position", "label", "time_h")  # in Parquet, not in the CSV
_NUMBER = re.compile(r"^(.*?)[_-]?(?:fov)?[_-]?(\d+)$", re.IGNORECASE)
_CHANNEL = re.compile(r"^(?:pc|fl)_ch_(.+)$")


def fov_of(position: str) -> int:
    """Return the number at the end of a position's name; 0 where there is none."""
    match = _NUMBER.match(position)
    return int(match[2]) if match else 0


def base_of(path: str) -> str:
    """Return the name of a file without its extensions, as it begins the name of a CSV."""
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return re.sub(r"(\.ome)?\.\w{1,5}$", "", name) or name


def csv_name(position: str, tag: str = USUAL_TAG, base: str = "") -> str:
    """Return where the traces of a position go in the results, as PyAMA names them.

    Parameters
    ----------
    tag
        Of the step; in the name if it is another than usual.
    base
        Name of the file of a position that is called by its number only.
    """
    match = _NUMBER.match(position)
    stem = folder = position if match is None else f"fov_{int(match[2]):03d}"
    if match is not None and (match[1] or base):
        stem = f"{match[1] or re.sub('[^A-Za-z0-9_-]', '_', base)}_{stem}"
    end = "" if tag == USUAL_TAG else f"_{tag}"
    return f"{folder}/{stem}_traces{end}.csv"


def channel_id(channel: str) -> str:
    """Return how columns name a channel: ``0`` for ``pc_ch_0``, else its own name."""
    match = _CHANNEL.match(channel)
    return match[1] if match else channel


def column(feature: str, channel: str) -> str:
    """Return the column of a feature of a channel."""
    return f"{feature}_ch_{channel_id(channel)}"


def features_of(columns: Sequence[str]) -> list[str]:
    """Return those of the columns of a table of traces that are features, in order."""
    return [name for name in columns if name not in BASE and name not in OWN]


def split_column(name: str) -> tuple[str, str]:
    """Return feature and channel of a column."""
    feature, _, channel = name.partition("_ch_")
    return feature, channel


def lengths(cell: NDArray[Any]) -> NDArray[np.int64]:
    """Return for every row in how many rows its cell is."""
    _, inverse, count = np.unique(cell, return_inverse=True, return_counts=True)
    result: NDArray[np.int64] = count[inverse]
    return result


def at_border(rows: pd.DataFrame, margin: int, height: int, width: int) -> NDArray[np.bool_]:
    """Return the rows of cells whose box leaves the margin in any frame; none without a margin."""
    if margin <= 0 or not len(rows):
        return np.zeros(len(rows), bool)
    x0, y0, x1, y1 = (rows[name].to_numpy() for name in BOX)
    near = (x0 < margin) | (y0 < margin) | (x1 > width - margin) | (y1 > height - margin)
    cell = rows["cell"].to_numpy()
    found: NDArray[np.bool_] = np.isin(cell, cell[near])
    return found


def read_csv(path: Any) -> pd.DataFrame:
    """Read a CSV of traces, edited by hand.

    Raises
    ------
    BadData
        If it is not one, or ``good`` holds anything but true and false.
    """
    import pandas as pd

    try:
        rows = pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise BadData(f"{path}: not a CSV of traces ({error})") from error
    missing = [name for name in BASE if name not in rows]
    if missing:
        raise BadData(f"{path}: column {missing[0]!r} of the traces is missing")
    good = rows["good"].astype(str).str.strip().str.lower()
    known = {"true": True, "1": True, "1.0": True, "yes": True}
    known |= {"false": False, "0": False, "0.0": False, "no": False}
    strange = ~good.isin(list(known))
    if strange.any():
        line = int(np.flatnonzero(strange)[0]) + 2
        raise BadData(
            f"{path}, line {line}: good is {rows['good'].iloc[line - 2]!r}, not true or false"
        )
    rows["good"] = good.map(known).astype(bool)
    return rows


def flagged(rows: pd.DataFrame, edits: pd.DataFrame) -> tuple[NDArray[np.bool_], int]:
    """Return which rows are not good by earlier edits, and how many edits found no cell.

    An edit is for the cell whose bounding box holds its place in the same frame (the nearest
    centre of several), whatever its number is now.

    Parameters
    ----------
    rows : DataFrame
        Traces, columns of ``BASE``.
    edits : DataFrame
        ``frame``, ``position_x``, ``position_y`` of rows that were flagged.
    """
    bad = np.zeros(len(rows), bool)
    lost = 0
    frame = rows["frame"].to_numpy()
    x0, y0, x1, y1 = (rows[name].to_numpy() for name in BOX)
    x, y = rows["position_x"].to_numpy(), rows["position_y"].to_numpy()
    order = np.argsort(frame, kind="stable")
    at = edits["frame"].to_numpy()
    for number in np.unique(at):
        first, last = np.searchsorted(frame[order], [number, number + 1])
        here = order[first:last]
        for place in edits.loc[at == number, ["position_x", "position_y"]].to_numpy():
            inside = (x0[here] <= place[0]) & (place[0] <= x1[here])
            inside &= (y0[here] <= place[1]) & (place[1] <= y1[here])
            near = here[inside]
            if not near.size:
                lost += 1
                continue
            distance = np.hypot(x[near] - place[0], y[near] - place[1])
            bad[near[np.argmin(distance)]] = True
    return bad, lost
