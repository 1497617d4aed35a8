"""FlatField, RollingBall, TiledMedian, BleachCorrection: as planned, however the work is cut."""

from __future__ import annotations

import numpy as np
import odd_files
import planned
import preprocess_bleach_fit
import pytest
import tifffile
from skimage import restoration
from skimage.exposure import match_histograms

from cytoloom import illumination, tables

STEPS = [
    {"name": "FlatField", "tag": "Flat", "channels": "all"},
    {"name": "BleachCorrection", "tag": "Bleach", "channels": "all"},
    {"name": "TiledMedian", "tag": "Median", "channels": "all", "args": {"tile": 40, "offset": 9}},
    {"name": "RollingBall", "tag": "Ball", "channels": "all", "args": {"radius": 15}},
]
BATCHES = "pipeline: {preprocessing: {Flat: {batch_size: 1}, Bleach: {batch_size: 2}}}\n"


def movie(dtype=np.uint16, frames=4):
    """Discs under an uneven light that bleaches; axes tyx."""
    image = odd_files.cells(frames, dtype=float)
    light = np.linspace(1.4, 0.6, image.shape[2]) * np.exp(-0.2 * np.arange(frames))[:, None, None]
    return np.rint(image * light * 2 if np.dtype(dtype) == np.uint8 else image * light * 20).astype(
        dtype
    )


def go(folder, image, steps, *words, more=None, axes=None):
    """Write an image and run preprocessing steps on it, without delivery."""
    folder.mkdir(exist_ok=True)
    odd_files.write(folder / "a.tif", image, axes)
    text = odd_files.pipeline({"A": "a.tif"}, preprocessing=steps) | (more or {})
    return planned.run(folder, text, *words)


def flatfield_of(done):
    (path,) = done.paths(r".*\.flatfield\.\d+\.tif")
    return illumination.read_fields(path)


@pytest.mark.parametrize(
    ("dtype", "method"), [(np.uint16, "retrospective"), (np.float32, "logstats")]
)
def test_any_cut_gives_the_same_pixels(tmp_path, dtype, method):
    steps = [STEPS[0] | {"args": {"method": method}}, *STEPS[1:]]
    whole = go(tmp_path / "whole", movie(dtype), steps)
    assert whole.code == 0, whole.err
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "r.yaml").write_text(BATCHES)
    cut = go(
        tmp_path / "cut", movie(dtype), steps, "--resources", tmp_path / "cut" / "r.yaml",
        more={"patching": {"patch_count": [1, 2]}},
    )  # fmt: skip
    assert cut.code == 0, cut.err
    assert len(cut.jobs) > 2 * len(whole.jobs)
    for tag in ("Flat", "Bleach", "Median", "Ball"):
        np.testing.assert_array_equal(cut.image(tag, "A"), whole.image(tag, "A"), tag)
        assert whole.image(tag, "A").dtype == dtype
    np.testing.assert_array_equal(flatfield_of(cut).first, flatfield_of(whole).first)


def test_one_field_of_all_positions(tmp_path):
    places = []
    for name in "pq":
        odd_files.write(tmp_path / f"{name}.tif", movie()[:, :, :: 1 if name == "p" else -1])
        places.append({"position": name, "path": f"{name}.tif"})
    text = odd_files.pipeline({"A": 0}, preprocessing=[STEPS[0] | {"args": {"scope": "run"}}])
    done = planned.run(tmp_path, text | {"input": places})
    assert done.code == 0, done.err
    field = flatfield_of(done)
    assert field.images == 8
    for name in "pq":
        image = tifffile.imread(tmp_path / f"{name}.tif")
        np.testing.assert_array_equal(
            done.image("Flat", "A", position=name)[:, 0],
            np.clip(np.rint(image / field.first.astype(float)), 0, 65535),
        )


