"""The live and death signals of targets, joined, normalised per position, and selected.

The death signal is the mean intensity of the death channel inside the target's
outline, the live signal that of the target's own channel. Both are scaled over all
cells and frames of one position. Tracks that are short or very large are left out
before deaths are sought, and counted; see docs/killing.md.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytoloom import viability
from cytoloom.errors import BadData

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("cytoloom")
KEY = ["position", "frame", "label"]


@dataclass(frozen=True)
class Normalisation:
    """How counts become 0..1; limits that are None come from `viability`'s ranges."""

    lower: float = 1.0
    upper: float = 99.0
    min_contrast: float = 20.0
    min_live_loss: float = 0.5
    live_low: float | None = None
    live_high: float | None = None
    death_low: float | None = None
    death_high: float | None = None

    def limits(self, kind: str, values: NDArray[np.float64]) -> tuple[float, float]:
        """Return the counts of the ``live`` or ``death`` signal that become 0 and 1."""
        if kind == "live":
            found = viability.live_range(
                values, lower=self.lower, upper=self.upper, min_live_loss=self.min_live_loss
            )
            given = self.live_low, self.live_high
        else:
            found = viability.death_range(
                values, lower=self.lower, upper=self.upper, min_contrast=self.min_contrast
            )
            given = self.death_low, self.death_high
        low, high = (f if g is None else g for f, g in zip(found, given, strict=True))
        return low, high


def join_signals(targets: pd.DataFrame, death: pd.DataFrame) -> pd.DataFrame:
    """Join the death signal to the targets.

    Parameters
    ----------
    targets
        Table of tracks; ``intensity_mean`` is the live signal.
    death
        Cells or tracks: the death channel measured in the targets' outlines.

    Returns
    -------
    DataFrame
        position, frame, label, track_id (Int64), area, live_signal, death_signal (counts;
        NaN where the death table has no such cell), sorted by position, track and frame.

    Raises
    ------
    BadData
        If the death table was measured in other outlines, or a key is not unique.
    """
    for name, table in (("targets", targets), ("death signal", death)):
        if table.duplicated(KEY).any():
            raise BadData(f"table of {name}: more than one row per position, frame and label")
    _check_outlines(targets, death)
    joined = targets[[*KEY, "track_id", "area", "intensity_mean"]].merge(
        death[[*KEY, "intensity_mean"]], on=KEY, how="left", suffixes=("_live", "_death")
    )
    joined = joined.rename(
        columns={"intensity_mean_live": "live_signal", "intensity_mean_death": "death_signal"}
    )
    missing = int(joined["death_signal"].isna().sum())
    if len(joined) and missing == len(joined):
        raise BadData(
            "table of death signal: no row has the position, frame and label of a target; "
            "measure the death channel in the target's label image "
            "(label_to_sparse: [death, target])"
        )
    if missing:
        log.warning("%d of %d targets have no death signal; interpolated", missing, len(joined))
    return joined.sort_values(["position", "track_id", "frame"], ignore_index=True)


def _check_outlines(targets: pd.DataFrame, death: pd.DataFrame) -> None:
    if targets.empty or death.empty:
        return
    theirs, ours = set(death["label_channel"]), set(targets["label_channel"])
    if theirs != ours:
        raise BadData(
            f"table of death signal: measured in the outlines of {', '.join(sorted(theirs))}, not "
            f"of the target {', '.join(sorted(ours))}; "
            "the channels' order is effector, target, death"
        )


def normalise(signals: pd.DataFrame, how: Normalisation) -> pd.DataFrame:
    """Scale both signals to 0..1 per position and add viability and CDI.

    Returns
    -------
    DataFrame
        ``signals`` with live_norm, death_norm, viability, cdi; ``attrs["ranges"]`` maps each
        position to (live low, live high, death low, death high) in counts.
    """
    out = signals.copy()
    for column in ("live_norm", "death_norm"):
        out[column] = np.nan
    ranges = {}
    for position, rows in signals.groupby("position").groups.items():
        limits: list[float] = []
        for kind, constant in (("live", 1.0), ("death", 0.0)):
            values = signals.loc[rows, f"{kind}_signal"].to_numpy(np.float64)
            low, high = how.limits(kind, values)
            out.loc[rows, f"{kind}_norm"] = viability.normalise(
                values, low, high, if_constant=constant
            )
            limits += [low, high]
        ranges[str(position)] = tuple(limits)
    live, death = out["live_norm"].to_numpy(), out["death_norm"].to_numpy()
    out["viability"] = viability.viability(live, death)
    out["cdi"] = viability.death_index(live, death)
    out.attrs["ranges"] = ranges
    return out


def select(
    signals: pd.DataFrame, *, min_length: int = 20, drop_top_size_percent: float = 5.0
) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
    """Leave out short and very large tracks, and cells without a track.

    Parameters
    ----------
    min_length
        Least number of frames in which a track was found.
    drop_top_size_percent
        Of each position's remaining tracks, this share is left out, rounded down to whole
        tracks, those of largest mean area first (clumps, merged cells).

    Returns
    -------
    kept : DataFrame
    counts : dict
        For each position: tracks, short, large, untracked (cells).
    """
    kept, counts = [], {}
    for position, rows in signals.groupby("position", sort=True):
        tracked = rows[rows["track_id"].notna()]
        sizes = tracked.groupby("track_id")["area"].agg(["size", "mean"])
        long = sizes[sizes["size"] >= min_length]
        drop = int(np.floor(len(long) * drop_top_size_percent / 100))
        order = long.sort_values("mean", kind="stable").index
        kept.append(tracked[tracked["track_id"].isin(order[: len(order) - drop])])
        counts[str(position)] = {
            "tracks": len(sizes),
            "short": len(sizes) - len(long),
            "large": drop,
            "untracked": len(rows) - len(tracked),
        }
    if not kept:
        return signals.iloc[:0], counts
    import pandas as pd

    return pd.concat(kept, ignore_index=True), counts
