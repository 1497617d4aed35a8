"""Lineage from links: definitions, numbering, and what bad links say."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from cells_table import cells
from hypothesis import given
from hypothesis import strategies as st

from cytoloom import tracks
from cytoloom.errors import BadData


def line(text):
    """Return links as pairs from text like '0-1 1-2'."""
    return [tuple(map(int, pair.split("-"))) for pair in text.split()]


def test_split_starts_two_tracks_of_the_next_generation():
    found = tracks.lineage([0, 1, 2, 2, 3, 3], line("0-1 1-2 1-3 2-4 3-5"))
    assert found.track_id.tolist() == [1, 1, 2, 3, 2, 3]
    assert found.parent_track_id.tolist() == [0, 0, 1, 1, 1, 1]
    assert found.generation.tolist() == [0, 0, 1, 1, 1, 1]
    assert found.tree_id.tolist() == [1] * 6
    assert found.link == ["link", "split", "split", "link", "link"]


def test_merge_starts_a_track_whose_parent_is_the_first():
    found = tracks.lineage([0, 0, 1, 3], line("0-2 1-2 2-3"))
    assert found.track_id.tolist() == [1, 2, 3, 3]
    assert found.parent_track_id.tolist() == [0, 0, 1, 1]
    assert found.generation.tolist() == [0, 0, 0, 0]
    assert found.link == ["merge", "merge", "gap"]


def test_generations_add_up_over_a_deep_lineage():
    depth = 300
    frames = [0] + [t for t in range(1, depth) for _ in range(2)]
    edges = [(max(0, 2 * t - 3), 2 * t - 1 + side) for t in range(1, depth) for side in range(2)]
    found = tracks.lineage(frames, edges)
    assert found.generation.max() == depth - 1
    assert len(set(found.track_id.tolist())) == len(frames)


def test_nothing_gives_nothing():
    found = tracks.lineage([], [])
    assert found.track_id.shape == (0,)
    assert found.link == []


@pytest.mark.parametrize("edges", [[(1, 0)], [(0, 1), (0, 1)], [(0, 0)]])
def test_impossible_links_are_refused(edges):
    with pytest.raises(BadData):
        tracks.lineage([0, 1], edges)


@st.composite
def graphs(draw):
    """Frames in order, and links forward in time with splits and merges."""
    frames = sorted(draw(st.lists(st.integers(0, 6), max_size=14)))
    possible = [
        (a, b) for a in range(len(frames)) for b in range(len(frames)) if frames[a] < frames[b]
    ]
    edges = draw(st.lists(st.sampled_from(possible), unique=True, max_size=14)) if possible else []
    return frames, edges


@given(graphs(), st.randoms())
def test_tracks_are_the_maximal_unbranched_chains(graph, random):
    frames, edges = graph
    found = tracks.lineage(frames, edges)
    whole = nx.DiGraph(edges)
    whole.add_nodes_from(range(len(frames)))
    chains = nx.Graph(
        (a, b) for a, b in edges if whole.out_degree(a) == 1 and whole.in_degree(b) == 1
    )
    chains.add_nodes_from(whole)
    for ids, components in (
        (found.track_id, nx.connected_components(chains)),
        (found.tree_id, nx.weakly_connected_components(whole)),
    ):
        ordered = sorted(components, key=min)
        assert [ids[min(c)] for c in ordered] == list(range(1, len(ordered) + 1))
        assert all(len(set(ids[list(c)])) == 1 for c in ordered)
    shuffled = list(edges)
    random.shuffle(shuffled)
    again = tracks.lineage(frames, shuffled)
    for name in ("track_id", "parent_track_id", "tree_id", "generation"):
        assert np.array_equal(getattr(found, name), getattr(again, name))


def test_every_row_is_kept_and_those_left_out_are_null():
    table = cells([(0, 1, 5, 5), (0, 2, 9, 9), (1, 1, 5, 6)], channels=("a", "b"))
    nodes = tracks.objects(table)
    kept = nodes[nodes["x"] < 8].reset_index(drop=True)
    tracked, edges = tracks.assemble(table, kept, [(0, 1)])
    assert len(tracked) == 6
    assert tracked["track_id"].dtype == "Int64"
    assert tracked.loc[tracked["x"] == 9, "track_id"].isna().all()
    assert (tracked.loc[tracked["x"] < 8, "track_id"] == 1).all()
    assert edges["distance_um"].tolist() == [0.5]
    assert edges[["frame", "label", "next_frame", "next_label"]].to_numpy().tolist() == [
        [0, 1, 1, 1]
    ]


def test_short_trees_become_untracked_and_the_others_are_numbered_anew():
    table = cells([(0, 1, 5, 5), (0, 2, 9, 9), (1, 1, 9, 9)])
    tracked, edges = tracks.assemble(table, tracks.objects(table), [(1, 2)], min_track_length=2)
    assert tracked["track_id"].tolist() == [pd.NA, 1, 1]
    assert edges["track_id"].tolist() == [1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.assign(x=[1.0, np.nan]), "without a position in space"),
        (lambda t: t.assign(y_um=[1.0, np.inf]), "frame 1, label 2"),
        (lambda t: t.assign(position=["a", "b"]), "one position at a time"),
        (lambda t: t.assign(frame=0, label=1), "more than one row"),
        (lambda t: t.assign(frame=0, label=1, channel=["a", "b"]), "two places"),
    ],
)
def test_bad_tables_say_what_is_wrong(change, says):
    with pytest.raises(BadData, match=says):
        tracks.objects(change(cells([(0, 1, 5, 5), (1, 2, 6, 6)])))


def test_edges_of_another_table_are_refused():
    table = cells([(0, 1, 5, 5), (1, 1, 6, 6)])
    nodes = tracks.objects(table)
    _, edges = tracks.assemble(table, nodes, [(0, 1)])
    assert tracks.edge_indices(nodes, edges).tolist() == [[0, 1]]
    with pytest.raises(BadData, match="frame 1, label 7"):
        tracks.edge_indices(nodes, edges.assign(next_label=7))


def test_pixels_are_those_along_x():
    nodes = tracks.objects(cells([(0, 1, 1.0, 2.0, 3.0), (0, 2, 0.0, 0.0, 0.0)]))
    assert tracks.coordinates(nodes, tracks.Unit.px)[0].tolist() == [4.0, 2.0, 3.0]
    assert tracks.coordinates(nodes, tracks.Unit.um)[0].tolist() == [2.0, 1.0, 1.5]
    assert tracks.coordinates(nodes[:1], tracks.Unit.px).shape == (1, 2)
