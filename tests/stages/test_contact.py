"""analyse_contact and its merge: against what pyCyto ships, batched = whole, broken input."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import analyse_contact
import analyse_contact_merge
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.spatial.distance import cdist

from cytoloom import images, layouts, networks, statistics, tables
from cytoloom.regions import Region
from cytoloom.schemas import SCHEMAS

PIXEL = (1.0, 0.5, 0.25)
FRAMES = 8
BIN = Path(analyse_contact.__file__).parent


def movie(seed, frames=FRAMES, planes=1, empty=()):
    """Random boxes, later ones over earlier ones; labels with gaps; shape (t, z, y, x)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((frames, planes, 40, 50), np.uint32)
    for t in range(frames):
        if t in empty:
            continue
        for label in rng.choice(np.arange(1, 400), rng.integers(1, 12), replace=False):
            z, y, x = (rng.integers(0, n) for n in labels.shape[1:])
            labels[t, z : z + 3, y : y + rng.integers(2, 12), x : x + rng.integers(2, 15)] = label
    return labels


def table_of(labels, channel, *, tracked):
    """Centroids as tabulation gives them; all other columns are nought or null."""
    rows = []
    for t, frame in enumerate(labels):
        for label in np.unique(frame[frame > 0]):
            where = np.argwhere(frame == label)
            z, y, x = where.mean(axis=0)
            rows.append({"frame": t, "label": label, "z": z, "y": y, "x": x, "area": len(where)})
    table = pd.DataFrame(rows, columns=["frame", "label", "z", "y", "x", "area"])
    for axis, size in zip("zyx", PIXEL, strict=True):
        table[f"{axis}_um"] = table[axis].astype(float) * size
    if labels.shape[1] > 1:
        table["volume_um3"] = table["area"] * np.prod(PIXEL)
    if tracked:
        table["track_id"] = pd.array(table["label"], dtype="Int64")
        table.loc[table["label"] % 7 == 0, "track_id"] = pd.NA
    for field in SCHEMAS["tracks" if tracked else "cells"]:
        if field.name not in table.columns and not field.nullable:
            table[field.name] = channel if field.type == pa.string() else 0
    table["position"] = "p1"
    table.attrs = {"position": "p1", "channel": channel, "pixel_size": list(PIXEL),
                   "frame_interval": 60.0}  # fmt: skip
    return table


def store(folder, name, data, channel, kind):
    layout = layouts.Layout(
        shape=data.shape, dtype=data.dtype, chunks=(1, *data.shape[1:]),
        shards=(1, *data.shape[1:]), pixel_size=PIXEL, frame_interval=60.0, position="p1",
        channel=channel, kind=kind,
    )  # fmt: skip
    images.write_part(folder / name, data, region=Region.whole(data.shape), like=layout, kind=kind)
    return str(folder / name)


@pytest.fixture
def scene(tmp_path):
    """Return a maker of two channels on disk: labels, tables and the arguments of main."""

    def make(*, tracked=True, planes=1, frames=FRAMES, empty=((2, 5), (3, 5))):
        arguments = {"label": [], "table": [], "image": []}
        arrays, cells = [], []
        for seed, channel in enumerate(("T", "C")):
            labels = movie(seed, frames, planes, empty[seed])
            table = table_of(labels, channel, tracked=tracked)
            kind = "tracks" if tracked else "cells"
            tables.write_table(tmp_path / f"{channel}.parquet", table, kind)
            grey = (labels % 50 * 100).astype(np.uint16)
            arguments["label"].append(store(tmp_path, f"{channel}.zarr", labels, channel, "label"))
            arguments["image"].append(store(tmp_path, f"{channel}.i.zarr", grey, channel, "image"))
            arguments["table"].append(str(tmp_path / f"{channel}.parquet"))
            arrays.append(labels)
            cells.append(table)
        return arguments, arrays, cells

    return make


def outputs(folder, part=0):
    folder.mkdir(exist_ok=True)
    return {
        "out_contacts": folder / f"contacts.{part:04d}.parquet",
        "out_table": folder / f"table.{part:04d}.parquet",
        "out_image": folder / f"image.{part:04d}.zarr",
        "out_network": folder / f"network.{part:04d}.graphml",
        "out_statistics": folder / f"statistics.{part:04d}.parquet",
    }


