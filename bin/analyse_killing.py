#!/usr/bin/env python3
"""CellKilling: viability, time of death, killers, killing capacity and survival of targets.

Reads the tracks of effectors and targets, the death signal measured in the targets'
outlines, and the contacts of the two; see docs/killing.md for every definition.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cytoloom import cli, killing, killing_outcome, tables, target_signals, viability
from cytoloom.errors import BadData, UsageError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("cytoloom")


class Smoothing(StrEnum):
    """How the cell death index is smoothed over time."""

    gaussian = "gaussian"
    savgol = "savgol"
    quadratic = "quadratic"
    moving_average = "moving_average"
    none = "none"


class Origin(StrEnum):
    """Where the time of the survival curves starts."""

    movie = "movie"
    track = "track"


def read_inputs(
    table: list[str], contacts: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return effectors, targets, death signal and contacts, checked to belong together."""
    if len(table) != 3:
        raise UsageError(
            f"--table: {len(table)} given; give three: effectors, targets, death signal"
        )
    effectors, targets = (tables.read_table(path, "tracks") for path in table[:2])
    death = tables.read_table(table[2], ("cells", "tracks"))
    found = tables.read_table(contacts, "contacts")
    for role, cells in (("effector", effectors), ("target", targets)):
        theirs, ours = set(found[f"{role}_channel"]), set(cells["label_channel"])
        if theirs and ours and not theirs & ours:
            raise BadData(
                f"{contacts}: contacts of {role}s {', '.join(sorted(theirs))}, but the {role}s' "
                f"table is of {', '.join(sorted(ours))}; the order is effector, target, death"
            )
    return effectors, targets, death, found


def window_frames(seconds: float, interval: float | None) -> int:
    """Return the number of whole frames in a look-back of ``seconds``."""
    if seconds and not interval:
        raise BadData(
            "contact_window_s needs the frame interval, which is not known: set `frame_interval` "
            "at the input, or contact_window_s to 0 (contact in the frame of death)"
        )
    return int(seconds / interval + 1e-9) if interval else 0


def report(row: pd.Series) -> None:
    """Log one row of the summary: what was left out, and what was found."""
    if row.left_out_short or row.left_out_large or row.untracked_cells:
        log.warning(
            "position %s: of %d target tracks left out %d as too short (--min_track_length) and "
            "%d as largest (--drop_top_size_percent); %d cells have no track",
            *(row.position, row.targets, row.left_out_short, row.left_out_large),
            row.untracked_cells,
        )
    log.info(
        "position %s: %d targets, %d died (%d by one killer, %d by several, %d after contact, "
        "%d without), %d dead at start",
        *(row.position, row.analysed, row.deaths, row.killed_single, row.killed_multi),
        *(row.died_after_contact, row.died_spontaneous, row.dead_at_start),
    )


