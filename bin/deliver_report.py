#!/usr/bin/env python3
"""Report: one self-contained HTML page of a run, and its main numbers as JSON."""

import datetime as dt
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cytoloom import __version__, cli
from cytoloom.files import writing
from cytoloom.provenance import join_records
from cytoloom.report import counting, diagram, making, page, sections
from cytoloom.report.inputs import Inputs, index, read_run
from cytoloom.traces import base_of, csv_name

DEFINITION = (
    "A cell is one detection, so a cell seen in 50 frames counts 50 times; each label image counts "
    "once, however many channels were measured in it."
)
PREFLIGHT = (
    "position", "channel", "kind", "path", "files", "format", "shape_tzyx", "used_tzyx", "dtype",
    "pixel_size_um", "frame_interval_s", "missing_in_file",
)  # fmt: skip
DESCRIBED = {
    "methods.md": "the methods in words for a paper, with references",
    "references.bib": "the same references for a reference manager (BibTeX)",
    "ro-crate-metadata.json": "the whole run for machines: a Workflow Run RO-Crate",
    "pipeline_info/versions.yml": "versions of all tools and libraries",
    "pipeline_info/parameters.yml": "all parameters and arguments, those by default too",
    "pipeline_info/inputs.sha256": "SHA-256 of every file of the input and of the models",
    "pipeline_info/provenance.jsonl": "one line for each task: arguments, digests, time, memory",
}
HEADS = {
    "shape_tzyx": "shape (t, z, y, x)", "used_tzyx": "used (t, z, y, x)",
    "pixel_size_um": "pixel size (µm)", "frame_interval_s": "frame interval (s)",
}  # fmt: skip
CONTENT = {
    "cells": "measurements of every cell in every frame",
    "tracks": "measurements of every cell with its track",
    "edges": "links from cell to cell over time",
    "contacts": "pairs in contact in every frame",
    "contact_events": "contacts from start to end",
    "track_summary": "one row per track",
    "msd": "mean squared displacement",
    "bleaching": "brightness of every frame before and after the correction",
    "transforms": "transform and drift of every registered frame",
    "cell_state": "live and death signal and cell death index of every target",
    "deaths": "time and kind of death of every target",
    "killers": "one row per effector",
    "killing_capacity": "one row per effector and target that touched",
    "survival": "survival curves",
    "killing_summary": "numbers per position",
    "death_thresholds": "deaths by threshold",
    "traces": "traces of single cells, all positions",
    "trace_filters": "cells that each filter of the traces left",
    "samples": "traces by sample",
    "fits": "fitted parameters of every trace",
    "trace_statistics": "area, onset and greatest change of every trace",
    "evaluation": "scores against ground truth, per frame and in all",
}


def headline(run: dict[str, Any], summary: dict[str, Any]) -> list[dict[str, str]]:
    """Return the main numbers with their names."""
    one = {"cells": "cell", "tracks": "track", "contacts": "contact", "positions": "position"}
    found = [
        {"name": one.get(name, name) if value == 1 else name, "value": f"{value:,}"}
        for name, value in summary.items()
        if isinstance(value, int)
    ]
    for number in found:
        number["name"] = {"killed": "killed targets"}.get(number["name"], number["name"])
    frames = sum(int(place["shape"][0]) for place in run["positions"])
    return [*found, {"name": "frame" if frames == 1 else "frames", "value": f"{frames:,}"}]


def channel_section(summary: dict[str, Any]) -> page.Section | None:
    """Return the table of numbers per channel."""
    names = {
        "cells": "cells", "cells_per_frame": "cells per frame", "tracks": "tracks",
        "tracks_linked": "of 2 or more frames",
        "median_track_frames": "their median (frames)",
        "median_area_um2": "median area (µm²)",
        "median_volume_um3": "median volume (µm³)",
    }  # fmt: skip
    channels = summary["per_channel"]
    if not channels:
        return None
    used = [n for n in names if any(n in values for values in channels.values())]
    rows = [
        [channel, *(f"{values[n]:,.6g}" if n in values else "none" for n in used)]
        for channel, values in channels.items()
    ]
    table = page.Table(["channel", *(names[n] for n in used)], rows)
    return page.Section("channels", "Channels", [page.Block(tables=[table])])


def list_files(inputs: Inputs) -> list[dict[str, Any]]:
    """Return what lies in the folder of results, with links relative to it."""
    files = [
        entry(f"images/{path.name}", f"all images and labels of {slug} (OME-Zarr)")
        for slug, path in inputs.stores.items()
    ]
    seen = dict.fromkeys((t.tag, t.channel, t.kind) for t in inputs.tables)
    for tag, channel, kind in seen:
        base = f"tables/{tag}.{channel}.{kind}"
        files.append(entry(base, CONTENT.get(kind, kind), "csv", "parquet"))
    if seen:
        files.append(entry("tables/columns.csv", "what every column means"))
    for table in inputs.of("edges"):
        base = f"tracks/{table.position}.{table.tag}.{table.channel}"
        content = "tracks for GEFF readers, TrackMate and napari"
        files.append(entry(base, content, "geff", "trackmate.xml", "napari.csv"))
    slugs = {place["name"]: place["slug"] for place in inputs.run["positions"]}
    rows = reversed(inputs.run["preflight"])
    bases = {slugs.get(row.get("position")): base_of(str(row.get("path"))) for row in rows}
    content = "traces as PyAMA writes them; set good to false to leave out rows"
    files += [
        entry(csv_name(t.position, t.tag, bases.get(t.position, "")), content)
        for t in inputs.of("traces")
    ]
    for table in inputs.of("samples"):
        files.append(entry(f"samples/{table.tag}/", "CSV files of each sample"))
    for table in inputs.of("fits"):
        files.append(entry(f"fits/{table.tag}/fits.html", "every trace with its fit"))
        files.append(entry(f"fits/{table.tag}/", "fits and statistics as CSV files"))
    for path in inputs.fields:
        content = "flat-field and dark-field, or mean and spread of the logarithm (TIFF)"
        files.append(entry(f"flatfields/{path.name}", content))
    for networks in inputs.networks.values():
        for paths in networks.values():
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            files.append(entry(f"tables/{paths[0].name}", f"network (GraphML){more}"))
    files.append(entry("summary.json", "the main numbers"))
    return [*files, *(entry(path, content) for path, content in DESCRIBED.items())]


