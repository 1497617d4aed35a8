"""analyse_killing: the command line on simulated movies, empty tables, wrong input."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import analyse_killing
import numpy as np
import pandas as pd
import pytest
import simulated_tables
from simulation import Assay, simulate

from cytoloom import tables
from cytoloom.errors import CytoloomError
from cytoloom.schemas import SCHEMAS

SCRIPT = Path(analyse_killing.__file__)
KINDS = (
    *("deaths", "cell_state", "killers", "killing_capacity", "survival"),
    *("killing_summary", "death_thresholds"),
)
ASSAY = Assay(frames=40, shape=(168, 192), targets=6, effectors=4, spontaneous=1, seed=3)


@cache
def movie():
    return simulate(ASSAY)


@pytest.fixture
def inputs():
    """Return the four input tables by role; a test may change them before `write`."""
    simulated = movie()
    return {
        "effectors": simulated_tables.tracks(simulated, "TCell", "TCell"),
        "targets": simulated_tables.tracks(simulated, "Cancer", "Cancer"),
        "death": simulated_tables.tracks(simulated, "Dead", "Cancer").drop(columns="track_id"),
        "contacts": simulated_tables.contacts(simulated),
    }


def write(folder, given):
    """Write the tables; return them as arguments of ``main``."""
    kinds = {"effectors": "tracks", "targets": "tracks", "death": "cells", "contacts": "contacts"}
    for role, kind in kinds.items():
        table = simulated_tables.complete(given[role], kind)
        tables.write_table(folder / f"{role}.parquet", table, kind)
    return {
        "table": [str(folder / f"{role}.parquet") for role in ("effectors", "targets", "death")],
        "contacts": str(folder / "contacts.parquet"),
    }


def outputs(folder, **which):
    return {f"out_{kind}": folder / f"out.{kind}.parquet" for kind in KINDS} | which


def run(folder, given, **arguments):
    """Run ``main`` with all outputs and return the tables that it wrote."""
    analyse_killing.main(**write(folder, given), **outputs(folder), **arguments)
    return {kind: tables.read_table(folder / f"out.{kind}.parquet", kind) for kind in KINDS}


def command(folder, given, *options):
    files = write(folder, given)
    inputs_ = [part for path in files["table"] for part in ("--table", path)]
    outs = [
        part
        for name, path in outputs(folder).items()
        for part in (f"--{name.replace('_', '-')}", str(path))
    ]
    return subprocess.run(
        [sys.executable, SCRIPT, *inputs_, "--contacts", files["contacts"], *outs, *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_truth_is_found(tmp_path, inputs):
    result = run(tmp_path, inputs)
    truth = movie().deaths
    died = [row for row in truth if row["died"]]
    deaths = result["deaths"].set_index("target_track_id")
    assert deaths["died"].tolist() == [row["died"] for row in truth]
    for row in died:
        mine = deaths.loc[row["target"]]
        assert abs(mine["death_frame"] - row["death_frame"]) <= 1
        assert list(mine["killer_track_ids"]) == row["killers"]
    (summary,) = result["killing_summary"].itertuples()
    assert summary.targets == summary.analysed == ASSAY.targets
    assert summary.deaths == len(died)
    assert summary.killed_single == sum(len(row["killers"]) == 1 for row in died)
    assert summary.killed_multi == sum(len(row["killers"]) > 1 for row in died)
    assert summary.died_spontaneous == 1
    assert summary.censored == ASSAY.targets - len(died)
    assert set(result["survival"]["group"]) == {"all", "contacted", "not contacted"}
    assert len(result["cell_state"]) == len(inputs["targets"])
    assert result["death_thresholds"]["death_threshold"].tolist() == [
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
    ]
    for table in result.values():
        assert table.attrs["frame_interval"] == ASSAY.frame_interval


@pytest.mark.slow
def test_the_command_line_does_what_the_function_does(tmp_path, inputs):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    done = command(one, inputs, "--death_threshold", "0.4", "--smoothing", "savgol")
    assert done.returncode == 0, done.stderr
    assert "6 targets" in done.stderr
    run(two, inputs, death_threshold=0.4, smoothing=analyse_killing.Smoothing.savgol)
    for kind in KINDS:
        name = f"out.{kind}.parquet"
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert len(list(one.glob("*.provenance.json"))) == 1


@pytest.mark.parametrize(
    "absent",
    [
        ("contacts",),
        ("effectors", "contacts"),
        ("targets", "death", "contacts"),
        ("effectors", "targets", "death", "contacts"),
    ],
    ids="-".join,
)
def test_empty_tables_give_empty_tables_with_the_full_schema(tmp_path, inputs, absent):
    for role in absent:
        attributes = inputs[role].attrs
        inputs[role] = inputs[role].iloc[:0]
        inputs[role].attrs.update(attributes)
    result = run(tmp_path, inputs)
    for kind, table in result.items():
        assert list(table.columns) == SCHEMAS[kind].names, kind
    assert result["killing_capacity"].empty
    assert (result["killers"]["kills"] == 0).all()
    assert len(result["killers"]) == (0 if "effectors" in absent else ASSAY.effectors)
    (summary,) = result["killing_summary"].itertuples()
    if "targets" in absent:
        assert result["deaths"].empty
        assert result["survival"].empty
        assert (summary.targets, summary.deaths) == (0, 0)
    else:
        died = [row for row in movie().deaths if row["died"]]
        assert summary.deaths == summary.died_spontaneous == len(died)


@pytest.mark.slow
def test_a_movie_shorter_than_the_least_length_says_so(tmp_path, inputs):
    short = {role: table[table["frame"] < 12] for role, table in inputs.items()}
    for role, table in short.items():
        table.attrs.update(inputs[role].attrs)
    done = command(tmp_path, short)
    assert done.returncode == 0, done.stderr
    assert "of 6 target tracks left out 6 as too short (--min_track_length)" in done.stderr
    summary = tables.read_table(tmp_path / "out.killing_summary.parquet")
    assert summary["left_out_short"].tolist() == [6]


def test_without_a_frame_interval_frames_remain(tmp_path, inputs):
    for table in inputs.values():
        table.attrs["frame_interval"] = None
    result = run(tmp_path, inputs)
    assert result["deaths"]["death_time"].notna().any()
    assert result["deaths"]["death_s"].isna().all()
    assert result["survival"]["time_s"].isna().all()
    assert result["killers"]["kills_per_hour"].isna().all()


def test_two_positions_are_analysed_apart(tmp_path, inputs):
    def both(table):
        dim = table.copy()
        if "intensity_mean" in table:
            dim["intensity_mean"] *= 0.25
        out = pd.concat([table, dim.assign(position="p2")], ignore_index=True)
        out.attrs.update(table.attrs)
        return out

    result = run(tmp_path, {role: both(table) for role, table in inputs.items()})
    for kind, table in result.items():
        halves = [
            table[table["position"] == p].drop(columns="position").reset_index(drop=True)
            for p in ("p1", "p2")
        ]
        assert len(halves[0]), kind
        counts = [c for c in table.columns if c.endswith(("_low", "_high", "_counts"))]
        pd.testing.assert_frame_equal(
            *(half.drop(columns=[*counts, "position"], errors="ignore") for half in halves),
            rtol=1e-6,
        )


def test_a_look_back_finds_killers_that_have_left(tmp_path, inputs):
    died = {row["target"]: row for row in movie().deaths if row["killers"]}
    contacts = inputs["contacts"]
    left = [
        row.target_label in died and row.frame >= died[row.target_label]["death_frame"] - 2
        for row in contacts.itertuples()
    ]
    inputs["contacts"] = contacts[~np.array(left)]
    inputs["contacts"].attrs.update(contacts.attrs)
    now = run(tmp_path, inputs)["killing_summary"].iloc[0]
    assert (now["killed_single"] + now["killed_multi"], now["died_after_contact"]) == (0, len(died))
    then = run(tmp_path, inputs, contact_window_s=5 * ASSAY.frame_interval)["deaths"]
    found = then.set_index("target_track_id")["killer_track_ids"]
    assert {t: list(found[t]) for t in died} == {t: row["killers"] for t, row in died.items()}


def swap(given):
    given["effectors"], given["targets"] = given["targets"], given["effectors"]


def other_outlines(given):
    given["death"] = given["effectors"].drop(columns="track_id")


def no_interval(given):
    given["targets"].attrs["frame_interval"] = None


@pytest.mark.parametrize(
    ("spoil", "options", "code", "words"),
    [
        (swap, {}, 65, "the order is effector, target, death"),
        (other_outlines, {}, 65, "measured in the outlines of TCell"),
        (no_interval, {"contact_window_s": 60.0}, 65, "needs the frame interval"),
        (None, {"window": 10, "smoothing": analyse_killing.Smoothing.savgol}, 2, "must be odd"),
        (None, {"lower": 99.0, "upper": 1.0}, 2, "lower must be below upper"),
        (None, {"table": ["one.parquet"]}, 2, "give three"),
        (None, {"contacts": "nowhere.parquet"}, 66, "nowhere.parquet"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(tmp_path, inputs, spoil, options, code, words):
    if spoil:
        spoil(inputs)
    with pytest.raises(CytoloomError, match=words) as caught:
        analyse_killing.main(**write(tmp_path, inputs) | outputs(tmp_path) | options)
    assert caught.value.exit_code == code
    assert not list(tmp_path.glob("out.*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "options", "code", "words"),
    [
        (swap, (), 65, "the order is effector, target, death"),
        (None, ("--death_threshold", "2"), 2, "death_threshold"),
        (None, ("--contacts", "nowhere.parquet"), 66, "nowhere.parquet"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(tmp_path, inputs, spoil, options, code, words):
    if spoil:
        spoil(inputs)
    done = command(tmp_path, inputs, *options)
    assert done.returncode == code, done.stderr
    assert words in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
