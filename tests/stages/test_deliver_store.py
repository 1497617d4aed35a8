"""The delivered store: parts by hard link, channels as one array, a pyramid, other readers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from ome_zarr_models.v05.image import Image
from strategies import layout_of

from cytoloom import images, pyramids, statistics
from cytoloom.plan.layers import Grid
from cytoloom.regions import Region


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_halving_is_the_mean_of_what_is_there(y, x, seed):
    data = np.random.default_rng(seed).integers(0, 60_000, (2, y, x)).astype(np.uint16)
    half = pyramids.halve(data, labels=False)
    assert half.shape == (2, -(-y // 2), -(-x // 2))
    for i in range(half.shape[1]):
        for j in range(half.shape[2]):
            block = data[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(1, 2))
            assert np.abs(half[:, i, j] - block).max() <= 0.5
    labels = pyramids.halve(data, labels=True)
    assert set(np.unique(labels)) <= set(np.unique(data))


@pytest.fixture
def delivered(tmp_path, project):
    """Unite two channels of one type, one of another, and a label image, with pyramids."""
    grid = Grid.of((3, 1, 700, 600), (2, 2), batches=(1,))
    rng = np.random.default_rng(0)
    layers = {
        "A": rng.integers(0, 4000, grid.shape).astype(np.uint16),
        "B=b": rng.integers(0, 4000, grid.shape).astype(np.uint16),
        "F": rng.random(grid.shape).astype(np.float32),
        "cells": rng.integers(0, 90_000, grid.shape).astype(np.uint32),
    }
    words = [sys.executable, project / "bin" / "deliver_unite.py", "--out-store", "p.ome.zarr"]
    for number, (name, data) in enumerate(layers.items()):
        kind = "label" if name == "cells" else "image"
        for index, region in enumerate(grid.tiles(1)):
            path = tmp_path / f"{number}.{kind}.{index:04d}.zarr"
            like = layout_of(grid, data.dtype, kind)
            images.write_part(path, data[region.slices], region=region, like=like, kind=kind)
        layer = images.open_layer(tmp_path / f"{number}.{kind}.*.zarr")
        for index, region in enumerate(grid.frames(1)):
            pyramids.write_levels(tmp_path / f"{number}.levels.{index:04d}.zarr", layer, region)
        words += [f"--{kind}", f"{name}={number}.{kind}.*.zarr"]
        levels = "--pyramid" if kind == "image" else "--label-pyramid"  # names may be the same
        words += [levels, f"{name}={number}.levels.*.zarr"]
        if kind == "image":
            statistics.write(tmp_path / f"{number}.parquet", data, Region.whole(grid.shape))
            words += ["--statistics", f"{name}={number}.parquet"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tmp_path / "p.ome.zarr", layers, done.stderr


@pytest.mark.slow
def test_store_holds_every_pixel_and_validates(delivered):
    store, layers, said = delivered
    assert "by link" in said
    assert "copy" not in said
    root = zarr.open_group(store, mode="r")
    found = root["0"][:]
    np.testing.assert_array_equal(found[:, 0], layers["A"])
    np.testing.assert_array_equal(found[:, 1], layers["B=b"])
    np.testing.assert_array_equal(root["image_1_float32"]["0"][:, 0], layers["F"])
    np.testing.assert_array_equal(root["labels"]["cells"]["0"][:, 0], layers["cells"])
    np.testing.assert_array_equal(root["1"][:, 0], pyramids.halve(layers["A"], labels=False))
    model = Image.from_zarr(root)
    assert len(model.ome_attributes.multiscales[0].datasets) == 2
    attributes = json.loads((store / "zarr.json").read_text())["attributes"]["ome"]
    assert [c["label"] for c in attributes["omero"]["channels"]] == ["A", "B=b"]
    assert attributes["multiscales"][0]["datasets"][1]["coordinateTransformations"][0]["scale"] == [
        30.0,
        1.0,
        2.0,
        1.0,
        0.5,
    ]


@pytest.mark.slow
def test_shards_are_shared_and_metadata_is_not(delivered):
    store, _, _ = delivered
    files = [p for p in store.rglob("*") if p.is_file()]
    shards = [p for p in files if p.name != "zarr.json"]
    assert all(p.stat().st_nlink == 2 for p in shards)
    assert all(p.stat().st_nlink == 1 for p in files if p.name == "zarr.json")
    before = {p: p.read_bytes() for p in store.parent.rglob("zarr.json") if store not in p.parents}
    for path in store.rglob("zarr.json"):
        path.write_text("{}")
    assert all(p.read_bytes() == content for p, content in before.items())


def test_where_links_fail_it_is_a_copy_and_says_so(tmp_path, monkeypatch):
    from cytoloom.union import Linker

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_text("pixels")
    linker = Linker()
    linker.place(tmp_path / "a", tmp_path / "b" / "c")
    assert (tmp_path / "b" / "c").read_text() == "pixels"
    assert linker.summary() in ("1 by copy", "1 by reflink")


def test_what_is_lost_is_left_out_only_when_asked_for(tmp_path, project):
    grid = Grid.of((2, 1, 40, 30), (1, 1), batches=(1,))
    data = np.arange(2 * 40 * 30, dtype=np.uint16).reshape(2, 1, 40, 30)
    for index, region in enumerate(grid.tiles(1)):
        like = layout_of(grid, data.dtype, "image")
        images.write_part(
            tmp_path / f"a.{index:04d}.zarr", data[region.slices], region=region, like=like
        )
    words = [sys.executable, project / "bin" / "deliver_unite.py", "--out-store", "p.ome.zarr"]
    words += ["--image", "A=a.*.zarr", "--image", "B=b.*.zarr", "--label", "L=l.*.zarr"]
    words += ["--statistics", "B=b.*.parquet"]

    def unite(*more):
        return subprocess.run(
            [*words, *more], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    refused = unite()
    assert refused.returncode == 66
    assert "b.*.zarr" in refused.stderr
    assert not (tmp_path / "p.ome.zarr").exists()
    done = unite("--partial")
    assert done.returncode == 0, done.stderr
    root = zarr.open_group(tmp_path / "p.ome.zarr", mode="r")
    np.testing.assert_array_equal(root["0"][:, 0], data)
    assert [one["label"] for one in root.attrs["ome"]["omero"]["channels"]] == ["A"]
    assert "labels" not in root