def test_is_what_pycyto_ships_but_for_its_faults(scene, tmp_path):
    """Contact = a shared pixel; closest distance over all targets; frames keep their place."""
    arguments, labels, cells = scene()
    made = outputs(tmp_path / "out")
    analyse_contact.main(**arguments, **made, channel="TC")
    found = tables.read_table(made["out_contacts"], "contacts")
    effectors = tables.read_table(made["out_table"], "tracks")
    assert len(effectors) == len(cells[0])
    for t in range(FRAMES):
        here = [c[c["frame"] == t] for c in cells]
        places = [c[["y_um", "x_um"]].to_numpy() for c in here]
        distance = cdist(*places)
        mine = effectors[effectors["frame"] == t].set_index("label")
        for row, label in enumerate(here[0]["label"]):
            partners = np.unique(labels[1][t][labels[0][t] == label])
            partners = partners[partners > 0].tolist()
            cell = mine.loc[label]
            assert cell["contact"] == bool(partners)
            assert cell["contact_count"] == len(partners)
            assert [int(n) for n in cell["contact_labels"].split()] == partners
            tracks = [n for n in partners if n % 7]
            assert [int(n) for n in cell["contact_track_ids"].split()] == tracks
            if len(here[1]):
                assert cell["closest_distance_um"] == pytest.approx(distance[row].min())
            else:
                assert pd.isna(cell["closest_distance_um"])
            rows = found[(found["frame"] == t) & (found["effector_label"] == label)]
            assert rows["target_label"].tolist() == partners
            for _, contact in rows.iterrows():
                column = here[1]["label"].tolist().index(contact["target_label"])
                assert contact["distance_um"] == pytest.approx(distance[row, column])
                shared = (labels[0][t] == label) & (labels[1][t] == contact["target_label"])
                assert contact["overlap_um2"] == pytest.approx(shared.sum() * 0.125)
                assert contact["gap_um"] == 0
                assert contact["contact_length_um"] >= 0
                assert pd.isna(contact["contact_area_um2"])
    assert found["effector_track_id"].isna().any()
    graph = networks.read_graphml(made["out_network"])
    assert len(graph) == sum(len(c) for c in cells)
    assert graph.number_of_edges() == len(found)
    first = found.iloc[0]
    edge = graph.edges[
        f"f{first['frame']}_T_{first['effector_label']}",
        f"f{first['frame']}_C_{first['target_label']}",
    ]
    assert edge["weight"] == first["distance_um"]


@pytest.mark.parametrize("settings", [{}, {"distance": 1.2, "base_image": True}])
@pytest.mark.parametrize("planes", [1, 4])
def test_batches_equal_whole(scene, tmp_path, settings, planes):
    arguments, _, _ = scene(planes=planes)
    whole = outputs(tmp_path / "whole")
    analyse_contact.main(**arguments, **whole, channel="TC", **settings)
    cuts = [0, 1, 4, 5, 8]
    for part, (start, stop) in enumerate(pairwise(cuts)):
        made = outputs(tmp_path / "parts", part)
        analyse_contact.main(
            **arguments, **made, channel="TC", region=f"t={start}:{stop}", cores=2, **settings
        )
    parts = tmp_path / "parts"
    for name, kind in (("contacts", "contacts"), ("table", "tracks")):
        joined = tables.read_table(parts / f"{name}.*.parquet", kind)
        pd.testing.assert_frame_equal(joined, tables.read_table(whole[f"out_{name}"], kind))
        assert len(joined)
    both = [images.open_layer(p) for p in (parts / "image.*.zarr", whole["out_image"])]
    np.testing.assert_array_equal(both[0].read(), both[1].read())
    assert both[0].layout == both[1].layout
    counted = [statistics.read(p) for p in (parts / "statistics.*", whole["out_statistics"])]
    for field in ("frame", "value", "count"):
        np.testing.assert_array_equal(getattr(counted[0], field), getattr(counted[1], field))
    graphs = [networks.read_graphml(p) for p in (parts / "*.graphml", whole["out_network"])]
    assert dict(graphs[0].nodes(data=True)) == dict(graphs[1].nodes(data=True))
    assert {frozenset(e) for e in graphs[0].edges} == {frozenset(e) for e in graphs[1].edges}


def test_pictures(scene, tmp_path):
    arguments, _, _ = scene()
    plain, over = outputs(tmp_path / "plain"), outputs(tmp_path / "over")
    analyse_contact.main(**arguments, **plain, channel="TC")
    analyse_contact.main(**arguments, **over, channel="TC", base_image=True)
    lines = images.open_layer(plain["out_image"], kind="image")
    assert (lines.channel, lines.dtype) == ("TC", np.uint8)
    drawn = lines.read() > 0
    grey = images.open_layer(arguments["image"][0])
    picture = images.open_layer(over["out_image"])
    assert picture.dtype == np.uint16
    np.testing.assert_array_equal(picture.read()[~drawn], grey.read()[~drawn])
    found = tables.read_table(plain["out_contacts"], "contacts")
    for t in range(FRAMES):
        assert drawn[t].any() == (found["frame"] == t).any()
        top = max(grey.read()[t].max(), 1)
        assert (picture.read()[t][drawn[t]] == top).all()


