"""deliver_crate: the crate holds together, names what is there, and says what the plan says.

The plan is a real one; the tasks are not run, their results and records are written by hand.
Whether the profiles hold is in tests/workflows/test_provenance.py, on crates of real runs.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import deliver_crate
import numpy as np
import pytest
import tifffile
from ruamel.yaml import YAML

from cytoloom.crate.records import read_records

BIN = Path(__file__).resolve().parents[2] / "bin"
PIPELINE = """
channels: {"T cell [@otsu1979]": "movies/cells <1>.tif", B: movies/b.tif}
labels: {"T cell [@otsu1979]": labels.tif}
spacing: [0.5, 0.5]
frame_interval: 30
output_dir: results
pipeline:
  segmentation:
    - {name: StarDist, channels: [B]}
  label_to_sparse:
    image_label_pair: [["T cell [@otsu1979]", "T cell [@otsu1979]"], [B, B]]
  tracking:
    - {name: LapTrack, tag: Track, channels: [B], args: {linking_max_distance: 12.5}}
  postprocessing:
    - {name: FeatureFilter, channels: [B], args: {column: label, operation: ">", value: 3}}
"""
ENGINE = {"nextflow": "25.04.0", "java": "17.0.1", "profile": "standard", "user": "a \"user\"",
          "container": "", "images": "",
          "parameters": {"pipeline": "p.yaml", "outdir": "r'é"}}  # fmt: skip
OUT = {
    "crate": "ro-crate-metadata.json", "methods": "methods.md", "references": "references.bib",
    "versions": "versions.yml", "parameters": "parameters.yml", "checksums": "inputs.sha256",
    "workflow": "main.nf", "pipeline": "pipeline.yaml",
}  # fmt: skip


def program(name, *words, cwd):
    return subprocess.run(
        [sys.executable, BIN / f"{name}.py", *map(str, words)],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip


def record(executable, second, outputs=(), **more):
    start = f"2026-01-02T03:04:{second:02d}.000+00:00"
    return {
        "executable": executable, "version": "0.1.0", "python": "3.11.7", "arguments": {},
        "outputs": dict.fromkeys(outputs, "0" * 40), "device": "cpu", "peak_memory_mb": 100.0,
        "seconds": {"compute": 1.0, "start_up": 0.5}, "started": start, "ended": start,
    } | more  # fmt: skip


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Plan a run of odd names in a folder with blanks."""
    folder = tmp_path_factory.mktemp("a folder")
    (folder / "movies").mkdir()
    image = np.arange(3 * 64 * 72, dtype=np.uint16).reshape(3, 64, 72)
    for name in ("movies/cells <1>.tif", "movies/b.tif", "labels.tif"):
        tifffile.imwrite(folder / name, image, metadata={"axes": "TYX"}, photometric="minisblack")
    (folder / "p.yaml").write_text(PIPELINE)
    done = program("plan_pipeline", "--pipeline", "p.yaml", "--out", "plan.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def made(planned):
    """Describe the run."""
    facts = json.loads((planned / "plan.facts.json").read_text())
    inside = planned / "in"
    inside.mkdir()
    for name in facts["results"].values():
        if name.endswith(".zarr"):
            (inside / name).mkdir()
        elif name == "tables":
            (inside / name).mkdir()
            (inside / name / "Track.B.tracks.csv").write_text("frame\n")
        else:
            (inside / name).write_text(name)
    lines = [
        record("segment_stardist", 9, output="p1.StarDist.B.label.0000.zarr",
               arguments={"model_name": "stardist_nuclei", "prob_thresh": None},
               resolved={"prob_thresh": 0.4, "nms_thresh": 0.3}),
        record("track_laptrack", 30, output="p1.Track.B.tracks.0000.parquet",
               arguments={"linking_max_distance": 12.5, "unit": "px"}),
        record("track_laptrack", 20, output="p2.Track.B.tracks.0000.parquet",
               arguments={"linking_max_distance": 12.5, "unit": "px"}),
        record("ingest_image", 5, output="p1.ingest.B.image.0000.zarr"),
        record("deliver_unite", 40, outputs=("p1.ome.zarr",), output="p1.ome.zarr"),
    ]  # fmt: skip
    (inside / "provenance.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    last = record("deliver_report", 50)
    (inside / "provenance.jsonl.provenance.json").write_text(json.dumps(last))
    (planned / "engine.json").write_text(json.dumps(ENGINE))
    words = ["--run", "plan.run.json", "--facts", "plan.facts.json", "--engine", "engine.json"]
    words += ["--inputs", "in"]
    for role, name in OUT.items():
        words += [f"--out-{role}", f"out/{name}"]
    done = program("deliver_crate", *words, cwd=planned)
    assert done.returncode == 0, done.stderr
    return planned


@pytest.fixture(scope="module")
def crate(made):
    document = json.loads((made / "out" / "ro-crate-metadata.json").read_text())
    return {entity["@id"]: entity for entity in document["@graph"]}


def references(value):
    if isinstance(value, dict):
        yield value["@id"]
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_every_reference_leads_somewhere(crate):
    outside = ("https://", "http://")
    for entity in crate.values():
        for name, value in entity.items():
            for target in () if name.startswith("@") else references(value):
                assert target in crate or target.startswith(outside), (entity["@id"], target)


def test_every_entity_is_reached_from_the_root(crate):
    reached, waiting = set(), ["./", "ro-crate-metadata.json", "#orchestration"]
    while waiting:
        here = waiting.pop()
        if here in crate and here not in reached:
            reached.add(here)
            for name, value in crate[here].items():
                waiting += [] if name.startswith("@") else list(references(value))
    assert set(crate) - reached == set()


def test_input_is_referred_to_with_its_digest(made, crate):
    for name in ("movies/cells <1>.tif", "movies/b.tif", "labels.tif"):
        entity = crate[(made / name).as_uri()]
        content = (made / name).read_bytes()
        assert entity["sha256"] == hashlib.sha256(content).hexdigest()
        assert entity["contentSize"] == str(len(content))
        assert {"@id": entity["@id"]} in crate["#run"]["object"]


def test_the_model_has_its_files_and_licence(made, crate):
    model = BIN.parent / "assets" / "models" / "stardist_nuclei"
    entity = crate[f"{model.as_uri()}/"]
    assert entity["license"]
    parts = {Path(unquote(part["@id"])).name: crate[part["@id"]] for part in entity["hasPart"]}
    weights = (model / "weights_best.h5").read_bytes()
    assert parts["weights_best.h5"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert entity["@id"] in set(references(crate["#run-StarDist-segment_stardist"]["object"]))


def test_one_action_per_step_and_executable(crate):
    actions = [e for e in crate.values() if e["@type"] == "CreateAction"]
    assert len(actions) == 6  # ingest, StarDist, Track, unite, report, and the run
    track = crate["#run-Track-track_laptrack"]
    assert (track["startTime"][17:19], track["endTime"][17:19]) == ("20", "30")
    values = {crate[one]["name"]: crate[one].get("value") for one in references(track["object"])}
    assert values == {"linking_max_distance": "12.5", "unit": "px"}
    usage = {crate[one]["name"]: crate[one]["value"] for one in references(track["resourceUsage"])}
    assert usage["tasks"] == "2"
    assert crate["#run"]["startTime"][17:19] == "05"
    assert crate["#run"]["endTime"] >= crate["#run"]["startTime"]
    steps = [crate[one["@id"]]["name"] for one in crate["pipeline_info/main.nf"]["step"]]
    assert steps == ["ingest", "StarDist", "Track", "unite", "report"]


def test_what_the_model_decided_is_told(made, crate):
    assert crate["#StarDist-segment_stardist-prob_thresh"]["value"] == "0.4"
    assert "probability threshold was 0.4, " in (made / "out" / "methods.md").read_text()
    steps = YAML(typ="safe").load((made / "out" / "parameters.yml").read_text())["steps"]
    assert steps[0]["resolved"] == {"prob_thresh": [0.4], "nms_thresh": [0.3]}


def test_results_are_described(made, crate):
    table = crate["tables/Track.B.tracks.csv"]
    assert table["sha256"] == hashlib.sha256(b"frame\n").hexdigest()
    assert "images/p1.ome.zarr/" in crate
    whole = set(references(crate["./"]["hasPart"]))
    assert {"methods.md", "pipeline_info/main.nf", "report.html", "tables/"} <= whole


def test_checksums_are_those_of_sha256sum(made):
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "out/inputs.sha256"],
        cwd=made, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    listed = (made / "out" / "inputs.sha256").read_text()
    assert all(name in listed for name in ("cells <1>.tif", "b.tif", "weights_best.h5"))


def test_versions_and_parameters(made):
    yaml = YAML(typ="safe", pure=True)
    versions = yaml.load((made / "out" / "versions.yml").read_text())
    assert versions["nextflow"] == "25.04.0"
    assert set(versions["families"]) == {"core", "stardist"}
    assert versions["families"]["stardist"]["packages"]["stardist"] == "0.9.2"
    parameters = yaml.load((made / "out" / "parameters.yml").read_text())
    assert parameters["run"] == ENGINE["parameters"]
    track = next(step for step in parameters["steps"] if step["tag"] == "Track")
    assert track["given"] == {"linking_max_distance": 12.5}
    assert track["default"]["max_frame_gap"] == 5
    assert (made / "out" / "pipeline.yaml").read_text() == PIPELINE


def test_a_channel_cannot_cite(made):
    text = (made / "out" / "methods.md").read_text()
    assert r"T cell \[@otsu1979\]" in text
    assert "StarDist 0.9.2 [6, 7]" in text
    assert "@inproceedings{schmidt2018," in (made / "out" / "references.bib").read_text()
    assert "otsu1979" not in (made / "out" / "references.bib").read_text()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [("plan.facts.json", "{}", 65), ("engine.json", "no", 65), ("plan.facts.json", None, 66)],
)
def test_bad_files_are_named(made, tmp_path, name, content, code):
    wrong = tmp_path / name
    if content is not None:
        wrong.write_text(content)
    given = {"run": "plan.run.json", "facts": "plan.facts.json", "engine": "engine.json"}
    given[{"plan.facts.json": "facts", "engine.json": "engine"}[name]] = wrong
    words = ["--inputs", "in"]
    for role, path in given.items():
        words += [f"--{role}", path]
    for role, path in OUT.items():
        words += [f"--out-{role}", tmp_path / path]
    done = program("deliver_crate", *words, cwd=made)
    assert done.returncode == code
    assert name in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "methods.md").exists()


