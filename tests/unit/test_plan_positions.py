"""Files of many positions in `input`: names, choice of positions, planes and channels, mistakes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from microscope_files import write_czi, write_nd2, write_ome_set

from cytoloom.errors import CytoloomError
from cytoloom.plan.grammar import load_pipeline
from cytoloom.plan.model import Overrides
from cytoloom.plan.positions import find_positions

TAIL = """
output_dir: out
spacing: [1, 1]
frame_interval: 600
pipeline: {preprocessing: [{name: PercentileNormalization, channels: all}]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = np.zeros((3, 4, 2, 2, 16, 20), np.uint16)
    write_nd2(tmp_path / "exp.nd2", data)
    (tmp_path / "sub").mkdir()
    write_nd2(tmp_path / "sub" / "exp.nd2", data)
    write_czi(tmp_path / "slide.czi", data[:, :1])
    for number in (0, 2):
        tifffile.imwrite(
            tmp_path / f"cut_scene{number}.ome.tif", data[0], metadata={"axes": "TZCYX"}
        )
    return tmp_path


def found(folder, text, *, lenient=False, **overrides):
    (folder / "p.yaml").write_text(text + TAIL)
    pipeline = load_pipeline(folder / "p.yaml", Overrides(dry_run=lenient, **overrides))
    positions, _ = find_positions(pipeline, lenient=lenient)
    return positions


def names(folder, text, **more):
    return [position.name for position in found(folder, text, **more)]


def test_each_position_of_a_file_is_one(folder):
    positions = found(folder, "input: exp.nd2\nchannels: {A: Phase, B: 1}\n")
    assert [p.name for p in positions] == ["exp_000", "exp_001", "exp_002"]
    assert [[o.given.scene for o in p.inputs] for p in positions] == [[0, 0], [1, 1], [2, 2]]
    assert positions[0].shape == (4, 2, 16, 20)
    assert names(folder, "input: slide.czi\nchannels: [Phase, GFP]\n")[-1] == "slide_002"


def test_one_of_the_files_split_by_scene_stands_for_all(folder):
    for text in ("cut_scene2.ome.tif", '"cut_scene*.ome.tif"'):
        positions = found(folder, f"input: {text}\nchannels: {{A: 0}}\n")
        assert [p.name for p in positions] == ["cut_000", "cut_002"]
        assert positions[1].inputs[0].given.path.endswith("cut_scene2.ome.tif")


@pytest.mark.parametrize("apart", [False, True])
def test_each_image_of_a_set_is_one_position_however_it_is_given(folder, apart):
    (folder / "set").mkdir()
    files = [f"well{n}.ome.tif" for n in range(3)]
    write_ome_set(folder / "set", np.zeros((3, 4, 2, 16, 20), np.uint16), files, apart=apart)
    given = ['"set/well*.ome.tif"', "set/well1.ome.tif", "set", "[set/well0.ome.tif]"]
    for text in [*given, "set/set.companion.ome"] if apart else given:
        positions = found(folder, f"input: {text}\nchannels: {{A: GFP}}\n")
        assert [p.name[-4:] for p in positions] == ["_000", "_001", "_002"]
        paths = [os.path.basename(p.inputs[0].given.path) for p in positions]  # noqa: PTH119
        assert paths == files
        assert positions[0].shape == (4, 1, 16, 20)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ('{path: exp.nd2, fovs: "0, 2"}', ["exp_000", "exp_002"]),
        ("{path: exp.nd2, fovs: 0-1}", ["exp_000", "exp_001"]),
        ("{path: exp.nd2, fovs: [1]}", ["exp_001"]),
        ("{path: exp.nd2, fovs: 1, position: only}", ["only"]),
        ('{path: exp.nd2, fovs: 1-2, position: "fov_{fov}"}', ["fov_001", "fov_002"]),
        ("{a: {path: exp.nd2, fovs: 1}, b: {path: slide.czi, fovs: 0-1}}", ["a", "b_000", "b_001"]),
        ("[{path: exp.nd2, fovs: 0}, {path: slide.czi, fovs: 2}]", ["exp_000", "slide_002"]),
        ("[exp.nd2, slide.czi]", [f"{n}_00{i}" for n in ("exp", "slide") for i in range(3)]),
        ("{path: cut_scene0.ome.tif, fovs: 2}", ["cut_002"]),
        ("[cut_scene0.ome.tif, cut_scene2.ome.tif]", ["cut_000", "cut_002"]),
        ('{path: "cut_*.tif", position: "fov_{fov}"}', ["fov_000", "fov_002"]),
        ("[exp.nd2, exp.nd2]", ["exp_000", "exp_001", "exp_002"]),
        (
            "[{path: exp.nd2, fovs: 1}, {path: sub/exp.nd2}]",
            ["exp_001", "exp_2_000", "exp_2_001", "exp_2_002"],
        ),
    ],
)
def test_positions_are_chosen_and_named(folder, given, wanted):
    assert names(folder, f"input: {given}\nchannels: {{A: 0}}\n") == wanted


