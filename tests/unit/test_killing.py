"""Deaths, killers, capacity and survival on simulated movies whose truth is known.

Labels are the simulation's own, tables plain sums over them, contacts plain overlap.
"""

import dataclasses
from functools import cache

import numpy as np
import pandas as pd
import pytest
import simulated_tables
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from simulation import Assay, Movie, simulate

from cytoloom import killing, killing_outcome, target_signals
from cytoloom.errors import BadData
from cytoloom.survival import kaplan_meier

INTERVAL = 120.0


@dataclasses.dataclass
class Inputs:
    """The tables that the step reads."""

    targets: pd.DataFrame
    death: pd.DataFrame
    effectors: pd.DataFrame
    contacts: pd.DataFrame

    def map(self, change):
        return Inputs(*(change(getattr(self, f.name).copy()) for f in dataclasses.fields(self)))


@dataclasses.dataclass
class Results:
    """All that comes of them."""

    signals: pd.DataFrame
    kept: pd.DataFrame
    followed: list
    died: dict
    touching: dict
    deaths: pd.DataFrame
    capacity: pd.DataFrame
    killers: pd.DataFrame
    observed: pd.DataFrame


@cache
def movie(**assay) -> Movie:
    return simulate(Assay(**assay))


def inputs(simulated: Movie) -> Inputs:
    """Return fresh tables; changing them changes no other test's."""
    return Inputs(
        simulated_tables.tracks(simulated, "Cancer", "Cancer"),
        simulated_tables.tracks(simulated, "Dead", "Cancer"),
        simulated_tables.tracks(simulated, "TCell", "TCell"),
        simulated_tables.contacts(simulated),
    )


def analyse(given: Inputs, *, interval=INTERVAL, window=0, min_length=10, **smoother) -> Results:
    joined = target_signals.join_signals(given.targets, given.death)
    signals = target_signals.normalise(joined, target_signals.Normalisation())
    kept, _ = target_signals.select(signals, min_length=min_length, drop_top_size_percent=0)
    followed = killing.follow(kept, killing.Smoother(**smoother))
    died, touching = killing.find_deaths(followed), killing.touches(given.contacts)
    deaths = killing.deaths(followed, died, touching, interval=interval, window=window)
    capacity = killing_outcome.capacities(followed, touching, deaths)
    killers = killing_outcome.killers(
        given.effectors, touching, deaths, capacity, interval=interval
    )
    observed = killing_outcome.observation(deaths)
    return Results(signals, kept, followed, died, touching, deaths, capacity, killers, observed)


def assert_true(deaths: pd.DataFrame, simulated: Movie, tolerance: int = 1) -> None:
    """Every death in time, every killer right, nobody else dead."""
    found = deaths.set_index("target_track_id")
    assert sorted(found.index) == [row["target"] for row in simulated.deaths]
    for row in simulated.deaths:
        mine = found.loc[row["target"]]
        assert mine["died"] == row["died"], row
        assert mine["censored"] != row["died"]
        assert mine["last_frame"] == row["last_frame"]
        if not row["died"]:
            assert mine["kill_class"] == "none"
            continue
        assert abs(mine["death_frame"] - row["death_frame"]) <= tolerance, row
        assert abs(mine["death_s"] / INTERVAL - row["death_frame"]) <= tolerance
        assert mine["killer_track_ids"] == row["killers"], row
        number = len(row["killers"])
        expected = {0: "spontaneous", 1: "single"}.get(number, "multi")
        assert mine["kill_class"] == expected
        assert mine["n_killers"] == number


@pytest.mark.parametrize("seed", range(4))
def test_every_death_and_killer_is_found(seed):
    simulated = movie(seed=seed)
    truth = [row for row in simulated.deaths if row["died"]]
    assert len(truth) >= 6
    assert_true(analyse(inputs(simulated)).deaths, simulated)


