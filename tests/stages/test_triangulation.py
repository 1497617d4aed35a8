"""analyse_triangulation: frames by plain meshes, batched = whole, degenerate frames, mistakes."""

import subprocess
import sys
from pathlib import Path

import analyse_triangulation
import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from analyse_triangulation import Method
from scipy.spatial import Delaunay
from scipy.spatial.distance import cdist

from cytoloom import images, layouts, networks, statistics, tables
from cytoloom.regions import Region
from cytoloom.schemas import SCHEMAS

PIXEL = (2.0, 0.5, 0.5)
COUNTS = [30, 0, 1, 2, 3, 12, 40]  # cells of each frame
SIZE = 400


def cells(planes=1):
    """A cells table with random centroids; frame 3 has twins, frame 4 a line."""
    rng = np.random.default_rng(7)
    frames, places = np.repeat(np.arange(len(COUNTS)), COUNTS), []
    for t, count in enumerate(COUNTS):
        place = rng.uniform(0, (planes - 1, SIZE - 1, SIZE - 1), (count, 3))
        if t == 3:
            place[1] = place[0]
        if t == 4:
            place = np.array([[0, 10, 10], [0, 30, 30], [0, 20, 20.0]])
        places.append(place)
    table = pd.DataFrame(np.concatenate(places), columns=["z", "y", "x"])
    table["frame"] = frames
    table["label"] = np.concatenate([rng.choice(999, n, replace=False) + 1 for n in COUNTS])
    for axis, size in zip("zyx", PIXEL, strict=True):
        table[f"{axis}_um"] = table[axis] * size
    if planes > 1:
        table["volume_um3"] = 1.0
    for field in SCHEMAS["cells"]:
        if field.name not in table.columns and not field.nullable:
            table[field.name] = "T" if field.type == pa.string() else 0
    table["position"] = "p1"
    table.attrs = {"position": "p1", "channel": "T", "pixel_size": list(PIXEL)}
    return table


@pytest.fixture
def scene(tmp_path):
    def make(planes=1, table=None):
        table = cells(planes) if table is None else table
        tables.write_table(tmp_path / "cells.parquet", table, "cells")
        shape = (len(COUNTS), planes, SIZE, SIZE)
        layout = layouts.Layout(
            shape=shape, dtype=np.dtype(np.uint16), chunks=(1, *shape[1:]),
            shards=(1, *shape[1:]), pixel_size=PIXEL, frame_interval=None, position="p1",
            channel="T",
        )  # fmt: skip
        grey = np.random.default_rng(1).integers(0, 900, shape, np.uint16)
        images.write_part(tmp_path / "i.zarr", grey, region=Region.whole(shape), like=layout)
        return {"table": str(tmp_path / "cells.parquet"), "image": str(tmp_path / "i.zarr")}

    return make


def outputs(folder, part=0):
    folder.mkdir(exist_ok=True)
    return {
        "out_network": folder / f"network.{part}.graphml",
        "out_table": folder / f"table.{part}.parquet",
        "out_image": folder / f"image.{part}.zarr",
        "out_statistics": folder / f"statistics.{part}.parquet",
    }


def frames_of(graph, table):
    """Split a network into one graph per frame, nodes named by label."""
    parts = {}
    for t in range(len(COUNTS)):
        names = {n: d["label"] for n, d in graph.nodes(data=True) if d["frame"] == t}
        parts[t] = nx.relabel_nodes(graph.subgraph(names), names)
        assert set(parts[t]) == set(table.loc[table["frame"] == t, "label"])
    return parts


@pytest.mark.parametrize("planes", [1, 6])
def test_delaunay(scene, tmp_path, planes):
    arguments, made = scene(planes), outputs(tmp_path / "out")
    analyse_triangulation.main(**arguments, **made, channel="Net")
    table = cells(planes)
    graphs = frames_of(networks.read_graphml(made["out_network"]), table)
    axes = ["y_um", "x_um"] if planes == 1 else ["z_um", "y_um", "x_um"]
    for t in (0, 6):
        here = table[table["frame"] == t]
        labels = here["label"].tolist()
        edges = set()
        for corners in Delaunay(here[axes].to_numpy()).simplices:
            edges |= {frozenset((labels[i], labels[j])) for i in corners for j in corners if i != j}
        assert {frozenset(e) for e in graphs[t].edges} == edges
    assert graphs[3].number_of_edges() == 1
    assert next(iter(graphs[3].edges.values()))["weight"] == 0
    line = table.loc[table["frame"] == 4, "label"].tolist()
    assert {frozenset(e) for e in graphs[4].edges} == {
        frozenset((line[0], line[2])), frozenset((line[2], line[1]))
    }  # fmt: skip
    measured = tables.read_table(made["out_table"], "cells")
    assert len(measured) == len(table)
    for _, row in measured.iterrows():
        near = dict(graphs[row["frame"]][row["label"]])
        assert row["network_degree"] == len(near)
        if near:
            mean = np.mean([edge["weight"] for edge in near.values()])
            assert row["neighbour_distance_um"] == pytest.approx(mean)
    alone = measured[measured["frame"] == 2].iloc[0]
    names = ["neighbour_distance_um", "nearest_neighbour_um", measured.columns[-1]]
    assert alone[names].isna().all()
    assert measured.columns[-1] == f"local_density_per_um{2 if planes == 1 else 3}"


