#!/usr/bin/env python3
"""Cost of the plan, the union and the report of runs with 10 to 10,000 parts per layer.

    python benchmarks/scale_parts.py                # one JSON line per size
    python benchmarks/scale_parts.py --plot docs/scaling.svg

A part is one frame of 64 x 64 pixels: what is measured is the cost of the part, not of its
pixels. The plan is that of an image and its labels, measured frame by frame and tracked; the
union is `deliver_unite` of the image's parts; the report has the provenance of all tasks, the
store and a table with three cells per frame. CPU seconds, and the peak memory of the process;
each measurement has a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(__file__).resolve().parents[1] / "bin"
sys.path.insert(0, str(BIN))
SIZES = (10, 100, 1_000, 10_000)
SIDE = 64  # px
WHAT = ("plan", "union", "report")
PIPELINE = """
channels: {A: a.tif}
labels: {A: b.tif}
spacing: [0.5, 0.5]
frame_interval: 60
output_dir: out
pipeline:
  label_to_sparse: {image_label_pair: [[A, A]]}
  tracking: [{name: LapTrack, tag: Track, channels: [A]}]
"""
RESOURCES = "pipeline: {label_to_sparse: {core: {batch_size: 1}}}\n"


def plan_of(folder, parts):
    """Return the plan of a movie of ``parts`` frames in as many parts."""
    from cytoloom.plan.assemble import make_plan
    from cytoloom.plan.describe import run_description

    (folder / "p.yaml").write_text(PIPELINE)
    (folder / "r.yaml").write_text(RESOURCES)
    return make_plan(
        folder / "p.yaml", outdir=folder / "out", resources=folder / "r.yaml", input_=None,
        until=None, from_tag=None, lenient=True, sweep=None, assume_shape=(parts, 1, SIDE, SIDE),
        digest=False, verify=False, cache=folder / "cache", code=lambda *_: "0" * 16,
        run_file=folder / "run.json", describe=lambda plan: run_description(plan, "0"),
    )  # fmt: skip


def layer_of(parts):
    """Return the layout of the image, one shard per frame."""
    from cytoloom.layouts import Layout

    return Layout(
        shape=(parts, 1, SIDE, SIDE), dtype="uint16", chunks=(1, 1, SIDE, SIDE),
        shards=(1, 1, SIDE, SIDE), pixel_size=(1.0, 0.5, 0.5), frame_interval=60.0,
        position="p1", channel="A", kind="image",
    )  # fmt: skip


def write_parts(folder, parts):
    """Write the first part, and the others as copies of it with a shard of their own."""
    import shutil

    import numpy as np

    from cytoloom import images
    from cytoloom.regions import Region

    def region(t):
        return Region((t, t + 1), (0, 1), (0, SIDE), (0, SIDE))

    def path(t):
        return folder / f"p1.ingest.A.image.{t:04d}.zarr"

    data = np.random.default_rng(0).integers(0, 999, (1, 1, SIDE, SIDE)).astype(np.uint16)
    images.write_part(path(0), data, region=region(0), like=layer_of(parts))
    about = (path(0) / "zarr.json").read_text()
    assert about.count(str(region(0))) == 1
    for t in range(1, parts):
        shutil.copytree(path(0), path(t))
        (path(t) / "0" / "c" / "0").rename(path(t) / "0" / "c" / str(t))
        (path(t) / "zarr.json").write_text(about.replace(str(region(0)), str(region(t))))


def prepare_plan(_folder, _parts):
    """Nothing is needed."""


def plan(folder, parts):
    """Make the plan and its JSON."""
    from cytoloom.plan.plan_json import to_json

    made = plan_of(folder, parts)
    json.dumps(to_json(made, lambda _: "core", lambda _: "core", "0", []), indent=1)


def prepare_union(folder, parts):
    """Write the parts."""
    write_parts(folder, parts)


def union(folder, _parts):
    """Unite them."""
    import deliver_unite

    deliver_unite.main(folder / "p1.ome.zarr", image=[f"A={folder}/p1.ingest.A.image.*.zarr"])


def prepare_report(folder, parts):
    """Write the store, a table of cells, the plan's description and all provenance."""
    import deliver_unite
    import numpy as np
    import pandas as pd

    from cytoloom import tables
    from cytoloom.plan.describe import run_description
    from cytoloom.provenance import provenance_name
    from cytoloom.schemas import SCHEMAS

    work, inputs = folder / "parts", folder / "in"
    inputs.mkdir()
    write_parts(work, parts)
    deliver_unite.main(inputs / "p1.ome.zarr", image=[f"A={work}/p1.ingest.A.image.*.zarr"])
    made = plan_of(folder, parts)
    (folder / "run.json").write_text(json.dumps(run_description(made, "0")))
    columns = {
        "position": "p1",
        "frame": np.repeat(np.arange(parts), 3),
        "label": np.tile([1, 2, 3], parts),
        "channel": "A",
        "label_channel": "A",
    }
    cells = pd.DataFrame({field.name: columns.get(field.name, 1) for field in SCHEMAS["cells"]})
    cells.attrs = {"position": "p1", "channel": "A", "kind": "cells"}
    tables.write_table(inputs / "p1.LabelToSparse.A.cells.0000.parquet", cells, "cells")
    for job in made.jobs():
        record = {
            "executable": job.command.split(".py")[0], "version": "0", "python": "3.11.7",
            "arguments": {"min_area": 1}, "region": job.region, "halo": None, "inputs": {},
            "outputs": dict.fromkeys(job.outputs, "0" * 40), "device": "cpu",
            "seconds": {"compute": 1.0, "start_up": 0.5}, "peak_memory_mb": 100.0,
        }  # fmt: skip
        (inputs / provenance_name(job.outputs)).write_text(json.dumps(record))


