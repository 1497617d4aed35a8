"""What the deaths of targets amount to: capacity, killers, survival, and counts.

`capacities` has one row per pair of an effector's and a target's track that touched,
`killers` one per effector track, `survival` the Kaplan-Meier curves, `summary` one row
per position, `sweep` the counts for several thresholds. In the survival curves a
target is `not contacted` until its first contact and `contacted` from then on: to sort
targets by contacts that they have not had yet would credit the contacted with the
time that they lived until then (immortal time bias).

References
----------
Simon, R. & Makuch, R. W. (1984). A non-parametric graphical representation of the
relationship between survival and the occurrence of an event. Stat. Med. 3, 35-44.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cytoloom.killing import NO_TOUCHES, Key, Target, Touches
from cytoloom.survival import Curve, kaplan_meier, log_rank

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("all", "contacted", "not contacted")


def killing_capacity(
    start: ArrayLike, end: ArrayLike, *, noise_floor: float = 2.0, min_index: float = 0.01
) -> NDArray[np.float64]:
    """Return max(0, (end - start) / start) in percent; below ``noise_floor`` percent it is 0.

    Parameters
    ----------
    start, end : arrays of float
        Smoothed CDI at the start and the end of the window.
    min_index
        Smaller starts are taken as this, so that a start of 0 does not give infinity.
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    percent = 100.0 * (end - start) / np.maximum(start, min_index)
    return np.where(percent < noise_floor, 0.0, percent)


def capacities(
    targets: Iterable[Target],
    contacts: Mapping[Key, Touches],
    deaths: pd.DataFrame,
    *,
    window: int = 180,
    noise_floor: float = 2.0,
) -> pd.DataFrame:
    """Return how much the CDI of a target rose after an effector first touched it.

    Parameters
    ----------
    window
        Frames from the first contact; shorter where the track of the target ends before.
    """
    import pandas as pd

    killers = dict(
        zip(
            zip(deaths["position"], deaths["target_track_id"], strict=True),
            deaths["killer_track_ids"],
            strict=True,
        )
    )
    rows = []
    for target in targets:
        touching = contacts.get(target.key, NO_TOUCHES)
        for effector in touching.named:
            frames = touching.frames[touching.effectors == effector] - target.frames[0]
            frames = frames[(frames >= 0) & (frames < target.index.size)]
            if not frames.size:
                continue
            last = min(int(frames[0]) + window, target.index.size - 1)
            rows.append(
                {
                    "position": target.position,
                    "effector_track_id": effector,
                    "target_track_id": target.track_id,
                    "start_frame": int(target.frames[frames[0]]),
                    "contact_frames": frames.size,
                    "window_frames": last - int(frames[0]),
                    "cdi_start": target.index[frames[0]],
                    "cdi_end": target.index[last],
                    "killed": effector in killers[target.key],
                }
            )
    columns = ["position", "effector_track_id", "target_track_id", "start_frame"]
    columns += ["contact_frames", "window_frames", "cdi_start", "cdi_end", "killed"]
    table = pd.DataFrame(rows, columns=columns)
    start, end = table["cdi_start"].to_numpy(float), table["cdi_end"].to_numpy(float)
    table["delta_cdi"] = end - start
    table["killing_capacity"] = killing_capacity(start, end, noise_floor=noise_floor)
    return table


def killers(
    effectors: pd.DataFrame,
    contacts: Mapping[Key, Touches],
    deaths: pd.DataFrame,
    capacity: pd.DataFrame,
    *,
    interval: float | None,
) -> pd.DataFrame:
    """Return one row per effector track, those without contact included.

    A target with n killers counts as one kill for each in ``kills`` and as 1/n in
    ``kill_credit``.
    """
    import pandas as pd

    key = ["position", "effector_track_id"]
    tracked = effectors[effectors["track_id"].notna()]
    tracked = tracked.assign(effector_track_id=tracked["track_id"].astype(np.int64))
    table = (
        tracked.groupby(key)["frame"]
        .agg(first_frame="min", last_frame="max", frames="nunique")
        .reset_index()
    )
    touched = [
        (position, int(effector), target, int(frame))
        for (position, target), touching in contacts.items()
        for frame, effector in zip(touching.frames, touching.effectors, strict=True)
        if effector > 0
    ]
    met = pd.DataFrame(touched, columns=[*key, "target", "frame"]).astype({key[1]: np.int64})
    met = met.groupby(key).agg(
        n_targets_contacted=("target", "nunique"), contact_frames=("frame", "nunique")
    )
    shares = deaths[deaths["n_killers"] > 0].explode("killer_track_ids")
    shares = shares[shares["killer_track_ids"].notna()]
    shares = shares.assign(
        effector_track_id=shares["killer_track_ids"].astype(np.int64),
        credit=1.0 / shares["n_killers"].astype(np.float64),
    )
    kills = shares.groupby(key).agg(
        kills=("target_track_id", "nunique"),
        kill_credit=("credit", "sum"),
        first_kill_s=("death_s", "min"),
    )
    mean = capacity.groupby(key).agg(killing_capacity=("killing_capacity", "mean"))
    for part in (met, kills, mean):
        table = table.merge(part.reset_index(), on=key, how="left")
    counts = ["n_targets_contacted", "contact_frames", "kills"]
    table = table.fillna(dict.fromkeys([*counts, "kill_credit"], 0)).astype(
        dict.fromkeys(counts, np.int64)
    )
    scale = float("nan") if interval is None else interval
    table["observed_s"] = (table["last_frame"] - table["first_frame"] + 1) * scale
    table["kills_per_hour"] = table["kills"] / table["observed_s"] * 3600.0
    return table


