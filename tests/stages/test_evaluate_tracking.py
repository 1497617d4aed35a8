"""evaluate_tracking: the packages' own numbers to the last digit, and what scores mean."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import deliver_tracks
import evaluate_tracking
import numpy as np
import pandas as pd
import pytest
import scored
import tifffile
from cells_table import cells, tracked

from cytoloom import tables, tracks
from cytoloom.errors import BadData, InputMissing, UsageError
from cytoloom.exchange import ctc, trackmate_xml
from cytoloom.scores import quiet

BIN = Path(evaluate_tracking.__file__).parent
GT = scored.DEMO / "01_GT"
LINEAGE = str(scored.DEMO / "res_track.txt")
RENAMED = {
    "TP": "mota_tp", "FP": "mota_fp", "FN": "mota_fn", "Precision": "mota_precision",
    "Recall": "mota_recall", "MULTI-ASSIGNMENTS": "multi_assignments",
    "IDSW": "identity_switches",
}  # fmt: skip


@pytest.fixture
def evaluate(tmp_path):
    """Return a function that scores labels or tables: values over all frames, or of one."""
    count = iter(range(100))

    def run(labels=None, truth=GT, *, frame=None, kind="label", **arguments):
        out = tmp_path / "scores.parquet"
        if labels is not None:
            arguments["label"] = scored.layer(tmp_path / f"{next(count)}.zarr", labels, kind=kind)
        evaluate_tracking.main(ground_truth=str(truth), out_evaluation=out, **arguments)
        return scored.scores(out, frame=frame)

    return run


def divided():
    """Labels of a mother that divides in frame 4 of 8 beside another cell, and their parents."""
    labels = np.zeros((8, 40, 40), np.uint16)
    labels[:, 4:10, 4:10] = 1
    labels[:4, 20:28, 20:28] = 2
    labels[4:, 18:24, 18:24] = 3
    labels[4:, 26:32, 26:32] = 4
    return labels, {3: 2, 4: 2}


def compare(ours, theirs):
    """Hold every number of py-ctcmetrics against ours, exactly."""
    compared = 0
    for name, value in theirs.items():
        stem, _, number = name.rstrip(")").partition("(")
        if name in ("Valid", "Frames") or value is None:
            continue
        assert ours[RENAMED.get(stem, stem), float(number) if number else None] == value, name
        compared += 1
    return compared


def test_numbers_are_py_ctcmetrics_own(evaluate, tmp_path):
    from ctc_metrics import evaluate_sequence

    ours = evaluate(scored.demo_labels(), lineage=LINEAGE)
    nodes = evaluate_tracking.labelled_objects(
        evaluate_tracking.images.open_layer(str(tmp_path / "0.zarr")), LINEAGE, places=False
    )
    ctc.write(tmp_path / "01_RES", nodes, scored.demo_labels())
    theirs = evaluate_sequence(str(tmp_path / "01_RES"), str(GT), threads=1)
    assert theirs["Valid"] == 1
    assert compare(ours, theirs) > 40
    assert ours["identity_switches", None] > 0
    assert 0 < ours["BC", 0] < ours["BC", 1] == 1


def test_numbers_are_traccuracys_own(evaluate, tmp_path):
    from traccuracy import run_metrics
    from traccuracy.loaders import load_ctc_data
    from traccuracy.matchers import IOUMatcher
    from traccuracy.metrics import (
        BasicMetrics,
        CompleteTracks,
        CTCMetrics,
        DivisionMetrics,
        TrackOverlapMetrics,
    )

    ours = evaluate(scored.demo_labels(), lineage=LINEAGE, max_frame_buffer=3)
    layer = evaluate_tracking.images.open_layer(str(tmp_path / "0.zarr"))
    nodes = evaluate_tracking.labelled_objects(layer, LINEAGE, places=False)
    ctc.write(tmp_path / "01_RES", nodes, scored.demo_labels())
    metrics = [
        BasicMetrics(), TrackOverlapMetrics(), CompleteTracks(), DivisionMetrics(3), CTCMetrics(),
    ]  # fmt: skip
    with quiet():
        results, _ = run_metrics(
            load_ctc_data(str(GT / "TRA")),
            load_ctc_data(str(tmp_path / "01_RES")),
            IOUMatcher(iou_threshold=0.5, one_to_one=True),
            metrics,
        )
    *plain, divisions, challenge = (result["results"] for result in results)
    for result in plain:
        for name, value in result.items():
            assert ours[name.lower().replace(" ", "_"), None] == value, name
    for number in range(4):
        for name, value in divisions[f"Frame Buffer {number}"].items():
            assert ours[name.lower().replace(" ", "_"), float(number)] == value, name
    # Every match is one to one here, so the two packages must agree with each other, too.
    for name in ("DET", "TRA", "LNK"):
        assert ours[name, None] == pytest.approx(challenge[name], abs=1e-12)


def test_the_delivered_export_has_the_same_scores(evaluate, tmp_path):
    """Tracks of a table are scored as the folder that deliver_tracks writes."""
    from ctc_metrics import evaluate_sequence

    labels, parents = divided()
    found = labels.copy()
    found[2, 4:10, 4:10] = 0  # a gap
    found[6:][found[6:] == 3] = 9  # a broken track
    table, edges = table_of(found, {**parents, 9: 3})
    tables.write_table(tmp_path / "tracks.parquet", table, "tracks")
    tables.write_table(tmp_path / "edges.parquet", edges, "edges")
    key = table.set_index(["frame", "label"])["track_id"]
    painted = np.zeros_like(found)
    for (frame, label), track in key.items():
        painted[frame][found[frame] == label] = track
    truth = scored.truth_folder(
        tmp_path / "01_GT", labels, scored.lines_of(labels, parents), seg={0: labels[0]}
    )
    ours = evaluate(painted, truth, kind="trackedlabel", table=str(tmp_path / "tracks.parquet"))
    deliver_tracks.main(
        table=str(tmp_path / "tracks.parquet"),
        edges=str(tmp_path / "edges.parquet"),
        label=str(tmp_path / "0.zarr"),
        out_ctc=tmp_path / "export.ctc",
    )
    theirs = evaluate_sequence(str(tmp_path / "export.ctc"), str(truth), threads=1)
    assert compare(ours, theirs) > 40
    assert 0 < ours["TRA", None] < 1


def table_of(labels, parents):
    """Tables of tracks and edges of labels whose numbers are tracks."""
    points, nodes = [], []
    for frame, image in enumerate(labels):
        for number in np.unique(image[image > 0]).tolist():
            y, x = np.argwhere(image == number).mean(axis=0)
            points.append((frame, number, y, x))
            nodes.append((frame, number))
    index = {node: i for i, node in enumerate(nodes)}
    links = []
    for number in {n for _, n in nodes}:
        frames = sorted(f for f, n in nodes if n == number)
        links += [(index[a, number], index[b, number]) for a, b in pairwise(frames)]
        if number in parents:
            last = max(f for f, n in nodes if n == parents[number])
            links.append((index[last, parents[number]], index[frames[0], number]))
    table = cells(points)
    return tracks.assemble(table, tracks.objects(table), np.array(sorted(links)))


def test_a_perfect_result(evaluate, tmp_path):
    labels, parents = divided()
    lines = scored.lines_of(labels, parents)
    truth = scored.truth_folder(tmp_path / "01_GT", labels, lines, seg=dict(enumerate(labels)))
    ctc.write_lines(tmp_path / "res_track.txt", np.array(lines, np.int64))
    ours = evaluate(labels, truth, lineage=str(tmp_path / "res_track.txt"))
    for name in ("DET", "SEG", "TRA", "LNK", "CT", "TF", "HOTA", "IDF1", "MOTA", "edge_f1"):
        assert ours[name, None] == 1, name
    assert ours["division_f1", 0] == ours["BC", 0] == 1
    assert ours["identity_switches", None] == ours["count_error", None] == 0


def test_numbers_of_the_result_do_not_matter(evaluate, tmp_path):
    labels, parents = divided()
    truth = scored.truth_folder(tmp_path / "01_GT", labels, scored.lines_of(labels, parents))
    found = np.roll(labels, 1, axis=1)
    found[5][found[5] == 1] = 0
    ours = evaluate(found, truth)
    again = evaluate(np.where(found > 0, 77 - found, 0), truth)
    # py-ctcmetrics' TF depends on the order of tracks, as its source says.
    for key, value in ours.items():
        if key[0] not in ("TF", "BIO", "OP_CLB"):
            assert (again[key] or 0) == pytest.approx(value or 0, rel=1e-12), key


def test_a_lost_object_costs_its_weight(evaluate, tmp_path):
    labels, parents = divided()
    truth = scored.truth_folder(tmp_path / "01_GT", labels, scored.lines_of(labels, parents))
    whole = evaluate(labels, truth)
    found = labels.copy()
    found[6][found[6] == 1] = 0
    ours = evaluate(found, truth)
    objects = sum(len(np.unique(image)) - 1 for image in labels)
    assert whole["DET", None] - ours["DET", None] == pytest.approx(1 / objects, abs=1e-12)
    assert ours["AOGM_FN", None] == 1
    assert ours["count_error", None] == -1


def test_frames_add_up(evaluate, tmp_path):
    run = {
        frame: evaluate(scored.demo_labels(), lineage=LINEAGE, frame=frame)
        for frame in (None, *range(12))
    }
    whole = run.pop(None)
    keys = [
        ("identity_switches", None), ("AOGM_FN", None), ("AOGM_FP", None), ("AOGM_NS", None),
        ("count_error", None), ("false_negative_edges", None), ("false_positive_edges", None),
        ("true_positive_edges", None), ("true_positive_divisions", 0.0),
        ("false_negative_divisions", 0.0), ("found_objects", None),
    ]  # fmt: skip
    for key in keys:
        assert sum(values[key] for values in run.values()) == whole[key], key
    assert whole["identity_switches", None] > 0
    assert run[3]["DET", None] < 1 == run[0]["DET", None]


def test_labels_as_truth(evaluate, tmp_path):
    labels, _ = divided()
    tifffile.imwrite(tmp_path / "t.tif", labels, photometric="minisblack", metadata={"axes": "TYX"})
    ours = evaluate(labels, tmp_path / "t.tif")
    assert ours["TRA", None] == ours["SEG", None] == 1
    assert ours["division_f1", 0] is None  # numbers say nothing of parents


def test_volumes(evaluate, tmp_path):
    from ctc_metrics import evaluate_sequence

    flat, parents = divided()
    labels = np.zeros((8, 3, 40, 40), np.uint16)
    labels[:, 1:] = flat[:, None]
    lines = scored.lines_of(labels, parents)
    seg = {(0, 1): labels[0, 1], (0, 2): labels[0, 2], (5, 2): labels[5, 2]}
    truth = scored.truth_folder(tmp_path / "01_GT", labels, lines, seg=seg)
    found = labels.copy()
    found[0, 2] = 0
    ours = evaluate(found, truth)
    theirs = evaluate_sequence(
        str(scored.result_folder(tmp_path / "01_RES", found)), str(truth), threads=1
    )
    assert ours["DET", None] == theirs["DET"] < 1
    assert 0 < ours["SEG", None] == theirs["SEG"] < 1
    assert evaluate(labels, truth)["SEG", None] == 1


def test_a_truth_is_cut_like_the_images(evaluate, tmp_path):
    labels, parents = divided()
    lines = scored.lines_of(labels, parents)
    truth = scored.truth_folder(tmp_path / "01_GT", labels, lines, seg=dict(enumerate(labels)))
    part = (slice(1, 8, 2), slice(12, 40), slice(0, 40))
    select = "t=1:8:2,z=0:1:1,y=12:40:1,x=0:40:1"
    found = labels[part].copy()
    found[1, 8:16, 8:16] = 0
    ours = evaluate(found, truth, select=select)
    cut = labels[part]
    by_hand = scored.truth_folder(
        tmp_path / "cut", cut, scored.lines_of(cut, parents), seg=dict(enumerate(cut))
    )
    assert ours == evaluate(found, by_hand, select=select)
    assert ours["gt_divisions", None] == 1
    assert ours["true_objects", None] == 2 + 2 * 2


def test_a_cell_that_leaves_and_comes_back_is_two(evaluate, tmp_path):
    labels = np.zeros((6, 20, 20), np.uint16)
    for frame, x in enumerate((2, 2, 12, 12, 2, 2)):
        labels[frame, 4:8, x : x + 4] = 1
    truth = scored.truth_folder(tmp_path / "01_GT", labels, scored.lines_of(labels))
    select = "t=0:6:1,z=0:1:1,y=0:20:1,x=0:10:1"
    found = labels[:, :, :10].copy()
    found[4:][found[4:] > 0] = 2
    ours = evaluate(found, truth, select=select)
    assert ours["TRA", None] == 1


def test_a_shorter_truth(evaluate, tmp_path, caplog):
    labels, parents = divided()
    short = labels[:5]
    truth = scored.truth_folder(tmp_path / "01_GT", short, scored.lines_of(short, parents))
    ours = evaluate(labels, truth)
    assert ours["DET", None] == 1
    assert ours["found_objects", None] == ours["true_objects", None]
    assert "only the first 5 are compared" in caplog.text


@pytest.mark.parametrize("first", [0, 2])
def test_nothing_found(evaluate, tmp_path, first):
    labels, parents = divided()
    labels[:first] = 0
    truth = scored.truth_folder(
        tmp_path / "01_GT", labels, scored.lines_of(labels, parents), seg={5: labels[5]}
    )
    ours = evaluate(np.zeros_like(labels), truth)
    assert ours["DET", None] == ours["TRA", None] == ours["SEG", None] == ours["LNK", None] == 0
    assert ours["found_objects", None] == 0
    assert ours["AOGM", None] == ours["AOGM_0", None]
    assert evaluate(labels, truth)["TRA", None] == pytest.approx(1, abs=0.1)


def test_nothing_to_find(evaluate, tmp_path):
    labels, _ = divided()
    truth = scored.truth_folder(tmp_path / "01_GT", np.zeros_like(labels), [])
    ours = evaluate(labels, truth)
    assert ours["DET", None] is ours["TRA", None] is None
    assert ours["AOGM_FP", None] == ours["found_objects", None] > 0
    both = evaluate(np.zeros_like(labels), truth)
    assert both["count_error", None] == 0


def test_frames_without_objects_in_between(evaluate, tmp_path):
    labels, parents = divided()
    labels[:2] = 0
    found = labels.copy()
    found[5] = 0
    truth = scored.truth_folder(tmp_path / "01_GT", labels, scored.lines_of(labels, parents))
    ours = evaluate(found, truth)
    missing = len(np.unique(labels[5])) - 1
    assert ours["AOGM_FN", None] == missing
    assert ours["HOTA", None] > 0
    assert ours["node_recall", None] < 1


def test_cells_without_background(evaluate, tmp_path):
    labels = np.ones((3, 8, 8), np.uint16)
    labels[:, :, 4:] = 2
    truth = scored.truth_folder(
        tmp_path / "01_GT", labels, scored.lines_of(labels), seg=dict(enumerate(labels))
    )
    ours = evaluate(labels, truth)
    assert ours["true_objects", None] == 6
    assert ours["DET", None] == ours["SEG", None] == ours["TRA", None] == 1
    found = labels.copy()
    found[1, :, :4] = 0
    assert evaluate(found, truth)["DET", None] == pytest.approx(1 - 1 / 6)


# ---- points


def trackmate(path, points, **options):
    """Write tracks {track: [(frame, y, x)]} as a TrackMate file."""
    table = tracked(points, **options)
    nodes = tracks.objects(table)
    links = tracks.edge_indices(nodes, tracks.assemble(table, nodes, chain(nodes))[1])
    scene = trackmate_xml.Scene((10, 1, 100, 100), (2.0, 0.5, 0.5), 60.0)
    trackmate_xml.write(path, nodes, links, scene)
    return path


def chain(nodes):
    """Link the objects of each track."""
    links = []
    for _, rows in nodes.groupby("track_id"):
        order = rows.sort_values("frame").index
        links += list(pairwise(order))
    return np.array(sorted(links))


WALK = {1: [(t, 10 + t, 10) for t in range(10)], 2: [(t, 60, 60 - t) for t in range(10)]}


def test_points_as_truth(evaluate, tmp_path):
    truth = trackmate(tmp_path / "t.xml", WALK)
    tables.write_table(tmp_path / "same.parquet", tracked(WALK), "tracks")
    ours = evaluate(truth=truth, table=str(tmp_path / "same.parquet"))
    for name in ("DET", "TRA", "LNK", "edge_f1", "node_f1"):
        assert ours[name, None] == 1, name
    moved = {1: [(t, y + 6, x) for t, y, x in WALK[1]], 2: WALK[2][:5], 3: WALK[2][5:]}
    tables.write_table(tmp_path / "moved.parquet", tracked(moved), "tracks")
    ours = evaluate(truth=truth, table=str(tmp_path / "moved.parquet"))
    assert ours["DET", None] == 1
    assert ours["AOGM_EA", None] == ours["identity_switches", None] == 1
    near = evaluate(truth=truth, table=str(tmp_path / "moved.parquet"), max_distance=5)
    assert near["AOGM_FN", None] == 10
    wide = evaluate(
        truth=truth, table=str(tmp_path / "moved.parquet"), max_distance=3.5,
        unit=tracks.Unit.um,
    )  # fmt: skip
    assert wide["AOGM_FN", None] == 0  # 6 px of 0.5 um


def test_points_against_labels(evaluate, tmp_path):
    truth = trackmate(tmp_path / "t.xml", WALK)
    labels = np.zeros((10, 100, 100), np.uint16)
    for track, points in WALK.items():
        for t, y, x in points:
            labels[t, y - 2 : y + 3, x - 2 : x + 3] = track
    assert evaluate(labels, truth)["TRA", None] == 1


def test_points_are_cut_like_the_images(evaluate, tmp_path):
    truth = trackmate(tmp_path / "t.xml", WALK)
    part = {1: [(t - 2, y - 5, x) for t, y, x in WALK[1] if 2 <= t < 8]}
    tables.write_table(tmp_path / "part.parquet", tracked(part), "tracks")
    ours = evaluate(
        truth=truth, table=str(tmp_path / "part.parquet"), max_distance=0.5,
        select="t=2:8:1,z=0:1:1,y=5:50:1,x=0:100:1",
    )  # fmt: skip
    assert ours["TRA", None] == 1
    assert ours["true_objects", None] == 6


def test_points_of_nobody(evaluate, tmp_path):
    truth = trackmate(tmp_path / "t.xml", WALK)
    nothing = tracked(WALK)
    nothing["track_id"] = pd.array([pd.NA] * len(nothing), dtype="Int64")
    tables.write_table(tmp_path / "none.parquet", nothing, "tracks")
    ours = evaluate(truth=truth, table=str(tmp_path / "none.parquet"))
    assert ours["DET", None] == ours["TRA", None] == 0
    assert ours["true_objects", None] == 20


# ---- errors


def test_wrong_use(evaluate, tmp_path):
    labels, _ = divided()
    with pytest.raises(UsageError, match="--label"):
        evaluate()
    tables.write_table(tmp_path / "t.parquet", tracked(WALK), "tracks")
    with pytest.raises(UsageError, match="--label"):
        evaluate(table=str(tmp_path / "t.parquet"))
    with pytest.raises(UsageError, match="labels alone"):
        evaluate(labels, table=str(tmp_path / "t.parquet"), lineage=LINEAGE)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([(1, 0, 7, 0), (2, 0, 3, 0), (3, 4, 7, 2)], "frame 4: track 4 is in only one"),
        ([(1, 0, 7, 0), (2, 0, 5, 0), (3, 4, 7, 2)], "before its parent 2 ends"),
        ([(1, 0, 7, 0), (2, 0, 3, 8)], "its parent 8 is not there"),
        ([(1, 0, 9, 0)], "after the last mask"),
        ([(1, 5, 2, 0)], "lasts from frame 5 to 2"),
        ([(1, 0, 7, 0), (1, 0, 3, 0)], "stands twice"),
    ],
)
def test_a_truth_that_contradicts_itself(evaluate, tmp_path, lines, words):
    labels, _ = divided()
    truth = scored.truth_folder(tmp_path / "01_GT", labels, lines)
    with pytest.raises(BadData, match=words):
        evaluate(labels, truth)


def test_a_truth_that_does_not_fit(evaluate, tmp_path):
    labels, parents = divided()
    more = np.concatenate([labels, labels])
    truth = scored.truth_folder(tmp_path / "long", more, scored.lines_of(more))
    with pytest.raises(BadData, match="does not fit"):
        evaluate(labels, truth)
    only_seg = scored.truth_folder(tmp_path / "seg", [], [], seg={0: labels[0]})
    with pytest.raises(InputMissing, match="EvaluateSegmentation"):
        evaluate(labels, only_seg)
    one = scored.truth_folder(tmp_path / "one", labels[:1], scored.lines_of(labels[:1]))
    with pytest.raises(BadData, match="two frames"):
        evaluate(labels[:1], one)
    (tmp_path / "bad" / "TRA").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "bad" / "TRA" / "man_track000.tif", labels[0])
    (tmp_path / "bad" / "TRA" / "man_track.txt").write_text("1 0 nothing 0\n")
    with pytest.raises(BadData, match="four whole numbers"):
        evaluate(labels[:1], tmp_path / "bad")
    assert parents


def test_the_command_line(tmp_path):
    labels, _ = divided()
    label = scored.layer(tmp_path / "label.zarr", labels)
    tifffile.imwrite(tmp_path / "t.tif", labels, photometric="minisblack", metadata={"axes": "TYX"})
    words = [sys.executable, BIN / "evaluate_tracking.py", "--label", label]
    out = tmp_path / "out" / "scores.parquet"
    done = subprocess.run(
        [*words, "--ground_truth", tmp_path / "t.tif", "--out-evaluation", out],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "TRA: 1.0000" in done.stderr
    assert len(done.stderr.splitlines()) == 3
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "scores.parquet", "scores.parquet.provenance.json",
    ]  # fmt: skip
    done = subprocess.run(
        [*words, "--ground_truth", tmp_path / "no.tif", "--out-evaluation", out],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 66
    assert len(done.stderr.splitlines()) == 1


def test_real_nuclei(evaluate, shared, tmp_path):
    """Nuclei whose numbers last over time (LapTrack's documentation), and a worse copy."""
    folder = shared / "timelapse" / "laptrack" / "napari_interactive_fix_data"
    labels = tifffile.imread(folder / "example_label.tif")
    perfect = evaluate(labels, folder / "example_label.tif")
    assert perfect["TRA", None] == perfect["SEG", None] == perfect["IDF1", None] == 1
    worse = labels.copy()
    number = labels[3].max()
    worse[3][worse[3] == number] = 0
    ours = evaluate(worse, folder / "example_label.tif")
    assert ours["AOGM_FN", None] == 1
    assert ours["DET", None] == pytest.approx(1 - 1 / perfect["true_objects", None], abs=1e-12)
