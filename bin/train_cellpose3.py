#!/usr/bin/env python3
"""Train a Cellpose 3 network on images and labels, or go on with one that is trained.

Cellpose sees every image rescaled so that objects have about the model's mean diameter, so
patches are zoomed to that, with a spread for what the estimate of the diameter will be off
by. It pads images with zeros, so some patches end so. The loss is Cellpose's. Weights are
averaged over the last steps.
"""

import functools
import logging
import os
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cytoloom import (
    cli,
    devices,
    matches,
    model_card,
    models,
    training,
    training_data,
    training_options,
)
from cytoloom.errors import BadData

log = logging.getLogger("cytoloom")

CONTEXT = 16  # read around a patch, so that objects at its edge are whole [px]
SPREAD = (0.55, 2.0)  # diameters of patches, relative to the model's
ENDING = 0.4  # share of patches in which the image ends
PADDING = (8, 32)  # from the patch's edge to where it ends [px]
PERCENTILE = 99.0  # what Cellpose normalises to 1 [%]
WEIGHTS = "weights.pt"


class Variable:
    """A tensor with the manners of `training.State`."""

    def __init__(self, tensor):
        self.tensor = tensor
        self.shape = tuple(tensor.shape)

    def assign(self, array):
        """Take the numbers of an array."""
        import torch

        with torch.no_grad():
            self.tensor.copy_(torch.from_numpy(np.asarray(array)))

    def __array__(self, dtype=None, copy=None):
        """Give the numbers as an array of its own."""
        array = self.tensor.detach().cpu().numpy().copy()
        return array if dtype is None else array.astype(dtype)


def targets(labels, inner):
    """Return what the network shall say of a patch: foreground and flows, shape (3, y, x)."""
    from cellpose import dynamics

    whole = np.zeros((3, *labels.shape), np.float16)
    if labels.any():
        _, numbered = np.unique(labels, return_inverse=True)
        numbered = numbered.reshape(labels.shape) + int(labels.min() > 0)
        whole[0] = labels > 0
        whole[1:] = dynamics.masks_to_flows_cpu(numbered)[0]  # each object as long as it needs
    return whole[(slice(None), *inner)]


def end_image(rng, image, labels, inner):
    """Let the image end inside the patch, at one to four sides, as Cellpose pads it.

    Parameters
    ----------
    image, labels : ndarray, shape (y, x)
        Changed in place: 0 outside of where the image is.
    inner : tuple of slice
        Where the patch is in them.
    """
    beyond = np.ones(image.shape, bool)
    ends = rng.uniform(size=4) < 0.4
    ends[rng.integers(4)] = True
    low, high = (np.where(ends[i : i + 2], rng.integers(*PADDING, 2), 0) for i in (0, 2))
    kept = tuple(
        slice(where.start + a if a else None, where.stop - b if b else None)
        for where, a, b in zip(inner, low, high, strict=True)
    )
    beyond[kept] = False
    image[beyond] = 0
    labels[beyond] = 0


def batch(patches, seed, step, *, patch, size):
    """Return images (n, 1, y, x) and targets (n, 3, y, x) of a step, by seed and step alone."""
    rng = np.random.default_rng([seed, 1, step])
    images, truths = [], []
    for _ in range(size):
        image, labels, inner = patches.draw(rng, patch, CONTEXT)
        if rng.uniform() < ENDING:
            end_image(rng, image, labels, inner)
        images.append(image[np.newaxis, *inner])
        truths.append(targets(labels, inner))
    return np.stack(images), np.stack(truths)


def build(base, diameter, device):
    """Return a Cellpose model, new or with the weights of the file ``base``."""
    import torch
    from cellpose.models import CellposeModel

    try:
        model = CellposeModel(
            device=torch.device(device),
            pretrained_model=str(base) if base else False,
            diam_mean=diameter,
        )
    except (OSError, RuntimeError, AssertionError, KeyError) as error:
        raise BadData(f"{base}: Cellpose 3 cannot load this model ({error})") from error
    model.mkldnn = model.net.mkldnn = False  # this memory layout is for inference only
    return model


def train(model, patches, state, *, steps, patch, size, rate, seed, minutes, out, makers, half):
    """Train to ``steps`` steps from where ``state`` stands, with a checkpoint now and then."""
    import torch

    layout = torch.channels_last if half else torch.contiguous_format  # a third faster
    network = model.net.to(memory_format=layout)
    network.train()
    learned = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=rate, weight_decay=1e-5)
    for p in learned:
        optimizer.state[p] = {
            "step": torch.tensor(0.0),
            "exp_avg": torch.zeros_like(p),
            "exp_avg_sq": torch.zeros_like(p),
        }
    weights = [Variable(t) for t in floats(network).values()]
    moments = [Variable(t) for p in learned for t in optimizer.state[p].values()]
    state.restore(weights, moments)
    cross = torch.nn.BCEWithLogitsLoss()
    square = torch.nn.MSELoss()
    make = functools.partial(batch, patches, seed, patch=patch, size=size)

    def learn(number, data):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate(number, steps, rate)
        image, truth = (torch.from_numpy(a).to(model.device).float() for a in data)
        image = torch.cat([image, torch.zeros_like(image)], 1)  # the channel that is not given
        with torch.autocast(model.device.type, torch.bfloat16, enabled=half):
            said = network(image.contiguous(memory_format=layout))[0].float()
        flow, fore = square(said[:, :2], 5 * truth[:, 1:]) / 2, cross(said[:, 2], truth[:, 0])
        optimizer.zero_grad()
        (flow + fore).backward()
        torch.nn.utils.clip_grad_norm_(learned, 5.0)
        optimizer.step()
        state.average(weights, number)
        return [flow.item(), fore.item()]

    def keep():
        state.save(weights, moments)
        write_weights(network, state.averages, out / WEIGHTS)

    training.run(state, steps, make, makers, learn, keep, minutes)


