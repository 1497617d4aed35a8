"""analyse_kinematics and deliver_tracks: tables in, tables and other programs' files out."""

import json
import subprocess
import sys
from pathlib import Path

import analyse_kinematics
import deliver_tracks
import numpy as np
import pyarrow.parquet as pq
import pytest
import track_relabel
from cells_table import cells, tracked

from cytoloom import images, layouts, tables, tracks
from cytoloom.errors import BadData, UsageError
from cytoloom.exchange import ctc, geff, napari, trackmate_xml
from cytoloom.regions import Region

BIN = Path(analyse_kinematics.__file__).parent


def walkers(**options):
    rng = np.random.default_rng(0)
    return tracked(
        {
            n: [(f, 0.0, *p) for f, p in enumerate(rng.normal(size=(9, 2)).cumsum(axis=0))]
            for n in (1, 2, 3)
        },
        **options,
    )


@pytest.fixture
def kinematics(tmp_path):
    """Return a function that runs the step and reads its three tables."""

    def run(table, **arguments):
        tables.write_table(tmp_path / "in.parquet", table, "tracks")
        names = ("tracks", "msd", "track_summary")
        out = {f"out_{n}": tmp_path / f"{n}.parquet" for n in names}
        analyse_kinematics.main(table=str(tmp_path / "in.parquet"), **out, **arguments)
        return [tables.read_table(tmp_path / f"{n}.parquet", n) for n in names]

    return run


def test_all_rows_and_channels_are_kept(kinematics):
    table = walkers(channels=("a", "b"))
    table.loc[table["label"] == 3, "track_id"] = None
    found, msd, summary = kinematics(table)
    assert len(found) == len(table)
    assert found.loc[found["label"] == 3, "path_length_um"].isna().all()
    by_channel = [found.loc[found["channel"] == c, "speed_um_per_s"].to_numpy() for c in "ab"]
    np.testing.assert_array_equal(*by_channel)
    assert summary["track_id"].tolist() == [1, 2]
    assert set(msd["track_id"].dropna()) == {1, 2}
    assert msd["track_id"].isna().sum() == 8


def test_units_stand_in_the_file(kinematics, tmp_path):
    kinematics(walkers())
    schema = pq.read_schema(tmp_path / "tracks.parquet")
    assert schema.field("speed_um_per_s").metadata[b"unit"] == b"um/s"
    assert schema.field("turning_angle_rad").metadata[b"unit"] == b"rad"


def test_without_a_frame_interval_times_are_frames(kinematics, tmp_path, caplog):
    found, msd, _ = kinematics(walkers(frame_interval=None))
    assert sum("frame interval is not known" in r.message for r in caplog.records) == 1
    assert found["dt_s"].dropna().unique().tolist() == [1.0]
    assert (msd["lag_s"] == msd["lag_frames"]).all()
    schema = pq.read_schema(tmp_path / "tracks.parquet")
    assert schema.field("speed_um_per_s").metadata[b"unit"] == b"um/frame"


def test_running_twice_changes_nothing(kinematics):
    found, _, _ = kinematics(walkers())
    again, _, _ = kinematics(found)
    assert again.equals(found)


def test_no_tracks_give_empty_tables(kinematics):
    found, msd, summary = kinematics(walkers()[:0])
    assert len(found) == len(msd) == len(summary) == 0
    assert "speed_um_per_s" in found.columns


def test_from_origin_as_pycyto(kinematics):
    table = walkers()
    _, msd, _ = kinematics(table, msd_from=analyse_kinematics.From.origin, max_lag=3)
    one = table[table["label"] == 1].sort_values("frame")
    wanted = (one["x_um"] - one["x_um"].iloc[0]) ** 2 + (one["y_um"] - one["y_um"].iloc[0]) ** 2
    found = msd[(msd["track_id"] == 1).fillna(False)]
    np.testing.assert_allclose(found["msd_um2"], wanted.iloc[1:4])
    assert found["n"].tolist() == [1, 1, 1]