def test_threshold_connected_is_what_pycyto_ships(scene, tmp_path):
    """Literally: the first of 50, 60, … 10000 px that connects; frames keep their place."""
    arguments, made = scene(), outputs(tmp_path / "out")
    analyse_triangulation.main(**arguments, **made, method=Method.threshold_connected)
    table = cells()
    graphs = frames_of(networks.read_graphml(made["out_network"]), table)
    for t in range(len(COUNTS)):
        here = table[table["frame"] == t]
        distance = cdist(here[["y", "x"]], here[["y", "x"]])
        expected = set()
        for threshold in range(50, 10001, 10):
            graph = nx.Graph()
            graph.add_nodes_from(here["label"])
            rows = np.argwhere((distance >= 1) & (distance <= threshold))
            graph.add_edges_from(here["label"].to_numpy()[rows])
            if len(graph) and nx.is_connected(graph):
                expected = {frozenset(e) for e in graph.edges}
                break
        assert {frozenset(e) for e in graphs[t].edges} == expected


def test_a_frame_that_never_connects_is_named(scene, tmp_path, caplog):
    arguments = scene()
    analyse_triangulation.main(
        **arguments, out_table=tmp_path / "t.parquet", method=Method.threshold_connected
    )
    assert caplog.text.count("frame 3: no threshold up to 10000 px connects its 2 cells") == 1


def test_longest_edge(scene, tmp_path):
    out = tmp_path / "n.graphml"
    analyse_triangulation.main(**scene(), out_network=out, max_distance=20)
    lengths = [e["weight"] for e in networks.read_graphml(out).edges.values()]
    assert lengths
    assert max(lengths) <= 20


@pytest.mark.parametrize("base_image", [True, False])
def test_batches_equal_whole(scene, tmp_path, base_image):
    arguments, whole = scene(), outputs(tmp_path / "whole")
    analyse_triangulation.main(**arguments, **whole, channel="Net", base_image=base_image)
    parts = tmp_path / "parts"
    for part, (start, stop) in enumerate([(0, 1), (1, 2), (2, 6), (6, 7)]):
        analyse_triangulation.main(
            **arguments, **outputs(parts, part), channel="Net", base_image=base_image,
            region=f"t={start}:{stop}",
        )  # fmt: skip
    joined = tables.read_table(parts / "table.*.parquet", "cells")
    pd.testing.assert_frame_equal(joined, tables.read_table(whole["out_table"], "cells"))
    both = [images.open_layer(p) for p in (parts / "image.*.zarr", whole["out_image"])]
    np.testing.assert_array_equal(both[0].read(), both[1].read())
    assert both[0].layout == both[1].layout
    assert both[0].channel == "Net"
    assert both[0].dtype == (np.uint16 if base_image else np.uint8)
    graphs = [networks.read_graphml(p) for p in (parts / "*.graphml", whole["out_network"])]
    assert dict(graphs[0].nodes(data=True)) == dict(graphs[1].nodes(data=True))
    assert dict(graphs[0].edges) == dict(graphs[1].edges)
    counted = [statistics.read(p) for p in (parts / "statistics.*", whole["out_statistics"])]
    np.testing.assert_array_equal(counted[0].count, counted[1].count)


@pytest.mark.parametrize("method", list(Method))
def test_no_cell_at_all(scene, tmp_path, method):
    nothing = cells().iloc[:0]
    nothing.attrs.update(cells().attrs)
    arguments, made = scene(table=nothing), outputs(tmp_path / "out")
    analyse_triangulation.main(**arguments, **made, method=method)
    table = tables.read_table(made["out_table"], "cells")
    assert len(table) == 0
    assert "network_degree" in table.columns
    assert len(networks.read_graphml(made["out_network"])) == 0
    assert not images.open_layer(made["out_image"]).read().any()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--max_distance", "5", "--method", "threshold_connected"], 2, "delaunay only"),
        (["--base_image"], 2, "needs --image"),
        (["--image", "{image}", "--region", "y=0:10"], 2, "whole frames"),
        (["--image", "absent.zarr"], 66, "absent.zarr"),
        ([], 0, ""),
    ],
)
def test_command_line(scene, tmp_path, words, code, message):
    arguments = scene()
    script = Path(analyse_triangulation.__file__)
    words = [word.format(**arguments) for word in words]
    done = subprocess.run(
        [sys.executable, script, "--table", arguments["table"], *words,
         "--out-table", tmp_path / "t.parquet"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == (code != 0)
    assert (tmp_path / "t.parquet").exists() == (code == 0)