def main(
    table: cli.Tables,
    contacts: cli.Table,
    out_deaths: cli.OutTable,
    out_cell_state: cli.OutTable = None,  # type: ignore[assignment]
    out_killers: cli.OutTable = None,  # type: ignore[assignment]
    out_killing_capacity: cli.OutTable = None,  # type: ignore[assignment]
    out_survival: cli.OutTable = None,  # type: ignore[assignment]
    out_killing_summary: cli.OutTable = None,  # type: ignore[assignment]
    out_death_thresholds: cli.OutTable = None,  # type: ignore[assignment]
    channel: cli.Channel = None,
    lower: Annotated[
        float, typer.Option(min=0, max=100, help="percentile of each signal that becomes 0")
    ] = 1.0,
    upper: Annotated[
        float, typer.Option(min=0, max=100, help="percentile of each signal that becomes 1")
    ] = 99.0,
    min_contrast: Annotated[
        float,
        typer.Option(
            min=0,
            help="least range of the death signal, in standard deviations of the living cells; "
            "keeps noise from being stretched to deaths; 0: off",
        ),
    ] = 20.0,
    min_live_loss: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="least range of the live signal, as a share of its upper end; keeps the dimmest "
            "living cell from being taken for dead; 0: off",
        ),
    ] = 0.5,
    live_low: Annotated[
        float | None, typer.Option(help="live signal that becomes 0, counts; overrides lower")
    ] = None,
    live_high: Annotated[
        float | None, typer.Option(help="live signal that becomes 1, counts; overrides upper")
    ] = None,
    death_low: Annotated[
        float | None, typer.Option(help="death signal that becomes 0, counts; overrides lower")
    ] = None,
    death_high: Annotated[
        float | None, typer.Option(help="death signal that becomes 1, counts; overrides upper")
    ] = None,
    smoothing: Annotated[
        Smoothing, typer.Option(help="smoothing of the cell death index (CDI) over time")
    ] = Smoothing.gaussian,
    sigma: Annotated[float, typer.Option(min=0, help="of the gaussian, frames")] = 2.0,
    window: Annotated[
        int,
        typer.Option(min=1, help="of savgol, quadratic and moving_average, frames; odd"),
    ] = 11,
    polyorder: Annotated[int, typer.Option(min=0, help="of savgol")] = 3,
    death_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="smoothed CDI at which a target is dead")
    ] = 0.5,
    min_dead_frames: Annotated[
        int, typer.Option(min=1, help="frames at or over it, unless the track ends before")
    ] = 3,
    death_thresholds: Annotated[
        list[float], typer.Option(min=0, max=1, help="thresholds of the table death_thresholds")
    ] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),  # type: ignore[assignment]
    min_track_length: Annotated[
        int, typer.Option(min=1, help="leave out targets found in fewer frames")
    ] = 20,
    drop_top_size_percent: Annotated[
        float,
        typer.Option(min=0, max=100, help="leave out this share of targets, the largest, %"),
    ] = 5.0,
    contact_window_s: Annotated[
        float,
        typer.Option(min=0, help="a killer was in contact at death or up to so long before, s"),
    ] = 0.0,
    capacity_window_frames: Annotated[
        int, typer.Option(min=1, help="frames after first contact over which CDI may rise")
    ] = 180,
    noise_floor: Annotated[
        float, typer.Option(min=0, help="smaller killing capacities are 0, %")
    ] = 2.0,
    survival_origin: Annotated[
        Origin,
        typer.Option(help="time 0 of survival: the movie's start, or each target's first frame"),
    ] = Origin.movie,
) -> None:
    """Killing: viability, deaths, killers, killing capacity and survival.

    Tables: effector tracks, target tracks, and the death signal measured in the
    targets' outlines, in this order.
    """
    viability.check_window(smoothing.value, window, polyorder)
    effectors, targets, death, found = read_inputs(table, contacts)
    interval = targets.attrs.get("frame_interval")
    if interval is None:
        log.warning(
            "%s: the frame interval is not known; times in seconds are left empty "
            "(set `frame_interval` at the input)",
            table[1],
        )
    look_back = window_frames(contact_window_s, interval)

    limits = target_signals.Normalisation(
        lower, upper, min_contrast, min_live_loss, live_low, live_high, death_low, death_high
    )
    signals = target_signals.normalise(target_signals.join_signals(targets, death), limits)
    kept, counts = target_signals.select(
        signals, min_length=min_track_length, drop_top_size_percent=drop_top_size_percent
    )
    if not counts and targets.attrs.get("position"):
        none = dict.fromkeys(("tracks", "short", "large", "untracked"), 0)
        counts = {targets.attrs["position"]: none}
    followed = killing.follow(kept, killing.Smoother(smoothing.value, sigma, window, polyorder))
    touching = killing.touches(found)

    def deaths_at(threshold: float) -> pd.DataFrame:
        died = killing.find_deaths(followed, threshold=threshold, min_dead_frames=min_dead_frames)
        return killing.deaths(followed, died, touching, interval=interval, window=look_back)

    deaths = deaths_at(death_threshold)
    died = killing.find_deaths(followed, threshold=death_threshold, min_dead_frames=min_dead_frames)
    capacity = killing_outcome.capacities(
        followed, touching, deaths, window=capacity_window_frames, noise_floor=noise_floor
    )
    killers = killing_outcome.killers(effectors, touching, deaths, capacity, interval=interval)
    observed = killing_outcome.observation(deaths, origin=survival_origin.value)
    summary = killing_outcome.summary(
        counts, deaths, killers, observed, signals.attrs["ranges"], interval=interval
    )
    results = {
        "deaths": (out_deaths, lambda: deaths),
        "cell_state": (out_cell_state, lambda: killing.cell_state(kept, followed, died)),
        "killers": (out_killers, lambda: killers),
        "killing_capacity": (out_killing_capacity, lambda: capacity),
        "survival": (
            out_survival,
            lambda: killing_outcome.survival(observed, interval=interval),
        ),
        "killing_summary": (out_killing_summary, lambda: summary),
        "death_thresholds": (
            out_death_thresholds,
            lambda: killing_outcome.sweep(death_thresholds, deaths_at),
        ),
    }
    for kind, (path, make) in results.items():
        if path is not None:
            made = make()
            made.attrs.clear()
            made.attrs.update(targets.attrs | ({"channel": channel} if channel else {}))
            tables.write_table(path, made, kind)
    for _, row in summary.iterrows():
        report(row)


if __name__ == "__main__":
    cli.run(main)
