"""The plan in words: the preflight table, the dry run, and the description for the report."""

from __future__ import annotations

import math
from typing import Any

from cytoloom.plan.assemble import Plan
from cytoloom.plan.layers import EXTENSIONS
from cytoloom.plan.submissions import Site
from cytoloom.regions import Region

SUBMISSIONS = (
    "Submissions to SLURM (a job goes when what it waits for is done; one that fails for want of "
    "memory or time goes again with more):"
)


def table_text(rows: list[dict[str, Any]]) -> str:
    """Return rows as a table with aligned columns."""
    if not rows:
        return ""
    names = list(rows[0])
    widths = {n: max(len(n), *(len(str(row[n])) for row in rows)) for n in names}
    lines = ["  ".join(n.ljust(widths[n]) for n in names)]
    lines += ["  ".join(str(row[n]).ljust(widths[n]) for n in names) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def preflight_text(plan: Plan) -> str:
    """Return what was found in the input, one line per channel and position."""
    return f"Input:\n{table_text(plan.preflight())}\n{plan.total_jobs()} tasks are planned."


def dry_run_text(plan: Plan, site: Site | None = None) -> str:
    """Return every task with its region, image and resources, and what will be written.

    With a `Site` also the submissions, as the lines of sbatch that they come to.
    """
    lines = [preflight_text(plan), "", "Tasks:"]
    submissions = plan.submissions()
    for step in plan.steps:
        for phase, jobs in step.phases.items():
            asked = submissions.asked(step, phase)
            gres = f", {asked['gres']}" if "gres" in asked else ""
            lines.append(f"{step.stage}: {step.tag} ({step.name}), {phase}: {len(jobs)} tasks")
            for job in jobs:
                where = job.region or "whole position"
                lines.append(
                    f"  {job.id}  [{where}]  image {job.family}, {asked['cpus']} cores, "
                    f"{asked['memory_mb']} MB, {math.ceil(asked['seconds'] / 60)} min{gres}"
                )
                lines.append(f"    {job.command}")
    if site is not None:
        lines += ["", SUBMISSIONS, *submissions.lines(site)]
    files, size = expected_output(plan)
    lines.append("")
    records = RECORDS_PER_TASK * plan.total_jobs()
    lines.append(
        f"Expected: about {files:,} files and {size / 2**20:,.0f} MB before compression; "
        f"{records:,} small files of Nextflow beside them."
    )
    return "\n".join(lines)


def expected_output(plan: Plan) -> tuple[int, int]:
    """Return the number of files and of bytes (uncompressed) that the run will write.

    Results are hard links of these and count once. Files of images and labels are counted:
    two of metadata for each part, and its shards. Of exports, whose number depends on what is
    found, it is what they have at least.
    """
    files = size = 0
    for job in plan.jobs():
        for name in job.outputs:
            files += _FILES.get(_ending(name), 1)
    for position in plan.positions:
        for layer in position.layers.values():
            if EXTENSIONS.get(layer.kind) != "zarr":
                continue
            for _, region in layer.parts:
                box = region or Region.whole(position.grid.shape)
                files += math.prod(
                    -(-n // s) for n, s in zip(box.shape, position.grid.shards, strict=True)
                )
                size += box.size * (2 if layer.kind == "image" else 4)
    if any(step.tag == "pyramid" for step in plan.steps):
        size += size // 3  # 1/4 + 1/16 + …
    return files, size


# Files of an output besides shards, by its ending. GEFF: 27 properties and their metadata.
_FILES = {"zarr": 2, "ome.zarr": 7, "geff": 139, "ctc": 2, "tables": 7, "pyramid": 5}
RECORDS_PER_TASK = 8


def _ending(name: str) -> str:
    if name.endswith(".ome.zarr"):
        return "ome.zarr"
    if ".pyramid." in name:
        return "pyramid"
    return name.rsplit(".", 1)[-1]


def run_description(plan: Plan, version: str) -> dict[str, Any]:
    """Return what the report says of the run: steps, arguments, input, grid, warnings."""
    pipeline = plan.pipeline
    return {
        "version": version,
        "pipeline": str(pipeline.path),
        "pipeline_text": pipeline.path.read_text(encoding="utf-8-sig"),
        **({"processing_config": pipeline.config} if pipeline.config else {}),
        "description": pipeline.description,
        "preflight": plan.preflight(),
        "warnings": plan.warnings,
        "positions": [
            {
                "name": p.name,
                "slug": p.slug,
                "shape": list(p.grid.shape),
                "pixel_size": list(p.pixel_size),
                "frame_interval": p.frame_interval,
                "patch": list(p.grid.patch),
                "tiles": len(p.grid.tiles()),
            }
            for p in plan.positions
        ],
        "channels": list(pipeline.slugs),
        "slugs": dict(pipeline.slugs),
        "steps": [
            {
                "tag": step.tag,
                "slug": step.slug,
                "name": step.name,
                "stage": step.stage,
                "channels": [list(group) for group in step.channels],
                "outputs": sorted({g.output_channel for g in step.groups}),
                "inputs_from": sorted(
                    {layer.tag for g in step.groups for ls in g.inputs.values() for layer in ls}
                ),
                "args": dict(step.args),
                "output": step.output,
                "earlier": index < pipeline.start,
            }
            for index, step in enumerate(pipeline.steps)
        ],
        "sweep": sweep_description(plan),
    }


def sweep_description(plan: Plan) -> dict[str, Any] | None:
    """Return the grid of a sweep: its axes, and arguments and names of steps of every point."""
    if plan.sweep is None or plan.joined is None:
        return None
    lines = {step.tag: step.line for step in plan.pipeline.steps}
    return {
        "path": str(plan.sweep.path),
        "rank_by": plan.sweep.rank_by,
        "crop": {axis: [part.start, part.stop] for axis, part in plan.sweep.crop.items()},
        "axes": [
            {
                "tag": tag,
                "argument": name,
                "line": lines[tag],
                "values": [node.plain() for node in values],
            }
            for tag, name, values in plan.sweep.axes
        ],
        "points": [
            {
                "index": list(point.index),
                "arguments": {tag: dict(args) for tag, args in point.arguments.items()},
                "slugs": dict(point.slugs),
            }
            for point in plan.joined.points
        ],
    }
