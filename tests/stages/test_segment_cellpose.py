"""CellPose: Cellpose's own labels in whole frames, the same in patches; both versions.

Version 3 runs with the shipped model, version 4 with a stand-in of cpsam (`tiny_cpsam`), each
in its environment, all its images in one process (`cellpose_oracle`).
"""

import subprocess

import numpy as np
import phases
import planned
import pytest
from scoring import score

from cytoloom import diameters, models
from cytoloom.errors import BadData


def numbered_alike(first, second):
    """Tell whether two label images are the same up to their numbers."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1).shape[1]
    return pairs == len(np.unique(first)) == len(np.unique(second))


@pytest.fixture(scope="module", params=[3, 4])
def found(request, family_python, project, tmp_path_factory):
    """Labels by name, of Cellpose itself and of the step."""
    folder = tmp_path_factory.mktemp("cellpose")
    oracle = project / "tests" / "cellpose_oracle.py"
    if request.param == 3:
        python = family_python("cellpose3")
        words = [oracle, models.weights_of("cellpose3_nuclei", ("cellpose3",))]
    else:
        python = family_python("cellpose")
        tiny = project / "tests" / "tiny_cpsam.py"
        subprocess.run([python, tiny, "make", folder / "tiny"], check=True, capture_output=True)
        words = [tiny, "run", oracle, folder / "tiny"]
    done = subprocess.run(
        [python, *words, folder / "found.npz"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "found.npz") as arrays:
        return dict(arrays)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flat", "options", "stitched", "volume"])
def test_whole_frames_are_cellposes_own_pixel_for_pixel(found, name):
    ours, engine = found[name][0], found[f"{name}.engine"]
    assert engine.max() > 3
    assert numbered_alike(ours.reshape(engine.shape), engine)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flat", "options"])
def test_patches_show_what_the_whole_frame_shows(found, name):
    patches, engine = found[f"{name}.patches"][0, 0], found[f"{name}.engine"]
    assert (engine > 0).sum() > 500
    assert ((patches > 0) != (engine > 0)).mean() < 1e-4
    assert score(engine, patches, 0.9).f1 >= 0.998


@pytest.mark.slow
def test_objects_are_found_and_an_empty_frame_is_empty(found):
    assert score(found["truth"], found["flat"][0, 0]).f1 > 0.9
    assert not found["flat"][1].any()


@pytest.mark.slow
def test_the_estimated_diameter_serves_as_well(found):
    if "estimated" not in found:
        pytest.skip("Cellpose 4 takes any diameter")
    truth = found["truth"][:128, :128]
    assert score(truth, found["estimated"][0, 0]).f1 > 0.85


@pytest.mark.slow
def test_a_missing_gpu_is_refused(found):
    if "gpu" not in found:
        pytest.skip("this machine has a GPU")
    assert "gpu: true, but torch finds no GPU here" in str(found["gpu"])


# ---- Without a network


@pytest.mark.parametrize(("shape", "words", "code", "message"), [
    ((1, 1, 40, 40), ("--model_type", "cyto3"), 66, "models fetch cyto3"),
    ((1, 1, 40, 40), ("--model_type", "cyto33"), 66, "did you mean 'cyto3'"),
    ((1, 1, 40, 40), ("--model_type", "some/where"), 66, "no such file or folder"),
    ((1, 1, 40, 40), ("--channels", "2", "3"), 2, "a step sees one channel"),
    ((1, 1, 40, 40), ("--invert", "--no_normalize"), 2, "invert needs normalize"),
    ((1, 1, 40, 40), ("--percentile_low", "99"), 2, "below percentile_high"),
    ((1, 4, 40, 40), (), 65, "4 planes; give do_3D: true or a stitch_threshold"),
])  # fmt: skip
def test_mistakes_in_one_line(tmp_path, monkeypatch, shape, words, code, message):
    monkeypatch.setenv("CYTOLOOM_CACHE", str(tmp_path / "none"))
    pattern, histograms = phases.write_image(tmp_path, np.zeros(shape, np.uint16))
    ended = planned.command(
        "segment_cellpose", "--image", pattern, "--statistics", histograms,
        "--out-label", tmp_path / "l.zarr", *words,
    )  # fmt: skip
    assert ended.code == code
    assert message in ended.err
    assert len(ended.lines) == 1


def test_percentiles_are_cellposes():
    from cytoloom.cellpose_frames import percentiles
    from cytoloom.regions import Region
    from cytoloom.statistics import of_array

    rng = np.random.default_rng(0)
    for size in (7, 40, 333):
        image = rng.integers(0, 60000, (1, 1, size, size)).astype(np.uint16)
        known = of_array(image, Region.whole(image.shape))
        low, high = percentiles(known, 0, 1.0, 99.0)
        assert low == np.percentile(image.astype(np.float32), 1)
        assert high == np.percentile(image.astype(np.float32), 99)


def test_a_diameter_is_estimated_by_what_is_found():
    asked = []

    def measure(diameter):
        asked.append(diameter)
        near = 0.4 < diameter / 30 < 2.2
        return np.array([28.0, 30.0, 34.0]) if near else np.empty(0)

    assert diameters.estimate(measure, 12.0) == 30.0
    assert asked == [12.0, 24.0, 30.0]
    assert diameters.estimate(lambda _: np.empty(0), 12.0) == 12.0


def test_samples_do_not_depend_on_the_cut():
    assert diameters.sample_frames(1) == [0]
    assert diameters.sample_frames(11) == [0, 5, 10]
    assert diameters.sample_windows((100, 200)) == [(slice(0, 100), slice(0, 200))]
    windows = diameters.sample_windows((1100, 512))
    assert windows == [(slice(a, a + 512), slice(0, 512)) for a in (0, 294, 588)]
    assert diameters.brightest([np.zeros((2, 2)), np.ones((2, 2)), np.ones((2, 2))]) == [1, 2]


def test_the_diameter_travels_in_a_file(tmp_path):
    for value in (17.5, None):
        diameters.write(tmp_path / "d.parquet", value)
        assert diameters.read(tmp_path / "d.parquet") == value
    (tmp_path / "e.parquet").write_text("x")
    with pytest.raises(BadData, match="not the file of an estimated diameter"):
        diameters.read(tmp_path / "e.parquet")
