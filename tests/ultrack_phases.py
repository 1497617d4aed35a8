"""All phases of Ultrack on label images, one after another in one process, as a plan cuts them.

A script for the Python of the tool family, which imports once for all jobs:
``python ultrack_phases.py JOBS.json``, a list of mappings with the arguments of `run`.
"""

import importlib
import json
import sqlite3
import sys
import traceback
from pathlib import Path

import numpy as np

BIN = Path(__file__).resolve().parent.parent / "bin"


def main_of(name):
    """Return the ``main`` of one of Ultrack's executables."""
    return importlib.import_module(f"track_ultrack_{name}").main


def put(folder, name, data, batch, kind):
    """Write a movie (t, y, x) in frame batches; return its pattern."""
    from cytoloom import images, layouts
    from cytoloom.regions import cut

    data = data[:, None]
    steps = (batch, *data.shape[1:])
    layout = layouts.Layout(
        data.shape, data.dtype, (1, *data.shape[1:]), steps, (1.0, 1.0, 1.0), None, "p", name, kind
    )
    for index, region in enumerate(cut(data.shape, steps)):
        path = folder / f"p.s.{name}.{kind}.{index:04d}.zarr"
        images.write_part(path, data[region.slices], region=region, like=layout, kind=kind)
    return str(folder / f"p.s.{name}.{kind}.*.zarr")


def run(out, labels=(), images=(), batch=10, window=None, args=None, serial=False):
    """Run all phases; arrays come from and results go to files.

    Parameters
    ----------
    out
        Folder to make: tables, ``labels.npy`` and ``tracked.npy``, and ``chosen.npy`` with
        number and parent of the chosen candidates.
    labels, images
        Files of movies (t, y, x).
    window
        Frames per window of the solver.
    args
        By phase.
    serial
        Instead of the phases, Ultrack's own functions on one database.
    """
    folder, args = Path(out), args or {}
    folder.mkdir(parents=True)
    label = [put(folder, f"A{i}", np.load(f), batch, "label") for i, f in enumerate(labels)]
    image = [put(folder, f"I{i}", np.load(f), batch, "image") for i, f in enumerate(images)]
    given = {"label": label or None, "image": image or None}
    frames = len(np.load((labels or images)[0]))
    regions = [f"t={a}:{min(a + batch, frames)}" for a in range(0, frames, batch)]

    def file(kind, index=0):
        return folder / f"p.U.A.{kind}.{index:04d}.db"

    def every(kind):
        return str(folder / f"p.U.A.{kind}.*.db")

    database = dict(args.get("database", {}))
    if "passfile" in database:
        database["passfile"] = Path(database["passfile"])
    main_of("database")(file("database"), **given, **database)
    if serial:
        return _serial(folder, given, window, args, every)
    for i, region in enumerate(regions):
        main_of("segment")(
            every("database"), file("nodes", i), **given, region=region, **args.get("segment", {})
        )
    for i, region in enumerate(regions):
        main_of("link")(
            every("nodes"), file("links", i), image=given["image"], region=region,
            **args.get("link", {}),
        )  # fmt: skip
    size = window or frames
    windows = [f"t={a}:{min(a + size, frames)}" for a in range(0, frames, size)]
    solve = {"window_size": window, **args.get("solve", {})}
    earlier = {}
    for i, region in enumerate(windows[::2]):
        main_of("solve")(
            every("nodes"), every("links"), file("solution", i), region=region, **solve
        )
    for i, region in enumerate(windows[1::2]):
        main_of("solve")(
            every("nodes"), every("links"), file("settled", i), region=region,
            earlier=[every("solution")], **solve,
        )  # fmt: skip
        earlier = {"earlier": [every("settled")]}
    for i, region in enumerate(regions):
        main_of("paint")(
            every("nodes"), [every("solution")], folder / f"p.U.A.label.{i:04d}.zarr",
            folder / f"p.U.A.cells.{i:04d}.parquet", **earlier, **given, region=region,
        )  # fmt: skip
    main_of("export")(
        str(folder / "p.U.A.cells.*.parquet"), [every("solution")], folder / "tracks.parquet",
        folder / "edges.parquet", folder / "solver.parquet", **earlier, **args.get("export", {}),
    )  # fmt: skip
    _results(folder, [every("solution"), *earlier.get("earlier", [])], frames)
    return None


def _results(folder, solutions, frames):
    from cytoloom import hypotheses, images

    importlib.import_module("track_relabel").main(
        str(folder / "p.U.A.label.*.zarr"),
        str(folder / "tracks.parquet"),
        folder / "p.U.A.trackedlabel.0000.zarr",
    )
    for kind, name in (("label", "labels"), ("trackedlabel", "tracked")):
        layer = images.open_layer(str(folder / f"p.U.A.{kind}.*.zarr"))
        np.save(folder / f"{name}.npy", layer.read()[:, 0])
    chosen = hypotheses.solution(solutions, 0, frames)
    np.save(folder / "chosen.npy", np.array(sorted(chosen.items()), np.int64).reshape(-1, 2))


def _serial(folder, given, window, args, every):
    """Segment, link and solve by Ultrack's own functions, in one database."""
    import track_ultrack_segment as ours
    from ultrack import MainConfig, link, segment, solve
    from ultrack.utils import labels_to_contours

    from cytoloom import hypotheses, images

    layers = [images.open_layer(one).read()[:, 0] for one in given["label"]]
    foreground, contours = labels_to_contours(layers)
    shared = hypotheses.read_settings(every("database"))
    options = args.get("solve", {})
    config = MainConfig(
        data={"working_dir": folder, "database_file_name": "serial.db"},
        segmentation=ours.limits_of(shared.areas, None, None, 4.0),
        linking={"max_distance": 1.5 * shared.diameter},
        tracking={"solver_name": "CBC", "n_threads": 1, "window_size": window, **options},
    )
    segment(foreground, contours, config)
    link(config)
    solve(config)
    connection = sqlite3.connect(folder / "serial.db")
    rows = connection.execute("SELECT id, parent_id FROM nodes WHERE selected ORDER BY id")
    np.save(folder / "chosen.npy", np.array(rows.fetchall(), np.int64).reshape(-1, 2))
    connection.close()


if __name__ == "__main__":
    sys.path.insert(0, str(BIN))
    for job in json.loads(Path(sys.argv[1]).read_text()):
        try:
            run(**job)
        except Exception as error:
            traceback.print_exc()
            print(f"job {job['out']}: {type(error).__name__}: {error}", file=sys.stderr)
            Path(job["out"], "error.txt").write_text(f"{type(error).__name__}: {error}")
