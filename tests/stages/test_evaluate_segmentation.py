"""evaluate_segmentation: scores against StarDist's and Cellpose's own, and by what they mean."""

import json
import subprocess

import evaluate_segmentation
import numpy as np
import pytest
import scored
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from scoring import score as plain_score

from cytoloom import overlaps
from cytoloom.errors import BadData, InputMissing

THRESHOLDS = evaluate_segmentation.THRESHOLDS


@pytest.fixture
def evaluate(tmp_path):
    """Return a function that scores labels against a truth: values over all frames."""

    def run(labels, truth, *, frame=None, **arguments):
        out = tmp_path / "scores.parquet"
        if not (tmp_path / "label.zarr").exists():
            scored.layer(tmp_path / "label.zarr", labels)
        evaluate_segmentation.main(
            label=str(tmp_path / "label.zarr"),
            ground_truth=str(truth),
            out_evaluation=out,
            **arguments,
        )
        return scored.scores(out, frame=frame)

    return run


def stack(path, labels):
    tifffile.imwrite(
        path, labels.astype(np.uint16), photometric="minisblack", metadata={"axes": "TYX"}
    )
    return path


def blobs(rng, count, size=64, shape=(64, 64)):
    """A label image of rectangles that overlap and touch."""
    image = np.zeros(shape, np.uint16)
    for number in range(1, count + 1):
        y, x = rng.integers(0, size - 4, 2)
        h, w = rng.integers(3, 14, 2)
        image[y : y + h, x : x + w] = number
    return image


