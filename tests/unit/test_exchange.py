"""Track formats: what is written is read back, by us, by reference libraries, as in real files."""

import json
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cells_table import cells

from cytoloom import tracks
from cytoloom.errors import BadData
from cytoloom.exchange import ctc, geff, napari, trackmate_xml

DATA = Path(__file__).parents[1] / "data" / "laptrack"
REAL = DATA / "trackmate_tracks_with_splitting_merging.xml"


def lineage(channels=("TCell",)):
    """Return table, nodes, pairs, edges: a track with a gap that divides, and a lone cell."""
    points = [
        (0, 1, 4, 4),
        (1, 1, 4, 6),
        (3, 1, 4, 8),
        (4, 1, 2, 9),
        (4, 2, 8, 9),
        (5, 1, 1, 9),
        (5, 2, 9, 9),
        (2, 5, 14, 14),
    ]
    table = cells(points, channels=channels, intensity_mean=[1.5, 2, 3, 4, 5, 6, 7, 8])
    nodes = tracks.objects(table)
    place = {(f, n): i for i, (f, n) in enumerate(zip(nodes["frame"], nodes["label"], strict=True))}
    links = [
        ((0, 1), (1, 1)),
        ((1, 1), (3, 1)),
        ((3, 1), (4, 1)),
        ((3, 1), (4, 2)),
        ((4, 1), (5, 1)),
        ((4, 2), (5, 2)),
    ]
    pairs = [(place[a], place[b]) for a, b in links]
    tracked, edges = tracks.assemble(table, nodes, pairs)
    nodes = tracks.objects(tracked)
    return tracked, nodes, tracks.edge_indices(nodes, edges), edges


SCENE = trackmate_xml.Scene((6, 1, 16, 16), (2.0, 0.5, 0.5), 60.0, 'a & "b".tif')


def test_trackmate_round_trip(tmp_path):
    table, nodes, pairs, _ = lineage(channels=("a", "b"))
    trackmate_xml.write(tmp_path / "t.xml", nodes, pairs, SCENE, table=table)
    model = trackmate_xml.read(tmp_path / "t.xml")
    assert model.spots["frame"].tolist() == nodes["frame"].tolist()
    assert model.spots["label"].tolist() == nodes["label"].tolist()
    for axis in "zyx":
        assert model.spots[axis].tolist() == nodes[f"{axis}_um"].tolist()
    assert model.spots["t"].tolist() == [60.0 * f for f in nodes["frame"]]
    assert model.edges[["source", "target"]].to_numpy().tolist() == sorted(pairs.tolist())
    assert set(model.edges["track"]) == {1}
    assert (model.space_unit, model.time_unit) == ("micrometer", "second")
    assert model.pixel_size == (2.0, 0.5, 0.5)
    assert model.frame_interval == 60.0


def test_trackmate_counts_of_a_dividing_track(tmp_path):
    _, nodes, pairs, _ = lineage()
    trackmate_xml.write(tmp_path / "t.xml", nodes, pairs, SCENE)
    (track,) = ET.parse(tmp_path / "t.xml").iterfind("Model/AllTracks/Track")
    values = {k: float(v) for k, v in track.attrib.items() if k != "name"}
    assert values["NUMBER_SPOTS"] == 7
    assert values["NUMBER_GAPS"] == 1
    assert values["LONGEST_GAP"] == 1
    assert values["NUMBER_SPLITS"] == 1
    assert values["NUMBER_MERGES"] == 0
    assert values["TRACK_DURATION"] == 300


def paths(root, above=""):
    for element in root:
        yield f"{above}/{element.tag}", element
        yield from paths(element, f"{above}/{element.tag}")


def assert_built_like(ours, real):
    """Elements, their order and their attributes are a selection of those of the real file."""
    known = {}
    for path, element in paths(ET.parse(real).getroot()):
        known.setdefault(path, set()).update(element.attrib)
    free = {"LABEL", "POSITION_Z", "AREA", "PERIMETER", "SOLIDITY", "RADIUS", "NUMBER_COMPLEX"}
    for path, element in paths(ET.parse(ours).getroot()):
        assert path in known, path
        if path.endswith("Settings") and "_" in str(element.attrib):
            continue
        extra = {a for a in set(element.attrib) - known[path] if "INTENSITY" not in a}
        assert not extra - free, (path, extra)
    top = [e.tag for e in ET.parse(real).getroot() if e.tag != "DisplaySettings"]
    assert [e.tag for e in ET.parse(ours).getroot()][: len(top)] == top


