"""Who died when, and who was there: targets followed through their live and death signals.

`follow` turns each track of normalised signals (see `target_signals`) into a curve of
the smoothed cell death index (CDI); `cell_state` and `deaths` are its tables. Killers
are the effectors that touch the target in the frame in which its CDI reaches the
threshold, or within a stated time before. A target that is over the threshold when
first seen died unseen: it is called `at_start` and takes no part in survival. Contacts
enter as plain rows of (frame, effector, target), so any definition of contact will do.
Effectors without a track are counted among the killers but cannot be named. See
docs/killing.md.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom import viability
from cytoloom.errors import BadData
from cytoloom.viability import Death

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("cytoloom")
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Key = tuple[str, int]  # position, track


@dataclass(frozen=True)
class Smoother:
    """Arguments of `viability.smooth`."""

    method: viability.Smoothing = "gaussian"
    sigma: float = 2.0
    window: int = 11
    polyorder: int = 3

    def __call__(self, values: Floats) -> Floats:
        """Return ``values``, one per frame, smoothed."""
        return viability.smooth(
            values, self.method, sigma=self.sigma, window=self.window, polyorder=self.polyorder
        )


@dataclass(frozen=True)
class Target:
    """One track of a target.

    Attributes
    ----------
    observed : array of int
        Frames in which it was found, ascending.
    frames : array of int
        All frames from the first to the last.
    index, gradient : arrays of float, shape of ``frames``
        Smoothed CDI, 0 to 1, and its change per frame.
    """

    position: str
    track_id: int
    observed: Integers
    frames: Integers
    index: Floats
    gradient: Floats

    @property
    def key(self) -> Key:
        """Position and track."""
        return self.position, self.track_id


@dataclass(frozen=True)
class Touches:
    """The contacts of one target, sorted by frame; an effector without track is -label."""

    frames: Integers
    effectors: Integers

    def between(self, first: int, last: int) -> Touches:
        """Return the contacts of the frames ``first`` to ``last``, both included."""
        inside = (self.frames >= first) & (self.frames <= last)
        return Touches(self.frames[inside], self.effectors[inside])

    @property
    def named(self) -> list[int]:
        """Tracks of the effectors, ascending."""
        return [int(e) for e in np.unique(self.effectors[self.effectors > 0])]

    @property
    def unnamed(self) -> int:
        """Greatest number of effectors without track in one frame."""
        frames = self.frames[self.effectors < 0]
        return int(np.unique(frames, return_counts=True)[1].max(initial=0))


NO_TOUCHES = Touches(np.empty(0, np.int64), np.empty(0, np.int64))


def follow(signals: pd.DataFrame, smoother: Smoother) -> list[Target]:
    """Turn each track into a curve of the smoothed CDI over all its frames.

    Parameters
    ----------
    signals
        Columns position, track_id (no nulls), frame, cdi.
    """
    targets = []
    tracks: Iterable[tuple[Any, pd.DataFrame]] = signals.groupby(["position", "track_id"])
    for (position, track), rows in tracks:
        rows = rows.sort_values("frame")
        observed = rows["frame"].to_numpy(np.int64)
        if np.any(np.diff(observed) == 0):
            raise BadData(f"position {position}, track {track}: two targets in one frame")
        frames, filled = viability.fill_frames(observed, rows["cdi"].to_numpy(np.float64))
        index = smoother(filled)
        gradient = np.gradient(index) if index.size > 1 else np.zeros(index.size)
        targets.append(Target(str(position), int(track), observed, frames, index, gradient))
    return targets


def cell_state(
    signals: pd.DataFrame, targets: list[Target], died: Mapping[Key, Death | None]
) -> pd.DataFrame:
    """Return the state of every followed target in every frame in which it was found."""
    import pandas as pd

    curves = [
        pd.DataFrame(
            {
                "position": target.position,
                "frame": target.frames,
                "track_id": target.track_id,
                "cdi_smoothed": target.index,
                "cdi_gradient": target.gradient,
                "alive": _alive(target, died[target.key]),
            }
        )
        for target in targets
    ]
    if not curves:
        return pd.DataFrame(columns=["position", "frame", "label"])
    rows = signals.assign(
        live_counts=signals["live_signal"],
        death_counts=signals["death_signal"],
        live_signal=signals["live_norm"],
        death_signal=signals["death_norm"],
        track_id=signals["track_id"].astype(np.int64),
    ).drop(columns=["live_norm", "death_norm", "area"])
    return rows.merge(pd.concat(curves), on=["position", "frame", "track_id"], how="inner")


def _alive(target: Target, death: Death | None) -> NDArray[np.bool_]:
    if death is None:
        return np.ones(target.frames.size, bool)
    return target.frames < death.frame


def find_deaths(
    targets: list[Target], *, threshold: float = 0.5, min_dead_frames: int = 3
) -> dict[Key, Death | None]:
    """Return the death of each target, or None; see `viability.time_of_death`."""
    return {
        target.key: viability.time_of_death(
            target.frames, target.index, threshold=threshold, min_dead_frames=min_dead_frames
        )
        for target in targets
    }


def touches(contacts: pd.DataFrame) -> dict[Key, Touches]:
    """Return the contacts of each target track.

    Parameters
    ----------
    contacts
        Columns position, frame, effector_label, effector_track_id, target_track_id (null:
        untracked).
    """
    known = contacts[contacts["target_track_id"].notna()]
    if len(known) < len(contacts):
        log.warning(
            "%d of %d contacts are with targets that have no track; left out",
            len(contacts) - len(known),
            len(contacts),
        )
    effector = known["effector_track_id"].astype("Int64")
    effector = effector.fillna(-known["effector_label"].astype("Int64"))
    rows = known[["position", "frame", "target_track_id"]].assign(effector=effector)
    rows = rows.drop_duplicates().sort_values(["position", "target_track_id", "frame", "effector"])
    groups: Iterable[tuple[Any, pd.DataFrame]] = rows.groupby(["position", "target_track_id"])
    return {
        (str(position), int(track)): Touches(
            group["frame"].to_numpy(np.int64), group["effector"].to_numpy(np.int64)
        )
        for (position, track), group in groups
    }


def deaths(
    targets: list[Target],
    died: Mapping[Key, Death | None],
    contacts: Mapping[Key, Touches],
    *,
    interval: float | None,
    window: int = 0,
) -> pd.DataFrame:
    """Return one row per target: when it died, and who was in contact.

    Parameters
    ----------
    interval
        Second per frame; None: times in seconds are null.
    window
        Contacts of the frame of death and of this many frames before make a killer.
    """
    import pandas as pd

    rows = []
    for target in targets:
        death, touching = died[target.key], contacts.get(target.key, NO_TOUCHES)
        row: dict[str, Any] = {
            "position": target.position,
            "target_track_id": target.track_id,
            "first_frame": int(target.frames[0]),
            "last_frame": int(target.frames[-1]),
            "frames": target.observed.size,
            "died": death is not None,
            "censored": death is None,
            "contact_frames": np.unique(touching.frames).size,
        }
        rows.append(row | _circumstances(target, death, touching, window))
    table = pd.DataFrame(rows, columns=[*_DEATH_COLUMNS])
    scale = float("nan") if interval is None else interval
    first = table["first_contact_frame"].astype(np.float64)
    time = table["death_time"].astype(np.float64)
    table["death_time"] = time
    table["death_s"] = time * scale
    table["first_contact_s"] = first * scale
    table["contact_start_s"] = table["contact_start_frame"].astype(np.float64) * scale
    table["delay_s"] = np.maximum(time - first, 0.0) * scale
    return table.drop(columns="contact_start_frame").astype(
        {"death_frame": "Int32", "first_contact_frame": "Int32"}
    )


_DEATH_COLUMNS = (
    *("position", "target_track_id", "first_frame", "last_frame", "frames", "died", "censored"),
    *("death_frame", "death_time", "kill_class", "killer_track_ids", "n_killers"),
    *("contact_frames", "first_contact_frame", "contact_start_frame"),
)


def _circumstances(
    target: Target, death: Death | None, touching: Touches, window: int
) -> dict[str, Any]:
    """Return time, class and killers of one death."""
    until = int(target.frames[-1]) if death is None else death.frame
    earlier = touching.between(int(target.frames[0]), until)
    facts: dict[str, Any] = {
        "death_frame": None if death is None else death.frame,
        "death_time": None if death is None or death.at_start else death.time,
        "kill_class": "none",
        "killer_track_ids": [],
        "n_killers": 0,
        "first_contact_frame": int(earlier.frames[0]) if earlier.frames.size else None,
        "contact_start_frame": None,
    }
    if death is None:
        return facts
    if death.at_start:
        return facts | {"kill_class": "at_start"}
    seen = int(target.observed[np.searchsorted(target.observed, death.frame, "right") - 1])
    present = touching.between(seen - window, seen)
    number = len(present.named) + present.unnamed
    if number == 0:
        return facts | {"kill_class": "after_contact" if earlier.frames.size else "spontaneous"}
    return facts | {
        "kill_class": "single" if number == 1 else "multi",
        "killer_track_ids": present.named,
        "n_killers": number,
        "contact_start_frame": _start_of_contact(target, touching, present),
    }


def _start_of_contact(target: Target, touching: Touches, present: Touches) -> int:
    """Return the first frame of the unbroken contact of the killer that stayed longest."""
    starts = []
    for effector in np.unique(present.effectors):
        last = present.frames[present.effectors == effector].max()
        frames = touching.frames[(touching.effectors == effector) & (touching.frames <= last)]
        seen = np.searchsorted(target.observed, frames)
        breaks = np.flatnonzero(np.diff(seen) > 1)
        starts.append(frames[breaks[-1] + 1] if breaks.size else frames[0])
    return int(min(starts))
