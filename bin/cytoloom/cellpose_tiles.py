"""Tiles of a Cellpose network along the axes of a frame, and pixels resampled for windows of it.

What Cellpose does with a whole frame by ``cv2.resize`` and its own dynamics is done here for
a window, with the same arithmetic, so that a window shows what the whole frame shows there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]
Window = tuple[Span, Span]


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis of a frame.

    Attributes
    ----------
    size, resized
        Length of the frame, and as the network sees it [px].
    before
        Padding before it [px].
    edge, starts
        Length of a tile, and where each begins in the padded frame [px].
    span
        What is wanted, in the frame.
    """

    size: int
    resized: int
    before: int
    edge: int
    starts: NDArray[Any]
    span: Span

    @property
    def needed(self) -> Span:
        """What is wanted, as the network sees it."""
        if self.resized == self.size:
            return self.span
        scale = self.resized / self.size
        low, high = ((k + 0.5) * scale - 0.5 for k in (self.span[0], self.span[1] - 1))
        return max(0, int(np.floor(low)) - 1), min(self.resized, int(np.ceil(high)) + 2)

    @property
    def wanted(self) -> list[int]:
        """The tiles that meet what is needed."""
        low, high = (edge + self.before for edge in self.needed)
        return [k for k, a in enumerate(self.starts) if a < high and a + self.edge > low]

    @property
    def covered(self) -> Span:
        """What those tiles cover, in the padded frame."""
        tiles = self.wanted
        return int(self.starts[tiles[0]]), int(self.starts[tiles[-1]]) + self.edge

    def nearest(self) -> NDArray[Any]:
        """Return, for each wanted pixel, the one that the network saw there."""
        at = np.arange(*self.span) * (self.resized / self.size)
        return np.minimum(at.astype(int), self.resized - 1) - self.needed[0]


def flips_of(place: tuple[int, int]) -> tuple[int, ...]:
    """Return the axes (of channel, y, x) along which Cellpose's augmentation flips a tile."""
    row, column = place[0] % 2, place[1] % 2
    return {(0, 0): (), (0, 1): (1,), (1, 0): (2,), (1, 1): (1, 2)}[row, column]


def taps_of(
    size: int, resized: int, span: Span, channels: int, axis: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
    """Return which two pixels ``cv2.resize`` (linear) mixes for each new one, and how.

    Returns
    -------
    first, second : ndarray of int
    weight : ndarray of float32
        Of the second; found by resizing pixels that are 0 and 1 in turn, since the arithmetic
        of OpenCV depends on its version and the channels.
    """
    import cv2

    probe = np.zeros((2, size, channels), np.float32)
    probe[:, 1::2] = 1
    if axis == 0:
        probe = np.ascontiguousarray(probe.transpose(1, 0, 2))
    shape = (2, resized) if axis == 0 else (resized, 2)
    mixed = cv2.resize(probe, shape, interpolation=cv2.INTER_LINEAR)
    mixed = mixed.reshape(shape[1], shape[0], channels)[..., 0]
    mixed = (mixed[:, 0] if axis == 0 else mixed[0])[slice(*span)]
    first = np.floor((np.arange(*span) + 0.5) * (size / resized) - 0.5).astype(int)
    first = np.clip(first, 0, size - 1)
    second = np.minimum(first + 1, size - 1)
    weight = np.where(first % 2 == 0, mixed, 1 - mixed).astype(np.float32)
    weight[first == second] = 0
    return first, second, weight


def interpolate(
    image: NDArray[np.float32], taps: list[Any], origin: tuple[int, int]
) -> NDArray[np.float32]:
    """Mix the pixels of a piece (y, x[, channel]) that begins at ``origin``."""
    (y0, y1, wy), (x0, x1, wx) = taps
    more = (1,) * (image.ndim - 2)
    wx, wy = wx.reshape(1, -1, *more), wy.reshape(-1, 1, *more)
    across = image[:, x0 - origin[1]] * (1 - wx) + image[:, x1 - origin[1]] * wx
    return np.asarray(across[y0 - origin[0]] * (1 - wy) + across[y1 - origin[0]] * wy, np.float32)


def resize(
    flows: NDArray[np.float32],
    spans: list[Span],
    sizes: tuple[int, ...],
    frame: tuple[int, int],
    window: Window,
) -> NDArray[np.float32]:
    """Return outputs of the network, known in ``spans``, resized to a window of the frame."""
    taps = []
    for k in range(2):
        first, second, weight = taps_of(sizes[k], frame[k], window[k], flows.shape[-1], k)
        low, high = spans[k]
        taps.append((np.clip(first, low, high - 1), np.clip(second, low, high - 1), weight))
    return interpolate(flows, taps, (spans[0][0], spans[1][0]))


def nearest(image: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an image brought to a shape by its nearest pixels."""
    at = [np.minimum((np.arange(n) * (m / n)).astype(int), m - 1)
          for n, m in zip(shape, image.shape, strict=True)]  # fmt: skip
    return image[np.ix_(*at)]


def follow(
    flow: NDArray[np.float32],
    at: tuple[NDArray[Any], ...],
    frame: tuple[int, ...],
    origin: list[int],
    steps: int,
    device: Any,
) -> Any:
    """Follow the flows of a window as Cellpose's ``steps_interp`` does those of a frame.

    It samples between pixels at a place that depends on the size of the frame
    (``align_corners=False`` on coordinates of aligned corners); so does this.
    """
    import torch

    size = torch.tensor(frame[::-1], dtype=torch.float32, device=device)
    first = torch.tensor(origin[::-1], dtype=torch.float32, device=device)
    own = torch.tensor(flow.shape[:0:-1], dtype=torch.float32, device=device)
    points = np.stack([a + o for a, o in zip(at, origin, strict=True)][::-1], axis=-1)
    point = torch.from_numpy(points).to(device, dtype=torch.float32) / (size - 1) * 2 - 1
    image = torch.from_numpy(flow[::-1].copy()).to(device)[None] * (2 / (size - 1))[:, None, None]
    for _ in range(steps):
        place = ((point + 1) * size - 2 * first) / own - 1
        step = torch.nn.functional.grid_sample(image, place[None, None], align_corners=False)
        point = torch.clamp(point + step[0, :, 0].T, -1.0, 1.0)
    ended = (point + 1) * 0.5 * (size - 1)
    return ended.flip(-1).T.contiguous()