@pytest.mark.parametrize("empty", [((), range(8)), (range(8), ()), (range(8), range(8))])
@pytest.mark.parametrize("tracked", [True, False])
def test_nothing_to_meet(scene, tmp_path, empty, tracked):
    arguments, _, cells = scene(empty=empty, tracked=tracked)
    made = outputs(tmp_path / "out")
    analyse_contact.main(**arguments, **made, channel="TC", distance=2)
    found = tables.read_table(made["out_contacts"], "contacts")
    assert len(found) == 0
    assert found.columns.tolist() == SCHEMAS["contacts"].names
    table = tables.read_table(made["out_table"])
    assert len(table) == len(cells[0])
    assert not table["contact"].any()
    assert table["closest_distance_um"].isna().all()
    assert not images.open_layer(made["out_image"]).read().any()
    analyse_contact_merge.main(
        contacts=str(made["out_contacts"]), out_contact_events=tmp_path / "events.parquet"
    )
    assert len(tables.read_table(tmp_path / "events.parquet", "contact_events")) == 0


def test_cells_that_were_filtered_out_take_no_part(scene, tmp_path):
    arguments, _, cells = scene()
    kept = cells[1][cells[1]["label"] % 2 == 0]
    kept.attrs.update(cells[1].attrs)
    tables.write_table(arguments["table"][1], kept, "tracks")
    made = outputs(tmp_path / "out")
    analyse_contact.main(**arguments, **made, channel="TC")
    found = tables.read_table(made["out_contacts"], "contacts")
    assert len(found)
    assert (found["target_label"] % 2 == 0).all()


def test_one_channel_with_itself(scene, tmp_path):
    """Cells of one label image never meet themselves; each pair is seen from both sides."""
    arguments, _, cells = scene()
    same = {key: [values[0]] * 2 for key, values in arguments.items()}
    made = outputs(tmp_path / "out")
    analyse_contact.main(**same, **made, channel="TT", distance=0.5)
    found = tables.read_table(made["out_contacts"], "contacts")
    assert len(found)
    assert (found["effector_label"] != found["target_label"]).all()
    keys = found[["frame", "effector_label", "target_label"]].to_numpy()
    assert {tuple(k) for k in keys} == {(t, b, a) for t, a, b in keys}
    table = tables.read_table(made["out_table"], "tracks")
    alone = cells[0].groupby("frame")["label"].transform("size").to_numpy() == 1
    np.testing.assert_array_equal(table["closest_distance_um"].isna(), alone)
    assert (table["closest_distance_um"].dropna() > 0).all()


def test_distance_holds_overlap_and_grows(scene, tmp_path):
    arguments, _, _ = scene()
    seen = []
    for settings in ({}, {"method": "distance"}, {"distance": 1.0}, {"distance": 3.0}):
        settings = {k: analyse_contact.Method(v) if k == "method" else v
                    for k, v in settings.items()}  # fmt: skip
        out = tmp_path / "contacts.parquet"
        analyse_contact.main(arguments["label"], arguments["table"], out, **settings)
        found = tables.read_table(out, "contacts")
        assert (found["gap_um"] <= settings.get("distance", 0)).all()
        seen.append(set(map(tuple, found[["frame", "effector_label", "target_label"]].to_numpy())))
    assert seen[0] < seen[1] < seen[2] < seen[3]


def test_merge_makes_events_of_all_parts(scene, tmp_path, caplog):
    arguments, _, _ = scene(empty=((), ()))
    labels = images.open_layer(arguments["label"][0]).read()
    for side in (0, 1):  # frame 0 again in frames 0 to 2, 4 and 5
        source = labels if side == 0 else images.open_layer(arguments["label"][1]).read()
        again = source[[0, 0, 0, 1, 0, 0, 1, 1]]
        channel = "TC"[side]
        arguments["label"][side] = store(tmp_path, f"again.{channel}", again, channel, "label")
        table = table_of(again, channel, tracked=True)
        tables.write_table(arguments["table"][side], table, "tracks")
    for part, t in enumerate(("0:3", "3:4", "4:8")):
        made = outputs(tmp_path / "parts", part)
        analyse_contact.main(**arguments, **made, channel="TC", region=f"t={t}")
    files = {name: tmp_path / f"{name}.parquet" for name in ("events", "contacts", "table")}
    parts = tmp_path / "parts"
    analyse_contact_merge.main(
        contacts=str(parts / "contacts.*"), table=str(parts / "table.*"),
        out_contact_events=files["events"], out_contacts=files["contacts"],
        out_table=files["table"],
    )  # fmt: skip
    assert caplog.text.count("without a track") == 1
    events = tables.read_table(files["events"], "contact_events")
    found = tables.read_table(files["contacts"], "contacts")
    assert events["frames"].sum() == len(
        found.dropna(subset=["effector_track_id", "target_track_id"])
    )
    first = found[(found["frame"] == 0) & found["effector_track_id"].notna()
                  & found["target_track_id"].notna()].iloc[0]  # fmt: skip
    ids = ["effector_track_id", "target_track_id"]
    mine = events[(events[ids] == first[ids].to_numpy()).all(axis=1)]
    assert mine["start_frame"].tolist() == [0, 4]
    assert mine["end_frame"].tolist() == [2, 5]
    assert mine["start_s"].tolist() == [0, 240]
    assert mine["duration_s"].tolist() == [180, 120]
    assert mine["mean_contact"].tolist() == pytest.approx([first["contact_length_um"]] * 2)
    whole = tmp_path / "whole.parquet"
    analyse_contact.main(
        arguments["label"], arguments["table"], tmp_path / "c.parquet", out_contact_events=whole
    )
    assert whole.read_bytes() == files["events"].read_bytes()


