"""Threshold: quality on real nuclei, the same labels for any cut, hard inputs."""

import numpy as np
import phases
import pytest
import segment_threshold
from scoring import Score, score
from skimage import filters, io

from cytoloom import images, statistics
from cytoloom.regions import Region

DENSE = "20b20ab049372d18"  # 603 x 1272, 289 nuclei
# Every 20th of the 204 fluorescence images by name.
SAMPLE = slice(None, None, 20)


def read(shared, name):
    folder = shared / "segmentation" / "dsb2018"
    if not folder.is_dir():
        pytest.skip(f"no images at {folder}")
    return [io.imread(folder / kind / f"{name}.tif") for kind in ("images", "masks")]


def segment(image, folder, rows=1, columns=1, **options):
    return phases.segment("segment_threshold", image[None, None], folder, rows, columns, **options)[
        0, 0
    ]


@pytest.mark.slow
@pytest.mark.parametrize("tiles", [2, 4])
def test_patches_give_the_whole(shared, tmp_path, tiles):
    image, truth = read(shared, DENSE)
    whole = segment(image, tmp_path / "whole")
    cut = segment(image, tmp_path / "cut", tiles, tiles)
    np.testing.assert_array_equal(cut, whole)
    assert score(truth, whole).f1 > 0.8


@pytest.mark.slow
def test_a_rim_around_everything_does_not_depend_on_the_cut(tmp_path):
    rng = np.random.default_rng(1)
    image = rng.poisson(20, (400, 400)).astype(np.uint16)
    rim = np.zeros(image.shape, bool)
    rim[20:380, 20:380] = True
    rim[30:370, 30:370] = False
    image[rim] += 60
    for y, x in rng.integers(60, 320, (25, 2)):
        image[y : y + 12, x : x + 14] = 120
    whole = segment(image, tmp_path / "whole")
    cut = segment(image, tmp_path / "cut", 2, 3)
    inside = np.s_[45:355, 45:355]
    np.testing.assert_array_equal(cut > 0, whole > 0)
    pairs = np.unique(np.stack([cut[inside].ravel(), whole[inside].ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(whole[inside])) == len(np.unique(cut[inside]))
    assert (whole[inside] == 0).mean() > 0.8  # the rim's hole is not filled


@pytest.mark.slow
def test_f1_on_real_nuclei(shared):
    folder = shared / "segmentation" / "dsb2018" / "images"
    total = Score()
    for path in sorted(folder.glob("*.tif"))[SAMPLE]:
        image, truth = read(shared, path.stem)
        values, counts = np.unique(image, return_counts=True)
        level = segment_threshold.global_threshold(values.astype(float), counts, "mixed")
        total += score(truth, segment_threshold.segment_frame(image[None], level)[0])
    assert total.f1 > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_otsu_is_scikit_images(seed):
    rng = np.random.default_rng(seed)
    image = np.concatenate([rng.normal(50, 9, 3000), rng.normal(150, 20, 900)])
    image = image.clip(0, 255).astype(np.uint8)
    values, counts = np.unique(image, return_counts=True)
    found = segment_threshold.global_threshold(values.astype(float), counts, "otsu")
    assert ((image > found) == (image > filters.threshold_otsu(image))).all()


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_image_has_no_objects(tmp_path, value):
    image = np.full((2, 1, 50, 60), value, np.uint16)
    labels = phases.segment("segment_threshold", image, tmp_path)
    assert labels.dtype == np.uint32
    assert not labels.any()


def test_frames_are_numbered_each_from_one_in_raster_order(tmp_path):
    image = np.zeros((3, 1, 80, 80), np.uint8)
    image[0, 0, 10:20, 50:60] = image[0, 0, 12:22, 10:20] = 200
    image[2, 0, 40:50, 40:50] = 90
    labels = phases.segment("segment_threshold", image, tmp_path, local_window=0)
    assert [frame.max() for frame in labels] == [2, 0, 1]
    assert labels[0, 0, 15, 55] == 1
    assert labels[0, 0, 16, 15] == 2


def test_volume(tmp_path):
    image = np.zeros((1, 12, 60, 60), np.uint8)
    image[0, 3:9, 10:22, 10:22] = image[0, 3:9, 30:44, 30:44] = 180
    labels = phases.segment("segment_threshold", image, tmp_path, local_window=0)
    assert labels.max() == 2


@pytest.mark.slow
def test_more_than_65535_objects_in_a_frame(tmp_path):
    image = np.zeros((1, 1, 1080, 1080), np.uint8)
    image[0, 0, ::4, ::4] = image[0, 0, 1::4, ::4] = 200
    options = {"smoothing": 0, "local_window": 0, "min_size": 1, "method": "otsu"}
    whole = phases.segment("segment_threshold", image, tmp_path / "whole", **options)
    assert whole.max() == 270 * 270
    cut = phases.segment("segment_threshold", image, tmp_path / "cut", 2, 1, **options)
    np.testing.assert_array_equal(cut, whole)


def test_a_region_without_objects_file_is_numbered_by_itself(tmp_path):
    image = np.zeros((1, 1, 128, 128), np.uint8)
    image[0, 0, 10:20, 10:20] = image[0, 0, 100:110, 100:110] = 200
    pattern, histograms = phases.write_image(tmp_path, image, 2, 2)
    out = tmp_path / "p.s.a.label.0003.zarr"
    segment_threshold.main(pattern, histograms, out, region="y=64:128,x=64:128")
    layer = images.open_layer(out)
    region = Region((0, 1), (0, 1), (64, 128), (64, 128))
    assert layer.region == region
    assert set(np.unique(layer.read())) == {0, 1}


def test_the_threshold_is_that_of_the_frame_not_of_the_patch(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.poisson(20, (1, 1, 128, 128)).astype(np.uint8)
    image[0, 0, 70:120, 70:120] = 220
    pattern, histograms = phases.write_image(tmp_path, image, 2, 2)
    assert statistics.read(histograms).otsu([0]) > 40
    out = tmp_path / "p.s.a.label.0000.zarr"
    segment_threshold.main(pattern, histograms, out, region="y=0:64,x=0:64", local_window=0)
    assert not images.open_layer(out).read()[..., :60, :60].any()
