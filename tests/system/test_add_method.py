"""CONTRIBUTING is true: a new method, added to a copy of the project, runs end to end.

The ten lines are followed for a median filter, which needs a halo: one executable, one row
in the registry, one include with its call. Nothing else may have to change. The filter is
compared with scipy's on whole frames, alone, in tiles, and from a run of Nextflow.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from scipy import ndimage
from workflows.nextflow import nextflow

from cytoloom import images, layouts
from cytoloom.regions import Region

EXECUTABLE = '''\
#!/usr/bin/env python3
"""Median: the median of the pixels around each pixel, plane by plane."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images
from cytoloom import statistics as histograms
from cytoloom.errors import BadData
from cytoloom.regions import Region


def median(image, radius):
    """Return the median over a square of ``2 radius + 1`` pixels; axes t, z, y, x."""
    from scipy import ndimage

    edge = 2 * radius + 1
    return ndimage.median_filter(image, (1, 1, edge, edge), mode="mirror")


def main(
    image: cli.Image,
    out_image: cli.OutImage,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    halo: cli.Halo = 0,
    radius: Annotated[int, typer.Option(min=0, max=8, help="half edge of the square [px]")] = 1,
) -> None:
    """Take the median over a small square, which removes single bright pixels."""
    layer = images.open_layer(image, kind="image")
    if layer.dtype.kind == "f":
        raise BadData(f"{image}: floats may hold NaN; the median filter takes whole numbers")
    box = Region.parse(region, layer.shape)
    wide = box.widen(max(halo, radius), layer.shape)
    data = median(layer.read(wide), radius)[box.within(wide)]
    images.write_part(out_image, np.ascontiguousarray(data), region=box, like=layer)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