@pytest.fixture
def lineage(tmp_path):
    """Write tables of a dividing cell and a lone one, and their label image."""
    points = [
        (0, 1, 4, 4),
        (1, 3, 4, 6),
        (2, 1, 2, 9),
        (2, 2, 8, 9),
        (3, 1, 1, 9),
        (3, 2, 9, 9),
        (1, 5, 14, 14),
        (3, 7, 18, 18),
    ]
    table = cells(points)
    nodes = tracks.objects(table)
    kept = nodes[nodes["label"] != 7].reset_index(drop=True)
    place = {(f, n): i for i, (f, n) in enumerate(zip(kept["frame"], kept["label"], strict=True))}
    links = [
        ((0, 1), (1, 3)),
        ((1, 3), (2, 1)),
        ((1, 3), (2, 2)),
        ((2, 1), (3, 1)),
        ((2, 2), (3, 2)),
    ]
    found, edges = tracks.assemble(table, kept, [(place[a], place[b]) for a, b in links])
    tables.write_table(tmp_path / "tracks.parquet", found, "tracks")
    tables.write_table(tmp_path / "edges.parquet", edges, "edges")
    data = np.zeros((4, 1, 24, 24), dtype=np.uint32)
    for frame, label, y, x in points:
        data[frame, 0, y : y + 2, x : x + 2] = label
    like = layouts.Layout(
        shape=data.shape,
        dtype=data.dtype,
        chunks=(1, 1, 24, 24),
        shards=(4, 1, 24, 24),
        pixel_size=(2.0, 0.5, 0.5),
        frame_interval=60.0,
        position="p1",
        channel="TCell",
        kind="label",
    )
    images.write_part(
        tmp_path / "label.zarr", data, region=Region.whole(data.shape), like=like, kind="label"
    )
    track_relabel.main(
        label=str(tmp_path / "label.zarr"),
        table=str(tmp_path / "tracks.parquet"),
        out_trackedlabel=tmp_path / "tracked.zarr",
    )
    return tmp_path


def deliver(folder, label="tracked.zarr", **out):
    deliver_tracks.main(
        table=str(folder / "tracks.parquet"),
        edges=str(folder / "edges.parquet"),
        label=str(folder / label),
        **out,
    )


def test_all_formats_hold_the_same_tracks(lineage):
    out = {n: lineage / n for n in ("geff", "trackmate", "napari", "napari_graph", "ctc")}
    deliver(lineage, **{f"out_{n}": p for n, p in out.items()})
    edges = tables.read_table(lineage / "edges.parquet", "edges")
    spots, links = geff.read(out["geff"])
    assert len(spots) == 7
    assert len(links) == len(edges) == 5
    model = trackmate_xml.read(out["trackmate"])
    assert len(model.spots) == 7
    assert (
        model.edges[["source", "target"]].to_numpy().tolist()
        == links[["source", "target"]].to_numpy().tolist()
    )
    assert model.pixel_size == (2.0, 0.5, 0.5)
    points, graph = napari.read(out["napari"], out["napari_graph"])
    assert len(points) == 7
    lines, masks = ctc.read(out["ctc"])
    assert {n: [p] for n, _, _, p in lines.tolist() if p} == graph
    tracked_label = images.open_layer(lineage / "tracked.zarr").read()
    assert all(np.array_equal(m, tracked_label[f, 0]) for f, m in masks.items())


def test_ctc_from_either_label_image(lineage):
    for name in ("tracked.zarr", "label.zarr"):
        deliver(lineage, name, out_ctc=lineage / f"ctc.{name}")
    one, two = (ctc.read(lineage / f"ctc.{n}") for n in ("tracked.zarr", "label.zarr"))
    assert np.array_equal(one[0], two[0])
    assert all(np.array_equal(one[1][f], two[1][f]) for f in one[1])


def test_edges_of_another_tracker_are_refused(lineage):
    edges = tables.read_table(lineage / "edges.parquet", "edges")
    tables.write_table(lineage / "edges.parquet", edges[1:], "edges")
    with pytest.raises(BadData, match="the edges do not give the"):
        deliver(lineage, out_geff=lineage / "g")
    assert not (lineage / "g").exists()


def test_needs_something_to_write_and_a_label_for_ctc(lineage):
    with pytest.raises(UsageError, match="nothing to write"):
        deliver(lineage)
    with pytest.raises(UsageError, match="needs the label image"):
        deliver_tracks.main(
            table=str(lineage / "tracks.parquet"),
            edges=str(lineage / "edges.parquet"),
            out_ctc=lineage / "c",
        )


def test_trackmate_without_a_label_image_takes_the_size_from_the_boxes(lineage):
    deliver_tracks.main(
        table=str(lineage / "tracks.parquet"),
        edges=str(lineage / "edges.parquet"),
        out_trackmate=lineage / "t.xml",
    )
    assert 'width="19" height="19" nslices="1" nframes="4"' in (lineage / "t.xml").read_text()


@pytest.mark.slow
def test_command_lines_leave_provenance(lineage):
    folder = lineage
    commands = (
        [
            "analyse_kinematics.py",
            "--table",
            folder / "tracks.parquet",
            "--out-tracks",
            folder / "k.parquet",
            "--out-msd",
            folder / "m.parquet",
        ],
        [
            "deliver_tracks.py",
            "--table",
            folder / "tracks.parquet",
            "--edges",
            folder / "edges.parquet",
            "--out-geff",
            folder / "g.geff",
        ],
    )
    for command in commands:
        subprocess.run([sys.executable, BIN / command[0], *command[1:]], check=True)
    records = [json.loads(p.read_text()) for p in folder.glob("*.provenance.json")]
    assert {r["executable"] for r in records} == {"analyse_kinematics", "deliver_tracks"}
