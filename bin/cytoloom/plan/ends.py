"""The two ends of a run: ingest jobs from positions, delivery jobs from all layers.

Ingest copies each region of the user's files into a part; its command carries the
digest of the pixels. Delivery unites the parts of each position into one OME-Zarr
store, joins the tables of all positions, exports tracks and writes the report.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from cytoloom.files import digest
from cytoloom.layouts import KINDS_OF_IMAGES
from cytoloom.plan.jobs import BASE_MEMORY_MB, Command, Job, PlannedStep
from cytoloom.plan.layers import EXTENSIONS, LayerPlan, Position, part_name, slug
from cytoloom.plan.model import INGEST, Pipeline
from cytoloom.plan.positions import Opened, PositionSource
from cytoloom.provenance import provenance_name
from cytoloom.regions import Region

COMPARED_KINDS = ("label", "edges", "evaluation")  # what the points of a sweep are judged by
SMALLEST_LEVEL = 512  # px: images no larger along y and x get no pyramid
INNER_KINDS = ("corelabel", "objects", "numbers", "detections", "statistics")
PARTIAL = "--partial"  # of programs that unite layers, where some are lost
TABULAR = ("parquet", "graphml")
Code = Callable[[str, str], str]
Digests = Callable[[Opened, Sequence[Region]], list[str]]


def core_job(
    what: str,
    command: Command,
    code: Code,
    inputs: Iterable[str],
    outputs: Iterable[str],
    *,
    also: str = "",
    **more: Any,
) -> Job:
    """Return one task in the core environment; ``also`` is what else its result depends on."""
    return Job(
        id=what,
        command=str(command),
        code=f"{code(command.executable, 'core')} {also}".strip(),
        family="core",
        inputs=sorted(set(inputs)),
        outputs=list(outputs),
        **more,
    )


# ---- ingest -----------------------------------------------------------------------------


def ingest_steps(
    places: Sequence[Position],
    sources: Sequence[PositionSource],
    slugs: dict[str, str],
    code: Code,
    digests: Digests,
    patches: Collection[int] | None = None,
) -> list[PlannedStep]:
    """Return the steps that bring images, labels and tables in, and note their layers.

    Parameters
    ----------
    patches
        The patches to do, row by row from 0 (None: all); the others are left blank.
    """
    steps = {
        "image": PlannedStep(INGEST, "Ingest", INGEST, "IMAGES"),
        "label": PlannedStep(f"{INGEST}_labels", "Ingest", INGEST, "LABELS"),
        "table": PlannedStep(f"{INGEST}_tables", "Ingest", INGEST, "TABLES"),
    }
    for place, source in zip(places, sources, strict=True):
        for opened in source.inputs:
            kind = opened.given.kind
            name = slugs.get(opened.given.channel, slug(opened.given.channel))
            if kind == "table":
                job = _table_job(place, opened, name, code)
                steps[kind].add("core", job)
            else:
                for job in _image_jobs(place, opened, name, code, digests, patches):
                    steps[kind].add("core", job)
    return [step for step in steps.values() if step.phases]


def _common(command: Command, place: Position, opened: Opened) -> Command:
    command.option("source", str(Path(opened.given.path).absolute()))
    command.option("position", place.name).option("channel", opened.given.channel)
    command.option("pixel_size", list(place.pixel_size))
    return command.option("frame_interval", place.frame_interval)


def _image_jobs(
    place: Position,
    opened: Opened,
    channel: str,
    code: Code,
    digests: Digests,
    patches: Collection[int] | None,
) -> list[Job]:
    given, grid, kind = opened.given, place.grid, opened.given.kind
    regions = grid.tiles()
    layers = [
        LayerPlan(
            place.slug, INGEST, channel, k,
            tuple((part_name(place.slug, INGEST, channel, k, i), r) for i, r in enumerate(regions)),
        )
        for k in ((kind, "statistics") if kind == "image" else (kind,))
    ]  # fmt: skip
    frames = part_name(place.slug, INGEST, channel, "frames", 0)
    stamped = kind == "image" and opened.source is not None and opened.source.acquired is not None
    if stamped:
        layers.append(LayerPlan(place.slug, INGEST, channel, "frames", ((frames, None),)))
    for layer in layers:
        place.add(INGEST, given.channel, layer.kind, layer)
    jobs = []
    found = digests(opened, regions)
    for index, region in enumerate(regions):
        command = _common(Command("ingest_image"), place, opened).option("kind", kind)
        command.option("chunks", ",".join(map(str, grid.chunks)))
        command.option("shards", ",".join(map(str, grid.shards)))
        command.option("source_channel", given.source_channel).option("axes", given.axes)
        command.option("scene", given.scene).option("z", given.z)
        command.option("select", str(opened.selection)).option("region", str(region))
        if patches is not None and grid.patch_number(region) not in patches:
            command.option("blank", True)
        written = [layer for layer in layers if index < len(layer.parts)]  # frames: by the first
        names = [layer.parts[index][0] for layer in written]
        for layer, name in zip(written, names, strict=True):
            command.output("image" if layer.kind == "label" else layer.kind, name)
        jobs.append(
            core_job(
                f"{INGEST} {place.slug} {channel} {kind} {index:04d}",
                command,
                code,
                [],
                names,
                also=f"pixels {found[index]}",
                memory_mb=BASE_MEMORY_MB + region.size * 24 // 2**20,
                region=str(region),
                position=place.slug,
            )
        )
    return jobs


def _table_job(place: Position, opened: Opened, channel: str, code: Code) -> Job:
    name = part_name(place.slug, INGEST, channel, "table", 0)
    place.add(
        INGEST, opened.given.channel, "table",
        LayerPlan(place.slug, INGEST, channel, "table", ((name, None),)),
    )  # fmt: skip
    path = Path(opened.given.path)
    command = _common(Command("ingest_table"), place, opened).output("cells", name)
    content = digest(path) if path.exists() else "absent"
    what = f"{INGEST} {place.slug} {channel} table"
    return core_job(what, command, code, [], [name], also=f"content {content}", position=place.slug)


# ---- delivery ---------------------------------------------------------------------------


def delivery_steps(
    pipeline: Pipeline,
    places: Sequence[Position],
    steps: Sequence[PlannedStep],
    code: Code,
    run_file: Path,
    run_digest: str,
    earlier: Sequence[str] = (),
) -> list[PlannedStep]:
    """Return the steps that make the results that a user opens.

    Parameters
    ----------
    steps
        All planned steps so far: their provenance goes into the report.
    run_file, run_digest
        The description of the run for the report, and a digest of its content.
    earlier
        Names of the provenance of steps that an earlier run made.
    """
    hidden = {step.slug for step in pipeline.steps if not step.output}
    delivered = {p.slug: _delivered(p, hidden) for p in places}
    pyramid = PlannedStep("pyramid", "Pyramid", "delivery", "PYRAMID")
    unite = PlannedStep("unite", "Unite", "delivery", "UNITE")
    export = PlannedStep("export", "Export", "delivery", "EXPORT")
    report = PlannedStep("report", "Report", "delivery", "REPORT")
    for place in places:
        _unite(place, delivered[place.slug], code, pyramid, unite)
        _export_tracks(place, delivered[place.slug], code, export)
    _export_tables(delivered, code, export)
    made = [s for s in (pyramid, unite, export) if s.phases]
    _report([*steps, *made], delivered, code, run_file, run_digest, report, earlier)
    return [*made, report]


def sweep_steps(
    places: Sequence[Position],
    steps: Sequence[PlannedStep],
    code: Code,
    run_file: Path,
    run_digest: str,
) -> list[PlannedStep]:
    """Return the step that compares the points of a sweep."""
    jobs = [job for step in steps for phase in step.phases.values() for job in phase]
    files = [provenance_name(job.outputs) for job in jobs]
    for place in places:
        for (tag, _, kind), layer in place.layers.items():
            if kind in COMPARED_KINDS or (tag == INGEST and kind in ("image", "label")):
                files += layer.names()
    command = Command("deliver_sweep").option("run", str(run_file)).option("inputs", "in")
    outputs = {
        "report": "sweep.html",
        "table": "sweep.csv",
        "picture": "contact_sheet.png",
        "winner": "winner.yaml",
        "provenance": "provenance.jsonl",
    }
    for role, name in outputs.items():
        command.output(role, name)
    publish = {n: f"pipeline_info/{n}" if n.endswith("jsonl") else n for n in outputs.values()}
    step = PlannedStep("sweep", "Sweep", "delivery", "SWEEP")
    also = f"page {_page_digest()} run {run_digest}"
    step.add(
        "core",
        core_job("sweep", command, code, files, outputs.values(), also=also, publish=publish),
    )
    return [step]


def _delivered(place: Position, hidden: set[str]) -> list[tuple[str, LayerPlan]]:
    """Return (channel, layer) of all layers that are results."""
    return [
        (channel, layer)
        for (tag, channel, kind), layer in place.layers.items()
        if tag not in hidden
        and not layer.inner
        and kind not in INNER_KINDS
        and not kind.endswith("part")
    ]


def _unite(
    place: Position,
    delivered: Sequence[tuple[str, LayerPlan]],
    code: Code,
    pyramid: PlannedStep,
    unite: PlannedStep,
) -> None:
    stored = [(c, layer) for c, layer in delivered if EXTENSIONS.get(layer.kind) == "zarr"]
    if not stored:
        return
    command, files = Command("deliver_unite"), []
    for channel, layer in stored:
        role = "image" if layer.kind in KINDS_OF_IMAGES else "label"
        label = f"{channel} tracks" if layer.kind == "trackedlabel" else channel
        name = label if layer.tag == INGEST else f"{label} ({layer.tag})"
        command.option(role, f"{name}={layer.glob}")
        files += layer.names()
        if role == "image":
            histograms = place.layers[layer.tag, channel, "statistics"]
            command.option("statistics", f"{name}={histograms.glob}")
            files += histograms.names()
            if taken := place.layers.get((layer.tag, channel, "frames")):
                command.option("frames", f"{name}={taken.glob}")
                files += taken.names()
        if max(place.grid.shape[2:]) > SMALLEST_LEVEL:
            levels = _pyramid(place, layer, role, code, pyramid)
            command.option(
                "pyramid" if role == "image" else "label-pyramid", f"{name}={levels.glob}"
            )
            files += levels.names()
    store = f"{place.slug}.ome.zarr"
    command.output("store", store)
    unite.add(
        "core",
        core_job(
            f"unite {place.slug}",
            command,
            code,
            files,
            [store],
            publish={store: f"images/{store}"},
            position=place.slug,
            incomplete=PARTIAL,
        ),
    )


def _pyramid(
    place: Position, layer: LayerPlan, role: str, code: Code, step: PlannedStep
) -> LayerPlan:
    regions = place.grid.frames()
    channel = f"{layer.channel}-{layer.tag}-{layer.kind}"
    parts = tuple(
        (part_name(place.slug, "pyramid", channel, "pyramid", i), r) for i, r in enumerate(regions)
    )
    for name, region in parts:
        command = Command("deliver_pyramid").option(role, layer.glob)
        command.option("region", str(region)).output("pyramid", name)
        step.add(
            "core",
            core_job(
                f"pyramid {place.slug} {channel} {region}",
                command,
                code,
                layer.names(region),
                [name],
                memory_mb=BASE_MEMORY_MB + region.size * 16 // 2**20,
                region=str(region),
                position=place.slug,
            ),
        )
    return LayerPlan(place.slug, "pyramid", slug(channel), "pyramid", parts)


def _export_tracks(
    place: Position, delivered: Sequence[tuple[str, LayerPlan]], code: Code, step: PlannedStep
) -> None:
    for channel, edges in delivered:
        if edges.kind != "edges":
            continue
        tracks = place.layers[edges.tag, channel, "tracks"]
        painted = place.layers.get((edges.tag, channel, "trackedlabel"))
        base = f"{place.slug}.{edges.tag}.{slug(edges.channel)}"
        command = Command("deliver_tracks").option("table", tracks.glob)
        command.option("edges", edges.glob)
        files = [*tracks.names(), *edges.names()]
        outputs = {
            "geff": f"{base}.geff",
            "trackmate": f"{base}.trackmate.xml",
            "napari": f"{base}.napari.csv",
            "napari-graph": f"{base}.napari-graph.json",
        }
        if painted:
            command.option("label", painted.glob)
            files += painted.names()
            outputs["ctc"] = f"{base}.ctc"
        own = place.layers.get((edges.tag, channel, "trackmate"))
        if own:
            command.option("trackmate", own.glob)
            files += own.names()
        for name, path in outputs.items():
            command.output(name, path)
        step.add(
            "core",
            core_job(
                f"export {place.slug} {edges.tag} {edges.channel}",
                command,
                code,
                files,
                outputs.values(),
                publish={path: f"tracks/{path}" for path in outputs.values()},
                position=place.slug,
            ),
        )


def _export_tables(
    delivered: dict[str, list[tuple[str, LayerPlan]]], code: Code, step: PlannedStep
) -> None:
    """Add one job that joins the tables and networks of all positions."""
    command, files = Command("deliver_tables"), []
    joined: dict[str, list[LayerPlan]] = {}
    for layers in delivered.values():
        for _, layer in layers:
            if layer.extension in TABULAR:
                joined.setdefault(f"{layer.tag}.{layer.channel}.{layer.kind}", []).append(layer)
    if not joined:
        return
    for name, same in joined.items():
        role = "network" if same[0].kind == "network" else "table"
        extension = same[0].extension
        command.option(role, f"{name}=in/*.{name}.*.{extension}")
        for layer in same:
            files += layer.names()
    command.output("tables", "tables")
    step.add(
        "core",
        core_job(
            "export tables",
            command,
            code,
            files,
            ["tables"],
            publish={"tables": "tables"},
            incomplete=PARTIAL,
        ),
    )


def _page_digest() -> str:
    """Return a digest of the report's template, style and colours."""
    return assets_digest("report", "palette.yaml")


