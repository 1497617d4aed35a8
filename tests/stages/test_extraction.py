"""Extraction: the plain sums, PyAMA's columns and filters, plug-ins, flags that users set."""

from dataclasses import dataclass

import analyse_extract
import analyse_traces
import numpy as np
import pandas as pd
import plain_traces
import pytest
import tabulate_regions
import track_iou
from scipy import ndimage
from simulated_traces import movie
from skimage.measure import regionprops_table

from cytoloom import images, layouts, tables, traces
from cytoloom.errors import BadData, InputMissing
from cytoloom.regions import Region

HEAD = "fov,cell,frame,good,position_x,position_y,bbox_x0,bbox_y0,bbox_x1,bbox_y1"


@dataclass
class Scene:
    """Layers of a movie in a folder."""

    folder: object
    movie: object

    def write(self, name, data, kind="image"):
        shape = (data.shape[0], 1, *data.shape[1:])
        layout = layouts.Layout(
            shape, data.dtype, (1, *shape[1:]), shape, (0.5, 0.5, 0.5), 900.0, "run_007", name
        )
        path = self.folder / f"{name}.{kind}.zarr"
        images.write_part(path, data[:, None], region=Region.whole(shape), like=layout, kind=kind)
        return str(path)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    made = movie(6, 320, 4, seed=9)
    scene = Scene(folder, made)
    scene.phase = scene.write("pc_ch_0", made.phase)
    scene.light = scene.write("fl_ch_1", made.fluorescence)
    scene.label = scene.write("pc_ch_0", made.labels.astype(np.uint32), "label")
    ground = np.broadcast_to(made.background, made.phase.shape).astype(np.float32)
    scene.ground = scene.write("fl_ch_1", ground, "background")
    cells = folder / "cells.parquet"
    tabulate_regions.main(scene.phase, scene.label, cells)
    scene.tracks = folder / "tracks.parquet"
    track_iou.main(str(cells), scene.tracks, folder / "edges.parquet")
    return scene


def extract(scene, folder, background=True, images_=None, **options):
    """Run both phases; return the traces, the CSV and the losses."""
    later = ("min_frames", "border_margin", "frame_interval", "time_mapping", "quality")
    second = {"min_frames": 1, "border_margin": 0}
    second |= {k: options.pop(k) for k in later if k in options}
    part, csv = folder / "part.parquet", folder / "out.csv"
    analyse_extract.main(
        images_ or [scene.phase, scene.light], scene.label, str(scene.tracks), part,
        background=[scene.ground] if background else None, **options,
    )  # fmt: skip
    analyse_traces.main(str(part), folder / "t.parquet", csv, folder / "f.parquet", **second)
    losses = tables.read_table(folder / "f.parquet", "trace_filters")
    return tables.read_table(folder / "t.parquet", "traces"), csv, losses


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_totals_are_those_of_the_plain_algorithm(scene, tmp_path, weight):
    found, csv, _ = extract(
        scene, tmp_path, features=["area", "aspect_ratio", "intensity_total"],
        background_weight=weight,
    )  # fmt: skip
    made = scene.movie
    rows = [
        row
        for t in range(6)
        for row in plain_traces.extract(
            t, made.labels[t], [made.fluorescence[t]], [made.background.astype(np.float32)], weight
        )
    ]
    written = pd.read_csv(csv)
    names = "area_ch_0,aspect_ratio_ch_0,intensity_total_ch_1"
    assert csv.read_text().splitlines()[0] == f"{HEAD},{names}"
    # Tracks of cells that hardly move have the numbers of the true cells.
    expected = pd.DataFrame(rows).sort_values([0, 1]).to_numpy(float)
    np.testing.assert_allclose(written.drop(columns="fov").to_numpy(float), expected, rtol=1e-9)
    assert (written["fov"] == 7).all()
    np.testing.assert_allclose(found["time_h"], found["frame"] / 4)


def test_a_weight_beyond_one_is_one(scene, tmp_path):
    one, _, _ = extract(scene, tmp_path, features=["intensity_total"])
    two, _, _ = extract(scene, tmp_path, features=["intensity_total"], background_weight=3)
    assert one.equals(two)


def test_shapes_are_scikit_images(scene, tmp_path):
    names = ["perimeter", "eccentricity", "solidity", "feret_diameter_max", "extent"]
    found, _, _ = extract(scene, tmp_path, features=[*names, "circularity"])
    rows = found[found["frame"] == 0].sort_values("label")
    labels = scene.movie.labels[0]
    expected = regionprops_table(labels, properties=names)
    for name in names:
        np.testing.assert_allclose(rows[f"{name}_ch_0"], expected[name], rtol=1e-6)
    for label, value in zip(rows["label"], rows["circularity_ch_0"], strict=True):
        mask = labels == label
        ring = (ndimage.binary_dilation(mask) & ~mask).sum()
        assert value == pytest.approx(min(1, 4 * np.pi * mask.sum() / ring**2))