def report(folder, _parts):
    """Write the report."""
    import deliver_report

    out = folder / "out"
    deliver_report.main(
        folder / "run.json", folder / "in", out / "r.html", out / "s.json", out / "p.jsonl"
    )


def measure(what, parts):
    """Prepare and measure in this process: CPU seconds and peak memory [MB]."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        globals()[f"prepare_{what}"](folder, parts)
        began = time.process_time()
        globals()[what](folder, parts)
        seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"what": what, "parts": parts, "cpu_seconds": round(seconds, 2), "peak_mb": round(peak)}


def measured(what, parts):
    """Measure in a process of its own."""
    words = [sys.executable, __file__, "--one", what, str(parts)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def plot(rows, path):
    """Draw CPU seconds over parts, both by powers of ten, with a line of slope one."""
    left, top, wide, high = 60, 20, 420, 300
    low, most = -2, 1  # powers of ten of the seconds

    def place(parts, seconds):
        import math

        x = left + (math.log10(parts) - 1) / 3 * wide
        y = top + high - (math.log10(max(seconds, 10**low)) - low) / (most - low) * high
        return f"{x:.0f},{y:.0f}"

    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="600" height="380" font-size="13">',
        "<style>text { font-family: sans-serif }</style>",
        '<rect width="600" height="380" fill="white"/>',
        f'<rect x="{left}" y="{top}" width="{wide}" height="{high}" fill="none" stroke="#888"/>',
    ]
    for parts in SIZES:
        x, y = place(parts, 10**low).split(",")
        lines.append(f'<text x="{x}" y="{int(y) + 18}" text-anchor="middle">{parts:,}</text>')
    for power in range(low, most + 1):
        x, y = place(10, 10**power).split(",")
        lines.append(
            f'<text x="{left - 6}" y="{int(y) + 4}" text-anchor="end">{10.0**power:g}</text>'
        )
        lines.append(f'<path d="M{left},{y}h{wide}" stroke="#ddd"/>')
    lines += [
        f'<text x="{left + wide / 2}" y="{top + high + 40}" text-anchor="middle">parts</text>',
    ]
    turned = f'transform="translate(16 {top + high / 2}) rotate(-90)" text-anchor="middle"'
    lines.append(f"<text {turned}>CPU seconds</text>")
    slope = " ".join(place(n, n / 10 * 10**low) for n in (10, 10_000))
    lines.append(f'<polyline points="{slope}" fill="none" stroke="#888" stroke-dasharray="4"/>')
    ends = [(float(place(10_000, 10 ** (low + 3)).split(",")[1]), "in proportion", "#666")]
    for what, colour in zip(WHAT, ("#0072B2", "#D55E00", "#009E73"), strict=True):
        points = [place(r["parts"], r["cpu_seconds"]) for r in rows if r["what"] == what]
        path_of = f'points="{" ".join(points)}" fill="none" stroke="{colour}"'
        lines.append(f'<polyline {path_of} stroke-width="2"/>')
        dots = (point.split(",") for point in points)
        lines += [f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>' for x, y in dots]
        ends.append((float(points[-1].split(",")[1]), what, colour))
    at = -99.0
    for y, what, colour in sorted(ends):
        at = max(y, at + 16)  # names do not lie on one another
        lines.append(f'<text x="{left + wide + 8}" y="{at + 4:.0f}" fill="{colour}">{what}</text>')
    path.write_text("\n".join([*lines, "</svg>"]) + "\n")


def main():
    """Measure all sizes, print them, and draw them if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path, help="SVG to write")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="largest number of parts")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]))))
        return
    rows = []
    for parts in (n for n in SIZES if n <= given.most):
        for what in WHAT:
            rows.append(measured(what, parts))
            print(json.dumps(rows[-1]), flush=True)
    if given.plot:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()
