#!/usr/bin/env python3
"""Make the bundled simulated killing assay: three TIFFs and the truth, the same every time.

    python assets/demo/make_simulated_killing.py

It writes to `assets/demo/simulated_killing/`: `tcell.ome.tif`, `cancer.ome.tif`, `dead.ome.tif`
(TYX, uint8, zlib), `truth_deaths.csv` (one row per target), `truth_contacts.csv` (one row per
frame and touching pair) and `truth_tracks.csv` (one row per cell and frame; centres in px). The
simulation is `tests/simulation.py`; needs numpy, scipy, tifffile.
"""

import csv
import sys
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from simulation import Assay, Movie, simulate  # noqa: E402  (after the path is set)

ASSAY = Assay(
    frames=48,
    shape=(168, 224),
    targets=9,
    effectors=6,
    target_radius=10.0,
    effector_radius=5.0,
    spontaneous=1,
    leaving=1,
    signal=200.0,
    noise=0.5,
    gain=0.0,
    background=20.0,
    seed=2,
)


def write(movie: Movie, folder: Path) -> None:
    """Write the images and the truth of ``movie`` to ``folder``."""
    import tifffile

    assay = movie.assay
    metadata = {
        "axes": "TYX",
        "PhysicalSizeX": assay.pixel_size,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": assay.pixel_size,
        "PhysicalSizeYUnit": "µm",
        "TimeIncrement": assay.frame_interval,
        "TimeIncrementUnit": "s",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in movie.images.items():
        tifffile.imwrite(
            folder / f"{name.lower()}.ome.tif",
            image[:, 0].astype("uint8"),
            ome=True,
            compression="zlib",
            compressionargs={"level": 9},
            metadata=metadata | {"Name": name, "UUID": uuid.uuid5(uuid.NAMESPACE_URL, name).urn},
        )
    for name, (columns, rows) in truth(movie).items():
        with open(folder / f"truth_{name}.csv", "w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(columns)
            table.writerows(rows)


def truth(movie: Movie) -> dict[str, tuple[list[str], list[tuple]]]:
    """Return the columns and rows of each table of the truth."""
    interval = movie.assay.frame_interval
    deaths = [
        (
            *(row[k] for k in ("target", "first_frame", "last_frame", "died")),
            row["death_frame"] if row["died"] else "",
            row["death_frame"] * interval if row["died"] else "",
            " ".join(map(str, row["killers"])),
            row["contacted"],
        )
        for row in movie.deaths
    ]
    tracks = [
        (channel, cell, frame, f"{y:.2f}", f"{x:.2f}")
        for channel, labels in movie.labels.items()
        for frame, places in enumerate(movie.centres[channel])
        for cell, (y, x) in enumerate(places, start=1)
        if (labels[frame] == cell).any()
    ]
    return {
        "deaths": (
            ["target", "first_frame", "last_frame", "died", "death_frame", "death_s", "killers",
             "contacted"],
            deaths,
        ),
        "contacts": (["frame", "effector", "target"], list(movie.contacts)),
        "tracks": (["channel", "cell", "frame", "y", "x"], tracks),
    }  # fmt: skip


if __name__ == "__main__":
    write(simulate(ASSAY), HERE / "simulated_killing")
