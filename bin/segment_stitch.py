#!/usr/bin/env python3
"""Third phase of labels across patches: the final label part of one tile."""

from collections import defaultdict

import numpy as np

from cytoloom import cli, images, seam_files
from cytoloom.regions import Region
from cytoloom.seams import box_of, paint


def main(
    label: cli.Label,
    objects: cli.InputFile,
    numbers: cli.InputFile,
    out_label: cli.OutLabel,
    region: cli.RegionText = None,
) -> None:
    """Write a tile's labels with final numbers, objects across its edges as their owners see them.

    Needs the tile's own label part, the objects of the tile and its neighbours, and the
    numbers of its frames.
    """
    layer = images.open_layer(label, kind="label")
    box = Region.parse(region, layer.shape)
    views = {(v.frame, v.core, v.label): v for v in seam_files.read_objects(objects, box.frames)}
    finals = defaultdict(list)
    for final in seam_files.read_numbers(numbers, box.frames):
        finals[final.frame].append(final)
    out = np.zeros(box.shape, np.uint32)
    for index, frame in enumerate(box.frames):
        own = layer.read(box.frame(frame))[0]
        out[index] = paint(own, frame, box_of(box), finals[frame], views)
    images.write_part(out_label, out, region=box, like=layer, kind="label")


if __name__ == "__main__":
    cli.run(main)