'''
ROW = """
MedianFilter:
  stage: preprocessing
  tool: MEDIAN
  executable: preprocess_median
  family: core
  inputs: {image: image}
  outputs: {image: image}
  fan_out: patch
  halo: 8
  description: median over a small square
"""
INCLUDE = "include { CORRECT as MEDIAN } from './filter'\n"
CALL = "    if (tasks.MEDIAN) MEDIAN(tasks.remove('MEDIAN'))\n"
PIPELINE = """\
channels: {TCell: movie.tif}
spacing: [0.5, 0.5]
frame_interval: 60
output_dir: results
patching: {patch_count: [2, 2]}
pipeline:
  preprocessing:
    - {name: MedianFilter, channels: all, args: {radius: 2}}
"""
LEFT_OUT = (".git", ".*_cache", "__pycache__", ".hypothesis", ".nextflow*", "work", "results")
SHAPE = (3, 1, 150, 170)
RADIUS = 2


def movie():
    """Frames of noise with single bright pixels; axes tzyx."""
    rng = np.random.default_rng(3)
    data = rng.poisson(100, SHAPE).astype(np.uint16)
    data[rng.random(SHAPE) < 0.01] = 4000
    return data


def expected():
    edge = 2 * RADIUS + 1
    return np.stack([
        [ndimage.median_filter(plane, edge, mode="mirror") for plane in stack] for stack in movie()
    ])  # fmt: skip


@pytest.fixture(scope="module")
def before(project, tmp_path_factory):
    """Return a copy of the project, without caches and history."""
    copy = tmp_path_factory.mktemp("before") / "project"
    return shutil.copytree(project, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))


@pytest.fixture(scope="module")
def copy(before, tmp_path_factory):
    """Return a copy of the project with the method added."""
    copy = Path(shutil.copytree(before, tmp_path_factory.mktemp("after") / "project"))
    executable = copy / "bin" / "preprocess_median.py"
    executable.write_text(EXECUTABLE)
    executable.chmod(0o755)
    with (copy / "assets" / "steps.yaml").open("a") as registry:
        registry.write(ROW)
    stage = copy / "modules" / "preprocessing" / "main.nf"
    lines = stage.read_text().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith("include"))
    lines.insert(last + 1, INCLUDE)
    last = max(i for i, line in enumerate(lines) if "tasks.remove" in line)
    lines.insert(last + 1, CALL)
    stage.write_text("".join(lines))
    return copy


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Return a folder with a movie and a pipeline that uses the method."""
    folder = tmp_path_factory.mktemp("run")
    tifffile.imwrite(folder / "movie.tif", movie()[:, 0], imagej=True, metadata={"axes": "TYX"})
    (folder / "p.yaml").write_text(PIPELINE)
    return folder


def differences(one, other):
    """Files that are new or changed in ``other``, relative to it."""
    found = filecmp.dircmp(one, other, ignore=[])
    names = [Path(name) for name in (*found.right_only, *found.diff_files)]
    for name in found.common_dirs:
        names += [Path(name) / path for path in differences(one / name, other / name)]
    return names


def program(copy, name, *words):
    """Run an executable of the copy; return what it printed."""
    done = subprocess.run(
        [sys.executable, copy / "bin" / f"{name}.py", *map(str, words)],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_contributing_says_what_is_done_here(project):
    text = (project / "CONTRIBUTING.md").read_text()
    steps = re.findall(r"^\d+\. ", text, re.MULTILINE)
    assert steps == [f"{number}. " for number in range(1, 11)]
    keys = re.search(r"row to `assets/steps.yaml`: ([^;.]*)", text)[1]
    named = {key.strip(" `") for key in keys.split(",")}
    assert {line.split(":")[0].strip() for line in ROW.strip().splitlines()[1:]} == named
    assert "include { … as TOOL } from './…'" in text
    assert "if (tasks.TOOL) TOOL(tasks.remove('TOOL'))" in text
    assert INCLUDE.startswith("include { ")
    assert CALL.strip() == "if (tasks.TOOL) TOOL(tasks.remove('TOOL'))".replace("TOOL", "MEDIAN")


def test_only_three_files_change(before, copy):
    stage = Path("modules/preprocessing/main.nf")
    changed = [path for path in differences(before, copy) if path.parts[0] != "docs"]
    assert sorted(changed) == sorted(
        [Path("bin/preprocess_median.py"), Path("assets/steps.yaml"), stage]
    )
    for path, added in ((Path("assets/steps.yaml"), ROW), (stage, INCLUDE + CALL)):
        old = (before / path).read_text().splitlines()
        new = (copy / path).read_text().splitlines()
        assert len(new) - len(old) == len(added.splitlines())
        rest = iter(new)
        assert all(line in rest for line in old), f"{path}: a line was changed"


def test_it_gets_its_page(copy):
    done = subprocess.run(
        [sys.executable, copy / "docs" / "make_pages.py"],
        env=os.environ | {"PYTHONPATH": str(copy / "bin"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "docs/stages/preprocessing.md" in done.stdout, done.stderr
    page = (copy / "docs" / "stages" / "preprocessing.md").read_text()
    assert "## MedianFilter" in page
    assert "| `radius` | a whole number, 0 to 8 | 1 | half edge of the square [px] |" in page


def test_dry_run_accepts_it(copy, run_folder):
    words = ["--pipeline", run_folder / "p.yaml", "--dry_run"]
    said = program(copy, "plan_pipeline", *words)
    commands = [line for line in said.splitlines() if "preprocess_median.py" in line]
    assert len(commands) == 4
    assert all("--halo 8" in line and "--radius 2" in line for line in commands)


def test_a_wrong_argument_is_named(copy, run_folder):
    wrong = run_folder / "wrong.yaml"
    wrong.write_text(PIPELINE.replace("radius: 2", "radios: 2"))
    done = subprocess.run(
        [sys.executable, copy / "bin" / "plan_pipeline.py", "--pipeline", wrong, "--dry_run"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 65
    assert "radios: unknown argument of MedianFilter; did you mean radius?" in done.stderr


@pytest.mark.slow
def test_alone_and_tiled_it_equals_scipy(copy, tmp_path):
    data = movie()
    layout = layouts.Layout(
        shape=SHAPE, dtype=data.dtype, chunks=(1, 1, 64, 64), shards=(2, 1, 64, 64),
        pixel_size=(1.0, 0.5, 0.5), frame_interval=60.0, position="p1", channel="TCell",
        kind="image",
    )  # fmt: skip
    source = tmp_path / "p1.ingest.TCell.image.0000.zarr"
    images.write_part(source, data, region=Region.whole(SHAPE), like=layout, kind="image")
    whole = tmp_path / "whole.zarr"
    tail = ("--radius", RADIUS)
    program(copy, "preprocess_median", "--image", source, "--out-image", whole, *tail)
    np.testing.assert_array_equal(images.open_layer(str(whole)).read(Region.whole(SHAPE)),
                                  expected())  # fmt: skip
    for index, region in enumerate(("y=0:64", "y=64:150,x=0:128", "y=64:150,x=128:170")):
        out = tmp_path / f"p1.m.TCell.image.{index:04d}.zarr"
        words = ("--image", source, "--out-image", out, "--region", region, "--halo", 8)
        program(copy, "preprocess_median", *words, *tail)
    tiled = images.open_layer(str(tmp_path / "p1.m.TCell.image.*.zarr"))
    np.testing.assert_array_equal(tiled.read(Region.whole(SHAPE)), expected())


@pytest.mark.slow
def test_nextflow_runs_it(copy, run_folder, family_python):
    family_python("core")
    words = ["run", str(copy / "main.nf"), "--pipeline", "p.yaml", "--outdir", "results"]
    done = nextflow(words, run_folder)
    assert done.returncode == 0, done.stdout + done.stderr
    results = run_folder / "results"
    assert (results / "report.html").is_file()
    store = zarr.open_group(results / "images" / "p1.ome.zarr", mode="r")
    names = [channel["label"] for channel in store.attrs["ome"]["omero"]["channels"]]
    filtered = store["0"][:, names.index("TCell (MedianFilter)")]
    np.testing.assert_array_equal(filtered, expected())
