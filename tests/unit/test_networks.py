"""Meshes against literal implementations, degenerate inputs, GraphML, drawing."""

from itertools import combinations

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from cytoloom import networks
from cytoloom.errors import BadData, InputMissing


def shipped_threshold_graph(points):
    """Literally what pyCyto ships, but that an unconnected frame keeps its place (no edges)."""
    distance = cdist(points, points)
    for threshold in range(50, 10001, 10):
        graph = nx.Graph()
        graph.add_nodes_from(range(len(points)))
        linked = (distance >= 1) & (distance <= threshold)
        graph.add_edges_from(zip(*np.nonzero(np.triu(linked)), strict=True))
        if nx.is_connected(graph):
            return sorted((int(i), int(j)) for i, j in graph.edges), threshold
    return [], None


def plain_delaunay(points):
    """Edges of all triangles whose circumcircle holds no other point; points (n, 2)."""
    edges = set()
    for triple in combinations(range(len(points)), 3):
        a, b, c = points[list(triple)]
        system = 2 * np.array([b - a, c - a])
        centre = np.linalg.solve(system, [b @ b - a @ a, c @ c - a @ a])
        others = np.delete(points, triple, axis=0)
        if not (((others - centre) ** 2).sum(axis=1) < ((a - centre) ** 2).sum()).any():
            edges |= set(combinations(triple, 2))
    return sorted(edges)


def as_pairs(edges):
    return [(int(i), int(j)) for i, j in edges]


def connected(count, edges):
    graph = nx.empty_graph(count)
    graph.add_edges_from(as_pairs(edges))
    return nx.is_connected(graph)


@pytest.mark.parametrize("count", [1, 2, 5, 60])
@pytest.mark.parametrize("spread", [1, 40, 300, 3000])
def test_threshold_connected_is_what_is_shipped(count, spread):
    points = np.random.default_rng(count).uniform(0, spread, (count, 2)).round(1)
    edges, threshold = networks.threshold_connected_pairs(points)
    assert (as_pairs(edges), threshold) == shipped_threshold_graph(points)


@given(
    st.lists(
        st.tuples(*[st.sampled_from([0.0, 0.6, 3.0, 50.0, 53.0, 100.0, 500.5])] * 2),
        min_size=1, max_size=8,
    )
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_threshold_connected_with_ties_and_twins(points):
    points = np.array(points)
    edges, threshold = networks.threshold_connected_pairs(points)
    assert (as_pairs(edges), threshold) == shipped_threshold_graph(points)


def test_threshold_connected_that_never_connects():
    far, twins = np.array([[0.0, 0], [0, 10001]]), np.zeros((2, 2))
    for points in (far, twins):
        edges, threshold = networks.threshold_connected_pairs(points)
        assert (len(edges), threshold) == (0, None)
    assert networks.threshold_connected_pairs(np.empty((0, 2)))[1] is None


@given(st.integers(3, 14), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_delaunay_has_empty_circles(count, seed):
    points = np.random.default_rng(seed).uniform(0, 100, (count, 2))
    assert as_pairs(networks.delaunay_pairs(points)) == plain_delaunay(points)


@given(
    hnp.arrays(
        float,
        st.tuples(st.integers(0, 9), st.sampled_from([2, 3])),
        elements=st.sampled_from([0.0, 1.0, 2.0, 7.5]),
    )
)
@settings(deadline=None, max_examples=200)
def test_delaunay_of_grids_lines_planes_and_twins(points):
    """Any input gives a connected mesh of distinct pairs."""
    edges = networks.delaunay_pairs(points)
    assert edges.shape == (len(edges), 2)
    assert (edges[:, 0] < edges[:, 1]).all()
    assert len(set(as_pairs(edges))) == len(edges)
    if len(points):
        assert connected(len(points), edges)


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1), (0.1, 0.7), (1, 2, 3)])
def test_points_on_a_line_are_chained(direction):
    order = np.array([3, 0, 4, 1, 2])
    points = order[:, None] * np.array(direction) * 12.3 + 1000
    expected = {tuple(sorted((int(i), int(j)))) for i, j in [(1, 3), (3, 4), (4, 0), (0, 2)]}
    assert set(as_pairs(networks.delaunay_pairs(points))) == expected


def test_points_of_a_plane_in_a_volume_are_meshed_in_it():
    flat = np.random.default_rng(0).uniform(0, 100, (30, 2))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    tilted = np.column_stack([flat, np.zeros(30)]) @ turn + 40
    np.testing.assert_array_equal(networks.delaunay_pairs(tilted), networks.delaunay_pairs(flat))


def test_longest_edge():
    points = np.array([[0.0, 0], [0, 0.9], [0, 0.9 + 0.3 * 3], [5, 5]])
    assert as_pairs(networks.delaunay_pairs(points, max_distance=0.9)) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 20])
