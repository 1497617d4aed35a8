#!/usr/bin/env python3
"""ImageToLabel: an image that already holds labels becomes the label image."""

import numpy as np

from cytoloom import cli, images
from cytoloom.errors import BadData
from cytoloom.regions import Region


def as_labels(image, what):
    """Return an image's values as labels, unchanged.

    Parameters
    ----------
    image : ndarray, any shape
        Whole numbers from 0 (background) to 2**32 - 1; floats must hold whole numbers.
    what : str
        Named in errors.

    Returns
    -------
    ndarray of the same shape, uint32

    Raises
    ------
    BadData
        If a value is not a label.
    """
    if image.dtype.kind == "f":
        if not np.array_equal(image, np.rint(image)):
            raise BadData(f"{what}: values that are not whole numbers; they cannot be labels")
        image = image.astype(np.float64)
    low, high = (image.min(), image.max()) if image.size else (0, 0)
    if low < 0 or high > np.iinfo(np.uint32).max:
        raise BadData(f"{what}: values from {low} to {high}; labels are 0 to 4294967295")
    return image.astype(np.uint32)


def main(
    image: cli.Image,
    out_label: cli.OutLabel,
    region: cli.RegionText = None,
    channel: cli.Channel = None,
) -> None:
    """Take an image whose values are object numbers as the label image, numbers unchanged."""
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    labels = as_labels(layer.read(box), f"image of {layer.channel!r}")
    images.write_part(out_label, labels, region=box, like=layer, kind="label", channel=channel)


if __name__ == "__main__":
    cli.run(main)