def test_intensities_are_corrected_ones(scene, tmp_path):
    names = ["intensity_mean", "intensity_variance", "intensity_median", "intensity_max"]
    found, _, _ = extract(scene, tmp_path, features=names)
    labels = scene.movie.labels[3]
    light = scene.movie.fluorescence[3] - scene.movie.background.astype(np.float32).astype(float)
    functions = {"mean": np.mean, "variance": np.var, "median": np.median, "max": np.max}
    for _, row in found[found["frame"] == 3].iterrows():
        values = light[labels == row["label"]]
        for name, function in functions.items():
            assert row[f"intensity_{name}_ch_1"] == pytest.approx(function(values), rel=1e-6)


@pytest.mark.parametrize("width", [3, 4, 9])
def test_erosion_is_a_square_within_the_cell(scene, tmp_path, width):
    found, _, _ = extract(scene, tmp_path, features=["intensity_total"], erosion_size=width)
    labels = scene.movie.labels[0]
    light = scene.movie.fluorescence[0] - scene.movie.background.astype(np.float32).astype(float)
    for _, row in found[found["frame"] == 0].iterrows():
        mask = ndimage.binary_erosion(labels == row["label"], np.ones((width, width)))
        assert row["intensity_total_ch_1"] == pytest.approx(light[mask].sum())


def test_erosion_that_leaves_nothing_gives_no_mean(scene, tmp_path):
    names = ["intensity_total", "intensity_mean", "intensity_median"]
    found, _, _ = extract(scene, tmp_path, features=names, erosion_size=99)
    assert (found["intensity_total_ch_1"] == 0).all()
    assert found[["intensity_mean_ch_1", "intensity_median_ch_1"]].isna().all().all()


def test_particles_are_counted(scene, tmp_path):
    light = scene.movie.fluorescence.copy()
    labels = scene.movie.labels
    y, x = (int(np.mean(axis)) for axis in np.nonzero(labels[0] == 6))
    y, x = np.array([y - 5, y + 6, y]), np.array([x - 5, x - 2, x + 6])
    spots = np.zeros(light.shape[1:])
    spots[y, x] = 60000
    light[0] = np.clip(light[0] + ndimage.gaussian_filter(spots, 1.2), 0, 65535)
    images_ = [scene.phase, Scene(tmp_path, None).write("fl_ch_1", light)]
    found, _, _ = extract(scene, tmp_path, features=["particle_num"], images_=images_)
    row = found[(found["frame"] == 0) & (found["label"] == 6)]
    assert row["particle_num_ch_1"].item() == 3


def test_no_features_gives_places_only(scene, tmp_path):
    found, csv, _ = extract(scene, tmp_path, features=["none"], images_=[scene.phase])
    assert csv.read_text().splitlines()[0] == HEAD
    assert len(found) == 6 * 16


def test_one_channel_may_be_named(scene, tmp_path):
    names = ["fl_ch_1:intensity_mean", "pc_ch_0:area", "pc_ch_0:intensity_mean"]
    _, csv, _ = extract(scene, tmp_path, features=names)
    columns = "area_ch_0,intensity_mean_ch_0,intensity_mean_ch_1"
    assert csv.read_text().splitlines()[0] == f"{HEAD},{columns}"


@pytest.mark.parametrize(
    ("features", "message"),
    [(["aera"], "did you mean area"), (["fl_ch_9:area"], "no channel 'fl_ch_9'")],
)
def test_unknown_names_are_told(scene, tmp_path, features, message):
    with pytest.raises(BadData, match=message):
        extract(scene, tmp_path, features=features)


def test_filters_take_whole_cells_and_are_counted(scene, tmp_path):
    found, _, losses = extract(scene, tmp_path, border_margin=30, min_frames=6)
    assert 0 < found["cell"].nunique() < 16
    every, _, _ = extract(scene, tmp_path)
    for cell, rows in every.groupby("cell"):
        near = (rows["bbox_x0"] < 30) | (rows["bbox_y0"] < 30)
        near |= (rows["bbox_x1"] > 290) | (rows["bbox_y1"] > 290)
        assert (cell in set(found["cell"])) == (not near.any())
    assert losses["cells"].tolist() == [16, 16, found["cell"].nunique(), found["cell"].nunique()]
    none, csv, _ = extract(scene, tmp_path, min_frames=7)
    assert len(none) == 0
    assert len(csv.read_text().splitlines()) == 1


