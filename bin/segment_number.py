#!/usr/bin/env python3
"""Second phase of labels across patches: which tile owns which object, and its number."""

from cytoloom import cli, seam_files
from cytoloom.seams import decide


def main(
    objects: cli.InputFile,
    out_numbers: cli.OutFile,
    out_detections: seam_files.OutDetections = None,
) -> None:
    """Decide from the objects of all tiles which are one object, and number them.

    Objects are numbered 1 to n in each frame by their first pixel in raster order. What the
    method knows of an object is taken from the tile that owns it.
    """
    views = seam_files.read_objects(objects)
    finals = decide(views)
    seam_files.write_numbers(out_numbers, finals)
    if out_detections is None:
        return
    known = {(v.frame, v.core, v.label): v for v in views}
    rows = []
    for final in finals:
        view = known[final.frame, final.core, final.label]
        rows.append(
            {
                "frame": final.frame,
                "label": final.number,
                "probability": view.probability,
                "class_id": view.class_id,
            }
        )
    seam_files.write_detections(out_detections, rows, seam_files.read_about(objects))


if __name__ == "__main__":
    cli.run(main)
