"""What a run leaves for others is right: for a whole run, a resumed one, a part, and a sweep.

Crates of real runs are held against their profiles by the community's validator (see
tests/check_crate.py), which runs in an environment of its own.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import tifffile
from nextflow import PROJECT, run, trace
from ruamel.yaml import YAML

from launcher import install

pytestmark = pytest.mark.slow

PIPELINE = """
channels: {"T cell <µ>": "in put/a'b ü.tif"}
labels: {"T cell <µ>": "in put/labels.tif"}
spacing: [0.5, 0.5]
frame_interval: 30
output_dir: results
pipeline:
  label_to_sparse:
    image_label_pair: [["T cell <µ>", "T cell <µ>"]]
  tracking:
    - {name: LapTrack, tag: "Track it", channels: ["T cell <µ>"], args: {linking_max_distance: 15}}
  postprocessing:
    - {name: FeatureFilter, tag: Keep, channels: ["T cell <µ>"],
       args: {column: label, operation: ">=", value: 1}}
"""
SWEEP = 'arguments: {"Track it": {linking_max_distance: [5, 15]}}\n'
STEPS = ["ingest", "ingest_labels", "LabelToSparse", "Track it", "Keep"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder with a movie of three moving discs and its labels."""
    folder = tmp_path_factory.mktemp("provenance")
    labels = np.zeros((4, 96, 80), np.uint16)
    yy, xx = np.mgrid[:96, :80]
    for label, (y, x) in enumerate([(20, 15), (50, 30), (75, 20)], start=1):
        for t in range(4):
            labels[t][(yy - y) ** 2 + (xx - x - 5 * t) ** 2 < 60] = label
    (folder / "in put").mkdir()
    for name, data in (("a'b ü.tif", 1000 * (labels > 0) + 100), ("labels.tif", labels)):
        tifffile.imwrite(
            folder / "in put" / name, data.astype(np.uint16), metadata={"axes": "TYX"},
            photometric="minisblack",
        )  # fmt: skip
    (folder / "p.yaml").write_text(PIPELINE, encoding="utf-8")
    (folder / "s.yaml").write_text(SWEEP)
    return folder


def start(folder, *words, outdir="results"):
    result = run(["--pipeline", "p.yaml", "--outdir", outdir, *words], folder)
    assert result.returncode == 0, result.text
    return result


@pytest.fixture(scope="module")
def whole(folder):
    return start(folder).outdir


