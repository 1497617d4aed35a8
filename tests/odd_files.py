"""Small images for tests of odd and bad input: cells with a known place, in any form of file."""

from __future__ import annotations

import numpy as np
import tifffile

SPACING = {"spacing": [0.5, 0.5], "frame_interval": 60}


def cells(frames=3, shift=1, dtype=np.uint16, places=((15, 15), (40, 30), (20, 70))):
    """Bright discs of radius 6 on a dark noise, moving right; axes tyx."""
    rng = np.random.default_rng(1)
    image = rng.normal(10, 1, (frames, 64, 96))
    y, x = np.mgrid[:64, :96]
    for frame in range(frames):
        for cy, cx in places:
            image[frame][(y - cy) ** 2 + (x - cx - shift * frame) ** 2 <= 36] = 100
    return image.astype(dtype)


def write(path, image, axes=None, **options):
    """Write a TIFF with its axes named, by default TYX or TZYX."""
    axes = axes or {2: "YX", 3: "TYX", 4: "TZYX"}[image.ndim]
    tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": axes}, **options)


def store(path, image, *, version=3, chunks=None, scale=(60, 0.5, 0.5), axes="tyx"):
    """Write an OME-Zarr of version 0.5 (Zarr 3) or 0.4 (Zarr 2)."""
    import zarr

    group = zarr.create_group(store=path, zarr_format=version)
    array = group.create_array(
        "0", shape=image.shape, dtype=image.dtype, chunks=chunks or image.shape, fill_value=0
    )
    array[:] = image
    units = {"t": "second"}
    multiscale = {
        "axes": [{"name": a, "unit": units.get(a, "micrometer")} for a in axes],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [{"type": "scale", "scale": list(scale)}],
            }
        ],
    }
    if version == 2:
        group.attrs["multiscales"] = [multiscale | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    return array


def pipeline(channels, **keys):
    """Return a pipeline; steps by stage, and any other key; default: Threshold of all."""
    stages = ("preprocessing", "segmentation", "label_to_sparse", "tracking", "postprocessing")
    steps = {stage: keys.pop(stage) for stage in stages if stage in keys}
    steps = steps or {"segmentation": [{"name": "Threshold", "tag": "Seg", "channels": "all"}]}
    return {"channels": channels, **SPACING, "output_dir": "out", "pipeline": steps} | keys