def test_sample_sheets(folder):
    sheet = folder / "sheet.csv"
    sheet.write_text('position,path,fovs,z\nplate,exp.nd2,"0, 2",max\none,slide.czi,1,0\n')
    positions = found(folder, "input: sheet.csv\nchannels: [Phase, GFP]\n")
    assert [p.name for p in positions] == ["plate_000", "plate_002", "one"]
    assert [p.shape[1] for p in positions] == [1, 1, 1]
    sheet.write_text(
        "position,channel,path,source_channel,fovs\np,A,exp.nd2,0,0-1\np,B,exp.nd2,GFP,0-1\n"
    )
    positions = found(folder, "input: sheet.csv\nchannels: [A, B]\n")
    assert [(p.name, len(p.inputs)) for p in positions] == [("p_000", 2), ("p_001", 2)]


def test_planes_of_a_channel_of_its_own(folder):
    text = "input: exp.nd2\nchannels: {A: {channel: 0, z: 1}, B: {channel: 1, z: max}}\n"
    one = found(folder, text)[0]
    assert one.shape == (4, 1, 16, 20)
    assert [o.given.z for o in one.inputs] == ["1", "max"]
    assert one.inputs[0].selection.ranges[1] == range(1, 2)
    assert one.inputs[1].selection.projection == "max"


def test_one_position_under_channels(folder):
    text = "channels: {A: {path: exp.nd2, channel: GFP, fov: 2, z: mean}}\n"
    (one,) = found(folder, text)
    assert (one.name, one.shape, one.inputs[0].given.scene) == ("p1", (4, 1, 16, 20), 2)


def test_the_command_line_replaces_the_path(folder):
    text = "input: {path: gone.nd2, fovs: 1, z: max, position: one}\nchannels: {A: 0}\n"
    (one,) = found(folder, text, input=str(folder / "exp.nd2"))
    assert (one.name, one.shape[1], one.inputs[0].given.scene) == ("one", 1, 1)
    sheet = folder / "sheet.csv"
    sheet.write_text("position,path\nplate,exp.nd2\n")
    assert len(found(folder, text, input=str(sheet))) == 3


def test_a_dry_run_without_the_file(folder):
    text = "input: {path: gone.nd2, fovs: 1-2}\nchannels: {A: 0}\n"
    assert names(folder, text, lenient=True) == ["gone_001", "gone_002"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input: exp.nd2\nchannels: {A: RFP}\n", "no channel 'RFP' (channels: Phase, GFP)"),
        ("input: exp.nd2\nchannels: {A: 2}\n", "no channel 2 (channels: Phase, GFP)"),
        ("input: {path: exp.nd2, fovs: 1-4}\nchannels: {A: 0}\n", "has no position 3 (there are 3"),
        ('input: {path: exp.nd2, fovs: "3-"}\nchannels: {A: 0}\n', "missing start or end value"),
        ('input: {path: exp.nd2, fovs: ""}\nchannels: {A: 0}\n', None),
        ("input: {path: exp.nd2, z: 2}\nchannels: {A: 0}\n", "z: there is no plane 2"),
        ("input: {path: exp.nd2, z: mid}\nchannels: {A: 0}\n", "z: 'mid' is not the index"),
        ("input: {path: exp.nd2, fov: 2}\nchannels: {A: 0}\n", "unknown column 'fov'"),
        ("channels: {A: exp.nd2}\n", "holds 3 positions; give it as `input:`"),
        ("channels: {A: {path: exp.nd2, fov: 3}}\n", "no position 3 (there are 3, from 0)"),
        ("channels: {A: {path: exp.nd2, fov: 1, z: x}}\n", "A.z: must be the index of a plane or"),
    ],
)
def test_mistakes(folder, text, said):
    if said is None:
        assert len(found(folder, text)) == 3
        return
    with pytest.raises(CytoloomError) as error:
        found(folder, text)
    lines = str(error.value).splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert "p.yaml:1: " in lines[0]


def test_stores_of_positions_of_one_number_are_kept_apart(folder, project):
    (folder / "p.yaml").write_text(
        "input: [exp.nd2, slide.czi]\nchannels: {A: 0}\noutput_dir: out\nspacing: [1, 1]\n"
        "image_range: {t: [0, 1]}\nframe_interval: 60\n"
        "pipeline: {postprocessing: [{name: Caching, channels: [[A]]}]}\n"
    )
    command = [sys.executable, project / "bin" / "plan_pipeline.py", "--pipeline", "p.yaml"]
    env = {**os.environ, "CYTOLOOM_CACHE": str(folder / "cache")}
    done = subprocess.run([*command, "--out", "plan.json"], cwd=folder, env=env, check=False)
    assert done.returncode == 0
    steps = json.loads((folder / "plan.json").read_text())["steps"]
    jobs = [job for step in steps for jobs in step["phases"].values() for job in jobs]
    places = sorted(
        place for job in jobs for place in job["publish"].values() if "images." in place
    )
    assert places == [f"{n}_00{i}/images.zarr" for n in ("exp", "slide") for i in range(3)]