def test_images_are_named_with_their_digests(tmp_path):
    (tmp_path / "core-12.sif").write_bytes(b"image")
    (tmp_path / "engine.json").write_text(json.dumps(ENGINE | {"images": str(tmp_path)}))
    families = {"core": {"image": "core-12"}, "stardist": {"image": "absent"},
                "test": {"image": None}}  # fmt: skip
    found = deliver_crate.read_engine(tmp_path / "engine.json", families)["found_images"]
    assert list(found) == ["core"]
    assert found["core"]["sha256"] == hashlib.sha256(b"image").hexdigest()


def test_of_very_many_results_the_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(deliver_crate, "MOST_FILES", 2)
    for name in ("a.csv", "b.csv", "c.csv", "report.html"):
        (tmp_path / name).write_text(name)
    published = {f"tracks/{n}.csv": f"{n}.csv" for n in "abc"} | {"report.html": "report.html"}
    found = list(deliver_crate.find_results(published, tmp_path, {}))
    assert [(one.path, one.folder) for one in found] == [("tracks", True), ("report.html", False)]
    del published["tracks/c.csv"]
    assert len(list(deliver_crate.find_results(published, tmp_path, {}))) == 4


def test_records_that_cannot_be_read_are_passed_over():
    lines = ["", "{", "[]", json.dumps(record("track_iou", 3, output="p1.T.A.tracks.0000.parquet"))]
    (work,) = read_records(lines, {"T": "T"})
    assert (work.step, work.executable, work.tasks) == ("T", "track_iou", 1)


