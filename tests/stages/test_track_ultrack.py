"""Ultrack: its phases give what it gives by itself, from labels, several labels or maps.

All phases run in the environment of the ultrack family, in one process, since its imports take
long. Scores are those of py-ctcmetrics and traccuracy.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ctc_scores
import dividing
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.segmentation import find_boundaries

from cytoloom import hypotheses, ultrack_engine
from cytoloom.errors import UsageError

PROJECT = Path(__file__).resolve().parents[2]
SMALL = dividing.Culture(frames=17, shape=(160, 160), cells=9, divisions=4, seed=3)


@pytest.fixture
def phases(family_python, tmp_path):
    """Run jobs of tests/ultrack_phases.py, each into a folder of its name; return the folders."""
    python = family_python("ultrack")

    def run(arrays, jobs):
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        written = []
        for name, job in jobs.items():
            files = {
                kind: [str(tmp_path / f"{one}.npy") for one in job.get(kind, ())]
                for kind in ("labels", "images")
            }
            written.append({**job, **files, "out": str(tmp_path / name)})
        (tmp_path / "jobs.json").write_text(json.dumps(written))
        done = subprocess.run(
            [python, PROJECT / "tests" / "ultrack_phases.py", tmp_path / "jobs.json"],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return {name: tmp_path / name for name in jobs}

    return run


def chosen(folder):
    assert not (folder / "error.txt").exists(), (folder / "error.txt").read_text()
    return np.load(folder / "chosen.npy")


def parents_in(folder):
    table = pd.read_parquet(folder / "tracks.parquet").dropna(subset=["parent_track_id"])
    pairs = table[["track_id", "parent_track_id"]].astype(int).drop_duplicates()
    return dict(pairs.itertuples(index=False))


@pytest.mark.slow
def test_any_cut_gives_what_ultrack_gives_by_itself(phases):
    movie = dividing.simulate(SMALL).labels
    holes = movie.copy()
    holes[[5, -2, -1]] = 0
    arrays = {"a": movie, "holes": holes}
    overlap = {"solve": {"overlap_size": 2}}
    found = phases(
        arrays,
        {
            "cut": {"labels": ["a"], "batch": 4},
            "serial": {"labels": ["a"], "serial": True},
            "windows": {"labels": ["a"], "batch": 5, "window": 4, "args": overlap},
            "windows_serial": {"labels": ["a"], "window": 4, "serial": True, "args": overlap},
            "holes": {"labels": ["holes"], "window": 4},
            "holes_serial": {"labels": ["holes"], "window": 4, "serial": True},
        },
    )
    for name in ("cut", "windows", "holes"):
        own = f"{name}_serial" if name != "cut" else "serial"
        np.testing.assert_array_equal(chosen(found[name]), chosen(found[own]))
    solver = pd.read_parquet(found["windows"] / "solver.parquet")
    assert solver["window"].tolist() == [0, 1, 2, 3]
    assert solver["last_frame"].tolist() == [3, 7, 11, 16]
    assert (solver["status"] == "optimal").all()
    assert (solver["gap"] <= 0.001).all()
    assert (solver["solver"] == "cbc").all()


@pytest.mark.full
def test_other_inputs_and_movies_without_cells(phases):
    truth = dividing.simulate(SMALL)
    merged = np.stack([ndimage.label(frame > 0)[0] for frame in truth.labels])
    contours = np.stack([find_boundaries(frame, mode="outer") for frame in truth.labels])
    arrays = {
        "a": truth.labels,
        "merged": merged.astype(np.uint32),
        "foreground": (truth.labels > 0).astype(np.float32),
        "contours": contours.astype(np.float32),
        "empty": np.zeros_like(truth.labels[:4]),
        "single": truth.labels[:1],
    }
    found = phases(
        arrays,
        {
            "two": {"labels": ["a", "merged"], "images": ["foreground"]},
            "maps": {
                "images": ["foreground", "contours"],
                "args": {"segment": {"min_area": 30}},
            },
            "empty": {"labels": ["empty"], "window": 2},
            "single": {"labels": ["single"]},
            "colour": {
                "labels": ["a"],
                "images": ["foreground"],
                "args": {"link": {"z_score_threshold": 5.0}},
            },
        },
    )
    for name in ("two", "maps", "colour"):
        np.testing.assert_array_equal(np.load(found[name] / "labels.npy") > 0, truth.labels > 0)
        assert len(set(parents_in(found[name]).values())) == SMALL.divisions
    cells = pd.read_parquet(found["two"] / "tracks.parquet")
    assert (cells["intensity_mean"] == 1).all()
    for name in ("tracks", "edges", "solver"):
        empty = pd.read_parquet(found["empty"] / f"{name}.parquet")
        full = pd.read_parquet(found["two"] / f"{name}.parquet")
        assert not len(empty)
        assert set(empty.columns) <= set(full.columns)
    single = pd.read_parquet(found["single"] / "tracks.parquet")
    assert len(single) == SMALL.cells
    assert single["track_id"].nunique() == SMALL.cells


@pytest.mark.full
@pytest.mark.parametrize("window", [None, 20])
def test_tracks_and_divisions_from_the_true_outlines(phases, tmp_path, window):
    culture = dividing.Culture(
        frames=80, shape=(300, 300), cells=14, divisions=40, speed=2.5, seed=5
    )
    truth = dividing.simulate(culture)
    jobs = {"out": {"labels": ["a"], "batch": 40, "window": window}}
    folder = phases({"a": truth.labels}, jobs)["out"]
    found = np.load(folder / "tracked.npy"), parents_in(folder)
    scores = ctc_scores.scores(tmp_path / "scores", (truth.labels, truth.parents), found)
    assert scores["TRA"] >= 0.99
    assert scores["division_f1"] >= 0.9


@pytest.mark.full
def test_numbers_and_outlines_of_cells(phases):
    truth = dividing.simulate(dividing.Culture(frames=4, shape=(128, 128), cells=5, divisions=0))
    folder = phases({"a": truth.labels}, {"out": {"labels": ["a"]}})["out"]
    labels, tracked = np.load(folder / "labels.npy"), np.load(folder / "tracked.npy")
    table = pd.read_parquet(folder / "tracks.parquet")
    assert set(table["label_channel"]) == {"A0"}
    for frame in range(4):
        numbers, first = np.unique(labels[frame], return_index=True)
        order = first[1:]
        assert numbers[1:].tolist() == list(range(1, len(numbers)))
        assert (np.diff(order) > 0).all()
        for row in table[table["frame"] == frame].itertuples():
            mask = labels[frame] == row.label
            assert row.area == mask.sum()
            assert set(tracked[frame][mask]) == {row.track_id}


# -- PostgreSQL


def postgres_programs():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture
def server():
    """Start a PostgreSQL server of one's own; give its address and password file."""
    programs = postgres_programs()
    if programs is None or os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("no PostgreSQL server here (apt-get install postgresql, tests as root)")
    folder = Path("/tmp") / f"cytoloom-pg-{os.getpid()}"
    (folder / "data").mkdir(parents=True)
    port = 50000 + os.getpid() % 10000
    (folder / "word").write_text("s3cret-word")
    for path in (folder / "data", folder / "word"):
        shutil.chown(path, "postgres", "postgres")
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data = ["-D", str(folder / "data")]

    def call(*words):
        subprocess.run([*user, *map(str, words)], check=True, capture_output=True, cwd=folder)

    call(programs / "initdb", *data, "-U", "loom", "--pwfile", folder / "word", "-A", "md5")
    options = f"-p {port} -k {folder / 'data'} -c listen_addresses=127.0.0.1"
    call(programs / "pg_ctl", *data, "-w", "-l", folder / "data" / "log", "-o", options, "start")
    passfile = folder / "pgpass"
    passfile.write_text(f"127.0.0.1:{port}:*:loom:s3cret-word\n")
    passfile.chmod(0o600)
    try:
        yield f"postgresql://loom@127.0.0.1:{port}/postgres", passfile, programs / "psql"
    finally:
        call(programs / "pg_ctl", *data, "-m", "fast", "stop")
        shutil.rmtree(folder)