def test_flags_are_found_again_by_their_place(scene, tmp_path):
    found, _, _ = extract(scene, tmp_path)
    bad = found[(found["cell"] == 5) & (found["frame"] > 2)]
    quality = tmp_path / "quality.csv"
    bad[["frame", "position_x", "position_y"]].to_csv(quality, index=False)
    again, csv, losses = extract(scene, tmp_path, quality=str(quality), min_frames=2)
    assert set(again.loc[~again["good"].astype(bool), "cell"]) == {5}
    assert (~again["good"].astype(bool)).sum() == 3
    assert losses["rows"].tolist()[-1] == len(found) - 3
    read = traces.read_csv(csv)
    assert (~read["good"]).sum() == 3


def test_times_of_a_mapping(scene, tmp_path):
    mapping = tmp_path / "times.csv"
    mapping.write_text("frame,minutes\n" + "".join(f"{t},{t * t}\n" for t in range(6)))
    found, _, _ = extract(scene, tmp_path, time_mapping=str(mapping))
    np.testing.assert_allclose(found["time_h"], found["frame"] ** 2 / 60)
    (tmp_path / "times.yaml").write_text("{0: 0, 1: 5}")
    with pytest.raises(BadData, match="no time for frame 2"):
        extract(scene, tmp_path, time_mapping=str(tmp_path / "times.yaml"))
    found, _, _ = extract(scene, tmp_path, frame_interval=10)
    np.testing.assert_allclose(found["time_h"], found["frame"] / 6)


PLUGIN = """
PHASE = ("widest",)


def widest(image, mask, context):
    return mask.sum(axis=1).max()


def brightest(image, mask, context):
    assert context["background"].shape == image.shape == mask.shape
    return image[mask].max() + 0 * context["frame"] + 0 * context["cell"]


def _helper(image):
    return 1
"""


def test_features_of_a_plugin(scene, tmp_path):
    plugin = tmp_path / "own.py"
    plugin.write_text(PLUGIN)
    names = ["widest", "brightest", "intensity_max"]
    found, csv, _ = extract(scene, tmp_path, features=names, plugin=str(plugin))
    columns = "widest_ch_0,brightest_ch_1,intensity_max_ch_1"
    assert csv.read_text().splitlines()[0] == f"{HEAD},{columns}"
    np.testing.assert_allclose(found["brightest_ch_1"], found["intensity_max_ch_1"], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(image, mask, context):\n    return image + 'a'", r"own.py, line 2: .*feature f"),
        ("def f(image, mask, context):\n    return 'many'", "gave 'many', not a number"),
        ("def f(:", r"own.py, line 1: SyntaxError"),
        ("import nothing_of_this_name", r"line 1: ModuleNotFoundError"),
        ("g = 1", "no feature 'f'"),
    ],
)
def test_mistakes_in_a_plugin_are_told_in_a_line(scene, tmp_path, text, message):
    plugin = tmp_path / "own.py"
    plugin.write_text(text)
    with pytest.raises(BadData, match=message) as told:
        extract(scene, tmp_path, features=["f"], plugin=str(plugin))
    assert "\n" not in str(told.value)


def test_a_plugin_that_is_not_there(scene, tmp_path):
    with pytest.raises(InputMissing, match="no such file"):
        extract(scene, tmp_path, plugin=str(tmp_path / "no.py"))


@pytest.mark.parametrize(
    ("position", "fov", "name"),
    [
        ("movie_003", 3, "fov_003/movie_fov_003_traces.csv"),
        ("fov_012", 12, "fov_012/fov_012_traces.csv"),
        ("a_fov_1", 1, "fov_001/a_fov_001_traces.csv"),
        ("p1", 1, "fov_001/p_fov_001_traces.csv"),
        ("plain", 0, "plain/plain_traces.csv"),
    ],
)
def test_names_of_positions(position, fov, name):
    assert traces.fov_of(position) == fov
    assert traces.csv_name(position) == name


def test_a_position_that_is_only_a_number_has_the_name_of_its_file():
    assert traces.base_of("/data/day 1.ome.tif") == "day 1"
    name = traces.csv_name("fov_002", base=traces.base_of("/data/day 1.nd2"))
    assert name == "fov_002/day_1_fov_002_traces.csv"


def test_a_csv_with_a_strange_flag_is_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"{HEAD}\n0,1,0,maybe,1,1,0,0,2,2\n")
    with pytest.raises(BadData, match="line 2: good is 'maybe'"):
        traces.read_csv(path)
