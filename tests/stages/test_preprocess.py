"""The four preprocessing steps: by definition, and the same however the work is cut."""

from __future__ import annotations

import numpy as np
import preprocess_correlation
import preprocess_gamma
import preprocess_merge
import preprocess_percentile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import arrays, grids, layout_of

from cytoloom import images, statistics
from cytoloom.errors import BadData, UsageError
from cytoloom.plan.layers import Grid
from cytoloom.regions import Region


def write(folder, name, grid, batch, data):
    """Write a layer in parts with its histograms; return both globs."""
    for index, region in enumerate(grid.tiles(batch)):
        part = data[region.slices]
        images.write_part(
            folder / f"{name}.image.{index:04d}.zarr",
            part,
            region=region,
            like=layout_of(grid, data.dtype),
            channel=name,
        )
        statistics.write(folder / f"{name}.statistics.{index:04d}.parquet", part, region)
    return str(folder / f"{name}.image.*.zarr"), str(folder / f"{name}.statistics.*.parquet")


def run(folder, main, grid, batch, channels, **args):
    """Run a step on every part and return its whole output."""
    many = "channel" in args or len(channels) > 1
    layers = [write(folder, f"c{i}", grid, batch, data) for i, data in enumerate(channels)]
    pictures, histograms = zip(*layers, strict=True)
    for index, region in enumerate(grid.tiles(batch)):
        main(
            image=list(pictures) if many else pictures[0],
            statistics=list(histograms) if many else histograms[0],
            out_image=folder / f"out.{index:04d}.zarr",
            out_statistics=folder / f"out.{index:04d}.parquet",
            region=str(region),
            **args,
        )
    return images.open_layer(folder / "out.*.zarr")


def percentile_oracle(data, lp, up):
    low, high = np.percentile(data, [lp, up])
    full = np.iinfo(data.dtype).max
    return (np.clip((data - low) / (high - low), 0, 1) * full).astype(data.dtype)


@given(grids(), st.data())
@settings(max_examples=10)
def test_percentiles_are_of_the_whole_stack(tmp_path_factory, made, draw):
    grid, batch = made
    data = draw.draw(arrays(grid.shape, np.uint16))
    folder = tmp_path_factory.mktemp("p")
    found = run(
        folder, preprocess_percentile.main, grid, batch, [data], lp=10, up=90, verbose=False
    )
    low, high = np.percentile(data, [10, 90])
    if high > low:
        difference = found.read().astype(int) - percentile_oracle(data, 10, 90).astype(int)
        assert np.abs(difference).max() <= 1  # rounding of the same product in another order
    else:
        assert not found.read().any()
    assert found.dtype == data.dtype


def test_a_constant_image_becomes_zero_without_a_warning():
    assert not preprocess_percentile.rescale(np.full((3, 3), 7, np.uint8), 7.0, 7.0).any()


def test_percentiles_in_the_wrong_order_are_refused(tmp_path):
    grid = Grid.of((1, 1, 8, 8))
    with pytest.raises(UsageError, match="must be below"):
        run(
            tmp_path,
            preprocess_percentile.main,
            grid,
            None,
            [np.ones(grid.shape, np.uint8)],
            lp=9,
            up=9,
        )


@given(st.floats(0.1, 3), st.integers(0, 999))
def test_gamma_is_its_formula(gamma, seed):
    data = np.random.default_rng(seed).integers(0, 4000, (5, 6)).astype(np.uint16)
    found = preprocess_gamma.correct_gamma(data, 4000.0, gamma)
    expected = np.rint((data / 4000.0) ** gamma * 4000.0)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint16


def test_gamma_one_changes_nothing_and_a_black_image_stays():
    data = np.arange(12, dtype=np.uint16)
    np.testing.assert_array_equal(preprocess_gamma.correct_gamma(data, 11.0), data)
    assert not preprocess_gamma.correct_gamma(np.zeros(4, np.uint8), 0.0).any()


