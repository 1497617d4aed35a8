"""Training of segmentation networks: patches, learning rate, checkpoints.

Patches of step n depend on the seed and n alone, so a training that was stopped goes on as
if it had not been.
"""

from __future__ import annotations

import functools
import itertools
import logging
import multiprocessing
import os
import pickle
import shutil
import threading
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cytoloom.augment import Pair, relight, window
from cytoloom.errors import BadData, UsageError

Made = TypeVar("Made")
log = logging.getLogger("cytoloom")


@dataclass(frozen=True)
class Patches:
    """Where patches come from: pairs of images, simulated frames, sizes of nuclei.

    ``natural`` is the share of patches of real images at about their own scale; the others
    are zoomed so that objects have a diameter drawn between the bounds.
    """

    real: list[Pair]
    simulated: list[Pair]
    share_simulated: float = 0.3
    natural: float = 0.6
    diameters: tuple[float, float] = (9.0, 90.0)
    zooms: tuple[float, float] = (0.4, 3.0)
    zooms_simulated: tuple[float, float] = (0.7, 1.4)
    _strata: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Group real images by shape: each group is drawn from by the root of its size."""
        shapes: dict[tuple[int, ...], list[int]] = {}
        for index, pair in enumerate(self.real):
            shapes.setdefault(pair.image.shape, []).append(index)
        self._strata.extend(shapes[key] for key in sorted(shapes))

    def draw(
        self, rng: np.random.Generator, patch: int, margin: int, *, large: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], tuple[slice, slice]]:
        """Draw a patch as `augment.window` returns it; ``large``: of large nuclei only."""
        low, high = self.diameters
        if large:
            low = max(low, 0.3 * high)
        wanted = np.exp(rng.uniform(np.log(low), np.log(high)))
        if self.simulated and (not self.real or rng.uniform() < self.share_simulated):
            pair = self._near(rng, wanted)
            zoom = np.clip(wanted / pair.diameter, *self.zooms_simulated)
        else:
            weights = np.sqrt([sum(1 for _ in s) for s in self._strata])
            stratum = self._strata[rng.choice(len(weights), p=weights / weights.sum())]
            pair = self.real[rng.choice(stratum)]
            zoom = np.clip(wanted / max(pair.diameter, 4), *self.zooms)
            if not large and rng.uniform() < self.natural:
                zoom = np.exp(rng.normal(0, 0.12))
        image, labels, inner = window(rng, pair, patch, float(zoom), margin)
        return relight(rng, image, labels), labels, inner

    def _near(self, rng: np.random.Generator, diameter: float) -> Pair:
        """Draw one of the simulated frames whose nuclei are nearest to a diameter."""
        distance = np.abs(np.log([p.diameter / diameter for p in self.simulated]))
        nearest = np.argsort(distance, kind="stable")[: max(1, len(distance) // 6)]
        return self.simulated[rng.choice(nearest)]


def simulated_pairs(
    count: int, seed: int, high: float = 99.8, edge: int = 320, makers: int = 0
) -> list[Pair]:
    """Simulate frames of ``edge`` px, in ``makers`` processes (`ahead`)."""
    make = functools.partial(_simulated_pair, seed, high, edge)
    return [pair for pair in ahead(make, range(count), makers) if pair.diameter > 0]


def _simulated_pair(seed: int, high: float, edge: int, index: int) -> Pair:
    """Simulate a frame, which depends on the seed and its index alone."""
    from cytoloom.simulated_nuclei import simulate

    image, labels = simulate(np.random.default_rng([seed, 7, index]), (edge, edge))
    return Pair.of(f"simulated {index}", image, labels, high)


def check_patch(patch: int, multiple: int) -> None:
    """Refuse a patch that a network cannot take."""
    if patch % multiple:
        raise UsageError(f"--patch {patch}: not a multiple of {multiple}")


def share_of_cores(cores: int, gpu: bool = False) -> tuple[int, int]:
    """Cores for the network, and processes that make patches for it: 0 on a single core."""
    makers = cores - 1 if gpu else round(cores / 3)
    return cores - makers, makers


def ahead(make: Callable[[int], Made], numbers: Iterable[int], makers: int) -> Iterator[Made]:
    """Give ``make(number)`` of each number in order, made in other processes ahead of time.

    Parameters
    ----------
    make
        A function that can be pickled; its result depends on the number alone.
    numbers
        What to call it with.
    makers
        How many processes; 0 makes each when it is asked for.
    """
    if not makers:
        yield from map(make, numbers)
        return
    context = multiprocessing.get_context("spawn")
    left = iter(numbers)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="cytoloom-patches-")))
        _store(make, folder)
        pool = stack.enter_context(ProcessPoolExecutor(makers, context, _keep, (folder,)))
        waiting = deque(pool.submit(_make, n) for n in itertools.islice(left, 4 * makers))
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(pool.submit(_make, n) for n in itertools.islice(left, 1))
            yield made


def run(
    state: State,
    steps: int,
    make: Callable[[int], Made],
    makers: int,
    learn: Callable[[int, Made], Sequence[float]],
    keep: Callable[[], None],
    minutes: float,
) -> None:
    """Take the steps that are left of a training, and say now and then how it goes.

    Parameters
    ----------
    make, makers
        Patches of a step by its number, and how many processes make them (`ahead`).
    learn
        Takes a step, by its number and its patches, and returns its losses.
    keep
        Writes the checkpoint and the model: every ``minutes`` [min], and at the end.
    """
    numbers = range(state.step, steps)
    begun, losses = time.monotonic(), []
    for number, patches in zip(numbers, ahead(make, numbers, makers), strict=True):
        losses.append(learn(number, patches))
        state.step = number + 1
        now = time.monotonic()
        if now - begun > 60 * minutes or state.step == steps:
            state.seconds += now - begun
            begun = now
            keep()
            means = " ".join(f"{mean:.4f}" for mean in np.mean(losses, axis=0))
            log.info("step %d of %d, %.0f s, losses %s", state.step, steps, state.seconds, means)
            losses = []


def _store(make: Callable[[int], Any], folder: Path) -> None:
    """Write a function, and the arrays that it holds into a file of their own."""
    buffers: list[pickle.PickleBuffer] = []
    kept = pickle.dumps(make, protocol=5, buffer_callback=buffers.append)
    sizes = []
    with (folder / "arrays").open("wb") as file:
        for buffer in buffers:
            sizes.append(file.write(buffer.raw()))
            file.write(bytes(-sizes[-1] % _ALIGNED))
    (folder / "make").write_bytes(pickle.dumps((kept, sizes)))


def _load(folder: Path) -> Callable[[int], Any]:
    """Read what `_store` wrote; its arrays, not to be written to, are shared by processes."""
    kept, sizes = pickle.loads((folder / "make").read_bytes())
    padded = [size + -size % _ALIGNED for size in sizes]
    whole = np.memmap(folder / "arrays", mode="r") if any(sizes) else np.empty(0, np.uint8)
    starts = itertools.accumulate(padded, initial=0)
    buffers = [whole[start : start + size] for start, size in zip(starts, sizes, strict=False)]
    made: Callable[[int], Any] = pickle.loads(kept, buffers=buffers)
    return made


def _keep(folder: Path) -> None:
    """Keep the function in a process that ends with its parent."""
    _kept.append(_load(folder))
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()


def _end_with_parent(folder: Path) -> None:
    """End this process, and remove the arrays, when a signal has ended the one that asked."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _make(number: int) -> Any:
    return _kept[0](number)


