#!/usr/bin/env python3
"""Unite: the parts of all layers of a position become one OME-Zarr store, by hard link."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from cytoloom import cli, images, layouts, pixels, tables, union
from cytoloom import statistics as histograms
from cytoloom.errors import UsageError
from cytoloom.files import find, is_there, writing
from cytoloom.pyramids import level_shapes, scales

COLOURS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF", "FFFFFF")
NAMED = cli.Contract("control")


@dataclass(frozen=True)
class Named:
    """One layer to unite."""

    name: str
    layer: images.Layer
    parts: list[Path]
    levels: list[Path]


def split(options: Sequence[str] | None) -> dict[str, str]:
    """Return ``NAME=GLOB`` options as a mapping; a name may hold ``=`` but a glob may not."""
    found = {}
    for text in options or ():
        name, _, pattern = text.rpartition("=")
        if not name or not pattern or name in found:
            raise UsageError(f"{text!r}: a new NAME=GLOB is needed")
        found[name] = pattern
    return found


def group_by_array(named: Sequence[Named]) -> list[list[Named]]:
    """Group image layers whose arrays agree, so that each group is one array; order kept."""
    groups: list[list[Named]] = []
    for one in named:
        about = union.metadata(one.parts[0] / "0")
        for group in groups:
            if union.agree([union.metadata(group[0].parts[0] / "0"), about]):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def omero(group: Sequence[Named], statistics: dict[str, str]) -> dict:
    """Return channel names, colours and display windows (0.5 and 99.8 % of the pixels)."""
    return {
        "channels": [
            {
                "label": one.name,
                "color": COLOURS[index % len(COLOURS)],
                "active": index < 3,
                "window": window(one, statistics.get(one.name)),
            }
            for index, one in enumerate(group)
        ]
    }


def window(one: Named, statistics: str | None) -> dict[str, float]:
    """Return the limits of the intensities that a viewer offers, and those that it begins with.

    The whole range of whole numbers, the range found of others; from 0 to 1 where nothing is
    known.
    """
    dtype = one.layer.dtype
    found = histograms.read(statistics) if statistics else None
    low, high = (found.percentile(q) for q in (0.5, 99.8)) if found else (0.0, 1.0)
    least, most = (found.minimum(), found.maximum()) if found else (0.0, 1.0)
    if dtype.kind in "ui":
        least, most = pixels.limits(dtype)
    return {"min": least, "max": most, "start": low, "end": max(high, low + 1e-9)}


def acquisition(pattern: str) -> dict[str, list[float | None]]:
    """Return when and where the frames of an image were taken, column by column."""
    table = tables.read_arrow(pattern)
    names = ("time_s", "stage_z_um", "stage_y_um", "stage_x_um")
    return {name: table[name].to_pylist() for name in names}


def unite_group(
    group: Sequence[Named],
    target: Path,
    linker: union.Linker,
    extra: dict,
    ours: dict | None = None,
) -> None:
    """Write one multiscale image from the layers of a group; ``ours`` stands beside ``ome``."""
    layout = group[0].layer.layout
    shapes = level_shapes(layout.shape) if group[0].levels else [layout.shape]
    ome = layouts.ome_attributes(layout, scales=scales(shapes), name=group[0].name)
    union.write_group(target, {"ome": ome | extra} | (ours or {}))
    union.unite_arrays([one.parts for one in group], target / "0", "0", linker)
    for level in range(1, len(shapes)):
        union.unite_arrays([one.levels for one in group], target / str(level), str(level), linker)


def folder_name(name: str, taken: Sequence[str]) -> str:
    """Return ``name`` as the name of a folder, another than those in ``taken``."""
    base = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
    used = {other.casefold() for other in taken}
    tries = (base if i == 1 else f"{base}_{i}" for i in count(1))
    return next(one for one in tries if one.casefold() not in used)


def main(
    out_store: cli.OutFile,
    image: Annotated[
        list[str] | None, NAMED, typer.Option(help="NAME=GLOB of an image layer; repeated")
    ] = None,
    label: Annotated[
        list[str] | None, NAMED, typer.Option(help="NAME=GLOB of a label layer; repeated")
    ] = None,
    pyramid: Annotated[
        list[str] | None, NAMED, typer.Option(help="NAME=GLOB of the smaller levels of an image")
    ] = None,
    label_pyramid: Annotated[
        list[str] | None,
        NAMED,
        typer.Option(help="the same of a label layer, which may share a name"),
    ] = None,
    statistics: Annotated[
        list[str] | None, NAMED, typer.Option(help="NAME=GLOB of the histograms of an image")
    ] = None,
    frames: Annotated[
        list[str] | None, NAMED, typer.Option(help="NAME=GLOB of the times of an image's frames")
    ] = None,
    partial: cli.Partial = False,
) -> None:
    """Unite layers into one OME-Zarr 0.5 store without copying a pixel.

    Images that agree in type and chunks are the channels of one image at the root of the
    store; others stand beside it in groups of their own. Labels are in the group ``labels``.
    Run it on the host: a hard link between two bind mounts of a container fails.
    """
    windows, times = split(statistics), split(frames)

    def opened(options: list[str] | None, kind: str, smaller: list[str] | None) -> list[Named]:
        levels = split(smaller)
        named = split(options)
        if partial:
            named = {n: p for n, p in named.items() if is_there(p) and is_there(levels.get(n, p))}
        return [
            Named(
                name,
                images.open_layer(pattern, kind=kind),
                find(pattern),
                find(levels[name]) if name in levels else [],
            )
            for name, pattern in named.items()
        ]

    pictures, labels = opened(image, "image", pyramid), opened(label, "label", label_pyramid)
    linker = union.Linker()
    with writing(out_store) as store:
        groups = group_by_array(pictures)
        if not groups:
            union.write_group(store, {})
        for index, group in enumerate(groups):
            target = store if index == 0 else store / f"image_{index}_{group[0].layer.dtype}"
            found = {o.name: acquisition(times[o.name]) for o in group if o.name in times}
            ours = {"cytoloom": {"acquisition": found}} if found else {}
            unite_group(group, target, linker, {"omero": omero(group, windows)}, ours)
        names: list[str] = []
        for one in labels:
            name = folder_name(one.name, names)
            names.append(name)
            source = {"image-label": {"version": "0.5", "source": {"image": "../../"}}}
            unite_group([one], store / "labels" / name, linker, source)
        if names:
            union.write_group(store / "labels", {"ome": {"version": "0.5", "labels": names}})
    cli.log.info("%s: %s", out_store.name, linker.summary())


if __name__ == "__main__":
    cli.run(main)
