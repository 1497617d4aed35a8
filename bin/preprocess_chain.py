#!/usr/bin/env python3
"""Register, second phase: the steps from window to window joined into one transform per frame."""

import numpy as np

from cytoloom import cli, transforms
from cytoloom.errors import InputMissing
from cytoloom.transforms import Affine


def chain(frames, windows, stacks):
    """Return where points of frame 0 are found in each frame.

    Parameters
    ----------
    frames : dict of int to Affine
        From the reference of a frame's window to the frame, by frame.
    windows : dict of int to Affine
        From the reference of the window before to that of the window, by window.
    stacks : int
        Frames per window.

    Returns
    -------
    dict of int to Affine
        By frame; the identity for the first.
    """
    before = {0: Affine.identity()}
    for index in range(1, max(frames) // stacks + 1):
        before[index] = windows[index].after(before[index - 1])
    back = frames[0].inverse()
    found = {t: map_.after(before[t // stacks]).after(back) for t, map_ in frames.items()}
    return found | {0: Affine.identity()}


def main(pairs: cli.InputFile, out_transforms: cli.OutTable) -> None:
    """Join the registrations of all batches: from frame 0, over the windows, to every frame."""
    parts = transforms.read_arrays(pairs, "registrations")
    about = parts[0][0]
    frames, windows, correlation = {}, {}, {}
    for _, rows in parts:
        for link, index, matrix, offset, agreement in zip(
            *(rows[n] for n in ("link", "index", "matrix", "offset", "correlation")), strict=True
        ):
            (windows if link else frames)[int(index)] = Affine(matrix, offset)
            if not link:
                correlation[int(index)] = float(agreement)
    missing = set(range(about["frames"])) - set(frames)
    if missing:
        raise InputMissing(f"{pairs}: no registration of frame {min(missing)}; give all parts")
    maps = chain(frames, windows, about["stacks"])
    transforms.write(
        out_transforms, maps, kind=about["transform"], shape=about["shape"],
        about={k: about[k] for k in ("position", "channel", "pixel_size", "frame_interval")},
        correlation=correlation,
    )  # fmt: skip
    lowest = np.nanmin(list(correlation.values())) if any(
        np.isfinite(list(correlation.values()))
    ) else np.nan  # fmt: skip
    cli.log.info("%s: %d frames, lowest correlation %.3f", about["channel"], len(maps), lowest)


if __name__ == "__main__":
    cli.run(main)
