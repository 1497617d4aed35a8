"""Tables of a simulated movie: plain sums over the true labels, plain overlap contacts.

They stand in for the tabulation, tracking and contact steps, so that the tests of
killing do not depend on those. A label is its cell's number and so its track.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from simulation import Movie

from cytoloom.schemas import SCHEMAS


def attributes(movie: Movie, channel: str) -> dict[str, object]:
    size = movie.assay.pixel_size
    return {
        "position": "p1",
        "channel": channel,
        "pixel_size": [1.0, size, size],
        "frame_interval": movie.assay.frame_interval,
    }


def tracks(movie: Movie, image: str, label: str) -> pd.DataFrame:
    """Return the table of tracks: ``image`` measured in the outlines of ``label``."""
    parts = []
    for frame, (outlines, counts) in enumerate(
        zip(movie.labels[label], movie.images[image], strict=True)
    ):
        y, x = np.nonzero(outlines[0])
        numbers = outlines[0][y, x]
        area = np.bincount(numbers)
        weights = {"intensity_mean": counts[0][y, x], "y": y, "x": x}
        present = np.flatnonzero(area)
        means = {k: np.bincount(numbers, w)[present] / area[present] for k, w in weights.items()}
        parts.append(
            pd.DataFrame({"frame": frame, "label": present, "area": area[present]} | means)
        )
    table = pd.concat(parts, ignore_index=True)
    table = table.assign(
        position="p1", channel=image, label_channel=label, track_id=table["label"].astype("Int64")
    )
    table.attrs.update(attributes(movie, image))
    return table


def contacts(movie: Movie) -> pd.DataFrame:
    """Return the table of contacts: labels that share a pixel."""
    rows = np.array(movie.contacts, np.int64).reshape(-1, 3)
    table = pd.DataFrame(
        {
            "position": "p1",
            "frame": rows[:, 0],
            "effector_channel": "TCell",
            "effector_label": rows[:, 1],
            "effector_track_id": pd.array(rows[:, 1], "Int64"),
            "target_channel": "Cancer",
            "target_label": rows[:, 2],
            "target_track_id": pd.array(rows[:, 2], "Int64"),
        }
    )
    table.attrs.update(attributes(movie, "TCell"))
    return table


def complete(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Add the declared columns of ``kind`` that are missing, as zeros and empty text."""
    blank = {
        field.name: "" if pa.types.is_string(field.type) else 0
        for field in SCHEMAS[kind]
        if field.name not in table.columns and not field.nullable
    }
    out = table.assign(**blank)
    out.attrs.update(table.attrs)
    return out
