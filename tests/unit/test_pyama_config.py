"""PyAMA's processing_config.yaml, accepted as it is: every form of its keys, and its mistakes."""

import numpy as np
import pytest
from microscope_files import write_nd2
from planned import command

from cytoloom.plan import pyama
from cytoloom.plan.nodes import parse
from cytoloom.plan.problems import PlanProblems, Problems
from cytoloom.plan.pyama_channels import saved

FULL = """\
params:
  segmentation_method: logstd
  tracking_method: iou
  crop_padding: 5
  mask_margin: 0
  min_frames: 20
  border_margin: 40
  background_weight: 0.5
  batch_size: 2
  n_workers: 2
  fovs: "0-1"
channels:
  pc:
    channel: 0
    features: [aspect_ratio, area]
  fl:
    - channel: 1
      features: [intensity_total]
"""


def translated(text, path, given="exp.nd2"):
    problems = Problems(str(path))
    root = parse(text, problems)
    assert pyama.is_config(root)
    node, only_copy = pyama.translate(root, path, given, problems)
    problems.raise_if_any()
    return node.plain(), only_copy, problems.warnings


@pytest.fixture
def config(tmp_path):
    data = np.zeros((3, 4, 2, 2, 16, 16), np.uint16)
    write_nd2(tmp_path / "exp.nd2", data)
    return tmp_path / "processing_config.yaml"


def test_all_of_it(config):
    found, only_copy, warnings = translated(FULL, config)
    assert not only_copy
    assert found["channels"] == {"pc_ch_0": 0, "fl_ch_1": 1}
    assert found["input"] == {"path": "exp.nd2", "z": 0, "position": "fov_{fov}", "fovs": [0, 1]}
    assert "frame_interval" not in found  # the file has times
    stages = found["pipeline"]
    assert stages["segmentation"] == [{"name": "LogStd", "channels": ["pc_ch_0"]}]
    assert stages["label_to_sparse"] == {"image_label_pair": [["pc_ch_0", "pc_ch_0"]]}
    assert stages["tracking"] == [{"name": "IoU", "channels": ["pc_ch_0"]}]
    steps = {step["name"]: step for step in stages["postprocessing"]}
    assert list(steps) == ["SplineBackground", "Cropping", "Extraction", "Caching"]
    assert steps["SplineBackground"]["channels"] == [["fl_ch_1", "pc_ch_0"]]
    assert steps["Cropping"]["args"] == {"padding": 5, "mask_margin": 0, "min_frames": 20}
    assert steps["Extraction"] == {
        "name": "Extraction",
        "channels": [["pc_ch_0", "fl_ch_1"]],
        "args": {
            "min_frames": 20,
            "border_margin": 40,
            "background_weight": 0.5,
            "features": ["pc_ch_0:area", "pc_ch_0:aspect_ratio", "fl_ch_1:intensity_total"],
        },
    }
    assert "read as PyAMA's configuration: LogStd, IoU, SplineBackground" in warnings[0]


@pytest.mark.parametrize(
    "channels",
    [
        "{pc: {channel: 0, features: [area]}, fl: [{channel: 1, features: [a]}, [2, [b]]]}",
        "{pc: [0, [area]], fl: [[1, [a]], [2, [b]]]}",
        "{pc: {0: [area]}, fl: {1: [a], 2: [b]}}",
        "{pc: [0, [area]], fl: [[2, [b]], [1, [a]], [2, [b]], {features: [c]}]}",
    ],
)
def test_forms_of_channels(config, channels):
    found, _, _ = translated(f"params: {{}}\nchannels: {channels}\n", config)
    assert set(found["channels"]) == {"pc_ch_0", "fl_ch_1", "fl_ch_2"}
    extraction = found["pipeline"]["postprocessing"][2]
    wanted = {"pc_ch_0:area", "fl_ch_1:a", "fl_ch_2:b"}
    assert set(extraction["args"]["features"]) == wanted


def test_names_of_the_file_may_hold_anything(config):
    text = "channels: {pc: {channel: a/b}, fl: [[c/d, [area]]]}\nparams: {}\n"
    found, _, _ = translated(text, config)
    assert found["channels"] == {"pc_ch_a_b": "a/b", "fl_ch_c_d": "c/d"}


def test_features_of_one_channel_are_joined(config):
    text = "channels: {pc: 0, fl: [[1, [b]], [1, [a]]]}\nparams: {}\n"
    found, _, _ = translated(text, config)
    features = found["pipeline"]["postprocessing"][2]["args"]["features"]
    assert features == ["fl_ch_1:b", "fl_ch_1:a"]


def test_what_is_missing_is_left_out(config):
    found, only_copy, _ = translated("channels: {pc: {0: []}, fl: {}}\nparams: {}\n", config)
    steps = [step["name"] for step in found["pipeline"]["postprocessing"]]
    assert steps == ["Cropping", "Extraction", "Caching"]
    assert found["pipeline"]["postprocessing"][1]["args"]["features"] == ["none"]
    assert not only_copy
    found, only_copy, said = translated("channels: {fl: [[1, [a]]]}\nparams: {}\n", config)
    assert [(s["name"], s["channels"]) for s in found["pipeline"]["postprocessing"]] == [
        ("SplineBackground", [["fl_ch_1", "fl_ch_1"]]), ("Caching", [["fl_ch_1"]])
    ]  # fmt: skip
    assert not only_copy
    assert any("no phase contrast" in line for line in said)
    _, only_copy, said = translated(FULL.replace("params:", "params:\n  copy_only: true"), config)
    assert only_copy
    assert "the images are copied, nothing else" in said[0]


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ('fovs: ""', None),
        ("fovs: 0-2", [0, 1, 2]),
        ("fovs: 2", [2]),
        ("fov_list: [2, 0]", [0, 2]),
        ("fov_list: []", None),
        ("fov_start: 1", [1, 2]),
        ("fov_start: 1\n  fov_end: -1", [1, 2]),
        ("fov_start: 0\n  fov_end: 1", [0, 1]),
        ("fov_start: 0", None),
    ],
)
def test_positions(config, params, wanted):
    text = f"channels: {{pc: 0, fl: []}}\nparams:\n  {params}\n"
    found, _, _ = translated(text, config, str(config.parent / "exp.nd2"))
    assert found["input"].get("fovs") == wanted