def entities(results):
    document = json.loads((results / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    return {entity["@id"]: entity for entity in document["@graph"]}


def steps_of(crate):
    steps = crate["pipeline_info/main.nf"]["step"]
    return [crate[step["@id"]]["name"] for step in steps]


def times(crate):
    """Return the start and end of each action by its name."""
    return {
        entity["name"]: (entity["startTime"], entity["endTime"])
        for entity in crate.values()
        if entity["@type"] == "CreateAction"
    }


def check(results, tmp_path, severity="REQUIRED"):
    """Hold a crate against its profiles; return what the validator says."""
    python = install.tool_folder("rocrate") / "bin" / "python"
    if not python.exists():
        pytest.skip("no validator of crates (./cytoloom test installs it)")
    done = subprocess.run(
        [python, PROJECT / "tests" / "check_crate.py", results, severity, tmp_path / "cache"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_profiles_hold(whole, tmp_path):
    found = check(whole, tmp_path)
    assert found["problems"] == []
    assert all(found["checked"].values())
    assert found["seen"]["main"] == "pipeline_info/main.nf"
    assert found["seen"]["entities"] > 50


def test_a_crate_that_breaks_them_is_found(whole, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    crate = entities(whole)
    del crate["./"]["license"]
    del crate["#control-LabelToSparse"]["instrument"]
    document = json.loads((whole / "ro-crate-metadata.json").read_text())
    document["@graph"] = [entity for entity in crate.values() if entity["@id"] != "#licence"]
    (broken / "ro-crate-metadata.json").write_text(json.dumps(document))
    messages = " ".join(one["message"] for one in check(broken, tmp_path)["problems"])
    assert "MUST have a `license`" in messages
    assert "must reference a HowToStep" in messages
    assert "does not include the Data Entity 'methods.md'" in messages


def test_files_are_what_the_crate_says(whole):
    crate = entities(whole)
    named = [one for one in crate.values() if "sha256" in one]
    assert len(named) > 10
    for entity in named:
        name = unquote(entity["@id"])
        path = Path(name.removeprefix("file://")) if name.startswith("file:") else whole / name
        content = path.read_bytes()
        assert entity["sha256"] == hashlib.sha256(content).hexdigest(), name
        assert entity["contentSize"] == str(len(content))
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", whole / "pipeline_info" / "inputs.sha256"], check=False
    )
    assert done.returncode == 0
    for line in (whole / "pipeline_info" / "provenance.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert record["started"] <= record["ended"]


def test_the_run_is_told(whole):
    crate = entities(whole)
    assert steps_of(crate)[:4] == ["ingest", *STEPS[2:]]
    assert crate["#nextflow"]["softwareVersion"] == "25.04.0"
    assert crate["#value-pipeline"]["value"] == "p.yaml"
    text = (whole / "methods.md").read_text(encoding="utf-8")
    assert r"Cells of T cell \<µ\> were linked over time" in text
    assert "15 px (7.5 µm)" in text
    versions = YAML(typ="safe").load((whole / "pipeline_info" / "versions.yml").read_text())
    assert versions["nextflow"] == "25.04.0"
    assert versions["families"]["core"]["packages"]["numpy"]
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert 'href="methods.md"' in page
    assert 'href="ro-crate-metadata.json"' in page


def test_a_resumed_run_keeps_the_times_of_what_was_kept(folder, whole):
    before = times(entities(whole))
    (folder / "p.yaml").write_text(PIPELINE.replace("value: 1", "value: 2"), encoding="utf-8")
    start(folder, "-resume")
    (folder / "p.yaml").write_text(PIPELINE, encoding="utf-8")
    crate = entities(whole)
    after = times(crate)
    assert set(after) == set(before)
    kept = "Track it: track_laptrack.py"
    assert after[kept] == before[kept]
    again = "Keep: analyse_filter.py"
    assert after[again][0] > before[again][1]
    assert after["Run of p.yaml"][0] == before["Run of p.yaml"][0]
    assert after["Run of p.yaml"][1] >= max(end for _, end in after.values())
    assert "label \\>= 2 were kept" in (whole / "methods.md").read_text(encoding="utf-8")


def test_a_part_and_then_the_rest(folder, tmp_path):
    part = start(folder, "--until", "Track it", outdir="parts").outdir
    crate = entities(part)
    assert steps_of(crate)[:3] == ["ingest", "LabelToSparse", "Track it"]
    assert "Keep" not in (part / "methods.md").read_text(encoding="utf-8")
    first = times(crate)
    rest = start(folder, "--from", "Keep", outdir="parts").outdir
    crate = entities(rest)
    assert steps_of(crate)[:4] == ["ingest", *STEPS[2:]]
    kept = "Track it: track_laptrack.py"
    assert times(crate)[kept] == first[kept]
    text = (rest / "methods.md").read_text(encoding="utf-8")
    assert "**Track it.**" in text
    assert "**Keep.**" in text
    assert check(rest, tmp_path)["problems"] == []
    page = (rest / "report.html").read_text(encoding="utf-8")
    assert "track_laptrack" in page


def test_a_run_that_failed_says_so_and_delivers_what_is_whole(folder, tmp_path):
    """The last step needs nothing of the one that failed, and waits for it by `afterany`."""
    yaml = YAML(typ="safe")
    pipeline = yaml.load(PIPELINE)
    for key in ("channels", "labels"):
        pipeline[key]["B"] = pipeline[key]["T cell <µ>"]
    pipeline["pipeline"]["label_to_sparse"]["image_label_pair"].append(["B", "B"])
    last = {"name": "FeatureFilter", "tag": "Last", "channels": ["B"]}
    last["args"] = {"column": "label", "operation": ">=", "value": 1}
    pipeline["pipeline"]["postprocessing"].append(last)
    text = json.dumps(pipeline)
    afterany = "{dependency: Keep, dependency_type: afterany}"
    (folder / "r.yaml").write_text(f"pipeline: {{postprocessing: {{Last: {afterany}}}}}\n")
    words = ["--pipeline", "f.yaml", "--resources", "r.yaml", "--outdir", "failed"]
    (folder / "f.yaml").write_text(text.replace('"label"', '"lable"', 1))
    failed = run(words, folder)
    assert failed.returncode != 0
    assert check(failed.outdir, tmp_path)["problems"] == []
    crate = entities(failed.outdir)
    assert crate["#run"]["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert "lable" in crate["#run"]["error"]
    assert crate["#run"]["error"] in failed.stderr
    assert steps_of(crate)[:4] == ["ingest", "LabelToSparse", "Track it", "Last"]
    assert not (failed.outdir / "methods.md").exists()
    tags = {path.name.split(".")[0] for path in failed.outdir.glob("tables/*.parquet")}
    assert tags == {"LabelToSparse", "Track_it", "Last"}
    assert "images/p1.ome.zarr/" in crate
    assert "report.html" in crate

    (folder / "f.yaml").write_text(text)
    mended = run([*words, "-resume"], folder)
    assert mended.returncode == 0, mended.text
    done = {name for name, status in trace(mended).items() if status == "COMPLETED"}
    assert {one for one in done if "Keep" not in one} == {"export tables", "report", "crate"}
    crate = entities(mended.outdir)
    assert crate["#run"]["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert "error" not in crate["#run"]
    tags = {path.name.split(".")[0] for path in mended.outdir.glob("tables/*.parquet")}
    assert tags == {"LabelToSparse", "Track_it", "Last", "Keep"}
    assert (mended.outdir / "methods.md").exists()


@pytest.mark.full
def test_a_sweep_has_a_crate(folder, tmp_path):
    results = start(folder, "--sweep", "s.yaml", outdir="swept").outdir
    assert check(results, tmp_path)["problems"] == []
    crate = entities(results)
    values = crate["#Track_it-track_laptrack-linking_max_distance"]["value"]
    assert sorted(values) == ["15", "5"] or sorted(values) == ["15.0", "5.0"]
    text = (results / "methods.md").read_text(encoding="utf-8")
    assert "2 combinations of linking_max_distance of Track it (5 or 15) were compared" in text
    assert {"sweep.html", "winner.yaml"} <= set(crate)


def test_records_lie_in_the_folder_of_the_yaml(folder):
    """Without --outdir too, where Nextflow's own records would lie in the launch folder."""
    (folder / "alone.yaml").write_text(
        PIPELINE.replace("output_dir: results", "output_dir: of the yaml"), encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, PROJECT / "cytoloom", "run", "--pipeline", "alone.yaml",
         "--until", "ingest"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = {path.name for path in (folder / "of the yaml" / "pipeline_info").iterdir()}
    assert {"trace.txt", "timeline.html", "report.html", "engine.json"} <= found
    assert not (folder / "pipeline_info").exists()
    assert steps_of(entities(folder / "of the yaml"))[0] == "ingest"