@pytest.mark.parametrize(
    "condition",
    [
        {"noise": 60.0, "gain": 8.0},
        {"bleaching": 0.4},
        {"death_width": 2.0},
        {"signal": 150.0},
        {"residual": 0.02},
        {"residual": 0.6},
        {"lethal": 1.0, "spontaneous": 6},
        {"leaving": 2},
    ],
    ids=lambda c: "-".join(f"{k}_{v}" for k, v in c.items()),
)
@pytest.mark.slow
def test_every_death_and_killer_is_found_under_hard_conditions(condition):
    simulated = movie(seed=1, **condition)
    assert_true(analyse(inputs(simulated)).deaths, simulated)


@pytest.mark.parametrize("method", ["savgol", "quadratic", "moving_average", "none"])
def test_every_smoother_finds_the_deaths(method):
    simulated = movie(seed=1)
    assert_true(analyse(inputs(simulated), method=method).deaths, simulated)


@pytest.mark.parametrize("spontaneous", [0, 1])
def test_no_false_death_where_nothing_or_little_dies(spontaneous):
    simulated = movie(seed=2, lethal=0.0, spontaneous=spontaneous)
    result = analyse(inputs(simulated))
    assert result.deaths["died"].sum() == spontaneous
    assert_true(result.deaths, simulated)
    assert (result.killers["kills"] == 0).all()
    assert (result.deaths["contact_frames"] > 0).any()


def test_a_target_that_leaves_the_field_is_censored_there():
    simulated = movie(seed=1, leaving=1)
    gone = [r for r in simulated.deaths if r["last_frame"] < simulated.assay.frames - 1]
    assert len(gone) == 1
    row = analyse(inputs(simulated)).deaths.set_index("target_track_id").loc[gone[0]["target"]]
    assert row["censored"]
    assert row["last_frame"] == gone[0]["last_frame"]


def test_missing_frames_are_bridged():
    simulated = movie(seed=0)
    rng = np.random.default_rng(0)
    lost = set(zip(rng.integers(1, 59, 80).tolist(), rng.integers(1, 13, 80).tolist(), strict=True))
    given = inputs(simulated)

    def drop(table, label):
        keys = zip(table["frame"], table[label], strict=True)
        return table[[key not in lost for key in keys]]

    holes = Inputs(
        drop(given.targets, "label"),
        drop(given.death, "label"),
        given.effectors,
        drop(given.contacts, "target_label"),
    )
    assert len(holes.targets) < len(given.targets) - 50
    assert_true(analyse(holes).deaths, simulated)


def test_a_missing_death_signal_is_interpolated():
    simulated = movie(seed=0)
    given = inputs(simulated)
    given.death = given.death.drop(index=given.death.index[5::9])
    result = analyse(given)
    assert_true(result.deaths, simulated)
    state = killing.cell_state(result.kept, result.followed, result.died)
    assert len(state) == len(given.targets)
    assert state["cdi"].isna().sum() > 0
    assert state["cdi_smoothed"].notna().all()


def test_state_of_cells():
    result = analyse(inputs(movie(seed=0)))
    state = killing.cell_state(result.kept, result.followed, result.died)
    assert len(state) == len(result.signals)
    for column in ("live_signal", "death_signal", "viability", "cdi", "cdi_smoothed"):
        assert state[column].between(0, 1).all(), column
    for row in result.deaths.itertuples():
        mine = state[state["track_id"] == row.target_track_id].sort_values("frame")
        expected = mine["frame"] < row.death_frame if row.died else mine["frame"] >= 0
        assert mine["alive"].tolist() == expected.tolist()
        assert_allclose(mine["cdi_gradient"], np.gradient(mine["cdi_smoothed"]), atol=1e-12)
    last = state[state["frame"] == 59]
    assert last[last["alive"]]["viability"].min() > 0.5
    assert last[~last["alive"]]["viability"].max() < 0.5


