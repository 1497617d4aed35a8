"""deliver_report: a page that stands alone, right numbers, nothing that stops it."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import deliver_report
import deliver_unite
import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytoloom import images, layouts, networks, tables
from cytoloom.errors import BadData, InputMissing
from cytoloom.regions import Region
from cytoloom.report import charts, counting, diagram, graphs, inputs, making, pictures, stores
from cytoloom.report.sections_positions import track_lines
from cytoloom.schemas import SCHEMAS

BIN = Path(deliver_report.__file__).parent
FRAMES, SIDE, PIXEL = 12, 64, 0.5
SVG = "{http://www.w3.org/2000/svg}"


def step(tag, stage, channels, sources, name=None, **args):
    return {
        "tag": tag, "slug": tag, "name": name or tag, "stage": stage, "channels": channels,
        "outputs": [], "inputs_from": sources, "args": args, "output": True,
    }  # fmt: skip


def description(positions=("p1",), planes=1, **more):
    pairs = [["T", "T"], ["C", "C"]]
    run = {
        "version": "0.1.0", "pipeline": "p.yaml", "pipeline_text": "channels: {}\n",
        "description": "test", "warnings": ["pixel size is assumed"], "channels": ["T", "C"],
        "slugs": {"T": "T", "C": "C"}, "preflight": [{"channel": "T", "kind": "image"}],
        "positions": [
            {"name": p, "slug": p, "shape": [FRAMES, planes, SIDE, SIDE], "frame_interval": 60.0,
             "pixel_size": [1.0, PIXEL, PIXEL], "patch": [SIDE, SIDE], "tiles": 1}
            for p in positions
        ],
        "steps": [
            step("Measure", "label_to_sparse", pairs, ["ingest"], "LabelToSparse"),
            step("Track", "tracking", [["T"], ["C"]], ["Measure"], "LapTrack", max_gap=2),
            step("Contact", "postprocessing", [["T", "C"]], ["Track", "ingest"]),
            step("Move", "postprocessing", [["T"], ["C"]], ["Track"], "Kinematics"),
            step("Kill", "postprocessing", [["T", "C"]], ["Contact", "Move"]),
        ],
    }  # fmt: skip
    return run | more


def movie(planes=1):
    """Two effectors and three targets, labels = tracks; the second target leaves at frame 6."""
    labels = {c: np.zeros((FRAMES, planes, SIDE, SIDE), np.uint32) for c in "TC"}
    for t in range(FRAMES):
        for n in (1, 2):
            labels["T"][t, :, 10 * n : 10 * n + 6, 4 + 3 * t : 10 + 3 * t] = n
        for n in (1, 2, 3):
            if n != 2 or t < 6:
                labels["C"][t, :, 18 * n - 8 : 18 * n + 4, 30:44] = n
    return labels


def cells(labels, kind, channel, image=None, position="p1"):
    rows = []
    for t, frame in enumerate(labels):
        for label in np.unique(frame[frame > 0]):
            z, y, x = np.argwhere(frame == label).mean(axis=0)
            rows.append({"frame": t, "label": label, "z": z, "y": y, "x": x,
                         "area_um2": (frame == label).sum() * PIXEL**2})  # fmt: skip
    frame = pd.DataFrame(rows, columns=["frame", "label", "z", "y", "x", "area_um2"])
    frame["channel"], frame["label_channel"] = image or channel, channel
    if kind == "tracks":
        frame["track_id"] = frame["label"].astype("Int64")
        frame["speed_um_per_s"] = np.where(frame["frame"] > 0, 0.02 + 0.01 * frame["label"], np.nan)
    return fill(frame, kind, position, image or channel)


def fill(frame, kind, position="p1", channel="C"):
    """Give the columns that must be there and that a test has no need of."""
    for field in SCHEMAS[kind]:
        if field.name not in frame.columns and not field.nullable:
            empty = {pa.string(): "", pa.bool_(): False}.get(field.type, 0)
            if pa.types.is_list(field.type):
                empty = pd.Series([[] for _ in range(len(frame))], frame.index, object)
            frame[field.name] = empty
    frame["position"] = position
    frame.attrs = {"position": position, "channel": channel, "pixel_size": [1.0, PIXEL, PIXEL],
                   "frame_interval": 60.0}  # fmt: skip
    return frame


def add_store(folder, work, position="p1", labels=None, planes=1):
    labels = labels or movie(planes)
    shape = (FRAMES, planes, SIDE, SIDE)
    chunks, shards = layouts.default_layout(shape)
    globs = {"image": [], "label": []}
    for channel, outlines in labels.items():
        layout = layouts.Layout(shape, np.dtype("u2"), chunks, shards, (1.0, PIXEL, PIXEL), 60.0,
                               position, channel)  # fmt: skip
        for kind in ("image", "label"):
            path = work / f"{position}.ingest.{channel}.{kind}.0000.zarr"
            data = (outlines > 0).astype("u2") * 900 + 100 if kind == "image" else outlines
            images.write_part(path, data, region=Region.whole(shape), like=layout, kind=kind)
            globs[kind].append(f"{channel}={path}")
    deliver_unite.main(folder / f"{position}.ome.zarr", globs["image"], globs["label"])


def add_tables(folder, position="p1", labels=None):
    labels = labels or movie()

    def write(name, frame, kind):
        tables.write_table(folder / f"{position}.{name}.{kind}.0000.parquet", frame, kind)

    for channel, outlines in labels.items():
        write(f"Measure.{channel}", cells(outlines, "cells", channel, position=position), "cells")
        followed = cells(outlines, "tracks", channel, position=position)
        write(f"Track.{channel}", followed, "tracks")
        write(f"Move.{channel}", followed, "tracks")
        write(f"Track.{channel}", fill(pd.DataFrame({"frame": [0]}), "edges", position), "edges")
        lags = pd.DataFrame({"lag_frames": [1, 2, 3, 1, 2], "lag_s": [60.0, 120, 180, 60, 120],
                             "msd_um2": [1.0, 2, 3, 1, 4], "label_channel": channel})  # fmt: skip
        lags["track_id"] = pd.array([None, None, None, 1, 1], "Int64")
        write(f"Move.{channel}", fill(lags, "msd", position, channel), "msd")
    write("Measure.D", cells(labels["C"], "cells", "C", "D", position), "cells")
    touching = pd.DataFrame({"frame": [3, 4, 5, 5]})
    write("Contact.TtoC", fill(touching, "contacts", position), "contacts")
    events = pd.DataFrame({"effector_track_id": [1, 2], "target_track_id": [1, 3], "event": 1,
                           "start_frame": [3, 5], "end_frame": [5, 5],
                           "duration_s": [180.0, 60.0]})  # fmt: skip
    write("Contact.TtoC", fill(events, "contact_events", position), "contact_events")
    graph = contact_network(labels)
    networks.write_graphml(folder / f"{position}.Contact.TtoC.network.0000.graphml", graph)


def contact_network(labels):
    graph = nx.Graph()
    for channel, outlines in labels.items():
        frame = cells(outlines, "tracks", channel)
        for axis in "zyx":
            frame[f"{axis}_um"] = frame[axis] * PIXEL
        networks.add_cells(graph, frame, channel)
    for t in (3, 4, 5, 5, 9):
        graph.add_edge(networks.node_id(t, "T", 1), networks.node_id(t, "C", 1))
    graph.add_edge(networks.node_id(5, "T", 2), networks.node_id(5, "C", 3))
    return graph


def add_killing(folder, position="p1"):
    def write(frame, kind):
        name = f"{position}.Kill.Killing.{kind}.0000.parquet"
        tables.write_table(folder / name, fill(frame, kind, position), kind)

    write(pd.DataFrame({"target_track_id": [1, 2, 3], "last_frame": [11, 5, 11],
                        "died": [True, False, True], "death_time": [4.5, np.nan, 7.0],
                        "kill_class": ["single", "none", "spontaneous"]}), "deaths")  # fmt: skip
    write(pd.DataFrame({"group": "all", "time_frames": [0.0, 4.5, 7.0, 12],
                        "survival": [1, 2 / 3, 1 / 3, 1 / 3], "lower95": 0.0, "upper95": 1.0,
                        "events": [0, 1, 1, 0]}), "survival")  # fmt: skip
    write(pd.DataFrame({"effector_track_id": [1, 2], "kills": [1, 0], "kill_credit": [1.0, 0.0],
                        "n_targets_contacted": [1, 1]}), "killers")  # fmt: skip
    write(pd.DataFrame({"frame": np.tile(np.arange(12), 2), "track_id": np.repeat([1, 3], 12),
                        "cdi_smoothed": np.linspace(0, 1, 24)}), "cell_state")  # fmt: skip
    write(pd.DataFrame({"targets": [3], "deaths": [2]}), "killing_summary")


def add_provenance(folder, name, executable, compute=1.0, **arguments):
    record = {
        "executable": executable, "version": "0.1.0", "python": "3.11.7", "arguments": arguments,
        "outputs": {name: "0" * 40}, "device": "cpu", "peak_memory_mb": 100.0,
        "seconds": {"compute": compute, "start_up": 0.5},
    }  # fmt: skip
    (folder / f"{name}.provenance.json").write_text(json.dumps(record))


def report(tmp_path, run, folder):
    (tmp_path / "run.json").write_text(json.dumps(run))
    page, summary = tmp_path / "report.html", tmp_path / "summary.json"
    deliver_report.main(tmp_path / "run.json", folder, page, summary)
    return page.read_text(), json.loads(summary.read_text())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def whole(tmp_path, folder):
    """All kinds of input of one position."""
    add_store(folder, tmp_path)
    add_tables(folder)
    add_killing(folder)
    add_provenance(folder, "p1.Track.T.edges.0000.parquet", "track_laptrack", max_gap=2, cost=1.5)
    add_provenance(folder, "p1.Kill.Killing.deaths.0000.parquet", "analyse_killing",
                   death_threshold=0.5)  # fmt: skip
    return folder


class Page(HTMLParser):
    """Collects what a page refers to, its sections, headings and pictures."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.tags, self.silent = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        self.tags.append(tag)
        self.links += [about[k] for k in ("src", "href", "xlink:href") if k in about]
        self.ids += [about["id"]] if "id" in about else []
        if tag == "img" and not about.get("alt"):
            self.silent.append(about)
        if tag == "svg" and not (about.get("role") == "img" and about.get("aria-label")):
            self.silent.append(about)


