#!/usr/bin/env python3
"""TrackpyLocate: spots at sub-pixel places, as trackpy's locate and batch find them."""

import logging
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, images, tables
from cytoloom.errors import BadData, UsageError
from cytoloom.regions import Region

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("cytoloom")
AXES = "zyx"
UNITS = {"mass": "counts", "raw_mass": "counts", "signal": "counts", "size": "px", "ep": "px"}


def locate(plane: NDArray[Any], diameter: tuple[int, ...], **options: Any) -> "pd.DataFrame":
    """Find the spots of one frame; arguments and columns as of `trackpy.locate`.

    Parameters
    ----------
    plane : ndarray, axes (z,) y, x
    diameter
        One odd number of pixels per axis.

    Notes
    -----
    Where spots were left out for their mass, trackpy 0.7 gives the errors of places of
    spots of different sizes along the axes to the wrong rows, and rows without a place.
    Here they stand where they belong.

    References
    ----------
    Crocker and Grier, J. Colloid Interface Sci. 179, 298 (1996).
    """
    import trackpy

    trackpy.quiet()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no spots, invert: said by results and arguments
        found = trackpy.locate(plane, diameter, **options)
    real = found.dropna(subset=["y"])
    if len(real) < len(found):
        errors = [name for name in found.columns if name.startswith("ep")]
        real = real.assign(**found.loc[range(len(real)), errors].set_index(real.index))
    return real


def table_of(
    found: "pd.DataFrame", layer: images.Layer, diameter: tuple[int, ...], *, raw: bool
) -> "pd.DataFrame":
    """Make rows of kind ``cells`` from spots of one frame, trackpy's columns after ours.

    Parameters
    ----------
    found : DataFrame
        See `locate`, with ``frame``.
    raw
        Whether the brightness is that of the image: not of an inverted one.
    """
    import pandas as pd
    from trackpy.masks import N_binary_mask

    n = len(found)
    shape = np.array(layer.shape[1:])
    flat = len(diameter) == 2
    place = np.stack(
        [np.zeros(n) if flat and a == "z" else found[a].to_numpy(dtype=float) for a in AXES], axis=1
    )
    radius = np.array([0, *diameter] if flat else diameter) // 2
    middle = np.rint(place).astype(np.int64)
    low, high = np.maximum(middle - radius, 0), np.minimum(middle + radius + 1, shape)
    pixels = int(N_binary_mask(tuple(d // 2 for d in diameter), len(diameter)))
    columns: dict[str, Any] = {
        "position": layer.position,
        "frame": found["frame"].to_numpy(),
        "label": np.arange(1, n + 1),
        "channel": layer.channel,
        "label_channel": layer.channel,
    }
    for i, axis in enumerate(AXES):
        columns[axis] = place[:, i]
        columns[f"{axis}_um"] = place[:, i] * layer.pixel_size[i]
        columns[f"bbox_{axis}0"], columns[f"bbox_{axis}1"] = low[:, i], high[:, i]
    columns["area"] = pixels
    columns["equivalent_diameter_area"] = float(diameter[-1])
    columns["equivalent_radius_um"] = diameter[-1] / 2 * layer.pixel_size[2]
    if raw:
        columns["intensity_sum"] = found["raw_mass"].to_numpy(dtype=float)
        columns["intensity_mean"] = columns["intensity_sum"] / pixels
    own = [name for name in found.columns if name not in (*AXES, "frame")]
    return pd.DataFrame(columns | {name: found[name].to_numpy(dtype=float) for name in own})


def nothing(layer: images.Layer, diameter: tuple[int, ...]) -> "pd.DataFrame":
    """Return the columns of a frame without spots."""
    import pandas as pd

    names = ["mass", "size", "ecc", "signal", "raw_mass", "ep"]
    empty = pd.DataFrame({name: np.empty(0) for name in [*AXES[3 - len(diameter) :], *names]})
    return table_of(empty.assign(frame=np.empty(0, dtype=int)), layer, diameter, raw=True)


def main(
    image: cli.Image,
    out_cells: cli.OutTable,
    region: cli.RegionText = None,
    diameter: Annotated[
        int, typer.Option(min=3, help="size of a spot, an odd number; rather too large [px]")
    ] = 11,
    diameter_z: Annotated[
        int | None,
        typer.Option(min=1, help="3-D images: size along z, odd; default: diameter [px]"),
    ] = None,
    minmass: Annotated[
        float, typer.Option(min=0, help="least brightness of a spot, summed [intensity]")
    ] = 0.0,
    maxsize: Annotated[
        float | None, typer.Option(min=0, help="greatest radius of gyration [px]; default: any")
    ] = None,
    separation: Annotated[
        float | None,
        typer.Option(min=0, help="least distance of spots [px]; default: diameter + 1"),
    ] = None,
    noise_size: Annotated[
        float, typer.Option(min=0, help="width of the Gaussian blur against noise [px]")
    ] = 1.0,
    smoothing_size: Annotated[
        float | None,
        typer.Option(
            min=0, help="side of the box whose mean is the background [px]; default: diameter"
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="clip the filtered image below this; default: 1, for floats 1/255"),
    ] = None,
    invert: Annotated[bool, typer.Option(help="spots are dark on bright")] = False,
    percentile: Annotated[
        float,
        typer.Option(min=0, max=100, help="spots are brighter than this share of the pixels [%]"),
    ] = 64.0,
    topn: Annotated[
        int | None, typer.Option(min=1, help="only the brightest n spots of a frame; default: all")
    ] = None,
    preprocess: Annotated[bool, typer.Option(help="blur, and subtract the background")] = True,
    max_iterations: Annotated[
        int, typer.Option(min=1, help="rounds in which a spot's place is refined")
    ] = 10,
) -> None:
    """Find spots at sub-pixel places (Crocker and Grier 1996), as trackpy's batch does.

    Names and defaults are trackpy's, and so are the numbers. Its columns mass, size, ecc,
    signal, raw_mass and ep (error of the place) follow ours; area and boxes are those of
    the diameter. The spots need no outlines: trackers take the table as it is.
    """
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    flat = layer.shape[1] == 1
    sides = (diameter, diameter) if flat else (diameter_z or diameter, diameter, diameter)
    if not all(side % 2 for side in sides):
        raise UsageError(f"diameter={diameter}: must be odd; round up")
    if maxsize is not None and len(set(sides)) > 1:
        raise UsageError("maxsize needs the same diameter along z as along y and x")
    found = [nothing(layer, sides)]
    for frame in cli.progress(box.frames, "frames"):
        data = layer.read(Region.whole(layer.shape).frame(frame))[0]
        try:
            spots = locate(
                data[0] if flat else data,
                sides,
                minmass=minmass,
                maxsize=maxsize,
                separation=separation,
                noise_size=noise_size,
                smoothing_size=smoothing_size,
                threshold=threshold,
                invert=invert,
                percentile=percentile,
                topn=topn,
                preprocess=preprocess,
                max_iterations=max_iterations,
            )
        except ValueError as error:
            raise BadData(f"{image}: frame {frame}: trackpy: {error}") from error
        if len(spots):
            found.append(table_of(spots.assign(frame=frame), layer, sides, raw=not invert))
    import pandas as pd

    table = pd.concat(found[1:] or found, ignore_index=True)
    table.attrs.update(tables.describe(layer))
    tables.write_table(out_cells, table, "cells", units=UNITS)
    log.info("%d spots in %d frames", len(table), len(box.frames))


if __name__ == "__main__":
    cli.run(main)