def test_time(config):
    text = "channels: {pc: 0, fl: []}\nparams:\n  frame_interval: 5\n  time_mapping: {0: 0, 1: 7}\n"
    found, _, _ = translated(text, config)
    assert found["frame_interval"] == 300
    extraction = found["pipeline"]["postprocessing"][1]
    assert extraction["args"]["time_mapping"] == str(config)


def test_samples_beside_it(config):
    (config.parent / "samples.yaml").write_text("samples: [{name: a, fovs: 0-1}]\n")
    found, _, _ = translated(FULL, config)
    merge = found["pipeline"]["postprocessing"][-1]
    assert merge == {
        "name": "MergeSamples",
        "channels": ["pc_ch_0"],
        "args": {"samples": str(config.parent / "samples.yaml")},
    }


@pytest.mark.parametrize(
    ("fit", "args"),
    [
        ("trivial", {"model": "trivial"}),
        ("{model: maturation, fixed: ['km=1']}", {"model": "maturation", "fixed": ["km=1"]}),
    ],
)
def test_fits_by_a_key_of_ours(config, fit, args):
    found, _, _ = translated(f"{FULL}fit: {fit}\n", config)
    *_, merge, fits = found["pipeline"]["postprocessing"]
    assert merge == {"name": "MergeSamples", "channels": ["pc_ch_0"]}
    assert fits == {"name": "FitTraces", "channels": ["pc_ch_0"], "args": args}


def test_features_and_samples_are_checked_before_anything_runs(config):
    def plan(text, samples):
        config.write_text(text)
        (config.parent / "samples.yaml").write_text(samples)
        words = ["--pipeline", config, "--input", config.parent / "exp.nd2", "--outdir", "out"]
        return command("plan_pipeline", *words, "--dry_run", cwd=config.parent)

    text = FULL.replace("intensity_total", "intensity_totl")
    done = plan(text, "samples: [{name: a, fovs: '1;2'}]")
    assert done.code == 65
    first, second = done.err.splitlines()
    assert "samples.yaml: sample 'a': Use commas" in first
    assert "processing_config.yaml:17: step Extraction: features: no feature" in second
    assert "'intensity_totl'; did you mean intensity_total?" in second
    done = plan(FULL, "samples: [{name: a, fovs: '0, 7'}]")
    assert done.code == 0
    assert "samples: sample 'a': no traces of position 7" in done.err
    assert "samples: positions in no sample: 1" in done.err


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("crop_padding: 5", "crop_paddin: 5", 4, "parameter of PyAMA; did you mean crop_padding"),
        ("channels:\n", "chanels:\n", 12, "unknown key of PyAMA's file; did you mean channels"),
        ("features: [intensity", "feature: [intensity", 18, "did you mean features"),
        ("method: iou", "method: btrack", 3, "btrack is not offered: take iou"),
        ("method: logstd", "method: logst", 2, "did you mean logstd"),
        ('fovs: "0-1"', 'fovs: "3-"', 11, "Invalid range '3-': missing start or end value"),
        ("channel: 0", "channel: -1", 14, "at least 0"),
        ("  fl:\n    - channel: 1\n      features: [intensity_total]\n", "  fl: 3\n", 16, "list"),
        ("  fl:\n    - channel: 1\n", "  fl:\n      channel: 1\n", 16, "must be a list"),
    ],
)  # fmt: skip
def test_mistakes_have_their_line(config, old, new, line, message):
    with pytest.raises(PlanProblems) as error:
        translated(FULL.replace(old, new), config)
    lines = [text for text in error.value.lines if message in text]
    assert lines, error.value.lines
    assert f".yaml:{line}: " in lines[0]


def test_it_is_saved_as_pyama_saves_it():
    problems = Problems("x.yaml")
    text = saved(parse(FULL.replace("fl:", "fl:\n    - [2, [b, a]]"), problems))
    again = parse(text, problems)
    problems.raise_if_any()
    assert again.plain() == parse(FULL, problems).plain() | {
        "channels": {
            "pc": {"channel": 0, "features": ["area", "aspect_ratio"]},
            "fl": [
                {"channel": 1, "features": ["intensity_total"]},
                {"channel": 2, "features": ["a", "b"]},
            ],
        }
    }


def test_no_images(config):
    with pytest.raises(PlanProblems, match="give them with --input FILE"):
        translated(FULL, config, None)


def test_ours_is_not_taken_for_it():
    for text in ("channels: {pc: a.tif}\npipeline: {}\n", "channels: {A: a.tif}\n"):
        assert not pyama.is_config(parse(text, Problems("x")))
    assert pyama.is_samples(parse("samples: []\n", Problems("x")))
