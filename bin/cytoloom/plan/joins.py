"""The phases after a step's own: patches become one label image, tables of parts one table.

They are tasks of the core environment, and the same for every method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cytoloom.plan.jobs import Command
from cytoloom.plan.layers import LayerPlan
from cytoloom.plan.work import Work
from cytoloom.regions import Region


def add_joins(work: Work, regions: Sequence[Region], made: Mapping[str, LayerPlan]) -> None:
    """Add the phases that join what the step's own phase made.

    Parameters
    ----------
    regions
        Of the tasks of that phase.
    made
        Role to what they made.
    """
    if work.patched:
        _stitch(work, regions, made)
    if work.merging(regions):
        _merge(work, made)
    if work.step.row.relabel and "relabel" in work.group.inputs:
        _relabel(work, made)


def _stitch(work: Work, regions: Sequence[Region], made: Mapping[str, LayerPlan]) -> None:
    """Add the number and stitch phases of labels that are made in patches."""
    core = next(layer for layer in made.values() if layer.kind == "corelabel")
    objects, grid = made["objects"], work.position.grid
    batches = grid.frames(work.batch(work.step.row.core))
    numbers = work.layer("numbers", batches)
    final = work.layer("label", regions)
    known = any(layer.kind == "detections" for layer in work.group.outputs.values())
    detections = work.layer("detections", batches) if known else None
    for index, batch in enumerate(batches):
        outputs = [numbers.parts[index][0]]
        command = Command("segment_number").option("objects", objects.glob)
        command.output("numbers", outputs[0])
        if detections:
            outputs.append(detections.parts[index][0])
            command.output("detections", outputs[1])
        work.add("number", command, objects.names(batch), outputs, None, f"number {index:04d}")
    for index, region in enumerate(regions):
        name = final.parts[index][0]
        command = Command("segment_stitch").option("label", core.glob)
        command.option("objects", objects.glob).option("numbers", numbers.glob)
        command.option("region", str(region)).output("label", name)
        around = objects.names(grid.neighbourhood(region))
        files = [core.parts[index][0], *around, *numbers.names(region)]
        work.add("stitch", command, files, [name], region, f"stitch {index:04d}")


def _merge(work: Work, made: Mapping[str, LayerPlan]) -> None:
    """Add the phase that joins the tables of all parts."""
    row = work.step.row
    command, files, outputs = Command(str(row.merge)), [], []
    for role, layer in made.items():
        if layer.kind.endswith("part"):
            command.option(row.merge_option or role, layer.glob)
            files += layer.names()
    kinds = {role: layer.kind for role, layer in work.group.outputs.items()}
    publish: dict[str, str] = {}
    for role, kind in (kinds | {kind: kind for kind in row.merge_makes}).items():
        if role in made and not made[role].kind.endswith("part"):
            continue
        if kind == "trackedlabel" or role in work.between.made:
            continue
        layer = work.layer(kind, [None])
        final = layer.parts[0][0]
        command.output(role, final)
        outputs.append(final)
        publish |= work.published(layer, final)
    given, content = work.builder.files(work.step, work.position.name, work.group)
    flagged, edits = work.builder.edits(work.step, work.position)
    for name in row.merge_args:
        command.option(name, given.get(name, work.step.args.get(name)))
    for name, path in flagged.items():
        command.option(name, path)
    used = content if set(given) & set(row.merge_args) else ""
    also = f"{used} {edits}".strip()
    work.add("merge", command, files, outputs, None, "merge", also=also, publish=publish)


def _relabel(work: Work, made: Mapping[str, LayerPlan]) -> None:
    """Add the phase that paints the label image with track numbers."""
    tracks = next(layer for layer in made.values() if layer.kind == "tracks")
    label = work.find(work.group.inputs["relabel"][0])
    regions = [region for _, region in label.parts]
    painted = work.layer("trackedlabel", regions)
    for index, region in enumerate(regions):
        name = painted.parts[index][0]
        command = Command(str(work.step.row.relabel)).option("label", label.glob)
        command.option("table", tracks.glob).option("region", str(region))
        command.output("trackedlabel", name)
        files = [label.parts[index][0], *tracks.names()]
        work.add("relabel", command, files, [name], region, f"relabel {index:04d}")