def test_trackmate_structure_is_that_of_a_real_file(tmp_path, shared_trackmate):
    _, nodes, pairs, _ = lineage()
    trackmate_xml.write(tmp_path / "t.xml", nodes, pairs, SCENE)
    assert_built_like(tmp_path / "t.xml", shared_trackmate / "FakeTracks.xml")


@pytest.fixture
def shared_trackmate(shared):
    return shared / "trackmate"


def test_every_feature_of_a_spot_is_declared(tmp_path):
    table, nodes, pairs, _ = lineage(channels=("a", "b"))
    trackmate_xml.write(tmp_path / "t.xml", nodes, pairs, SCENE, table=table)
    root = ET.parse(tmp_path / "t.xml").getroot()
    for kind, path in (
        ("Spot", "AllSpots/SpotsInFrame/Spot"),
        ("Edge", "AllTracks/Track/Edge"),
        ("Track", "AllTracks/Track"),
    ):
        declared = [
            f.get("feature")
            for f in root.iterfind(f"Model/FeatureDeclarations/{kind}Features/Feature")
        ]
        assert len(set(declared)) == len(declared)
        for element in root.iterfind(f"Model/{path}"):
            assert set(element.attrib) - {"ID", "name"} <= set(declared)
    assert "MEAN_INTENSITY_CH2" in root.find("Model/AllSpots/SpotsInFrame/Spot").attrib


def test_reads_trackmates_own_file():
    model = trackmate_xml.read(REAL)
    spots = pd.read_csv(DATA / "trackmate_tracks_with_splitting_merging_spots.csv", index_col=0)
    edges = pd.read_csv(DATA / "trackmate_tracks_with_splitting_merging_edges.csv", index_col=0)
    ours = model.spots.set_index("id").loc[spots["id"]]
    np.testing.assert_allclose(ours[["x", "y"]].to_numpy(), spots[["position_x", "position_y"]])
    wanted = {frozenset(e) for e in edges[["spot_source_id", "spot_target_id"]].to_numpy().tolist()}
    assert {frozenset(e) for e in model.edges[["source", "target"]].to_numpy().tolist()} == wanted
    frame = model.spots.set_index("id")["frame"]
    assert (frame[model.edges["target"]].to_numpy() > frame[model.edges["source"]].to_numpy()).all()


@pytest.mark.parametrize(
    ("name", "spots", "tracks", "splits", "unit"),
    [
        ("FakeTracks.xml", 107, 7, 2, "second"),
        ("Ecoli_growth_on_agar_pad.xml", 526, 3, None, "minute"),
    ],
)
def test_reads_other_real_files(shared_trackmate, name, spots, tracks, splits, unit):
    model = trackmate_xml.read(shared_trackmate / name)
    assert len(model.spots) == spots
    assert model.edges["track"].nunique() == tracks
    assert model.time_unit == unit
    if splits is not None:
        assert sum(n > 1 for n in Counter(model.edges["source"]).values()) == splits


def test_a_real_model_survives_our_writer(tmp_path):
    model = trackmate_xml.read(REAL)
    spots = model.spots.sort_values(["frame", "id"]).reset_index(drop=True)
    table = cells(
        [(f, i, y, x) for f, i, y, x in spots[["frame", "id", "y", "x"]].itertuples(index=False)],
        pixel_size=(1, 1, 1),
    )
    place = {n: i for i, n in enumerate(spots["id"])}
    pairs = [
        (place[a], place[b]) for a, b in model.edges[["source", "target"]].itertuples(index=False)
    ]
    tracked, edges = tracks.assemble(table, tracks.objects(table), pairs)
    nodes = tracks.objects(tracked)
    scene = trackmate_xml.Scene((50, 1, 128, 128))
    trackmate_xml.write(tmp_path / "t.xml", nodes, tracks.edge_indices(nodes, edges), scene)
    again = trackmate_xml.read(tmp_path / "t.xml")
    names = again.spots.set_index("id")["label"]
    assert {
        (names[a], names[b]) for a, b in again.edges[["source", "target"]].itertuples(index=False)
    } == set(model.edges[["source", "target"]].itertuples(index=False, name=None))
    assert again.edges["track"].nunique() == model.edges["track"].nunique()
    assert again.time_unit == "frame"