def test_scaled_intensities_change_nothing():
    given = inputs(movie(seed=0))
    brighter = given.map(
        lambda t: t.assign(intensity_mean=t["intensity_mean"] * 7.5) if "area" in t else t
    )
    assert_frame_equal(analyse(given).deaths, analyse(brighter).deaths, rtol=1e-6)


def test_labels_and_order_of_rows_change_nothing():
    given = inputs(movie(seed=0))
    rng = np.random.default_rng(5)
    number = {key: n for n, key in enumerate(rng.permutation(60 * 20).tolist(), start=1)}

    def renumber(table):
        for column in ("label", "effector_label", "target_label"):
            if column in table:
                flat = table["frame"] * 20 + table[column] - 1
                table[column] = flat.map(number)
        return table.sample(frac=1, random_state=1)

    one, other = analyse(given), analyse(given.map(renumber))
    assert_frame_equal(one.deaths, other.deaths)
    assert_frame_equal(one.killers, other.killers)
    assert_frame_equal(one.capacity, other.capacity)


def test_time_scales_with_the_frame_interval():
    given = inputs(movie(seed=0))
    one, ten, none = (analyse(given, interval=i) for i in (INTERVAL, 10 * INTERVAL, None))
    for column in ("death_s", "delay_s", "contact_start_s", "first_contact_s"):
        assert_allclose(one.deaths[column] * 10, ten.deaths[column])
        assert none.deaths[column].isna().all()
    assert_allclose(one.killers["kills_per_hour"], ten.killers["kills_per_hour"] * 10)
    assert_frame_equal(
        one.deaths[["died", "killer_track_ids"]], none.deaths[["died", "killer_track_ids"]]
    )


def test_delay_is_the_time_since_the_first_contact():
    simulated = movie(seed=0)
    deaths = analyse(inputs(simulated)).deaths.set_index("target_track_id")
    for row in simulated.deaths:
        if row["killers"]:
            mine = deaths.loc[row["target"]]
            frames = [f for f, _, t in simulated.contacts if t == row["target"]]
            assert mine["first_contact_s"] == min(frames) * INTERVAL
            assert mine["delay_s"] == pytest.approx(mine["death_s"] - min(frames) * INTERVAL)
            run = row["death_frame"]
            while any((run - 1, e, row["target"]) in simulated.contacts for e in row["killers"]):
                run -= 1
            assert mine["contact_start_s"] == run * INTERVAL


def test_killers_get_their_kills():
    simulated = movie(seed=0)
    result = analyse(inputs(simulated))
    killers = result.killers.set_index("effector_track_id")
    assert list(killers.index) == list(range(1, 9))
    credit = dict.fromkeys(killers.index, 0.0)
    for row in simulated.deaths:
        for killer in row["killers"]:
            credit[killer] += 1 / len(row["killers"])
    assert_allclose(killers["kill_credit"], list(credit.values()))
    killed = sum(bool(r["killers"]) for r in simulated.deaths)
    assert killers["kill_credit"].sum() == pytest.approx(killed)
    met = {e: {t for _, x, t in simulated.contacts if x == e} for e in killers.index}
    assert killers["n_targets_contacted"].tolist() == [len(met[e]) for e in killers.index]
    assert_allclose(killers["kills_per_hour"], killers["kills"] / (60 * INTERVAL / 3600))


def test_killing_capacity_separates_lethal_from_harmless_contacts():
    simulated = movie(seed=0)
    key = ["effector_track_id", "target_track_id"]
    capacity = analyse(inputs(simulated)).capacity.sort_values(key)
    pairs = {(e, t) for _, e, t in simulated.contacts}
    found = list(zip(*(capacity[k] for k in key), strict=True))
    assert found == sorted(pairs)
    killers = {(k, r["target"]) for r in simulated.deaths for k in r["killers"]}
    assert {p for p, k in zip(found, capacity["killed"], strict=True) if k} == killers
    survivors = {r["target"] for r in simulated.deaths if not r["died"]}
    harmless = capacity[capacity["target_track_id"].isin(survivors)]
    lethal = capacity[capacity["killed"]]
    assert lethal["killing_capacity"].min() > 100
    assert lethal["delta_cdi"].min() > 0.3
    assert harmless["delta_cdi"].abs().max() < 0.1


