"""Folders and channels with odd names: blanks, quotes, Unicode, leading dashes, a way out.

Every path of a run is odd: the project, the folder it is started in, its input, its work and
output folder. Results are those of a run with plain names.
"""

from __future__ import annotations

import dataclasses

import faults
import pytest
from nextflow import copy_project, run, trace

pytestmark = pytest.mark.slow

ODD = """-it's a "prøj" & {b} [1] (2); ü*?"""
SHELL = f"{ODD} $HOME `x` \\ !"  # Nextflow's own scripts bear these anywhere but in the work folder
PIPELINE = """
channels:
  '{name}': {channel_0}
  '-rf': {channel_1}
labels:
  '{name}': {labels}
spacing: [0.5, 0.5]
frame_interval: 30
pipeline:
  label_to_sparse:
    image_label_pair: [['{name}', '{name}'], ['-rf', '{name}']]
  tracking:
    - {{name: LapTrack, tag: '-Tr"a', channels: ['{name}']}}
"""


CHANNEL = "..x $HOME `é`"


def pipeline(folder, inputs, name, channel=CHANNEL):
    """Write movie and pipeline; the movie is taken for both channels."""
    inputs.mkdir(parents=True)
    faults.movie(inputs, name)
    paths = [f"{inputs / name}.tif", f"{inputs / name}.tif", f"{inputs / name}_labels.tif"]
    quoted = ["'" + path.replace("'", "''") + "'" for path in paths]
    places = dict(zip(("channel_0", "channel_1", "labels"), quoted, strict=True))
    text = PIPELINE.format(name=channel, **places)
    (folder / f"{name}.yaml").write_text(text)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    pipeline(folder, folder / "inputs", "a")
    # A copy, as below: methods.md names the commit of a checkout.
    project = copy_project(folder / "project")
    result = run(["--pipeline", "a.yaml", "--outdir", "results"], folder, "v1", project=project)
    assert result.returncode == 0, result.text
    return faults.results(result.outdir)


@pytest.mark.parametrize(
    "profile", ["standard", pytest.param("slurm,local", marks=pytest.mark.full)]
)
def test_odd_folders_change_nothing(tmp_path, plain, profile, request):
    env = request.getfixturevalue("slurm").env if "slurm" in profile else {}
    project = copy_project(tmp_path / SHELL / "project")
    start = tmp_path / SHELL / "started here"
    start.mkdir()
    pipeline(start, tmp_path / SHELL / "in put", "a")
    words = ["--pipeline", "a.yaml", f"--outdir={SHELL}", "-w", str(tmp_path / ODD / f"w {ODD}")]
    result = run([*words, "-profile", profile], start, "v1", env=env, project=project)
    assert result.returncode == 0, result.text
    result = dataclasses.replace(result, outdir=start / SHELL)
    assert set(trace(result).values()) == {"COMPLETED"}
    assert faults.results(result.outdir) == plain


def test_a_channel_that_would_leave_the_folder_is_refused_in_one_line(tmp_path):
    pipeline(tmp_path, tmp_path / "in", "a", channel="../../x")
    result = run(["--pipeline", "a.yaml", "--outdir", "results"], tmp_path, "v1")
    assert result.returncode == 65
    (line,) = result.stderr.splitlines()
    assert line == (
        "plan_pipeline: a.yaml:3: channels.../../x: '../../x' cannot be the name of a channel: "
        "names may not hold / or control characters"
    )
    assert {path.name for path in tmp_path.iterdir()} <= {
        "in", "a.yaml", "results", "work", ".nextflow", ".nextflow.log",
    }  # fmt: skip


def test_a_work_folder_that_nextflow_cannot_bear_is_refused(tmp_path):
    pipeline(tmp_path, tmp_path / "in", "a")
    words = ["--pipeline", "a.yaml", "--outdir", "results", "-w", str(tmp_path / "$HOME")]
    result = run(words, tmp_path, "v1")
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"cytoloom: the work folder {tmp_path}/$HOME holds one of $ ` \\: give another with -w"
    ]
