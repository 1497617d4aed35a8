"""Cellpose itself and our step on the same images, in one process of its environment.

``python cellpose_oracle.py MODEL OUT.npz`` writes labels by name; ``NAME.engine`` are those of
Cellpose's own ``eval``.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "bin"), str(Path(__file__).parent)]
DIAMETER = 20.0


def cones(shape, count, radii=(8, 12), seed=0):
    """Return an image of bright cones, and their labels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image, labels = np.zeros(shape), np.zeros(shape, np.int32)
    for _ in range(count * 4):
        radius = rng.uniform(*radii)
        centre = rng.uniform(0, shape)
        distance = np.hypot(y - centre[0], x - centre[1])
        if labels[distance < radius + 2].any() or labels.max() == count:
            continue
        image = np.maximum(image, np.clip(1 - distance / radius, 0, 1))
        labels[distance < radius] = labels.max() + 1
    noisy = image * 30000 + rng.normal(0, 200, shape) + 1000
    return noisy.clip(0).astype(np.uint16), labels


def balls(shape, count, radius=9, seed=1):
    """Return a stack (z, y, x) of bright balls."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[: shape[0], : shape[1], : shape[2]]
    image = np.zeros(shape)
    for centre in rng.uniform(0, shape, (count, 3)):
        distance = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
        image = np.maximum(image, np.clip(1 - distance / radius, 0, 1))
    return (image * 30000 + 1000).astype(np.uint16)


def main(path, out):
    """Segment by both."""
    import phases
    import segment_cellpose
    from cellpose import models

    from cytoloom.errors import BadData

    engine = models.CellposeModel(gpu=False, pretrained_model=path)
    three = hasattr(models, "CPnet")
    own = {"channels": [0, 0]} if three else {}
    found = {}

    def ours(name, image, rows=1, columns=1, **options):
        with tempfile.TemporaryDirectory() as folder:
            options = {"model_type": path, "diameter": DIAMETER, **options}
            found[name] = phases.segment(
                "segment_cellpose", image, folder, rows, columns, **options
            )

    image, truth = cones((250, 330), 60)
    found["truth"] = truth
    found["flat.engine"] = engine.eval(image, diameter=DIAMETER, **own)[0]
    empty = np.full_like(image, 700)
    ours("flat", np.stack([image, empty])[:, None])
    ours("flat.patches", image[None, None], 2, 2)
    lower = {"flow_threshold": 0.0, "min_size": 60}
    found["options.engine"] = engine.eval(
        image, diameter=DIAMETER, cellprob_threshold=1.0, augment=True, **lower, **own
    )[0]
    ours("options", image[None, None], cellprob_thresh=1.0, augment=True, **lower)
    ours("options.patches", image[None, None], 2, 2, cellprob_thresh=1.0, augment=True, **lower)

    stack = balls((5, 64, 80), 6)
    found["stitched.engine"] = engine.eval(
        stack, diameter=DIAMETER, stitch_threshold=0.3, z_axis=0, **own
    )[0]
    ours("stitched", stack[None], stitch_threshold=0.3)
    found["volume.engine"] = engine.eval(
        stack, diameter=DIAMETER, do_3D=True, anisotropy=1.5, z_axis=0, **own
    )[0]
    ours("volume", stack[None], do_3D=True, anisotropy=1.5)

    small = image[:128, :128]
    if three:
        ours("estimated", small[None, None], diameter=None)
    try:
        segment_cellpose.main(**_files(small), model_type=path, gpu=True)
    except BadData as error:
        found["gpu"] = np.array(str(error))
    np.savez_compressed(out, **found)


def _files(image):
    """Return the files that the step takes."""
    import phases

    folder = Path(tempfile.mkdtemp())
    pattern, histograms = phases.write_image(folder, image[None, None])
    return {"image": pattern, "statistics": histograms, "out_label": folder / "label.zarr"}


if __name__ == "__main__":
    main(*sys.argv[1:])
