#!/usr/bin/env python3
"""How well killing recovers the truth of simulated movies under many conditions.

    python benchmarks/killing_accuracy.py [SEEDS]

Prints one row per condition: targets, deaths, false and missed deaths, deaths off by more
than one frame, mean and greatest error of the interpolated time of death [frames], and
deaths with a wrong set of killers. Labels and contacts are the simulation's own.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "bin"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import simulated_tables
from simulation import Assay, simulate

from cytoloom import killing, target_signals

CONDITIONS = {
    "default": {},
    "noise 60, 8 counts/photon": {"noise": 60.0, "gain": 8.0},
    "signal 150 (of 1000)": {"signal": 150.0},
    "bleaching 40 %": {"bleaching": 0.4},
    "slow death (logistic width 2)": {"death_width": 2.0},
    "nothing dies": {"spontaneous": 0, "lethal": 0.0},
    "one of 12 dies": {"spontaneous": 1, "lethal": 0.0},
    "nearly all die": {"spontaneous": 6, "lethal": 1.0},
    "dead keep 2 % of own signal": {"residual": 0.02},
    "dead keep 60 %": {"residual": 0.6},
    "dead keep 80 %": {"residual": 0.8},
}


def analyse(movie):
    """Return the deaths by target track."""
    joined = target_signals.join_signals(
        simulated_tables.tracks(movie, "Cancer", "Cancer"),
        simulated_tables.tracks(movie, "Dead", "Cancer"),
    )
    signals = target_signals.normalise(joined, target_signals.Normalisation())
    kept, _ = target_signals.select(signals, drop_top_size_percent=0)
    followed = killing.follow(kept, killing.Smoother())
    died, touching = (
        killing.find_deaths(followed),
        killing.touches(simulated_tables.contacts(movie)),
    )
    deaths = killing.deaths(followed, died, touching, interval=movie.assay.frame_interval)
    return deaths.set_index("target_track_id")


def compare(movies):
    """Return targets, deaths, false, missed, late or early, errors, wrong killers."""
    targets = deaths = false = missed = off = wrong = 0
    errors = []
    for movie in movies:
        found = analyse(movie)
        for truth in movie.deaths:
            mine = found.loc[truth["target"]]
            targets += 1
            deaths += truth["died"]
            false += mine["died"] and not truth["died"]
            missed += truth["died"] and not mine["died"]
            if truth["died"] and mine["died"]:
                errors.append(mine["death_time"] - truth["death_frame"])
                off += abs(mine["death_frame"] - truth["death_frame"]) > 1
                wrong += mine["killer_track_ids"] != truth["killers"]
    return targets, deaths, false, missed, off, np.array(errors), wrong


def main(seeds=10):
    """Print the table."""
    print("| condition | targets | deaths | false | missed | off by > 1 frame | mean error "
          "| greatest error | wrong killers |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for name, change in CONDITIONS.items():
        movies = (simulate(Assay(seed=seed, **change)) for seed in range(seeds))
        targets, deaths, false, missed, off, errors, wrong = compare(movies)
        mean, most = (errors.mean(), np.abs(errors).max()) if errors.size else (np.nan, np.nan)
        print(f"| {name} | {targets} | {deaths} | {false} | {missed} | {off} | {mean:.2f} "
              f"| {most:.2f} | {wrong} |")  # fmt: skip


if __name__ == "__main__":
    main(*(int(n) for n in sys.argv[1:]))
