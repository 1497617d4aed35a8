"""The pages that are made from the code: ``docs/stages/*.md`` and ``docs/columns.md``.

``./cytoloom docs`` runs this in the core environment; ``--check`` only compares. A page of
``docs/stages`` holds the steps of one stage as the registry (``assets/steps.yaml``) and the
executables declare them: arguments, types, ranges, defaults and help are read from the
function that also makes ``--help``, so page, YAML and command line agree. Programs without
a row in the registry (phases, ingest, delivery, the plan) follow, by the first word of
their names. ``docs/columns.md`` comes from ``bin/cytoloom/schemas.py``. Nothing here is
measured or dated: the same code always gives the same pages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from programs import Program, arguments_table, options_table, read_programs, table, usage

from cytoloom.plan.arguments import Argument
from cytoloom.plan.registry import STAGES, Registry, Row, load_registry
from cytoloom.schemas import KEYS, PYCYTO_COLUMNS, SCHEMAS

PROJECT = Path(__file__).resolve().parents[1]
HEAD = "<!-- Made by ./cytoloom docs; edit the program or the registry instead. -->\n"
PAGES = {
    "ingest": ("ingest", "Ingest", "Files of the user become layers. The plan adds these jobs."),
    "preprocessing": ("preprocess", "Preprocessing", "Image to image."),
    "segmentation": ("segment", "Segmentation", "Image or label image to label image."),
    "label_to_sparse": ("tabulate", "Tabulation (label_to_sparse)", "Label image to table."),
    "tracking": ("track", "Tracking", "Table of cells to table of tracks."),
    "postprocessing": ("analyse", "Postprocessing", "Tables and images to results."),
    "evaluation": ("evaluate", "Evaluation", "Results and ground truth to scores."),
    "delivery": ("deliver", "Delivery", "Layers to results. The plan adds these jobs."),
    "plan": ("plan", "The plan", "The pipeline YAML to a list of tasks."),
}
GROUPS = {
    "one": "[TCell, Cancer]",
    "pair": "[[TCell, Cancer]]",
    "triple": "[[TCell, Cancer, Dead]]",
    "many": "[[TCell, Cancer]]",
    "some": "[[TCell, Cancer]]",
}
ARGS = {  # of the examples, where the arguments that are needed do not make one
    "FeatureFilter": "{column: area, operation: '>', value: 100}",
    "CrossTableOperation": "{column: intensity_mean, operation: divide}",
    "EvaluateSegmentation": "{ground_truth: 01_GT}",
    "EvaluateTracking": "{ground_truth: 01_GT}",
    "EvaluateTrackedLabels": "{ground_truth: 01_GT}",
}
CHANNELS = {
    "one": "single channels, or `all`: one result for each",
    "pair": "pairs: a list of lists of two",
    "triple": "triples: a list of lists of three",
    "many": "groups: a list of lists of two or more",
    "some": "one or more channels in a list: one result for each list",
    "image_label": "pairs [image channel, label channel]",
    "images_labels": "lists of channels under the keys `images` and `labels`",
}
FAN_OUT = {
    "patch": "one task for each patch and frame batch",
    "frames": "one task for each batch of whole frames",
    "position": "one task for each position",
    "run": "one task for all positions",
}
KINDS = {
    "frames": "One row for each frame of a channel, where the file says when it was taken.",
    "cells": "One row for each object, frame and measured channel.",
    "tracks": "The rows of `cells` with the track of each.",
    "edges": "One row for each link between two objects of different frames.",
    "contacts": "One row for each touching pair and frame.",
    "contact_events": "One row for each unbroken contact of a pair of tracks.",
    "track_summary": "One row for each track.",
    "msd": "Mean squared displacement: one row for each track and lag.",
    "drift": "How far all tracks together have moved: one row for each frame.",
    "bleaching": "Brightness before and after the correction: one row for each frame.",
    "cell_state": "Signals and state of the targets: one row for each target and frame.",
    "deaths": "One row for each target track.",
    "killers": "One row for each effector track.",
    "killing_capacity": "One row for each pair of tracks that touched.",
    "survival": "Survival curves: one row for each group and time of a death.",
    "killing_summary": "One row for each position.",
    "death_thresholds": "How the result depends on the threshold: one row for each threshold.",
    "detections": "Probability and class of each object that a network found.",
    "transforms": "How each frame was moved: one row for each frame.",
    "solver": "What the integer program came to: one row for each window.",
    "traces": "Traces of single cells: one row for each cell and frame; a column for each feature "
    "and channel follows. Cells are those that the filters left.",
    "trace_filters": "How many cells and rows each filter of the traces left.",
    "samples": "Traces of all positions, joined by sample: the columns of the traces follow.",
    "fits": "One row for each fitted trace; value and 95 % confidence limits of each parameter of "
    "the model follow.",
    "trace_statistics": "One row for each trace: area under the curve, onset, greatest change.",
    "evaluation": "Scores against ground truth: one row for each metric, threshold and frame.",
}


# ---- Pages of stages


def link(kind: str) -> str:
    """Return a kind of layer, with a link where its columns are declared."""
    return f"[{kind}](../columns.md#{kind})" if kind in SCHEMAS else kind


def what_it_reads(row: Row) -> str:
    """Return the layers that a step reads, in words."""
    found = []
    for role in row.inputs:
        of = row.of(role)
        if of is not None:
            found.append(f"{link(row.kind(role))} of the first {of} channels together")
        elif row.inputs[role] == "table":
            tracked = {"one": 1, "pair": 2, "triple": 3}.get(row.channels, 0)
            words = "the current table"
            if row.tracked and row.tracked >= tracked:
                words = f"{link('tracks')}"
            elif row.tracked:
                words += f" (the first {row.tracked}: {link('tracks')})"
            found.append(words)
        else:
            found.append(link(row.kind(role)))
    return ", ".join(found)


def what_it_makes(row: Row) -> str:
    """Return the layers that a step makes, in words."""
    kinds = ["the table, of the same kind" if k == "table" else link(k)
             for k in row.outputs.values()]  # fmt: skip
    kinds += [link(kind) for kind in row.merge_makes]
    kinds += ["label image painted by track"] if row.relabel else []
    return ", ".join(dict.fromkeys(kinds))


def facts(row: Row) -> str:
    """Return what the registry says of a step, as a list."""
    lines = [f"Reads: {what_it_reads(row)}", f"Makes: {what_it_makes(row)}"]
    lines.append(f"Channels: {CHANNELS[row.channels]}")
    if row.output_channel_name == "required":
        lines.append("`output_channel_name` is needed, one for each entry of `channels`")
    cut = FAN_OUT[row.fan_out]
    if row.fan_out == "patch" and isinstance(row.halo, int) and row.halo:
        cut += f", which reads {row.halo} px more on each side"
    if row.fan_out == "patch" and row.halo == "neighbours":
        cut += ", which also sees the patches around it"
    lines.append(f"Tasks: {cut}")
    lines.append(f"Program: `{row.executable}`" + (f", environment {row.family}"))
    if row.aliases:
        lines.append(f"Also called: {', '.join(row.aliases)}")
    return "".join(f"- {line}\n" for line in lines)


def example(row: Row, arguments: Iterable[Argument]) -> str:
    """Return the step as it may stand in a pipeline YAML."""
    if row.channels == "image_label":
        pairs = "image_label_pair: [[TCell, TCell], [Cancer, Cancer]]"
        return fenced(f"{row.stage}:\n  {pairs}\n", "yaml")
    lines = [f"- name: {row.name}"]
    if row.channels == "images_labels":
        lines += ["  images: [Cancer]", "  labels: [Cancer]"]
    else:
        lines.append(f"  channels: {GROUPS[row.channels]}")
    if row.output_channel_name == "required":
        count = 2 if row.channels == "one" else 1
        names = [f"New{n}" for n in range(1, count + 1)] if count > 1 else ["New"]
        lines.append(f"  output_channel_name: [{', '.join(names)}]")
    needed = [f"{a.name}: <{a.valid}>" for a in arguments if a.required]
    if row.name in ARGS or needed:
        lines.append(f"  args: {ARGS.get(row.name) or '{' + ', '.join(needed) + '}'}")
    return fenced(
        "".join(f"{line}\n" for line in [f"{row.stage}:", *(f"  {x}" for x in lines)]), "yaml"
    )


def fenced(text: str, language: str = "") -> str:
    """Return text as a block of code."""
    return f"```{language}\n{text}```\n"


def step_section(row: Row, programs: Mapping[str, Program]) -> str:
    """Return the section of one step of the registry."""
    program = programs[row.executable]
    arguments = dict(program.arguments)
    for name in row.merge_args:
        arguments.setdefault(name, programs[str(row.merge)].arguments[name])
    parts = [
        f"## {row.name}\n\n{row.description[:1].upper()}{row.description[1:]}.\n",
        f"{program.text}\n",
        facts(row),
        example(row, arguments.values()),
        arguments_table(arguments.values()) if arguments else "No arguments.\n",
    ]
    above = ", with the arguments above as `--name VALUE`" if arguments else ""
    how = f"On the command line{above}:"
    parts.append(f"{how}\n\n{fenced(usage(program) + chr(10))}")
    parts.append(options_table(program, program.contract.values()))
    return "\n".join(parts)


def absent_section(row: Row) -> str:
    """Return the section of a method of a later version."""
    return (
        f"## {row.name}\n\nNot part of this version ({row.description}). Instead: {row.instead}.\n"
    )


def program_section(program: Program, level: str) -> str:
    """Return the section of a program that has no row in the registry."""
    everything = [*program.contract.values(), *program.arguments.values()]
    return f"{level} {program.name}\n\n{program.text}\n\n{options_table(program, everything)}"


def stage_page(stage: str, registry: Registry, programs: Mapping[str, Program]) -> str:
    """Return the page of one stage."""
    prefix, title, first = PAGES[stage]
    rows = [row for row in registry if row.stage == stage]
    listed = {row.executable for row in rows}
    others = [
        program
        for name, program in programs.items()
        if name.startswith(f"{prefix}_") and name not in listed
    ]
    sections = [f"{HEAD}# {title}\n\n{first}\n"]
    sections += [step_section(row, programs) for row in rows if row.executable in programs]
    sections += [absent_section(row) for row in rows if not row.available]
    if others and rows:
        sections.append("## Other programs\n\nThe plan calls them where they are needed.\n")
    level = "###" if rows else "##"
    sections += [program_section(program, level) for program in others]
    return "\n".join(sections)


def stages_index(registry: Registry) -> str:
    """Return ``docs/stages/README.md``."""
    rows = []
    for stage in STAGES:
        for row in registry:
            if row.stage == stage and row.available:
                anchor = f"{stage}.md#{row.name.lower()}"
                rows.append((f"[{row.name}]({anchor})", stage, row.description))
    others = [
        f"[{title}]({stage}.md)" for stage, (_, title, _) in PAGES.items() if stage not in STAGES
    ]
    return (
        f"{HEAD}# Steps\n\nEvery step that a pipeline YAML may name; the stages run in this order. "
        "The arguments of a step stand under `args`. The grammar around them: "
        "[pipeline.md](../pipeline.md). Columns of the tables: [columns.md](../columns.md).\n\n"
        + table(("step", "stage", "what it does"), rows)
        + f"\nPrograms that the plan calls at both ends of a run: {', '.join(others)}.\n\n"
        "Each program runs alone: `./cytoloom stage NAME --help`. Layers are named by a path, or "
        "by a quoted glob of their parts; [architecture.md](../architecture.md) says what they "
        "are. In the tables of these pages `none` as a default means: not given. All programs "
        "take `--help` and `--version`, nearly all `--verbose`.\n"
    )


# ---- Columns


def makers(kind: str, registry: Registry) -> list[Row]:
    """Return the steps that make a kind of table."""
    return [
        row
        for row in registry
        if row.available and kind in (*row.outputs.values(), *row.merge_makes)
    ]


def columns_page(registry: Registry) -> str:
    """Return ``docs/columns.md``."""
    head = (
        f"{HEAD}# Columns of the tables\n\n"
        "Each table is written as Parquet and CSV under `tables/` of the output folder. Units "
        "stand here, in the metadata of each Parquet column, and in `tables/columns.csv`, which "
        "also lists the columns that a step adds after the declared ones. `?` after a type: the "
        "value may be missing. um is micrometre, px pixel, counts the unit of the image. Rows are "
        "sorted by the key.\n\n"
        "Measurements in pixels are scikit-image's `regionprops` of the same name. An axis along "
        "x has the orientation pi/2, where scikit-image gives pi/2 or -pi/2 by rounding. In 3-D, "
        "flat objects, of which scikit-image finds no convex hull, have one too.\n\n"
        f"Tables: {', '.join(f'[{kind}](#{kind})' for kind in SCHEMAS)}.\n"
    )
    parts = [head]
    for kind, schema in SCHEMAS.items():
        made = ", ".join(f"[{r.name}](stages/{r.stage}.md#{r.name.lower()})"
                         for r in makers(kind, registry))  # fmt: skip
        key = ", ".join(f"`{name}`" for name in KEYS[kind])
        rows = []
        for field in schema:
            about = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
            type_ = type_name(str(field.type)) + ("?" if field.nullable else "")
            rows.append((f"`{field.name}`", type_, about.get("unit", ""), about["description"]))
        text = f"## {kind}\n\n{KINDS.get(kind, '')} Key: {key}."
        parts.append(f"{text}{f' Made by {made}.' if made else ''}\n")
        parts.append(table(("column", "type", "unit", "meaning"), rows))
    parts.append(
        "## Names of pyCyto\n\nA pipeline YAML may use these for `column`, and a given table may "
        "have them as its columns.\n"
    )
    parts.append(table(("pyCyto", "here"), ((f"`{a}`", f"`{b}`") for a, b in pycyto())))
    return "\n".join(parts)


def pycyto() -> list[tuple[str, str]]:
    """Return pyCyto's column names with ours."""
    return list(PYCYTO_COLUMNS.items())


