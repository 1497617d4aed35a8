"""Training data: pairing, split, augmentation, simulation, checkpoints, scores."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from skimage import io

from cytoloom import augment, matches, simulated_nuclei, training, training_data
from cytoloom.errors import BadData, InputMissing, UsageError

NAMES = [f"image {i}" for i in range(40)]


def write(folder, name, array):
    folder.mkdir(exist_ok=True)
    if name.endswith(".tif"):
        grey = {} if array.shape[-1] == 3 else {"photometric": "minisblack"}
        tifffile.imwrite(folder / name, array, **grey)
    else:
        io.imsave(folder / name, array, check_contrast=False)


def labelled(shape=(64, 64)):
    labels = np.zeros(shape, np.uint16)
    labels[8:24, 8:24] = 1
    labels[30:60, 20:60] = 2
    return labels


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "images", f"{name}.tif", np.arange(4096, dtype=np.uint16).reshape(64, 64))
        write(tmp_path / "labels", f"{name}_masks.tif", labelled())
    return tmp_path


def found(folder):
    return training_data.find_pairs(str(folder / "images"), str(folder / "labels"))


# ---- pairs


def test_images_are_matched_with_labels_by_name(folders):
    write(folders / "images", "lonely.tif", np.zeros((64, 64), np.uint8))
    assert [(n, a.name, b.name) for n, a, b in found(folders)] == [
        ("a", "a.tif", "a_masks.tif"),
        ("b", "b.tif", "b_masks.tif"),
    ]
    pairs = training_data.read_pairs(found(folders))
    np.testing.assert_array_equal(pairs[0].labels, labelled())
    assert pairs[0].diameter == pytest.approx(2 * np.sqrt((256 + 1200) / 2 / np.pi))


def test_images_and_labels_in_one_folder(folders):
    write(folders / "both", "a.tif", np.zeros((64, 64), np.uint8))
    write(folders / "both", "a_label.tif", labelled())
    pattern = str(folders / "both" / "*.tif")
    assert [n for n, _, _ in training_data.find_pairs(pattern, pattern)] == ["a"]


def test_a_stack_is_one_pair_for_each_frame(tmp_path):
    write(tmp_path / "images", "movie.tif", np.zeros((3, 64, 64), np.uint8))
    write(tmp_path / "labels", "movie.tif", np.stack([labelled()] * 3))
    pairs = training_data.read_pairs(found(tmp_path))
    assert [p.name for p in pairs] == ["movie"] * 3


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (np.zeros((64, 64), np.uint8), np.zeros((64, 60), np.uint8), "shape .* but its image"),
        (np.zeros((64, 64), np.uint8), np.ones((64, 64), np.float32), "whole numbers"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8), "one channel"),
        (np.zeros((64, 64), np.uint8), -np.ones((64, 64), np.int16), "negative labels"),
        (np.full((64, 64), np.nan, np.float32), labelled(), "without a number"),
        (np.zeros((20, 64), np.uint8), np.zeros((20, 64), np.uint8), "smaller than 32"),
        (np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8), "no label image has"),
    ],
)
def test_bad_pairs(tmp_path, image, labels, message):
    write(tmp_path / "images", "x.tif", image)
    write(tmp_path / "labels", "x.tif", labels)
    with pytest.raises(BadData, match=message) as error:
        training_data.read_pairs(found(tmp_path))
    assert "\n" not in str(error.value)


def test_missing_pairs(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputMissing, match="has no image files"):
        training_data.find_pairs(str(tmp_path / "empty"), str(folders / "labels"))
    with pytest.raises(InputMissing, match="is no folder and matches no"):
        training_data.find_pairs(str(tmp_path / "nowhere"), str(folders / "labels"))
    write(tmp_path / "others", "z.tif", labelled())
    with pytest.raises(InputMissing, match=r"no image of .* has labels"):
        training_data.find_pairs(str(folders / "images"), str(tmp_path / "others"))


def test_a_file_that_is_no_image(folders):
    (folders / "images" / "a.tif").write_text("no image")
    with pytest.raises(BadData, match=r"a\.tif: cannot be read"):
        training_data.read_pairs(found(folders))


# ---- split


@given(st.permutations(NAMES), st.floats(0.01, 0.9), st.integers(0, 5))
def test_the_split_depends_on_names_and_seed_alone(names, share, seed):
    held = training_data.split(names, str(share), seed)
    assert held == training_data.split(NAMES, str(share), seed)
    assert held <= set(NAMES)
    assert len(held) == max(1, round(share * len(NAMES)))


def test_a_file_names_what_is_held_out(tmp_path):
    file = tmp_path / "held.txt"
    file.write_text("image 3\nimage 5\n")
    assert training_data.split(NAMES, str(file), 0) == {"image 3", "image 5"}
    file.write_text("nothing like it\n")
    with pytest.raises(InputMissing, match="no image is named 'nothing like it'"):
        training_data.split(NAMES, str(file), 0)
    with pytest.raises(InputMissing, match="neither a share nor a file"):
        training_data.split(NAMES, "everything", 0)
    with pytest.raises(UsageError, match="between 0 and"):
        training_data.split(NAMES, "1.5", 0)
    file.write_text("a\n")
    with pytest.raises(UsageError, match="leaves no image"):
        training_data.split(["a", "a"], str(file), 0)


def test_nothing_is_held_out_of_a_share_of_nothing():
    assert training_data.split(NAMES, "0", 0) == set()


# ---- augmentation


def marked(shape=(90, 120)):
    """A pair whose image says what its label is."""
    rng = np.random.default_rng(1)
    labels = np.kron(rng.integers(0, 30, (shape[0] // 15, shape[1] // 15)), np.ones((15, 15)))
    labels = labels.astype(np.int32)
    return augment.Pair("x", labels.astype(np.float32), labels, 15.0)


@given(st.integers(0, 10**6), st.integers(0, 24))
def test_image_and_labels_are_cut_turned_and_mirrored_alike(seed, margin):
    image, labels, inner = augment.window(np.random.default_rng(seed), marked(), 32, 1.0, margin)
    np.testing.assert_array_equal(image, labels)
    assert image[inner].shape == (32, 32)


@given(st.integers(0, 10**6), st.sampled_from([0.4, 0.8, 1.3, 2.7]))
def test_zoomed_labels_are_labels_and_lie_where_the_image_shows_them(seed, zoom):
    pair = marked()
    image, labels, inner = augment.window(np.random.default_rng(seed), pair, 32, zoom, 8)
    assert set(np.unique(labels)) <= set(np.unique(pair.labels))
    assert image[inner].shape == (32, 32)
    close = np.abs(image - labels) < 0.5
    assert close.mean() > 0.45  # all but the pixels at edges, which are mixed


def test_every_turn_occurs():
    square = np.arange(6).reshape(2, 3)
    turns = {str(augment._turned(turn, square)[0]) for turn in range(8)}  # noqa: SLF001
    assert len(turns) == 8


@given(st.integers(0, 10**6))
def test_light_leaves_the_image_finite_and_the_labels_alone(seed):
    pair = marked()
    labels = pair.labels.copy()
    seen = augment.relight(np.random.default_rng(seed), pair.image / 30, pair.labels)
    assert seen.shape == pair.image.shape
    assert seen.dtype == np.float32
    assert np.isfinite(seen).all()
    np.testing.assert_array_equal(pair.labels, labels)


def test_a_constant_image_is_normalised_to_zero():
    assert not augment.normalised(np.full((9, 9), 7, np.uint8)).any()


def test_patches_have_nuclei_of_every_wanted_size():
    patches = training.Patches([marked()], training.simulated_pairs(6, 0, edge=160))
    rng = np.random.default_rng(0)
    sizes = [augment.median_diameter(patches.draw(rng, 96, 16)[1]) for _ in range(60)]
    assert min(sizes) < 15
    assert max(sizes) > 40


# ---- simulated nuclei


@given(st.integers(0, 10**6), st.floats(16, 95))
def test_simulated_labels_are_numbered_without_gaps(seed, diameter):
    rng = np.random.default_rng(seed)
    look = simulated_nuclei.Look.draw(rng, diameter)
    image, labels = simulated_nuclei.simulate(rng, (160, 160), look)
    assert image.shape == labels.shape == (160, 160)
    assert np.isfinite(image).all()
    numbers = np.unique(labels)
    numbers = numbers[numbers > 0]
    np.testing.assert_array_equal(numbers, np.arange(1, len(numbers) + 1))


def test_simulated_frames_are_the_same_for_the_same_seed():
    one, two = (training.simulated_pairs(3, 4, edge=96) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_simulated_nuclei_are_brighter_than_the_background():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        image, labels = simulated_nuclei.simulate(rng, (160, 160))
        if labels.any():
            assert image[labels > 0].mean() > image[labels == 0].mean()


# ---- scores


def test_scores_of_known_overlaps():
    true, found_labels = labelled(), labelled()
    found_labels[8:24, 16:24] = 0  # half of the first
    found_labels[0:4, 0:4] = 9
    assert matches.pooled([(true, true), (true, found_labels)]).f1 == pytest.approx(8 / 9)
    np.testing.assert_allclose(matches.seg(true, found_labels), [0, 1])
    found_labels[8:24, 16:18] = 1
    np.testing.assert_allclose(matches.seg(true, found_labels), [160 / 256, 1])


def test_scores_where_there_is_nothing():
    empty = np.zeros((8, 8), int)
    assert matches.pooled([(empty, empty)]).f1 is None
    assert matches.pooled([(empty, empty + 1)]).f1 == 0
    assert matches.seg(empty + 1, empty).tolist() == [0]
    assert matches.evaluate([], lambda image: image)["images"] == 0


# ---- steps


class Variable:
    """A variable as the engines have it."""

    def __init__(self, array):
        self.array = np.array(array, np.float32)
        self.shape = self.array.shape

    def assign(self, array):
        self.array = np.array(array)

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_a_checkpoint_gives_back_what_it_was_given(tmp_path):
    folder, path = tmp_path / "model", tmp_path / "model.checkpoint.npz"
    weights, moments = [Variable([1, 2])], [Variable([[3]])]
    state = training.State.open(folder, "w.h5")
    state.restore(weights, moments)
    state.step, state.seconds = 5, 2.5
    weights[0].assign(np.float32([5, 6]))
    state.average(weights, 4)
    state.save(weights, moments)
    again = training.State.open(folder, "w.h5")
    fresh = [Variable([0, 0])]
    again.restore(fresh, [Variable([[0]])])
    assert (again.step, again.seconds) == (5, 2.5)
    np.testing.assert_array_equal(fresh[0].array, [5, 6])
    np.testing.assert_allclose(again.averages[0], np.array([1, 2]) + 4 * (1 - 5 / 14))
    with pytest.raises(BadData, match="of another network"):
        training.State.open(folder, "w.h5").restore([Variable([0])], [Variable([[0]])])
    path.write_bytes(b"broken")
    with pytest.raises(BadData, match="not a checkpoint"):
        training.State.open(folder, "w.h5")


def test_a_model_of_another_origin_is_not_overwritten(tmp_path):
    (tmp_path / "w.h5").touch()
    with pytest.raises(BadData, match="holds a model already"):
        training.State.open(tmp_path, "w.h5")


def test_a_training_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(tmp_path, caplog):
    def trained(folder, *stops):
        for stop in stops:  # each as a process of its own
            weight, state = [Variable([0.0])], training.State.open(folder, "w.h5")
            state.restore(weight, [])

            def learn(number, patch, weight=weight, state=state):
                weight[0].assign(weight[0].array * np.float32(0.5) + np.float32(patch))
                state.average(weight, number)
                return [float(weight[0].array[0]), 1.0]

            def keep(weight=weight, state=state):
                state.save(weight, [])

            training.run(state, stop, float, 0, learn, keep, minutes=60)
        return state

    with caplog.at_level("INFO", logger="cytoloom"):
        whole, parts = trained(tmp_path / "a", 120), trained(tmp_path / "b", 105, 120, 120)
    assert (whole.step, parts.step) == (120, 120)
    np.testing.assert_array_equal(whole.averages[0], parts.averages[0])
    steps = [record.args[0] for record in caplog.records]
    assert steps == [120, 105, 120]  # a training that had ended takes no step


def square(factor, number):
    return os.getpid(), factor * number**2


@pytest.mark.slow
def test_patches_made_ahead_come_in_order_from_other_processes():
    make, numbers = functools.partial(square, 3), range(5, 25)
    here, there = (list(training.ahead(make, numbers, makers)) for makers in (0, 2))
    assert [value for _, value in there] == [value for _, value in here]
    assert {process for process, _ in here} == {os.getpid()}
    assert os.getpid() not in {process for process, _ in there}


@pytest.mark.slow
def test_a_process_that_makes_patches_ends_with_the_training(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, time\n"
        "from cytoloom import training\n"
        "def make(number):\n    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    made = training.ahead(make, range(99), 1)\n"
        "    print(next(made), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    env = os.environ | {
        "PYTHONPATH": str(Path(training.__file__).parents[1]),
        "TMPDIR": str(scratch),
    }
    # Returns when nobody holds the pipe any more: the process that made patches has ended.
    run = subprocess.run(
        [sys.executable, program], env=env, capture_output=True, check=False, timeout=60
    )
    assert run.returncode == -9
    assert int(run.stdout) > 0
    assert not list(scratch.glob("cytoloom-*"))


def test_cores_are_shared_between_the_network_and_its_patches():
    assert [training.share_of_cores(n) for n in (1, 2, 3, 16)] == [(1, 0), (1, 1), (2, 1), (11, 5)]
    assert [training.share_of_cores(n, gpu=True) for n in (1, 2, 16)] == [(1, 0), (1, 1), (1, 15)]


def test_the_learning_rate_rises_and_falls():
    rates = [training.learning_rate(n, 1000, 1.0) for n in range(1000)]
    assert rates[0] < 0.02
    assert max(rates) == pytest.approx(1, abs=0.05)
    assert rates[-1] < 0.02


def test_a_patch_that_the_network_cannot_take():
    with pytest.raises(UsageError, match="not a multiple of 32"):
        training.check_patch(100, 32)
