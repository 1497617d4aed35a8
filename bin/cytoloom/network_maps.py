"""Maps of a frame by an ONNX network, block by block, the same for any cut into patches.

Blocks stand on one lattice of the whole frame, so a pixel comes from the same block
whatever patch it is in. A frame that fits into one block is seen whole, as the engine
sees it. Networks of planes see the planes of a stack one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import bioimageio, models, network_numbers, provenance
from cytoloom.errors import BadData, UsageError
from cytoloom.images import Layer
from cytoloom.pixels import numbers
from cytoloom.regions import Region
from cytoloom.statistics import Statistics

USUAL_HALO = 32  # where a network declares none [px]


class Normalise(StrEnum):
    """What is done to the numbers before a network."""

    declared = "declared"
    none = "none"
    percentile = "percentile"
    mean_std = "mean_std"


class Activation(StrEnum):
    """What is done to the outputs of a network."""

    declared = "declared"
    none = "none"
    sigmoid = "sigmoid"
    softmax = "softmax"


ModelName = Annotated[
    str,
    typer.Option(
        help="path of an .onnx file, or of a bioimage.io model (folder or zip file); or the name "
        "of one in the models folder of the cache"
    ),
]
Block = Annotated[
    int,
    typer.Option(
        min=64, help="edge of what the network sees at once, where it takes any size [px]"
    ),
]
BlockHalo = Annotated[
    int | None,
    typer.Option(
        min=0, help="edge of a block whose output is not used [px]; default: the model's, or 32"
    ),
]
Multiple = Annotated[
    int,
    typer.Option(
        min=1, help="a plain .onnx file of any size: sizes that it takes are multiples [px]"
    ),
]
Axes = Annotated[
    str | None,
    typer.Option(help="a plain .onnx file: order of its axes; default: bcyx, or bczyx of 5 axes"),
]
NormaliseOption = Annotated[
    Normalise,
    typer.Option(
        help="intensities before the network: as the model declares (a plain .onnx file: none), "
        "percentiles 1 and 99.8 of the frame to 0 and 1, or mean 0 and standard deviation 1"
    ),
]
ActivationOption = Annotated[
    Activation,
    typer.Option(help="outputs of the network: as the model declares, or made probabilities"),
]
_BEFORE: dict[Normalise, network_numbers.Steps] = {
    Normalise.none: (),
    Normalise.percentile: (("scale_range", {"min_percentile": 1, "max_percentile": 99.8}),),
    Normalise.mean_std: (("zero_mean_unit_variance", {}),),
}
_AFTER: dict[Activation, network_numbers.Steps] = {
    Activation.none: (),
    Activation.sigmoid: (("sigmoid", {}),),
    Activation.softmax: (("softmax", {}),),
}


@dataclass(frozen=True)
class Network:
    """A network that is ready to run.

    Attributes
    ----------
    block, halo
        Edges along z, y, x of what it sees at once, and of what of it is not used.
    """

    session: Any
    about: bioimageio.Description
    block: tuple[int, int, int]
    halo: tuple[int, int, int]

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return 3 if "z" in self.about.axes else 2

    def run(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the outputs (channel, z, y, x) of pixels (z, y, x), of any size.

        What the network cannot take as it is is mirrored at its end.
        """
        fitted = [
            self.about.sizes.get(a, bioimageio.Size()).fit(n)
            for a, n in zip("zyx", pixels.shape, strict=True)
        ]
        if self.dimensions == 2:
            fitted[0] = len(pixels)
            planes = _padded(pixels, fitted)
            outputs = np.concatenate([self._once(plane[np.newaxis]) for plane in planes], axis=1)
        else:
            outputs = self._once(_padded(pixels, fitted))
        z, y, x = pixels.shape
        return outputs[:, :z, :y, :x]

    def _once(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        letters = "zyx"[-self.dimensions :]
        spatial = [a for a in self.about.axes if a in letters]
        tensor = pixels.reshape(pixels.shape[-self.dimensions :])
        tensor = tensor.transpose([letters.index(a) for a in spatial])
        size: dict[str, int] = dict(zip(spatial, tensor.shape, strict=True))
        tensor = tensor.reshape([size.get(a, 1) for a in self.about.axes])
        name = self.session.get_inputs()[0].name
        try:
            found = self.session.run(None, {name: np.ascontiguousarray(tensor)})[0]
        except Exception as error:  # the runtime's own errors share no base
            raise BadData(
                f"the network refuses a block of {tensor.shape} ({str(error).splitlines()[0]}); "
                "give its multiple, or another block"
            ) from error
        axes = self.about.output_axes
        if found.ndim != len(axes):
            raise BadData(f"the network gives {found.ndim} axes, its description {axes!r}")
        gone = tuple(i for i, a in enumerate(axes) if a not in "czyx")
        kept = [a for a in axes if a in "czyx"]
        found = found.squeeze(gone)
        found = found.transpose([kept.index(a) for a in "czyx" if a in kept])
        for axis, letter in enumerate("czyx"):
            if letter not in kept:
                found = np.expand_dims(found, axis)
        if found.shape[1:] != pixels.shape:
            raise BadData(
                f"the network makes {found.shape[1:]} of {pixels.shape} (z, y, x): only maps of "
                "the image's size can be used"
            )
        return np.asarray(found, np.float32)


def _padded(pixels: NDArray[Any], fitted: Sequence[int]) -> NDArray[Any]:
    if any(n > size for n, size in zip(pixels.shape, fitted, strict=True)):
        raise BadData(f"a frame of {pixels.shape} for a network of {tuple(fitted)}")
    extra = [(0, size - n) for n, size in zip(pixels.shape, fitted, strict=True)]
    return np.pad(pixels, extra, mode="symmetric") if any(e for _, e in extra) else pixels


def load(
    name: str,
    *,
    cores: int = 1,
    block: int = 512,
    block_halo: int | None = None,
    multiple: int = 16,
    axes: str | None = None,
    normalise: Normalise = Normalise.declared,
    activation: Activation = Activation.declared,
) -> Network:
    """Load a network by name or path; the arguments are those of the steps.

    Raises
    ------
    InputMissing, BadData
        If it is not there, or cannot be followed.
    """
    import onnxruntime

    package = bioimageio.Package(models.find_model(name, "core").resolve())
    provenance.note(model=package.path.name, model_sha=models.digest(package.path))
    about = bioimageio.describe(package)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = cores, 1
    options.log_severity_level = 4
    weights = package.read(about.weights if about else package.path.name)
    try:
        session = onnxruntime.InferenceSession(weights, options, ["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own errors share no base
        raise BadData(
            f"{package.path}: not an ONNX network ({str(error).splitlines()[0]})"
        ) from error
    if len(session.get_inputs()) != 1:
        raise BadData(
            f"{package.path}: a network of {len(session.get_inputs())} inputs; use one of 1"
        )
    about = about or _plain(session, axes, multiple)
    _check_channel(session, about, package.path)
    if normalise is not Normalise.declared:
        about = replace(about, before=tuple(_BEFORE[normalise]))
    if activation is not Activation.declared:
        about = replace(about, after=tuple(_AFTER[activation]))
    return _laid_out(session, about, block, block_halo)


def _plain(session: Any, axes: str | None, multiple: int) -> bioimageio.Description:
    shape = session.get_inputs()[0].shape
    axes = axes or {4: "bcyx", 5: "bczyx"}.get(len(shape), "")
    if len(axes) != len(shape) or not set("yx") <= set(axes) or not set(axes) <= set("bczyx"):
        raise UsageError(
            f"the network's input has {len(shape)} axes: give them by axes, such as bcyx"
        )
    sizes = {
        a: bioimageio.Size(n, 0) if isinstance(n, int) else bioimageio.Size(multiple, multiple)
        for a, n in zip(axes, shape, strict=True)
        if a in "zyx"
    }
    return bioimageio.Description("", axes, axes, sizes)


def _check_channel(session: Any, about: bioimageio.Description, path: Path) -> None:
    shape = session.get_inputs()[0].shape
    if len(shape) != len(about.axes):
        raise BadData(f"{path}: its input has {len(shape)} axes, its description {about.axes!r}")
    for letter, n in zip(about.axes, shape, strict=True):
        if letter not in "zyx" and isinstance(n, int) and n != 1:
            raise BadData(f"{path}: takes {n} along {letter!r}; use a network of one channel")


def _laid_out(
    session: Any, about: bioimageio.Description, block: int, block_halo: int | None
) -> Network:
    edges, halos = [], []
    for letter in "zyx":
        size = about.sizes.get(letter, bioimageio.Size())
        declared = about.halo.get(letter, 0) or USUAL_HALO
        halo = declared if block_halo is None else block_halo
        edge = size.least if not size.step else size.fit(block)
        if letter == "z" and "z" not in about.axes:
            edge, halo = 2**30, 0
        if edge <= 2 * halo:
            raise UsageError(f"blocks of {edge} px with a halo of {halo} px leave nothing over")
        edges.append(edge)
        halos.append(halo)
    return Network(session, about, (edges[0], edges[1], edges[2]), (halos[0], halos[1], halos[2]))


def lattice(
    frame: Sequence[int], need: Sequence[tuple[int, int]], network: Network
) -> Iterator[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
    """Yield the blocks of a frame that meet ``need``: the core of each, and what it reads.

    Blocks begin on multiples of the network's step, so that it pools as in the whole frame.
    """
    axes = []
    for letter, n, span, edge, halo in zip(
        "zyx", frame, need, network.block, network.halo, strict=True
    ):
        if n <= edge:
            axes.append([((0, n), (0, n))])
            continue
        core = edge - 2 * halo
        step = network.about.sizes.get(letter, bioimageio.Size()).step
        axes.append(
            [
                ((k * core, min((k + 1) * core, n)), _reads(k * core - halo, edge, step, n))
                for k in range(span[0] // core, math.ceil(span[1] / core))
            ]
        )
    for z in axes[0]:
        for y in axes[1]:
            for x in axes[2]:
                yield [z[0], y[0], x[0]], [z[1], y[1], x[1]]


def _reads(start: int, edge: int, step: int, size: int) -> tuple[int, int]:
    if not step:  # exactly this size
        start = min(max(0, start), size - edge)
        return start, start + edge
    end = min(size, start + edge)
    start = max(0, start) // step * step
    return start, min(size, start + -(-(end - start) // step) * step)


def map_region(
    layer: Layer, region: Region, network: Network, known: Statistics
) -> NDArray[np.float32]:
    """Return the maps of a region of one frame.

    Parameters
    ----------
    layer
        Image; its parts at hand must hold all blocks that meet the region.
    region
        One frame.
    known
        Histograms of the frames.

    Returns
    -------
    ndarray, shape (channel, z, y, x)
    """
    values, counts = known.histogram([region.t[0]])
    frame, need = layer.shape[1:], region.spans[1:]
    out = None
    for core, read in lattice(frame, need, network):
        pixels = _read(layer, region.t, read)
        pixels = network_numbers.prepare(
            numbers(pixels, values[0], values[-1]), network.about.before, values, counts
        )
        found = network.run(pixels.astype(np.float32))
        found = network_numbers.finish(found, network.about.after)
        common = [(max(a, p), min(b, q)) for (a, b), (p, q) in zip(core, need, strict=True)]
        inside = tuple(slice(a - r, b - r) for (a, b), (r, _) in zip(common, read, strict=True))
        place = tuple(slice(a - p, b - p) for (a, b), (p, _) in zip(common, need, strict=True))
        if out is None:
            out = np.zeros((len(found), *region.shape[1:]), np.float32)
        out[(slice(None), *place)] = found[(slice(None), *inside)]
    assert out is not None
    return out


def _read(layer: Layer, t: tuple[int, int], spans: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """Read a block of one frame."""
    box = Region(t, *spans)
    if layer.region.intersect(box) != box:
        edge = max(b - a for a, b in spans[1:])
        raise BadData(
            f"a block of {edge} px leaves the patches at hand: make the patches of `patching` "
            f"larger than {edge} px, or `block` smaller"
        )
    return layer.read(box)[0]
