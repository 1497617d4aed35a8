#!/usr/bin/env python3
"""Register, first phase: each frame to the reference of its window, each window to the last."""

from enum import StrEnum
from typing import Annotated

import numpy as np
import typer

from cytoloom import ants_fits, cli, images, resampling, shifts, transforms
from cytoloom.pixels import numbers
from cytoloom.regions import Region
from cytoloom.transforms import Affine


class Metric(StrEnum):
    """ANTs' measures of agreement, by ANTs' names."""

    mattes = "mattes"
    GC = "GC"
    meansquares = "meansquares"


class Frames:
    """Frames of a layer as float images for registration: (y, x), or (z, y, x) of real stacks."""

    def __init__(self, layer: images.Layer) -> None:
        self.layer = layer
        self.flat = layer.shape[1] < ants_fits.MIN_PLANES
        self.spacing = layer.pixel_size[1:] if self.flat else layer.pixel_size

    def read(self, t):
        """Return frame ``t``, float32; NaN and infinities are 0."""
        volume = self.layer.read(Region.whole(self.layer.shape).frame(t))[0]
        volume = numbers(volume, 0.0, 0.0).astype(np.float32)
        return volume.max(axis=0) if self.flat else volume

    def window(self, index, size):
        """Return the frames of a window, by number."""
        return range(index * size, min((index + 1) * size, self.layer.shape[0]))


class Mean:
    """The mean of the frames of a window brought to its middle one, of which one can be left out.

    A frame in its own reference would be drawn to where it was put, by its own noise.

    Parameters
    ----------
    frames : Frames
    window : range
    kind : str
        A key of `ants_fits.KINDS`. For a translation the rough shift is good enough.
    options : dict
        Further arguments of `ants_fits.fit`.
    """

    def __init__(self, frames, window, kind, options):
        self.spacing = frames.spacing
        self.maps = {}
        self.total = self.count = 0.0
        middle = _with_structure(frames, window)
        fixed = frames.read(middle)
        smoothed = shifts.smooth(fixed)
        for t in window:
            image = frames.read(t)
            if t == middle:
                map_ = Affine.identity()
            elif kind == "translation":
                shift = shifts.find(smoothed, shifts.smooth(image))
                map_ = ants_fits.extended(np.eye(image.ndim), shift * self.spacing)
            else:
                map_ = ants_fits.fit(fixed, image, kind, self.spacing, **options).map
            self.maps[t] = map_
            moved, inside = self._brought_back(image, map_)
            self.total, self.count = self.total + moved, self.count + inside

    def _brought_back(self, image, map_):
        """Return a frame in the place of the middle one, 0 outside, and where it has pixels."""
        flat = image.ndim == 2
        pixel = (1.0, *self.spacing) if flat else self.spacing
        volume = image[None] if flat else image
        moved = resampling.resample(volume, map_, pixel, fill=float("nan"))
        moved = moved[0] if flat else moved
        inside = np.isfinite(moved)
        return np.where(inside, moved, 0.0).astype(np.float64), inside.astype(np.float64)

    @property
    def image(self):
        """The mean of all frames, float32."""
        return np.asarray(self.total / self.count, np.float32)

    def without(self, t, image):
        """Return the mean of the other frames; where there are none, of all."""
        moved, inside = self._brought_back(image, self.maps[t])
        count = self.count - inside
        alone = count < 0.5
        others = (self.total - moved) / np.where(alone, 1, count)
        return np.asarray(np.where(alone, self.total / self.count, others), np.float32)


def _with_structure(frames, window):
    """Return the frame of a window that is nearest to its middle and not constant."""
    middle = window[len(window) // 2]
    for t in sorted(window, key=lambda t: (abs(t - middle), t)):
        if np.ptp(frames.read(t)) > 0:
            return t
    return middle


def main(
    image: cli.Image,
    out_pairs: cli.OutFile,
    region: cli.RegionText = None,
    transform: ants_fits.TransformOption = ants_fits.Transform.rigid,
    stacks: ants_fits.StacksOption = 12,
    metric: Annotated[Metric, typer.Option(help="ANTs' measure of agreement")] = Metric.mattes,
    sampling: Annotated[
        float, typer.Option(min=0.01, max=1, help="share of the pixels that ANTs samples, to 1")
    ] = 0.2,
    smoothing: Annotated[
        float,
        typer.Option(
            min=0, help="sigma of a Gaussian before registration, against noise; 0: none [px]"
        ),
    ] = 1.0,
    parallel: Annotated[  # noqa: ARG001 - pyCyto's: batches always run in parallel
        bool, typer.Option(help="accepted for pyCyto's pipelines: batches always run in parallel")
    ] = True,
    batch_size: Annotated[  # noqa: ARG001 - the plan's
        int,
        typer.Option(
            min=0, help="frames per task, rounded up to whole shards; 0: by the data's size"
        ),
    ] = 0,
) -> None:
    """Register every frame of a batch to the reference of its window, by ANTs.

    Windows are frames 0 to stacks - 1, and so on, whatever the batch. The task that holds
    the first frame of a window registers the window's reference to that of the window
    before, so that drift is followed over any length.
    """
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    frames = Frames(layer)
    kind = "affine" if transform is ants_fits.Transform.deformable else transform.value
    options = {"metric": metric.value, "sampling": sampling, "smoothing": smoothing}
    means = {}

    def mean_of(index):
        if index not in means:
            means[index] = Mean(frames, frames.window(index, stacks), kind, options)
        return means[index]

    rows = []
    for t in cli.progress(box.frames, "frames"):
        index = t // stacks
        mean = mean_of(index)
        if t == index * stacks and index > 0:
            before = index - 1  # over windows that show nothing
            while before > 0 and np.ptp(mean_of(before).image) == 0:
                before -= 1
            fit = ants_fits.fit(mean_of(before).image, mean.image, kind, frames.spacing, **options)
            rows.append((1, index, fit))
        fit = ants_fits.Fit(Affine.identity(), float("nan"))
        if len(mean.maps) > 1:
            moving = frames.read(t)
            fixed = mean.without(t, moving)
            fit = ants_fits.fit(fixed, moving, kind, frames.spacing, **options)
        rows.append((0, t, fit))
        for old in [i for i in means if i < index]:
            del means[old]
    about = {
        "position": layer.position, "channel": layer.channel, "frames": layer.shape[0],
        "pixel_size": list(layer.pixel_size), "frame_interval": layer.frame_interval,
        "shape": list(layer.shape[1:]), "stacks": stacks, "transform": transform.value,
    }  # fmt: skip
    transforms.write_arrays(
        out_pairs, about,
        link=np.array([row[0] for row in rows]),
        index=np.array([row[1] for row in rows]),
        matrix=np.array([row[2].map.matrix for row in rows]),
        offset=np.array([row[2].map.offset for row in rows]),
        correlation=np.array([row[2].correlation for row in rows]),
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