def test_capacity_by_hand():
    found = killing_outcome.killing_capacity(
        [0.1, 0.5, 0.5, 0.5, 0.0], [0.3, 0.4, 0.505, 0.51, 0.5]
    )
    assert_allclose(found, [200, 0, 0, 2, 5000])


def test_survival_of_all_equals_the_curve_of_the_truth():
    simulated = movie(seed=1, leaving=1)
    result = analyse(inputs(simulated))
    table = killing_outcome.survival(result.observed, interval=INTERVAL)
    found = table[table["group"] == "all"]
    died = np.array([r["died"] for r in simulated.deaths])
    truth = [r["death_frame"] if r["died"] else r["last_frame"] for r in simulated.deaths]
    expected = kaplan_meier(np.zeros(12), truth, died)
    for frame in range(0, 60, 3):
        before = expected.survival[expected.time <= frame - 1][-1] if frame > 0 else 1.0
        after = expected.survival[expected.time <= frame + 1][-1]
        now = found["survival"][found["time_frames"] <= frame].iloc[-1]
        assert after - 1e-9 <= now <= before + 1e-9  # within one frame
    assert found["survival"].iloc[-1] == pytest.approx(expected.survival[-1])
    assert found["events"].sum() == died.sum()
    assert_allclose(found["time_s"], found["time_frames"] * INTERVAL)


def test_a_target_changes_group_at_its_first_contact():
    simulated = movie(seed=0)
    observed = analyse(inputs(simulated)).observed
    split = observed[observed["group"] != "all"]
    whole = observed[observed["group"] == "all"]
    assert (split["exit"] >= split["entry"]).all()
    assert (split["exit"] - split["entry"]).sum() == pytest.approx(
        (whole["exit"] - whole["entry"]).sum()
    )
    killed = sum(bool(r["killers"]) for r in simulated.deaths)
    spontaneous = sum(r["died"] and not r["killers"] for r in simulated.deaths)
    events = split.groupby("group")["died"].sum()
    assert (events["contacted"], events["not contacted"]) == (killed, spontaneous)


def one_target(cdi, contacts, **options):
    """Deaths of one target with a given smoothed CDI and (frame, effector) contacts."""
    cdi = np.asarray(cdi, float)
    frames = np.arange(cdi.size)
    target = killing.Target("p1", 1, frames, frames, cdi, np.zeros(cdi.size))
    rows = pd.DataFrame(contacts, columns=["frame", "effector"]).astype(np.int64)
    touching = {target.key: killing.Touches(*(rows[c].to_numpy() for c in rows))}
    died = killing.find_deaths([target])
    return killing.deaths([target], died, touching, interval=10.0, **options).iloc[0]


STEP = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]  # crosses 0.5 at 4.5, dead in frame 5


@pytest.mark.parametrize(
    ("contacts", "window", "kill_class", "killers"),
    [
        ([], 0, "spontaneous", []),
        ([(6, 3)], 0, "spontaneous", []),  # came to a dead cell
        ([(5, 3)], 0, "single", [3]),
        ([(5, 3), (5, 4)], 0, "multi", [3, 4]),
        ([(3, 3)], 0, "after_contact", []),
        ([(3, 3)], 2, "single", [3]),
        ([(2, 3)], 2, "after_contact", []),
        ([(3, 3), (5, 4)], 2, "multi", [3, 4]),
        ([(5, -7)], 0, "single", []),  # an effector without a track
        ([(5, -7), (5, 2)], 0, "multi", [2]),
    ],
)
def test_classes_of_death(contacts, window, kill_class, killers):
    row = one_target(STEP, contacts, window=window)
    assert row["death_frame"] == 5
    assert row["death_s"] == pytest.approx(45)
    assert (row["kill_class"], row["killer_track_ids"]) == (kill_class, killers)


