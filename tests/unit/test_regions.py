"""Regions: the text form, halos, and cutting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import grids, shapes

from cytoloom.errors import UsageError
from cytoloom.regions import Region, bounding, cut


@given(shapes(), st.data())
def test_text_form_goes_there_and_back(shape, data):
    spans = []
    for size in shape:
        start = data.draw(st.integers(0, size - 1))
        spans.append((start, data.draw(st.integers(start + 1, size))))
    region = Region(*spans)
    assert Region.parse(str(region), shape) == region


@pytest.mark.parametrize(
    "text", ["y=3", "q=0:1", "y=5:5", "y=0:11", "t=-1:2", "y=0:2;x=0:1", "y=a:b", ","]
)
def test_bad_text_is_one_clear_line(text):
    with pytest.raises(UsageError, match="region") as error:
        Region.parse(text, (1, 1, 10, 10))
    assert "\n" not in str(error.value)


def test_an_axis_left_out_is_whole():
    assert Region.parse("y=2:4", (3, 1, 10, 20)) == Region((0, 3), (0, 1), (2, 4), (0, 20))


@given(grids(), st.integers(0, 40))
def test_a_halo_widens_space_not_time_and_is_clipped(made, halo):
    grid, batch = made
    for region in grid.tiles(batch):
        wide = region.widen(halo, grid.shape)
        assert wide.t == region.t
        assert wide.intersect(region) == region
        assert Region.whole(grid.shape).intersect(wide) == wide
        image = np.arange(np.prod(wide.shape)).reshape(wide.shape)
        assert image[region.within(wide)].shape == region.shape


@given(grids())
def test_tiles_cover_every_voxel_once(made):
    grid, batch = made
    count = np.zeros(grid.shape, int)
    for region in grid.tiles(batch):
        count[region.slices] += 1
    assert (count == 1).all()
    assert bounding(grid.tiles(batch)) == Region.whole(grid.shape)
    frames = np.zeros(grid.shape, int)
    for region in grid.frames(batch):
        frames[region.slices] += 1
    assert (frames == 1).all()


@given(grids())
def test_a_patch_lies_in_its_neighbourhood_and_meets_at_most_nine(made):
    grid, batch = made
    tiles = grid.tiles(batch)
    for region in tiles:
        around = grid.neighbourhood(region)
        assert around.intersect(region) == region
        assert sum(t.intersect(around) is not None for t in tiles) <= 9


@given(shapes(), st.tuples(*[st.integers(1, 60)] * 4))
def test_cut_is_in_raster_order(shape, steps):
    regions = list(cut(shape, steps))
    assert regions == sorted(regions)
    assert sum(r.size for r in regions) == np.prod(shape)
