#!/usr/bin/env python3
"""Train a StarDist network on images and labels, or go on with one that is trained.

The losses are StarDist's, with two changes that large nuclei ask for: distances are
weighted by the size of the object, so that a large nucleus does not outweigh a hundred
small ones, and computed on a window wider than the patch, so that rays do not end at the
patch's edge. The probability is StarDist's, of the patch alone: to the network its edge is
an image's, where a nucleus that is cut has to be found by what is seen of it. Weights are
averaged over the last steps.
"""

import contextlib
import functools
import io
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, devices, matches, model_card, training, training_data, training_options
from cytoloom.errors import BadData

log = logging.getLogger("cytoloom")

CONTEXT = 48  # read around a patch, so that objects at its edge are whole [px]
DISTANCE_WEIGHT = 0.2
LARGE_EVERY = 3  # one step in so many has patches of 1.5 times the edge, with large nuclei
RADIUS = 12.0  # an object of this mean radius has weight 1 in the loss of distances [px]
BACKGROUND = 1e-4  # weight of distances outside of objects
PROB_THRESHOLDS = np.arange(0.2, 0.81, 0.05)
NMS_THRESHOLDS = (0.3, 0.4, 0.5)
WEIGHTS = "weights_best.h5"


def targets(labels, inner, rays, grid):
    """Return what the network shall say of a patch.

    Parameters
    ----------
    labels : ndarray, shape (y, x), int32
        Of the patch and what is around it.
    inner : tuple of slice
        Where the patch is in them.
    rays, grid : int
        Number of distances, and step in pixels, of the network.

    Returns
    -------
    probability : ndarray, shape (y, x, 1), float32
        Distance to the object's edge, relative to the largest that is seen of it.
    distances : ndarray, shape (y, x, rays + 1), float32
        Distances to the edge [px], and the weight of each pixel.
    """
    from stardist.geometry import star_dist
    from stardist.utils import edt_prob

    corner = (slice(inner[0].start % grid, None), slice(inner[1].start % grid, None))
    shifted = np.ascontiguousarray(labels[corner])
    distances = star_dist(shifted, rays, grid=(grid, grid), mode="cpp")
    sampled = shifted[::grid, ::grid]
    count = labels.max() + 1
    total = np.bincount(sampled.ravel(), distances.mean(axis=-1).ravel(), count)
    mean = total / np.maximum(np.bincount(sampled.ravel(), minlength=count), 1)
    place = tuple(slice(s.start // grid, s.stop // grid) for s in inner)
    distances, sampled = distances[place], sampled[place]
    probability = edt_prob(labels[inner][::grid, ::grid])
    weight = probability * RADIUS / np.maximum(mean[sampled], 2.0)
    weight[np.isin(sampled, _cut_off(labels))] = 0
    both = np.concatenate([distances, weight[..., np.newaxis]], axis=-1)
    return probability[..., np.newaxis].astype(np.float32), both.astype(np.float32)


def _cut_off(labels):
    """Objects that touch the edge of what was read: their distances are not known."""
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.unique(edge[edge > 0])


def batch(patches, seed, step, *, patch, size, rays, grid):
    """Return the images and targets of a step; they depend on the seed and the step alone."""
    rng = np.random.default_rng([seed, 1, step])
    large = step % LARGE_EVERY == LARGE_EVERY - 1
    edge, count = (patch * 3 // 2, max(1, size // 3)) if large else (patch, size)
    images, probabilities, distances = [], [], []
    for _ in range(count):
        image, labels, inner = patches.draw(rng, edge, CONTEXT, large=large)
        probability, distance = targets(labels, inner, rays, grid)
        images.append(image[inner][..., np.newaxis])
        probabilities.append(probability)
        distances.append(distance)
    return np.stack(images), np.stack(probabilities), np.stack(distances)


def build(folder, base, rays, filters, depth):
    """Return a StarDist model in ``folder``, new or with the weights of ``base``."""
    from stardist.models import Config2D, StarDist2D

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if base is None:
            config = Config2D(
                n_rays=rays, grid=(2, 2), n_channel_in=1, unet_n_depth=depth,
                unet_n_filter_base=filters,
            )  # fmt: skip
        else:
            try:
                start = StarDist2D(None, name=base.name, basedir=str(base.parent))
            except (OSError, ValueError) as error:
                raise BadData(f"{base}: StarDist cannot load this model ({error})") from error
            if start.config.n_dim != 2 or start.config.n_channel_in != 1:
                raise BadData(f"{base}: training goes on with 2-D models of one channel only")
            config = start.config
        model = StarDist2D(config, name=folder.name, basedir=str(folder.parent))
    if base is not None:
        model.keras_model.set_weights(start.keras_model.get_weights())
    return model


def stepper(network, rays):
    """Return a compiled function of one step, and its optimizer."""
    import keras
    import tensorflow as tf

    optimizer = keras.optimizers.Adam(1e-4, global_clipnorm=2.0)
    optimizer.build(network.trainable_variables)

    @tf.function(reduce_retracing=False)
    def step(image, probability, distance):
        true, weight = distance[..., :rays], distance[..., rays:]
        with tf.GradientTape() as tape:
            likely, far = network(image, training=True)
            likely = tf.clip_by_value(likely, 1e-6, 1 - 1e-6)
            cross = -probability * tf.math.log(likely) - (1 - probability) * tf.math.log(1 - likely)
            error = tf.reduce_mean(tf.abs(true - far), axis=-1, keepdims=True)
            off = tf.reduce_mean((1 - weight) * tf.abs(far) * tf.cast(probability == 0, tf.float32))
            miss = tf.reduce_sum(weight * error) / (tf.reduce_sum(weight) + 1.0)
            loss = tf.reduce_mean(cross) + DISTANCE_WEIGHT * miss + BACKGROUND * off
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        return tf.reduce_mean(cross), miss

    return step, optimizer


def train(model, patches, state, *, steps, patch, size, rate, seed, minutes, makers):
    """Train to ``steps`` steps from where ``state`` stands, with a checkpoint now and then."""
    rays, grid = model.config.n_rays, model.config.grid[0]
    network = model.keras_model
    step, optimizer = stepper(network, rays)
    state.restore(network.weights, optimizer.variables)
    make = functools.partial(batch, patches, seed, patch=patch, size=size, rays=rays, grid=grid)

    def learn(number, data):
        optimizer.learning_rate.assign(training.learning_rate(number, steps, rate))
        losses = [float(x) for x in step(*data)]
        state.average(network.weights, number)
        return losses

    def keep():
        state.save(network.weights, optimizer.variables)
        write_weights(model, state.averages)

    training.run(state, steps, make, makers, learn, keep, minutes)


def write_weights(model, weights):
    """Write averaged weights as the model's, whole or not at all."""
    current = model.keras_model.get_weights()
    model.keras_model.set_weights(weights)
    draft = model.logdir / "draft.h5"
    model.keras_model.save_weights(str(draft))
    draft.rename(model.logdir / WEIGHTS)
    model.keras_model.set_weights(current)


def choose_thresholds(model, pairs):
    """Choose the thresholds with the best mean F1 at IoU 0.5 and 0.7 on images trained on."""
    best = (-1.0, 0.5, 0.4)
    raw = [model.predict_sparse(p.image, prob_thresh=float(PROB_THRESHOLDS[0])) for p in pairs]
    for nms in NMS_THRESHOLDS:
        for prob in PROB_THRESHOLDS:
            found = [
                _instances(model, p.image.shape, r, float(prob), nms)
                for p, r in zip(pairs, raw, strict=True)
            ]
            f1 = np.mean(
                [
                    matches.pooled(zip([p.labels for p in pairs], found, strict=True), iou).f1 or 0
                    for iou in (0.5, 0.7)
                ]
            )
            best = max(best, (float(f1), round(float(prob), 2), nms))
    return {"prob": best[1], "nms": best[2]}


def _instances(model, shape, raw, prob, nms):
    probability, distances, points = raw[:3]
    keep = probability > prob
    return model._instances_from_prediction(  # noqa: SLF001 - StarDist's only way to do it twice
        shape, probability[keep], distances[keep], points=points[keep], prob_thresh=prob,
        nms_thresh=nms,
    )[0]  # fmt: skip


def evaluate(model, pairs, prob=None):
    """Score a model on pairs, with its own thresholds or another one of the probability."""
    return matches.evaluate(
        pairs,
        lambda image: model.predict_instances(image, prob_thresh=prob, show_tile_progress=False)[0],
    )


def start_up(cores, gpu):
    """Import TensorFlow, quiet, on so many cores or on the GPU."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS=str(cores))
    if not gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    devices.choose_device(gpu, "tensorflow")


@contextlib.contextmanager
def bfloat16(wanted):
    """Let TensorFlow compute products in bfloat16 meanwhile, where that is wanted."""
    import tensorflow as tf

    def switch(on):
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": on})

    switch(wanted)
    yield
    switch(False)


def main(
    images: training_options.Images,
    labels: training_options.Labels,
    out: Annotated[Path, typer.Option(help="folder of the model to write")],
    base: training_options.Base = None,
    steps: training_options.Steps = 4000,
    batch_size: training_options.BatchSize = 8,
    patch: Annotated[
        int, typer.Option(min=32, help="edge of a patch, a multiple of 32 [px]")
    ] = 128,
    learning_rate: training_options.LearningRate = 4e-4,
    held_out: training_options.HeldOut = "0.15",
    simulated: training_options.Simulated = 0,
    simulated_share: training_options.SimulatedShare = 0.3,
    diameter_low: Annotated[
        float, typer.Option(min=4, help="least diameter that objects are zoomed to [px]")
    ] = 9.0,
    diameter_high: Annotated[
        float, typer.Option(min=4, help="largest diameter that objects are zoomed to [px]")
    ] = 90.0,
    rays: Annotated[int, typer.Option(min=8, help="rays of a new network")] = 32,
    filters: Annotated[int, typer.Option(min=4, help="filters of a new network")] = 32,
    depth: Annotated[int, typer.Option(min=1, max=5, help="levels of a new network")] = 3,
    licence: training_options.Licence = "not given",
    source: training_options.Source = "",
    seed: training_options.Seed = 0,
    checkpoint_minutes: training_options.CheckpointMinutes = 4.0,
    gpu: devices.Gpu = False,
    cores: cli.Cores = 1,
) -> None:
    """Train a StarDist network on pairs of images and labels.

    The model, its thresholds, its card (README.md) and checksums are written to a folder that
    the StarDist step takes as model_name. The same command again goes on where it was
    stopped; when it had ended, it is scored again.
    """
    files = training_data.find_pairs(images, labels)
    kept = training_data.split([name for name, _, _ in files], held_out, seed)
    pairs = training_data.read_pairs(files)
    start = model_card.base_folder(base, "stardist")
    threads, makers = training.share_of_cores(cores, gpu)
    start_up(threads, gpu)
    out = out.expanduser().resolve()
    state = training.State.open(out, WEIGHTS)
    model = build(out, start, rays, filters, depth)
    training.check_patch(patch, 2 * max(model._axes_div_by("YX")))  # noqa: SLF001 - no other way
    seen = [p for p in pairs if p.name not in kept]
    patches = training.Patches(
        seen,
        training.simulated_pairs(simulated, seed, makers=makers),
        share_simulated=simulated_share,
        diameters=(diameter_low, diameter_high),
    )
    log.info("%d images to train on, %d held out", len(seen), len(pairs) - len(seen))
    with bfloat16(not gpu and devices.fast_bfloat16()):
        train(
            model, patches, state, steps=steps, patch=patch, size=batch_size, rate=learning_rate,
            seed=seed, minutes=checkpoint_minutes, makers=makers,
        )  # fmt: skip
    model.keras_model.set_weights(state.averages)
    thresholds = choose_thresholds(model, training_data.some(seen, patches.simulated, seed))
    (out / "thresholds.json").write_text(json.dumps(thresholds))
    model.thresholds = thresholds
    model_card.write(
        out,
        kind="StarDist",
        facts={
            "Data": f"{source or images}; licence: {licence}",
            "Network": f"StarDist, 2-D, one channel, {model.config.n_rays} rays, "
            f"grid {model.config.grid[0]}, U-Net of depth {model.config.unet_n_depth}",
            "Started from": str(base or "random weights"),
            "Training": f"{steps} steps of {batch_size} patches of {patch} px, learning rate "
            f"{learning_rate:g}, seed {seed}, {simulated} simulated frames "
            f"({simulated_share:.0%} of patches), "
            f"{state.seconds:.0f} s on {'a GPU' if gpu else f'{cores} CPU core(s)'}",
            "Thresholds": f"probability {thresholds['prob']:g}, overlap {thresholds['nms']:g}, "
            "chosen on images that were trained on",
        },
        images=(len(seen), sorted(kept)),
        scores=evaluate(model, [p for p in pairs if p.name in kept]),
        files=("config.json", "thresholds.json", WEIGHTS),
    )


if __name__ == "__main__":
    cli.run(main)