def assets_digest(*names: str) -> str:
    """Return a digest of files or folders of ``assets/``."""
    assets = Path(__file__).resolve().parents[3] / "assets"
    return "-".join(digest(assets / name)[:8] for name in names)


def _report(
    steps: Sequence[PlannedStep],
    delivered: dict[str, list[tuple[str, LayerPlan]]],
    code: Code,
    run_file: Path,
    run_digest: str,
    report: PlannedStep,
    earlier: Sequence[str],
) -> None:
    jobs = [job for step in steps for phase in step.phases.values() for job in phase]
    provenance = [provenance_name(job.outputs) for job in jobs]
    stores = [job.outputs[0] for s in steps if s.tag == "unite" for job in s.phases["core"]]
    tables = [
        name
        for layers in delivered.values()
        for _, layer in layers
        if layer.extension in TABULAR or layer.kind == "flatfield"
        for name in layer.names()
    ]
    command = Command("deliver_report").option("run", str(run_file))
    command.option("inputs", "in").output("report", "report.html")
    command.output("summary", "summary.json").output("provenance", "provenance.jsonl")
    outputs = ["report.html", "summary.json", "provenance.jsonl"]
    report.add(
        "core",
        core_job(
            "report",
            command,
            code,
            [*earlier, *provenance, *stores, *tables],
            outputs,
            also=f"page {_page_digest()} run {run_digest}",
            publish={n: f"pipeline_info/{n}" if n.endswith("jsonl") else n for n in outputs},
            incomplete="",
        ),
    )