@pytest.mark.parametrize("text", ["", "<a/>", "<TrackMate><Model/></TrackMate>"])
def test_not_a_trackmate_file(tmp_path, text):
    (tmp_path / "t.xml").write_text(text)
    with pytest.raises(BadData, match="not a TrackMate file"):
        trackmate_xml.read(tmp_path / "t.xml")


def test_geff_is_read_and_validated_by_its_library(tmp_path):
    table, nodes, pairs, _ = lineage(channels=("a", "b"))
    geff.write(
        tmp_path / "g.geff",
        nodes,
        pairs,
        table=table,
        pixel_size=(2, 0.5, 0.5),
        frame_interval=60.0,
    )
    back, links = geff.read(tmp_path / "g.geff")
    for ours, theirs in (
        ("t", "frame"),
        ("y", "y"),
        ("x", "x"),
        ("label", "label"),
        ("track_id", "track_id"),
        ("tree_id", "tree_id"),
    ):
        assert back[ours].tolist() == nodes[theirs].astype(float).tolist()
    assert back["intensity_mean_b"].tolist() == back["intensity_mean_a"].tolist()
    assert links[["source", "target"]].to_numpy().tolist() == pairs.tolist()
    metadata = json.loads((tmp_path / "g.geff" / "zarr.json").read_text())["attributes"]["geff"]
    assert metadata["directed"]
    assert {a["name"]: (a["unit"], a["scale"], a["scaled_unit"]) for a in metadata["axes"]} == {
        "t": ("frame", 60.0, "second"),
        "z": ("pixel", 2.0, "micrometer"),
        "y": ("pixel", 0.5, "micrometer"),
        "x": ("pixel", 0.5, "micrometer"),
    }


def test_napari_takes_points_and_graph(tmp_path):
    _, nodes, _, edges = lineage()
    napari.write_points(tmp_path / "p.csv", nodes)
    napari.write_graph(tmp_path / "g.json", edges)
    points, graph = napari.read(tmp_path / "p.csv", tmp_path / "g.json")
    assert points.shape == (8, 5)
    assert (np.diff(points[:, 0]) >= 0).all()
    assert graph == {3: [1], 4: [1]}
    assert set(points[:, 0]) == {1, 2, 3, 4}


def masks(nodes, key, shape=(6, 16, 16)):
    data = np.zeros(shape, dtype=np.uint32)
    for row in nodes.itertuples():
        data[row.frame, int(row.y) : int(row.y) + 2, int(row.x) : int(row.x) + 2] = getattr(
            row, key
        )
    return data


@pytest.mark.parametrize("key", ["track_id", "label"])
def test_ctc_cuts_tracks_at_gaps(tmp_path, key):
    _, nodes, _, _ = lineage()
    data = masks(nodes, key)
    ctc.write(tmp_path / "c", nodes, data, key=key)
    lines, frames = ctc.read(tmp_path / "c")
    assert lines.tolist() == [[1, 0, 1, 0], [2, 3, 3, 1], [3, 2, 2, 0], [4, 4, 5, 2], [5, 4, 5, 2]]
    assert len(frames) == 6
    assert all(m.dtype == np.uint16 for m in frames.values())
    assert (frames[3] > 0).sum() == 4
    assert set(np.unique(frames[2])) == {0, 3}


def test_ctc_leaves_untracked_pixels_out(tmp_path):
    _, nodes, _, _ = lineage()
    data = masks(nodes, "track_id")
    data[2, 0, 0] = 99
    ctc.write(tmp_path / "c", nodes, data)
    assert ctc.read(tmp_path / "c")[1][2][0, 0] == 0


def test_ctc_needs_a_pixel_of_every_cell(tmp_path):
    _, nodes, _, _ = lineage()
    data = masks(nodes, "track_id")
    data[2] = 0
    with pytest.raises(BadData, match="frame 2: track_id 2 has no pixel"):
        ctc.write(tmp_path / "c", nodes, data)


