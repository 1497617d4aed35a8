"""Training data of segmentation networks: pairs of image and labels, and their split.

Images are split into those trained on and those held out as a whole, so that no patch of a
held-out image is ever seen; which ones depends on their names and the seed alone.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cytoloom.augment import Pair
from cytoloom.errors import BadData, InputMissing, UsageError

SUFFIXES = (".tif", ".tiff", ".png", ".npy")
LABEL_ENDINGS = ("_labels", "_label", "_cp_masks", "_masks", "_mask", "-labels", "-masks")


def find_pairs(images: str, labels: str) -> list[tuple[str, Path, Path]]:
    """Match image files with label files by name.

    Parameters
    ----------
    images, labels
        A folder, or a quoted glob. A label file is named as its image, or with an ending
        such as ``_masks`` or ``_label``.

    Returns
    -------
    list of (str, Path, Path)
        Name, image and labels, sorted by name. Images without labels are left out.

    Raises
    ------
    InputMissing
        If there are no files, or no image has labels.
    """
    pictures, masks = _files(images), _files(labels)
    exact = {path.stem: path for path in masks}
    ended = {_without_ending(path): path for path in masks}
    pairs = []
    for path in pictures:
        mask = exact.get(path.stem)
        if mask is None or mask == path:
            mask = ended.get(path.stem)
        if mask is not None and mask != path:
            pairs.append((path.stem, path, mask))
    if not pairs:
        raise InputMissing(
            f"no image of {images} has labels in {labels}: a label file must be named as its image "
            f"({pictures[0].stem!r} has no {pictures[0].stem}.tif or {pictures[0].stem}_masks.tif)"
        )
    names = [name for name, _, _ in pairs]
    double = next((a for a, b in itertools.pairwise(names) if a == b), None)
    if double:
        raise BadData(f"{images}: two images are named {double!r}; give them names of their own")
    return pairs


def read_pairs(files: Iterable[tuple[str, Path, Path]], high: float = 99.8) -> list[Pair]:
    """Read and check pairs; a stack (frame, y, x) becomes a pair for each frame.

    ``high`` is the percentile that becomes 1 [%].
    """
    pairs = []
    for name, picture, mask in files:
        image, labels = _array(picture), _array(mask)
        _check(image, labels, picture, mask)
        if image.ndim == 2:
            image, labels = image[np.newaxis], labels[np.newaxis]
        pairs += [Pair.of(name, i, m, high) for i, m in zip(image, labels, strict=True)]
    if not any(pair.labels.any() for pair in pairs):
        raise BadData("no label image has an object in it: nothing to train on")
    return pairs


def _files(place: str) -> list[Path]:
    folder = Path(place).expanduser()
    if folder.is_dir():
        found = folder.iterdir()
    else:
        found = Path(folder.anchor).glob(str(folder.relative_to(folder.anchor)))
    files = sorted(path for path in found if path.suffix.lower() in SUFFIXES)
    if not files:
        what = "has no" if folder.is_dir() else "is no folder and matches no"
        raise InputMissing(f"{place}: {what} image files ({', '.join(SUFFIXES)})")
    return files


def _without_ending(path: Path) -> str | None:
    """Name of the image that a label file belongs to, by its ending; None without one."""
    found = (path.stem.removesuffix(e) for e in LABEL_ENDINGS if path.stem.endswith(e))
    return next(found, None)


def _array(path: Path) -> NDArray:
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        if path.suffix.lower() in (".tif", ".tiff"):
            import tifffile

            return np.asarray(tifffile.imread(path))
        from skimage import io

        return np.asarray(io.imread(path))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise BadData(f"{path}: cannot be read as an image ({error})") from error


def _check(image: NDArray, labels: NDArray, picture: Path, mask: Path) -> None:
    if image.ndim not in (2, 3) or image.shape[-1] in (3, 4):
        raise BadData(
            f"{picture}: shape {image.shape}; give images of one channel, (y, x) or (frame, y, x)"
        )
    if image.shape != labels.shape:
        raise BadData(f"{mask}: shape {labels.shape}, but its image {picture} has {image.shape}")
    if labels.dtype.kind not in "iu":
        raise BadData(f"{mask}: labels must be whole numbers, 0 for background, not {labels.dtype}")
    if labels.min(initial=0) < 0:
        raise BadData(f"{mask}: negative labels; 0 is background, each object has its own number")
    if min(image.shape[-2:]) < 32:
        raise BadData(f"{picture}: {image.shape}, smaller than 32 x 32 pixels")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise BadData(f"{picture}: has pixels without a number (NaN or infinite); mend the image")


def split(names: Sequence[str], held_out: str, seed: int) -> set[str]:
    """Choose the images to hold out, by name: the same for any order of the names.

    Parameters
    ----------
    names
        Names of all images.
    held_out
        A share (0 to 0.9), or a text file with one name on each line.
    seed
        Another seed, other images.

    Raises
    ------
    UsageError, InputMissing
        If it is neither, or leaves nothing to train on.
    """
    unique = sorted(set(names))
    try:
        share = float(held_out)
    except ValueError:
        path = Path(held_out).expanduser()
        if not path.is_file():
            raise InputMissing(f"--held_out {held_out}: neither a share nor a file") from None
        chosen = {line.strip() for line in path.read_text().split("\n") if line.strip()}
        unknown = sorted(chosen - set(unique))
        if unknown:
            raise InputMissing(f"{path}: no image is named {unknown[0]!r}") from None
    else:
        if not 0 <= share <= 0.9:
            raise UsageError(f"--held_out {held_out}: a share is between 0 and 0.9")
        count = max(1, round(share * len(unique))) if share and len(unique) > 1 else 0
        chosen = set(sorted(unique, key=lambda n: order(n, seed))[:count])
    if chosen >= set(unique):
        raise UsageError("--held_out leaves no image to train on")
    return chosen


def order(name: str, seed: int) -> str:
    """Key that sorts names at random, the same way everywhere."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def some(real: Sequence[Pair], simulated: Sequence[Pair], seed: int) -> list[Pair]:
    """Take 24 real pairs and 8 simulated ones of those trained on, to choose thresholds with."""
    chosen = sorted(real, key=lambda p: order(p.name, seed + 1))[:24]
    return chosen + list(simulated[:8])
