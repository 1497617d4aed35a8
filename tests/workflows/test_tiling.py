"""Patches and frame batches change nothing: one pipeline, cut in different ways.

Real nuclei, segmented, refined, measured and tracked under the real Nextflow, whole, and in
2 x 2 patches with batches of one frame; labels and tables must be the same, numbers included.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from nextflow import run, trace

pytestmark = pytest.mark.slow

PIPELINE = """
channels: {{N: movie.tif}}
spacing: [0.5, 0.5]
frame_interval: 60
output_dir: results
{patching}
pipeline:
  segmentation:
    - {{name: Threshold, channels: [N]}}
    - {{name: Refine, channels: [N], input_type: label, args: {{min_size: 20, fill_holes: true}}}}
  label_to_sparse: {{image_label_pair: [[N, N]]}}
  tracking:
    - {{name: LapTrack, channels: [N]}}
"""
RESOURCES = "pipeline: {segmentation: {Threshold: {batch_size: 1}}}\n"


@pytest.fixture(scope="module")
def movie(shared):
    image = tifffile.imread(
        shared / "timelapse" / "laptrack" / "napari_interactive_fix_data" / "example_images.tif"
    )
    return np.ascontiguousarray(image[:3])


def go(folder, movie, patching, resources=None):
    tifffile.imwrite(folder / "movie.tif", movie, photometric="minisblack")
    (folder / "p.yaml").write_text(PIPELINE.format(patching=patching))
    words = ["--pipeline", "p.yaml", "--outdir", "results"]
    if resources:
        (folder / "r.yaml").write_text(resources)
        words += ["--resources", "r.yaml"]
    result = run(words, folder)
    assert result.returncode == 0, result.text
    return result


def read(result):
    import zarr

    store = result.outdir / "images" / "p1.ome.zarr"
    group = zarr.open_group(store / "labels", mode="r")
    labels = {name: group[name]["0"][:] for name in sorted(group.group_keys())}
    tables = {
        path.name: pd.read_parquet(path)
        for path in sorted((result.outdir / "tables").glob("*.parquet"))
    }
    return labels, tables


def test_tiled_and_batched_equals_whole(tmp_path, movie):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = go(tmp_path / "whole", movie, "")
    patching = "patching: {patch_count: [2, 2], overlap: 64}"
    cut = go(tmp_path / "cut", movie, patching, RESOURCES)
    assert len(trace(cut)) > 3 * len(trace(whole))
    labels, tables = read(whole)
    cut_labels, cut_tables = read(cut)
    assert list(labels) == list(cut_labels)
    for name, image in labels.items():
        assert image.max() > 20
        np.testing.assert_array_equal(cut_labels[name], image, err_msg=name)
    assert list(tables) == list(cut_tables)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(cut_tables[name], table, obj=name)