def test_ctc_has_16_bits():
    n = 65_536
    nodes = pd.DataFrame(
        {
            "track_id": np.arange(1, n + 1),
            "frame": 0,
            "parent_track_id": pd.array([pd.NA] * n, dtype="Int64"),
        }
    )
    with pytest.raises(BadData, match="65536 tracks do not fit into the 16 bit"):
        ctc.pieces(nodes)
    assert ctc.pieces(nodes[1:])[1].shape == (n - 1, 4)


def test_ctc_reader_finds_faults(tmp_path):
    _, nodes, _, _ = lineage()
    ctc.write(tmp_path / "c", nodes, masks(nodes, "track_id"))
    text = tmp_path / "c" / ctc.TRACKS
    good = text.read_text()
    for bad, says in (("6 0 0 0\n", "only one of"), ("6 0 0 5\n", "before its parent")):
        text.write_text(good + bad)
        with pytest.raises(BadData, match=says):
            ctc.read(tmp_path / "c")


def test_no_tracks_at_all(tmp_path):
    table, nodes, pairs, edges = lineage()
    nodes, pairs, edges = nodes[:0], pairs[:0], edges[:0]
    trackmate_xml.write(tmp_path / "t.xml", nodes, pairs, SCENE, table=table[:0])
    assert len(trackmate_xml.read(tmp_path / "t.xml").spots) == 0
    geff.write(tmp_path / "g.geff", nodes, pairs, table=table[:0])
    assert len(geff.read(tmp_path / "g.geff")[0]) == 0
    napari.write_points(tmp_path / "p.csv", nodes)
    napari.write_graph(tmp_path / "g.json", edges)
    assert napari.read(tmp_path / "p.csv", tmp_path / "g.json")[0].shape == (0, 5)
    ctc.write(tmp_path / "c", nodes, np.zeros((2, 4, 4), dtype=np.uint32))
    assert len(ctc.read(tmp_path / "c")[0]) == 0


def test_the_same_bytes_every_time(tmp_path):
    table, nodes, pairs, edges = lineage()
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        trackmate_xml.write(folder / "t.xml", nodes, pairs, SCENE, table=table)
        geff.write(folder / "g.geff", nodes, pairs, table=table)
        napari.write_points(folder / "p.csv", nodes)
        napari.write_graph(folder / "g.json", edges)
        ctc.write(folder / "c", nodes, masks(nodes, "track_id"))
    one, two = (
        {
            p.relative_to(tmp_path / n): p.read_bytes()
            for p in sorted((tmp_path / n).rglob("*"))
            if p.is_file()
        }
        for n in "ab"
    )
    assert one == two


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_an_independent_reader_takes_our_trackmate_file(tmp_path):
    from geff.convert import from_trackmate_xml_to_geff, geff_to_dataframes

    table, nodes, pairs, _ = lineage(channels=("a", "b"))
    trackmate_xml.write(tmp_path / "t.xml", nodes, pairs, SCENE, table=table)
    from_trackmate_xml_to_geff(tmp_path / "t.xml", tmp_path / "g.geff")
    spots, links = geff_to_dataframes(str(tmp_path / "g.geff"))
    spots = spots.set_index("id").loc[range(len(nodes))]
    assert spots["POSITION_X"].tolist() == nodes["x_um"].tolist()
    assert spots["FRAME"].astype(int).tolist() == nodes["frame"].tolist()
    found = links[["source", "target"]].astype(int).itertuples(index=False, name=None)
    assert sorted(found) == sorted(map(tuple, pairs.tolist()))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_an_independent_reader_takes_our_ctc_folder(tmp_path):
    from geff.convert import from_ctc_to_geff, geff_to_dataframes

    _, nodes, pairs, _ = lineage()
    ctc.write(tmp_path / "c", nodes, masks(nodes, "track_id"))
    from_ctc_to_geff(tmp_path / "c", tmp_path / "g.geff")
    spots, links = geff_to_dataframes(str(tmp_path / "g.geff"))
    spots = spots.set_index("id")
    place = {(r.frame, r.y, r.x): i for i, r in enumerate(nodes.itertuples())}
    where = [place[int(s.t), s.y - 0.5, s.x - 0.5] for s in spots.itertuples()]
    index = dict(zip(spots.index, where, strict=True))
    found = {(index[a], index[b]) for a, b in links[["source", "target"]].itertuples(index=False)}
    assert found == set(map(tuple, pairs.tolist()))
