"""The parts of a layer that meet a region are those that a look at all of them finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cytoloom.plan.layers import LayerPlan
from cytoloom.regions import Region, cut

SHAPE = (7, 3, 20, 24)


def span(n):
    """Return a part of an axis of ``n``."""
    ends = st.tuples(st.integers(0, n - 1), st.integers(1, n))
    return ends.map(lambda found: (found[0], max(found[0] + 1, found[1])))


regions = st.tuples(*map(span, SHAPE)).map(lambda found: Region(*found))
grids = st.tuples(*[st.integers(1, n) for n in SHAPE]).map(lambda steps: list(cut(SHAPE, steps)))
odd = st.lists(st.none() | regions, max_size=12)


@given(grids | odd, regions)
def test_parts_that_meet_a_region(boxes, region):
    parts = tuple((f"part{number}", box) for number, box in enumerate(boxes))
    layer = LayerPlan("p", "t", "c", "image", parts)
    every = [name for name, box in parts if box is None or box.intersect(region)]
    assert layer.names(region) == every
    assert layer.names() == [name for name, _ in parts]
