#!/usr/bin/env python3
"""Denoise: each plane by non-local means, wavelets, total variation or BM3D."""

from enum import StrEnum
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, provenance
from cytoloom import statistics as histograms
from cytoloom.errors import InputMissing
from cytoloom.pixels import numbers, rounded
from cytoloom.regions import Region

SMALLEST = 8  # px: the noise of smaller planes cannot be told


class Method(StrEnum):
    """Denoisers."""

    nlm = "nlm"
    wavelet = "wavelet"
    tv = "tv"
    bm3d = "bm3d"


def noise_of(planes):
    """Return the standard deviation of the noise of a frame [counts].

    The median over its planes (z, y, x) of scikit-image's estimate (Donoho's: the median
    absolute wavelet coefficient); 0 for constant planes.
    """
    from skimage.restoration import estimate_sigma

    if min(planes.shape[1:]) < SMALLEST:
        return 0.0
    found = [0.0 if p.min() == p.max() else float(estimate_sigma(p)) for p in planes]
    return float(np.nan_to_num(np.median(found)))


def denoise(plane, sigma, method, strength=1.0):
    """Denoise one plane by an engine, called as its authors document it.

    Parameters
    ----------
    plane : ndarray, float64, shape (y, x)
    sigma : float
        Standard deviation of the noise, same unit.
    method : str
        ``nlm``: `skimage.restoration.denoise_nl_means` (Buades 2005), patches of 5 px,
        6 px apart, h = 0.8 strength sigma. ``wavelet``: `denoise_wavelet` (BayesShrink).
        ``tv``: `denoise_tv_chambolle`, weight = strength sigma. ``bm3d``: `bm3d.bm3d`
        (Dabov 2007), sigma_psd = strength sigma.
    """
    if sigma <= 0 or plane.min() == plane.max():
        return plane
    if method == "bm3d":
        return _bm3d(plane, strength * sigma)
    from skimage import restoration

    if method == "nlm":
        return restoration.denoise_nl_means(
            plane, patch_size=5, patch_distance=6, h=0.8 * strength * sigma, sigma=sigma
        )
    if method == "tv":
        return restoration.denoise_tv_chambolle(plane, weight=strength * sigma)
    return restoration.denoise_wavelet(plane, sigma=strength * sigma, rescale_sigma=True)


def _bm3d(plane, sigma):
    try:
        import bm3d
    except ImportError as error:
        raise InputMissing(
            "method bm3d: its package is not installed here; ./cytoloom setup bm3d installs it "
            "(non-commercial use only), or take method nlm"
        ) from error
    from importlib.metadata import version

    provenance.note(engine=f"bm3d {version('bm3d')}")
    low = plane.min()
    span = plane.max() - low
    return bm3d.bm3d((plane - low) / span, sigma / span) * span + low


def main(
    image: cli.Image,
    out_image: cli.OutImage,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    method: Annotated[
        Method,
        typer.Option(
            help="denoiser: nlm (non-local means), wavelet, tv (total variation), or bm3d, whose "
            "licence allows non-commercial use only"
        ),
    ] = Method.nlm,
    sigma: Annotated[
        float | None,
        typer.Option(min=0, help="standard deviation of the noise [counts]; default: estimated"),
    ] = None,
    strength: Annotated[
        float, typer.Option(min=0, max=10, help="factor on the strength of the denoising")
    ] = 1.0,
) -> None:
    """Remove noise plane by plane; the type of the pixels stays.

    The noise is estimated once per frame, over whole planes.
    """
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    data = np.empty(box.shape, layer.dtype)
    levels = []
    for row, t in enumerate(cli.progress(box.frames, "frames")):
        planes = layer.read(box.frame(t))[0]
        clean = numbers(planes, 0.0, 0.0).astype(np.float64)
        level = noise_of(clean) if sigma is None else sigma
        levels.append(level)
        if level > 0:
            planes = rounded(
                np.stack([denoise(plane, level, method.value, strength) for plane in clean]),
                layer.dtype,
            )
        data[row] = planes
    low, high = min(levels), max(levels)
    cli.log.info("%s: %s, noise %.4g to %.4g counts", layer.channel, method.value, low, high)
    images.write_part(out_image, data, region=box, like=layer)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
