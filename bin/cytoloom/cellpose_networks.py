"""Cellpose networks, version 3 (CPnet) and 4 (cpsam), on whole frames or windows of them.

A frame that is at hand as a whole goes through Cellpose's own ``eval``. For a window of a
larger frame the same is computed piece by piece: the tiles are those that Cellpose lays over
the whole frame, their pixels are resampled as ``cv2.resize`` does the whole frame, and the
dynamics run in coordinates of the frame. So a window shows what the whole frame shows there.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.cellpose_tiles import (
    Axis,
    Span,
    Window,
    flips_of,
    follow,
    interpolate,
    nearest,
    resize,
    taps_of,
)
from cytoloom.errors import BadData

Read = Callable[[Window], NDArray[np.float32]]
SMALLEST = 16  # px: smaller frames are padded, Cellpose takes their rows for channels
STRIDE = 16  # of the network [px]


@dataclass(frozen=True)
class Settings:
    """Arguments of Cellpose's ``eval``, under its names."""

    batch_size: int = 8
    flow_threshold: float = 0.4
    cellprob_threshold: float = 0.0
    min_size: int = 15
    max_size_fraction: float = 0.4
    niter: int | None = None
    resample: bool = True
    interp: bool = True
    augment: bool = False
    tile_overlap: float = 0.1
    do_3D: bool = False  # noqa: N815 - Cellpose's name
    anisotropy: float | None = None
    flow3D_smooth: float = 0.0  # noqa: N815 - Cellpose's name
    stitch_threshold: float = 0.0


