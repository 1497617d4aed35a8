"""What a GPU computes beside what the CPU does: one JSON line, or exit 77 where there is no GPU.

A script for the Python of the family cellpose3: ``python gpu_agreement.py``.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import phases

sys.path.insert(0, str(phases.BIN))

MODEL = phases.BIN.parent / "assets" / "models" / "cellpose3_nuclei"


def contacts():
    """Distances of surfaces: greatest difference, and seconds on the CPU and on the GPU."""
    from cytoloom.contacts import nearest_by_tree, nearest_on

    random = np.random.default_rng(1)
    worst, seconds = 0.0, {"tree": 0.0, "gpu": 0.0}
    for ndim, points in ((2, 4000), (3, 20000)):
        surface = random.integers(0, 400, (points, ndim)) * 0.15
        asked = random.integers(0, 450, (points, 2 * ndim, ndim)) * 0.15
        begun = time.perf_counter()
        tree = nearest_by_tree(surface, asked, 2.0)
        seconds["tree"] += time.perf_counter() - begun
        nearest = nearest_on("cuda:0")
        nearest(surface[:2], asked[:2], 2.0)
        begun = time.perf_counter()
        found = nearest(surface, asked, 2.0)
        seconds["gpu"] += time.perf_counter() - begun
        near = np.isfinite(tree)
        assert near.any()
        assert (near == np.isfinite(found)).all()
        worst = max(worst, float(np.abs(found[near] - tree[near]).max()))
    return {"difference": worst, "seconds": seconds}


def cellpose():
    """Labels of Cellpose 3 of simulated frames: differing pixels, objects, and seconds."""
    from cytoloom import devices, simulated_nuclei

    frames = [
        simulated_nuclei.simulate(np.random.default_rng(seed), (512, 512))[0] for seed in (3, 4)
    ]
    image = np.stack(frames)[:, None].astype(np.uint16)
    found, seconds = {}, {}
    for name, gpu in (("cpu", False), ("gpu", True)):
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):  # the first one warms up
                begun = time.perf_counter()
                found[name] = phases.segment(
                    "segment_cellpose", image, Path(folder) / str(begun), cores=4, diameter=30.0,
                    model_type=str(MODEL), gpu=gpu,
                )  # fmt: skip
                seconds[name] = time.perf_counter() - begun
    return {
        "pixels": float(((found["cpu"] > 0) != (found["gpu"] > 0)).mean()),
        "objects": [int(len(np.unique(found[name])) - 1) for name in ("cpu", "gpu")],
        "device": devices.described("cuda:0", "torch"),
        "seconds": seconds,
    }


def main():
    """Compare all that can use a GPU of PyTorch."""
    import torch

    if not torch.cuda.is_available():
        sys.exit(77)
    print(json.dumps({"contacts": contacts(), "cellpose": cellpose()}))


if __name__ == "__main__":
    main()
