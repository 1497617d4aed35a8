#!/usr/bin/env python3
"""Time of the steps of traces.yaml against PyAMA's algorithms written plainly.

    python benchmarks/traces.py [--size 2048] [--frames 4] [--cells 20] [--repeat 3] [STEP ...]

A simulated movie is stored as every run stores it. Each step is timed as a whole task of one
core: reading, computing and writing, in the same chunks with the same codec, ours by calling
the executable's own function, the plain one by `plain_traces`. Start-up is in neither. The
results must agree, or the run fails. Prints CPU seconds per frame, the best of the repeats.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = os.environ["BLOSC_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "bin"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import plain_traces
import zarr
from simulated_traces import movie

from cytoloom import images, layouts, statistics
from cytoloom.regions import Region

zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})


class Bench:
    """A folder with the layers of a movie, written once."""

    def __init__(self, folder, size, frames, columns):
        self.folder = Path(folder)
        self.made = movie(frames, size, columns, radius=(size / columns / 5, size / columns / 3.2))
        shape = (frames, 1, size, size)
        chunks, shards = layouts.default_layout(shape)
        self.layout = layouts.Layout(
            shape, np.dtype(np.uint16), chunks, shards, (1, 1, 1), 60.0, "p", "phase", "image"
        )
        self.region = Region.whole(shape)
        self.phase = self.write("phase", self.made.phase)
        statistics.write(self.folder / "statistics.parquet", self.made.phase[:, None], self.region)
        self.statistics = str(self.folder / "statistics.parquet")

    def write(self, name, data, kind="image", channel=None):
        """Write a layer (t, y, x) and return its path."""
        path = self.folder / f"{name}.zarr"
        if path.exists():
            shutil.rmtree(path)
        images.write_part(
            path, data[:, None], region=self.region, like=self.layout, kind=kind,
            channel=channel or name,
        )  # fmt: skip
        return str(path)

    def out(self, name):
        """Return a path to write to that is free."""
        path = self.folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        return path

    def frames(self, path):
        """Yield the frames (y, x) of a layer."""
        layer = images.open_layer(path)
        for t in range(layer.shape[0]):
            yield layer.read(self.region.frame(t))[0, 0]

    def same_labels(self, first, second):
        """Return the share of pixels with the same label in two layers, of the worst frame."""
        pairs = zip(self.frames(first), self.frames(second), strict=True)
        return min(float((a == b).mean()) for a, b in pairs)

    def tracked(self, labels):
        """Return the tracks of the objects of a label layer, as our steps make them."""
        import tabulate_regions
        import track_iou

        cells, tracks = self.out("cells.parquet"), self.out("tracks.parquet")
        tabulate_regions.main(self.phase, labels, cells)
        track_iou.main(str(cells), tracks, self.out("edges.parquet"))
        return str(tracks)


def segmentation(bench):
    """LogStd with the shipped threshold and clean-up, and with the reference's."""
    import segment_logstd as ours

    for method, cleanup in (("mode", "shipped"), ("valley", "shipped"), ("valley", "reference")):

        def plain(method=method, cleanup=cleanup):
            labels = [plain_traces.segment(f, method, cleanup) for f in bench.frames(bench.phase)]
            return bench.write("plain", np.stack(labels), "label")

        def fast(method=method, cleanup=cleanup):
            path = bench.out("ours.zarr")
            ours.main(
                bench.phase, bench.statistics, path, threshold=ours.logstd.Method(method),
                cleanup=ours.Cleanup(cleanup),
            )  # fmt: skip
            return str(path)

        yield f"segmentation ({method}, {cleanup})", plain, fast, bench.same_labels


def background(bench):
    """SplineBackground with PyAMA's tiles."""
    import analyse_background as ours

    labels = bench.write("labels", bench.made.labels.astype(np.uint32), "label")
    light = bench.write("light", bench.made.fluorescence)
    disc = plain_traces.disk(10)

    def plain():
        pairs = zip(bench.frames(light), bench.frames(labels), strict=True)
        found = [plain_traces.background(image, cells, 256, disc) for image, cells in pairs]
        return bench.write("plain_background", np.stack(found), "background")

    def fast():
        path = bench.out("ours_background.zarr")
        ours.main(light, path, label=labels, outside=ours.Outside.constant)
        return str(path)

    def close(first, second):
        pairs = zip(bench.frames(first), bench.frames(second), strict=True)
        return min(float((abs(a - b) < 0.01).mean()) for a, b in pairs)

    yield "background", plain, fast, close


def tracking(bench):
    """Boxes, IoU and label images by track, from label images."""
    import track_relabel

    labels = bench.write("labels", bench.made.labels.astype(np.uint32), "label")

    def plain():
        return bench.write("plain_tracks", np.stack(list(plain_traces.track(bench.frames(labels)))))

    def fast():
        path = bench.out("ours_tracks.zarr")
        track_relabel.main(labels, bench.tracked(labels), path)
        return str(path)

    yield "tracking", plain, fast, bench.same_labels


def extraction(bench):
    """Area, aspect ratio and background-corrected total intensity of every tracked cell."""
    import analyse_extract
    import analyse_traces
    import pandas as pd

    labels = bench.write("labels", bench.made.labels.astype(np.uint32), "label")
    light = bench.write("light", bench.made.fluorescence)
    shape = bench.made.phase.shape
    ground = np.broadcast_to(bench.made.background, shape).astype(np.float32)
    ground = bench.write("ground", ground, "background", channel="light")
    tracks = bench.tracked(labels)

    def plain():
        layers = zip(bench.frames(labels), bench.frames(light), bench.frames(ground), strict=True)
        rows = [
            row
            for t, (cell, image, back) in enumerate(layers)
            for row in plain_traces.extract(t, cell, [image], [back])
        ]
        table = pd.DataFrame(rows)
        table.to_csv(bench.out("plain.csv"), index=False)
        return table.sort_values([0, 1])

    def fast():
        part, csv = bench.out("part.parquet"), bench.out("ours.csv")
        analyse_extract.main(
            [bench.phase, light], labels, tracks, part, background=[ground],
            features=["area", "aspect_ratio", "intensity_total"],
        )  # fmt: skip
        analyse_traces.main(
            str(part), bench.out("t.parquet"), csv, bench.out("f.parquet"), min_frames=1,
            border_margin=0,
        )  # fmt: skip
        return pd.read_csv(csv)

    def close(first, second):
        a, b = first.to_numpy(float)[:, 9:], second.to_numpy(float)[:, 10:]
        return float(np.isclose(a, b, rtol=1e-6).mean())

    yield "extraction", plain, fast, close


STEPS = {
    "segmentation": segmentation,
    "tracking": tracking,
    "background": background,
    "extraction": extraction,
}


def timed(function, repeat):
    """Return the least CPU time of a function [s], and its result."""
    best = np.inf
    for _ in range(repeat):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    return best, result


def main():
    """Time the steps that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--size", type=int, default=2048, help="edge of a frame [px]")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--cells", type=int, default=20, help="cells along an edge")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder, args.size, args.frames, args.cells)
        print(f"{args.cells**2} cells, {args.frames} frames of {args.size} x {args.size}, one core")
        for name in args.steps or STEPS:
            for what, plain, ours, agreement in STEPS[name](bench):
                slow, expected = timed(plain, 1)
                quick, found = timed(ours, args.repeat)
                same = agreement(expected, found)
                failed |= same < 0.999
                print(
                    f"{what:36} plain {slow / args.frames:7.3f} s/frame, "
                    f"ours {quick / args.frames:7.3f} s/frame, {slow / quick:5.1f} x, "
                    f"agreement {same:.5f}"
                )
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
