"""Scores of tracks by py-ctcmetrics: DET, SEG, TRA, LNK, biological scores, identities.

No score is worked out here: what the package gives is brought into rows, over all frames and
per frame. It matches objects by the rule of the Cell Tracking Challenge (over half of the
true object is covered); a matching of points (`track_graphs`) is scored alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.exchange import ctc
from cytoloom.ground_truth import read_mask
from cytoloom.overlaps import overlaps
from cytoloom.scores import CTC, Rows, add_counts, quiet
from cytoloom.truth_tracks import check_tracks

GRAPH = ("DET", "TRA", "LNK")
BIOLOGICAL = ("CT", "TF", "BC", "CCA", "BIO", "OP_CLB")
IDENTITY = ("MOTA", "HOTA", "CHOTA", "IDF1", "MTML", "FAF")
_NAMES = {
    "TP": "mota_tp", "FP": "mota_fp", "FN": "mota_fn", "Precision": "mota_precision",
    "Recall": "mota_recall", "MULTI-ASSIGNMENTS": "multi_assignments",
    "IDSW": "identity_switches",
}  # fmt: skip
_LEFT_OUT = ("Valid", "Frames")


Frames = list[list[int]]


@dataclass
class Matches:
    """Which objects there are, and which of them match, frame by frame.

    Attributes
    ----------
    true_lines, found_lines : ndarray, shape (m, 4)
        Tracks: number, first frame, last frame, parent.
    true, found
        Numbers of the tracks that each frame shows.
    matched_true, matched_found
        Those that match, in the same order.
    segments
        ``labels_ref`` and ``ious`` of the frames whose outlines are scored.
    """

    true_lines: NDArray[np.int64]
    found_lines: NDArray[np.int64]
    true: Frames
    found: Frames
    matched_true: Frames
    matched_found: Frames
    segments: dict[str, list[Any]] = field(default_factory=dict)
    segment_frames: list[int] = field(default_factory=list)

    def merged(self) -> Merged:
        """Return the same with tracks joined that have one child alone, as py-ctcmetrics does.

        Frames without objects are empty arrays: as empty lists its scores cannot take them.
        """
        from ctc_metrics.utils.representations import merge_tracks

        found: list[Any] = []
        for lines, whole, matched in (
            (self.true_lines, self.true, self.matched_true),
            (self.found_lines, self.found, self.matched_found),
        ):
            joined, *numbers = merge_tracks(lines, whole, matched)
            found += [joined, *([np.array(n, np.int64) for n in one] for one in numbers)]
        return Merged(*found)


@dataclass
class Merged:
    """Joined tracks and their numbers by frame, of truth and result; see `Matches`."""

    true_lines: NDArray[np.int64]
    true: list[NDArray[np.int64]]
    matched_true: list[NDArray[np.int64]]
    found_lines: NDArray[np.int64]
    found: list[NDArray[np.int64]]
    matched_found: list[NDArray[np.int64]]

    @property
    def numbers(self) -> tuple[list[NDArray[np.int64]], ...]:
        """Numbers of truth and result, and the matched ones, in the order of py-ctcmetrics."""
        return self.true, self.found, self.matched_true, self.matched_found


def match_folders(truth: Path, result: Path) -> Matches:
    """Match the masks of two folders by the rule of the Cell Tracking Challenge.

    Parameters
    ----------
    truth
        With ``TRA`` and ``SEG``, as many frames as the result.
    result
        As ``exchange.ctc`` writes it.

    Raises
    ------
    BadData
        If masks and tracks of the truth do not agree.
    """
    with quiet():
        from ctc_metrics.utils.filesystem import parse_masks

    masks = [Path(path) for path in parse_masks(str(result))]
    references = [Path(path) for path in parse_masks(str(truth / "TRA"))]
    outlines = [Path(path) for path in parse_masks(str(truth / "SEG"))]
    frames = [_frame_of(path) for path in outlines]
    known: dict[tuple[Path, Path], tuple[list[Any], ...]] = {}
    for one, other in (
        *zip(references, masks, strict=True),
        *((path, masks[frame]) for path, frame in zip(outlines, frames, strict=True)),
    ):
        if (one.resolve(), other) not in known:
            known[one.resolve(), other] = _match(one, other)
    whole = [known[a.resolve(), b] for a, b in zip(references, masks, strict=True)]
    parts = [known[a.resolve(), masks[f]] for a, f in zip(outlines, frames, strict=True)]
    lines = ctc.read_lines(truth / "TRA" / ctc.TRUTH[1])
    true, found, matched_true, matched_found = ([one[i] for one in whole] for i in range(4))
    check_tracks(lines, true, "ground truth")
    return Matches(
        lines,
        ctc.read_lines(result / ctc.RESULT[1]),
        true,
        found,
        matched_true,
        matched_found,
        {"labels_ref": [one[0] for one in parts], "ious": [one[4] for one in parts]}
        if parts
        else {},
        frames,
    )


def _match(truth: Path, result: Path) -> tuple[list[Any], ...]:
    """Match two masks as py-ctcmetrics does: labels of both, the matched ones, and their IoU.

    The counts of pixels are our own: py-ctcmetrics' take the lowest label for background, add
    the labels of both masks in their own type, and need a matrix of all pairs. What follows
    from them is the same, float for float.

    Parameters
    ----------
    truth
        A mask, or ``man_seg_TTT.tif``, which stands for files of single planes.
    """
    found = read_mask(result)
    if truth.exists():
        true = read_mask(truth)
    else:
        files = sorted(truth.parent.glob(f"{truth.stem}_*.tif"))
        true = np.concatenate([read_mask(file) for file in files])
        found = found[[int(file.stem.rsplit("_", 1)[1]) for file in files]]
    both = overlaps(true, found)
    good = both.majority()
    i, j = both.i[good], both.j[good]
    lists = (both.true, both.found, both.true[i], both.found[j], both.iou[good])
    return tuple(values.tolist() for values in lists)


def _frame_of(path: Path) -> int:
    return int(path.stem.replace("man_seg", "").split("_")[-1])


def add_ctc(rows: Rows, matches: Matches) -> None:
    """Add all scores of py-ctcmetrics."""
    true, found = (sum(map(len, one)) for one in (matches.true, matches.found))
    with quiet():
        if true and found:
            for name, value in _all_scores(matches).items():
                stem, _, number = name.rstrip(")").partition("(")
                if name not in _LEFT_OUT:
                    threshold = float(number) if number else None
                    rows.add(_NAMES.get(stem, stem), value, CTC, threshold=threshold)
        elif true:
            _add_nothing_found(rows, matches)
        else:
            rows.add("AOGM_FP", found, CTC)
            for name in GRAPH:
                rows.add(name, None, CTC)
        _add_frames(rows, matches)


def _all_scores(matches: Matches) -> dict[str, float]:
    from ctc_metrics.metrics import chota, faf, hota, idf1, mota, mtml
    from ctc_metrics.scripts.evaluate import calculate_metrics

    trajectories = {
        "labels_ref": matches.true,
        "labels_comp": matches.found,
        "mapped_ref": matches.matched_true,
        "mapped_comp": matches.matched_found,
    }
    wanted = [*GRAPH, *BIOLOGICAL, *(["SEG"] if matches.segments else [])]
    scores = calculate_metrics(
        matches.found_lines, matches.true_lines, trajectories, matches.segments, wanted, True
    )
    merged = matches.merged()
    for score in (mota, hota, idf1, mtml):
        scores |= score(*merged.numbers)
    scores |= faf(merged.found, merged.matched_found)
    scores |= chota(merged.true_lines, merged.found_lines, *merged.numbers)
    return {name: value for name, value in scores.items() if value is not None}


def _add_nothing_found(rows: Rows, matches: Matches) -> None:
    """Add what follows where nothing was found: py-ctcmetrics takes no empty result."""
    from ctc_metrics.metrics import det, lnk, seg, tra

    vertices = sum(map(len, matches.true))
    links = sum(end - begin + bool(parent) for _, begin, end, parent in matches.true_lines.tolist())
    counts = {"NS": 0, "FN": vertices, "FP": 0, "ED": 0, "EA": links, "EC": 0}
    sizes = {"num_vertices": vertices, "num_edges": links}
    score, aogm, aogm_0 = tra(**counts, **sizes)
    rows.add("DET", det(**counts, **sizes), CTC)
    rows.add("TRA", score, CTC)
    rows.add("LNK", lnk(**counts, **sizes) if links else None, CTC)
    rows.add("AOGM", aogm, CTC)
    rows.add("AOGM_0", aogm_0, CTC)
    for name, value in counts.items():
        rows.add(f"AOGM_{name}", value, CTC)
    if matches.segments:
        rows.add("SEG", seg(matches.segments["labels_ref"], matches.segments["ious"]), CTC)


def _add_frames(rows: Rows, matches: Matches) -> None:
    """Add what py-ctcmetrics says of single frames, and the numbers of objects."""
    from ctc_metrics.metrics import seg

    every = zip(
        matches.true, matches.found, matches.matched_true, matches.matched_found, strict=True
    )
    for frame, (true, found, a, b) in enumerate(every):
        add_counts(rows, len(true), len(found), frame)
        if true:
            counts = _graph_counts(true, found, a, b)
            rows.add("DET", _det(counts), CTC, frame=frame)
            for name in ("FN", "FP", "NS"):
                rows.add(f"AOGM_{name}", counts[name], CTC, frame=frame)
    add_counts(rows, sum(map(len, matches.true)), sum(map(len, matches.found)), None)
    if any(matches.found) and any(matches.true):
        for frame, switches in enumerate(_switches(matches.merged())):
            rows.add("identity_switches", switches, CTC, frame=frame)
    segments = matches.segments
    for frame in sorted(set(matches.segment_frames)):
        here = [i for i, number in enumerate(matches.segment_frames) if number == frame]
        labels, ious = ([segments[key][i] for i in here] for key in ("labels_ref", "ious"))
        if any(labels):
            rows.add("SEG", seg(labels, ious), CTC, frame=frame)


def _switches(merged: Merged) -> Iterator[int]:
    """Yield the identity switches of each frame against each track's last match before it."""
    from ctc_metrics.metrics import mota

    before: dict[int, int] = {}
    for here in zip(*merged.numbers, strict=True):
        names = np.array(sorted(before), np.int64)
        last = np.array([before[name] for name in names], np.int64)
        there = (names, last, names, last)
        seen = len(names) or len(here[0])
        yield int(mota(*map(list, zip(there, here, strict=True)))["IDSW"]) if seen else 0
        before |= dict(zip(here[2].tolist(), here[3].tolist(), strict=True))


def _graph_counts(
    true: Sequence[int], found: Sequence[int], a: Sequence[int], b: Sequence[int]
) -> dict[str, int]:
    from ctc_metrics.utils.representations import count_acyclic_graph_correction_operations

    if not found:
        size = len(true)
        return {"FN": size, "FP": 0, "NS": 0, "num_vertices": size}
    counts = count_acyclic_graph_correction_operations(None, None, [true], [found], [a], [b])
    return {name: int(counts[name]) for name in ("FN", "FP", "NS", "num_vertices")}


def _det(counts: Mapping[str, int]) -> float:
    from ctc_metrics.metrics import det

    return float(det(**counts))
