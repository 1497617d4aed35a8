"""track_trackmate: a real Java, a stand-in of TrackMate's classes, and TrackMate where it is.

The stand-in (tests/java) has TrackMate 7's classes and signatures, checks the settings as
TrackMate does, and links nearest pairs. It runs in the environment of the trackmate family.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import track_laptrack
import track_trackmate
from cells_table import cells

from cytoloom import jvm, tables
from cytoloom.errors import InputMissing, UsageError
from cytoloom.exchange import trackmate_xml

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = PROJECT / "tests" / "java"
LAPTRACK = PROJECT / "tests" / "data" / "laptrack"


def compile_jar(folder, name, package="jaqaman"):
    """Compile the stand-in into a jar; trackers in another package for TrackMate before 7.10."""
    if not (shutil.which("javac") and shutil.which("jar")):
        pytest.skip("no javac and jar on the PATH (a JDK), for the stand-in of TrackMate")
    sources, classes = folder / "sources", folder / "classes"
    for source in SOURCES.rglob("*.java"):
        target = sources / str(source.relative_to(SOURCES)).replace("jaqaman", package)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text().replace("tracking.jaqaman", f"tracking.{package}"))
    files = [str(path) for path in sources.rglob("*.java")]
    subprocess.run(["javac", "--release", "11", "-d", classes, *files], check=True)
    jar = folder / "jars" / name
    jar.parent.mkdir()
    subprocess.run(["jar", "cf", jar, "-C", classes, "."], check=True)
    return jar


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """Return the folder of jars with the stand-in."""
    return compile_jar(tmp_path_factory.mktemp("trackmate"), "TrackMate-7.0.0.jar").parent


@pytest.fixture
def command(family_python, tmp_path):
    """Start the executable on a table: exit code, stderr, tracks, edges, TrackMate file."""
    python = family_python("trackmate")

    def run(table, *words, **environment):
        tables.write_table(tmp_path / "cells.parquet", table, "cells")
        out = {n: tmp_path / n for n in ("t.parquet", "e.parquet", "t.xml")}
        line = [python, PROJECT / "bin" / "track_trackmate.py"]
        line += ["--table", tmp_path / "cells.parquet", "--out-tracks", out["t.parquet"]]
        line += ["--out-edges", out["e.parquet"], "--out-trackmate", out["t.xml"], *words]
        env = {k: v for k, v in os.environ.items() if k not in ("CYTOLOOM_FIJI", "JAVA_HOME")}
        done = subprocess.run(
            [str(word) for word in line],
            capture_output=True, text=True, check=False, timeout=300,
            env=env | {"CYTOLOOM_CACHE": str(tmp_path / "cache")} | environment,
        )  # fmt: skip
        if done.returncode:
            return done.returncode, done.stderr.strip(), None, None, None
        return (
            0,
            done.stderr,
            tables.read_table(out["t.parquet"], "tracks"),
            tables.read_table(out["e.parquet"], "edges"),
            out["t.xml"],
        )

    return run


def movie(missing=((2, 4),), n=5, frames=10):
    """Cells that move apart from each other; some are missing in a frame."""
    rng = np.random.default_rng(0)
    walk = rng.normal(0, 0.5, (n, frames, 2))
    points = [
        (t, n - i, 20 * i + 10 + walk[i, t, 0], 50 + t + walk[i, t, 1])
        for i in range(n)
        for t in range(frames)
        if (i, t) not in missing
    ]
    return cells(points)


def links(edges):
    return sorted(edges[["frame", "label", "next_frame", "next_label"]].to_numpy().tolist())


def laptrack(table, tmp_path, **arguments):
    tables.write_table(tmp_path / "c.parquet", table, "cells")
    out = [tmp_path / "lt.parquet", tmp_path / "le.parquet"]
    track_laptrack.main(
        table=str(tmp_path / "c.parquet"), out_tracks=out[0], out_edges=out[1], **arguments
    )
    return tables.read_table(out[0], "tracks"), tables.read_table(out[1], "edges")


def test_spots_in_links_and_trackmates_file_out(command, stand_in, tmp_path):
    table = movie()
    code, text, found, edges, xml = command(table, "--fiji", stand_in)
    assert code == 0, text
    tracks, wanted = laptrack(table, tmp_path)
    assert links(edges) == links(wanted)
    assert "gap" in set(edges["link"])
    ids = ["frame", "label", "track_id", "tree_id"]
    pd.testing.assert_frame_equal(found[ids], tracks[ids])
    model = trackmate_xml.read(xml)
    assert len(model.spots) == len(table)
    assert len(model.edges) == len(edges)
    assert (model.space_unit, model.time_unit, model.frame_interval) == (
        "micrometer", "second", 60.0,
    )  # fmt: skip
    nodes = table.sort_values(["frame", "label"])
    spots = model.spots.sort_values("id")
    np.testing.assert_array_equal(spots["x"], nodes["x_um"])
    np.testing.assert_array_equal(spots["label"], nodes["label"])
    assert 'TRACKER_NAME="SIMPLE_SPARSE_LAP_TRACKER"' in xml.read_text()


@pytest.mark.slow
def test_distances_are_in_pixels_or_micrometre(command, stand_in):
    table = cells([(0, 1, 10, 10), (1, 1, 10, 20)])  # 10 px, 5 um
    for unit, limit, linked in (("px", 9.9, 0), ("px", 10.1, 1), ("um", 4.9, 0), ("um", 5.1, 1)):
        words = ["--unit", unit, "--linking_max_distance", limit, "--no_gap_closing"]
        assert len(command(table, "--fiji", stand_in, *words)[3]) == linked


@pytest.mark.slow
def test_an_empty_frame_counts_as_a_gap(command, stand_in):
    table = cells([(t, 1, 10, 10) for t in (0, 1, 4, 5)])
    assert len(command(table, "--fiji", stand_in, "--max_frame_gap", "2")[3]) == 2
    assert len(command(table, "--fiji", stand_in, "--max_frame_gap", "3")[3]) == 3


def test_a_split_takes_the_lap_tracker(command, stand_in):
    table = cells(
        [(t, 1, 50, 50) for t in range(3)]
        + [(t, n, 44 + 4 * n, 50) for t in (3, 4) for n in (1, 2)]
    )
    words = ["--linking_max_distance", 5, "--splitting_max_distance", 8]
    code, text, found, edges, xml = command(table, "--fiji", stand_in, *words)
    assert code == 0, text
    assert (edges["link"] == "split").sum() == 2
    assert set(found["generation"].dropna()) == {0, 1}
    assert 'TRACKER_NAME="SPARSE_LAP_TRACKER"' in xml.read_text()


@pytest.mark.slow
def test_filters_of_spots_and_tracks(command, stand_in):
    table = movie(missing=[(0, t) for t in range(3, 10)])
    table["area"] = np.where(table["label"] == 1, 5, 100)
    table["area_um2"] = table["area"] / 4
    _, _, found, _, _ = command(table, "--fiji", stand_in, "--spot_filter", "AREA > 10")
    assert found.loc[found["label"] == 1, "track_id"].isna().all()
    assert found.loc[found["label"] != 1, "track_id"].notna().all()
    _, _, found, edges, _ = command(table, "--fiji", stand_in, "--track_filter", "NUMBER_SPOTS > 5")
    assert found["track_id"].nunique() == 4
    assert set(found.loc[found["track_id"].isna(), "label"]) == {5}
    assert len(edges) == 36
    words = ["--quality", "area", "--initial_spot_filter", 10]
    _, _, found, _, xml = command(table, "--fiji", stand_in, *words)
    assert found.loc[found["label"] == 1, "track_id"].isna().all()
    assert len(trackmate_xml.read(xml).spots) == (table["area"] == 100).sum()
    code, text, *_ = command(table, "--fiji", stand_in, "--spot_filter", "AREAS > 10")
    assert code == 2
    assert "no feature AREAS; there are AREA," in text


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["none", "one frame", "none passes"])
def test_little_or_nothing_to_track(command, stand_in, kept):
    table = movie()
    part = table[table["frame"] == 3] if kept == "one frame" else table[:0]
    words = ["--spot_filter", "RADIUS > 99"] if kept == "none passes" else []
    code, text, found, edges, xml = command(table if words else part, "--fiji", stand_in, *words)
    assert code == 0, text
    assert len(edges) == 0
    assert found["track_id"].notna().sum() == (5 if kept == "one frame" else 0)
    assert len(trackmate_xml.read(xml).edges) == 0


@pytest.mark.slow
def test_trackmate_before_7_10(command, tmp_path):
    folder = compile_jar(tmp_path, "TrackMate_-7.0.0.jar", "sparselap").parent
    code, text, _, edges, _ = command(movie(), "--fiji", folder)
    assert code == 0, text
    assert len(edges) == 44


@pytest.mark.slow
def test_where_the_jars_may_be(command, stand_in, tmp_path):
    jar = stand_in / "TrackMate-7.0.0.jar"
    fiji = tmp_path / "Fiji.app"
    (fiji / "plugins").mkdir(parents=True)
    (fiji / "jars").mkdir()
    shutil.copy(jar, fiji / "plugins")
    table = movie()
    assert command(table, "--fiji", fiji)[0] == 0
    assert command(table, CYTOLOOM_FIJI=str(tmp_path))[0] == 0
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache" / "fiji").symlink_to(fiji)
    assert command(table)[0] == 0
    home = tmp_path / "m2" / "sc" / "fiji" / "TrackMate" / "7.0.0"
    home.mkdir(parents=True)
    shutil.copy(jar, home)
    (home / "TrackMate-7.0.0.pom").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>sc.fiji</groupId>"
        "<artifactId>TrackMate</artifactId><version>7.0.0</version></project>"
    )
    known = {"M2_REPO": str(tmp_path / "m2")}
    code, text, *_ = command(table, "--fiji", "sc.fiji:TrackMate:7.0.0", **known)
    assert code == 0, text
    code, text, *_ = command(table, "--fiji", "sc.fiji:TrackMate:7.14.0", **known)
    assert code == 66
    assert len(text.splitlines()) == 1
    assert "mvn dependency:get -Dartifact=sc.fiji:TrackMate:7.14.0" in text


def test_absent_jars_are_one_line(command, tmp_path):
    for words, said in (
        ((), "set fiji (or $CYTOLOOM_FIJI)"),
        (("--fiji", tmp_path / "nowhere"), "no such folder"),
        (("--fiji", tmp_path), "holds no jars"),
    ):
        code, text, *_ = command(movie(), *words)
        assert code == 66
        assert len(text.splitlines()) == 1
        assert said in text


def test_a_jar_that_lacks_what_is_called(command, tmp_path):
    (tmp_path / "TrackMate-0.jar").write_bytes(
        b"PK\x05\x06" + bytes(18)  # an empty archive
    )
    code, text, *_ = command(movie(), "--fiji", tmp_path)
    assert code == 65
    assert "lack the Java class fiji.plugin.trackmate.TrackMate" in text


def test_java_starts_with_imagej(family_python, tmp_path):
    """A real jar of Maven Central, where one is at hand ($CYTOLOOM_IJ, the local repository)."""
    known = Path.home() / ".m2" / "repository" / "net" / "imagej" / "ij"
    found = [Path(os.environ.get("CYTOLOOM_IJ", "-")), *known.glob("*/ij-*.jar")]
    jar = next((path for path in found if path.is_file()), None)
    if jar is None:
        pytest.skip(
            "no ij jar ($CYTOLOOM_IJ, or mvn dependency:get -Dartifact=net.imagej:ij:1.54p)"
        )
    code = (
        "import os, sys; from pathlib import Path; from cytoloom import jvm;"
        f"print(jvm.start([Path({str(jar)!r})], heap_mb=200));"
        "image = jvm.find_class('ij.process.FloatProcessor')(30, 20);"
        "print(jvm.find_class('ij.ImagePlus')('a', image).getWidth());"
        "sys.stdout.flush(); os._exit(0)"
    )
    done = subprocess.run(
        [family_python("trackmate"), "-c", code],
        capture_output=True, text=True, check=True, timeout=120, cwd=PROJECT / "bin",
    )  # fmt: skip
    assert done.stdout.split()[1] == "30"


def test_filters_are_read():
    read = track_trackmate.conditions(["NUMBER_SPOTS > 5", "QUALITY<=-1e-3"], "track_filter")
    assert read == [("NUMBER_SPOTS", True, 5.0), ("QUALITY", False, -0.001)]
    for wrong in ("NUMBER_SPOTS", "a > 1", "A == 2", "A > 1-1"):
        with pytest.raises(UsageError, match="write a feature of TrackMate"):
            track_trackmate.conditions([wrong], "spot_filter")


def test_jars_without_trackmate(tmp_path):
    (tmp_path / "ij.jar").write_bytes(b"")
    with pytest.raises(InputMissing, match="no TrackMate among its 1 jars"):
        jvm.find_jars(str(tmp_path), "TrackMate")


SETTINGS = {
    "without_gap_closing": ["--no_gap_closing"],
    "with_gap_closing": [],
    "with_splitting": ["--splitting_max_distance", 15],
    "with_merging": ["--merging_max_distance", 15],
    "with_splitting_merging": ["--splitting_max_distance", 15, "--merging_max_distance", 15],
}


@pytest.mark.parametrize("name", SETTINGS)
def test_trackmate_real(command, name):
    """TrackMate itself, where $CYTOLOOM_FIJI names its jars: its own results, link by link."""
    fiji = os.environ.get("CYTOLOOM_FIJI")
    if not fiji:
        pytest.skip(
            "no TrackMate ($CYTOLOOM_FIJI: a Fiji.app folder, a folder of jars, a coordinate)"
        )
    spots = pd.read_csv(LAPTRACK / f"trackmate_tracks_{name}_spots.csv", index_col=0)
    edges = pd.read_csv(LAPTRACK / f"trackmate_tracks_{name}_edges.csv", index_col=0)
    columns = ["frame", "id", "position_y", "position_x"]
    points = list(spots[columns].itertuples(index=False, name=None))
    table = cells(points, pixel_size=[1.0, 1.0, 1.0])
    words = ["--fiji", fiji, "--max_frame_gap", 2, *SETTINGS[name]]
    code, text, _, found, xml = command(table, *words)
    assert code == 0, text
    wanted = {frozenset(e) for e in edges[["spot_source_id", "spot_target_id"]].to_numpy().tolist()}
    assert {frozenset(e) for e in found[["label", "next_label"]].to_numpy().tolist()} == wanted
    model = trackmate_xml.read(xml)
    assert len(model.spots) == len(spots)
    assert len(model.edges) == len(wanted)
