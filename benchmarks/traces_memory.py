#!/usr/bin/env python3
"""Peak memory of the tasks of traces.yaml, for movies of several lengths.

    python benchmarks/traces_memory.py [--size 2048] [--frames 8 32] [--cells 12]

Each step runs as its own process, as a run starts it: steps of frames on the last part of the
movie (8 frames of 2048 x 2048), steps of a whole position on all of it. The movie is one frame
that moves, in two channels. Prints the peak memory [MB] of each by number of frames.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

BIN = Path(__file__).parents[1] / "bin"
TESTS = Path(__file__).parents[1] / "tests"


def make_layers(folder, size, frames, cells):
    """Write the parts of both channels, and phase contrast as a TIFF; return layout and regions."""
    sys.path[:0] = [str(BIN), str(TESTS)]
    import numpy as np
    import tifffile
    from simulated_traces import movie

    from cytoloom import images, layouts, statistics

    made = movie(1, size, cells, radius=(size / cells / 5, size / cells / 3.2))
    shape = (frames, 1, size, size)
    chunks, shards = layouts.default_layout(shape)
    layout = layouts.Layout(
        shape, np.dtype(np.uint16), chunks, shards, (1, 1, 1), 60.0, "p_001", "phase", "image"
    )
    with tifffile.TiffWriter(folder / "phase.tif", bigtiff=True) as file:
        file.write(
            (np.roll(made.phase[0], 2 * t, axis=1) for t in range(frames)),
            shape=(frames, size, size), dtype=np.uint16, photometric="minisblack",
            metadata={"axes": "TYX"},
        )  # fmt: skip
    for channel, frame in (("phase", made.phase[0]), ("light", made.fluorescence[0])):
        for number, region in enumerate(layout.regions()):
            data = np.stack([np.roll(frame, 2 * t, axis=1) for t in region.frames])[:, np.newaxis]
            path = folder / f"{channel}.{number:04d}"
            images.write_part(f"{path}.zarr", data, region=region, like=layout, channel=channel)
            statistics.write(f"{path}.statistics.parquet", data, region)
    return layout, layout.regions()


def tasks_of(folder, layout, regions):
    """Yield the name of each task, whether its memory is printed, and its command line."""
    last = regions[-1]
    light, phase = f"{folder}/light.*.zarr", f"{folder}/phase.*.zarr"
    labels, ground = f"{folder}/label.*.zarr", f"{folder}/ground.*.zarr"
    lengths = [",".join(map(str, lengths)) for lengths in (layout.chunks, layout.shards)]
    yield "ingest", True, [
        "ingest_image", "--source", f"{folder}/phase.tif", "--out-image", f"{folder}/in.zarr",
        "--region", last, "--chunks", lengths[0], "--shards", lengths[1], "--position", "p",
        "--channel", "phase", *("--pixel_size", "1") * 3,
    ]  # fmt: skip
    for number, region in enumerate(regions):
        shown = region == last
        label = f"{folder}/label.{number:04d}.zarr"
        yield "LogStd", shown, [
            "segment_logstd", "--image", phase, "--statistics", f"{folder}/phase.*.parquet",
            "--out-label", label, "--region", region, "--max_size", "0",
        ]  # fmt: skip
        yield "LabelToSparse", shown, [
            "tabulate_regions", "--image", phase, "--label", label, "--out-cells",
            f"{folder}/cells.{number:04d}.parquet", "--region", region,
        ]  # fmt: skip
        yield "SplineBackground", shown, [
            "analyse_background", "--image", light, "--label", label, "--out-background",
            f"{folder}/ground.{number:04d}.zarr", "--region", region,
        ]  # fmt: skip
    tracks = f"{folder}/tracks.parquet"
    yield "IoU", True, [
        "track_iou", "--table", f"{folder}/cells.*.parquet", "--out-tracks", tracks, "--out-edges",
        f"{folder}/edges.parquet",
    ]  # fmt: skip
    for number, region in enumerate(regions):
        yield "labels by track", region == last, [
            "track_relabel", "--label", labels, "--table", tracks, "--out-trackedlabel",
            f"{folder}/tracked.{number:04d}.zarr", "--region", region,
        ]  # fmt: skip
    yield "Extraction", True, [
        "analyse_extract", "--image", phase, "--image", light, "--label", labels, "--table", tracks,
        "--background", ground, "--out-traces", f"{folder}/traces.parquet", "--region", last,
    ]  # fmt: skip
    yield "Cropping", True, [
        "analyse_crop", "--image", phase, "--image", light, "--label", f"{folder}/tracked.*.zarr",
        "--table", tracks, "--background", ground, "--out-cells", f"{folder}/cells.zarr",
        "--min_frames", "2",
    ]  # fmt: skip
    yield "Caching", True, [
        "analyse_cache", "--image", phase, "--image", light, "--statistics",
        f"{folder}/phase.*.parquet", "--statistics", f"{folder}/light.*.parquet", "--label", labels,
        "--background", ground, "--out-cache", f"{folder}/images.zarr",
    ]  # fmt: skip


def peaks(size, frames, cells):
    """Return the peak memory of each task [MB]."""
    sys.path[:0] = [str(BIN), str(TESTS)]
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: a process begins with the peak of the one that starts it.
        with ProcessPoolExecutor(1, get_context("spawn")) as other:
            made = other.submit(make_layers, folder, size, frames, cells)
            layout, regions = made.result()
        for step, shown, (program, *words) in tasks_of(folder, layout, regions):
            for old in folder.glob("*.provenance.json"):
                old.unlink()
            command = [sys.executable, BIN / f"{program}.py", *map(str, words)]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            (written,) = folder.glob("*.provenance.json")
            if shown:
                found[step] = json.loads(written.read_text())["peak_memory_mb"]
    return found


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=2048, help="edge of a frame [px]")
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--cells", type=int, default=12, help="cells along an edge")
    args = parser.parse_args()
    found = [peaks(args.size, frames, args.cells) for frames in args.frames]
    print(f"{args.cells**2} cells, frames of {args.size} x {args.size}: peak memory [MB]")
    print(f"{'frames':18}", *(f"{frames:6}" for frames in args.frames))
    for step in found[0]:
        print(f"{step:18}", *(f"{one[step]:6.0f}" for one in found))


if __name__ == "__main__":
    main()
