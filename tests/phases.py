"""Segmentation of one image in one piece or in patches, through all three phases.

A module for tests, and a script for the Python of another tool family:
``python phases.py EXECUTABLE IMAGE.npy OUT.npy ROWS COLUMNS JSON``.
"""

import importlib
import inspect
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

BIN = Path(__file__).resolve().parent.parent / "bin"


def even_shard(length, count, chunk):
    """Return the shard that cuts ``length`` into ``count`` patches, in whole chunks."""
    return min(-(-length // (count * chunk)) * chunk, length) if count > 1 else length


def write_image(folder, image, rows=1, columns=1, chunk=64):
    """Write an image (t, z, y, x) in patches with its histograms; return layout and patterns."""
    from cytoloom import images, layouts, statistics
    from cytoloom.regions import cut

    _, z, y, x = image.shape
    shard = (1, z, even_shard(y, rows, chunk), even_shard(x, columns, chunk))
    chunks = (1, z, chunk if rows > 1 else shard[2], chunk if columns > 1 else shard[3])
    layout = layouts.Layout(
        image.shape, image.dtype, chunks, shard, (1.0, 1.0, 1.0), None, "p", "a", "image"
    )
    for index, region in enumerate(cut(image.shape, (image.shape[0], *shard[1:]))):
        data = image[region.slices]
        images.write_part(
            folder / f"p.i.a.image.{index:04d}.zarr", data, region=region, like=layout
        )
        statistics.write(folder / f"p.i.a.statistics.{index:04d}.parquet", data, region)
    return str(folder / "p.i.a.image.*.zarr"), str(folder / "p.i.a.statistics.*.parquet")


def segment(executable, image, folder, rows=1, columns=1, *, halo=64, **options):
    """Segment an image (t, z, y, x) by an executable; return the labels of the same shape.

    What the method knows of the objects is in ``p.s.a.detections.0000.parquet`` of the folder. In
    patches each task sees only the parts that a plan would give it: its own and those
    around it.
    """
    from cytoloom import images

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    main = importlib.import_module(executable).main
    number = importlib.import_module("segment_number").main
    pattern, statistics = write_image(folder, image, rows, columns)
    regions = [part.region for part in images.open_layer(pattern).parts]
    known = folder / "p.s.a.detections.0000.parquet"
    more = "out_detections" in inspect.signature(main).parameters
    if len(regions) == 1:
        whole = {"out_detections": known} if more else {}
        main(pattern, statistics, folder / "p.s.a.label.0000.zarr", halo=halo, **whole, **options)
        return images.open_layer(str(folder / "p.s.a.label.*.zarr")).read()
    for index, region in enumerate(regions):
        around = _staged(folder, regions, region, "p.i.a.image", "zarr")
        main(
            str(around / "*.zarr"),
            statistics,
            folder / f"p.s.a.corelabel.{index:04d}.zarr",
            out_objects=folder / f"p.s.a.objects.{index:04d}.parquet",
            region=str(region),
            halo=halo,
            **options,
        )
    number(str(folder / "p.s.a.objects.*.parquet"), folder / "p.s.a.numbers.0000.parquet", known)
    for index, region in enumerate(regions):
        around = _staged(folder, regions, region, "p.s.a.objects", "parquet")
        importlib.import_module("segment_stitch").main(
            str(folder / f"p.s.a.corelabel.{index:04d}.zarr"),
            str(around / "*.parquet"),
            str(folder / "p.s.a.numbers.*.parquet"),
            folder / f"p.s.a.label.{index:04d}.zarr",
            region=str(region),
        )
    return images.open_layer(str(folder / "p.s.a.label.*.zarr")).read()


def _staged(folder, regions, region, name, extension):
    """Link the parts of a region and the patches around it into a folder of their own."""
    staged = Path(tempfile.mkdtemp(dir=folder))
    for index, other in enumerate(regions):
        if all(
            a[0] <= b[1] and b[0] <= a[1] for a, b in zip(region.spans, other.spans, strict=True)
        ):
            file = f"{name}.{index:04d}.{extension}"
            (staged / file).symlink_to(folder / file)
    return staged


if __name__ == "__main__":
    sys.path.insert(0, str(BIN))
    executable, source, target, rows, columns, options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        labels = segment(
            executable, np.load(source), scratch, int(rows), int(columns), **json.loads(options)
        )
        for table in Path(scratch).glob("p.s.a.detections.*.parquet"):
            shutil.copy(table, Path(target).with_suffix(".parquet"))
    np.save(target, labels)
