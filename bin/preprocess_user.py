#!/usr/bin/env python3
"""Preprocessor: a function of the user's own, from a Python file, on every frame."""

import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, plugins
from cytoloom import statistics as histograms
from cytoloom.errors import BadData
from cytoloom.pixels import rounded
from cytoloom.regions import Region

NAME = "process"


class Kind(StrEnum):
    """The type of the pixels that are written."""

    same = "same"
    uint8 = "uint8"
    uint16 = "uint16"
    float32 = "float32"


def find_function(path, name=NAME) -> Callable:
    """Return the function of a user's file that takes an image, or an image and a context.

    It is a function of that name, or the method of that name of the only class that has one.

    Raises
    ------
    BadData
        If there is none, several, or it takes other arguments.
    """
    module = plugins.load(path)
    function = plugins.functions(module).get(name)
    if function is None:
        own = [c for c in vars(module).values() if inspect.isclass(c)]
        own = [c for c in own if c.__module__ == module.__name__ and callable(getattr(c, name, 0))]
        if len(own) != 1:
            found = f"{len(own)} classes with" if own else "no function and no class with"
            raise BadData(f"plug-in {path}: {found} {name}(); define `def {name}(image):`")
        try:
            function = getattr(own[0](), name)
        except Exception as error:
            raise BadData(f"plug-in {plugins.told(path, error)}") from error
    count = arguments_of(function)
    if count not in (1, 2):
        raise BadData(
            f"plug-in {path}: {name}() takes {count} arguments; it is called with the image, and "
            "with a mapping of what is known of it where it takes two"
        )
    return function if count == 2 else lambda image, _context: function(image)


def arguments_of(function) -> int:
    """Return how many of a function's arguments must or may be given by position."""
    found = inspect.signature(function).parameters.values()
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in found if p.kind in places and p.default is inspect.Parameter.empty]
    return len(needed) or min(1, sum(p.kind in places for p in found))


def apply(function, path, plane, context, dtype):
    """Return a plane as the user's function gives it, in the type that is written.

    Parameters
    ----------
    function : callable
        Takes an array of shape (H, W) and a mapping; gives an array of the same shape.
    plane : ndarray, shape (H, W)
    context : dict
    dtype : dtype
        Whole numbers are rounded and clipped to its range.

    Raises
    ------
    BadData
        If the function fails, or does not give finite numbers of the shape of the plane.
    """
    where = f"frame {context['frame']}"
    try:
        made = function(plane.copy(), dict(context))
    except (Exception, SystemExit) as error:
        raise BadData(f"plug-in {plugins.told(path, error)} ({where})") from error
    if not isinstance(made, np.ndarray) or made.dtype.kind not in "buif":
        kind = made.dtype if isinstance(made, np.ndarray) else type(made).__name__
        raise BadData(f"plug-in {path}: {NAME}() gave {kind} for {where}, not an array of numbers")
    if made.shape != plane.shape:
        raise BadData(
            f"plug-in {path}: {NAME}() gave shape {made.shape} for {where} of shape {plane.shape}"
        )
    if made.dtype.kind == "f" and not np.isfinite(made).all() and dtype.kind != "f":
        raise BadData(f"plug-in {path}: {NAME}() gave NaN or infinity for {where}")
    if made.dtype == dtype:
        return made
    return rounded(made.astype(np.float64), dtype)


def main(
    image: cli.Image,
    out_image: cli.OutImage,
    file: Annotated[Path, typer.Option(help="Python file with a function process(image)")],
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    channel: cli.Channel = None,
    dtype: Annotated[
        Kind, typer.Option(help="type of the pixels that are written; same: that of the image")
    ] = Kind.same,
) -> None:
    """Run a function of your own on every frame: ``process(image)``, or with a context.

    It is given each plane as an array (H, W) of the image's type, and gives an array of the same
    shape. With two arguments the second is a mapping: position, channel, frame, plane,
    pixel_size (z, y, x in um) and frame_interval (s). Frames come in any order and in several
    processes: nothing may be remembered between them. Whole numbers are rounded and clipped.
    """
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    function = find_function(file)
    written = layer.dtype if dtype is Kind.same else np.dtype(dtype.value)
    data = np.empty(box.shape, written)
    about = {
        "position": layer.position, "channel": layer.channel,
        "pixel_size": layer.pixel_size, "frame_interval": layer.frame_interval,
    }  # fmt: skip
    for index, frame in enumerate(cli.progress(box.frames, "frames", len(box.frames))):
        for z, plane in enumerate(layer.read(box.frame(frame))[0]):
            context = about | {"frame": frame, "plane": z}
            data[index, z] = apply(function, file, plane, context, written)
    images.write_part(out_image, data, region=box, like=layer, channel=channel, dtype=written)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
