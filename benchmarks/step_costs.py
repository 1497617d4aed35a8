#!/usr/bin/env python3
"""What each step costs per voxel, measured, beside what the registry says.

    python benchmarks/step_costs.py                          # every step of installed families
    python benchmarks/step_costs.py --steps StarDist LogStd --sizes 4x512 16x512 4x1024

A simulated movie of moving cells is analysed at each size by all steps of ``step_costs.yaml``,
each task in a process of its own with one core. Most memory is what the task says in its
provenance (of its largest process), seconds are CPU seconds. Over the sizes, memory is taken
for a start plus so much for each voxel read and for each voxel of a frame, seconds for a
start plus so much for each voxel.

Columns: bytes and CPU seconds per voxel as measured and as in assets/steps.yaml; MB of the
largest task measured, and as planned for it; and both for a task of ``--task`` (what the
measured numbers come to there), with their ratio. A ratio below 1.2 is marked ``low``: the
first attempt may be killed. One of over 3 is marked ``high``. Seconds are marked when they
are off by more than half: a task is given four times what the registry says, and ten minutes.
Steps of families that are not installed, and tasks that fail, are named. ``--json FILE``
writes all that was measured.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "bin"))

import numpy as np  # noqa: E402 - below the path, as all that follows
import tifffile  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402

from cytoloom.environments import environment_path  # noqa: E402
from cytoloom.plan.assemble import make_plan  # noqa: E402
from cytoloom.plan.describe import run_description  # noqa: E402
from cytoloom.plan.jobs import BASE_MEMORY_MB  # noqa: E402
from cytoloom.plan.registry import load_registry  # noqa: E402
from cytoloom.provenance import provenance_name  # noqa: E402
from cytoloom.regions import Region  # noqa: E402

STEPS = Path(__file__).with_suffix(".yaml")
SIZES = ("4x384", "12x384", "4x768")
TASK = "50x1200"
FUNCTION = "def process(image):\n    return image - image.min()\n"
CELL = 24  # px, its box
APART = 48  # px
LOW, HIGH, OFF = 1.2, 3.0, 1.5


@dataclass(frozen=True)
class Measured:
    """One task: voxels that it reads, voxels of a frame of them, MB and CPU seconds."""

    step: str
    phase: str
    voxels: int
    frame: int
    peak_mb: float
    cpu_seconds: float
    planned_mb: int


def size_of(text):
    """Return (T, Y, X) of ``4x512``: frames and the edge of a square frame."""
    frames, edge = map(int, text.split("x"))
    return frames, edge, edge


def write_movie(folder, shape):
    """Write cells, their labels, phase contrast, a user's function and network into a folder."""
    rng = np.random.default_rng(0)
    frames, height, width = shape
    y, x = np.ogrid[:CELL, :CELL]
    disc = np.hypot(y - CELL / 2, x - CELL / 2) < CELL / 2 - 2
    labels = np.zeros(shape, np.uint16)
    starts = [(a, b) for a in range(APART // 4, height - APART, APART)
              for b in range(APART // 4, width - APART, APART)]  # fmt: skip
    for t in range(frames):
        for label, (a, b) in enumerate(starts, start=1):
            moved = b + t % (APART // 3)
            labels[t, a : a + CELL, moved : moved + CELL][disc] = label
    inside = labels > 0
    cells = rng.poisson(np.where(inside, 400, 60)).astype(np.uint16)
    phase = rng.normal(2000, np.where(inside, 300, 8)).clip(0).astype(np.uint16)
    for name, movie in (("cells", cells), ("labels", labels), ("phase", phase)):
        tifffile.imwrite(folder / f"{name}.tif", movie, metadata={"axes": "TYX"})
    (folder / "function.py").write_text(FUNCTION)
    write_network(folder / "network.onnx")


def write_network(path, wide=32):
    """Write a U-Net of one level, about 50,000 products a pixel, whose map is the image."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    def conv(name, given, made, channels_in, channels_out, edge=3):
        weights = np.full((channels_out, channels_in, edge, edge), 1e-6, np.float32)
        if name == "map":
            weights[0, -1] = 1  # the image itself, last of what is joined
        held.append(numpy_helper.from_array(weights, name))
        return helper.make_node("Conv", [given, name], [made], pads=[edge // 2] * 4)

    held = [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")]
    nodes = [
        conv("first", "image", "a", 1, wide), helper.make_node("Relu", ["a"], ["b"]),
        conv("second", "b", "c", wide, wide),
        helper.make_node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        conv("deep", "d", "e", wide, 2 * wide), helper.make_node("Relu", ["e"], ["f"]),
        conv("deeper", "f", "g", 2 * wide, 2 * wide),
        helper.make_node("Resize", ["g", "", "twice"], ["h"], mode="nearest"),
        helper.make_node("Concat", ["c", "h"], ["i"], axis=1),
        conv("third", "i", "j", 3 * wide, wide), helper.make_node("Relu", ["j"], ["k"]),
        helper.make_node("Concat", ["k", "image"], ["l"], axis=1),
        conv("map", "l", "maps", wide + 1, 1, edge=1),
    ]  # fmt: skip
    shape = [1, 1, "y", "x"]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("image", "maps")]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    save(model, str(path))


def chosen_pipelines():
    """Return the pipelines of all steps whose families are here, and why others are left out."""
    given = YAML(typ="safe").load(STEPS)
    needs = given.pop("needs")
    rows = load_registry()
    left_out, known = {}, {"LabelToSparse"}
    for data in given.values():
        data |= {"spacing": [0.65, 0.65], "frame_interval": 120, "output_dir": "out"}
        for steps in data["pipeline"].values():
            for step in list(steps) if isinstance(steps, list) else ():
                row = rows.find(step["name"])
                known.add(row.name)
                families = {row.family, *(phase.family for phase in row.before)}
                families |= {needs[row.name]} if row.name in needs else set()
                missing = [f for f in families if not environment_path(f, PROJECT).exists()]
                if missing:
                    left_out[row.name] = f"no environment {', '.join(sorted(missing))}"
                    steps.remove(step)
    for row in rows:
        if row.available and row.name not in known:
            left_out[row.name] = f"not in {STEPS.name}: needs jars of one's own"
    return given, left_out


def plan_of(folder, pipeline):
    """Return the plan of a pipeline whose files lie in a folder."""
    with open(folder / "p.yaml", "w", encoding="utf-8") as file:
        json.dump(pipeline, file)
    return make_plan(
        folder / "p.yaml", outdir=folder / "out", resources=None, input_=None, until=None,
        from_tag=None, lenient=False, sweep=None, assume_shape=None, digest=False, verify=False,
        cache=folder / "cache", code=lambda *_: "0" * 16, run_file=folder / "run.json",
        describe=lambda plan: run_description(plan, "0"),
    )  # fmt: skip


def wanted_jobs(plan, names):
    """Return (step, phase, job) of the steps that are named, and of what they need; else of all."""
    jobs = [(step, phase, job) for step in plan.steps if step.stage != "delivery"
            for phase, found in step.phases.items() for job in found]  # fmt: skip
    if not names:
        return jobs
    needed, kept = set(), []
    for step, phase, job in reversed(jobs):
        if step.name in names or needed & set(job.outputs):
            needed |= set(job.inputs)
            kept.append((step, phase, job))
    return kept[::-1]


def run_task(folder, job, files):
    """Run a task; return CPU seconds and MB, or raise RuntimeError with its last line."""
    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    missing = [name for name in job.inputs if name not in files]
    if missing:
        raise RuntimeError(f"{missing[0]} was not made")
    for name in job.inputs:
        (folder / "in" / name).symlink_to(files[name])
    threads = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
    env = {**os.environ, **{f"{name}_NUM_THREADS": "1" for name in threads}}
    paths = [environment_path(job.family, PROJECT) / "bin", PROJECT / "bin", env["PATH"]]
    env |= {"PATH": os.pathsep.join(map(str, paths)), "CYTOLOOM_CORES": "1",
            "PYTHONDONTWRITEBYTECODE": "1", "CYTOLOOM_MEMORY_MB": str(job.memory_mb)}  # fmt: skip
    with open(folder / "said.txt", "w") as said:
        child = subprocess.Popen(
            # In a child of bash: a program put in its place would inherit the peak of this one.
            ["bash", "-c", f"{job.command}\nexit $?"],
            cwd=folder,
            env=env,
            stdout=said,
            stderr=said,
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        lines = (folder / "said.txt").read_text().strip().splitlines() or ["no message"]
        raise RuntimeError(lines[-1])
    for name in job.outputs:
        files[name] = folder / "out" / name
    record = json.loads((folder / "out" / provenance_name(job.outputs)).read_text())
    return used.ru_utime + used.ru_stime, record["peak_memory_mb"]


def measure(folder, shape, pipeline, names, problems):
    """Analyse one movie; yield the cost of each task of the steps asked for."""
    folder.mkdir(parents=True)
    write_movie(folder, shape)
    plan = plan_of(folder, pipeline)
    whole = (shape[0], 1, *shape[1:])
    files = {}
    for i, (step, phase, job) in enumerate(wanted_jobs(plan, names)):
        try:
            seconds, peak = run_task(folder / f"task{i}", job, files)
        except RuntimeError as error:
            problems[f"{step.name} {phase}"] = str(error)
            continue
        if job.region is None or step.stage == "ingest" or (names and step.name not in names):
            continue
        region = Region.parse(job.region, whole)
        frame = region.size // (region.t[1] - region.t[0])
        yield Measured(step.name, phase, region.size, frame, peak, seconds, job.memory_mb)


def fitted(tasks):
    """Return MB at the start, bytes per voxel and per voxel of a frame, seconds per voxel."""
    voxels = np.array([task.voxels for task in tasks], float)
    frame = np.array([task.frame for task in tasks], float)
    one = np.ones(len(tasks))
    peak = np.array([task.peak_mb for task in tasks]) * 2**20
    seconds = np.array([task.cpu_seconds for task in tasks])
    if np.ptp(voxels) == 0:  # the plan cuts it into tasks of one size
        return peak.max() / 2**20, 0.0, 0.0, seconds.mean() / voxels[0]
    # Without a share of the frame where that would be negative.
    start, of_voxel, of_frame = np.linalg.lstsq(np.stack([one, voxels, frame], 1), peak)[0]
    if of_frame < 0 or of_voxel < 0:
        start, slope = np.linalg.lstsq(np.stack([one, voxels], 1), peak)[0]
        of_voxel, of_frame = max(slope, 0.0), 0.0
    slope = np.linalg.lstsq(np.stack([one, voxels], 1), seconds)[0][1]
    return start / 2**20, of_voxel, of_frame, max(slope, 0.0)


def registered(row, phase):
    """Return bytes per voxel and seconds per voxel of a phase, as the plan takes them."""
    found = next((one for one in row.before if one.name == phase), row)
    return found.bytes_per_voxel, found.seconds_per_voxel


def table(tasks, task_shape):
    """Return the lines of the table."""
    rows = load_registry()
    voxels, frame = int(np.prod(task_shape)), task_shape[1] * task_shape[2]
    heads = ("step", "phase", "B/voxel", "B/frame", "reg.", "s/voxel", "reg.", "MB", "planned",
             f"MB at {task_shape[0]}x{task_shape[1]}", "planned", "ratio", "marks")  # fmt: skip
    groups = defaultdict(list)
    for task in tasks:
        groups[task.step, task.phase].append(task)
    lines = [heads]
    for (name, phase), found in groups.items():
        row = rows.find(name)
        start, of_voxel, of_frame, seconds = fitted(found)
        said_bytes, said_seconds = registered(row, phase)
        large = max(found, key=lambda task: task.peak_mb)
        there = start + (of_voxel * voxels + of_frame * frame) / 2**20
        planned = BASE_MEMORY_MB + row.fixed_mb(frame) + said_bytes * voxels / 2**20
        ratio = planned / there
        marks = ["low"] if ratio < LOW else ["high"] if ratio > HIGH else []
        if (
            not said_seconds / OFF < seconds < said_seconds * OFF
            and max(seconds, said_seconds) * voxels > 60
        ):
            marks.append("slower" if seconds > said_seconds else "faster")
        lines.append((
            name, phase, f"{of_voxel:.1f}", f"{of_frame:.0f}", f"{said_bytes:g}",
            f"{seconds:.1e}", f"{said_seconds:.1e}", f"{large.peak_mb:.0f}",
            f"{large.planned_mb}", f"{there:.0f}", f"{planned:.0f}", f"{ratio:.1f}",
            " ".join(marks),
        ))  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    for line in lines:
        cells = [text.ljust(n) if i < 2 else text.rjust(n) for i, (text, n) in
                 enumerate(zip(line, widths, strict=True))]  # fmt: skip
        yield "  ".join(cells).rstrip()


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", nargs="+", default=[], help="only these, by name")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="frames x edge [px], three")
    parser.add_argument("--task", default=TASK, help="task to extrapolate to, as a size")
    parser.add_argument("--folder", type=Path, help="where to run; default: a temporary folder")
    parser.add_argument("--json", type=Path, help="file for all that was measured")
    given = parser.parse_args()
    unknown = [name for name in given.steps if not load_registry().find(name)]
    if unknown:
        parser.error(f"no step {', '.join(unknown)}")
    names = {load_registry().find(name).name for name in given.steps}
    pipelines, left_out = chosen_pipelines()
    tasks, problems = [], {}
    with tempfile.TemporaryDirectory(prefix="cytoloom-costs-") as scratch:
        folder = given.folder or Path(scratch)
        for text in given.sizes:
            print(f"{text} ...", file=sys.stderr, flush=True)
            for part, pipeline in pipelines.items():
                tasks += measure(folder / text / part, size_of(text), pipeline, names, problems)
    if given.json:
        given.json.write_text(json.dumps([vars(task) for task in tasks], indent=1))
    print("\n".join(table(tasks, size_of(given.task))))
    for name, why in {**left_out, **problems}.items():
        if not names or name.split()[0] in names:
            print(f"not measured: {name}: {why}")


if __name__ == "__main__":
    main()