def observation(
    deaths: pd.DataFrame, *, origin: Literal["movie", "track"] = "movie"
) -> pd.DataFrame:
    """Return when each target was at risk, in frames, whole and split at its first contact.

    Targets that were dead when first seen are left out.

    Parameters
    ----------
    origin
        ``movie``: time runs from frame 0, and a target comes under observation when it is
        first seen; ``track``: time runs from then.

    Returns
    -------
    DataFrame
        position, group (``all``; ``contacted`` and ``not contacted``), entry, exit, died.
    """
    import pandas as pd

    seen = deaths[deaths["kill_class"] != "at_start"]
    died = seen["died"].to_numpy(bool)
    entry = seen["first_frame"].to_numpy(np.float64)
    end = np.where(
        died, seen["death_time"].to_numpy(np.float64, na_value=np.nan), seen["last_frame"]
    ).astype(np.float64)
    contact = seen["first_contact_frame"].to_numpy(np.float64, na_value=np.nan)
    # A contact first seen in the frame of death began before it.
    contact = np.where(died, np.minimum(contact, np.ceil(end) - 1), contact)
    contact = np.maximum(contact, entry)
    met = np.isfinite(contact)
    zero = entry if origin == "track" else np.zeros(entry.size)
    before = np.where(met, contact, end)
    pieces = [
        ("all", np.ones(entry.size, bool), entry, end, died),
        ("contacted", met, contact, end, died),
        ("not contacted", ~met | (contact > entry), entry, before, died & ~met),
    ]
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "position": seen["position"].to_numpy()[which],
                    "group": group,
                    "entry": (start - zero)[which],
                    "exit": (stop - zero)[which],
                    "died": event[which],
                }
            )
            for group, which, start, stop, event in pieces
        ],
        ignore_index=True,
    )


def survival(observed: pd.DataFrame, *, interval: float | None) -> pd.DataFrame:
    """Return the survival curves of each position and group of `observation`."""
    import pandas as pd

    scale = float("nan") if interval is None else interval
    parts = []
    for (position, group), rows in observed.groupby(["position", "group"], sort=True):
        curve = _curve(rows)
        parts.append(
            pd.DataFrame(
                {
                    "position": position,
                    "group": group,
                    "time_frames": curve.time,
                    "time_s": curve.time * scale,
                    "survival": curve.survival,
                    "lower95": curve.lower,
                    "upper95": curve.upper,
                    "at_risk": curve.at_risk,
                    "events": curve.events,
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"position": []})


def _curve(rows: pd.DataFrame) -> Curve:
    return kaplan_meier(rows["entry"], rows["exit"], rows["died"])


def summary(
    counts: Mapping[str, Mapping[str, int]],
    deaths: pd.DataFrame,
    killers: pd.DataFrame,
    observed: pd.DataFrame,
    ranges: Mapping[str, tuple[float, ...]],
    *,
    interval: float | None,
) -> pd.DataFrame:
    """Return one row per position: tracks analysed and left out, deaths by class, ranges used."""
    import pandas as pd

    scale = float("nan") if interval is None else interval
    rows = []
    for position, count in counts.items():
        mine = deaths[deaths["position"] == position]
        classes = mine["kill_class"].value_counts()
        effectors = killers[killers["position"] == position]
        seen = observed[observed["position"] == position]
        groups = {name: seen[seen["group"] == name] for name in GROUPS}
        split = seen[seen["group"] != "all"]
        limits = ranges.get(position, (float("nan"),) * 4)
        rows.append(
            {
                "position": position,
                "targets": count["tracks"],
                "left_out_short": count["short"],
                "left_out_large": count["large"],
                "untracked_cells": count["untracked"],
                "analysed": len(mine),
                "dead_at_start": int(classes.get("at_start", 0)),
                "deaths": int(mine["died"].sum()) - int(classes.get("at_start", 0)),
                "killed_single": int(classes.get("single", 0)),
                "killed_multi": int(classes.get("multi", 0)),
                "died_after_contact": int(classes.get("after_contact", 0)),
                "died_spontaneous": int(classes.get("spontaneous", 0)),
                "censored": int(mine["censored"].sum()),
                "effectors": len(effectors),
                "effectors_that_killed": int((effectors["kills"] > 0).sum()),
                "median_survival_s": _curve(groups["all"]).median * scale,
                "logrank_p": log_rank(
                    split["entry"], split["exit"], split["died"], split["group"] == "contacted"
                )[1],
            }
            | dict(zip(("live_low", "live_high", "death_low", "death_high"), limits, strict=True))
        )
    return pd.DataFrame(rows) if rows else pd.DataFrame({"position": []})


def sweep(
    thresholds: Iterable[float], at_threshold: Callable[[float], pd.DataFrame]
) -> pd.DataFrame:
    """Return the counts of deaths for several thresholds.

    Parameters
    ----------
    at_threshold
        Gives the table of deaths for a threshold.
    """
    import pandas as pd

    rows = []
    for threshold in sorted(set(thresholds)):
        for position, mine in at_threshold(threshold).groupby("position"):
            classes = mine["kill_class"].value_counts()
            rows.append(
                {
                    "position": position,
                    "death_threshold": threshold,
                    "analysed": len(mine),
                    "dead_at_start": int(classes.get("at_start", 0)),
                    "deaths": int(mine["died"].sum()) - int(classes.get("at_start", 0)),
                    "killed_single": int(classes.get("single", 0)),
                    "killed_multi": int(classes.get("multi", 0)),
                    "died_after_contact": int(classes.get("after_contact", 0)),
                    "died_spontaneous": int(classes.get("spontaneous", 0)),
                    "mean_death_s": mine["death_s"].astype(float).mean(),
                }
            )
    return pd.DataFrame(rows) if rows else pd.DataFrame({"position": []})