def floats(network):
    """Tensors of a network by name, without counters and constants."""
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not name.startswith("diam_")
    }


def write_weights(network, averages, path):
    """Write averaged weights as a model of Cellpose 3, whole or not at all."""
    import torch

    kept = dict(network.state_dict())
    for name, array in zip(floats(network), averages, strict=True):
        kept[name] = torch.from_numpy(array.copy())
    draft = path.with_suffix(".draft")
    torch.save({name: tensor.cpu() for name, tensor in kept.items()}, draft)
    draft.rename(path)


def evaluate(path, pairs, device):
    """Score the model in a file on pairs: with their diameter given, as Cellpose does."""
    model = build(path, 17.0, device)

    def segment(pair):
        return model.eval(
            pair.image, channels=[0, 0], diameter=max(pair.diameter, 4.0), normalize=False
        )[0]

    found = {id(pair.image): pair for pair in pairs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return matches.evaluate(pairs, lambda image: segment(found[id(image)]))


def main(
    images: training_options.Images,
    labels: training_options.Labels,
    out: Annotated[Path, typer.Option(help="folder of the model to write")],
    base: training_options.Base = None,
    steps: training_options.Steps = 2000,
    batch_size: training_options.BatchSize = 8,
    patch: Annotated[
        int, typer.Option(min=32, help="edge of a patch, a multiple of 16 [px]")
    ] = 160,
    learning_rate: training_options.LearningRate = 1e-3,
    held_out: training_options.HeldOut = "0.15",
    simulated: training_options.Simulated = 0,
    simulated_share: training_options.SimulatedShare = 0.3,
    diameter: Annotated[
        float, typer.Option(min=5, help="mean diameter of a new network [px]")
    ] = 17.0,
    licence: training_options.Licence = "not given",
    source: training_options.Source = "",
    seed: training_options.Seed = 0,
    checkpoint_minutes: training_options.CheckpointMinutes = 4.0,
    gpu: devices.Gpu = False,
    cores: cli.Cores = 1,
) -> None:
    """Train a Cellpose 3 network on pairs of images and labels.

    The model, its card (README.md) and checksums are written to a folder that the CellPose step
    takes as model_name. The same command again goes on where it was stopped; when it had
    ended, it is scored again.
    """
    training.check_patch(patch, 16)
    files = training_data.find_pairs(images, labels)
    kept = training_data.split([name for name, _, _ in files], held_out, seed)
    pairs = training_data.read_pairs(files, PERCENTILE)
    start = models.weights_of(base, ("cellpose3",)) if base else None
    threads, makers = training.share_of_cores(cores, gpu)
    os.environ.update(OMP_NUM_THREADS=str(threads))
    import torch

    torch.set_num_threads(threads)
    out = out.expanduser().resolve()
    state = training.State.open(out, WEIGHTS)
    device = devices.choose_device(gpu, "torch")
    model = build(start, diameter, device)
    seen = [p for p in pairs if p.name not in kept]
    mean = float(model.diam_mean)
    with torch.no_grad():
        model.net.diam_labels.fill_(float(np.median([p.diameter for p in seen if p.diameter])))
    patches = training.Patches(
        seen,
        training.simulated_pairs(simulated, seed, PERCENTILE, makers=makers),
        share_simulated=simulated_share,
        natural=0.0,
        diameters=(SPREAD[0] * mean, SPREAD[1] * mean),
        zooms=(0.1, 4.0),
        zooms_simulated=(0.1, 1.5),
    )
    log.info("%d images to train on, %d held out", len(seen), len(pairs) - len(seen))
    train(
        model, patches, state, steps=steps, patch=patch, size=batch_size, rate=learning_rate,
        seed=seed, minutes=checkpoint_minutes, out=out, makers=makers,
        half=devices.fast_bfloat16(device),
    )  # fmt: skip
    model_card.write(
        out,
        kind="Cellpose 3",
        facts={
            "Data": f"{source or images}; licence: {licence}",
            "Network": f"Cellpose 3 (CPnet), one channel, mean diameter {mean:g} px",
            "Started from": str(base or "random weights"),
            "Training": f"{steps} steps of {batch_size} patches of {patch} px, learning rate "
            f"{learning_rate:g}, seed {seed}, {simulated} simulated frames "
            f"({simulated_share:.0%} of patches), "
            f"{state.seconds:.0f} s on {'a GPU' if gpu else f'{cores} CPU core(s)'}",
            "Scores": "with the median diameter of each image given",
        },
        images=(len(seen), sorted(kept)),
        scores=evaluate(out / WEIGHTS, [p for p in pairs if p.name in kept], device),
        files=(WEIGHTS,),
    )


if __name__ == "__main__":
    cli.run(main)
