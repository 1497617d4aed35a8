"""The grammar of the pipeline YAML: what is read, how layers flow, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from plan_tools import (
    ASSETS,
    BIN,
    COMPLETE,
    HERE,
    Overrides,
    load,
    load_registry,
    load_text,
    mistakes,
    write_inputs,
)

from cytoloom.errors import BadData, InputMissing
from cytoloom.plan.grammar import load_pipeline
from cytoloom.plan.model import Layer, Slice, slugs, unique
from cytoloom.plan.problems import PlanProblems

BROKEN = sorted((HERE / "broken").glob("*.yaml"))
TEMPLATES = sorted((ASSETS / "pipelines").glob("pipeline*.yaml"))
HEAD = """\
channels: {TCell: tcell.tif, Cancer: cancer.tif, Dead: dead.tif}
output_dir: results
pipeline:
"""


def test_complete_pipeline_is_read(tmp_path: Path) -> None:
    pipeline = load_text(tmp_path, COMPLETE)
    assert list(pipeline.channels) == ["TCell", "CancerCell", "Dead"]
    assert pipeline.channels["Dead"].path == str(tmp_path / "dead.tif")
    assert pipeline.image_range == {
        "x": Slice(0, None, 1),
        "y": Slice(0, None, 2),
        "t": Slice(0, 100, 1),
    }
    assert pipeline.spacing == (0.83, 0.83)
    assert pipeline.frame_interval == 60
    assert pipeline.output_dir == tmp_path / "results"
    assert (pipeline.patching.count, pipeline.patching.patches) == ((2, 2), None)
    assert [step.tag for step in pipeline.steps] == [
        "Merge", "Normalize", "Nuclei", "Refine", "LabelToSparse", "Track", "Contact",
        "CellTriangulation", "FeatureFilter", "Kinematics", "CellKilling",
    ]  # fmt: skip
    normalize = pipeline.steps[1]
    assert normalize.channels == (("TCell",), ("CancerCell",), ("Dead",), ("Composite",))
    assert (normalize.args, normalize.output) == ({"lp": 5, "up": 95}, False)
    assert normalize.lines["args.up"] == 31


def test_layers_flow_from_step_to_step(tmp_path: Path) -> None:
    steps = {step.tag: step for step in load_text(tmp_path, COMPLETE).steps}
    merged = steps["Normalize"].groups[3]
    assert merged.inputs["image"] == (Layer("Composite", "image", "Merge"),)
    refined = steps["LabelToSparse"].groups[0]
    assert refined.inputs["label"] == (Layer("TCell", "label", "Refine"),)
    contact = steps["Contact"].groups[0]
    assert contact.inputs["table"] == (
        Layer("TCell", "tracks", "Track"),
        Layer("Composite", "tracks", "Track"),
    )
    assert steps["Track"].groups[1].outputs["trackedlabel"].channel == "Composite"
    filtered = steps["Kinematics"].groups[0]
    assert filtered.inputs["table"] == (Layer("Large", "tracks", "FeatureFilter"),)
    killing = steps["CellKilling"].groups[0]
    assert killing.inputs["contacts"] == (Layer("Killers", "contacts", "Contact"),)
    assert killing.inputs["table"][2] == Layer("Dead", "cells", "LabelToSparse")


def test_filtered_table_keeps_its_label_image(tmp_path: Path) -> None:
    text = COMPLETE + (
        "    - name: CrossCellContactMeasures\n      channels: [[Large, Dead]]\n"
        "      output_channel_name: [Again]\n"
    )
    contact = load_text(tmp_path, text).steps[-1].groups[0]
    assert contact.inputs["label"] == (
        Layer("TCell", "label", "Refine"),
        Layer("Composite", "label", "Nuclei"),
    )
    assert contact.inputs["image"][0] == Layer("TCell", "image", "Normalize")


def test_merge_arguments_are_kept_from_the_core(tmp_path: Path) -> None:
    contact = load_text(tmp_path, COMPLETE).step("Contact")
    assert contact is not None
    assert contact.args == {"base_image": False, "max_gap": 1}
    assert contact.args_of("analyse_contact") == {"base_image": False}


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_broken_pipeline_reports_all_its_mistakes(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    expected = re.findall(r"^# (\d+: .*)$", text, re.MULTILINE)
    found = [line.replace(str(tmp_path), "DIR") for line in mistakes(tmp_path, text)]
    assert expected, "the file names no mistake"
    assert found == expected


def test_there_are_a_dozen_broken_pipelines() -> None:
    assert len(BROKEN) >= 12


def test_only_missing_files_exit_as_missing(tmp_path: Path) -> None:
    text = HEAD.replace("tcell", "absent") + "  preprocessing: [{name: GammaCorrection, %s}]\n"
    for channels, code in (("channels: all", 66), ("channels: none_such", 65)):
        with pytest.raises(PlanProblems) as caught:
            load_text(tmp_path, text % channels)
        assert caught.value.exit_code == code
    assert (InputMissing.exit_code, BadData.exit_code) == (66, 65)


def test_dry_run_turns_what_is_absent_into_warnings(tmp_path: Path) -> None:
    text = HEAD.replace("tcell", "absent") + (
        "  segmentation: [{name: CellPose, channels: [TCell], args: {diameter: 20}}]\n"
    )
    assert len(mistakes(tmp_path, text)) == 1
    pipeline = load_text(tmp_path, text, dry_run=True)
    assert ["absent.tif" in line for line in pipeline.warnings] == [True]


def test_missing_pipeline_file(tmp_path: Path) -> None:
    with pytest.raises(PlanProblems, match=r"none\.yaml:1: no such file") as caught:
        load(tmp_path / "none.yaml")
    assert caught.value.exit_code == 66


@pytest.mark.parametrize("bad", [b"\xff\xfea: 1", b"a: \x07", b"[" * 600, b"a: 1\n---\nb: 2\n"])
def test_unreadable_yaml_is_one_line(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(bad)
    with pytest.raises(PlanProblems) as caught:
        load(path)
    assert len(caught.value.lines) == 1


def test_aliases_that_explode_are_stopped(tmp_path: Path) -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert any("not a pipeline" in line for line in mistakes(tmp_path, "\n".join(rows)))


def test_merge_keys_and_yes_no(tmp_path: Path) -> None:
    text = HEAD + (
        "  segmentation:\n    - &base\n      name: StarDist\n      channels: [TCell]\n"
        "      output: no\n      args: {prob_thresh: 1e-1}\n"
        "    - <<: *base\n      channels: [Cancer]\n"
    )
    first, second = load_text(tmp_path, text).steps
    assert (first.args, second.args) == ({"prob_thresh": 0.1}, {"prob_thresh": 0.1})
    assert (first.output, second.output) == (False, False)
    assert second.channels == (("Cancer",),)
    assert [first.tag, second.tag] == ["StarDist", "StarDist_2"]


def test_stages_run_in_order_whatever_the_file_says(tmp_path: Path) -> None:
    text = HEAD + (
        "  label_to_sparse: {image_label_pair: [[TCell, TCell]]}\n"
        "  segmentation: [{name: Threshold, channels: [TCell]}]\n"
        "  preprocessing: [{name: GammaCorrection, channels: all}]\n"
    )
    stages = [step.stage for step in load_text(tmp_path, text).steps]
    assert stages == ["preprocessing", "segmentation", "label_to_sparse"]


def test_given_labels_and_tables_stand_in_for_steps(tmp_path: Path) -> None:
    write_inputs(tmp_path, "cells.parquet", "labels.tif")
    text = (
        "labels: {TCell: labels.tif}\ntables: {Cancer: cells.parquet}\n" + HEAD +
        "  label_to_sparse: {image_label_pair: [[TCell, TCell]]}\n"
        "  tracking: [{name: LapTrack, channels: [TCell, Cancer]}]\n"
    )  # fmt: skip
    track = load_text(tmp_path, text).steps[1]
    assert track.groups[1].inputs["table"] == (Layer("Cancer", "table", "ingest"),)
    assert "trackedlabel" not in track.groups[1].outputs


def test_tables_alone_are_enough(tmp_path: Path) -> None:
    write_inputs(tmp_path, "cells.csv")
    text = (
        "tables: {A: cells.csv}\noutput_dir: out\n"
        "pipeline: {tracking: [{name: LapTrack, channels: all}]}\n"
    )
    assert load_text(tmp_path, text).steps[0].channels == (("A",),)


def test_until_and_from(tmp_path: Path) -> None:
    pipeline = load_text(tmp_path, COMPLETE, from_tag="Nuclei", until="Track")
    assert pipeline.steps[-1].tag == "Track"
    assert pipeline.steps[pipeline.start].tag == "Nuclei"
    assert pipeline.all_steps[-1].tag == "CellKilling"
    (problem,) = mistakes(tmp_path, COMPLETE, until="Trak")
    assert "--until: there is no step with the tag 'Trak'; did you mean Track?" in problem
    (problem,) = mistakes(tmp_path, COMPLETE, from_tag="Track", until="Nuclei")
    assert "Nuclei comes before Track" in problem


def test_given_labels_win_over_skipped_steps(tmp_path: Path) -> None:
    write_inputs(tmp_path, "labels.tif")
    text = "labels: {TCell: labels.tif}\n" + COMPLETE
    whole = load_text(tmp_path, text).step("LabelToSparse")
    part = load_text(tmp_path, text, from_tag="LabelToSparse").step("LabelToSparse")
    assert whole is not None
    assert part is not None
    assert whole.groups[0].inputs["label"][0].tag == "Refine"
    assert part.groups[0].inputs["label"][0].tag == "ingest"


def test_paths_beside_the_yaml_come_first(tmp_path: Path) -> None:
    launch, folder = tmp_path / "launch", tmp_path / "yaml"
    for each in (launch, folder):
        each.mkdir()
    write_inputs(folder, "tcell.tif")
    write_inputs(launch)
    path = folder / "p.yaml"
    path.write_text(HEAD + "  preprocessing: [{name: GammaCorrection, channels: all}]\n")
    pipeline = load(path, launch_dir=launch)
    assert pipeline.channels["TCell"].path == str(folder / "tcell.tif")
    assert pipeline.channels["Dead"].path == str(launch / "dead.tif")
    assert pipeline.output_dir == launch / "results"


def test_command_line_wins_over_the_file(tmp_path: Path) -> None:
    write_inputs(tmp_path, "sheet.csv")
    text = "channels: {A: 0, B: gfp, C: null}\npipeline: {preprocessing: [%s]}\n"
    text %= "{name: GammaCorrection, channels: [A]}"
    pipeline = load_text(tmp_path, text, input="sheet.csv", output_dir=Path("there"))
    assert pipeline.input is not None
    assert pipeline.input.sheet == tmp_path / "sheet.csv"
    assert [c.channel for c in pipeline.channels.values()] == [0, "gfp", "C"]
    assert pipeline.output_dir == tmp_path / "there"


@pytest.mark.parametrize(
    ("written", "files", "rows"),
    [
        ("a.tif", 1, 0),
        ("[a.tif, '*.tif']", 2, 0),
        ("{p1: a.tif, p2: {path: a.tif, pixel_size: 0.5}}", 0, 2),
        ("[{position: p1, path: a.tif}]", 0, 1),
    ],
)
def test_forms_of_input(tmp_path: Path, written: str, files: int, rows: int) -> None:
    write_inputs(tmp_path, "a.tif")
    text = f"input: {written}\nchannels: [A, 488]\noutput_dir: o\npipeline:\n"
    text += "  preprocessing: [{name: GammaCorrection, channels: all}]\n"
    given = load_text(tmp_path, text).input
    assert given is not None
    assert (len(given.files), len(given.rows)) == (files, rows)
    assert all(row["path"] == str(tmp_path / "a.tif") for row in given.rows)


def test_odd_names_become_unique_slugs(tmp_path: Path) -> None:
    text = HEAD.replace("TCell", "'T \"cell\" δε'").replace("Cancer:", "'T cell':") + (
        "  segmentation:\n"
        "    - {name: Threshold, tag: 'find cells!', channels: all}\n"
        "    - {name: Refine, tag: 'Find_cells', channels: [Dead]}\n"
    )
    pipeline = load_text(tmp_path, text)
    assert pipeline.slugs == {'T "cell" δε': "T_cell", "T cell": "T_cell_2", "Dead": "Dead"}
    assert [step.slug for step in pipeline.steps] == ["find_cells", "Find_cells_2"]


def test_reserved_and_empty_slugs() -> None:
    assert slugs(["ingest", "ε", "δ", "x" * 99], ["ingest"]) == {
        "ingest": "ingest_2",
        "ε": "unnamed",
        "δ": "unnamed_2",
        "x" * 99: "x" * 48,
    }
    assert unique("a", ["a", "a_2"]) == "a_3"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_templates_are_valid(path: Path) -> None:
    pipeline = load(path, dry_run=True)
    assert pipeline.steps
    assert all("no such file" in w or "no file" in w or "not part of" in w
               for w in pipeline.warnings)  # fmt: skip


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_templates_are_valid_for_the_real_executables(path: Path) -> None:
    missing = [row.executable for row in load_registry()
               if row.available and not (BIN / f"{row.executable}.py").is_file()]  # fmt: skip
    if missing:
        pytest.skip(f"executables are missing: {', '.join(missing)}")
    assert load_pipeline(path, Overrides(dry_run=True)).steps