def test_measures_by_plain_counting(count, ndim):
    points = np.random.default_rng(count).uniform(0, 100, (count, ndim))
    edges = networks.delaunay_pairs(points, max_distance=60)
    measures = networks.measure_nodes(points, edges)
    for row in range(count):
        mine = [j if i == row else i for i, j in as_pairs(edges) if row in (i, j)]
        apart = np.sort(np.sqrt(((points - points[row]) ** 2).sum(axis=1)))[1:]
        mean = np.sqrt(((points[mine] - points[row]) ** 2).sum(axis=1)).mean() if mine else np.nan
        k = min(6, count - 1)
        ball = {2: np.pi, 3: 4 / 3 * np.pi}[ndim] * apart[k - 1] ** ndim if k else np.nan
        assert [v[row] for v in measures.values()] == pytest.approx(
            [len(mine), mean, apart[0] if k else np.nan, k / ball], nan_ok=True
        )
    assert list(measures)[-1] == f"local_density_per_um{ndim}"


def small_graph(frame=3):
    cells = pd.DataFrame(
        {
            "frame": frame, "label": [1, 70000], "z_um": 0.0, "y_um": [1.5, 2], "x_um": [0.25, 1],
            "track_id": pd.array([None, 4], dtype="Int64"),
        }
    )  # fmt: skip
    graph = nx.Graph(channel="T")
    first, second = networks.add_cells(graph, cells, "T")
    graph.add_edge(first, second, weight=0.1 + 0.2)
    return graph


def test_graphml_returns_as_it_was(tmp_path):
    networks.write_graphml(tmp_path / "a.graphml", small_graph())
    back = networks.read_graphml(tmp_path / "a.graphml")
    graph = small_graph()
    assert dict(back.nodes(data=True)) == dict(graph.nodes(data=True))
    assert dict(back.edges) == dict(graph.edges)
    assert back.graph["channel"] == "T"
    assert "track_id" not in back.nodes["f3_T_1"]
    assert type(back.nodes["f3_T_70000"]["label"]) is int


def test_graphml_is_the_same_bytes_and_parts_join(tmp_path):
    for name, frame in (("a.0", 3), ("b.0", 3), ("a.1", 4)):
        networks.write_graphml(tmp_path / f"{name}.graphml", small_graph(frame))
    assert (tmp_path / "a.0.graphml").read_bytes() == (tmp_path / "b.0.graphml").read_bytes()
    whole = networks.read_graphml(tmp_path / "a.*.graphml")
    assert list(whole) == ["f3_T_1", "f3_T_70000", "f4_T_1", "f4_T_70000"]


def test_graphml_of_nothing(tmp_path):
    networks.write_graphml(tmp_path / "a.graphml", nx.Graph())
    assert len(networks.read_graphml(tmp_path / "a.graphml")) == 0


def test_graphml_that_is_damaged_or_missing(tmp_path):
    (tmp_path / "a.graphml").write_text("<graphml><graph")
    with pytest.raises(BadData, match="not a GraphML"):
        networks.read_graphml(tmp_path / "a.graphml")
    with pytest.raises(InputMissing):
        networks.read_graphml(tmp_path / "b.graphml")


@given(
    st.lists(st.tuples(*[st.tuples(st.floats(0, 2), st.floats(0, 9), st.floats(0, 6))] * 2)),
    st.booleans(),
)
@settings(deadline=None)
def test_lines_hold_their_ends_and_stay_near(lines, flat):
    lines = [(np.array(a) * (0 if flat else 1, 1, 1), np.array(b) * (0 if flat else 1, 1, 1))
             for a, b in lines]  # fmt: skip
    drawn = networks.draw_lines((1 if flat else 3, 10, 7), lines)
    for ends in lines:
        for end in ends:
            assert drawn[tuple(np.rint(end).astype(int))]
    for pixel in np.argwhere(drawn):
        assert min(off_line(pixel, np.rint(a), np.rint(b)) for a, b in lines) <= np.sqrt(3) / 2


def off_line(point, start, stop):
    way = stop - start
    share = np.clip((point - start) @ way / (way @ way), 0, 1) if way.any() else 0
    return np.linalg.norm(start + share * way - point)


def test_pictures():
    lines = np.array([[[True, False, False]]])
    black = networks.render(lines)
    assert (black.dtype, black.tolist()) == (np.uint8, [[[255, 0, 0]]])
    over = networks.render(lines, np.array([[[2, 300, 7]]], np.uint16))
    assert (over.dtype, over.tolist()) == (np.uint16, [[[300, 300, 7]]])
    assert networks.render(lines, np.zeros((1, 1, 3), np.uint16)).tolist() == [[[1, 0, 0]]]
    floats = networks.render(lines, np.array([[[0, np.nan, 2.5]]], np.float32))
    assert floats[0, 0, 0] == 2.5
