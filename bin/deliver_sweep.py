#!/usr/bin/env python3
"""Sweep: the points of a grid of arguments ranked, with a contact sheet and the winner's YAML.

With an evaluation step the points are ranked by its metric, against ground truth. Without
one they are ranked by stability: how well the objects (or the links) of a point agree with
those of its neighbours on the grid. A result that a small change of an argument upsets is
not to be trusted; one that is stable may still be wrong, so look at the pictures.
"""

import csv
import io
import statistics as st
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from cytoloom import __version__, cli, images
from cytoloom.errors import BadData
from cytoloom.files import writing
from cytoloom.overlaps import overlaps, score
from cytoloom.provenance import join_records
from cytoloom.regions import Region
from cytoloom.report import page, pictures
from cytoloom.report.inputs import read_run

FRAMES = 20  # of a movie, evenly spread, are compared for stability
SHOWN = 60  # points that have a picture
COLUMNS = 8  # scores that the page shows; the table has all
THUMBNAIL = 360  # px
STABILITY = "stability"
LOWER_IS_BETTER = ("error", "switch", "false", "AOGM", "fp", "fn", "ML")  # parts of names
PREFERRED = ("TRA", "F1@0.5", "SEG")


@dataclass
class Point:
    """One point of the grid: its arguments, its files and its scores."""

    index: tuple[int, ...]
    arguments: dict[str, dict[str, Any]]
    labels: dict[tuple[str, str], str] = field(default_factory=dict)  # (position, channel): glob
    edges: dict[tuple[str, str], Path] = field(default_factory=dict)
    evaluations: list[Path] = field(default_factory=list)
    objects: int = 0
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The arguments in one line."""
        return ", ".join(
            f"{tag} {name} {value}"
            for tag, args in self.arguments.items()
            for name, value in args.items()
        )


def read_points(run: dict[str, Any], folder: Path) -> list[Point]:
    """Return the points of a sweep with the files that belong to each."""
    names: dict[tuple[str, str], dict[tuple[str, str], list[Path]]] = {}
    for path in sorted(folder.iterdir()):
        words = path.name.split(".")
        if len(words) == 6:
            position, tag, channel, kind = words[:4]
            found = names.setdefault((tag, kind), {})
            found.setdefault((position, channel), []).append(path)
    points = []
    for written in run["sweep"]["points"]:
        point = Point(tuple(written["index"]), written["arguments"])
        for slug in ("ingest", *written["slugs"].values()):
            for key, paths in names.get((slug, "label"), {}).items():
                point.labels[key] = glob_of(paths[0])
            for key, paths in names.get((slug, "edges"), {}).items():
                point.edges[key] = paths[0]
            for paths in names.get((slug, "evaluation"), {}).values():
                point.evaluations += paths
        points.append(point)
    return points


def glob_of(part: Path) -> str:
    """Return the pattern of a layer from one of its parts."""
    stem, _, extension = part.name.rsplit(".", 2)
    return str(part.with_name(f"{stem}.*.{extension}"))


# ---- scores -------------------------------------------------------------------------


def spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` indices below ``count``, evenly spread."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def count_objects(points: Sequence[Point]) -> None:
    """Count the objects of every point in the frames that are compared."""
    known: dict[str, int] = {}
    for point in points:
        for glob in point.labels.values():
            if glob not in known:
                known[glob] = sum(int((np.unique(f) > 0).sum()) for f in frames_of(glob))
        point.objects = sum(known[glob] for glob in point.labels.values())


def frames_of(glob: str) -> Iterable[np.ndarray]:
    """Yield the frames (z, y, x) of a label image that are compared."""
    layer = images.open_layer(glob, kind="label")
    whole = Region.whole(layer.shape)
    for t in spread(layer.shape[0], FRAMES):
        yield layer.read(Region((t, t + 1), whole.z, whole.y, whole.x))[0]


def agreement(one: Point, other: Point) -> float | None:
    """Return how far two points agree, 0 to 1: F1 of objects at IoU 0.5, or of links.

    Links are compared where both have the same label images; None where nothing differs.
    """
    both = twice = 0
    changed = [k for k, glob in one.labels.items() if other.labels.get(k, glob) != glob]
    for key in changed:
        pairs = zip(frames_of(one.labels[key]), frames_of(other.labels[key]), strict=True)
        for first, second in pairs:
            counts = score(overlaps(first, second), 0.5)
            twice += 2 * counts.tp
            both += 2 * counts.tp + counts.fp + counts.fn
    if not changed:
        for key, path in one.edges.items():
            if key in other.edges and other.edges[key] != path:
                first, second = links(path), links(other.edges[key])
                twice += 2 * len(first & second)
                both += len(first) + len(second)
    return twice / both if both else None


def links(path: Path) -> set[tuple[int, ...]]:
    """Return the links of an edges table as (frame, label, next frame, next label)."""
    import pyarrow.parquet as pq

    names = ["frame", "label", "next_frame", "next_label"]
    table = pq.ParquetFile(path).read(columns=names)
    return set(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def neighbours(points: Sequence[Point], axes: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return the pairs of points that are one step apart along one axis.

    On an axis whose values are not numbers all values are one step apart.
    """
    numeric = [all(isinstance(v, int | float) for v in axis["values"]) for axis in axes]

    def near(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        apart = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        return len(apart) == 1 and (not numeric[apart[0]] or abs(a[apart[0]] - b[apart[0]]) == 1)

    return [
        (i, j)
        for i, one in enumerate(points)
        for j, other in enumerate(points[:i])
        if near(one.index, other.index)
    ]


def score_stability(points: Sequence[Point], axes: Sequence[dict[str, Any]]) -> None:
    """Give every point the mean of its agreement with its neighbours; 0 without objects."""
    found: dict[int, list[float]] = {}
    for i, j in cli.progress(neighbours(points, axes), "pairs of neighbours"):
        value = agreement(points[i], points[j])
        if value is not None:
            found.setdefault(i, []).append(value)
            found.setdefault(j, []).append(value)
    for i, values in found.items():
        points[i].scores[STABILITY] = st.fmean(values) if points[i].objects else 0.0


def score_truth(points: Sequence[Point]) -> list[str]:
    """Read the metrics over all frames from the evaluation tables; return their names."""
    import pyarrow.parquet as pq

    names: dict[str, None] = {}
    for point in points:
        values: dict[str, list[float]] = {}
        for path in point.evaluations:
            for row in pq.ParquetFile(path).read().to_pylist():
                if row["frame"] is None and row["value"] is not None:
                    values.setdefault(metric_name(row), []).append(row["value"])
        names |= dict.fromkeys(values)
        point.scores |= {name: st.fmean(found) for name, found in values.items()}
    return list(names)


def metric_name(row: dict[str, Any]) -> str:
    """Return the name of a metric; one at a threshold of the IoU as ``F1@0.5``."""
    threshold = row.get("threshold")
    return row["metric"] if threshold is None else f"{row['metric']}@{threshold:g}"


def rank(points: list[Point], wanted: str | None, metrics: Sequence[str]) -> str:
    """Sort points, the best first; return the name of what they were ranked by."""
    known = [*metrics, *([STABILITY] if any(STABILITY in p.scores for p in points) else [])]
    if not known:
        raise BadData(
            "sweep: nothing to rank by: no evaluation step, and no label images or links that "
            "differ; sweep arguments of a segmentation or tracking step"
        )
    by = wanted or next((name for name in PREFERRED if name in metrics), known[0])
    by = next((name for name in known if name.lower() == by.lower()), by)
    if by not in known:
        shown = ", ".join(known[:20])
        raise BadData(f"sweep: rank_by: no metric {by!r} (there are {shown})")
    lower = any(word in by for word in LOWER_IS_BETTER)

    def key(point: Point) -> tuple[float, tuple[int, ...]]:
        if by not in point.scores:
            return np.inf, point.index
        value = point.scores[by]
        return abs(value) if lower else -value, point.index

    points.sort(key=key)
    return by


# ---- results ------------------------------------------------------------------------


def thumbnail(point: Point, inputs: Path) -> pictures.Canvas | None:
    """Return the middle frame of the first position and channel with outlines of its objects."""
    if not point.labels:
        return None
    (position, channel), glob = next(iter(sorted(point.labels.items())))
    labels = images.open_layer(glob, kind="label")
    t, z, y, x = labels.shape
    where = Region((t // 2, t // 2 + 1), (z // 2, z // 2 + 1), (0, y), (0, x))
    step = max(1, -(-max(y, x) // THUMBNAIL))
    plane = labels.read(where)[0, 0, ::step, ::step]
    image = np.zeros(plane.shape)
    if sorted(inputs.glob(f"{position}.ingest.{channel}.image.*.zarr")):
        layer = images.open_layer(str(inputs / f"{position}.ingest.{channel}.image.*.zarr"))
        image = layer.read(where)[0, 0, ::step, ::step]
    canvas = pictures.grey(image, pictures.contrast([image])[0], step=step)
    pictures.draw_outlines(canvas, plane)
    return canvas


def contact_sheet(points: Sequence[Point], canvases: Sequence[pictures.Canvas], by: str) -> bytes:
    """Return all thumbnails, the best first, as one PNG with their arguments below each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(1, min(len(canvases), round(len(canvases) ** 0.5) + 1))
    rows = -(-len(canvases) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.7 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    colours = pictures.palette()
    for number, (point, canvas) in enumerate(zip(points, canvases, strict=True), 1):
        axes = figure.add_subplot(rows, columns, number)
        axes.imshow(colours[canvas.pixels])
        axes.set_axis_off()
        lines = "\n".join(point.words.split(", "))
        axes.set_title(f"{number}: {by} {shown(point.scores.get(by))}\n{lines}", fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def shown(value: float | None) -> str:
    """Return a score in three digits."""
    return "none" if value is None else f"{value:.3f}"


def table_of(
    points: Sequence[Point], by: str, metrics: Sequence[str], most: int | None = None
) -> list[list[str]]:
    """Return the ranking as rows of text, the head first; of at most so many scores."""
    names = [f"{tag}.{name}" for tag, args in points[0].arguments.items() for name in args]
    others = [name for name in (*metrics, STABILITY) if name != by]
    used = [by, *(n for n in others if any(n in point.scores for point in points))][:most]
    rows = [["rank", *names, "objects", *used]]
    for number, point in enumerate(points, 1):
        values = [str(value) for args in point.arguments.values() for value in args.values()]
        scores = ["" if n not in point.scores else f"{point.scores[n]:.6g}" for n in used]
        rows.append([str(number), *values, str(point.objects), *scores])
    return rows


def winner(run: dict[str, Any], best: Point, by: str) -> str:
    """Return the pipeline YAML with the arguments of the best point.

    Comments stay. Paths that are relative to the folder of the pipeline become absolute,
    since the file lies elsewhere.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 100
    data = yaml.load(run["pipeline_text"])
    lines = {axis["tag"]: axis["line"] for axis in run["sweep"]["axes"]}
    for stage, entry in data["pipeline"].items():
        steps = entry if isinstance(entry, list) else [entry]
        for step in steps:
            for tag, args in best.arguments.items():
                place = (
                    step.lc.line if isinstance(entry, list) else data["pipeline"].lc.key(stage)[0]
                )
                if place + 1 == lines[tag]:
                    if step.get("args") is None:
                        step["args"] = CommentedMap()
                    step["args"].update(args)
    folder = Path(run["pipeline"]).absolute().parent
    for key in ("channels", "labels", "tables", "input", "pipeline"):
        if key in data:
            data[key] = absolute(data[key], folder)
    out = io.StringIO()
    score = shown(best.scores.get(by))
    out.write(f"# {Path(run['pipeline']).name} with the arguments that a sweep ranked first\n")
    out.write(f"# ({by} {score}): {best.words}\n")
    yaml.dump(data, out)
    return out.getvalue()


def absolute(value: Any, folder: Path) -> Any:
    """Return a value of a YAML with the paths in it that exist below ``folder`` made absolute."""
    if isinstance(value, dict):
        for key in value:
            value[key] = absolute(value[key], folder)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            value[i] = absolute(item, folder)
    elif isinstance(value, str) and is_relative(value, folder):
        return str(folder / value)
    return value


def is_relative(text: str, folder: Path) -> bool:
    """Whether a text is a path or glob below ``folder`` that leads to something."""
    if not text or Path(text).is_absolute():
        return False
    return (folder / text).exists() or ("*" in text and any(folder.glob(text)))


def build(run: dict[str, Any], rows: list[list[str]], figures: list[page.Picture], by: str) -> str:
    """Return the page."""
    sweep = run["sweep"]
    head, *body = rows
    crop = ", ".join(
        f"{axis} {a}:{'end' if b is None else b}" for axis, (a, b) in sweep["crop"].items()
    )
    how = (
        "agreement with the neighbours on the grid (stability); there is no ground truth"
        if by == STABILITY
        else f"{by}, against ground truth"
    )
    about = f"{Path(run['pipeline']).name} · {Path(sweep['path']).name} · Cytoloom {run['version']}"
    return page.render(
        "sweep.html.j2",
        title=run.get("description") or Path(run["pipeline"]).stem,
        about=about,
        version=__version__,
        notes=[
            f"{len(body)} points, ranked by {how}.",
            *([f"Only a part of the data was used: {crop}."] if crop else []),
            f"Objects are counted in the frames compared: at most {FRAMES} of each movie.",
        ],
        table=page.Table(head, body),
        pictures=figures,
        warnings=run["warnings"],
    )


def main(
    run: Annotated[Path, typer.Option(help="description of the run, made by the plan (JSON)")],
    inputs: Annotated[Path, typer.Option(help="folder of label images, tables and provenance")],
    out_report: cli.OutFile,
    out_table: cli.OutFile,
    out_picture: cli.OutFile,
    out_winner: cli.OutFile,
    out_provenance: cli.OutFile,
) -> None:
    """Rank the points of a sweep; write a page, a table, a contact sheet and the winner's YAML."""
    about = read_run(run)
    points = read_points(about, inputs)
    axes = about["sweep"]["axes"]
    count_objects(points)
    metrics = score_truth(points)
    score_stability(points, axes)
    by = rank(points, about["sweep"]["rank_by"], metrics)
    best, *_ = points
    cli.log.info("best of %d: %s (%s %s)", len(points), best.words, by, shown(best.scores.get(by)))
    drawn = [(point, thumbnail(point, inputs)) for point in points[:SHOWN]]
    canvases = [(point, canvas) for point, canvas in drawn if canvas is not None]
    figures = [
        page.Picture(
            f'<img alt="" src="{pictures.to_png(canvas)}">',
            f"{number}. {point.words}: {by} {shown(point.scores.get(by))}, {point.objects} objects",
        )
        for number, (point, canvas) in enumerate(canvases, 1)
    ]
    rows = table_of(points, by, metrics)
    with writing(out_table) as path, open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    with writing(out_winner) as path:
        path.write_text(winner(about, best, by), encoding="utf-8")
    with writing(out_picture) as path:
        path.write_bytes(contact_sheet([p for p, _ in canvases], [c for _, c in canvases], by))
    with writing(out_provenance) as path:
        join_records(sorted(inputs.glob("*.provenance.json")), path)
    with writing(out_report) as path:
        few = table_of(points, by, metrics, COLUMNS)
        path.write_text(build(about, few, figures, by), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