def svgs(text):
    """Return the inline SVG pictures as XML."""
    pieces = text.split("<svg ")[1:]
    return [
        ET.fromstring(f'<svg xmlns="{SVG[1:-1]}" ' + p.split("</svg>")[0] + "</svg>")
        for p in pieces
    ]


# ---- the whole page ---------------------------------------------------------------------


def test_page_stands_alone_and_speaks(tmp_path, whole):
    text, _ = report(tmp_path, description(), whole)
    page = Page(text)
    assert "missing" not in text.split("</style>")[1]
    assert {"plan", "positions", "motion", "contacts", "killing", "files", "made"} <= set(page.ids)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    outside = [a for a in page.links if ":" in a and not a.startswith("data:image/")]
    assert not outside
    assert "url(http" not in text
    assert not page.silent
    assert len([a for a in page.links if a.startswith("data:image/svg")]) == 11
    drawn = svgs(text)
    assert len(drawn) == 1 + 2 * 3 + 2 + 1  # plan, overlays, tracks, network
    assert "max_gap = 2" in text
    assert "cost = 1.5" in text
    assert "pixel size is assumed" in text
    for link in ("images/p1.ome.zarr", "tables/Measure.C.cells.csv", "tracks/p1.Track.T.geff"):
        assert link in page.links


