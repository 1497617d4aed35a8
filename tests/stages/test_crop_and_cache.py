"""Cropping and Caching: PyAMA's cells.zarr and images.zarr, values and layout."""

import analyse_cache
import analyse_crop
import numpy as np
import pandas as pd
import pytest
import zarr

from cytoloom import images, layouts, statistics, tables
from cytoloom.regions import Region

T, H, W = 6, 90, 110


def layout(channel, kind, dtype):
    return layouts.Layout(
        (T, 1, H, W), np.dtype(dtype), (1, 1, 45, 55), (2, 1, 90, 110), (1.0, 0.5, 0.5), 60.0,
        "fov_003", channel, kind,
    )  # fmt: skip


def write_layer(folder, name, data, channel, kind="image"):
    """Write a layer of shape (T, H, W) in parts of two frames, with histograms of an image."""
    like = layout(channel, kind, data.dtype)
    for i, box in enumerate(like.regions()):
        part = data[box.t[0] : box.t[1], None]
        images.write_part(folder / f"{name}.{i}.zarr", part, region=box, like=like, kind=kind)
        statistics.write(folder / f"{name}.{i}.parquet", part, box)
    return f"{folder}/{name}.*.zarr"


def scene():
    """Return image, fluorescence, background, labels and the table of tracks.

    Track 1 is there in all frames and moves, 2 in three, 3 at the corner in all.
    """
    rng = np.random.default_rng(3)
    pc = rng.integers(0, 60000, (T, H, W)).astype(np.uint16)
    fl = rng.integers(0, 3000, (T, H, W)).astype(np.uint16)
    bg = rng.uniform(100, 200, (T, H, W)).astype(np.float32)
    labels = np.zeros((T, H, W), np.uint32)
    rows = []
    for t in range(T):
        for track, (y, x, h, w) in {
            1: (20 + 3 * t, 30, 10 + t, 12), 2: (60, 80, 8, 9), 3: (0, 0, 7, 5),
        }.items():  # fmt: skip
            if track == 2 and t not in (0, 2, 3):
                continue
            label = track + 10 * (t % 2)
            labels[t, y : y + h, x : x + w] = label
            labels[t, y, x] = 0  # not a rectangle
            rows.append((t, label, track, y, x, y + h, x + w))
    names = ["frame", "label", "track_id", "bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1"]
    return pc, fl, bg, labels, pd.DataFrame(rows, columns=names)


def write_tracks(path, rows):
    frame = rows.copy()
    for name, field in zip(tables.SCHEMAS["tracks"].names, tables.SCHEMAS["tracks"], strict=True):
        if name not in frame.columns and not field.nullable:
            frame[name] = "fov_003" if str(field.type) == "string" else 0
    frame.attrs = {"position": "fov_003", "channel": "pc_ch_0"}
    tables.write_table(path, frame, "tracks")


@pytest.fixture
def layers(tmp_path):
    pc, fl, bg, labels, rows = scene()
    write_tracks(tmp_path / "tracks.parquet", rows)
    return {
        "image": [
            write_layer(tmp_path, "pc", pc, "pc_ch_0"), write_layer(tmp_path, "fl", fl, "fl_ch_1"),
        ],
        "background": [write_layer(tmp_path, "bg", bg, "fl_ch_1", "background")],
        "label": write_layer(tmp_path, "label", labels, "pc_ch_0", "label"),
        "tracked": write_layer(tmp_path, "tracked", labels, "pc_ch_0", "trackedlabel"),
        "table": tmp_path / "tracks.parquet",
    }  # fmt: skip


def crop(layers, tmp_path, **more):
    given = {role: layers[role] for role in ("image", "label", "table", "background")}
    analyse_crop.main(**given, out_cells=tmp_path / "cells.zarr", **more)
    return zarr.open_group(tmp_path / "cells.zarr", mode="r")


