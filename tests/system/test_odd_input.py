"""Odd but legal input gives right results: pixels, calibration, names, empty and huge things."""

from __future__ import annotations

import numpy as np
import pandas as pd
import planned
import pytest
import tifffile
from odd_files import cells, pipeline, store, write

from cytoloom import images

IMAGE = cells()
MEASURE = {"label_to_sparse": {"image_label_pair": [["A", "A"]], "output": True}}


def done(folder, channels, *words, delivery=False, **keys):
    """Run a pipeline to its end; fail with its words."""
    run = planned.run(folder, pipeline(channels, **keys), *words, delivery=delivery)
    assert run.code == 0, run.err
    return run


def layer(run, tag="ingest", channel="A", kind="image"):
    return images.open_layer(run.paths(rf"p1\.{tag}\.{channel}\.{kind}\.0000\.zarr")[0])


# ---- which pixels, and how large they are


def test_range_takes_the_right_pixels_and_scales_the_calibration(tmp_path):
    stack = np.arange(4 * 5 * 20 * 30).reshape(4, 5, 20, 30).astype(np.uint16)
    write(tmp_path / "a.tif", stack)
    wanted = {"t": [1, 4, 2], "z": [1, 4, 2], "y": [5, 15], "x": [3, None, 3]}
    run = done(tmp_path, {"A": "a.tif"}, image_range=wanted, spacing=[3, 0.5, 0.25])
    np.testing.assert_array_equal(run.image("ingest", "A"), stack[1:4:2, 1:4:2, 5:15, 3::3])
    assert layer(run).pixel_size == (6.0, 0.5, 0.75)
    assert layer(run).frame_interval == 120


