"""LogStd: PyAMA's algorithm written plainly, any cut, bright grounds, hard inputs."""

import numpy as np
import phases
import plain_traces
import pytest
import segment_logstd
import segment_logstd_threshold
from simulated_traces import movie

from cytoloom import logstd
from cytoloom.errors import BadData, UsageError


@pytest.fixture(scope="module")
def frame():
    return movie(1, 448, 5, seed=3)


def segment(image, folder, rows=1, columns=1, **options):
    """Segment a frame (y, x) in patches, with the thresholds that the plan would make."""
    stack = image[None, None]
    if rows * columns > 1:
        folder.mkdir(parents=True)
        pattern, statistics = phases.write_image(folder, stack, rows, columns)
        wanted = {k: v for k, v in options.items() if k in ("threshold", "window_size")}
        out = folder / "thresholds.json"
        segment_logstd_threshold.main(pattern, statistics, out, **wanted)
        options["thresholds"] = str(out)
    return phases.segment("segment_logstd", stack, folder, rows, columns, **options)[0, 0]


@pytest.mark.parametrize("method", ["valley", "mode"])
@pytest.mark.parametrize("cleanup", ["shipped", "reference"])
def test_labels_are_those_of_the_plain_algorithm(frame, tmp_path, method, cleanup):
    found = segment(
        frame.phase[0], tmp_path, threshold=logstd.Method(method),
        cleanup=segment_logstd.Cleanup(cleanup),
    )  # fmt: skip
    np.testing.assert_array_equal(found, plain_traces.segment(frame.phase[0], method, cleanup))
    # The reference's clean-up drops cells narrower than 43 px.
    assert found.max() == 25 if cleanup == "shipped" else found.max() < 20


def test_cells_are_found(frame, tmp_path):
    found = segment(frame.phase[0], tmp_path)
    truth = frame.labels[0]
    assert found.max() == truth.max() == 25
    both = ((found > 0) & (truth > 0)).sum()
    assert 2 * both / ((found > 0).sum() + (truth > 0).sum()) > 0.9


@pytest.mark.parametrize("cleanup", ["shipped", "reference"])
@pytest.mark.parametrize("split", [False, True])
def test_patches_give_the_whole(tmp_path, cleanup, split):
    image = movie(1, 768, 7, seed=5, radius=(24, 34)).phase[0]
    options = {"cleanup": segment_logstd.Cleanup(cleanup), "split": split, "morph_size": 5}
    whole = segment(image, tmp_path / "whole", **options)
    cut = segment(image, tmp_path / "cut", 2, 2, **options)
    assert whole.max() > 10
    np.testing.assert_array_equal(cut, whole)


def test_patches_that_show_too_little_are_refused(frame, tmp_path):
    with pytest.raises(BadData, match="make patches of at least"):
        segment(frame.phase[0], tmp_path / "cut", 7, 7)


def test_a_part_of_a_frame_needs_the_thresholds(frame, tmp_path):
    image = movie(1, 768, 3, seed=5).phase[0]
    with pytest.raises(UsageError, match="--thresholds"):
        phases.segment("segment_logstd", image[None, None], tmp_path, 2, 2)


def test_bright_quiet_ground_does_not_cancel():
    rng = np.random.default_rng(0)
    plane = np.rint(rng.normal(30000, 3, (300, 300))).astype(np.uint16)
    exact = plain_traces.log_std(plane.astype(np.int64) - 30000)
    found = logstd.log_std(logstd.spread(plane))
    inner = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(found[inner], exact[inner], atol=1e-6)
    assert (found > 0).mean() > 0.99


@pytest.mark.parametrize("window", [3, 5, 9])
@pytest.mark.parametrize("top", [200, 65536])
def test_variances_are_exact(window, top):
    plane = np.random.default_rng(1).integers(0, top, (40, 57)).astype(np.uint16)
    exact = plain_traces.log_std(plane, window)
    np.testing.assert_allclose(
        logstd.log_std(logstd.spread(plane, window), window), exact, rtol=2e-6
    )


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_float_images_are_segmented_alike(frame, tmp_path, scale):
    image = frame.phase[0]
    small = (image * scale).astype(np.float32)
    found = segment(small, tmp_path / "float")
    whole = segment(image, tmp_path / "integer")
    assert ((found > 0) == (whole > 0)).mean() > 0.995


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32])
def test_whole_numbers_of_any_type(frame, tmp_path, dtype):
    image = np.clip(frame.phase[0] // 20, 0, 255)
    expected = segment(image, tmp_path / "a")
    np.testing.assert_array_equal(segment(image.astype(dtype), tmp_path / "b"), expected)


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_frame_has_no_cells(tmp_path, value):
    assert not segment(np.full((60, 70), value, np.uint16), tmp_path).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (64, 2)])
def test_tiny_frames(tmp_path, shape):
    image = np.random.default_rng(2).integers(0, 99, shape).astype(np.uint16)
    assert segment(image, tmp_path).shape == shape


def test_noise_alone_gives_hardly_any_cells(tmp_path):
    image = np.random.default_rng(3).normal(1000, 20, (400, 400)).astype(np.uint16)
    assert (segment(image, tmp_path) > 0).mean() < 0.01


def test_ground_without_any_noise(tmp_path):
    image = np.full((200, 200), 500, np.uint16)
    rng = np.random.default_rng(4)
    image[60:110, 50:120] = rng.integers(300, 900, (50, 70))
    found = segment(image, tmp_path)
    assert found.max() == 1
    assert abs((found > 0).sum() - 52 * 72) < 200


def test_touching_cells_are_parted_on_demand(tmp_path):
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:160, :240]
    cells = np.hypot(y - 80, x - 90) < 30
    cells |= np.hypot(y - 80, x - 144) < 30
    image = (1000 + rng.normal(0, 3, cells.shape) + cells * rng.normal(0, 90, cells.shape)).astype(
        np.uint16
    )
    assert segment(image, tmp_path / "one").max() == 1
    assert segment(image, tmp_path / "two", split=True).max() == 2


def test_sizes_and_edges(frame, tmp_path):
    image = frame.phase[0][:, 30:]
    background = segment(image, tmp_path / "a", max_size=0)
    ignored = segment(image, tmp_path / "b", max_size=0, edge=segment_logstd.Edge.ignored)
    assert (background[:, 0] == 0).all()
    assert (ignored[:, 0] > 0).any()
    sizes = np.bincount(ignored.ravel())[1:]
    few = segment(image, tmp_path / "c", min_size=int(sizes.min()) + 1, max_size=0)
    assert 0 < few.max() < len(sizes)


def test_pieces_of_no_cells_size_are_explained(frame, tmp_path, caplog):
    assert not segment(frame.phase[0], tmp_path, max_size=300).any()
    (record,) = caplog.records
    assert "frame 0: no cell of 50 to 300 px: the largest piece has" in record.getMessage()


def test_even_widths_are_refused(frame, tmp_path):
    with pytest.raises(UsageError, match="window_size 4"):
        segment(frame.phase[0], tmp_path / "a", window_size=4)
    with pytest.raises(UsageError, match="morph_size 6"):
        segment(frame.phase[0], tmp_path / "b", morph_size=6)


def test_planes_of_a_volume(frame, tmp_path):
    stack = np.stack([frame.phase[0], frame.phase[0][::-1]])[None]
    labels = phases.segment("segment_logstd", stack, tmp_path)[0]
    one = segment(frame.phase[0], tmp_path / "one")
    np.testing.assert_array_equal(labels[0], one)
    assert set(np.unique(labels[1])) - {0} == set(range(one.max() + 1, labels.max() + 1))
