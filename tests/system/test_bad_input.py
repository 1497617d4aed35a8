"""Bad input ends with the right exit code and one line for each mistake, never a traceback.

Every case is a real command line: the plan's, a stage's or the launcher's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import planned
import pytest
import tifffile
from odd_files import cells, pipeline, store, write

PROJECT = Path(__file__).resolve().parents[2]
IMAGE = cells()
MEASURE = {"label_to_sparse": {"image_label_pair": [["A", "A"]]}}
TRACK = {"tracking": [{"name": "LapTrack", "channels": ["A"]}]}


def refused(done, code, *words):
    """Assert that a run ended with a code and lines that name what is wrong."""
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    lines = done.err.strip().splitlines()
    assert lines
    for word in words:
        assert any(str(word) in line for line in lines), (word, lines)
    return lines


# ---- images


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def truncated(path, share=0.5, **options):
    tifffile.imwrite(path, IMAGE, photometric="minisblack", **options)
    cut(path, share)


def broken_strip(path):
    write(path, IMAGE, compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[1].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)


def rgb(path):
    tifffile.imwrite(path, np.zeros((32, 32, 3), np.uint8), photometric="rgb")


BAD_IMAGES = {
    "empty": (Path.touch, "empty file"),
    "text": (lambda path: path.write_text("hello"), "not a TIFF"),
    "four bytes": (lambda path: path.write_bytes(b"II*\0"), "truncated"),
    "half": (truncated, "truncated"),
    "half, no metadata": (lambda path: truncated(path, metadata=None), "truncated"),
    "half, ImageJ": (lambda path: truncated(path, imagej=True), "truncated"),
    "half, OME": (lambda path: truncated(path, ome=True), "truncated"),
    "no end of the last strip": (
        lambda path: truncated(path, 0.999, compression="zlib"),
        "truncated",
    ),
    "broken strip": (broken_strip, "cannot read"),
    "colour": (rgb, "holds 3 channels (0, 1, 2)"),
    "complex": (lambda path: write(path, IMAGE.astype(np.complex64)), "complex64"),
    "folder in place of a file": (Path.mkdir, "without TIFF files"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_image(tmp_path, case):
    make, word = BAD_IMAGES[case]
    make(tmp_path / "a.tif")
    done = planned.run(tmp_path, pipeline({"A": "a.tif"}))
    lines = refused(done, 66 if "folder" in case else 65, word, tmp_path / "a.tif")
    assert len(lines) == 1
    assert not done.jobs, "found before anything runs"


FORMS = {
    "shaped": {"metadata": {"axes": "TYX"}},
    "plain": {"metadata": None},
    "ImageJ": {"imagej": True, "metadata": {"axes": "TYX"}},
    "OME": {"ome": True, "metadata": {"axes": "TYX"}},
    "zlib": {"metadata": None, "compression": "zlib"},
    "big": {"metadata": None, "bigtiff": True},
    "tiled": {"metadata": None, "tile": (16, 16)},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_tiff_is_never_read_short(tmp_path, form):
    from cytoloom.errors import BadData
    from cytoloom.regions import Region
    from cytoloom.sources import open_source

    path = tmp_path / "a.tif"
    image = np.random.default_rng(0).integers(1, 9999, (6, 16, 20)).astype(np.uint16)
    tifffile.imwrite(path, image, photometric="minisblack", **FORMS[form])
    data = path.read_bytes()
    source = open_source(path)
    assert source.shape == (6, 1, 16, 20)
    for length in (*range(0, len(data), 41), *range(len(data) - 24, len(data))):
        path.write_bytes(data[:length])
        try:
            source = open_source(path)
            pixels = source.read(Region.whole(source.shape))[:, 0]
        except BadData:
            continue
        np.testing.assert_array_equal(pixels, image, f"cut at {length}")


def frames(folder, count=12):
    folder.mkdir()
    for number in range(count):
        write(folder / f"t{number}.tif", np.full((8, 8), number, np.uint16))


BAD_FOLDERS = {
    "one frame of another shape": (
        lambda d: write(d / "t5.tif", np.zeros((8, 9), np.uint16)), 65, "t5.tif",
    ),
    "one frame of another type": (
        lambda d: write(d / "t5.tif", np.zeros((8, 8), np.uint8)), 65, "t5.tif",
    ),
    "one frame truncated": (lambda d: cut(d / "t7.tif", 0.9), 65, "t7.tif"),
    "one frame empty": (lambda d: (d / "t7.tif").write_bytes(b""), 65, "t7.tif"),
    "nothing": (lambda d: [p.unlink() for p in d.iterdir()], 66, "without TIFF files"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folder_of_frames(tmp_path, case):
    spoil, code, word = BAD_FOLDERS[case]
    frames(tmp_path / "d")
    spoil(tmp_path / "d")
    refused(planned.run(tmp_path, pipeline({"A": "d"})), code, word)


def test_glob_that_matches_nothing_or_a_stray_file(tmp_path):
    frames(tmp_path / "d")
    (tmp_path / "d" / "notes.txt").write_text("x")
    refused(planned.run(tmp_path, pipeline({"A": "d/q*.tif"})), 66, "d/q*.tif")
    refused(planned.run(tmp_path, pipeline({"A": "d/*"})), 65, "notes.txt")


def spoil_chunk(path):
    chunk = next(p for p in (path / "0" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-20])


BAD_STORES = {
    "truncated chunk": (spoil_chunk, "damaged"),
    "no array": (lambda path: shutil.rmtree(path / "0"), "not a readable OME-Zarr"),
    "broken metadata": (lambda path: (path / "zarr.json").write_text("{"), "OME-Zarr"),
    "no multiscales": (
        lambda path: (path / "zarr.json").write_text('{"zarr_format":3,"node_type":"group"}'),
        "OME-Zarr",
    ),
}


@pytest.mark.parametrize("case", BAD_STORES)
def test_bad_store(tmp_path, case):
    spoil, word = BAD_STORES[case]
    store(tmp_path / "a.zarr", IMAGE)
    spoil(tmp_path / "a.zarr")
    refused(planned.run(tmp_path, pipeline({"A": "a.zarr"})), 65, word, "a.zarr")


def test_channels_of_different_shapes(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    write(tmp_path / "b.tif", IMAGE[:, :-1])
    done = planned.run(tmp_path, pipeline({"A": "a.tif", "B": "b.tif"}))
    refused(done, 65, "(3, 1, 63, 96)", "(3, 1, 64, 96)")


def test_missing_channel_within_a_file(tmp_path):
    write(tmp_path / "a.tif", np.stack([IMAGE, IMAGE], 1), "TCYX")
    refused(planned.run(tmp_path, pipeline({"A": "a.tif"})), 65, "holds 2 channels")
    wrong = pipeline({"A": {"path": "a.tif", "channel": 2}})
    refused(planned.run(tmp_path, wrong), 65, "no channel 2 (channels: 0, 1)")


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"image_range": {"t": [9, 12]}}, "selects nothing of 3"),
        ({"image_range": {"t": [-2, None]}}, "image_range.t[0]"),
        ({"image_range": {"w": [0, 1]}}, "unknown axis"),
        ({"spacing": [1]}, "spacing"),
        ({"spacing": [0.5, 0]}, "spacing"),
        ({"spacing": ["wide", 0.5]}, "spacing"),
        ({"frame_interval": "1 min"}, "frame_interval"),
        ({"patching": {"patch_count": [2]}}, "patch_count"),
    ],
)
def test_bad_setting(tmp_path, keys, word):
    write(tmp_path / "a.tif", IMAGE)
    refused(planned.run(tmp_path, pipeline({"A": "a.tif"}, **keys)), 65, word)


# ---- labels and tables that are given

BAD_LABELS = {
    "another shape": (np.zeros((3, 64, 95), np.uint16), "(3, 1, 64, 95)"),
    "negative": (np.full(IMAGE.shape, -1, np.int32), "labels from -1"),
    "fractions": (np.zeros(IMAGE.shape, np.float32), "whole numbers"),
    "beyond uint32": (np.full(IMAGE.shape, 2**40, np.int64), "do not fit into uint32"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_label_image(tmp_path, case):
    labels, word = BAD_LABELS[case]
    write(tmp_path / "a.tif", IMAGE)
    write(tmp_path / "l.tif", labels)
    done = planned.run(tmp_path, pipeline({"A": "a.tif"}, labels={"A": "l.tif"}, **MEASURE))
    refused(done, 65, word, tmp_path / "l.tif")


@pytest.mark.parametrize("factor", [0.015, np.nan, 2.0**26, -1.0])
def test_image_that_is_no_label_image(tmp_path, factor):
    write(tmp_path / "a.tif", (IMAGE > 50).astype(np.float64) * 100 * factor)
    steps = [{"name": "ImageToLabel", "channels": ["A"]}]
    done = planned.run(tmp_path, pipeline({"A": "a.tif"}, segmentation=steps))
    assert len(refused(done, 65, "'A'")) == 1


HEAD = "frame,label,y,x\n"
BAD_TABLES = {
    "no label": ("frame,y,x\n0,1,2\n", "column label is missing"),
    "nothing": ("", "not a readable table"),
    "binary": ("\0\1\2", "missing"),
    "text in a number": (HEAD + "0,1,3,4\n1,1,foo,5\n", "row 3: y is foo"),
    "half a frame": (HEAD + "0.5,1,3,4\n", "frame is 0.5"),
    "negative frame": (HEAD + "-1,1,3,4\n", "frame is -1"),
    "label 0": (HEAD + "0,0,3,4\n", "label is 0"),
    "label beyond uint32": (HEAD + "0,5000000000,3,4\n", "label"),
    "a label twice": (HEAD + "0,1,3,4\n0,1,5,6\n", "frame 0 has label 1 more than once"),
    "no number": (HEAD + "0,1,,4\n", "y is nan"),
    "infinity": (HEAD + "0,1,inf,4\n", "y is inf"),
    "commas in numbers": ("frame;label;y;x\n0;1;3,5;4,5\n", "3,5"),
    "text as a track": ("frame,label,y,x,track_id\n0,1,3,4,a\n", "track_id"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_table(tmp_path, case):
    text, word = BAD_TABLES[case]
    write(tmp_path / "a.tif", IMAGE)
    (tmp_path / "t.csv").write_text(text)
    done = planned.run(tmp_path, pipeline({"A": "a.tif"}, tables={"A": "t.csv"}, **TRACK))
    assert len(refused(done, 65, word)) == 1


# ---- sample sheets

COLUMNS = "position,channel,path"
BAD_SHEETS = {
    "nothing": (b"", 65, "without rows"),
    "only names": (f"{COLUMNS}\n", 65, "without rows"),
    "unknown column": ("pos,channel,path\nw,A,a.tif\n", 65, "'pos'"),
    "missing file": (f"{COLUMNS}\nw,A,a.tif\nv,A,c.tif\n", 66, "s.csv:3"),
    "channel twice": (f"{COLUMNS}\nw,A,a.tif\nw ,A,b.tif\n", 65, "position w"),
    "channel of no pipeline": (f"{COLUMNS}\nw,A,a.tif\nw,Z,b.tif\n", 65, "s.csv:3"),
    "no channel": (f"{COLUMNS}\nw,Z,a.tif\n", 65, "position w"),
    "text in a number": (f"{COLUMNS},pixel_size\nw,A,a.tif,abc\n", 65, "'abc' is not a number"),
    "not a number": (f"{COLUMNS},pixel_size\nw,A,a.tif,nan\n", 65, "'nan'"),
    "infinity": (f"{COLUMNS},pixel_size\nw,A,a.tif,inf\n", 65, "'inf'"),
    "negative": (f"{COLUMNS},frame_interval\nw,A,a.tif,-3\n", 65, "'-3'"),
    "cells too many": (f"{COLUMNS}\nw,A,a.tif,7\n", 65, "more cells than the 3 columns"),
    "cells too few": (f"{COLUMNS}\nw,A\n", 65, "position and path are needed"),
    "not UTF-8": (f"{COLUMNS}\nµ,A,a.tif\n".encode("latin1"), 65, "not UTF-8"),
    "binary": (bytes(range(256)), 65, "not UTF-8"),
    "wrong axes": (f"{COLUMNS},axes\nw,A,a.tif,YX\n", 65, "axes 'YX'"),
    "no axes": (f"{COLUMNS},axes\nw,A,a.tif,QQQ\n", 65, "axes 'QQQ'"),
}


@pytest.mark.parametrize("case", BAD_SHEETS)
def test_bad_sample_sheet(tmp_path, case):
    text, code, word = BAD_SHEETS[case]
    write(tmp_path / "a.tif", IMAGE)
    write(tmp_path / "b.tif", IMAGE)
    (tmp_path / "s.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    done = planned.run(tmp_path, pipeline(["A"], input="s.csv"))
    refused(done, code, word, tmp_path / "s.csv" if "channel" not in case else "")
    assert not done.jobs


# ---- where to write, and what to start with


def test_output_folder_that_cannot_be_made(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    (tmp_path / "file").touch()
    for folder in ("file", "file/inside"):
        done = planned.run(tmp_path, pipeline({"A": "a.tif"}), "--outdir", tmp_path / folder)
        refused(done, 65, "output folder", "--outdir")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_folder_without_the_right_to_write(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    (tmp_path / "closed").mkdir(mode=0o555)
    done = planned.run(tmp_path, pipeline({"A": "a.tif"}), "--outdir", tmp_path / "closed")
    refused(done, 65, "no right to write")


def test_from_needs_an_earlier_run(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    done = planned.run(tmp_path, pipeline({"A": "a.tif"}, **SEGMENT_AND_MEASURE), *FROM)
    refused(done, 66, "an earlier run in the same output folder")
    listing = tmp_path / "results" / "pipeline_info" / "files.tsv"
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("p1.Seg.A.label.0000.zarr\t/nowhere\n")
    done = planned.run(tmp_path, pipeline({"A": "a.tif"}, **SEGMENT_AND_MEASURE), *FROM)
    refused(done, 65, "of the earlier run are gone")


FROM = ("--from", "LabelToSparse")
SEGMENT_AND_MEASURE = {
    "segmentation": [{"name": "Threshold", "tag": "Seg", "channels": ["A"]}],
    **MEASURE,
}


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        (("--until", "Zzz"), 65, "'Zzz'"),
        (("--from", "seg"), 65, "did you mean Seg?"),
        (("--resources", "none.yaml"), 66, "none.yaml"),
        (("--assume_shape", "t=x"), 2, "t=x"),
        (("--nonsense",), 2, "--nonsense"),
    ],
)
def test_bad_option_of_the_plan(tmp_path, words, code, word):
    write(tmp_path / "a.tif", IMAGE)
    refused(planned.run(tmp_path, pipeline({"A": "a.tif"}), *words), code, word)


def test_more_steps_than_a_run_can_have(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    steps = [{"name": "GammaCorrection", "tag": f"g{i}", "channels": "all"} for i in range(33)]
    done = planned.run(tmp_path, pipeline({"A": "a.tif"}, preprocessing=steps))
    refused(done, 65, "33 steps are more than the 32")


# ---- disks and killed tasks


def ingest_words(image, folder):
    pixel = ("--pixel_size", "1") * 3
    return [
        "--source", image, "--out-image", folder / "p.i.a.image.0000.zarr",
        "--out-statistics", folder / "p.i.a.statistics.0000.parquet", *pixel,
        "--chunks", "1,1,512,512", "--shards", "4,1,512,512", "--position", "p", "--channel", "a",
    ]  # fmt: skip


@contextmanager
def small_disk(folder, size):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("size", ["64k", "1m"])
def test_full_disk(tmp_path, size):
    image = np.random.default_rng(0).integers(0, 60000, (4, 512, 512)).astype(np.uint16)
    write(tmp_path / "a.tif", image)
    rows = "".join(f"0,{i},{i * 1.137},{i * 2.71828}\n" for i in range(1, 60000))
    (tmp_path / "t.csv").write_text("frame,label,y,x\n" + rows)
    with small_disk(tmp_path / "disk", size) as disk:
        done = planned.command("ingest_image", *ingest_words(tmp_path / "a.tif", disk))
        assert len(refused(done, 75, "the disk is full")) == 1
        assert not list(disk.iterdir()), "nothing half-written is left"
        table = disk / "p.i.a.table.0000.parquet"
        words = ("--position", "p", "--channel", "a", *("--pixel_size", "1") * 3)
        words = ("--source", tmp_path / "t.csv", "--out-cells", table, *words)
        assert len(refused(planned.command("ingest_table", *words), 75, "the disk is full")) == 1
        assert not list(disk.iterdir())


@pytest.mark.slow
def test_killed_while_writing(tmp_path):
    from cytoloom import images

    image = np.random.default_rng(0).integers(0, 60000, (4, 512, 512)).astype(np.uint16)
    write(tmp_path / "a.tif", image)
    program = PROJECT / "bin" / "ingest_image.py"
    words = [str(word) for word in ingest_words(tmp_path / "a.tif", tmp_path / "out")]
    out = tmp_path / "out"
    for _ in range(3):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        child = subprocess.Popen([sys.executable, program, *words], stderr=subprocess.DEVNULL)
        while child.poll() is None and not any(out.rglob("0")):  # until it writes
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.wait()
        named = [p for p in out.iterdir() if not p.name.startswith(".")]
        for path in named:
            if path.suffix == ".zarr":
                np.testing.assert_array_equal(images.open_layer(path).read()[:, 0], image)
    done = subprocess.run([sys.executable, program, *words], check=False)
    assert done.returncode == 0
    assert (images.open_layer(out / "p.i.a.image.0000.zarr").read()[:, 0] == image).all()


# ---- the launcher, and Nextflow


def launch(*words, cwd):
    program = [sys.executable, str(PROJECT / "cytoloom")]
    done = subprocess.run(
        [*program, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        ((), 2, "usage"),
        (("rnu",), 2, "did you mean 'run'"),
        (("--nonsense",), 2, "--nonsense"),
        (("run",), 2, "no pipeline given"),
        (("run", "p.yaml"), 2, "add --pipeline p.yaml"),
        (("run", "--pipeline"), 2, "needs a value"),
        (("run", "--pipeline", "none.yaml"), 66, "none.yaml"),
        (("run", "--pipeline", "."), 66, "no pipeline at ."),
        (("setup", "nonsense"), 2, "unknown environment"),
        (("test", "--fast", "--full"), 2, "not both"),
    ],
)
def test_launcher_refuses(tmp_path, words, code, word):
    done = launch(*words, cwd=tmp_path)
    assert done.returncode == code
    assert word in done.stdout + done.stderr


BAD_PIPELINES = {
    "broken": ("channels: [", 65, "not valid YAML"),
    "empty": ("", 65, "empty"),
    "empty image": ("channels: {A: empty.tif}", 65, "an empty file"),
    "missing image": ("channels: {A: none.tif}", 66, "none.tif"),
}
STEPS = "\noutput_dir: o\npipeline: {segmentation: [{name: Threshold, channels: [A]}]}\n"


@pytest.fixture
def bad_pipeline(tmp_path):
    """Return a function that writes one of the bad pipelines."""
    (tmp_path / "empty.tif").touch()

    def make(case):
        text = BAD_PIPELINES[case][0]
        (tmp_path / "p.yaml").write_text(text + STEPS if "{" in text else text)
        return tmp_path

    return make


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD_PIPELINES)
def test_exit_codes_pass_through_the_launcher(bad_pipeline, family_python, case):
    family_python("core")
    _, code, word = BAD_PIPELINES[case]
    done = launch("run", "--pipeline", "p.yaml", cwd=bad_pipeline(case))
    assert (done.returncode, word in done.stderr) == (code, True), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("case", ["broken", "missing image"])
def test_exit_codes_pass_through_nextflow(bad_pipeline, family_python, case):
    from workflows import nextflow

    family_python("core")
    _, code, word = BAD_PIPELINES[case]
    done = nextflow.run(["--pipeline", "p.yaml", "--outdir", "o"], bad_pipeline(case))
    assert (done.returncode, word in done.stderr) == (code, True), done.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        (("segment_threshold",), 2, "--image"),
        (("segment_threshhold",), 2, "did you mean"),
        (("ingest_table", "--nonsense", "1"), 2, "--nonsense"),
        (("analyse_filter", "--table", "n", "--out-table", "o"), 2, "Missing option"),
    ],
)
def test_stages_refuse(tmp_path, family_python, words, code, word):
    family_python("core")
    done = launch("stage", *words, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
    assert word in done.stderr
