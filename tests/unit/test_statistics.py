"""Statistics from merged histograms equal numpy's of the whole, however it is cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.filters import threshold_otsu
from strategies import arrays, grids

from cytoloom import statistics
from cytoloom.errors import BadData
from cytoloom.regions import Region


@given(grids(), st.sampled_from([np.uint8, np.uint16, np.int32]), st.data())
def test_merged_parts_equal_the_whole(tmp_path_factory, made, dtype, draw):
    grid, batch = made
    data = draw.draw(arrays(grid.shape, dtype))
    folder = tmp_path_factory.mktemp("s")
    for index, region in enumerate(grid.tiles(batch)):
        statistics.write(folder / f"{index:04d}.parquet", data[region.slices], region)
    found = statistics.read(folder / "*.parquet")
    q = draw.draw(st.floats(0, 100))
    assert found.percentile(q) == pytest.approx(np.percentile(data, q), rel=1e-9, abs=1e-9)
    assert found.mean() == pytest.approx(data.mean())
    assert (found.minimum(), found.maximum()) == (data.min(), data.max())
    last = [grid.shape[0] - 1]
    assert found.percentile(50, last) == pytest.approx(np.percentile(data[-1], 50))


@given(st.integers(0, 10**6))
def test_otsu_equals_scikit_image(seed):
    rng = np.random.default_rng(seed)
    low, high = rng.normal(40, 9, 3000), rng.normal(150, 20, 900)
    data = np.clip(np.concatenate([low, high]), 0, 255).astype(np.uint8).reshape(1, 1, 60, 65)
    found = statistics.of_array(data, Region.whole(data.shape)).otsu()
    assert found == threshold_otsu(data)


def test_floats_are_rounded_to_twelve_bits():
    data = np.random.default_rng(0).lognormal(3, 2, (1, 1, 100, 100)).astype(np.float32)
    found = statistics.of_array(data, Region.whole(data.shape))
    for q in (1, 50, 99):
        assert found.percentile(q) == pytest.approx(np.percentile(data, q), rel=2**-12)


def test_nan_is_left_out_and_a_constant_image_has_no_foreground():
    data = np.full((1, 1, 8, 8), 5.0, np.float32)
    data[0, 0, 0] = np.nan
    found = statistics.of_array(data, Region.whole(data.shape))
    assert found.count.sum() == 56
    assert found.otsu() == 5


def test_no_pixel_is_an_error(tmp_path):
    found = statistics.of_array(np.ones((1, 1, 4, 4), np.uint8), Region.whole((1, 1, 4, 4)))
    with pytest.raises(BadData, match="no pixel"):
        found.mean([7])
    path = tmp_path / "x.parquet"
    path.write_bytes(b"no table")
    with pytest.raises(BadData, match="not a histogram"):
        statistics.read(path)
