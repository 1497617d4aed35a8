#!/usr/bin/env python3
"""Second phase of labels across patches: which tile owns which object, and its number."""

from cytoloom import cli, seam_files
from cytoloom.seams import decide


def main(objects: cli.InputFile, out_numbers: cli.OutFile) -> None:
    """Decide from the objects of all tiles which are one object, and number them.

    Objects are numbered 1 to n in each frame by their first pixel in raster order.
    """
    finals = decide(seam_files.read_objects(objects))
    seam_files.write_numbers(out_numbers, finals)


if __name__ == "__main__":
    cli.run(main)