def test_gain_is_clipped_not_wrapped():
    found = preprocess_gamma.correct_gamma(np.array([200, 255], np.uint8), 255.0, 1.0, 2.0)
    assert found.tolist() == [255, 255]


def test_merge_rounds_once_and_weights_by_the_mean(tmp_path):
    grid = Grid.of((2, 1, 90, 90), (2, 2))
    rng = np.random.default_rng(0)
    channels = [rng.integers(0, 2000, grid.shape).astype(np.uint16) for _ in range(3)]
    found = run(tmp_path, preprocess_merge.main, grid, 1, channels, channel="all")
    weights = np.array([1 / c.mean() for c in channels])
    weights /= weights.sum()
    expected = np.rint(sum(w * c for w, c in zip(weights, channels, strict=True)))
    np.testing.assert_array_equal(found.read(), expected)
    assert found.channel == "all"


def test_merge_weights_belong_to_their_own_group():
    first = preprocess_merge.default_weights([100.0, 300.0])
    second = preprocess_merge.default_weights([10.0, 10.0])
    assert first == pytest.approx([0.75, 0.25])
    assert second == pytest.approx([0.5, 0.5])
    assert preprocess_merge.default_weights([0.0, 0.0]) == pytest.approx([0.5, 0.5])


def test_merge_of_unequal_shapes_is_refused(tmp_path):
    for name, size in (("a", 16), ("b", 18)):
        grid = Grid.of((1, 1, size, size))
        write(tmp_path, name, grid, None, np.ones(grid.shape, np.uint8))
    with pytest.raises(BadData, match="differ in shape"):
        preprocess_merge.main(
            image=[str(tmp_path / f"{n}.image.*.zarr") for n in "ab"],
            statistics=[str(tmp_path / f"{n}.statistics.*.parquet") for n in "ab"],
            out_image=tmp_path / "o.zarr",
        )


@pytest.mark.parametrize("mode", list(preprocess_correlation.Mode))
@pytest.mark.parametrize("method", list(preprocess_correlation.Method))
def test_correlation_sums_to_pearson(tmp_path, mode, method):
    grid = Grid.of((3, 1, 70, 70), (2, 1))
    rng = np.random.default_rng(1)
    one = rng.integers(0, 500, grid.shape).astype(np.uint16)
    two = (one // 2 + rng.integers(0, 90, grid.shape)).astype(np.uint16)
    scale = 1e6
    found = run(
        tmp_path, preprocess_correlation.main, grid, 1, [one, two],
        channel="r", mode=mode, method=method, scale=scale,
    ).read()  # fmt: skip
    centre = np.mean if method == "MEAN" else np.median
    scopes = [slice(t, t + 1) for t in range(3)] if mode == "SLICE" else [slice(None)]
    for scope in scopes:
        a, b = one[scope] - centre(one[scope]), two[scope] - centre(two[scope])
        r = a * b / np.sqrt((a**2).sum() * (b**2).sum())
        expected = np.clip(np.rint(scale * r + 65535 / 2), 0, 65535)
        assert np.abs(found[scope].astype(int) - expected).max() <= 1
        if method == "MEAN":
            assert r.sum() == pytest.approx(
                np.corrcoef(one[scope].ravel(), two[scope].ravel())[0, 1]
            )


def test_statistics_travel_with_the_image(tmp_path):
    grid = Grid.of((2, 1, 80, 80), (2, 2))
    data = np.random.default_rng(2).integers(0, 900, grid.shape).astype(np.uint16)
    found = run(tmp_path, preprocess_gamma.main, grid, 1, [data], gamma=0.5)
    made = statistics.read(tmp_path / "out.*.parquet")
    whole = statistics.of_array(found.read(), Region.whole(grid.shape))
    np.testing.assert_array_equal(made.histogram()[0], whole.histogram()[0])
    np.testing.assert_array_equal(made.histogram()[1], whole.histogram()[1])
