"""The bundled pipelines from the command line to the results, under the real Nextflow.

The demo's results are opened with other people's readers; the killing assay must find the
truth that it was simulated with.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nextflow import PROJECT

pytestmark = pytest.mark.slow


def cytoloom(*words, cwd):
    """Run ``./cytoloom`` and return what it printed."""
    done = subprocess.run(
        [sys.executable, PROJECT / "cytoloom", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    said = cytoloom("demo", "--outdir", "results", cwd=folder)
    return folder / "results", said


@pytest.fixture(scope="module")
def killing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killing")
    pipeline = PROJECT / "assets" / "pipelines" / "killing_simulated.yaml"
    cytoloom("run", "--pipeline", pipeline, "--outdir", "results", cwd=folder)
    return folder / "results"


def test_demo_says_what_it_found(demo):
    results, said = demo
    summary = json.loads((results / "summary.json").read_text())
    assert re.search(rf"found: {summary['cells']:,} cells, {summary['tracks']:,} tracks", said)
    assert str(results / "report.html") in said
    assert summary["cells"] > 100
    assert summary["tracks"] > 5
    assert summary["contacts"] > 0


def test_demo_store_opens_elsewhere(demo):
    import tifffile
    import zarr
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr_models.v05.image import Image

    store = demo[0] / "images" / "p1.ome.zarr"
    image = Image.from_zarr(zarr.open_group(store, mode="r"))
    assert image.ome_attributes.multiscales[0].axes[0].name == "t"
    nodes = list(Reader(parse_url(str(store)))())
    assert len(nodes) > 1  # the labels are found from the image
    raw = tifffile.imread(PROJECT / "assets" / "demo" / "mitosis_2ch" / "C2-MAX_mitosis.tif")
    attributes = json.loads((store / "zarr.json").read_text())["attributes"]["ome"]
    names = [channel["label"] for channel in attributes["omero"]["channels"]]
    found = zarr.open_array(store / "0", mode="r")
    np.testing.assert_array_equal(found[:, names.index("Target"), 0], raw)


def test_demo_tables_are_complete(demo):
    tables = demo[0] / "tables"
    described = pd.read_csv(tables / "columns.csv")
    for path in tables.glob("*.parquet"):
        table = pd.read_parquet(path)
        own = described[described["table"] == path.stem]
        assert list(own["column"]) == list(table.columns)
        csv = pd.read_csv(path.with_suffix(".csv"))
        assert len(csv) == len(table)
    cells = pd.read_parquet(tables / "LabelToSparse.Target.cells.parquet")
    assert cells["y_um"].to_numpy() == pytest.approx(cells["y"].to_numpy() * 0.1)


def test_demo_report_needs_nothing_else(demo):
    page = (demo[0] / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=[\"']https?:", page)
    assert "<script src" not in page
    assert page.count("data:image/png;base64") >= 3


def test_demo_results_are_no_links_into_the_work_folder(demo):
    assert not [p for p in demo[0].rglob("*") if p.is_symlink()]
    shard = next(p for p in (demo[0] / "images").rglob("c/*/*/*/*/*") if p.is_file())
    assert shard.stat().st_nlink >= 2  # a hard link: no second copy on the disk


def test_killing_finds_the_truth(killing):
    truth = pd.read_csv(PROJECT / "assets" / "demo" / "simulated_killing" / "truth_deaths.csv")
    found = pd.read_parquet(next((killing / "tables").glob("*.deaths.parquet")))
    assert len(found) == len(truth)
    assert found["died"].sum() == truth["died"].sum()
    true_frames = np.sort(truth.loc[truth["died"], "death_frame"].to_numpy())
    frames = np.sort(found.loc[found["died"], "death_frame"].to_numpy().astype(int))
    assert np.abs(frames - true_frames).max() <= 1
    killers = truth.loc[truth["died"], "killers"].fillna("").astype(str)
    expected = sorted(len(re.findall(r"\d+", k)) for k in killers)
    assert sorted(found.loc[found["died"], "n_killers"].astype(int)) == expected
    survival = pd.read_parquet(next((killing / "tables").glob("*.survival.parquet")))
    whole = survival[survival["group"] == "all"]["survival"].to_numpy()
    assert (np.diff(whole) <= 0).all()
    killed = json.loads((killing / "summary.json").read_text())["killed"]
    assert killed == (truth["died"] & truth["contacted"]).sum()


def test_track_exports_are_there(killing):
    names = {path.suffix for path in (killing / "tracks").iterdir()}
    assert {".geff", ".xml", ".csv", ".json", ".ctc"} <= names
    masks = list(Path(killing / "tracks").glob("*.ctc/*.tif"))
    assert len(masks) == 2 * 48
