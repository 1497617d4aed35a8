#!/usr/bin/env python3
"""StarDist: star-convex objects (nuclei, round cells) by a neural network.

Each frame is normalised between two percentiles of the whole frame. Patches are read
with a halo wider than the network's reach, their origin on the network's grid, so a
pixel sees the same in any patch. Candidates of equal probability are ranked by their
place in the frame, so that suppression and painting do not depend on the patch either.
"""

import contextlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, models, provenance, seam_files
from cytoloom import statistics as histograms
from cytoloom.errors import BadData
from cytoloom.pixels import numbers

OBJECT_REACH = 32  # beyond the network's reach: candidates that compete for an object [px]
BLOCK = 1536  # edge of what the network sees at once, which bounds memory [px]


@dataclass(frozen=True)
class Geometry:
    """What patches must respect: dimensions, total stride [px] and reach [px] of a network."""

    dimensions: int
    stride: int
    reach: int


def geometry(config):
    """Return the geometry of a StarDist network from its ``config.json``.

    The stride is grid x pool^depth. The reach adds up the radii of all convolutions of the
    U-Net, each in pixels of its level.
    """
    grid = max(config["grid"])
    depth = config.get("unet_n_depth", config.get("resnet_n_blocks", 3))
    pool = max(config.get("unet_pool", [2, 2]))
    radius = max(config.get("unet_kernel_size", [3, 3])) // 2
    convolutions = config.get("unet_n_conv_per_depth", 2)
    down = sum(convolutions * radius * pool**level for level in range(depth))
    middle = convolutions * radius * pool**depth
    head = radius + grid
    reach = grid * (2 * down + middle + head + pool**depth)
    return Geometry(config["n_dim"], grid * pool**depth, reach)