def type_name(arrow: str) -> str:
    """Return an Arrow type in plain words."""
    if arrow.startswith("list"):
        return "list of whole numbers"
    return {"string": "text", "double": "float"}.get(arrow, arrow)


# ---- Command


def make(project: Path = PROJECT) -> tuple[dict[str, str], list[str]]:
    """Return all pages (path below ``docs`` to text), and what stands in the way of some."""
    registry = load_registry(project / "assets" / "steps.yaml")
    programs, problems = read_programs(project / "bin")
    problems += [
        f"{row.name}: bin/{row.executable}.py is missing"
        for row in registry
        if row.available and not (project / "bin" / f"{row.executable}.py").is_file()
    ]
    pages = {f"stages/{stage}.md": stage_page(stage, registry, programs) for stage in PAGES}
    pages["stages/README.md"] = stages_index(registry)
    pages["columns.md"] = columns_page(registry)
    return pages, problems


def main(words: list[str], project: Path = PROJECT) -> int:
    """Write the pages that differ; with ``--check`` only name them. 1: something is wrong."""
    if words not in ([], ["--check"]):
        print("usage: ./cytoloom docs [--check]", file=sys.stderr)
        return 2
    folder = project / "docs"
    pages, problems = make(project)
    there = {path.relative_to(folder).as_posix() for path in (folder / "stages").glob("*.md")}
    problems += [f"docs/{name}: no stage has this page" for name in sorted(there - set(pages))]
    changed = [
        name
        for name, text in pages.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    for name in changed:
        print(f"docs/{name}" + (" is not what ./cytoloom docs makes" if words else ""))
        if not words:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(pages[name], encoding="utf-8")
    for line in problems:
        print(line, file=sys.stderr)
    return 1 if problems or (words and changed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