def test_numbers_are_those_of_the_movie(tmp_path, whole):
    labels = movie()
    objects = {c: sum(len(np.unique(f[f > 0])) for f in outlines) for c, outlines in labels.items()}
    _, summary = report(tmp_path, description(), whole)
    assert list(summary)[:5] == ["cells", "tracks", "contacts", "killed", "positions"]
    assert summary["cells"] == sum(objects.values())  # channel D, measured in C, adds none
    assert summary["tracks"] == 5
    assert summary["contacts"] == 2
    assert summary["killed"] == 1
    assert summary["per_channel"]["C"]["cells"] == objects["C"]
    assert summary["per_channel"]["C"]["median_area_um2"] == 12 * 14 * PIXEL**2


@pytest.mark.parametrize("with_store", [True, False])
def test_sections_without_data_are_left_out(tmp_path, folder, with_store):
    if with_store:
        add_store(folder, tmp_path)
    text, summary = report(tmp_path, description(), folder)
    ids = set(Page(text).ids)
    assert not {"motion", "contacts", "killing"} & ids
    assert summary == {
        "positions": 1, "per_channel": {}, "per_position": {"p1": {}}
    }  # fmt: skip
    assert ("positions" in ids) == with_store


def test_empty_tables_give_a_line(tmp_path, folder):
    nothing = {c: np.zeros_like(a) for c, a in movie().items()}
    add_store(folder, tmp_path, labels=nothing)
    for c, a in nothing.items():
        for tag, kind in (("Measure", "cells"), ("Track", "tracks")):
            path = folder / f"p1.{tag}.{c}.{kind}.0000.parquet"
            tables.write_table(path, cells(a, kind, c), kind)
    kinds = {"contacts": "Contact.X", "contact_events": "Contact.X", "msd": "Move.T",
             "deaths": "Kill.K", "survival": "Kill.K", "killers": "Kill.K", "cell_state": "Kill.K",
             "killing_summary": "Kill.K", "death_thresholds": "Kill.K"}  # fmt: skip
    for kind, name in kinds.items():
        empty = fill(pd.DataFrame({"frame": []}), kind)
        tables.write_table(folder / f"p1.{name}.{kind}.0000.parquet", empty, kind)
    networks.write_graphml(folder / "p1.Contact.X.network.0000.graphml", nx.Graph())
    text, summary = report(tmp_path, description(), folder)
    assert (summary["cells"], summary["tracks"], summary["contacts"], summary["killed"]) == (0,) * 4
    for words in ("No cell of T was found", "No track was found", "No cells were in contact",
                  "No target could be followed"):  # fmt: skip
        assert words in text


