"""Training: a tiny network learns for a few steps, and the step takes what was written."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import train_cellpose3

from cytoloom import simulated_nuclei

BIN = Path(__file__).resolve().parents[2] / "bin"
ENGINES = {
    "stardist": ["--patch", "64", "--rays", "16", "--filters", "4"],
    "cellpose3": ["--patch", "48"],
}


@pytest.fixture
def folders(tmp_path):
    """Four simulated frames of 96 px with their labels."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for index in range(4):
        rng = np.random.default_rng(index)
        look = simulated_nuclei.Look.draw(rng, 24.0)
        image, labels = simulated_nuclei.simulate(rng, (96, 96), look)
        tifffile.imwrite(tmp_path / "images" / f"n{index}.tif", image)
        tifffile.imwrite(tmp_path / "labels" / f"n{index}_masks.tif", labels.astype(np.uint16))
    return tmp_path


def train(python, engine, folder, *words):
    """Run the training of an engine; return what it did."""
    command = [python, BIN / f"train_{engine}.py", "--images", folder / "images",
               "--labels", folder / "labels", "--out", folder / "mine", *words]  # fmt: skip
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_tiny_network_is_trained_goes_on_and_segments(engine, folders, family_python, tmp_path):
    python, model = family_python(engine), folders / "mine"
    words = [*ENGINES[engine], "--batch", "1", "--simulated", "2", "--held_out", "0.3",
             "--licence", "CC0", "--source", "simulated"]  # fmt: skip
    done = train(python, engine, folders, *words, "--steps", "2")
    assert done.returncode == 0, done.stderr
    assert "3 images to train on, 1 held out" in done.stderr
    first = (model / "SHA256SUMS").read_text()
    done = train(python, engine, folders, *words, "--steps", "4", "--cores", "2")
    assert done.returncode == 0, done.stderr
    sums = dict(line.split("  ")[::-1] for line in (model / "SHA256SUMS").read_text().splitlines())
    assert (model / "SHA256SUMS").read_text() != first
    for file, digest in sums.items():
        assert hashlib.sha256((model / file).read_bytes()).hexdigest() == digest
    card = (model / "README.md").read_text()
    for fact in ("licence: CC0", "4 steps", " s on 2 CPU core", "| 1 |", *sums.values()):
        assert fact in card
    assert json.loads((model / "scores.json").read_text())["images"] == 1
    assert (model / "held_out.txt").read_text().split()[0] in {"n0", "n1", "n2", "n3"}
    _segments(engine, python, model, tmp_path)


def _segments(engine, python, model, folder):
    step = {"stardist": "segment_stardist", "cellpose3": "segment_cellpose"}[engine]
    option = {"stardist": "model_name", "cellpose3": "model_type"}[engine]
    if not (BIN / f"{step}.py").exists():
        return
    np.save(folder / "image.npy", np.random.default_rng(0).random((1, 1, 64, 64)))
    words = [step, folder / "image.npy", folder / "out.npy", 1, 1, json.dumps({option: str(model)})]
    command = [python, BIN.parent / "tests" / "phases.py", *words]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.load(folder / "out.npy").shape == (1, 1, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize("grid", [1, 2])
def test_targets_are_those_of_stardists_completion_of_shapes(grid, family_python, tmp_path):
    rng = np.random.default_rng(4)
    _, labels = simulated_nuclei.simulate(rng, (192, 192), simulated_nuclei.Look.draw(rng, 24.0))
    np.save(tmp_path / "labels.npy", labels.astype(np.int32))
    words = ["targets", tmp_path / "labels.npy", tmp_path / "out.npz", 48, 16, grid]
    script = BIN.parent / "tests" / "stardist_engine.py"
    command = [family_python("stardist"), script, *words]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    found = np.load(tmp_path / "out.npz")
    np.testing.assert_array_equal(found["probability"], found["own"])
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    patch = labels[48:-48:grid, 48:-48:grid]
    whole = (patch > 0) & ~np.isin(patch, edge[edge > 0])
    assert whole.mean() > 0.1
    ours, own = found["distances"], found["own_distances"]
    np.testing.assert_array_equal(ours[whole][:, :-1], own[whole][:, :-1])
    cut = np.isin(patch, np.concatenate([patch[0], patch[-1], patch[:, 0], patch[:, -1]])) & whole
    assert cut.any()
    assert (found["probability"][cut] > 0.9).any()  # nuclei that the patch cuts are looked for
    assert not ours[~whole][:, -1].any()  # of others the distances are not known


def test_an_image_ends_inside_a_patch():
    inner = (slice(16, 144), slice(10, 138))
    for seed in range(20):
        image, labels = np.full((160, 150), 2.0), np.full((160, 150), 7)
        train_cellpose3.end_image(np.random.default_rng(seed), image, labels, inner)
        np.testing.assert_array_equal(image > 0, labels == 7)
        rows, columns = (np.flatnonzero((image[inner] > 0).any(axis=a)) for a in (1, 0))
        found = [rows[0], 127 - rows[-1], columns[0], 127 - columns[-1]]
        assert any(found)
        assert all(gap == 0 or 8 <= gap < 32 for gap in found)
        assert (image > 0).sum() >= (128 - 62) ** 2  # a rectangle, and no more is lost


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (lambda f: [p.unlink() for p in (f / "images").iterdir()], 66, "has no image files"),
        (lambda f: [p.rename(f"{p}.x.tif") for p in (f / "labels").iterdir()], 66, "has labels"),
        (
            lambda f: tifffile.imwrite(f / "labels" / "n0_masks.tif", np.ones((9, 96), np.uint8)),
            65,
            "its image",
        ),
        (
            lambda f: tifffile.imwrite(
                f / "labels" / "n0_masks.tif", np.ones((96, 96), np.float32)
            ),
            65,
            "whole numbers",
        ),
    ],
)
def test_bad_input_ends_in_one_line(engine, folders, spoil, code, message):
    spoil(folders)
    done = train(sys.executable, engine, folders)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_wrong_usage(folders):
    done = train(sys.executable, "stardist", folders, "--held_out", "2")
    assert done.returncode == 2
    assert "a share is between 0 and 0.9" in done.stderr
    done = train(sys.executable, "stardist", folders, "--base", "nobodys")
    assert done.returncode == 66
    assert len(done.stderr.splitlines()) == 1