def test_a_flatfield_of_an_earlier_run_is_applied(tmp_path):
    image = movie()
    first = go(tmp_path / "one", image, STEPS[:1])
    (path,) = first.paths(r".*\.flatfield\.\d+\.tif")
    given = STEPS[0] | {"args": {"flatfield": str(path)}}
    second = go(tmp_path / "two", image, [given])
    assert second.code == 0, second.err
    np.testing.assert_array_equal(second.image("Flat", "A"), first.image("Flat", "A"))
    assert len(second.jobs) == len(first.jobs) - 2
    other = go(tmp_path / "three", image[:, :60], [given])
    assert other.code == 65
    assert "a field of 64 x 96 pixels for images of 60 x 96" in other.err
    gone = go(tmp_path / "four", image, [STEPS[0] | {"args": {"flatfield": "gone.tif"}}])
    assert gone.code in (65, 66)
    assert "gone.tif" in gone.err


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((3, 20, 30), np.uint16),
        np.full((3, 20, 30), 7, np.uint8),
        np.full((1, 20, 30), 5, np.int16),
        np.full((2, 3, 20, 30), 9, np.uint16),
        np.full((2, 20, 30), 1.5, np.float32),
    ],
)
def test_what_is_even_stays_as_it_is(tmp_path, image):
    done = go(tmp_path, image, STEPS[:2])
    assert done.code == 0, done.err
    for tag in ("Flat", "Bleach"):
        np.testing.assert_array_equal(np.squeeze(done.image(tag, "A")), np.squeeze(image))
    done = go(tmp_path / "more", image, [STEPS[2] | {"args": {}}, STEPS[3]])
    assert done.code == 0, done.err
    assert not done.image("Ball", "A").any()


def test_nan_stays_where_it_is(tmp_path):
    image = movie(np.float32)
    image[:, 10:14, 10:14] = np.nan
    done = go(tmp_path, image, STEPS)
    assert done.code == 0, done.err
    for tag in ("Flat", "Bleach", "Median", "Ball"):
        found = done.image(tag, "A")[:, 0]
        np.testing.assert_array_equal(np.isnan(found), np.isnan(image), tag)


def test_log_statistics_of_one_image_are_refused(tmp_path):
    done = go(tmp_path, movie(frames=1), [STEPS[0] | {"args": {"method": "logstats"}}])
    assert done.code == 65
    assert "at least two images" in done.err


def test_the_ball_is_that_of_scikit_image(tmp_path):
    image = movie()
    args = {"radius": 12, "output": "background"}
    done = go(tmp_path, image, [STEPS[3] | {"args": args}])
    expected = [restoration.rolling_ball(frame, radius=12) for frame in image]
    np.testing.assert_array_equal(done.image("Ball", "A")[:, 0], expected)


def test_a_ball_larger_than_the_patches_around_is_refused(tmp_path):
    image = np.tile(movie(frames=1), (1, 1, 4))
    done = go(
        tmp_path, image, [STEPS[3] | {"args": {"radius": 70}}],
        more={"patching": {"patch_count": [1, 6]}},
    )  # fmt: skip
    assert done.code == 2
    assert "take fewer patches" in done.err


def test_cells_are_those_of_the_label_image(tmp_path):
    image = movie(frames=2)
    cells = odd_files.cells(2, dtype=float) > 50
    odd_files.write(tmp_path / "l.tif", cells.astype(np.uint8))
    args = {"tile": 40, "dilation": 2, "output": "background"}
    done = go(tmp_path, image, [STEPS[2] | {"args": args}], more={"labels": {"A": "l.tif"}})
    assert done.code == 0, done.err
    found = done.image("Median", "A")[:, 0]
    assert found.dtype == np.float32
    from cytoloom.background import dilated, tiled_background

    for frame, mask, made in zip(image, cells, found, strict=True):
        expected = tiled_background(frame, dilated(mask, 2), 40)
        np.testing.assert_array_equal(made, expected.astype(np.float32))


