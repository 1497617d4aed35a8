#!/usr/bin/env python3
"""StarDist: star-convex objects (nuclei, round cells) by a neural network.

Labels are those of StarDist's own ``predict_instances``, for any cut into patches. Each
frame is normalised between two percentiles of the whole frame. Patches are read with a
halo wider than the network's reach, their origin on the network's grid, so a pixel sees
the same in any patch. Candidates of equal probability, which StarDist sorts anyhow, are
ranked by their place in the frame; suppression and drawing go on in its coordinates.
"""

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from cytoloom import cli, devices, images, models, provenance, seam_files
from cytoloom import statistics as histograms
from cytoloom.blocks import blocks
from cytoloom.errors import BadData
from cytoloom.pixels import numbers

OBJECT_REACH = 64  # beyond the network's reach: objects that compete for their pixels [px]
AT_ONCE = {2: 2**21, 3: 2**22}  # what the network sees at once, which bounds memory [px]


@dataclass(frozen=True)
class Geometry:
    """What pieces of an image must respect, along the last axes of z, y, x.

    Attributes
    ----------
    stride
        Total stride of the network [px]; pieces begin on its multiples.
    reach
        How far an output looks [px].
    """

    stride: tuple[int, ...]
    reach: tuple[int, ...]

    @property
    def dimensions(self):
        """2 or 3."""
        return len(self.stride)


def geometry(config):
    """Return the geometry of a StarDist network from its ``config.json``.

    The stride is grid x pool^depth. The reach adds up the radii of all convolutions, each in
    pixels of its level.
    """
    grid = config["grid"]
    if config.get("backbone") == "resnet":
        radius = max(config.get("resnet_kernel_size", [3])) // 2
        count = config.get("resnet_n_blocks", 4) * config.get("resnet_n_conv_per_block", 3)
        return Geometry(tuple(grid), tuple(g * (radius * (count + 1) + 1) + 4 for g in grid))
    depth = config.get("unet_n_depth", 3)
    convolutions = config.get("unet_n_conv_per_depth", 2)
    pools = config.get("unet_pool", [2] * len(grid))
    kernels = config.get("unet_kernel_size", [3] * len(grid))
    stride, reach = [], []
    for g, pool, kernel in zip(grid, pools, kernels, strict=True):
        radius = kernel // 2
        down = sum(convolutions * radius * pool**level for level in range(depth))
        middle = convolutions * radius * pool**depth
        head = radius + g
        stride.append(g * pool**depth)
        reach.append(g * (2 * down + middle + head + pool**depth))
    return Geometry(tuple(stride), tuple(reach))


@dataclass(frozen=True)
class Candidates:
    """Objects that the network proposes, n in number.

    Attributes
    ----------
    probability : ndarray, shape (n,)
    distance : ndarray, shape (n, rays)
        From the point to the outline [px].
    point : ndarray, shape (n, dimensions), int
        [px] in the frame that the network sees.
    classes : ndarray, shape (n, classes + 1), or None
        Probability of each class; the first is background.
    """

    probability: Any
    distance: Any
    point: Any
    classes: Any = None

    def __len__(self):
        return len(self.probability)

    def take(self, index):
        """Return some candidates, in the order of ``index``."""
        classes = None if self.classes is None else self.classes[index]
        return Candidates(self.probability[index], self.distance[index], self.point[index], classes)


def find_candidates(model, network, pixels, start, prob_thresh):
    """Return the candidates of a piece of a frame, the least probable first, block by block.

    Of equal probability are first those that come first in the frame.
    """
    found = []
    most = AT_ONCE[network.dimensions]
    for core, read in blocks(pixels.shape, network.stride, network.reach, most):
        piece = pixels[tuple(slice(*span) for span in read)]
        probability, distance, *classes, point = model.predict_sparse(
            piece, axes="ZYX"[-pixels.ndim :], prob_thresh=prob_thresh, show_tile_progress=False
        )
        point = point + np.array([a for a, _ in read])
        low, high = np.array(core).T
        own = ((point >= low) & (point < high)).all(axis=1)
        found.append((probability[own], distance[own], point[own], *(c[own] for c in classes)))
    probability, distance, point, *classes = (np.concatenate(c) for c in zip(*found, strict=True))
    candidates = Candidates(probability, distance, point + start, *classes)
    return candidates.take(np.lexsort((*candidates.point.T[::-1], candidates.probability)))


def suppress(candidates, nms_thresh, rays=None):
    """Return the candidates that are kept, the most probable first.

    As StarDist does it, in coordinates of the whole frame: the rounding of its float32 depends
    on them. Candidates are given by their rank, for it does not sort equal ones stably.
    """
    from stardist import nms

    rank = np.arange(len(candidates), dtype=np.float64)
    if rays is None:
        kept = nms.non_maximum_suppression_sparse(
            candidates.distance, rank, candidates.point, nms_thresh=nms_thresh, verbose=False
        )
    else:
        kept = nms.non_maximum_suppression_3d_sparse(
            candidates.distance, rank, candidates.point, rays, nms_thresh=nms_thresh, verbose=False
        )
    return candidates.take(kept[1].astype(np.int64))


