"""Hypothesis strategies of the contract: shapes, arrays, and ways to cut them into parts."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytoloom.layouts import Layout
from cytoloom.plan.layers import Grid


@st.composite
def shapes(draw):
    """Shapes (t, z, y, x): 2-D and 3-D, one frame, odd sizes, sizes below one chunk."""
    t = draw(st.sampled_from([1, 2, 3, 7]))
    z = draw(st.sampled_from([1, 1, 2, 5]))
    y, x = (draw(st.integers(1, 150)) for _ in range(2))
    return (t, z, y, x)


@st.composite
def grids(draw):
    """Grids as the plan makes them: patches on the chunk grid, frame batches of whole shards."""
    shape = draw(shapes())
    count = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    batches = tuple(draw(st.lists(st.integers(1, 5), max_size=2)))
    return Grid.of(shape, count, batches), draw(st.sampled_from([None, 1, 2, 4, *batches]))


def arrays(shape, dtype):
    """Arrays of a shape with few distinct values (0 among them), quickly drawn."""
    seeds = st.integers(0, 2**32 - 1)

    def fill(seed):
        rng = np.random.default_rng(seed)
        most = 1000 if np.dtype(dtype).kind in "ui" and np.dtype(dtype).itemsize > 1 else 200
        return (rng.integers(0, most, shape) * rng.integers(0, 2, shape)).astype(dtype)

    return seeds.map(fill)


def layout_of(grid, dtype=np.uint16, kind="image"):
    """Return the layout of a layer cut by ``grid``."""
    return Layout(
        grid.shape,
        np.dtype(dtype),
        grid.chunks,
        grid.shards,
        (2.0, 0.5, 0.25),
        30.0,
        "p",
        "c",
        kind,
    )


DTYPES = st.sampled_from([np.uint8, np.uint16, np.int16, np.float32])
__all__ = ["DTYPES", "arrays", "grids", "hnp", "layout_of", "shapes"]
