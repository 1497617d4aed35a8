"""KernelDensityEstimation: scikit-learn as oracle, batches, few cells, gradient."""

import analyse_density
import cells_table
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KernelDensity

from cytoloom import images, layouts, statistics, tables
from cytoloom.errors import UsageError
from cytoloom.regions import Region

PIXEL = (2.0, 0.5, 0.25)


def points_um(count, seed, shape=(40, 60)):
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1, (count, 2)) * shape * PIXEL[1:]
    return np.column_stack([np.zeros(count), places])


def test_density_is_that_of_scikit_learn():
    points = points_um(25, 1)
    found = analyse_density.density_image(points, (1, 40, 60), PIXEL, 1.7)
    y, x = np.mgrid[:40, :60]
    grid = np.column_stack([y.ravel() * PIXEL[1], x.ravel() * PIXEL[2]])
    model = KernelDensity(bandwidth=1.7).fit(points[:, 1:])
    expected = np.exp(model.score_samples(grid)).reshape(40, 60)
    np.testing.assert_allclose(found[0], expected / expected.max(), rtol=1e-5)


def test_density_of_a_volume_is_that_of_scikit_learn():
    points = np.random.default_rng(2).uniform(0, 5, (9, 3))
    found = analyse_density.density_image(points, (4, 9, 10), PIXEL, 1.2)
    grid = np.indices((4, 9, 10)).reshape(3, -1).T * PIXEL
    expected = np.exp(KernelDensity(bandwidth=1.2).fit(points).score_samples(grid))
    np.testing.assert_allclose(found.ravel(), expected / expected.max(), rtol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 5, 40])
def test_bandwidth_is_that_of_scikit_learn(count):
    points = points_um(count, count)[:, 1:]
    search = GridSearchCV(
        KernelDensity(),
        {"bandwidth": analyse_density.BANDWIDTHS},
        cv=PredefinedSplit(np.arange(count) % min(5, count)),
    )
    expected = search.fit(points).best_params_["bandwidth"]
    assert analyse_density.choose_bandwidth(points) == expected


def test_downscaled_density_is_near_and_exact_on_its_grid():
    points = points_um(12, 3)
    fine = analyse_density.density_image(points, (1, 40, 60), PIXEL, 4.0)
    coarse = analyse_density.density_image(points, (1, 40, 60), PIXEL, 4.0, 4)
    assert coarse.shape == fine.shape
    assert np.abs(coarse - fine).max() < 0.02
    np.testing.assert_allclose(coarse[0, ::4, ::4] / coarse[0, 0, 0],
                               fine[0, ::4, ::4] / fine[0, 0, 0], rtol=1e-4)  # fmt: skip


def layer(folder, frames=3):
    shape = (frames, 1, 30, 40)
    layout = layouts.Layout(
        shape=shape, dtype=np.dtype("u2"), chunks=(1, 1, 30, 40), shards=(1, 1, 30, 40),
        pixel_size=PIXEL, frame_interval=60.0, position="p1", channel="TCell",
    )  # fmt: skip
    images.write_part(folder / "image", np.zeros(shape, np.uint16), region=Region.whole(shape),
                      like=layout)  # fmt: skip
    return str(folder / "image")


def table(folder):
    rng = np.random.default_rng(5)
    many = [(0, n, *rng.uniform(0, 30, 2)) for n in range(1, 20)]
    cells = cells_table.cells([*many, (1, 1, 5.0, 5.0)], pixel_size=PIXEL)
    tables.write_table(folder / "cells.parquet", cells, "cells")
    return str(folder / "cells.parquet")


def density(folder, name="out", region=None, **settings):
    out = folder / name
    analyse_density.main(layer(folder), table(folder), out, folder / f"{name}.statistics",
                         region, "Density", **settings)  # fmt: skip
    return images.open_layer(out)


def test_frames_of_fewer_than_two_cells_are_zero_and_others_reach_one(tmp_path):
    made = density(tmp_path)
    data = made.read()
    assert made.dtype == np.float32
    assert made.channel == "Density"
    assert data.max(axis=(1, 2, 3)).tolist() == [1, 0, 0]
    assert statistics.read(tmp_path / "out.statistics").maximum() == 1


def test_batches_of_frames_give_the_whole(tmp_path):
    whole = density(tmp_path).read()
    for frame in range(3):
        region = Region.parse(f"t={frame}:{frame + 1}", (3, 1, 30, 40))
        part = density(tmp_path, f"part{frame}", str(region)).read()
        np.testing.assert_array_equal(part, whole[frame : frame + 1])


def test_gradient_is_flat_at_the_top_and_steep_beside(tmp_path):
    y, x = np.mgrid[:40, :60]
    points = np.array([[0, 20 * PIXEL[1], 30 * PIXEL[2]]] * 2)
    image = analyse_density.density_image(points, (1, 40, 60), PIXEL, 2.0)
    slope = analyse_density.gradient_magnitude(image, PIXEL)[0]
    distance = np.hypot((y - 20) * PIXEL[1], (x - 30) * PIXEL[2])
    expected = distance / 4 * np.exp(-(distance**2) / 8)
    np.testing.assert_allclose(slope[1:-1, 1:-1], expected[1:-1, 1:-1], atol=0.01)
    made = density(tmp_path, gradient=True, bandwidth=2.0).read()
    assert made[0].max() > 0
    assert made[1].max() == 0


def test_half_a_frame_is_refused(tmp_path):
    with pytest.raises(UsageError, match="whole frames"):
        density(tmp_path, region="y=0:15")