@pytest.mark.parametrize("padding", [0, 5])
def test_crops_have_the_reference_layout_and_the_pixels(layers, tmp_path, padding):
    pc, fl, bg, labels, rows = scene()
    store = crop(layers, tmp_path, padding=padding, min_frames=4)
    ids = store["metadata/cell_ids"][:]
    boxes, valid = store["metadata/bboxes"][:], store["metadata/valid_frames"][:]
    assert (ids.dtype, boxes.dtype, valid.dtype) == (np.int32, np.int32, bool)
    assert ids.tolist() == [1, 3]  # 2 is there in three frames only
    assert boxes.shape == (2, T, 4)
    assert valid.all()
    for n, cell in enumerate(ids):
        mine = rows[rows.track_id == cell].set_index("frame")
        for t in range(T):
            y0, x0, y1, x1 = boxes[n, t]
            row = mine.loc[t]
            assert (y0, x0) == (max(0, row.bbox_y0 - padding), max(0, row.bbox_x0 - padding))
            assert (y1, x1) == (min(H, row.bbox_y1 + padding), min(W, row.bbox_x1 + padding))
            size = (slice(0, y1 - y0), slice(0, x1 - x0))
            raw = store[f"fl_ch_1/{cell}/raw"]
            assert raw.dtype == np.uint16
            np.testing.assert_array_equal(raw[t][size], fl[t, y0:y1, x0:x1])
            scaled = store[f"fl_ch_1/{cell}/0"]
            low, high = scaled.attrs["low"], scaled.attrs["high"]
            wanted = fl[t, y0:y1, x0:x1] - bg[t, y0:y1, x0:x1].astype(float)
            np.testing.assert_allclose(scaled[t][size] * (high - low) + low, wanted, atol=1e-2)
            behind = store[f"fl_background_ch_1/{cell}/0"]
            np.testing.assert_array_equal(behind[t][size], bg[t, y0:y1, x0:x1])
            mask = store[f"mask/{cell}/0"][t][size]
            np.testing.assert_array_equal(mask > 0, labels[t, y0:y1, x0:x1] == row.label)
    for name in ("pc_ch_0", "fl_ch_1"):
        for cell in ids:
            level0, level1 = store[f"{name}/{cell}/0"], store[f"{name}/{cell}/1"]
            assert level0.dtype == np.float32
            assert 0 <= level0[:].min() <= level0[:].max() <= 1
            assert level1.dtype == np.uint8
            assert level1.shape == (T, level0.shape[1] // 2, level0.shape[2] // 2)
            assert level1.compressors[0].cname.value == "lz4"
    y0, x0 = boxes[0, 0, :2]
    np.testing.assert_array_equal(store["pc_ch_0/1/raw"][0, :8, :8], pc[0, y0:, x0:][:8, :8])


def test_missing_frames_are_empty_and_the_mask_is_widened(layers, tmp_path):
    store = crop(layers, tmp_path, min_frames=3, mask_margin=2, padding=4)
    n = store["metadata/cell_ids"][:].tolist().index(2)
    valid, boxes = store["metadata/valid_frames"][n], store["metadata/bboxes"][n]
    assert valid.tolist() == [True, False, True, True, False, False]
    assert not boxes[~valid].any()
    assert not store["fl_ch_1/2/0"][:][~valid].any()
    mask = store["mask/2/0"][0]
    assert mask.sum() > (scene()[3][0] == 2).sum()


def test_batches_do_not_change_anything(layers, tmp_path, monkeypatch):
    whole = crop(layers, tmp_path, min_frames=1)
    cells = analyse_crop.find_cells(tables.read_table(layers["table"], "tracks"), (T, H, W), 5, 1)
    monkeypatch.setattr(analyse_crop, "BATCH_BYTES", 1)
    assert len(analyse_crop.batches(cells, 2)) == 3
    layer = images.open_layer(layers["image"][1])
    for batch in analyse_crop.batches(cells, 2):
        for cell, crops in analyse_crop.cut(
            analyse_crop.planes(layer), cells, batch, layer.dtype
        ).items():
            np.testing.assert_array_equal(crops, whole[f"fl_ch_1/{cells.ids[cell]}/raw"][:])


def test_no_cell_is_long_enough(layers, tmp_path):
    store = crop(layers, tmp_path)
    assert store["metadata/cell_ids"].shape == (0,)
    assert store["metadata/bboxes"].shape == (0, T, 4)


# ---- the cache ------------------------------------------------------------------------------


def cache(layers, tmp_path):
    given = {role: layers[role] for role in ("image", "label", "tracked", "background")}
    counted = [pattern.replace(".zarr", ".parquet") for pattern in layers["image"]]
    analyse_cache.main(**given, statistics=counted, out_cache=tmp_path / "images.zarr")
    return zarr.open_group(tmp_path / "images.zarr", mode="r")


def test_cache_has_the_reference_layout(layers, tmp_path):
    pc, fl, bg, labels, _ = scene()
    store = cache(layers, tmp_path)
    wanted = {
        "pc_ch_0": pc, "fl_ch_1": fl, "fl_background_ch_1": bg,
        "seg_labeled_ch_0": labels, "seg_tracked_ch_0": labels,
    }  # fmt: skip
    assert set(store.group_keys()) == set(wanted)
    for name, data in wanted.items():
        np.testing.assert_array_equal(store[f"{name}/0"][:], data)
        level = store[f"{name}/1"]
        assert level.dtype == np.uint8
        assert level.shape == (T, H // 2, W // 2)
        assert level.chunks == (1, min(256, H // 2), min(256, W // 2))
        assert level.compressors[0].cname.value == "lz4"
    root = tmp_path / "images.zarr" / "pc_ch_0" / "0" / "c"
    shards = [p for p in root.rglob("*") if p.is_file()]
    assert len(shards) == 3
    assert all(p.stat().st_nlink > 1 for p in shards)  # no pixel was copied


def test_values_of_the_cache(layers, tmp_path):
    pc, _, bg, labels, _ = scene()
    store = cache(layers, tmp_path)
    for name, data in (("pc_ch_0", pc), ("fl_background_ch_1", bg)):
        low, high = np.percentile(data, [1, 99])
        eight = (np.clip((data - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        mean = eight.reshape(T, H // 2, 2, W // 2, 2).mean(axis=(2, 4))
        assert np.abs(store[f"{name}/1"][:] - np.rint(mean)).max() <= 1
    eight = (labels / labels.max() * 255).astype(np.uint8)
    np.testing.assert_array_equal(store["seg_labeled_ch_0/1"][:], eight[:, ::2, ::2])


def test_windows():
    from cytoloom import viewing

    region = Region.whole((1, 1, 4, 5))
    flat = np.full((1, 1, 4, 5), 7, np.uint16)
    window = viewing.window_of(statistics.of_array(flat, region))
    assert not window.to_uint8(flat).any()
    eight = np.arange(20, dtype=np.uint8).reshape(1, 1, 4, 5)
    window = viewing.window_of(statistics.of_array(eight, region))
    np.testing.assert_array_equal(window.to_uint8(eight), eight)
    rare = np.zeros((1, 1, 40, 50), np.uint16)
    rare[0, 0, 0, 0] = 9  # both percentiles are 0: the whole range instead
    window = viewing.window_of(statistics.of_array(rare, Region.whole(rare.shape)))
    assert window.to_uint8(rare).max() == 255
    assert viewing.labels_to_uint8(np.array([0, 1]), 0, 1).tolist() == [0, 255]
    assert viewing.half(np.zeros((3, 7, 1), np.uint8), labels=False).shape == (3, 3, 1)