def test_one_frame(tmp_path, folder):
    run = description()
    run["positions"][0]["shape"][0] = 1
    one = {c: a[:1] for c, a in movie().items()}
    shape = (1, 1, SIDE, SIDE)
    chunks, shards = layouts.default_layout(shape)
    for c, a in one.items():
        layout = layouts.Layout(
            shape, np.dtype("u4"), chunks, shards, (1.0, 1.0, 1.0), None, "p1", c
        )
        path = tmp_path / f"p1.ingest.{c}.label.0000.zarr"
        images.write_part(path, a, region=Region.whole(shape), like=layout, kind="label")
        table = cells(a, "tracks", c)
        tables.write_table(folder / f"p1.Track.{c}.tracks.0000.parquet", table, "tracks")
    options = [f"{c}={tmp_path}/p1.ingest.{c}.label.0000.zarr" for c in one]
    deliver_unite.main(folder / "p1.ome.zarr", None, options)
    run["positions"][0]["frame_interval"] = None
    text, summary = report(tmp_path, run, folder)
    assert summary["tracks"] == 5
    assert 'class="missing"' not in text


def test_a_damaged_picture_becomes_a_line(tmp_path, whole, caplog):
    for shard in sorted((whole / "p1.ome.zarr" / "labels" / "C" / "0" / "c").rglob("*")):
        if shard.is_file():
            shard.unlink()
            shard.write_bytes(b"damage")
    (whole / "p1.Measure.D.cells.0000.parquet").write_bytes(b"PAR1")
    (whole / "p1.Track.T.edges.0000.parquet.provenance.json").write_text("{")
    text, summary = report(tmp_path, description(), whole)
    assert "the outlines of C in frame 0 of p1 could not be drawn" in text
    assert "could not be drawn" in caplog.text
    assert "provenance that cannot be read" in text
    assert "p1.Measure.D.cells.0000.parquet: not a Parquet table" in text
    assert summary["tracks"] == 5


def test_names_are_text_not_markup(tmp_path, folder):
    evil = '<script>alert("$x_1$")</script> & 細胞'
    labels = {evil if c == "T" else c: a for c, a in movie().items()}
    for number, (c, a) in enumerate(labels.items()):
        path = folder / f"p1.Track.c{number}.tracks.0000.parquet"
        tables.write_table(path, cells(a, "tracks", c), "tracks")
    run = description(description=evil, warnings=[evil], pipeline_text=evil)
    run["steps"][0]["channels"] = [[evil, evil]]
    run["preflight"][0]["channel"] = evil
    text, _ = report(tmp_path, run, folder)
    assert "<script" not in text
    assert 'class="missing"' not in text
    svgs(text)


def test_many_positions_are_all_counted_and_six_shown(tmp_path, folder):
    names = [f"w{n}" for n in range(8)]
    for name in names:
        for c, a in movie().items():
            path = folder / f"{name}.Track.{c}.tracks.0000.parquet"
            tables.write_table(path, cells(a, "tracks", c, position=name), "tracks")
    text, summary = report(tmp_path, description(names), folder)
    assert summary["positions"] == 8
    assert summary["tracks"] == 40
    assert text.count("<h3>Position w") == 6
    assert "first 6 of 8 positions" in text
    assert all(f"<td>{name}</td>" in text for name in names)