def moved(rng, image):
    """The same with some objects moved, lost, joined or cut in two."""
    found = np.roll(image, rng.integers(-2, 3, 2), (0, 1))
    for number in rng.permutation(np.unique(found[found > 0]))[:4]:
        what = rng.integers(3)
        if what == 0:
            found[found == number] = 0
        elif what == 1:
            found[found == number] = number + 1
        else:
            rows = np.flatnonzero((found == number).any(axis=1))
            found[rows[len(rows) // 2] :][found[rows[len(rows) // 2] :] == number] = 900 + number
    return found


def pairs(seed=0, count=6):
    rng = np.random.default_rng(seed)
    true = [blobs(rng, 25) for _ in range(count - 1)] + [np.zeros((64, 64), np.uint16)]
    return np.stack(true), np.stack([moved(rng, image) for image in true])


STARDIST = """
import json, sys
import numpy as np
from stardist.matching import matching, matching_dataset
data = np.load(sys.argv[1])
out = {}
for thr in json.loads(sys.argv[2]):
    s = matching_dataset(list(data["true"]), list(data["found"]), thresh=thr, show_progress=False)
    out[thr] = {k: float(getattr(s, k)) for k in (
        "tp", "fp", "fn", "precision", "recall", "accuracy", "f1", "n_true", "n_pred",
        "mean_matched_score", "panoptic_quality")}
print(json.dumps(out))
"""


def test_scores_are_stardists(evaluate, tmp_path, family_python):
    true, found = pairs()
    thresholds = [0.1, 0.3, *THRESHOLDS]
    np.savez(tmp_path / "pairs.npz", true=true, found=found)
    words = [family_python("stardist"), "-c", STARDIST, tmp_path / "pairs.npz"]
    done = subprocess.run(
        [*words, json.dumps(thresholds)], capture_output=True, text=True, check=True
    )
    theirs = {float(k): v for k, v in json.loads(done.stdout.splitlines()[-1]).items()}
    ours = evaluate(found, stack(tmp_path / "t.tif", true), thresholds=thresholds)
    names = {
        "tp": "tp", "fp": "fp", "fn": "fn", "precision": "precision", "recall": "recall",
        "accuracy": "AP", "f1": "F1",
    }  # fmt: skip
    for threshold in thresholds:
        for name, own in names.items():
            assert ours[own, threshold] == theirs[threshold][name], (name, threshold)
        # StarDist adds in 32 bit.
        for name, own in {
            "mean_matched_score": "mean_matched_iou",
            "panoptic_quality": "panoptic_quality",
        }.items():
            assert (ours[own, threshold] or 0) == pytest.approx(theirs[threshold][name], rel=1e-6)
    assert ours["true_objects", None] == theirs[0.5]["n_true"]
    assert ours["found_objects", None] == theirs[0.5]["n_pred"]


CELLPOSE = """
import json, sys
import numpy as np
from cellpose.metrics import average_precision
data = np.load(sys.argv[1])
def numbered(image):  # without gaps: Cellpose counts objects by the greatest number
    return np.unique(np.append(0, image), return_inverse=True)[1][1:].reshape(image.shape)
true, found = ([numbered(image) for image in data[name]] for name in ("true", "found"))
ap, tp, fp, fn = average_precision(true, found, json.loads(sys.argv[2]))
print(json.dumps([tp.sum(0).tolist(), fp.sum(0).tolist(), fn.sum(0).tolist(), ap[0].tolist()]))
"""


@pytest.mark.full
def test_scores_are_cellposes(evaluate, tmp_path, family_python):
    true, found = pairs(1)
    np.savez(tmp_path / "pairs.npz", true=true, found=found)
    words = [family_python("cellpose3"), "-c", CELLPOSE, tmp_path / "pairs.npz"]
    done = subprocess.run(
        [*words, json.dumps(list(THRESHOLDS))], capture_output=True, text=True, check=True
    )
    *counts, first = json.loads(done.stdout.splitlines()[-1])
    ours = evaluate(found, stack(tmp_path / "t.tif", true))
    for name, values in zip(("tp", "fp", "fn"), counts, strict=True):
        assert [ours[name, t] for t in THRESHOLDS] == values
    ours = evaluate(found, tmp_path / "t.tif", frame=0)
    assert [ours["AP", t] for t in THRESHOLDS] == pytest.approx(first, rel=1e-6)


@given(st.integers(0, 10_000), st.sampled_from([0.2, 0.5, 0.6, 0.9]))
def test_matching_is_optimal(seed, threshold):
    rng = np.random.default_rng(seed)
    true = blobs(rng, 15)
    found = moved(rng, true)
    ours = overlaps.score(overlaps.overlaps(true, found), threshold)
    plain = plain_score(true, found, threshold)
    assert (ours.tp, ours.fp, ours.fn) == (plain.matched, plain.only_found, plain.only_true)


def test_equal_halves_count_once():
    true = np.array([[1, 1, 2, 2, 0]])
    found = np.array([[7, 7, 7, 7, 0]])
    for a, b in ((true, found), (found, true)):
        both = overlaps.score(overlaps.overlaps(a, b), 0.5)
        assert both.tp == 1
        assert both.matched_iou == 0.5


def test_seg_is_that_of_the_cell_tracking_challenge(evaluate, tmp_path):
    from ctc_metrics import evaluate_sequence

    labels, truth = scored.demo_labels(), scored.DEMO / "01_GT"
    ours = evaluate(labels, truth)
    scored.result_folder(tmp_path / "01_RES", labels)
    theirs = evaluate_sequence(str(tmp_path / "01_RES"), str(truth), ["SEG"], threads=1)
    assert ours["SEG", None] == theirs["SEG"]
    frames = scored.demo_truth()[::3]  # those that SEG has
    assert ours["true_objects", None] == sum(len(np.unique(mask)) - 1 for mask in frames)


def test_a_perfect_result(evaluate, tmp_path):
    true, _ = pairs()
    ours = evaluate(true, stack(tmp_path / "t.tif", true))
    for threshold in THRESHOLDS:
        assert ours["AP", threshold] == ours["F1", threshold] == 1
        assert ours["panoptic_quality", threshold] == 1
    assert ours["SEG", None] == 1
    assert ours["count_error", None] == ours["mean_absolute_count_error", None] == 0


def test_numbers_do_not_matter(evaluate, tmp_path):
    true, found = pairs()
    ours = evaluate(found, stack(tmp_path / "t.tif", true))
    shuffled = np.random.default_rng(3).permutation(2000).astype(np.uint16) + 1
    other = np.where(true > 0, shuffled[true], 0)
    again = evaluate(found, stack(tmp_path / "u.tif", other))
    assert {k: v or 0 for k, v in ours.items()} == pytest.approx(
        {k: v or 0 for k, v in again.items()}, rel=1e-12
    )


def test_frames_without_objects(evaluate, tmp_path):
    true = np.zeros((3, 32, 32), np.uint16)
    true[1, 4:8, 4:8] = 1
    found = np.zeros_like(true)
    found[2, 4:8, 4:8] = 5
    ours = evaluate(found, stack(tmp_path / "t.tif", true))
    assert ours["F1", 0.5] == ours["AP", 0.5] == ours["SEG", None] == 0
    assert (ours["fp", 0.5], ours["fn", 0.5]) == (1, 1)
    assert ours["count_error", None] == 0
    assert ours["mean_absolute_count_error", None] == pytest.approx(2 / 3)
    empty = evaluate(found, tmp_path / "t.tif", frame=0)
    assert empty["F1", 0.5] is None  # nothing to find, nothing found
    assert empty["SEG", None] is None
    assert evaluate(found, tmp_path / "t.tif", frame=1)["recall", 0.5] == 0


@pytest.mark.parametrize("what", ["truth", "result", "both"])
def test_nothing_at_all(evaluate, tmp_path, what):
    true, found = pairs(count=3)
    if what in ("truth", "both"):
        true[:] = 0
    if what in ("result", "both"):
        found[:] = 0
    ours = evaluate(found, stack(tmp_path / "t.tif", true))
    assert ours["F1", 0.5] == (None if what == "both" else 0)
    assert ours["SEG", None] == (0 if what == "result" else None)


def test_planes_of_a_sparse_truth(evaluate, tmp_path):
    rng = np.random.default_rng(0)
    true = np.stack([np.stack([blobs(rng, 10) for _ in range(5)]) for _ in range(2)])
    found = true.copy()
    found[0, 2] = 0
    seg = {(0, 2): true[0, 2], (1, 1): true[1, 1], (1, 4): true[1, 4]}
    folder = scored.truth_folder(tmp_path / "01_GT", [], [], seg=seg)
    ours = evaluate(found, folder)
    assert ours["fn", 0.5] == len(np.unique(true[0, 2])) - 1
    assert ours["fp", 0.5] == 0
    assert evaluate(found, folder, frame=1)["AP", 0.95] == 1


def test_a_truth_is_cut_like_the_images(evaluate, tmp_path):
    true, found = pairs()
    truth = stack(tmp_path / "t.tif", true)
    part = (slice(1, 5, 2), slice(8, 60), slice(4, 64))
    select = "t=1:5:2,z=0:1:1,y=8:60:1,x=4:64:1"
    ours = evaluate(found[part], truth, select=select)
    by_hand = evaluate(found[part], stack(tmp_path / "cut.tif", true[part]), select=select)
    assert ours == by_hand
    assert ours["true_objects", None] > 0


@pytest.mark.parametrize(
    ("shape", "words"),
    [((6, 64, 60), "does not fit"), ((9, 64, 64), "does not fit")],
)
def test_a_truth_of_other_images_is_refused(evaluate, tmp_path, shape, words):
    _, found = pairs()
    truth = stack(tmp_path / "t.tif", np.ones(shape, np.uint16))
    with pytest.raises(BadData, match=words):
        evaluate(found, truth)


def test_a_truth_that_is_none_is_refused(evaluate, tmp_path):
    _, found = pairs()
    with pytest.raises(InputMissing):
        evaluate(found, tmp_path / "nothing.tif")
    (tmp_path / "tracks.xml").write_text("<TrackMate/>")
    with pytest.raises(BadData, match="no outlines"):
        evaluate(found, tmp_path / "tracks.xml")
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((6, 64, 64), np.float32))
    with pytest.raises(BadData, match="whole numbers"):
        evaluate(found, tmp_path / "f.tif")
