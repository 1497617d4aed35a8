"""Scores as rows of one table: a metric, over all frames or of one, from a package."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

CTC, TRACCURACY, STARDIST, OURS = "py-ctcmetrics", "traccuracy", "as StarDist's matching", ""


@dataclass
class Rows:
    """The rows of a table of kind ``evaluation``."""

    position: str
    channel: str
    found: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        metric: str,
        value: float | None,
        package: str,
        *,
        frame: int | None = None,
        threshold: float | None = None,
    ) -> None:
        """Add one value; one that is not finite becomes null."""
        number = None if value is None or not math.isfinite(value) else float(value)
        self.found.append(
            {
                "position": self.position,
                "channel": self.channel,
                "frame": frame,
                "metric": metric,
                "threshold": threshold,
                "value": number,
                "package": package,
            }
        )

    def columns(self) -> dict[str, list[Any]]:
        """Return the rows as columns."""
        names = ("position", "channel", "frame", "metric", "threshold", "value", "package")
        return {name: [row[name] for row in self.found] for name in names}

    def value(self, metric: str, threshold: float | None = None) -> float | None:
        """Return a value over all frames."""
        key = (metric, threshold, None)
        return next(
            (r["value"] for r in self.found if (r["metric"], r["threshold"], r["frame"]) == key),
            None,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars and warnings of undefined scores: those become null."""
    os.environ["TQDM_DISABLE"] = "1"
    logging.getLogger("traccuracy").setLevel(logging.ERROR)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def add_counts(rows: Rows, true: int, found: int, frame: int | None) -> None:
    """Add the numbers of objects and the error of counting."""
    rows.add("true_objects", true, OURS, frame=frame)
    rows.add("found_objects", found, OURS, frame=frame)
    rows.add("count_error", found - true, OURS, frame=frame)
