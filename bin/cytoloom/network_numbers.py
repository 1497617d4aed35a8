"""What is done to the numbers before and after a network, as bioimage.io models declare it.

Statistics are those of the whole frame, from its histogram: before they are needed the
same steps are done to the histogram's values, so a piece of a frame gets what the frame
gets. Means are weighted by counts, percentiles interpolated as numpy does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData

Steps = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Affine:
    """``(pixels - offset) * gain``, in float64."""

    offset: float
    gain: float

    def __call__(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers moved and scaled, as float32."""
        return ((pixels.astype(np.float64) - self.offset) * self.gain).astype(np.float32)


def prepare(
    pixels: NDArray[Any], steps: Steps, values: NDArray[Any], counts: NDArray[Any]
) -> NDArray[Any]:
    """Return pixels after the steps before a network.

    Parameters
    ----------
    pixels : ndarray
        A piece of a frame of one channel.
    steps
        Name and keyword arguments, in order.
    values, counts : ndarray, shape (n,)
        Histogram of the whole frame.

    Raises
    ------
    BadData
        If a step is not one that is known, or needs statistics along single axes.
    """
    values = values.astype(np.float64)
    for name, given in steps:
        if name in ("zero_mean_unit_variance", "scale_range"):
            pixels = (change := _by_statistics(name, given, values, counts))(pixels)
            values = (values - change.offset) * change.gain
        else:
            pixels, values = _pointwise(name, given, pixels), _pointwise(name, given, values)
    return pixels


def finish(outputs: NDArray[Any], steps: Steps) -> NDArray[Any]:
    """Return outputs (channel, z, y, x) of a network after the steps that follow it."""
    for name, given in steps:
        outputs = _pointwise(name, given, outputs, channels=True)
    return outputs


def _by_statistics(
    name: str, given: Mapping[str, Any], values: NDArray[Any], counts: NDArray[Any]
) -> Affine:
    if given.get("mode") == "fixed":
        return _fixed(given)
    axes = given.get("axes")
    letters = "".join(str(a)[0] for a in axes) if axes is not None else "yx"
    if not {"y", "x"} <= set(letters):
        raise BadData(f"{name} along the axes {letters} alone; only whole frames are followed")
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    eps = float(given.get("eps", 1e-6))
    if name == "zero_mean_unit_variance":
        mean = float(np.average(values, weights=counts))
        deviation = float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
        return Affine(mean, 1 / (deviation + eps))
    if given.get("reference_tensor") or given.get("reference_input"):
        raise BadData("scale_range by another tensor cannot be followed")
    low = percentile(values, counts, float(given.get("min_percentile", 0)))
    high = percentile(values, counts, float(given.get("max_percentile", 100)))
    return Affine(low, 1 / (high - low + eps))


def percentile(values: NDArray[Any], counts: NDArray[Any], q: float) -> float:
    """Return the q-th percentile (0 to 100) of a histogram, linearly interpolated."""
    last = np.cumsum(counts)
    rank = q / 100 * (last[-1] - 1)
    low, high = np.searchsorted(last, [np.floor(rank), np.ceil(rank)], side="right")
    return float(values[low] + (values[high] - values[low]) * (rank - np.floor(rank)))


def _fixed(given: Mapping[str, Any]) -> Affine:
    return Affine(_one(given["mean"]), 1 / (_one(given["std"]) + float(given.get("eps", 0))))


def _one(value: Any) -> float:
    numbers = np.atleast_1d(value)
    if numbers.size != 1:
        raise BadData("different numbers for several channels; use a network of one channel")
    return float(numbers[0])


def _pointwise(
    name: str, given: Mapping[str, Any], pixels: NDArray[Any], *, channels: bool = False
) -> NDArray[Any]:
    fixed = name == "fixed_zero_mean_unit_variance" or given.get("mode") == "fixed"
    step = _fixed_step if fixed else _POINTWISE.get(name)
    if step is None or (name == "softmax" and not channels):
        where = "after" if channels else "before"
        raise BadData(f"the step {name!r} {where} the network is not one that can be followed")
    return step(pixels, given, channels)


def _fixed_step(pixels: NDArray[Any], given: Mapping[str, Any], _: bool) -> NDArray[Any]:
    return _fixed(given)(pixels)


def _ensure_dtype(pixels: NDArray[Any], given: Mapping[str, Any], _: bool) -> NDArray[Any]:
    return pixels.astype(given["dtype"])


def _binarize(pixels: NDArray[Any], given: Mapping[str, Any], channels: bool) -> NDArray[Any]:
    return np.asarray(pixels > _each(given["threshold"], channels), np.float32)


def _clip(pixels: NDArray[Any], given: Mapping[str, Any], _: bool) -> NDArray[Any]:
    return np.clip(pixels, given.get("min"), given.get("max"))


def _scale_linear(pixels: NDArray[Any], given: Mapping[str, Any], channels: bool) -> NDArray[Any]:
    gain, offset = (
        _each(given.get("gain", 1.0), channels),
        _each(given.get("offset", 0.0), channels),
    )
    return np.asarray(pixels * gain + offset, np.float32)


def _sigmoid(pixels: NDArray[Any], _given: Mapping[str, Any], _: bool) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-pixels)), pixels.dtype)


def _softmax(pixels: NDArray[Any], _given: Mapping[str, Any], _: bool) -> NDArray[Any]:
    exponents = np.exp(pixels - pixels.max(axis=0))
    return np.asarray(exponents / exponents.sum(axis=0), pixels.dtype)


_POINTWISE: dict[str, Callable[[NDArray[Any], Mapping[str, Any], bool], NDArray[Any]]] = {
    "ensure_dtype": _ensure_dtype,
    "binarize": _binarize,
    "clip": _clip,
    "scale_linear": _scale_linear,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
}


def _each(value: Any, channels: bool) -> Any:
    """Return one number, or one for each channel, shaped for (channel, z, y, x)."""
    numbers = np.atleast_1d(np.asarray(value, np.float64)).ravel()
    if numbers.size == 1:
        return np.float32(numbers[0])
    if not channels:
        return _one(value)
    return numbers.astype(np.float32).reshape(-1, 1, 1, 1)
