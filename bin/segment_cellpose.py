#!/usr/bin/env python3
"""CellPose: cells and nuclei of any shape by a Cellpose network, version 3 or 4.

Where a task holds whole frames, labels are those of Cellpose's own ``eval``. Where frames
are cut into patches, each patch computes what Cellpose shows there in the whole frame
(``cytoloom.cellpose_networks``). A frame is normalised between two percentiles of the frame.
"""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cellpose_networks as networks
from cytoloom import cli, devices, diameters, images, models, provenance, seam_files
from cytoloom import statistics as histograms
from cytoloom.cellpose_frames import Frames, estimate_diameter
from cytoloom.errors import BadData, UsageError
from cytoloom.regions import Region


def probability(labels, cellprob):
    """Return the mean probability of each object 1, 2, … to be a cell."""
    from scipy import ndimage, special

    index = np.arange(1, int(labels.max(initial=0)) + 1)
    return ndimage.mean(special.expit(cellprob), labels, index) if len(index) else np.empty(0)


def consecutive(labels):
    """Return labels numbered 1, 2, … without gaps."""
    _, inverse = np.unique(np.append(0, labels.ravel()), return_inverse=True)
    return inverse[1:].reshape(labels.shape)


def main(  # noqa: C901 - one check per argument
    image: cli.Image,
    statistics: cli.Statistics,
    out_label: cli.OutLabel,
    out_detections: seam_files.OutDetections = None,
    out_objects: seam_files.OutObjects = None,
    sizes: Annotated[
        str | None,
        cli.Contract("input"),
        typer.Option(help="diameter by segment_cellpose_diameter, where none is given"),
    ] = None,
    region: cli.RegionText = None,
    halo: cli.Halo = 0,
    channel: cli.Channel = None,
    cores: cli.Cores = 1,
    model_type: Annotated[
        str,
        typer.Option(
            help="name of a model (./cytoloom models list), or path of its file; it decides "
            "whether Cellpose 3 or 4 runs"
        ),
    ] = "cellpose3_nuclei",
    diameter: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="diameter of the objects [px]; none or 0: estimated from the stack (Cellpose 3), "
            "or the image is taken as it is (Cellpose 4)",
        ),
    ] = None,
    cellprob_thresh: Annotated[
        float,
        typer.Option(
            min=-20, max=20, help="least logit of a pixel of an object; lower: more and larger ones"
        ),
    ] = 0.0,
    cellprob_threshold: Annotated[
        float | None,
        typer.Option(min=-20, max=20, help="cellprob_thresh, by the name that Cellpose uses"),
    ] = None,
    flow_threshold: Annotated[
        float,
        typer.Option(
            min=0, help="largest error of the flows of an object; 0: all are kept; not for do_3D"
        ),
    ] = 0.4,
    batch_size: Annotated[int, typer.Option(min=1, help="tiles that the network sees at once")] = 8,
    gpu: devices.Gpu = False,
    channels: Annotated[
        tuple[int, int] | None,
        typer.Option(help="pyCyto's channels; only [0, 0], since a step sees one channel"),
    ] = None,
    model_matching_thresh: Annotated[  # noqa: ARG001 - pyCyto's, which makes no use of it
        float | None, typer.Option(help="accepted as pyCyto does, which makes no use of it")
    ] = None,
    normalize: Annotated[
        bool, typer.Option(help="normalise each frame between two of its percentiles")
    ] = True,
    percentile_low: Annotated[
        float, typer.Option(min=0, max=100, help="percentile of the frame that becomes 0 [%]")
    ] = 1.0,
    percentile_high: Annotated[
        float, typer.Option(min=0, max=100, help="percentile of the frame that becomes 1 [%]")
    ] = 99.0,
    invert: Annotated[bool, typer.Option(help="dark objects on bright ground")] = False,
    min_size: Annotated[int, typer.Option(min=-1, help="smallest object [px]; -1: any")] = 15,
    max_size_fraction: Annotated[
        float, typer.Option(min=0, max=1, help="largest object, as a part of the frame")
    ] = 0.4,
    niter: Annotated[
        int | None, typer.Option(min=0, help="steps of the dynamics; none or 0: by the diameter")
    ] = None,
    resample: Annotated[
        bool, typer.Option(help="dynamics in the pixels of the image, not in the network's")
    ] = True,
    interp: Annotated[
        bool, typer.Option(help="interpolate between pixels in the dynamics (Cellpose 3)")
    ] = True,
    augment: Annotated[
        bool, typer.Option(help="half overlapping, flipped tiles: four times slower")
    ] = False,
    tile_overlap: Annotated[
        float, typer.Option(min=0.05, max=0.5, help="overlap of tiles, as a part of their edge")
    ] = 0.1,
    do_3D: Annotated[  # noqa: N803 - the name that Cellpose uses
        bool, typer.Option(help="flows in yx, zy and zx planes together, for stacks of planes")
    ] = False,
    anisotropy: Annotated[
        float | None, typer.Option(min=0, help="spacing of planes in pixels of y and x (do_3D)")
    ] = None,
    flow3D_smooth: Annotated[  # noqa: N803 - the name that Cellpose uses
        float, typer.Option(min=0, help="sigma of a Gaussian on the flows [px] (do_3D)")
    ] = 0.0,
    stitch_threshold: Annotated[
        float,
        typer.Option(min=0, max=1, help="least IoU of objects of neighbouring planes to be one"),
    ] = 0.0,
    use_bfloat16: Annotated[bool, typer.Option(help="weights in 16 bit (Cellpose 4)")] = True,
) -> None:
    """Segment cells or nuclei with a Cellpose network, frame by frame.

    The shipped model is cellpose3_nuclei (fluorescent nuclei, Cellpose 3). Nothing is
    downloaded: ./cytoloom models fetch or add brings others. A constant frame has no objects.
    The probability of each object is a column of the table of label_to_sparse.
    """
    if percentile_low >= percentile_high:
        raise UsageError("percentile_low must be below percentile_high")
    if channels and channels[1]:
        raise UsageError(
            f"channels {list(channels)}: a step sees one channel, so a second one for nuclei "
            "cannot be; leave channels out (ChannelMerge makes one channel of two)"
        )
    if invert and not normalize:
        raise UsageError("invert needs normalize: Cellpose inverts normalised pixels")
    layer = images.open_layer(image, kind="image")
    planes = layer.shape[1]
    if planes > 1 and not do_3D and not stitch_threshold:
        raise BadData(
            f"{image}: {planes} planes; give do_3D: true or a stitch_threshold (for example 0.3), "
            "or choose a plane at ingest"
        )
    path = models.weights_of(model_type, ("cellpose3", "cellpose"))
    device = devices.choose_device(gpu, "torch")
    network = networks.load(path, device, cores, use_bfloat16=use_bfloat16)
    settings = networks.Settings(
        batch_size=batch_size,
        flow_threshold=flow_threshold,
        cellprob_threshold=cellprob_thresh if cellprob_threshold is None else cellprob_threshold,
        min_size=min_size,
        max_size_fraction=max_size_fraction,
        niter=niter or None,
        resample=resample,
        interp=interp,
        augment=augment,
        tile_overlap=tile_overlap,
        do_3D=do_3D and planes > 1,
        anisotropy=anisotropy or None,
        flow3D_smooth=flow3D_smooth,
        stitch_threshold=stitch_threshold if planes > 1 else 0.0,
    )
    frames = Frames(
        layer, histograms.read(statistics),
        low=percentile_low, high=percentile_high, normalize=normalize, invert=invert,
    )  # fmt: skip
    diameter = diameter or (diameters.read(sizes) if sizes else None)
    if diameter is None and network.usual_diameter:
        if layer.region != Region.whole(layer.shape):
            raise UsageError(
                "no diameter: give one, or the file of segment_cellpose_diameter (--sizes), since "
                "only a part of the image is here to estimate it from"
            )
        diameter = estimate_diameter(network, frames, settings)
    provenance.note(model=path.name, model_sha=models.digest(path), diameter=diameter)
    provenance.note(resolved={"diameter": float(diameter) if diameter else None})
    if diameter:
        cli.log.info("%s: diameter %.4g px", layer.channel, diameter)
    reach = network.context(diameter)
    whole = tuple(layer.shape[2:])

    def segment(stack, frame, origin):
        if frames.constant(frame):
            return np.zeros(stack.shape, np.int32)
        window = tuple((a, a + n) for a, n in zip(origin[1:], stack.shape[1:], strict=True))
        if settings.do_3D or stack.shape[1:] == whole:
            pixels = frames.normalised(stack, frame)
            pixels = pixels if planes > 1 else pixels[0]
            labels, cellprob = network.whole(pixels, diameter, settings)
        else:
            parts = [
                network.window(
                    lambda span, z=z: frames.window(frame, z, span),
                    whole, window, diameter, settings,
                )
                for z in range(planes)
            ]  # fmt: skip
            labels, cellprob = (np.stack(arrays) for arrays in zip(*parts, strict=True))
            if planes > 1:
                labels = network.join_planes(labels, settings)
        labels = consecutive(labels.reshape(stack.shape))
        return seam_files.Found(labels, probability(labels, cellprob.reshape(stack.shape)))

    around = max(halo, int(np.ceil(2 * (diameter or 0))))
    seam_files.segment_part(
        image,
        out_label,
        segment,
        out_detections=out_detections,
        out_objects=out_objects,
        region=region,
        halo=around + (reach if settings.do_3D else 0),
        stride=networks.STRIDE,
        channel=channel,
    )


if __name__ == "__main__":
    cli.run(main)