def test_contact_first_seen_at_death_has_no_delay():
    row = one_target(STEP, [(5, 3)])
    assert row["delay_s"] == 0
    observed = killing_outcome.observation(pd.DataFrame([row]))
    split = observed[observed["group"] != "all"].set_index("group")
    assert split.loc["contacted", ["entry", "exit", "died"]].tolist() == [4, 4.5, True]
    assert split.loc["not contacted", ["entry", "exit", "died"]].tolist() == [0, 4, False]


def test_dead_when_first_seen():
    row = one_target([0.9] * 10, [(0, 3)])
    assert (row["kill_class"], row["died"], row["killer_track_ids"]) == ("at_start", True, [])
    assert pd.isna(row["death_s"])
    assert killing_outcome.observation(pd.DataFrame([row])).empty


def test_start_of_the_unbroken_contact():
    row = one_target(STEP, [(0, 3), (2, 3), (3, 3), (4, 3), (5, 3), (5, 4)])
    assert row["contact_start_s"] == 20
    assert row["first_contact_s"] == 0


def test_origin_of_time():
    deaths = pd.DataFrame([one_target(STEP, [])]).assign(first_frame=3)
    observed = killing_outcome.observation(deaths, origin="track")
    row = observed[observed["group"] == "all"].iloc[0]
    assert (row["entry"], row["exit"]) == (0, 1.5)


def test_short_and_large_tracks_are_left_out_and_counted():
    frames = [(t, f) for t in range(1, 42) for f in range(5 if t == 41 else 30)]
    rows = pd.DataFrame(frames, columns=["track_id", "frame"])
    rows = rows.assign(position="p1", label=rows["track_id"], area=rows["track_id"] * 10)
    rows["track_id"] = rows["track_id"].astype("Int64")
    rows.loc[0, "track_id"] = pd.NA
    kept, counts = target_signals.select(rows)
    assert counts == {"p1": {"tracks": 41, "short": 1, "large": 2, "untracked": 1}}
    assert sorted(kept["track_id"].unique()) == list(range(1, 39))


def test_a_death_table_of_other_outlines_is_refused():
    given = inputs(movie(seed=0))
    with pytest.raises(BadData, match=r"measured in the outlines of TCell, not of the target"):
        target_signals.join_signals(given.targets, given.effectors)
    other = given.death.assign(label=given.death["label"] + 1000)
    with pytest.raises(BadData, match="no row has the position, frame and label"):
        target_signals.join_signals(given.targets, other)
    with pytest.raises(BadData, match="more than one row"):
        target_signals.join_signals(given.targets, pd.concat([given.death, given.death]))


def test_a_track_twice_in_a_frame_is_refused():
    given = inputs(movie(seed=0))
    joined = target_signals.join_signals(given.targets, given.death)
    joined["track_id"] = joined["track_id"].replace(2, 1)
    signals = target_signals.normalise(joined, target_signals.Normalisation())
    with pytest.raises(BadData, match="track 1: two targets in one frame"):
        killing.follow(signals, killing.Smoother())


def test_counts_fall_or_stay_as_the_threshold_rises():
    result = analyse(inputs(movie(seed=0)))

    def at(threshold):
        died = killing.find_deaths(result.followed, threshold=threshold)
        return killing.deaths(result.followed, died, result.touching, interval=INTERVAL)

    table = killing_outcome.sweep([0.8, 0.2, 0.5, 0.5], at)
    assert table["death_threshold"].tolist() == [0.2, 0.5, 0.8]
    assert table["deaths"].tolist() == [8, 8, 8]
    assert (np.diff(table["mean_death_s"]) > 0).all()