def segment_stack(model, network, pixels, origin, frame, *, prob_thresh, nms_thresh, scale=1.0):
    """Segment a normalised frame, or a piece of one.

    Parameters
    ----------
    model : stardist.models.StarDist2D or StarDist3D
    pixels : ndarray, shape (y, x) or (z, y, x), float32
        Normalised; its origin on the network's stride.
    origin, frame : sequence of int
        Place of the piece in the frame, and shape of the frame [px].
    prob_thresh, nms_thresh, scale : float
        As in StarDist.

    Returns
    -------
    labels : ndarray, shape of ``pixels``, int32
    objects : Candidates
        Those of the labels 1, 2, ….

    References
    ----------
    Schmidt, U. et al. (2018). Cell detection with star-convex polygons. MICCAI, 265-273.
    Weigert, M. et al. (2020). Star-convex polyhedra for 3D object detection and segmentation
    in microscopy. WACV, 3655-3662.
    """
    start = np.asarray(origin)
    scaled = pixels
    if scale != 1:
        scaled, start = resample(pixels, scale, origin, frame, network.stride)
    found = find_candidates(model, network, scaled, start, prob_thresh)
    if not len(found):
        return np.zeros(pixels.shape, np.int32), found
    if network.dimensions == 2:
        found = suppress(found, nms_thresh)
        found = found.take(np.argsort(found.probability, kind="stable"))
        return draw_polygons(found, origin, pixels.shape, scale), found
    from stardist.rays3d import rays_from_json

    rays = rays_from_json(model.config.rays_json)
    found = suppress(found, nms_thresh, rays)
    return draw_polyhedra(found, rays, origin, pixels.shape, scale), found


def resample(image, scale, origin, frame, stride):
    """Return a piece of a frame magnified as ``scipy.ndimage.zoom`` (order 1) does the frame.

    Its last row or column is 0 where zoom's is: where the place rounds to beyond the frame.

    Parameters
    ----------
    image : ndarray
        The piece.
    origin, frame : sequence of int
        Place of the piece, and shape of the frame [px].

    Returns
    -------
    scaled : ndarray
    start : ndarray of int
        Its origin in the scaled frame, on multiples of ``stride``.
    """
    from scipy import ndimage

    axes, start = [], []
    for n, first, size, step in zip(image.shape, origin, frame, stride, strict=True):
        count = max(1, round(size * scale))
        at = np.arange(count) * ((size - 1) / (count - 1) if count > 1 else 1.0)
        low = -(-int(np.searchsorted(at, first)) // step) * step
        high = count if first + n == size else int(np.searchsorted(at, first + n - 1, "right"))
        sampled = at[low : max(high, low + 1)]
        axes.append(np.where(sampled > size - 1, -1, sampled - first))  # rounded out of it: 0
        start.append(low)
    grid = np.meshgrid(*axes, indexing="ij")
    return ndimage.map_coordinates(image, grid, order=1, mode="constant"), np.array(start)


def draw_polygons(objects, origin, shape, scale=1.0):
    """Draw star-convex polygons, later ones over earlier ones, as StarDist does.

    The outlines are in coordinates of the whole frame: the rounding of their float32 would
    else depend on where the piece begins.
    """
    from skimage.draw import polygon
    from stardist.geometry import dist_to_coord

    rescale = (1 / scale, 1 / scale)
    outlines = dist_to_coord(objects.distance, objects.point * np.array(rescale), rescale)
    first = np.asarray(origin)[:, np.newaxis]
    end = np.asarray(origin) + shape
    labels = np.zeros(shape, np.int32)
    for label, outline in enumerate(outlines, 1):
        at = np.stack(polygon(*outline, end)) - first
        at = at[:, (at >= 0).all(axis=0)]
        labels[at[0], at[1]] = label
    return labels


def draw_polyhedra(objects, rays, origin, shape, scale=1.0):
    """Draw star-convex polyhedra, earlier ones over later ones, as StarDist does.

    It draws into a frame that begins at 0; what no polyhedron touches of it is never in memory.
    """
    from stardist.geometry import polyhedron_to_label

    first = np.array(origin)
    drawn = polyhedron_to_label(
        objects.distance,
        objects.point / scale,
        rays=rays.copy(scale=(1 / scale,) * 3) if scale != 1 else rays,
        shape=tuple(int(n) for n in first + shape),
        prob=np.arange(len(objects), 0, -1),
        verbose=False,
    )
    return drawn[tuple(slice(int(a), None) for a in first)].astype(np.int32)


def load(folder, cores, gpu=False):
    """Return the network in ``folder`` and its geometry, TensorFlow quiet and on ``cores``.

    Raises
    ------
    BadData
        If the model cannot be loaded, or a GPU is asked for and there is none.
    """
    config = _config(folder)
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS=str(cores))
    with contextlib.redirect_stdout(io.StringIO()), _quiet():
        import tensorflow as tf
        from stardist.models import StarDist2D, StarDist3D

        tf.get_logger().setLevel("ERROR")
        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        if devices.choose_device(gpu, "tensorflow") == "cpu":
            tf.config.set_visible_devices([], "GPU")
        for device in tf.config.get_visible_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, enable=True)
        tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
        kind = StarDist3D if config["n_dim"] == 3 else StarDist2D
        try:
            model = kind(None, name=folder.name, basedir=str(folder.parent))
        except (OSError, ValueError, FileNotFoundError) as error:
            raise BadData(f"{folder}: StarDist cannot load this model ({error})") from error
    return model, geometry(config)