def entry(path: str, content: str, *ends: str) -> dict[str, Any]:
    """Return a row of the table of files: one link, or one for each ending."""
    links = [(f"{path}.{end}", end) for end in ends] or [(path, path)]
    return {"name": path if ends else "", "links": links, "content": content}


def describe_work(made: making.Making, palette: dict[str, str]) -> list[dict[str, Any]]:
    """Return the rows of the table of time and memory."""
    longest = max((w.compute + w.start_up for w in made.work), default=0) or 1.0
    return [
        {
            "step": w.step,
            "executable": w.executable,
            "tasks": f"{w.tasks:,}",
            "compute": duration(w.compute),
            "start_up": duration(w.start_up),
            "peak": f"{w.peak_mb:,.0f} MB",
            "compute_share": round(98 * w.compute / longest, 2),
            "start_share": round(98 * w.start_up / longest, 2),
            "colour": palette.get(w.stage, palette["optional"]),
        }
        for w in made.work
    ]


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def describe_making(inputs: Inputs, palette: dict[str, str]) -> dict[str, Any]:
    """Return how the run was made, for the template."""
    run, made = inputs.run, making.sum_up(inputs)
    present = set().union(*run["preflight"])
    if all(row.get("used_tzyx") == row.get("shape_tzyx") for row in run["preflight"]):
        present.discard("used_tzyx")
    head = [name for name in PREFLIGHT if name in present]
    head += sorted(present - set(head))
    rows = [[str(row.get(name, "")) for name in head] for row in run["preflight"]]
    steps = [
        {
            "tag": step["tag"],
            "name": step["name"],
            "channels": ", ".join(
                dict.fromkeys(
                    diagram.group_words(group, step["stage"]) for group in step["channels"]
                )
            ),
            "parameters": making.parameters(step, made),
            "colour": palette.get(step["stage"], palette["optional"]),
        }
        for step in run["steps"]
    ]
    facts = [[name, ", ".join(sorted(values))] for name, values in made.facts.items()]
    names = {"version": "Cytoloom", "python": "Python"}
    versions = [[names.get(name, name), value] for name, value in facts]
    versions += [[name, value] for name, value in making.libraries()]
    caption = ""
    if made.files > len(made.digests):
        caption = f"The first {len(made.digests)} of {made.files:,} files"
    return {
        "preflight": page.Table([HEADS.get(n, n.replace("_", " ")) for n in head], rows),
        "work": describe_work(made, palette),
        "work_words": f"{made.tasks:,} tasks: {duration(made.compute)} of compute and "
        f"{duration(made.start_up)} of start-up (starting Python, imports), summed over all tasks; "
        "this report is not counted.",
        "steps": steps,
        "versions": page.Table(["what", "version"], versions),
        "digests": page.Table(
            ["file", "digest"], [list(pair) for pair in made.digests.items()], caption
        ),
    }


def build(inputs: Inputs, summary: dict[str, Any]) -> str:
    """Return the page."""
    run, palette = inputs.run, page.palette()
    made = describe_making(inputs, palette)
    found = sections.make(inputs)
    channels = channel_section(summary)
    images = [row for row in run["preflight"] if row.get("kind") == "image"] or run["preflight"]
    names = list(dict.fromkeys(str(row.get("channel", "")) for row in images))
    drawn = page.attempt(
        "The plan",
        lambda: page.Picture(diagram.draw(run["steps"], palette, [", ".join(names)])),
    )[0]
    when = dt.datetime.now().astimezone().strftime("%d %B %Y, %H:%M %Z")
    stem = Path(run["pipeline"]).name
    return page.render(
        "report.html.j2",
        title=run.get("description") or stem,
        about=f"{stem} · {when} · Cytoloom {run['version']}",
        when=when,
        version=__version__,
        numbers=headline(run, summary),
        definition=DEFINITION,
        warnings=[*run["warnings"], *inputs.problems],
        diagram=drawn.html or drawn.failed,
        sections=[channels, *found] if channels else found,
        files=list_files(inputs),
        pipeline=run["pipeline"],
        pipeline_text=run["pipeline_text"],
        **made,
    )


def main(
    run: Annotated[Path, typer.Option(help="description of the run, made by the plan (JSON)")],
    inputs: Annotated[Path, typer.Option(help="folder of stores, tables and provenance")],
    out_report: cli.OutFile,
    out_summary: cli.OutFile,
    out_provenance: cli.OutFile = None,  # type: ignore[assignment]
) -> None:
    """Write the report and the main numbers of a run, and the provenance of all tasks.

    The page holds pictures, charts, the plan, parameters, timings and versions, and needs
    nothing from outside. The numbers are whole: cells (detections), tracks, contacts,
    killed (targets that died in contact with an effector) and positions.
    """
    found = index(inputs, read_run(run))
    summary = counting.summarise(found)
    with writing(out_summary) as path:
        path.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    if out_provenance:
        with writing(out_provenance) as path:
            join_records(found.provenance, path)
    text = build(found, summary)
    with writing(out_report) as path:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
