"""Tabulation: any tiling gives the same table; empty, sparse, 3-D and broken input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tabulate_merge
import tabulate_regions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops_table

from cytoloom import images, layouts, tables
from cytoloom.errors import BadData
from cytoloom.regions import cut
from cytoloom.schemas import KEYS, SCHEMAS

BIN = Path(tabulate_regions.__file__).parent
PIXEL = (2.0, 0.5, 0.5)


def store(folder, data, kind, *, shards=None, channel="TCell", pixel_size=PIXEL, position="p1"):
    """Write ``data`` of axes tzyx as a layer of one part per shard; return its glob."""
    layout = layouts.Layout(
        shape=data.shape, dtype=data.dtype, chunks=shards or data.shape,
        shards=shards or data.shape, pixel_size=pixel_size, frame_interval=60.0,
        position=position, channel=channel, kind=kind,
    )  # fmt: skip
    for index, region in enumerate(layout.regions()):
        path = folder / f"{position}.s.{channel}.{kind}.{index:04d}.zarr"
        images.write_part(path, data[region.slices], region=region, like=layout, kind=kind)
    return str(folder / f"{position}.s.{channel}.{kind}.*.zarr")


def boxes(shape, seed, *, empty=()):
    """Random boxes with sparse labels, later ones over earlier ones; shape (t, z, y, x)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    for frame in range(shape[0]):
        if frame in empty:
            continue
        for label in rng.choice(2**32 - 1, 12, replace=False) + 1:
            corner = [rng.integers(0, n) for n in shape[1:]]
            edge = [rng.integers(1, 1 + max(1, n // 2)) for n in shape[1:]]
            inside = tuple(slice(c, c + e) for c, e in zip(corner, edge, strict=True))
            labels[(frame, *inside)] = label
    return labels


def tabulate(folder, image, label, steps, shape):
    """Tabulate every region of a grid and merge; return the merged table."""
    for index, region in enumerate(cut(shape, steps)):
        out = folder / f"p1.core.TCell.cells.{index:04d}.parquet"
        tabulate_regions.main(image, label, out, str(region))
    tabulate_merge.main(str(folder / "p1.core.*.parquet"), folder / "merged.parquet")
    return pd.read_parquet(folder / "merged.parquet")


@pytest.mark.parametrize("shape", [(3, 1, 32, 40), (2, 4, 16, 20)])
@given(seed=st.integers(0, 2**32), data=st.data())
@settings(
    deadline=None, max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_tiling_gives_the_same_table(tmp_path_factory, shape, seed, data):
    folder = tmp_path_factory.mktemp("tiling")
    labels = boxes(shape, seed, empty=[1])
    image = np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)
    shards = (1, shape[1] // 2 or 1, shape[2] // 2, shape[3] // 2)
    label = store(folder, labels, "label", shards=shards)
    measured = store(folder, image, "image", shards=shards)
    tabulate_regions.main(measured, label, folder / "whole.parquet")
    steps = [data.draw(st.integers(-(-n // 2), n)) for n in shape]
    merged = tabulate(folder, measured, label, steps, shape)
    whole = pd.read_parquet(folder / "whole.parquet")
    assert len(whole) > shape[0]
    pd.testing.assert_frame_equal(merged, whole, check_exact=True)


@pytest.mark.parametrize("pieces", [False, True])
def test_large_frames_are_read_in_part(tmp_path, monkeypatch, pieces):
    monkeypatch.setattr(tabulate_regions, "LOOKED_THROUGH", 0)
    labels = np.zeros((1, 1, 400, 400), np.uint32)
    labels[0, 0, 90:110, 20:390] = 5
    labels[0, 0, 150:170, 150:160] = 6
    labels[0, 0, 2, 2] = labels[0, 0, 398, 398] = 7 if pieces else 0
    image = np.arange(labels.size, dtype=np.uint32).reshape(labels.shape)
    shards = (1, 1, 100, 100)
    label = store(tmp_path, labels, "label", shards=shards)
    measured = store(tmp_path, image, "image", shards=shards)
    if pieces:  # far pieces of one label cannot be seen, but are not counted twice in silence
        with pytest.raises(BadData, match="label 7"):
            tabulate(tmp_path, measured, label, shards, labels.shape)
        return
    merged = tabulate(tmp_path, measured, label, shards, labels.shape)
    assert merged["label"].tolist() == [5, 6]
    assert merged["intensity_sum"].tolist() == [image[labels == n].sum() for n in (5, 6)]


def test_an_object_beyond_the_parts_at_hand_is_refused(tmp_path):
    labels = np.zeros((1, 1, 20, 60), np.uint32)
    labels[0, 0, 5:9, 12:48] = 3
    label = store(tmp_path, labels, "label", shards=(1, 1, 20, 20))
    measured = store(tmp_path, labels.astype(np.uint8), "image", shards=(1, 1, 20, 20))
    tabulate_regions.main(measured, label, tmp_path / "cells.parquet", "x=20:40")
    assert tables.read_table(tmp_path / "cells.parquet").empty
    shutil.rmtree(tmp_path / "p1.s.TCell.label.0002.zarr")
    with pytest.raises(BadData, match="object 3 of frame 0"):
        tabulate_regions.main(measured, label, tmp_path / "cells.parquet", "x=0:20")


def test_columns_are_those_of_regionprops_and_the_layers(tmp_path):
    labels = boxes((2, 1, 50, 60), 1)
    image = np.random.default_rng(1).integers(0, 4000, labels.shape).astype(np.uint16)
    label = store(tmp_path, labels, "label", channel="Cancer")
    measured = store(tmp_path, image, "image", channel="Death")
    tabulate_regions.main(measured, label, tmp_path / "cells.parquet")
    table = tables.read_table(tmp_path / "cells.parquet", "cells")
    assert table.attrs["frame_interval"] == 60.0
    assert table.attrs["pixel_size"] == list(PIXEL)
    assert set(table["channel"]) == {"Death"}
    assert set(table["label_channel"]) == {"Cancer"}
    assert set(table["position"]) == {"p1"}
    for frame, rows in table.groupby("frame"):
        small = np.unique(labels[frame, 0], return_inverse=True)[1].reshape(labels.shape[2:])
        names = ["area", "perimeter", "solidity", "feret_diameter_max", "intensity_mean"]
        expected = regionprops_table(small, image[frame, 0], names)
        for name in names:
            np.testing.assert_allclose(rows[name], expected[name], rtol=1e-9)
    np.testing.assert_allclose(table["area_um2"], table["area"] * 0.25)
    np.testing.assert_allclose(table["y_um"], table["y"] * 0.5)
    assert table["volume_um3"].isna().all()
    schema = pa.parquet.read_schema(tmp_path / "cells.parquet")
    assert schema.names == SCHEMAS["cells"].names
    assert schema.field("perimeter_um").metadata[b"unit"] == b"um"


def test_no_object_gives_an_empty_table_with_the_schema(tmp_path):
    labels = np.zeros((2, 1, 8, 8), np.uint32)
    label = store(tmp_path, labels, "label")
    measured = store(tmp_path, labels.astype(np.uint8), "image")
    merged = tabulate(tmp_path, measured, label, (1, 1, 8, 8), labels.shape)
    assert merged.empty
    assert pa.parquet.read_schema(tmp_path / "merged.parquet").equals(SCHEMAS["cells"])


def test_one_plane_of_a_volume_is_a_volume(tmp_path):
    labels = np.zeros((1, 4, 8, 8), np.uint32)
    labels[0, 2, 2:5, 2:5] = 3
    label = store(tmp_path, labels, "label", shards=(1, 1, 8, 8))
    measured = store(tmp_path, labels.astype(np.uint8), "image", shards=(1, 1, 8, 8))
    tabulate_regions.main(measured, label, tmp_path / "cells.parquet", "z=2:3")
    table = tables.read_table(tmp_path / "cells.parquet")
    assert table["volume_um3"].tolist() == [9 * 0.5]
    assert table["z"].tolist() == [2.0]
    assert table["perimeter"].isna().all()


def test_nan_pixels_make_null_intensities(tmp_path):
    labels = np.ones((1, 1, 4, 4), np.uint32)
    image = np.ones(labels.shape, np.float32)
    image[0, 0, 1, 1] = np.nan
    label, measured = store(tmp_path, labels, "label"), store(tmp_path, image, "image")
    tabulate_regions.main(measured, label, tmp_path / "cells.parquet")
    table = tables.read_table(tmp_path / "cells.parquet")
    assert table["area"].tolist() == [16]
    assert table["intensity_mean"].isna().all()


def call(name, *options):
    return subprocess.run(
        [sys.executable, BIN / f"{name}.py", *map(str, options)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_command_line(tmp_path):
    labels = boxes((1, 1, 30, 30), 4)
    label = store(tmp_path, labels, "label")
    measured = store(tmp_path, (labels % 256).astype(np.uint8), "image")
    out = tmp_path / "cells.parquet"
    done = call("tabulate_regions", "--image", measured, "--label", label, "--out-cells", out)
    assert done.returncode == 0, done.stderr
    rows = tables.read_table(out)
    assert len(rows) == np.unique(labels[labels > 0]).size
    provenance = json.loads((tmp_path / "cells.parquet.provenance.json").read_text())
    assert provenance["executable"] == "tabulate_regions"
    done = call("tabulate_merge", "--table", out, "--out-cells", tmp_path / "merged.parquet")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_other_shape_is_named_in_one_line(tmp_path):
    label = store(tmp_path, np.ones((1, 1, 8, 8), np.uint32), "label")
    measured = store(tmp_path, np.ones((1, 1, 8, 9), np.uint8), "image")
    out = tmp_path / "cells.parquet"
    done = call("tabulate_regions", "--image", measured, "--label", label, "--out-cells", out)
    assert done.returncode == 65
    assert len(done.stderr.strip().splitlines()) == 1
    assert "x=8" in done.stderr
    assert "x=9" in done.stderr
    assert not out.exists()


def test_an_image_is_not_a_label_layer(tmp_path):
    image = store(tmp_path, np.ones((1, 1, 8, 8), np.float32), "image")
    out = tmp_path / "cells.parquet"
    done = call("tabulate_regions", "--image", image, "--label", image, "--out-cells", out)
    assert done.returncode == 65
    assert "'label'" in done.stderr


def test_other_position_is_refused(tmp_path):
    label = store(tmp_path, np.ones((1, 1, 8, 8), np.uint32), "label")
    measured = store(tmp_path, np.ones((1, 1, 8, 8), np.uint8), "image", position="p2")
    with pytest.raises(BadData, match="'p2'"):
        tabulate_regions.main(measured, label, tmp_path / "cells.parquet")


def parts_of_a_table(tmp_path):
    labels = boxes((4, 1, 20, 20), 9)
    label = store(tmp_path, labels, "label")
    measured = store(tmp_path, (labels % 256).astype(np.uint8), "image")
    tabulate(tmp_path, measured, label, (2, 1, 20, 20), labels.shape)
    return tmp_path / "merged.parquet"


@pytest.mark.slow
def test_merge_refuses_a_part_given_twice(tmp_path):
    merged = parts_of_a_table(tmp_path)
    done = call("tabulate_merge", "--table", tmp_path / "*.parquet", "--out-cells", merged)
    assert done.returncode == 65
    assert "frame 0" in done.stderr


def test_merge_refuses_other_kinds_and_other_files(tmp_path):
    merged = parts_of_a_table(tmp_path)
    edges = tables.from_columns({}, "edges", about={})
    tables.write_arrow(tmp_path / "p1.core.edges.parquet", edges)
    with pytest.raises(BadData, match="edges"):
        tabulate_merge.main(str(tmp_path / "p1.core.*.parquet"), merged)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadData, match=r"broken\.parquet"):
        tabulate_merge.main(str(tmp_path / "broken.parquet"), merged)


def test_merge_keeps_further_columns_and_null_keys_apart(tmp_path):
    first = {"position": "p1", "frame": np.arange(2, dtype=np.int32)}
    first |= {"label": np.ones(2, np.uint32), "channel": "a", "label_channel": "a"}
    for field in SCHEMAS["cells"]:
        if field.name not in first and not field.nullable:
            first[field.name] = np.ones(2, field.type.to_pandas_dtype())
    second = first | {"frame": np.arange(2, 4, dtype=np.int32), "extra": np.array([1.5, 2.5])}
    for name, columns in (("b", second), ("a", first)):
        table = tables.from_columns(columns, "cells", about={"position": "p1"})
        tables.write_arrow(tmp_path / f"{name}.parquet", table)
    tabulate_merge.main(str(tmp_path / "[ab].parquet"), tmp_path / "m.parquet")
    merged = tables.read_table(tmp_path / "m.parquet", "cells")
    assert merged["frame"].tolist() == [0, 1, 2, 3]
    assert merged["extra"].isna().tolist() == [True, True, False, False]
    assert merged.attrs["position"] == "p1"


def test_batches_keep_the_order_of_the_key(tmp_path):
    merged = parts_of_a_table(tmp_path)
    paths = sorted(tmp_path.glob("p1.core.*.parquet"))
    assert [len(group) for group in tabulate_merge.batches(paths, KEYS["cells"])] == [1, 1]
    keys = pd.read_parquet(merged)[list(KEYS["cells"])]
    pd.testing.assert_frame_equal(keys, keys.sort_values(list(KEYS["cells"])))
