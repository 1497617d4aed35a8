"""The flag ``good`` of traces, edited cell by cell: what a viewer shows and changes.

Nothing of a viewer is known here. The CSV stays as it is in every other character. The flags
of a run are found by the plan of the next one (`cytoloom.plan.edits`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom import traces
from cytoloom.errors import BadData, InputMissing
from cytoloom.files import writing
from cytoloom.report.stores import Multiscale, Store, label_name

PLAN = Path("pipeline_info") / "plan.json"
GOOD, BAD, MIXED = "good", "bad", "mixed"
COLOURS = {GOOD: "#00c853", BAD: "#ff1744", MIXED: "#ff9100"}
UNTRACED = "#9e9e9e"  # cells that a filter left out


@dataclass(frozen=True)
class Place:
    """A position with traces: its image store, its CSV, and the channel of its cells."""

    name: str
    store: Path
    csv: Path
    channel: str
    tags: tuple[str, ...]  # of all steps, in order


def places_of(results: Path) -> list[Place]:
    """Return the positions of a folder of results that have traces.

    Raises
    ------
    InputMissing, BadData
        If it is no folder of results, or none of its positions has traces.
    """
    path = results / PLAN
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
        published = {
            name: place
            for step in steps
            for jobs in step["phases"].values()
            for job in jobs
            for name, place in job["publish"].items()
        }
    except FileNotFoundError as error:
        raise InputMissing(f"{results}: not a folder of results (no {PLAN})") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadData(f"{path}: not the plan of a run ({error!r})") from error
    tags = tuple(step["tag"] for step in steps)
    found = []
    for name, place in published.items():
        fields = name.split(".")
        if fields[3:4] == ["tracescsv"] and (results / place).is_file():
            store = results / "images" / f"{fields[0]}.ome.zarr"
            found.append(Place(fields[0], store, inspected(results / place), fields[2], tags))
    if not found:
        raise BadData(f"{results}: no position has traces: the pipeline needs the step Extraction")
    return found


def inspected(csv: Path) -> Path:
    """Return the edited copy beside a CSV of traces, which wins over it, where there is one."""
    copy = csv.with_name(f"{csv.stem}_inspected.csv")
    return copy if copy.is_file() else csv


class Flags:
    """The traces of one position and their flags.

    Parameters
    ----------
    csv
        As Extraction writes it, or edited by hand.
    """

    def __init__(self, csv: Path) -> None:
        import pandas as pd

        rows = traces.read_csv(csv)
        self.csv = csv
        self.text = pd.read_csv(csv, dtype=str, keep_default_na=False)
        self.cell = rows["cell"].to_numpy(np.int64)
        self.frame = rows["frame"].to_numpy(np.int64)
        self.place = rows[["position_y", "position_x"]].to_numpy(float)
        self.good = np.array(rows["good"], bool)

    def state(self, cell: int) -> str | None:
        """Return whether a cell is good, bad or mixed; None where it has no trace."""
        good = self.good[self.cell == cell]
        if not good.size:
            return None
        return GOOD if good.all() else MIXED if good.any() else BAD

    def states(self) -> dict[int, str]:
        """Return the state of every cell."""
        cells, at = np.unique(self.cell, return_inverse=True)
        good, rows = np.bincount(at, self.good), np.bincount(at)
        return {
            int(cell): GOOD if n == of else MIXED if n else BAD
            for cell, n, of in zip(cells, good, rows, strict=True)
        }

    def toggle(self, cell: int, first: int = 0) -> str | None:
        """Flag a cell as bad from a frame on, or as good again where it is bad there already.

        Returns
        -------
        str or None
            Its state after that; None where it has no trace from that frame on, and nothing was
            changed.
        """
        rows = (self.cell == cell) & (self.frame >= first)
        if not rows.any():
            return None
        self.good[rows] = not self.good[rows].any()
        return self.state(cell)

    def save(self) -> None:
        """Write the CSV anew, whole or not at all."""
        self.text["good"] = np.where(self.good, "True", "False")
        with writing(self.csv) as temporary:
            self.text.to_csv(temporary, index=False)

    def tracks(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the traces as tracks (cell, frame, y, x), sorted, and 1 or 0 for good or bad."""
        order = np.lexsort((self.frame, self.cell))
        rows = np.column_stack([self.cell, self.frame, self.place])[order]
        return rows, self.good[order].astype(np.float64)

    def colours(self) -> dict[int | None, str]:
        """Return the colour of every cell by its number; None: that of all others."""
        found: dict[int | None, str] = {None: UNTRACED, 0: "transparent"}
        return found | {cell: COLOURS[state] for cell, state in self.states().items()}


def images_of(place: Place) -> Iterator[tuple[str, Multiscale, int]]:
    """Yield name, image and index of each channel of a position's store.

    Raises
    ------
    InputMissing
        If the store is not there.
    """
    if not place.store.is_dir():
        raise InputMissing(f"{place.store}: no such store: was it deleted or moved?")
    for path in (place.store, *sorted(place.store.glob("image_*"))):
        image = Multiscale(path)
        if image.levels:
            for index, name in enumerate(image.channels):
                yield name, image, index


def labels_of(place: Place) -> Multiscale | None:
    """Return the label image of a position's cells, painted by track; None where there is none."""
    store = Store(place.store)
    found = store.find_labels(place.channel, list(place.tags))
    if found and found[1]:
        return store.label(found[0])
    # The channel's name in files may differ from its own: the only tracked one will be it.
    ends = tuple(label_name(f" tracks ({tag})") for tag in place.tags)
    tracked = [name for name in store.labels if name.endswith(ends)]
    return store.label(tracked[0]) if len(tracked) == 1 else None


def chosen(places: list[Place], name: str | None) -> Place:
    """Return the position of a name; the only one, or the first, where none is given.

    Raises
    ------
    InputMissing
        If there is none of that name.
    """
    known: dict[str, Place] = {}
    for place in places:
        known.setdefault(place.name, place)
    if name is None:
        return places[0]
    if name not in known:
        raise InputMissing(f"no traces of position {name!r} (positions: {', '.join(known)})")
    return known[name]


def plane(array: Any, channel: int) -> Any:
    """Return one channel of a lazy array (t, c, z, y, x) as (t, y, x), or (t, z, y, x)."""
    found = array[:, channel]
    return found[:, 0] if found.shape[1] == 1 else found