@pytest.mark.slow
def test_postgresql_gives_what_sqlite_gives_and_keeps_the_password(phases, server):
    address, passfile, psql = server
    database = {"database": address, "passfile": str(passfile)}
    closed = {"database": "postgresql://loom@127.0.0.1:1/postgres", "passfile": str(passfile)}
    jobs = {
        "files": {"labels": ["a"], "batch": 5, "window": 4},
        "server": {"labels": ["a"], "batch": 5, "window": 4, "args": {"database": database}},
        "again": {"labels": ["a"], "batch": 6, "window": 4, "args": {"database": database}},
        "closed": {"labels": ["a"], "args": {"database": closed}},
        "no_word": {"labels": ["a"], "args": {"database": {"database": address}}},
    }
    found = phases({"a": dividing.simulate(SMALL).labels}, jobs)
    for name in ("server", "again"):
        np.testing.assert_array_equal(chosen(found[name]), chosen(found["files"]))
    rows = subprocess.run(
        [psql, address, "-Atc", "SELECT id, parent_id FROM cytoloom_p_u_a.nodes WHERE selected"],
        capture_output=True, text=True, check=True, env={**os.environ, "PGPASSFILE": str(passfile)},
    ).stdout.split()  # fmt: skip
    in_server = sorted(tuple(int(n) for n in row.split("|")) for row in rows)
    assert in_server == [tuple(row) for row in chosen(found["files"]).tolist()]
    written = [path for path in found["server"].rglob("*") if path.is_file()]
    assert not any(b"s3cret-word" in path.read_bytes() for path in written)
    assert (found["closed"] / "error.txt").read_text().startswith("TryAgain: PostgreSQL at ")
    assert (found["no_word"] / "error.txt").read_text().startswith("BadData: PostgreSQL at ")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("mysql://a/b", "is not an address"),
        ("postgresql://me:word@host/cells", "holds a password"),
        ("postgresql://me@host", "is not an address"),
        ("postgresql://me@host/cells?sslmode=off", "without anything after"),
    ],
)
def test_an_address_that_is_none_is_refused(address, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        ultrack_engine.parse_server(address, None, "s")
    assert "word" not in str(caught.value).replace("password", "")


def test_the_address_of_a_server_names_schema_and_password_file(tmp_path):
    (tmp_path / "pass word").touch()
    server = ultrack_engine.parse_server(
        "postgresql://me@host:1/cells", tmp_path / "pass word", "Run.p-1"
    )
    assert server.schema == "run_p_1"
    url = ultrack_engine.url(server)
    assert url.startswith(
        "postgresql://me@host:1/cells?options=-csearch_path%3Drun_p_1&passfile=%2F"
    )
    with pytest.raises(UsageError, match="absolute path"):
        ultrack_engine.parse_server("postgresql://me@host/cells", Path("pgpass"), "s")


# -- without Ultrack


def test_an_outline_survives_packing():
    rng = np.random.default_rng(0)
    mask = rng.random((3, 5, 7)) > 0.5
    number, _, box, bits = hypotheses.pack(7, 2, (1, 20, 300), mask)
    outline = hypotheses.unpack(number, box, bits)
    assert (outline.id, outline.corner) == (7, (1, 20, 300))
    np.testing.assert_array_equal(outline.mask, mask)


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "p.U.A.nodes.0000.db"
    path.write_bytes(b"nothing of ours" * 100)
    with pytest.raises(Exception, match="not a database of Ultrack's phases"):
        hypotheses.read_settings(path)


def test_windows_are_ultracks():
    from track_ultrack_solve import Span, check_windows

    spans = [Span.of(start, 4, 16, 17) for start in range(0, 17, 4)]
    assert [(s.start, s.stop) for s in spans] == [(0, 4), (4, 8), (8, 12), (12, 17), (16, 16)]
    with pytest.raises(UsageError, match="overlap_size 4 must be less than window_size 4"):
        check_windows(4, 4)


def test_limits_follow_from_the_cells():
    from track_ultrack_segment import limits_of

    assert limits_of((100, 200, 400), None, None, 4.0) == {
        "min_area": 50, "max_area": 600, "min_area_factor": 4.0,
    }  # fmt: skip
    assert limits_of((10, 20, 40), None, None, 4.0)["min_area_factor"] == 1.0
    assert limits_of(None, None, None, 4.0)["max_area"] == 1_000_000
    with pytest.raises(UsageError, match="min_area 500 is over max_area 100"):
        limits_of(None, 500, 100, 4.0)


def test_contours_of_several_label_images():
    from track_ultrack_segment import contours_of

    one = np.zeros((12, 12), np.uint32)
    one[2:6, 2:6], one[6:10, 2:6] = 1, 2
    two = (one > 0).astype(np.uint32)
    foreground, contours = contours_of([one, two], None)
    np.testing.assert_array_equal(foreground, one > 0)
    assert set(np.unique(contours)) == {0, 0.5, 1}
    assert (contours[5:7, 3:5] == 0.5).all()
    _, blank = contours_of([np.zeros((4, 4), np.uint32)], 1.0)
    assert not blank.any()


def test_a_wrong_value_is_answered_in_one_line():
    done = subprocess.run(
        [sys.executable, PROJECT / "bin" / "track_ultrack_solve.py", "--nodes", "n", "--links", "l",
         "--out-solution", "o", "--window_size", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    missing = subprocess.run(
        [sys.executable, PROJECT / "bin" / "track_ultrack_solve.py", "--nodes", "n", "--links", "l",
         "--out-solution", "o"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert missing.returncode == 66
    assert len(missing.stderr.strip().splitlines()) == 1