@contextlib.contextmanager
def _quiet():
    """Keep what native libraries say at start-up off the terminal, unless the start fails.

    TensorFlow's C++ writes to the file of stderr before it heeds TF_CPP_MIN_LOG_LEVEL: on
    processors with AVX-512 two lines about oneDNN.
    """
    import tempfile
    import warnings

    with warnings.catch_warnings(), tempfile.TemporaryFile() as said:
        warnings.simplefilter("ignore")
        sys.stderr.flush()
        terminal = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException as error:
            if not isinstance(error, BadData):
                said.seek(0)
                os.write(terminal, said.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


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


def normalised(stack, low, high):
    """Return a stack with ``low`` at 0 and ``high`` at 1, in float32 as csbdeep's ``normalize``.

    Integers of which float32 does not hold all are subtracted in float64.
    """
    stack = numbers(stack, low, high)
    kind = np.float32 if stack.dtype.itemsize <= 2 or stack.dtype.kind == "f" else np.float64
    low, high = kind(low), kind(high)
    return ((stack.astype(kind) - low) / (high - low)).astype(np.float32)


def main(
    image: cli.Image,
    statistics: cli.Statistics,
    out_label: cli.OutLabel,
    out_detections: seam_files.OutDetections = None,
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
        typer.Option(
            min=0.05,
            max=20,
            help="magnify the image for the network by this factor, along all its axes",
        ),
    ] = 1.0,
    percentile_low: Annotated[
        float, typer.Option(min=0, max=100, help="percentile of the frame that becomes 0 [%]")
    ] = 1.0,
    percentile_high: Annotated[
        float, typer.Option(min=0, max=100, help="percentile of the frame that becomes 1 [%]")
    ] = 99.8,
    gpu: devices.Gpu = False,
) -> None:
    """Segment nuclei or round cells with a StarDist network, frame by frame.

    The shipped model is stardist_nuclei (fluorescent nuclei, 2-D). Nothing is downloaded: other
    models are given by the path of their folder; those of 3-D segment stacks of planes. A
    constant frame has no objects. The probability of each object, and its class where the
    model has classes, are columns of the table of label_to_sparse.
    """
    folder = Path(models.find_model(model_name, "stardist")).resolve()
    known = histograms.read(statistics)
    whole = images.open_layer(image).shape[1:]
    model, network = load(folder, cores, gpu)
    if network.dimensions == 2 and whole[0] > 1:
        raise BadData(
            f"{model_name}: a model of planes for an image of {whole[0]} planes; give a 3-D "
            "model, or choose planes at ingest"
        )
    if network.dimensions == 3 and whole[0] == 1:
        raise BadData(f"{model_name}: a 3-D model for an image of one plane; give a 2-D model")
    provenance.note(model=folder.name, model_sha=models.digest(folder))
    prob = model.thresholds.prob if prob_thresh is None else prob_thresh
    nms = model.thresholds.nms if nms_thresh is None else nms_thresh
    provenance.note(resolved={"prob_thresh": float(prob), "nms_thresh": float(nms)})
    plane = 3 - network.dimensions

    def segment(stack, frame, origin):
        low, high = (known.percentile(q, [frame]) for q in (percentile_low, percentile_high))
        if high <= low:
            return np.zeros(stack.shape, np.int32)
        pixels = normalised(stack, low, high).reshape(stack.shape[plane:])
        labels, objects = segment_stack(
            model, network, pixels, origin[plane:], whole[plane:],
            prob_thresh=prob, nms_thresh=nms, scale=scale,
        )  # fmt: skip
        return seam_files.Found(
            labels.reshape(stack.shape),
            objects.probability,
            None if objects.classes is None else objects.classes.argmax(axis=-1),
        )

    seam_files.segment_part(
        image,
        out_label,
        segment,
        out_detections=out_detections,
        out_objects=out_objects,
        region=region,
        halo=int(np.ceil(max(network.reach[-2:]) / scale)) + max(halo, OBJECT_REACH),
        stride=max(network.stride[-2:]),
        channel=channel,
    )


if __name__ == "__main__":
    cli.run(main)
