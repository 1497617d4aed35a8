"""ANTs' registration of one image to another, as an affine map or a displacement field.

ANTs runs in one thread with a fixed seed: its sums over threads depend on their number, and
the result may not depend on where a task runs. Images are (y, x) or (z, y, x) arrays; ANTs'
physical space then has the same order of axes, in micrometre.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, provenance, shifts
from cytoloom.transforms import Affine


class Transform(StrEnum):
    """Kinds of transforms of a registration."""

    translation = "translation"
    rigid = "rigid"
    affine = "affine"
    deformable = "deformable"


TransformOption = Annotated[
    Transform, typer.Option(help="what may happen to a frame; deformable: affine, then SyN")
]
StacksOption = Annotated[
    int, typer.Option(min=1, help="frames of the window whose mean is the reference [frames]")
]
KINDS = {"translation": "Translation", "rigid": "Rigid", "affine": "Affine"}
SHRINK = (6, 4, 2, 1)  # ANTs' own pyramid
SMOOTHING = (3, 2, 1, 0)
ITERATIONS = (2100, 1200, 1200, 10)
SMALLEST = 16  # px along the shortest axis of the coarsest level
MIN_PLANES = 8  # fewer are registered in the plane, by their maximum
REACH = 1000.0  # um: points by which a map is read from ANTs


@cache
def load() -> Any:
    """Import ANTs with one thread."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    import ants

    provenance.note(engine=f"antspyx {ants.__version__}")
    return ants


@dataclass(frozen=True)
class Fit:
    """A map [um] from points of the fixed image to points of the moving one.

    ``correlation`` is Pearson's, of the smoothed images under the map; NaN for constant ones.
    """

    map: Affine
    correlation: float


def pyramid(shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return ANTs' levels of resolution, without those that are too coarse for the image."""
    shortest = min(shape)
    kept = [i for i, f in enumerate(SHRINK) if f == 1 or shortest // f >= SMALLEST]
    return {
        "aff_shrink_factors": tuple(SHRINK[i] for i in kept),
        "aff_smoothing_sigmas": tuple(SMOOTHING[i] for i in kept),
        "aff_iterations": tuple(ITERATIONS[i] for i in kept),
    }


def fit(
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
    kind: str,
    spacing: Sequence[float],
    *,
    metric: str = "mattes",
    sampling: float = 0.2,
    smoothing: float = 1.0,
) -> Fit:
    """Register ``moving`` to ``fixed`` by a translation, rigid or affine map.

    A correlation and least squares give a translation as the start, ANTs goes on from there.
    Where ANTs fails, or the images agree less than at the start, the start is the result.
    Constant images give the identity.

    Parameters
    ----------
    kind
        A key of ``KINDS``.
    spacing
        Pixel size along each axis of the images [um].
    metric, sampling
        ANTs' metric and the share of pixels that it samples.
    smoothing
        Standard deviation of a Gaussian along y and x before ANTs sees the images [px].
    """
    shift = shifts.find(shifts.smooth(fixed), shifts.smooth(moving))
    step = np.asarray(spacing, float)
    start = extended(np.eye(len(step)), shift * step)
    began = _agreement(fixed, moving, start, step)
    if np.isnan(began):
        return Fit(Affine.identity(), began)
    one, two = shifts.smooth(fixed, smoothing), shifts.smooth(moving, smoothing)
    found = _ants(one, two, kind, step, shift * step, metric, sampling)
    if found is None:
        return Fit(start, began)
    ended = _agreement(fixed, moving, found, step)
    return Fit(found, ended) if ended >= began else Fit(start, began)


def _ants(
    fixed: NDArray[Any], moving: NDArray[Any], kind: str, step: NDArray[Any],
    start: NDArray[Any], metric: str, sampling: float,
) -> Affine | None:  # fmt: skip
    """Return ANTs' map; None where it fails. The start is put into the moving image's origin."""
    ants = load()
    one = ants.from_numpy(fixed, spacing=tuple(step))
    two = ants.from_numpy(moving, spacing=tuple(step), origin=tuple(-start))
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = ants.registration(
                one, two, KINDS[kind], initial_transform="Identity",
                outprefix=f"{folder}/fit", random_seed=1, aff_metric=metric,
                aff_random_sampling_rate=sampling, **pyramid(fixed.shape),
            )  # fmt: skip
            transform = ants.read_transform(result["fwdtransforms"][0])
        except (RuntimeError, ValueError, IndexError) as error:
            cli.log.info("ANTs gave no result (%s); the correlation's is taken", error)
            return None
        origin = np.array(transform.apply_to_point(tuple(0.0 for _ in step)))
        columns = [
            (np.array(transform.apply_to_point(tuple(REACH * row))) - origin) / REACH
            for row in np.eye(len(step))
        ]
    return extended(np.stack(columns, 1), origin + start)


def extended(matrix: NDArray[Any], offset: NDArray[Any]) -> Affine:
    """Return a 2-D or 3-D map as a 3-D one."""
    n = len(offset)
    whole, moved = np.eye(3), np.zeros(3)
    whole[3 - n :, 3 - n :], moved[3 - n :] = matrix, offset
    return Affine(whole, moved)


def _agreement(
    fixed: NDArray[Any], moving: NDArray[Any], map_: Affine, step: NDArray[Any]
) -> float:
    """Return the correlation of the smoothed images where both have pixels."""
    from scipy import ndimage

    n = fixed.ndim
    matrix = map_.matrix[3 - n :, 3 - n :] * step / step[:, None]
    offset = map_.offset[3 - n :] / step
    moved = ndimage.affine_transform(
        shifts.smooth(moving), matrix, offset, order=1, mode="constant", cval=np.nan
    )
    there = np.isfinite(moved)
    return shifts.correlation(shifts.smooth(fixed)[there], moved[there])


def deform(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], spacing: Sequence[float]
) -> NDArray[np.float32]:
    """Return ANTs' SyN displacement field from ``fixed`` to ``moving``, registered before.

    Returns
    -------
    ndarray, shape (*fixed.shape, ndim)
        [um]; zero for constant images, or where ANTs finds none.
    """
    if fixed.min() == fixed.max() or moving.min() == moving.max():
        return np.zeros((*fixed.shape, fixed.ndim), np.float32)
    ants = load()
    one, two = (ants.from_numpy(a, spacing=tuple(map(float, spacing))) for a in (fixed, moving))
    with tempfile.TemporaryDirectory() as folder:
        result = ants.registration(
            one, two, "SyNOnly", initial_transform="Identity", outprefix=f"{folder}/fit",
            random_seed=1,
        )  # fmt: skip
        fields = [p for p in result["fwdtransforms"] if Path(p).name.endswith("Warp.nii.gz")]
        if not fields:
            return np.zeros((*fixed.shape, fixed.ndim), np.float32)
        return np.asarray(ants.image_read(fields[0]).numpy(), np.float32)
