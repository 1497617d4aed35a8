"""traces.yaml on a simulated movie of two positions, under the real Nextflow.

The first run has a position that fails; the second, mended, goes on; before the third a
trace is flagged in the CSV. Intensities and tracks are held against what was simulated.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile
from nextflow import PROJECT
from simulated_traces import movie

pytestmark = pytest.mark.slow
BROKEN = """
def process(image, about):
    if about["position"] == "exp_001" and about["frame"] == 2:
        raise ValueError("this position is broken")
    return image
"""
FRAMES = 32


def cytoloom(*words, cwd):
    """Run ``./cytoloom``; return its exit status and what it printed."""
    done = subprocess.run(
        [sys.executable, PROJECT / "cytoloom", *map(str, words)],
        cwd=cwd, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def template(folder):
    """Write the shipped template with the movie's own channels, a preprocessor and samples."""
    text = (PROJECT / "assets" / "pipelines" / "traces.yaml").read_text()
    text = text.replace("movie.nd2", "exp_*.ome.tif")
    text = text.replace("border_margin: 50", "border_margin: 4")
    text = text.replace("# args: {samples: samples.yaml}", "args: {samples: samples.yaml}")
    before = "  preprocessing:\n    - {name: Preprocessor, channels: [GFP], args: {file: own.py}}\n"
    text = text.replace("pipeline:\n", f"pipeline:\n{before}")
    (folder / "p.yaml").write_text(text)
    samples = "samples: [{name: control, fovs: '0'}, {name: treated, fovs: '1, 5'}]"
    (folder / "samples.yaml").write_text(samples)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces")
    movies = [movie(FRAMES, 256, 3, seed=seed, noise=2.0) for seed in (4, 5)]
    for number, made in enumerate(movies):
        about = {"axes": "TCYX", "Channel": {"Name": ["Phase", "GFP"]}}
        about |= {"PhysicalSizeX": 0.65, "PhysicalSizeXUnit": "um", "PhysicalSizeY": 0.65}
        about |= {"PhysicalSizeYUnit": "um", "TimeIncrement": 900, "TimeIncrementUnit": "s"}
        stack = np.stack([made.phase, made.fluorescence], axis=1)
        tifffile.imwrite(folder / f"exp_{number:03d}.ome.tif", stack, metadata=about)
    template(folder)
    words = ("run", "--pipeline", "p.yaml", "--outdir", "results")
    said = []
    (folder / "own.py").write_text(BROKEN)
    said.append(cytoloom(*words, cwd=folder))
    assert said[0][0] == 65, said[0][1]
    first = sorted(p.name for p in (folder / "results").glob("fov_*/*.csv"))
    (folder / "own.py").write_text(BROKEN.replace("exp_001", "nothing"))
    said.append(cytoloom(*words, "-resume", cwd=folder))
    csv = folder / "results" / "fov_000" / "exp_fov_000_traces.csv"
    rows = pd.read_csv(csv)
    rows.loc[rows["cell"] == rows["cell"].iloc[0], "good"] = False
    rows.to_csv(csv, index=False)
    said.append(cytoloom(*words, "-resume", cwd=folder))
    return folder / "results", movies, said, first


def submitted(said):
    """Return the names of the tasks that were run."""
    return re.findall(r"Submitted process > \S+ \((.*)\)", said)


def test_a_position_that_fails_is_listed_and_does_not_stop_the_others(runs):
    _, _, said, first = runs
    status, text = said[0]
    assert status == 65, text
    line = next(line for line in text.splitlines() if "this position is broken" in line)
    assert "exp_001: " in line
    assert "own.py, line 4: ValueError" in line
    assert first == ["exp_fov_000_traces.csv"]


def test_a_resumed_run_does_only_what_is_left(runs):
    results, _, said, _ = runs
    status, text = said[1]
    assert status == 0, text
    assert (results / "fov_001" / "exp_fov_001_traces.csv").is_file()
    assert not (results / "pipeline_info" / "failed.txt").exists()
    again = submitted(text)
    assert any("Extraction exp_001" in name for name in again)
    assert not any("LogStd exp_000" in name for name in again)


def test_a_flag_in_the_csv_runs_what_depends_on_it_and_stays(runs):
    results, _, said, _ = runs
    status, text = said[2]
    assert status == 0, text
    steps = {name.split()[0] for name in submitted(text)}
    assert steps == {"Extraction", "MergeSamples", "FitTraces", "export", "report", "crate"}
    rows = pd.read_csv(results / "fov_000" / "exp_fov_000_traces.csv")
    bad = set(rows.loc[~rows["good"], "cell"])
    assert len(bad) == 1
    fits = pd.read_csv(next(results.glob("fits/*/control_intensity_total_*_fitted_trivial.csv")))
    assert not bad & set(fits["cell"])


def test_intensities_and_tracks_are_those_simulated(runs):
    results, movies, _, _ = runs
    for number, made in enumerate(movies):
        path = results / f"fov_{number:03d}" / f"exp_fov_{number:03d}_traces.csv"
        rows = pd.read_csv(path)
        assert rows["cell"].nunique() >= 8
        y, x = (rows[f"position_{a}"].round().astype(int) for a in "yx")
        true = made.labels[rows["frame"], y, x].astype(int)
        usual = rows.assign(true=true).groupby("cell")["true"].agg(lambda v: v.mode()[0])
        assert (true == rows["cell"].map(usual)).mean() >= 0.98
        total = made.total[rows["frame"], true - 1]
        bright = total > 0.2 * made.total.max()
        error = rows["intensity_total_ch_GFP"][bright] / total[bright] - 1
        assert abs(error.median()) < 0.02
        assert error.abs().quantile(0.9) < 0.04


def test_results_are_whole(runs):
    results, _, said, _ = runs
    names = {p.name for p in next(results.glob("samples/*")).iterdir()}
    assert {"control_merged.csv", "treated_merged.csv", "treated_area_ch_Phase.csv"} <= names
    assert "no traces of position 5" in next(results.glob("samples/*/problems.txt")).read_text()
    page = (results / "report.html").read_text()
    assert 'id="traces"' in page
    assert "Background of GFP" in page
    assert "could not be drawn" not in page
    assert json.loads((results / "summary.json").read_text())["positions"] == 2
    fits = pd.read_parquet(next((results / "tables").glob("*.fits.parquet")))
    assert (fits["quality"] == "good").all()
    assert said
