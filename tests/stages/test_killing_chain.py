"""The bundled simulated assay through the real steps, from TIFF to deaths and killers.

Only the segmentation is plain here (a fixed threshold and connected components), so that
this holds whatever the segmentation steps do; the pipeline's own run is a workflow test.
"""

import csv
from pathlib import Path

import analyse_contact
import analyse_killing
import ingest_image
import numpy as np
import pytest
import tabulate_regions
import track_laptrack
from scipy import ndimage

from cytoloom import images, tables

DEMO = Path(__file__).parents[2] / "assets" / "demo" / "simulated_killing"
THRESHOLDS = {"TCell": 80, "Cancer": 60}
KINDS = ("deaths", "killers", "killing_summary", "survival")


def truth(name):
    with open(DEMO / f"truth_{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def tracks_of(found, channel):
    """Return the track that lies at each true cell in frame 1, by the cell's number."""
    here = found[channel][found[channel]["frame"] == 1]
    tracks = {}
    for row in truth("tracks"):
        if row["channel"] == channel and row["frame"] == "1":
            far = np.hypot(here["y"] - float(row["y"]), here["x"] - float(row["x"]))
            assert far.min() < 2
            tracks[row["cell"]] = int(here.loc[far.idxmin(), "track_id"])
    return tracks


def segment(image, channel, path):
    """Write the connected components of the smoothed image above a fixed threshold."""
    smooth = ndimage.gaussian_filter(image.read().astype(float), (0, 0, 1, 1))
    labels = np.stack([ndimage.label(frame > THRESHOLDS[channel])[0] for frame in smooth])
    images.write_part(path, labels, region=image.region, like=image, kind="label")


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """Run ingest, tabulation, tracking, contacts and killing; return the tables by kind."""
    folder = tmp_path_factory.mktemp("killing")
    image, label, cells, tracks = (
        {c: folder / f"{c}.{kind}" for c in ("TCell", "Cancer", "Dead")}
        for kind in ("image.zarr", "label.zarr", "cells.parquet", "tracks.parquet")
    )
    for channel, path in image.items():
        ingest_image.main(
            source=str(DEMO / f"{channel.lower()}.ome.tif"),
            out_image=path,
            chunks="1,1,168,224",
            shards="48,1,168,224",
            position="p1",
            channel=channel,
            pixel_size=[1.0, 0.65, 0.65],
            frame_interval=120.0,
        )
    for channel in THRESHOLDS:
        segment(images.open_layer(image[channel]), channel, label[channel])
    for measured, outlines in (("TCell", "TCell"), ("Cancer", "Cancer"), ("Dead", "Cancer")):
        tabulate_regions.main(
            image=str(image[measured]), label=str(label[outlines]), out_cells=cells[measured]
        )
    for channel in THRESHOLDS:
        track_laptrack.main(
            table=str(cells[channel]),
            out_tracks=tracks[channel],
            out_edges=folder / f"{channel}.edges.parquet",
            linking_max_distance=15.0,
            max_frame_gap=2,
            gap_closing_max_distance=15.0,
        )
    pair = ("TCell", "Cancer")
    analyse_contact.main(
        label=[str(label[c]) for c in pair],
        table=[str(tracks[c]) for c in pair],
        out_contacts=folder / "contacts.parquet",
    )
    out = {kind: folder / f"{kind}.parquet" for kind in KINDS}
    analyse_killing.main(
        table=[*(str(tracks[c]) for c in pair), str(cells["Dead"])],
        contacts=str(folder / "contacts.parquet"),
        **{f"out_{kind}": path for kind, path in out.items()},
    )
    found = {kind: tables.read_table(path, kind) for kind, path in out.items()}
    return found | {c: tables.read_table(tracks[c], "tracks") for c in pair}


@pytest.mark.slow
def test_the_bundled_assay_gives_its_truth(analysed):
    targets, effectors = tracks_of(analysed, "Cancer"), tracks_of(analysed, "TCell")
    assert (len(targets), len(effectors)) == (9, 6)
    deaths = analysed["deaths"].set_index("target_track_id")
    assert sorted(deaths.index) == sorted(targets.values())
    for row in truth("deaths"):
        mine = deaths.loc[targets[row["target"]]]
        assert mine["died"] == (row["died"] == "True")
        assert mine["last_frame"] == int(row["last_frame"])
        killers = sorted(effectors[killer] for killer in row["killers"].split())
        assert list(mine["killer_track_ids"]) == killers
        if mine["died"]:
            assert abs(mine["death_frame"] - int(row["death_frame"])) <= 1
    credited = analysed["killers"].set_index("effector_track_id")["kill_credit"]
    assert sorted(credited.index) == sorted(effectors.values())
    assert credited.sum() == 6
    (summary,) = analysed["killing_summary"].itertuples()
    assert (summary.analysed, summary.deaths, summary.censored) == (9, 7, 2)
    assert (summary.killed_single, summary.killed_multi, summary.died_spontaneous) == (5, 1, 1)