# ---- broken input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", json.dumps(description() | {"positions": [{"name": "p1"}]})]
)
def test_a_bad_run_file_is_bad_data(tmp_path, folder, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BadData, match=r"run\.json"):
        deliver_report.main(tmp_path / "run.json", folder, tmp_path / "r", tmp_path / "s")
    assert not (tmp_path / "r").exists()


def test_exit_codes(tmp_path, folder):
    def call(run, where):
        options = ["--run", run, "--inputs", where, "--out-report", tmp_path / "r.html",
                   "--out-summary", tmp_path / "s.json"]  # fmt: skip
        command = [sys.executable, BIN / "deliver_report.py", *map(str, options)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    (tmp_path / "bad.json").write_text("no")
    (tmp_path / "run.json").write_text(json.dumps(description()))
    missing, bad = call(tmp_path / "none.json", folder), call(tmp_path / "bad.json", folder)
    assert (missing.returncode, bad.returncode) == (66, 65)
    assert missing.stderr.count("\n") == bad.stderr.count("\n") == 1
    assert call(tmp_path / "run.json", tmp_path / "none").returncode == 66
    assert call(tmp_path / "run.json", folder).returncode == 0
    assert (tmp_path / "r.html.provenance.json").exists()


# ---- pieces -----------------------------------------------------------------------------

LABELS = hnp.arrays(np.uint32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
                    elements=st.integers(0, 3))  # fmt: skip


@given(LABELS)
def test_outlines_are_those_of_scikit_image(labels):
    from skimage.segmentation import find_boundaries

    expected = find_boundaries(labels, mode="inner", connectivity=1)
    assert np.array_equal(pictures.outlines(labels), expected)


@given(LABELS)
def test_outlines_stay_inside_their_labels(labels):
    canvas = pictures.grey(np.zeros(labels.shape), (0, 1))
    pictures.draw_outlines(canvas, labels)
    big = pictures.enlarge(labels, canvas.pixels.shape[0] // labels.shape[0])
    assert not canvas.pixels[big == 0].any()
    drawn = canvas.pixels > 0
    assert np.array_equal(canvas.pixels[drawn], pictures.GREYS + big[drawn] % 12)


@given(st.floats(1e-6, 1e6))
def test_scale_bars_are_round(longest):
    length = pictures.nice_length(longest)
    assert longest / 2.5 < length * (1 + 1e-6)
    assert length <= longest * (1 + 1e-6)
    assert f"{length:.0e}"[0] in "125"


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), unique=True, max_size=25))
def test_track_lines_join_neighbours_in_time(points):
    track, frame = (np.array([p[i] for p in points], float) for i in (0, 1))
    columns = {"track_id": track, "frame": frame, "y": frame, "x": track}
    lines, drawn, total = track_lines(columns, frames=10)
    assert len(lines) == len(points) - len(set(track))
    assert drawn == total == sum((track == t).sum() > 1 for t in set(track))
    assert all(a[0] < b[0] and a[1] == b[1] for a, b, _ in lines)
    few, drawn, _ = track_lines(columns, frames=10, most=5)
    assert len(few) <= 5
    assert drawn <= total


def test_contrast_keeps_empty_frames_dark():
    rng = np.random.default_rng(0)
    bright, empty = rng.normal(1000, 300, (40, 40)), rng.normal(100, 3, (40, 40))
    windows = pictures.contrast([bright, empty])
    shown = pictures.grey(empty, windows[1]).pixels
    assert shown.max() < pictures.GREYS / 4


@pytest.mark.parametrize("planes", [1, 20])
def test_frames_are_the_maximum_over_planes(tmp_path, folder, planes):
    labels = movie(planes)
    rng = np.random.default_rng(0)
    labels["T"][:] = rng.integers(0, 50, labels["T"].shape)
    add_store(folder, tmp_path, labels=labels, planes=planes)
    store = stores.Store(folder / "p1.ome.zarr")
    assert store.image.channels == ["T", "C"]
    plane, size = store.label("T").frame(3)
    assert size == 1
    assert np.array_equal(plane, labels["T"][3].max(axis=0))