def test_one_frame_of_a_range(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    run = done(tmp_path, {"A": "a.tif"}, image_range={"t": [2, 3]}, **MEASURE_AND_SEGMENT)
    np.testing.assert_array_equal(run.image("ingest", "A")[:, 0], IMAGE[2:3])
    assert set(run.table("LabelToSparse", "A", "cells").frame) == {0}


MEASURE_AND_SEGMENT = {
    "segmentation": [{"name": "Threshold", "tag": "Seg", "channels": "all"}],
    **MEASURE,
}


def test_a_range_beyond_the_end_warns(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    run = done(tmp_path, {"A": "a.tif"}, image_range={"t": [0, 100]})
    assert "image_range.t stops at 100, beyond the 3" in run.plan.err
    assert run.image("ingest", "A").shape[0] == 3


def test_spacing_reaches_the_measurements(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    one = done(tmp_path / "1", {"A": "../a.tif"}, spacing=[1, 1], **MEASURE_AND_SEGMENT)
    two = done(tmp_path / "2", {"A": "../a.tif"}, spacing=[2, 0.5], **MEASURE_AND_SEGMENT)
    first, second = (run.table("LabelToSparse", "A", "cells") for run in (one, two))
    np.testing.assert_array_equal(first.area, second.area)
    np.testing.assert_allclose(first.area_um2, first.area)
    np.testing.assert_allclose(second.y_um, 2 * first.y)
    np.testing.assert_allclose(second.x_um, first.x / 2)


# ---- forms of files


@pytest.mark.parametrize("version", [2, 3])
def test_stores_of_both_versions(tmp_path, version):
    store(tmp_path / "a.zarr", IMAGE, version=version, chunks=(1, 32, 48), scale=(30, 0.3, 0.2))
    run = done(tmp_path, {"A": "a.zarr"}, spacing=None, frame_interval=None)
    np.testing.assert_array_equal(run.image("ingest", "A")[:, 0], IMAGE)
    assert layer(run).pixel_size == (1.0, 0.3, 0.2)
    assert layer(run).frame_interval == 30


@pytest.mark.parametrize("version", [2, 3])
def test_a_chunk_without_a_file_is_empty_and_said(tmp_path, version):
    store(tmp_path / "a.zarr", IMAGE, version=version, chunks=(1, 32, 48))
    place = ("0.0.0",) if version == 2 else ("c", "0", "0", "0")
    (tmp_path / "a.zarr" / "0").joinpath(*place).unlink()
    run = done(tmp_path, {"A": "a.zarr"})
    assert "1 of 12 chunks have no file and are read as 0" in run.plan.err
    expected = IMAGE.copy()
    expected[0, :32, :48] = 0
    np.testing.assert_array_equal(run.image("ingest", "A")[:, 0], expected)


def test_pixel_size_of_nothing_is_unknown(tmp_path):
    store(tmp_path / "a.zarr", IMAGE, scale=(0, -1, 0))
    run = done(tmp_path, {"A": "a.zarr"}, spacing=None, frame_interval=None)
    assert layer(run).pixel_size == (1.0, 1.0, 1.0)
    assert "1 um is assumed" in run.plan.err


def test_colour_has_three_channels(tmp_path):
    colours = np.stack([np.full((16, 16), value, np.uint8) for value in (1, 2, 3)], -1)
    stack = np.stack([colours + 10 * t for t in range(4)])
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="rgb")
    run = done(tmp_path, {"A": {"path": "a.tif", "channel": 2}})
    assert run.image("ingest", "A").max((1, 2, 3)).tolist() == [3, 13, 23, 33]


def test_frames_that_look_like_colour(tmp_path):
    with pytest.warns(DeprecationWarning, match="RGB"):
        tifffile.imwrite(tmp_path / "a.tif", IMAGE)  # three frames, taken for red, green, blue
    run = done(tmp_path, {"A": {"path": "a.tif", "axes": "TYX"}})
    np.testing.assert_array_equal(run.image("ingest", "A")[:, 0], IMAGE)


def test_folder_of_frames_in_natural_order_beside_other_things(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    for number in range(12):
        write(folder / f"t{number}.tif", np.full((8, 8), number, np.uint16))
    (folder / "Thumbs.db").write_text("x")
    (folder / "notes.txt").write_text("x")
    (folder / "._t3.tif").write_bytes(b"\0\5\x16\7")
    run = done(tmp_path, {"A": "d"})
    assert run.image("ingest", "A")[:, 0, 0, 0].tolist() == list(range(12))


TYPES = ["u1", "<u2", ">u2", "i2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_of_pixel(tmp_path, dtype):
    image = IMAGE.astype(dtype)
    if np.dtype(dtype).kind == "i":
        image[0, 0, :5] = -7
    write(tmp_path / "a.tif", image)
    whole = {"lp": 0, "up": 100}
    steps = [
        {"name": "PercentileNormalization", "tag": "N", "channels": "all", "args": whole},
        {"name": "GammaCorrection", "tag": "G", "channels": "all", "args": {"gamma": 0.9}},
    ]
    otsu = [{"name": "Threshold", "channels": ["A"], "args": {"method": "otsu"}}]
    keys = {"preprocessing": steps, "segmentation": otsu, **MEASURE}
    run = done(tmp_path, {"A": "a.tif"}, **keys)
    np.testing.assert_array_equal(run.image("ingest", "A")[:, 0], image)
    highest = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    for tag in ("N", "G"):
        pixels = run.image(tag, "A")[:, 0]
        assert pixels.dtype == np.dtype(dtype).newbyteorder("=")
        assert pixels.min() == 0
        np.testing.assert_allclose(pixels[image == 100], highest, rtol=1e-3)
    assert len(run.table("LabelToSparse", "A", "cells")) == 9


# ---- names

NAMES = ["a b.tif", "it's.tif", 'q"uote.tif', "größe µ.tif", "-dash.tif", "$HOME.tif", "a;b.tif"]
NAMES += ["a*b.tif", "a[1].tif", "a=b,c.tif", "#x.tif", "\\back.tif", "🧬.tif"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files(tmp_path, name):
    (tmp_path / "-d 'é").mkdir()
    for path in (name, f"-d 'é/{name}"):
        write(tmp_path / path, IMAGE)
        run = done(tmp_path, {"A": path})
        np.testing.assert_array_equal(run.image("ingest", "A")[:, 0], IMAGE)


@pytest.mark.slow
def test_channels_and_positions_whose_names_fall_together(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    write(tmp_path / "b.tif", cells(places=((30, 30),)))
    rows = [("w 1", "a b", "a"), ("w 1", "a_b", "b"), ("w_1", "a b", "b"), ("w_1", "a_b", "a")]
    text = "".join(f"{position},{channel},{file}.tif\n" for position, channel, file in rows)
    (tmp_path / "s.csv").write_text("position,channel,path\n" + text)
    run = done(
        tmp_path,
        ["a b", "a_b"],
        delivery=True,
        input="s.csv",
        segmentation=[{"name": "Threshold", "tag": "Seg", "channels": "all"}],
        label_to_sparse={"image_label_pair": [["a b", "a b"], ["a_b", "a_b"]], "output": True},
    )
    for channel, slug, counts in (("a b", "a_b", [9, 3]), ("a_b", "a_b_2", [3, 9])):
        cells_ = pd.read_parquet(run.files["tables"] / f"LabelToSparse.{slug}.cells.parquet")
        assert set(cells_.channel) == {channel}
        assert [sum(cells_.position == name) for name in ("w 1", "w_1")] == counts
    for position in ("w_1", "w_1_2"):
        labels = run.files[f"{position}.ome.zarr"] / "labels"
        assert len([p for p in labels.iterdir() if p.is_dir()]) == 2


SHEETS = {
    "semicolons": "position;channel;path\nw;A;a.tif\n",
    "tabs": "position\tchannel\tpath\nw\tA\ta.tif\n",
    "blanks": "position, channel, path\n w, A, a.tif\n\n",
    "Windows": "\ufeffposition,channel,path\r\nw,A,a.tif\r\n",
    "quotes": 'position,channel,path\n"w","A","a.tif"\n',
}


@pytest.mark.parametrize("case", SHEETS)
def test_forms_of_sample_sheets(tmp_path, case):
    write(tmp_path / "a.tif", IMAGE)
    (tmp_path / "s.csv").write_bytes(SHEETS[case].encode())
    run = done(tmp_path, ["A"], input="s.csv")
    np.testing.assert_array_equal(run.image("ingest", "A", position="w")[:, 0], IMAGE)


# ---- labels and tables that are given


def test_sparse_labels_up_to_uint32(tmp_path):
    labels = np.zeros((2, 32, 32), np.int64)
    places = {1: (10, 10), 4_000_000_000: (20, 20), 2**32 - 1: (2, 2)}
    for label, (y, x) in places.items():
        labels[:, y : y + 4, x : x + 4] = label
    write(tmp_path / "l.tif", labels)
    write(tmp_path / "a.tif", np.ones(labels.shape, np.uint8))
    run = done(
        tmp_path,
        {"A": "a.tif"},
        labels={"A": "l.tif"},
        segmentation=[{"name": "Refine", "channels": ["A"], "args": {"min_size": 2}}],
        **MEASURE,
        tracking=[{"name": "LapTrack", "channels": ["A"]}],
        postprocessing=[
            {"name": "CellTriangulation", "channels": ["A"], "output_channel_name": ["N"]},
            {"name": "KernelDensityEstimation", "channels": ["A"], "output_channel_name": ["D"]},
        ],
    )
    table = run.table("LapTrack", "A", "tracks")
    assert table.label.tolist() == sorted(places) * 2
    assert set(table.area) == {16}
    assert table.groupby("label").track_id.nunique().tolist() == [1, 1, 1]
    for label, (y, x) in places.items():
        row = table[table.label == label].iloc[0]
        assert (row.y, row.x) == (y + 1.5, x + 1.5)


@pytest.mark.slow
def test_seventy_thousand_labels_in_one_image(tmp_path):
    n = 265
    labels = np.zeros((1, 2 * n, 2 * n), np.uint32)
    labels[0, ::2, ::2] = np.arange(1, n * n + 1).reshape(n, n)
    write(tmp_path / "l.tif", labels)
    write(tmp_path / "a.tif", (labels % 60000).astype(np.uint16))
    steps = {"tracking": [{"name": "LapTrack", "channels": ["A"]}]}
    run = done(tmp_path, {"A": "a.tif"}, labels={"A": "l.tif"}, **MEASURE, **steps)
    table = run.table("LabelToSparse", "A", "cells")
    assert table.label.tolist() == list(range(1, n * n + 1))
    np.testing.assert_array_equal(table.intensity_mean, table.label % 60000)
    assert layer(run, kind="label").read().max() == n * n
    assert run.table("LapTrack", "A", "tracks").track_id.nunique() == n * n


TABLES = {
    "least": "frame,label,y,x\n0,1,3,4\n1,1,4,5\n2,7,5,6\n",
    "semicolons": "frame;label;y;x\n0;1;3;4\n1;1;4;5\n2;7;5;6\n",
    "pyCyto": "frame,label,x,y,i,j\n0,1,9,9,3,4\n1,1,9,9,4,5\n2,7,9,9,5,6\n",
    "unsorted, more columns": "größe,x,y,label,frame\n1,6,5,7,2\n2,4,3,1,0\n3,5,4,1,1\n",
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_of_the_user(tmp_path, case):
    write(tmp_path / "a.tif", IMAGE)
    (tmp_path / "t.csv").write_text(TABLES[case])
    run = done(
        tmp_path,
        {"A": "a.tif"},
        tables={"A": "t.csv"},
        tracking=[{"name": "LapTrack", "channels": ["A"]}],
        postprocessing=[{"name": "Kinematics", "channels": ["A"]}],
    )
    table = run.table("LapTrack", "A", "tracks")
    assert table[["frame", "label", "y", "x"]].to_numpy().tolist() == [
        [0, 1, 3, 4],
        [1, 1, 4, 5],
        [2, 7, 5, 6],
    ]
    assert table.y_um.tolist() == [1.5, 2.0, 2.5]
    assert table.track_id.nunique() == 1
    assert table.solidity.isna().all(), "what was not measured is empty"


def test_a_table_is_taken_as_it_is(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    (tmp_path / "t.csv").write_text("frame,label,y,x,score\n0,1,3,4,7\n1,1,4,5,\n")
    condition = {"column": "score", "operation": ">", "value": 3}
    run = done(
        tmp_path,
        {"A": "a.tif"},
        tables={"A": "t.csv"},
        image_range={"t": [1, 3]},
        postprocessing=[{"name": "FeatureFilter", "channels": ["A"], "args": condition}],
    )
    assert "not cut by image_range" in run.plan.err
    assert "1 rows have no value in score" in run.err
    assert run.table("FeatureFilter", "A", "table").frame.tolist() == [0]


# ---- little or nothing to see

EVERYTHING = {
    "preprocessing": [{"name": "PercentileNormalization", "tag": "N", "channels": "all"}],
    "segmentation": [
        {"name": "Threshold", "tag": "Seg", "channels": "all"},
        {"name": "Refine", "tag": "R", "channels": "all", "args": {"expand": 1}},
    ],
    "label_to_sparse": {"image_label_pair": [["A", "A"], ["B", "B"]]},
    "tracking": [
        {"name": "LapTrack", "channels": ["A"]},
        {"name": "trackpy", "channels": ["B"]},
    ],
    "postprocessing": [
        {
            "name": "CrossCellContactMeasures",
            "tag": "Contact",
            "channels": [["A", "B"]],
            "output_channel_name": ["AB"],
            "args": {"distance": 2},
        },
        {"name": "Kinematics", "channels": ["A", "B"]},
        {"name": "CellKilling", "channels": [["A", "B", "B"]], "output_channel_name": ["K"]},
        {"name": "CellTriangulation", "channels": ["A"], "output_channel_name": ["Net"]},
        {"name": "KernelDensityEstimation", "channels": ["A"], "output_channel_name": ["D"]},
        {
            "name": "CrossTableOperation",
            "channels": [["A", "B"]],
            "args": {"column": "intensity_mean", "operation": "divide"},
        },
        {
            "name": "FeatureFilter",
            "channels": ["A"],
            "args": {"column": "size", "operation": ">", "value": 1e9},
        },
    ],
}
NOTHING = np.full((3, 64, 96), 10, np.uint16)
LITTLE = {
    "constant": (NOTHING, NOTHING * 0),
    "one pixel": (np.ones((1, 1, 1), np.uint8), np.ones((1, 1, 1), np.uint8)),
    "one frame": (IMAGE[:1], cells(1, places=((30, 30),))),
    "no effector": (NOTHING, IMAGE),
    "no target": (IMAGE, NOTHING),
    "an empty frame": (IMAGE, np.stack([IMAGE[0], NOTHING[0], IMAGE[2]])),
    "empty at first": (np.stack([NOTHING[0], IMAGE[1], IMAGE[2]]), IMAGE),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LITTLE)
def test_little_or_nothing_to_see(tmp_path, case):
    first, second = LITTLE[case]
    write(tmp_path / "a.tif", first)
    write(tmp_path / "b.tif", second)
    run = done(tmp_path, {"A": "a.tif", "B": "b.tif"}, delivery=True, **EVERYTHING)
    for channel, tag, image in (("A", "LapTrack", first), ("B", "trackpy", second)):
        table = run.table(tag, channel, "tracks")
        seen = [frame for frame, plane in enumerate(image) if plane.max() > 50]
        assert sorted(set(table.frame)) == seen
        assert len(table) == sum(run.image("R", channel, "label").max((1, 2, 3)))
    assert (run.files["report.html"]).stat().st_size > 1000
    assert not len(run.table("FeatureFilter", "A", "tracks"))


def test_frames_without_a_number_are_named(tmp_path):
    write(tmp_path / "a.tif", np.full((2, 16, 16), np.nan, np.float32))
    run = planned.run(tmp_path, pipeline({"A": "a.tif"}))
    assert (run.code, len(run.err.splitlines())) == (65, 1)
    assert "nothing but NaN" in run.err


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_without_a_number_stay_what_they_are(tmp_path, value):
    image = cells(dtype=np.float32)
    image[0, 0, 0] = value
    write(tmp_path / "a.tif", image)
    write(tmp_path / "b.tif", cells(dtype=np.float32))
    steps = [
        {"name": "PercentileNormalization", "tag": "N", "channels": "all"},
        {
            "name": "CrossChannelCorrelation",
            "tag": "C",
            "channels": [["A", "B"]],
            "output_channel_name": "AB",
        },
    ]
    run = done(tmp_path, {"A": "a.tif", "B": "b.tif"}, preprocessing=steps)
    np.testing.assert_array_equal(run.image("ingest", "A")[:, 0], image)
    normal, other = run.image("N", "A"), run.image("N", "B")
    np.testing.assert_allclose(normal.ravel()[1:], other.ravel()[1:], atol=1e-3)
    assert np.isnan(normal[0, 0, 0, 0]) == np.isnan(value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["background", "cell"])
def test_one_pixel_without_a_number_costs_no_cell(tmp_path, value, where):
    image = cells(dtype=np.float32)
    reference = done(tmp_path / "1", {"A": write_in(tmp_path / "1", image)}, **MEASURE_AND_SEGMENT)
    place = (0, 60, 5) if where == "background" else (0, 15, 15)
    image[place] = value
    write_in(tmp_path / "2", image)
    for patches in ([1, 1], [2, 2]):
        keys = {"patching": {"patch_count": patches}, **MEASURE_AND_SEGMENT}
        run = done(tmp_path / "2", {"A": "a.tif"}, **keys)
        first, second = (r.image("Seg", "A", "label")[:, 0] for r in (reference, run))
        np.testing.assert_array_equal(first[1:], second[1:])
        assert first[0].max() == second[0].max() == 3
        assert np.count_nonzero((first[0] > 0) != (second[0] > 0)) < 20
        table = run.table("LabelToSparse", "A", "cells")
        broken = table.intensity_mean.isna() | np.isinf(table.intensity_mean)
        assert broken.sum() == (where == "cell")


def write_in(folder, image):
    folder.mkdir()
    write(folder / "a.tif", image)
    return "a.tif"


# ---- volumes


def test_volumes_from_threshold_to_contacts(tmp_path):
    z, y, x = np.mgrid[:8, :40, :60]

    def ball(centre, radius):  # a voxel is four times as high as wide
        away = (4 * (z - 4)) ** 2 + (y - 20) ** 2 + (x - centre) ** 2
        return away <= radius**2

    moving = np.stack([10 + 90 * (ball(15 + 2 * t, 8) | ball(47, 6)) for t in range(3)])
    still = np.stack([10 + 90 * ball(32, 8)] * 3)
    write(tmp_path / "a.tif", moving.astype(np.uint16))
    write(tmp_path / "b.tif", still.astype(np.uint16))
    plain = {"smoothing": 0, "local_window": 0, "threshold": 50}
    run = done(
        tmp_path,
        {"A": "a.tif", "B": "b.tif"},
        spacing=[2, 0.5, 0.5],
        segmentation=[{"name": "Threshold", "tag": "S", "channels": "all", "args": plain}],
        label_to_sparse={"image_label_pair": [["A", "A"], ["B", "B"]]},
        tracking=[{"name": "LapTrack", "channels": ["A", "B"]}],
        postprocessing=[
            {
                "name": "CrossCellContactMeasures",
                "tag": "Contact",
                "channels": [["A", "B"]],
                "output_channel_name": ["AB"],
            },
            {"name": "Kinematics", "channels": ["A"]},
        ],
    )
    table = run.table("LapTrack", "A", "tracks")
    assert table.area.tolist() == [ball(15, 8).sum(), ball(47, 6).sum()] * 3
    np.testing.assert_allclose(table.volume_um3, table.area * 0.5)
    np.testing.assert_allclose(table.z_um, 8)
    assert table.area_um2.isna().all()
    moved = table[table.x < 30]
    np.testing.assert_allclose(moved.x_um, [7.5, 8.5, 9.5])
    assert moved.track_id.nunique() == 1
    speed = run.table("Kinematics", "A", "track_summary").mean_speed_um_per_s.max()
    np.testing.assert_allclose(speed, 1 / 60)
    contacts = run.table("Contact", "AB", "contacts")
    shared = [(ball(15 + 2 * t, 8) & ball(32, 8)).sum() * 0.5 for t in range(3)]
    both = contacts[contacts.effector_track_id == moved.track_id.iloc[0]]
    expected = {t: volume for t, volume in enumerate(shared) if volume}
    assert dict(zip(both.frame, both.overlap_um2, strict=True)) == expected


# ---- an earlier run


def test_from_goes_on_with_an_earlier_run(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    first = done(tmp_path / "1", {"A": "../a.tif"}, **MEASURE_AND_SEGMENT)
    listing = tmp_path / "2" / "results" / "pipeline_info" / "files.tsv"
    listing.parent.mkdir(parents=True)
    listing.write_text("".join(f"{name}\t{path}\n" for name, path in first.files.items()))
    words = ("--from", "LabelToSparse")
    second = done(tmp_path / "2", {"A": "../a.tif"}, *words, **MEASURE_AND_SEGMENT)
    assert [name.split()[0] for name in second.jobs] == ["ingest", "LabelToSparse"]
    pd.testing.assert_frame_equal(
        first.table("LabelToSparse", "A", "cells"), second.table("LabelToSparse", "A", "cells")
    )