def test_points_of_a_sweep_are_one_step():
    lines = [
        json.dumps(record("track_iou", n, output=f"p1.T_{n}.A.tracks.0000.parquet",
                          arguments={"min_iou": n / 10}))
        for n in (1, 2)
    ]  # fmt: skip
    (work,) = read_records(lines, {"T": "T", "T_1": "T", "T_2": "T"})
    assert work.tasks == 2
    assert work.arguments == {"min_iou": [0.1, 0.2]}


def test_a_run_that_failed_says_so_and_what_there_is(made):
    """A trace names two tasks that ended well; their results and records are taken, no others."""
    place = made / "failed"
    for number, name in enumerate(("p1.ome.zarr", "p2.ome.zarr"), start=1):
        (place / str(number) / "out" / name).mkdir(parents=True)
    ended = record("segment_stardist", 9)
    name = "p1.StarDist.B.label.0000.zarr.provenance.json"
    (place / "1" / "out" / name).write_text(json.dumps(ended))
    rows = [("workdir", "status"), ("1", "COMPLETED"), ("2", "FAILED"), ("gone", "CACHED")]
    lines = "".join(f"{place / a if a != 'workdir' else a}\t{status}\n" for a, status in rows)
    (place / "trace.txt").write_text(lines)
    (place / "failed.txt").write_text("Track p1 B: out of\nUnite: it's <lost>\n")
    (place / "in").mkdir()
    words = ["--run", "plan.run.json", "--facts", "plan.facts.json", "--engine", "engine.json"]
    words += ["--inputs", place / "in", "--trace", place / "trace.txt"]
    words += ["--failed", place / "failed.txt"]
    for role, name in OUT.items():
        words += [f"--out-{role}", f"failed/out/{name}"]
    done = program("deliver_crate", *words, cwd=made)
    assert done.returncode == 0, done.stderr
    document = json.loads((place / "out" / "ro-crate-metadata.json").read_text())
    crate = {entity["@id"]: entity for entity in document["@graph"]}
    assert crate["#run"]["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert crate["#run"]["error"] == "Track p1 B: out of\nUnite: it's <lost>"
    assert "The run failed" in crate["./"]["description"]
    assert crate["#run-StarDist-segment_stardist"]["actionStatus"].endswith("CompletedActionStatus")
    assert not [one for one in crate if "track_laptrack" in one and one.startswith("#run-")]
    assert "images/p1.ome.zarr/" in crate
    assert "images/p2.ome.zarr/" not in crate
    assert not {"methods.md", "references.bib"} & set(crate)
    assert not (place / "out" / "methods.md").exists()