def test_the_tracked_labels_of_the_last_step_are_shown():
    store = stores.Store(Path("none"))
    store.__dict__["labels"] = ["T", "T__Seg_", "T_tracks__A_", "T_tracks__B_", "C", "C__Seg_"]
    assert store.find_labels("T", ["Seg", "A", "B"]) == ("T_tracks__B_", True)
    assert store.find_labels("C", ["Seg", "A", "B"]) == ("C__Seg_", False)
    assert store.find_labels("C", []) == ("C", False)
    assert store.find_labels("X", ["Seg"]) is None


def test_network_frames_agree_with_networkx(tmp_path):
    path = tmp_path / "p1.Contact.X.network.0000.graphml"
    networks.write_graphml(path, contact_network(movie()))
    graph = networks.read_graphml(path)
    for wanted, frame in ((4, 4), (None, 5), (0, 5)):  # frame 0 has no link
        found = graphs.read_frame([path], wanted)
        names = [n for n, about in graph.nodes(data=True) if about["frame"] == frame]
        assert found.frame == frame
        assert len(found.cells) == len(names)
        assert len(found.links) == graph.subgraph(names).number_of_edges()
    path.write_text("<graphml>")
    with pytest.raises(BadData):
        graphs.read_frame([path])


@given(st.lists(st.tuples(st.integers(0, 5), st.sets(st.integers(0, 19))), max_size=20))
def test_plans_are_drawn_without_overlap(drawn):
    stages = ["preprocessing", "segmentation", "tracking", "postprocessing"]
    steps = [
        step(f"S{n}", stages[min(stage, 3)], [["A"], ["B" * 40]],
             ["ingest", *(f"S{m}" for m in sorted(before) if m < n)], "Method" * 6)
        for n, (stage, before) in enumerate(drawn)
    ]  # fmt: skip
    boxes = diagram.place(steps, ["A & B"])
    assert len({(b.column, b.row) for b in boxes}) == len(steps) + 1
    text = diagram.draw(steps, {"optional": "#000"}, ["A & B"])
    (root,) = svgs(text)
    width, height = (float(v) for v in root.get("viewBox").split()[2:])
    for rectangle in root.iter(f"{SVG}rect"):
        assert float(rectangle.get("x")) + diagram.BOX <= width
        assert float(rectangle.get("y")) + diagram.TALL <= height
    arrows = [p for p in root.iter(f"{SVG}path") if p.get("marker-end")]
    assert len(arrows) == len(diagram.links(steps))


def test_provenance_is_summed_per_step(folder):
    for n in range(300):
        add_provenance(folder, f"p1.Track.T.tracks.{n:04d}.parquet", "track_laptrack",
                       compute=0.5, source=f"file {n}", gap=2)  # fmt: skip
    add_provenance(folder, "p1.ome.zarr", "deliver_unite")
    add_provenance(folder, "p1.ingest.T.image.0000.zarr", "ingest_image")
    made = making.sum_up(inputs.index(folder, description()))
    assert [w.step for w in made.work] == ["ingest", "Track", "unite"]
    assert made.work[1].tasks == 300
    assert made.work[1].compute == pytest.approx(150)
    assert len(made.work[1].arguments["source"]) == making.VALUES
    assert made.work[1].arguments["gap"] == ["2"]


def test_parameters_mark_what_was_given(folder):
    add_provenance(folder, "p1.Track.T.tracks.0000.parquet", "track_laptrack", max_gap=2, cost=1.5)
    run = description()
    made = making.sum_up(inputs.index(folder, run))
    rows = making.parameters(run["steps"][1], made)
    assert rows == [("max_gap", "2", True), ("cost", "1.5", False)]


@pytest.mark.parametrize(
    ("seconds", "unit"), [(None, "s"), (60, "s"), (3600, "min"), (200000, "h")]
)
def test_units_of_time(seconds, unit):
    assert charts.time_unit(seconds)[1] == unit


def test_index_needs_a_folder(tmp_path):
    with pytest.raises(InputMissing):
        inputs.index(tmp_path / "none", description())


def test_tables_of_another_kind_than_their_name(folder):
    """A table brought in by the user is named ``table`` and says in its schema what it is."""
    frame = cells(movie()["C"], "tracks", "C")
    tables.write_table(folder / "p1.ingest.C.table.0000.parquet", frame, "tracks")
    summary = counting.summarise(inputs.index(folder, description()))
    assert (summary["cells"], summary["tracks"]) == (len(frame), 3)