def resample(image, scale, origin, stride):
    """Sample an image (y, x) at whole pixels of a frame scaled by ``scale``.

    Returns
    -------
    scaled : ndarray, shape (y, x)
    start : ndarray, shape (2,)
        Its origin in the scaled frame, on multiples of ``stride``.
    """
    from scipy import ndimage

    start = [int(np.ceil(o * scale / stride - 1e-9)) * stride for o in origin]
    stop = [
        int(np.floor((o + n - 1) * scale + 1e-9)) + 1
        for o, n in zip(origin, image.shape, strict=True)
    ]
    axes = [
        np.arange(a, max(b, a + 1)) / scale - o for a, b, o in zip(start, stop, origin, strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    return ndimage.map_coordinates(image, grid, order=1, mode="nearest"), np.array(start)


def segment_plane(model, image, origin, *, prob_thresh, nms_thresh, scale=1.0, stride=16):
    """Segment a normalised plane, or a piece of one, with a 2-D network.

    Parameters
    ----------
    model : stardist.models.StarDist2D
    image : ndarray, shape (y, x), float32
        Normalised; its origin on the network's stride.
    origin : sequence of 2 int
        Place of the piece in the frame [px].
    prob_thresh, nms_thresh, scale : float
        As in StarDist.

    Returns
    -------
    ndarray, shape (y, x), int32

    References
    ----------
    Schmidt, U. et al. (2018). Cell detection with star-convex polygons. MICCAI, 265-273.
    """
    from stardist.nms import non_maximum_suppression_sparse

    start = np.asarray(origin)
    scaled = image
    if scale != 1:
        scaled, start = resample(image, scale, origin, stride)
    blocks = tuple(-(-n // BLOCK) for n in scaled.shape)
    probability, distances, points = model.predict_sparse(
        scaled, axes="YX", prob_thresh=prob_thresh, n_tiles=blocks, show_tile_progress=False
    )[:3]
    if not len(probability):
        return np.zeros(image.shape, np.int32)
    order = np.lexsort((points[:, 1], points[:, 0], probability))
    points, distances = points[order], distances[order]
    rank = np.arange(len(order), dtype=np.float64)
    points, rank, distances, _ = non_maximum_suppression_sparse(
        distances, rank, points, nms_thresh=nms_thresh, verbose=False
    )
    upwards = np.argsort(rank)
    centres = (points[upwards] + start) / scale - np.asarray(origin)
    return draw(distances[upwards] / scale, centres, image.shape)


def draw(distances, centres, shape):
    """Draw star-convex polygons, later ones over earlier ones.

    As StarDist draws them, but each about its own centre: in coordinates of the whole image
    the rounding of its float32 would depend on where the image begins.
    """
    from skimage.draw import polygon

    angles = np.arange(distances.shape[1]) * (2 * np.pi / distances.shape[1])
    directions = np.stack([np.sin(angles), np.cos(angles)])
    labels = np.zeros(shape, np.int32)
    for label, (distance, centre) in enumerate(zip(distances, centres, strict=True), 1):
        whole = np.floor(centre).astype(int)
        inset = int(np.ceil(distance.max())) + 1
        outline = directions * distance.astype(np.float64) + (centre - whole + inset)[:, np.newaxis]
        at = np.stack(polygon(*outline)) + (whole - inset)[:, np.newaxis]
        at = at[:, ((at >= 0) & (at < np.array(shape)[:, np.newaxis])).all(axis=0)]
        labels[at[0], at[1]] = label
    return labels


def load(folder, cores):
    """Return the network in ``folder`` and its geometry, TensorFlow quiet and on ``cores``."""
    config = _config(folder)
    os.environ.update(
        TF_CPP_MIN_LOG_LEVEL="3",
        OMP_NUM_THREADS=str(cores),
        CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    )
    with contextlib.redirect_stdout(io.StringIO()), _quiet():
        import tensorflow as tf
        from stardist.models import StarDist2D, StarDist3D

        tf.get_logger().setLevel("ERROR")
        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        kind = StarDist3D if config["n_dim"] == 3 else StarDist2D
        try:
            model = kind(None, name=folder.name, basedir=str(folder.parent))
        except (OSError, ValueError, FileNotFoundError) as error:
            raise BadData(f"{folder}: StarDist cannot load this model ({error})") from error
    return model, geometry(config)


@contextlib.contextmanager
def _quiet():
    """Keep what native libraries say at start-up off the terminal."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _config(folder):
    try:
        config = json.loads((folder / "config.json").read_text())
        if config.get("n_channel_in") != 1:
            raise BadData(
                f"{folder}: a model of {config.get('n_channel_in')} channels; use one of 1 channel"
            )
        return {**config, "n_dim": int(config["n_dim"]), "grid": list(config["grid"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadData(
            f"{folder}: not the folder of a StarDist model (config.json: {error})"
        ) from error


def main(
    image: cli.Image,
    statistics: cli.Statistics,
    out_label: cli.OutLabel,
    out_objects: seam_files.OutObjects = None,
    region: cli.RegionText = None,
    halo: cli.Halo = 0,
    channel: cli.Channel = None,
    cores: cli.Cores = 1,
    model_name: Annotated[
        str, typer.Option(help="name of a model (assets/models.yaml), or path of its folder")
    ] = "stardist_nuclei",
    prob_thresh: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="least probability of an object; default: the model's"),
    ] = None,
    nms_thresh: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="overlap of two objects from which one is dropped; default: the model's",
        ),
    ] = None,
    scale: Annotated[
        float,
        typer.Option(min=0.05, max=20, help="magnify the image for the network by this factor"),
    ] = 1.0,
    percentile_low: Annotated[
        float, typer.Option(min=0, max=100, help="percentile of the frame that becomes 0 [%]")
    ] = 1.0,
    percentile_high: Annotated[
        float, typer.Option(min=0, max=100, help="percentile of the frame that becomes 1 [%]")
    ] = 99.8,
) -> None:
    """Segment nuclei or round cells with a StarDist network, frame by frame.

    The shipped model is stardist_nuclei (fluorescent nuclei). Nothing is downloaded: other
    models are given by the path of their folder. A constant frame has no objects.
    """
    folder = Path(models.find_model(model_name, "stardist")).resolve()
    known = histograms.read(statistics)
    model, shape = load(folder, cores)
    provenance.note(model=folder.name, model_sha=models.digest(folder))
    prob = model.thresholds.prob if prob_thresh is None else prob_thresh
    nms = model.thresholds.nms if nms_thresh is None else nms_thresh

    def segment(stack, frame, origin):
        low, high = (known.percentile(q, [frame]) for q in (percentile_low, percentile_high))
        if shape.dimensions == 2 and len(stack) > 1:
            raise BadData(
                f"{model_name}: a model of planes for an image of {len(stack)} planes; give a "
                "3-D model, or choose planes at ingest"
            )
        if high <= low:
            return np.zeros(stack.shape, np.int32)
        stack = numbers(stack, low, high)
        pixels = ((stack - np.float64(low)) / (high - low)).astype(np.float32)
        if shape.dimensions == 3:
            return model.predict_instances(
                pixels, axes="ZYX", prob_thresh=prob, nms_thresh=nms, show_tile_progress=False,
                scale=None if scale == 1 else (1, scale, scale),
            )[0]  # fmt: skip
        return segment_plane(
            model, pixels[0], origin[1:], prob_thresh=prob, nms_thresh=nms, scale=scale,
            stride=shape.stride,
        )[np.newaxis]  # fmt: skip

    seam_files.segment_part(
        image,
        out_label,
        segment,
        out_objects=out_objects,
        region=region,
        halo=max(halo, int(np.ceil(shape.reach / scale)) + OBJECT_REACH),
        stride=shape.stride,
        channel=channel,
    )


if __name__ == "__main__":
    cli.run(main)
