"""ImageToLabel, and the command lines of the number and stitch phases."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import phases
import pytest
import segment_image_to_label
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytoloom import images, seam_files
from cytoloom.errors import BadData
from cytoloom.seams import Final, Mask, View

BIN = Path(__file__).resolve().parents[2] / "bin"


def run(executable, *words):
    return subprocess.run(
        [sys.executable, BIN / f"{executable}.py", *map(str, words)],
        capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32, np.float32])
def test_values_stay(dtype):
    image = np.array([[0, 3], [100, 7]], dtype)
    labels = segment_image_to_label.as_labels(image, "image")
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels, image)


@pytest.mark.parametrize(
    ("values", "message"),
    [([0.0, 1.5], "whole"), ([-1.0, 2.0], "from -1"), ([0.0, 2.0**33], "4294967295"),
     ([0.0, np.nan], "whole")],
)  # fmt: skip
def test_values_that_are_no_labels(values, message):
    with pytest.raises(BadData, match=message):
        segment_image_to_label.as_labels(np.array(values), "image of 'a'")


def test_image_to_label_by_region(tmp_path):
    image = np.arange(128 * 128, dtype=np.uint16).reshape(1, 1, 128, 128)
    pattern, _ = phases.write_image(tmp_path, image, 2, 2)
    out = tmp_path / "p.s.a.label.0001.zarr"
    done = run("segment_image_to_label", "--image", pattern, "--region", "y=0:64,x=64:128",
               "--out-label", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    layer = images.open_layer(out, kind="label")
    np.testing.assert_array_equal(layer.read(), image[..., :64, 64:])


@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))),
    st.integers(1, 2**32 - 1),
)
def test_objects_and_numbers_come_back(tmp_path_factory, pixels, number):
    folder = tmp_path_factory.mktemp("files")
    box = (0, 2, 3, *(int(n) + o for n, o in zip(pixels.shape, (0, 2, 3), strict=True)))
    mask = Mask(box, pixels)
    view = View(4, 9, (0, 0, 0, 1, 5, 5), (0, 0, 0, 3, 9, 9), (0, 2, 3), mask.area, True, box,
                mask.packed())  # fmt: skip
    seam_files.write_objects(folder / "o.parquet", [view])
    assert seam_files.read_objects(folder / "o.parquet") == [view]
    assert seam_files.read_objects(folder / "o.parquet", range(4)) == []
    finals = [Final(4, number, view.core, 9, mask), Final(4, 1, view.core, 8)]
    seam_files.write_numbers(folder / "n.parquet", finals)
    assert seam_files.read_numbers(folder / "n.parquet") == finals


def test_no_object_at_all_through_the_command_lines(tmp_path):
    seam_files.write_objects(tmp_path / "p.s.a.objects.0000.parquet", [])
    done = run("segment_number", "--objects", tmp_path / "p.s.a.objects.*.parquet",
               "--out-numbers", tmp_path / "numbers.parquet")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert seam_files.read_numbers(tmp_path / "numbers.parquet") == []


def test_another_file_is_refused_in_one_line(tmp_path):
    seam_files.write_numbers(tmp_path / "numbers.parquet", [])
    for objects, code in ((tmp_path / "numbers.parquet", 65), (tmp_path / "none.*", 66)):
        done = run("segment_number", "--objects", objects, "--out-numbers", tmp_path / "n.parquet")
        assert done.returncode == code
        assert len(done.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "n.parquet").exists()