def command(arguments, *extra, script="analyse_contact.py"):
    words = [sys.executable, str(BIN / script)]
    for name, values in arguments.items():
        for value in values:
            words += [f"--{name}", str(value)]
    return subprocess.run([*words, *map(str, extra)], capture_output=True, text=True, check=False)


def test_command_line_with_parts_by_glob(scene, tmp_path):
    arguments, _, _ = scene()
    made = [tmp_path / f"contacts.{i}.parquet" for i in range(2)]
    for part, t in enumerate(("0:4", "4:8")):
        done = command(arguments, "--out-contacts", made[part], "--region", f"t={t}")
        assert (done.returncode, done.stderr) == (0, "")
    done = command(
        {"contacts": [tmp_path / "contacts.?.parquet"]}, "--out-contact-events",
        tmp_path / "events.parquet", "--max_gap", 1, script="analyse_contact_merge.py",
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1  # the warning about cells without a track
    assert (tmp_path / "events.parquet.provenance.json").is_file()


@pytest.mark.parametrize(
    ("break_it", "code", "message"),
    [
        (lambda a: a["label"].pop(), 2, "two channels"),
        (lambda a: a["table"].append(a["table"][0]), 2, "two channels"),
        (lambda a: a.update(distance=[-1]), 2, "distance"),
        (lambda a: a.update(method=["overlap"], distance=[2]), 2, "leave one of them out"),
        (lambda a: a.update(method=["touch"]), 2, "touch"),
        (lambda a: a.update(region=["y=0:10"]), 2, "whole frames"),
        (lambda a: a["table"].reverse(), 65, "give the table that was made from these labels"),
        (lambda a: a.update(label=a["image"]), 65, "not 'label'"),
        (lambda a: a["table"].__setitem__(0, "absent.parquet"), 66, "absent.parquet"),
    ],
)
def test_mistakes_get_one_line(scene, tmp_path, break_it, code, message):
    arguments, _, _ = scene()
    break_it(arguments)
    done = command(arguments, "--out-contacts", tmp_path / "contacts.parquet")
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "contacts.parquet").exists()


def test_all_distances_on_a_device_equal_those_of_the_tree(family_python):
    """The kernel of --gpu, on the CPU: its sums are of float64 on any device."""
    code = """
import numpy as np
from cytoloom import contacts
random = np.random.default_rng(1)
for ndim in (2, 3):
    surface = random.integers(0, 60, (700, ndim)) * 0.15
    points = random.integers(0, 90, (400, 3, ndim)) * 0.15
    limit = 2.0
    tree = contacts.nearest_by_tree(surface, points, limit)
    found = contacts.nearest_on("cpu")(surface, points, limit)
    assert found.shape == points.shape[:-1]
    assert ((found == 0) == (tree == 0)).all()
    assert (np.isfinite(found) == np.isfinite(tree)).all()
    near = np.isfinite(tree)
    assert near.any() and not near.all()
    np.testing.assert_allclose(found[near], tree[near], rtol=1e-15, atol=0)
print("equal")
"""
    python = family_python("ultrack")
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(Path(analyse_contact.__file__).parent)},
    )  # fmt: skip
    assert done.stdout.strip() == "equal", done.stderr


def test_a_gpu_that_is_not_there_is_refused(scene, tmp_path, family_python):
    arguments, _, _ = scene()
    words = [str(family_python("ultrack")), str(BIN / "analyse_contact.py"), "--gpu"]
    for name, values in arguments.items():
        for value in values:
            words += [f"--{name}", str(value)]
    words += ["--out-contacts", str(tmp_path / "contacts.parquet")]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={"CUDA_VISIBLE_DEVICES": "-1"}
    )
    assert done.returncode == 65
    assert "finds no GPU" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