def test_a_frame_all_covered_by_cells_has_a_background(tmp_path):
    image = movie(frames=2)
    odd_files.write(tmp_path / "l.tif", np.ones(image.shape, np.uint8))
    done = go(
        tmp_path, image, [STEPS[2] | {"args": {"output": "background"}}],
        more={"labels": {"A": "l.tif"}},
    )  # fmt: skip
    assert done.code == 0, done.err
    found = done.image("Median", "A")
    expected = np.percentile(image, 1, axis=(1, 2)).astype(np.float32)
    np.testing.assert_array_equal(found[:, 0, 0, 0], expected)


@pytest.mark.parametrize("method", ["exponential", "ratio"])
def test_bleaching_is_taken_back(tmp_path, method):
    image = np.rint(3000 * np.exp(-0.1 * np.arange(12)))[:, None, None] * np.ones((12, 20, 30))
    args = {"method": method, "background": 100}
    done = go(tmp_path, (image + 100).astype(np.uint16), [STEPS[1] | {"args": args}])
    assert done.code == 0, done.err
    assert np.abs(done.image("Bleach", "A").astype(int) - 3100).max() <= 6
    (path,) = done.paths(r".*\.bleaching\.\d+\.parquet")
    table = tables.read_table(path, "bleaching")
    assert table["time_s"].tolist() == [60.0 * t for t in range(12)]
    np.testing.assert_allclose(table["mean_after"].astype(float), 3100, atol=2)
    if method == "exponential":
        assert table["rate_per_frame"][0] == pytest.approx(0.1, rel=0.01)


def test_histograms_match_those_of_the_reference(tmp_path):
    image = movie()
    args = {"method": "histogram", "reference": 1, "dtype": "float32"}
    done = go(
        tmp_path, image, [STEPS[1] | {"args": args}], more={"patching": {"patch_count": [1, 2]}}
    )
    assert done.code == 0, done.err
    expected = [match_histograms(frame, image[1]) for frame in image]
    np.testing.assert_allclose(done.image("Bleach", "A")[:, 0], expected, rtol=1e-6)


def test_bleaching_is_clipped_not_wrapped(tmp_path):
    image = np.stack([np.full((20, 30), 200), np.full((20, 30), 20)]).astype(np.uint8)
    image[:, 0, 0] = 250
    done = go(tmp_path, image, [STEPS[1] | {"args": {"method": "ratio"}}])
    assert done.image("Bleach", "A")[1, 0, 0, 0] == 255


def test_a_reference_beyond_the_movie_is_refused(tmp_path):
    done = go(tmp_path, movie(), [STEPS[1] | {"args": {"reference": 4}}])
    assert done.code == 2
    assert "frame 4 of 4 frames" in done.err


def test_frames_without_a_number_are_no_part_of_the_fit():
    from cytoloom import statistics
    from cytoloom.regions import Region

    image = np.full((3, 1, 4, 4), 5.0, np.float32)
    image[1] = np.nan
    stack = statistics.of_array(image, Region.whole(image.shape))
    for method in preprocess_bleach_fit.Method:
        columns = preprocess_bleach_fit.curves(stack, 3, method, 0, 0)
        assert np.isnan(columns["mean_before"][1])
        assert np.nanmax(np.abs(columns["mean_after"] - 5)) == 0


def test_the_report_shows_fields_curves_and_both_images(tmp_path):
    odd_files.write(tmp_path / "a.tif", movie())
    text = odd_files.pipeline({"A": "a.tif"}, preprocessing=STEPS)
    done = planned.run(tmp_path, text, delivery=True)
    assert done.code == 0, done.err
    (page,) = done.paths(r"report\.html")
    html = page.read_text(encoding="utf-8")
    assert "could not be drawn" not in html
    section = html[html.index('id="illumination"') :]
    assert "Map of the illumination. A, p1 (Flat)" in section
    assert "Intensity over time. A at p1" in section
    for tag in ("Flat", "Bleach", "Median", "Ball"):
        assert f"A, {tag}: before (left) and after (right)" in section
    assert "flatfields/p1.Flat.A.flatfield.0000.tif" in html