_kept: list[Callable[[int], Any]] = []
_ALIGNED = 64  # bytes at which arrays begin


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Rate of a step: it rises over the first 100, then falls as a cosine to a hundredth."""
    warm = min(1.0, (step + 1) / min(100, max(steps // 10, 1)))
    return highest * warm * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * step / steps)))


@dataclass
class State:
    """Where a training stands: what a checkpoint holds."""

    path: Path
    step: int = 0
    seconds: float = 0.0
    averages: list[NDArray] = field(default_factory=list)
    _arrays: list[NDArray] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path, weights: str) -> State:
        """Read the checkpoint beside the folder of a model; a new state where there is none.

        Raises
        ------
        BadData
            If it is none, or the folder holds a model of another origin.
        """
        path = folder.with_name(f"{folder.name}.checkpoint.npz")
        folder.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            if (folder / weights).exists():
                raise BadData(
                    f"{folder}: holds a model already, and no {path.name} is beside it to go on "
                    "from; give another --out, and that model as --base"
                )
            return cls(path)
        try:
            with np.load(path) as data:
                averages = [data[f"a{i}"] for i in range(int(data["averages"]))]
                arrays = [data[f"v{i}"] for i in range(int(data["arrays"]))]
                return cls(path, int(data["step"]), float(data["seconds"]), averages, arrays)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise BadData(f"{path}: not a checkpoint ({error}); remove it to begin anew") from error

    def restore(self, weights: Sequence[Any], optimizer: Sequence[Any]) -> None:
        """Put the checkpoint's numbers into the variables of a network and its optimizer."""
        variables = [*weights, *optimizer]
        if self._arrays and len(self._arrays) != len(variables):
            raise BadData(f"{self.path}: of another network; remove it to begin anew")
        for variable, array in zip(variables, self._arrays, strict=False):
            if tuple(variable.shape) != array.shape:
                raise BadData(f"{self.path}: of another network; remove it to begin anew")
            variable.assign(array)
        if not self.averages:
            self.averages = [np.array(w) for w in weights]

    def average(self, weights: Sequence[Any], step: int, decay: float = 0.998) -> None:
        """Move the running average of the weights towards those of this step.

        After the first steps only every eighth counts: to fetch weights from a GPU takes time.
        """
        every = 1 if step < 100 else 8
        if step % every:
            return
        share = 1 - min(decay**every, (1 + step) / (10 + step))
        for kept, new in zip(self.averages, weights, strict=True):
            kept += np.float32(share) * (np.asarray(new) - kept)

    def save(self, weights: Sequence[Any], optimizer: Sequence[Any]) -> None:
        """Write the checkpoint, whole or not at all."""
        variables = [np.asarray(v) for v in (*weights, *optimizer)]
        draft = self.path.with_suffix(".draft.npz")
        arrays: dict[str, Any] = {
            "step": self.step,
            "seconds": self.seconds,
            "averages": len(self.averages),
            "arrays": len(variables),
            **{f"a{i}": a for i, a in enumerate(self.averages)},
            **{f"v{i}": v for i, v in enumerate(variables)},
        }
        np.savez(draft, **arrays)
        draft.rename(self.path)
