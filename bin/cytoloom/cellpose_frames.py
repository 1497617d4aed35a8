"""Frames as Cellpose sees them: normalised between two percentiles; the diameter of a stack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom import diameters
from cytoloom.cellpose_networks import Network, Settings, normalised
from cytoloom.cellpose_tiles import Window
from cytoloom.images import Layer
from cytoloom.pixels import numbers
from cytoloom.regions import Region
from cytoloom.statistics import Statistics

LARGEST_EXACT = 224**3  # px of a frame up to which Cellpose takes percentiles of all pixels


def percentiles(
    known: Statistics, frame: int, low: float, high: float
) -> tuple[np.float32, np.float32]:
    """Return two percentiles of a frame as Cellpose computes them, in float32.

    Of a larger frame than `LARGEST_EXACT` Cellpose takes some pixels, this takes all.
    """
    values, counts = known.histogram([frame])
    if counts.sum() <= LARGEST_EXACT:
        pixels = np.repeat(values.astype(np.float32), counts)
        return np.percentile(pixels, low), np.percentile(pixels, high)
    return np.float32(known.percentile(low, [frame])), np.float32(known.percentile(high, [frame]))


class Frames:
    """The normalised pixels of an image layer."""

    def __init__(
        self, layer: Layer, known: Statistics, *,
        low: float, high: float, normalize: bool = True, invert: bool = False,
    ) -> None:  # fmt: skip
        self.layer, self.known = layer, known
        self.limits, self.normalize, self.invert = (low, high), normalize, invert
        self.range: dict[int, tuple[np.float32, np.float32]] = {}

    def constant(self, frame: int) -> bool:
        """Tell whether a frame holds one value only: nothing to find there."""
        return len(self.known.histogram([frame])[0]) == 1

    def normalised(self, stack: NDArray[Any], frame: int) -> NDArray[np.float32]:
        """Return pixels of a frame, normalised."""
        if frame not in self.range:
            self.range = {frame: percentiles(self.known, frame, *self.limits)}
        low, high = self.range[frame]
        stack = numbers(stack, float(low), float(high))
        if not self.normalize:
            return stack.astype(np.float32)
        return normalised(stack, low, high, invert=self.invert)

    def window(self, frame: int, plane: int, window: Window) -> NDArray[np.float32]:
        """Return a window of a plane; beyond the parts at hand its edge goes on."""
        spans, missing = [], []
        for (low, high), (first, last) in zip(window, self.layer.region.spans[2:], strict=True):
            a, b = min(max(low, first), last - 1), max(min(high, last), first + 1)
            spans.append((a, b))
            missing.append((a - low, high - b))
        region = Region((frame, frame + 1), (plane, plane + 1), *spans)
        pixels = self.normalised(self.layer.read(region)[0], frame)[0]
        return np.pad(pixels, missing, mode="edge") if np.any(missing) else pixels


def estimate_diameter(network: Network, frames: Frames, settings: Settings) -> float:
    """Return the diameter of the objects of a stack from its samples [px]."""
    assert network.usual_diameter is not None
    planar = replace(settings, do_3D=False, stitch_threshold=0.0, flow3D_smooth=0.0)
    count, planes, *shape = frames.layer.shape
    windows = diameters.sample_windows((shape[0], shape[1]))
    samples = []
    for frame in diameters.sample_frames(count):
        if frames.constant(frame):
            continue
        spans = [((y.start, y.stop), (x.start, x.stop)) for y, x in windows]
        pieces = [frames.window(frame, planes // 2, span) for span in spans]
        samples += [pieces[i] for i in diameters.brightest(pieces)]

    def measure(diameter: float) -> diameters.Diameters:
        found = [network.whole(sample, diameter, planar)[0] for sample in samples]
        return np.concatenate([np.empty(0), *(diameters.of_labels(one) for one in found)])

    return diameters.estimate(measure, network.usual_diameter)
