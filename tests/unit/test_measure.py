"""Measurements of objects: scikit-image's regionprops as oracle, and what must not change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.measure import regionprops, regionprops_table

from cytoloom import measure, measure_hull, measure_runs
from cytoloom.errors import BadData

OURS = {
    "bbox-0": "bbox_y0",
    "bbox-1": "bbox_x0",
    "bbox-2": "bbox_y1",
    "bbox-3": "bbox_x1",
    "centroid-0": "y",
    "centroid-1": "x",
}
INTENSITY = [
    "intensity_mean",
    "intensity_median",
    "intensity_std",
    "intensity_min",
    "intensity_max",
]
PROPERTIES_3D = [
    "area",
    "equivalent_diameter_area",
    "feret_diameter_max",
    "solidity",
    "extent",
    "axis_major_length",
    "axis_minor_length",
    *INTENSITY,
]
PROPERTIES_2D = [
    "label",
    "bbox",
    "centroid",
    "perimeter",
    "eccentricity",
    "orientation",
    *PROPERTIES_3D,
]
UNIT = (1.0, 1.0, 1.0)
label_images = hnp.arrays(
    np.uint32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14),
    elements=st.sampled_from([0, 0, 1, 2, 3]),
)


def measure_2d(labels, image=None, pixel_size=UNIT, **options):
    image = labels if image is None else image
    return measure.measure(
        labels[None], image[None], pixel_size=pixel_size, volume=False, **options
    )


def assert_as_regionprops(labels, image):
    ours = measure_2d(labels, image)
    theirs = regionprops_table(labels.astype(np.int64), image, PROPERTIES_2D)
    for name, expected in theirs.items():
        found = ours[OURS.get(name, name)].astype(float)
        if name == "orientation":  # a major axis along x is both pi/2 and -pi/2
            found = np.where(np.abs(np.abs(found - expected) - np.pi) < 1e-6, expected, found)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=name)


def blobs(shape, seed, sigma=2.0, part=0.5):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), sigma)
    return ndimage.label(field > np.quantile(field, part))[0]


@given(labels=label_images)
def test_any_labels_as_regionprops(labels):
    image = np.arange(labels.size, dtype=np.uint16).reshape(labels.shape) * 7 % 251
    if labels.any():
        assert_as_regionprops(labels, image)
    else:
        assert measure_2d(labels, image) == {}


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "u8", "f4", "f8"])
def test_image_types_as_regionprops(dtype):
    labels = blobs((60, 70), 1)
    low = 0 if dtype[0] == "u" else -100
    image = np.random.default_rng(2).uniform(low, 100, labels.shape).astype(dtype)
    assert_as_regionprops(labels, image)


@pytest.mark.parametrize("size", [5, 40, 101])
def test_discs_and_rectangles_as_regionprops(size):
    y, x = np.mgrid[:size, : 2 * size]
    middle = (size - 1) / 2
    labels = ((y - middle) ** 2 + (x - middle) ** 2 <= middle**2).astype(np.uint32)
    labels[size // 4 : -1, size + 1 :] = 2
    assert_as_regionprops(labels, x.astype(np.uint16))


def test_large_concave_object_as_regionprops():
    y, x = np.mgrid[-200:200, -260:260]
    angle = np.arctan2(y, x)
    labels = (np.hypot(y, x) < 120 + 80 * np.cos(5 * angle)).astype(np.uint32)
    labels[180:220, 240:280] = 0
    assert_as_regionprops(labels, (x + 300).astype(np.uint16))


@pytest.mark.parametrize("pixel_size", [(1.0, 0.5, 0.5), (2.0, 0.4, 0.65)])
def test_micrometres_as_regionprops_with_spacing(pixel_size):
    labels = blobs((50, 90), 3)
    ours = measure_2d(labels, pixel_size=pixel_size)
    spaced = regionprops(labels, spacing=pixel_size[1:])
    for name, column, factor in [
        ("area", "area_um2", 1),
        ("equivalent_diameter_area", "equivalent_radius_um", 0.5),
        ("feret_diameter_max", "feret_radius_um", 0.5),
        ("axis_major_length", "axis_major_um", 1),
        ("axis_minor_length", "axis_minor_um", 1),
    ]:
        expected = [getattr(region, name) * factor for region in spaced]
        np.testing.assert_allclose(ours[column], expected, rtol=1e-9, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(ours["y_um"], [r.centroid[0] for r in spaced])
    np.testing.assert_allclose(ours["x_um"], [r.centroid[1] for r in spaced])
    if pixel_size[1] == pixel_size[2]:
        np.testing.assert_allclose(ours["perimeter_um"], [r.perimeter for r in spaced])
    else:
        assert np.isnan(ours["perimeter_um"]).all()


@pytest.mark.parametrize("seed", range(4))
def test_anisotropic_volumes_as_regionprops(seed):
    pixel_size = (2.0, 0.325, 0.5)
    labels = blobs((9, 21, 24), seed, sigma=1.2, part=0.7)
    keep = [r.label for r in regionprops(labels) if min(r.image.shape) > 1 and r.area > 8]
    labels = np.where(np.isin(labels, keep), labels, 0)
    image = np.random.default_rng(seed).integers(0, 60000, labels.shape).astype(np.uint16)
    ours = measure.measure(labels, image, pixel_size=pixel_size, volume=True)
    plain, spaced = regionprops(labels, image), regionprops(labels, image, spacing=pixel_size)
    assert len(plain) > 2
    for name in PROPERTIES_3D:
        expected = [getattr(region, name) for region in plain]
        np.testing.assert_allclose(ours[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)
    for name, column, factor in [
        ("area", "volume_um3", 1),
        ("feret_diameter_max", "feret_radius_um", 0.5),
        ("axis_major_length", "axis_major_um", 1),
        ("axis_minor_length", "axis_minor_um", 1),
    ]:
        expected = [getattr(region, name) * factor for region in spaced]
        np.testing.assert_allclose(ours[column], expected, rtol=1e-6, atol=1e-6, err_msg=name)
    for name in ("perimeter", "eccentricity", "orientation", "area_um2"):
        assert np.isnan(ours[name]).all()


def test_flat_object_in_a_volume_has_a_hull():
    # scikit-image has no convex hull of a flat object: it warns and gives no value.
    labels = np.zeros((4, 9, 9), np.uint32)
    labels[2, 2:7, 3:8] = 1
    ours = measure.measure(labels, labels, pixel_size=UNIT, volume=True)
    assert ours["solidity"] == pytest.approx(1.0)
    assert ours["feret_diameter_max"] == pytest.approx(np.hypot(5, 4))


def test_labels_are_never_table_sizes():
    labels = np.array([[0, 4_000_000_000], [4_294_967_295, 7]], np.uint32)
    assert measure_2d(labels)["label"].tolist() == [7, 4_000_000_000, 4_294_967_295]


@given(labels=label_images, data=st.data())
def test_each_object_belongs_to_one_box_and_keeps_its_bits(labels, data):
    cut_y = data.draw(st.integers(0, labels.shape[0]))
    cut_x = data.draw(st.integers(0, labels.shape[1]))
    image = np.random.default_rng(5).normal(size=labels.shape).astype(np.float32)
    whole = measure_2d(labels, image)
    parts = [
        measure_2d(labels, image, inside=((0, 1), y, x))
        for y in ((0, cut_y), (cut_y, labels.shape[0]))
        for x in ((0, cut_x), (cut_x, labels.shape[1]))
    ]
    parts = [part for part in parts if part]
    for name, expected in whole.items():
        joined = np.concatenate([part[name] for part in parts])
        order = np.argsort(np.concatenate([part["label"] for part in parts]))
        np.testing.assert_array_equal(joined[order], expected, err_msg=name)


@given(labels=label_images, shift=st.tuples(st.integers(0, 3000), st.integers(0, 3000)))
def test_a_shift_moves_places_and_nothing_else(labels, shift):
    moved = np.pad(labels, ((shift[0] % 7, 1), (shift[1] % 5, 2)))
    here, there = measure_2d(labels), measure_2d(moved)
    assert here.keys() == there.keys()
    for name in here:
        if name[0] not in "zyxb":
            np.testing.assert_array_equal(here[name], there[name], err_msg=name)


@given(labels=label_images)
def test_a_quarter_turn_keeps_sizes(labels):
    here, there = measure_2d(labels), measure_2d(np.rot90(labels).copy())
    for name in ("area", "solidity", "perimeter", "feret_diameter_max", "eccentricity"):
        if here:
            np.testing.assert_allclose(here[name], there[name], rtol=1e-9, atol=1e-7)


def test_percentiles_as_numpy():
    labels = blobs((40, 40), 4)
    image = np.random.default_rng(6).gamma(2, 100, labels.shape).astype(np.float32)
    ours = measure_2d(labels, image)
    for row, label in enumerate(ours["label"]):
        values = image[labels == label].astype(float)
        expected = np.percentile(values, [5, 25, 50, 75, 95])
        found = [ours[f"intensity_{q}"][row] for q in ("p05", "p25", "median", "p75", "p95")]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_integer_sums_are_exact():
    labels = np.ones((1000, 1000), np.uint32)
    image = np.full(labels.shape, 4_294_967_295, np.uint32)
    assert int(measure_2d(labels, image)["intensity_sum"][0]) == 4_294_967_295 * 10**6


def test_nan_and_infinity():
    labels = np.array([[1, 1, 2, 2, 3, 3]], np.uint32)
    image = np.array([[1, np.nan, 2, 4, 1, np.inf]], np.float32)
    ours = measure_2d(labels, image)
    for name in ("sum", "mean", "median", "std", "min", "max", "p05", "p95"):
        assert np.isnan(ours[f"intensity_{name}"][0])
        assert np.isfinite(ours[f"intensity_{name}"][1])
    assert ours["intensity_max"][2] == np.inf
    assert ours["intensity_mean"][2] == np.inf


def test_constant_image():
    ours = measure_2d(blobs((30, 30), 7), np.full((30, 30), 9, np.uint8))
    assert (ours["intensity_std"] == 0).all()
    assert (ours["intensity_p95"] == 9).all()


def test_single_pixels_and_lines():
    labels = np.zeros((5, 9), np.uint32)
    labels[0, 0], labels[2, 1:8] = 1, 2
    ours = measure_2d(labels)
    assert np.isnan(ours["elongation"]).all()
    np.testing.assert_allclose(ours["eccentricity"], [0, 1])
    np.testing.assert_allclose(ours["solidity"], [1, 1])
    assert_as_regionprops(labels, labels)


def test_more_than_65535_objects():
    labels = np.zeros((600, 600), np.uint32)
    labels[::2, ::2] = np.arange(1, 90_001).reshape(300, 300)
    ours = measure_2d(labels, (labels % 65_536).astype(np.uint16))
    assert len(ours["label"]) == 90_000
    np.testing.assert_array_equal(ours["intensity_sum"], ours["label"] % 65_536)


@pytest.mark.parametrize(
    ("labels", "image"),
    [(np.zeros((2, 2), np.float32), np.zeros((2, 2))), (np.zeros((2, 2), int), np.zeros((2, 3)))],
)
def test_bad_arrays(labels, image):
    with pytest.raises(BadData):
        measure_2d(labels, image)


@given(labels=label_images)
def test_runs_hold_every_pixel(labels):
    runs = measure_runs.find_runs(labels[None])
    rebuilt = np.zeros(labels.size, np.int64)
    places = measure_runs.pixels(runs, labels.shape[1], labels.shape[0])
    rebuilt[places] = np.repeat(runs.label[runs.owner], runs.length)
    np.testing.assert_array_equal(rebuilt.reshape(labels.shape), labels)


def test_hull_of_a_pixel_is_its_diamond():
    runs = measure_runs.find_runs(np.array([[[0, 1]]]))
    chains = measure_hull.hull(measure_hull.rows_of(runs))
    corners = set(zip(chains.chain.tolist(), chains.y.tolist(), chains.x.tolist(), strict=True))
    assert corners == {(0, -1, 2), (0, 0, 1), (0, 1, 2), (1, -1, -2), (1, 0, -3), (1, 1, -2)}


@given(st.integers(0, 999), st.integers(1, 12), st.integers(1, 70), st.integers(1, 4))
def test_outlines_by_runs_are_those_by_pixels(seed, height, width, objects):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, objects + 1, (height, width)).astype(np.uint32)
    labels = np.repeat(np.repeat(labels, 2, axis=0), 3, axis=1)
    runs = measure_runs.find_runs(labels[np.newaxis])
    if not len(runs):
        return
    at, owner, wide = measure.outline_pixels(runs, labels.shape)
    padded = np.pad(labels, 1)
    beside = [np.roll(padded, step, axis) for step in (1, -1) for axis in (0, 1)]
    edge = (padded > 0) & np.any([other != padded for other in beside], axis=0)
    order = np.argsort(at)
    np.testing.assert_array_equal(at[order], np.flatnonzero(edge))
    np.testing.assert_array_equal(runs.label[owner[order] - 1], padded[edge])
    assert wide == padded.shape[1]