@dataclass(frozen=True)
class Network:
    """A loaded network.

    Attributes
    ----------
    model : cellpose.models.CellposeModel
    version
        3 or 4.
    tile
        Edge of the tiles that it sees [px].
    diameter
        Of objects as the network wants to see them [px].
    usual_diameter
        Of the objects that it was trained on [px]; None where it takes any.
    """

    model: Any
    version: int
    tile: int
    diameter: float
    usual_diameter: float | None

    def rescale(self, diameter: float | None) -> float:
        """Return the magnification for objects of a diameter [px]."""
        if diameter:
            return self.diameter / diameter
        return self.diameter / self.usual_diameter if self.usual_diameter else 1.0

    def context(self, diameter: float | None) -> int:
        """Return how far beyond a window tiles reach [px]."""
        return int(np.ceil((self.tile + STRIDE) / self.rescale(diameter))) + 2

    def whole(
        self, image: NDArray[np.float32], diameter: float | None, settings: Settings
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Segment a normalised plane (y, x) or stack (z, y, x) by Cellpose itself.

        Returns
        -------
        labels, cellprob : ndarray, shape of ``image``
            ``cellprob`` is a logit.
        """
        shape = image.shape
        lacking = [(0, 0)] * (len(shape) - 2) + [(0, max(0, SMALLEST - n)) for n in shape[-2:]]
        image = np.pad(image, lacking)
        given: dict[str, Any] = {
            name: getattr(settings, name)
            for name in ("batch_size", "flow_threshold", "cellprob_threshold", "min_size",
                         "max_size_fraction", "niter", "resample", "augment", "tile_overlap",
                         "do_3D", "anisotropy", "flow3D_smooth", "stitch_threshold")
        }  # fmt: skip
        if self.version == 3:
            given |= {"channels": [0, 0], "interp": settings.interp}
        if image.ndim == 3:
            given["z_axis"] = 0
        with _quiet():
            labels, flows, _ = self.model.eval(image, diameter=diameter, normalize=False, **given)
        inside = tuple(slice(n) for n in shape)
        cellprob = np.asarray(flows[2], np.float32)
        if cellprob.shape != image.shape:  # without resampling, as large as the network saw it
            cellprob = nearest(cellprob, image.shape)
        return np.asarray(labels)[inside], cellprob[inside]

    def window(
        self,
        read: Read,
        frame: tuple[int, int],
        window: Window,
        diameter: float | None,
        settings: Settings,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Segment a window of a plane as Cellpose would segment the whole plane.

        Parameters
        ----------
        read
            Gives the normalised pixels of a window; beyond what is at hand, anything.
        frame
            Shape of the plane [px].
        window
            Spans (first, end) along y and x [px].

        Returns
        -------
        labels, cellprob : ndarray, shape of the window
        """
        rescale = self.rescale(diameter)
        with _quiet():
            axes = [self._axis(n, rescale, span, settings)
                    for n, span in zip(frame, window, strict=True)]  # fmt: skip
            flows = self._tiles(read, axes, settings)
            sizes, spans = tuple(axis.resized for axis in axes), [axis.needed for axis in axes]
            if settings.resample and rescale != 1:
                flows = resize(flows, [axis.needed for axis in axes], sizes, frame, window)
                sizes, spans = frame, list(window)
            cellprob, flow = flows[..., -1], flows[..., -3:-1].transpose(2, 0, 1)
            steps = settings.niter or int(1 / rescale * 200 if settings.resample else 200)
            labels = self._dynamics(flow, cellprob, sizes, spans, steps, settings)
            if sizes != frame:
                at = np.ix_(*(axis.nearest() for axis in axes))
                labels, cellprob = labels[at], cellprob[at]
            return self._finish(labels, settings), cellprob

    def _axis(self, size: int, rescale: float, span: Span, settings: Settings) -> Axis:
        from cellpose import transforms

        resized = int(size * rescale) if rescale != 1 else size
        least = None if self.version == 3 else (self.tile, self.tile)
        before, after = transforms.get_pad_yx(resized, resized, min_size=least)[:2]
        padded = resized + before + after
        edge = self.tile if self.version > 3 or settings.augment else min(self.tile, padded)
        padded = max(padded, edge)
        if settings.augment:
            count = max(2, int(np.ceil(2.0 * padded / self.tile)))
        elif padded <= self.tile:
            count = 1
        else:
            overlap = min(0.5, max(0.05, settings.tile_overlap))
            count = int(np.ceil((1.0 + 2 * overlap) * padded / self.tile))
        starts = np.linspace(0, padded - edge, count).astype(int)
        return Axis(size, resized, before, edge, starts, span)

    def _tiles(self, read: Read, axes: list[Axis], settings: Settings) -> NDArray[np.float32]:
        """Return the network's outputs (y, x, channel) where the axes need them."""
        from cellpose import core, transforms

        canvas, origin = self._canvas(read, axes)
        places = [(j, i) for j in axes[0].wanted for i in axes[1].wanted]
        edges = [axis.edge for axis in axes]
        mask = transforms._taper_mask(ly=edges[0], lx=edges[1])  # noqa: SLF001 - no other
        total, weight = None, np.zeros(canvas.shape[1:])
        for first in range(0, len(places), settings.batch_size):
            some = places[first : first + settings.batch_size]
            spots = [tuple(slice(axis.starts[k] - o, axis.starts[k] - o + axis.edge)
                           for axis, k, o in zip(axes, place, origin, strict=True))
                     for place in some]  # fmt: skip
            batch = np.stack([canvas[(slice(None), *spot)] for spot in spots])
            flips = [flips_of(place) if settings.augment else () for place in some]
            for one, flip in zip(batch, flips, strict=True):
                one[:] = np.flip(one, flip)
            answers = core._forward(self.model.net, batch)[0]  # noqa: SLF001 - as run_net
            if total is None:
                total = np.zeros((answers.shape[1], *canvas.shape[1:]), np.float32)
            for answer, spot, flip in zip(answers, spots, flips, strict=True):
                out = np.flip(answer, flip)
                for axis in flip:  # of channels, y, x
                    out[axis - 1] *= -1
                total[(slice(None), *spot)] += out * mask
                weight[spot] += mask
        assert total is not None
        inside = tuple(slice(*(edge + axis.before - o for edge in axis.needed))
                       for axis, o in zip(axes, origin, strict=True))  # fmt: skip
        total = total[(slice(None), *inside)] / weight[inside]
        return np.ascontiguousarray(total.transpose(1, 2, 0), np.float32)

    def _canvas(self, read: Read, axes: list[Axis]) -> tuple[NDArray[np.float32], list[int]]:
        """Return the padded, resampled pixels (channel, y, x) of all tiles, and their origin."""
        covered = [axis.covered for axis in axes]
        seen = [
            (max(0, lo - a.before), min(a.resized, hi - a.before))
            for a, (lo, hi) in zip(axes, covered, strict=True)
        ]
        sizes = tuple(axis.resized for axis in axes)
        frame = tuple(axis.size for axis in axes)
        channels = 2 if self.version == 3 else 1
        if sizes == frame:
            pixels = read((seen[0], seen[1]))
        else:
            source = [taps_of(a.size, a.resized, span, channels, k)
                      for k, (a, span) in enumerate(zip(axes, seen, strict=True))]  # fmt: skip
            rows, columns = ((int(t[0].min()), int(t[1].max()) + 1) for t in source)
            pixels = interpolate(read((rows, columns)), source, (rows[0], columns[0]))
        canvas = np.zeros((channels, *(hi - lo for lo, hi in covered)), np.float32)
        inside: tuple[slice, ...] = tuple(
            slice(lo + a.before - c, hi + a.before - c)
            for a, (lo, hi), (c, _) in zip(axes, seen, covered, strict=True)
        )
        canvas[0][inside] = pixels
        return canvas, [lo for lo, _ in covered]

    def _dynamics(
        self,
        flow: NDArray[np.float32],
        cellprob: NDArray[np.float32],
        frame: tuple[int, ...],
        spans: list[Span],
        steps: int,
        settings: Settings,
    ) -> NDArray[Any]:
        """Return the masks in a window, as Cellpose's ``compute_masks`` does for a plane."""
        import torch
        from cellpose import dynamics

        shape = cellprob.shape
        inside = cellprob > settings.cellprob_threshold
        if not inside.any():
            return np.zeros(shape, np.uint16)
        at = np.nonzero(inside)
        origin = [lo for lo, _ in spans]
        device = self.model.device
        flow_inside = np.ascontiguousarray(flow * inside / 5.0, np.float32)
        if self.version == 3 and device.type == "cpu":
            # In coordinates of the frame: rounding depends on them. What is not touched of the
            # frame is never in memory.
            whole = np.zeros((2, *frame), np.float32)
            whole[(slice(None), *(slice(*span) for span in spans))] = flow_inside
            points = tuple(a + o for a, o in zip(at, origin, strict=True))
            ended = dynamics.follow_flows(
                whole, inds=points, niter=steps, interp=settings.interp, device=device
            )
            ended = torch.from_numpy(np.asarray(ended)).int()
        else:
            ended = follow(flow_inside, at, frame, origin, steps, device).int()
        ended = ended - torch.tensor(origin, dtype=torch.int, device=ended.device)[:, None]
        share = settings.max_size_fraction * np.prod(frame) / np.prod(shape)
        labels = dynamics.get_masks_torch(ended, at, shape, max_size_fraction=share)
        if labels.max() > 0 and settings.flow_threshold > 0:
            labels = dynamics.remove_bad_flow_masks(
                labels, np.ascontiguousarray(flow), threshold=settings.flow_threshold, device=device
            )
        return np.asarray(labels)

    def _finish(self, labels: NDArray[Any], settings: Settings) -> NDArray[Any]:
        """Fill holes and drop small masks, unless planes are joined afterwards."""
        import fastremap
        from cellpose import utils

        labels, _ = fastremap.renumber(np.ascontiguousarray(labels))
        least = -1 if settings.stitch_threshold else settings.min_size
        return np.asarray(utils.fill_holes_and_remove_small_masks(labels, min_size=least))

    def join_planes(self, planes: NDArray[Any], settings: Settings) -> NDArray[Any]:
        """Return the labels of a stack from those of its planes, joined by their overlap."""
        from cellpose import utils

        with _quiet():
            joined = utils.stitch3D(planes, stitch_threshold=settings.stitch_threshold)
            return np.asarray(
                utils.fill_holes_and_remove_small_masks(joined, min_size=settings.min_size)
            )


def normalised(
    stack: NDArray[Any], low: np.float32, high: np.float32, *, invert: bool = False
) -> NDArray[np.float32]:
    """Return a stack with ``low`` at 0 and ``high`` at 1, in float32 as Cellpose's ``normalize99``.

    All zeros where the two differ by no more than Cellpose's 0.001.
    """
    pixels = stack.astype(np.float32)
    if not high - low > 1e-3:
        return np.zeros_like(pixels)
    pixels -= low
    pixels /= high - low
    return 1 - pixels if invert else pixels


def load(path: Path, device: str, cores: int, *, use_bfloat16: bool = True) -> Network:
    """Return the network of a file.

    Raises
    ------
    BadData
        If it is not one that the installed Cellpose loads.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    with _quiet():
        import torch
        from cellpose import models

        torch.set_num_threads(cores)
        version = 3 if hasattr(models, "CPnet") else 4
        options = {} if version == 3 else {"use_bfloat16": use_bfloat16}
        try:
            model = models.CellposeModel(
                gpu=device != "cpu",
                pretrained_model=str(path),
                device=torch.device(device),
                **options,
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, EOFError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BadData(
                f"{path}: Cellpose {version} cannot load this network ({said})"
            ) from error
    if version == 3:
        return Network(model, 3, 224, float(model.diam_mean), float(model.diam_labels))
    tile = 256 if model.backbone == "sam_vitl" else 384
    return Network(model, 4, tile, 30.0, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Cellpose and torch say in passing off the terminal."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        root = logging.getLogger("cellpose")
        level = root.level
        root.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            root.setLevel(level)
