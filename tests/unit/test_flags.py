"""Flags of traces as a viewer edits them: the CSV, the positions of a run, and napari's layers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import dask.array as da
import deliver_unite
import numpy as np
import pytest

from cytoloom import flags, images, layouts, traces
from cytoloom.errors import BadData, InputMissing
from cytoloom.regions import Region
from launcher import host, view

CSV = """\
fov,cell,frame,good,position_x,position_y,bbox_x0,bbox_y0,bbox_x1,bbox_y1,note_ch_0
1,3,0,True,10.50,12,8,10,13,14,1e-3
1,3,1,True,11.50,12,9,10,14,14,
1,3,2,True,12.50,12,10,10,15,14,0.10
1,7,0,False,30,20,28,18,32,22,x
1,7,1,true,30,21,28,19,32,23,y
"""


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "fov_001" / "exp_fov_001_traces.csv"
    path.parent.mkdir()
    path.write_text(CSV)
    return path


def test_a_cell_is_flagged_and_nothing_else_changes(csv):
    found = flags.Flags(csv)
    assert found.states() == {3: "good", 7: "mixed"}
    assert found.toggle(3) == "bad"
    found.save()
    expected = re.sub(r"^(1,3,.),True", r"\1,False", CSV, flags=re.MULTILINE)
    assert csv.read_text() == expected.replace("true", "True")
    again = flags.Flags(csv)
    assert again.states() == {3: "bad", 7: "mixed"}
    assert again.toggle(3) == "good"
    assert again.toggle(7) == "bad"
    assert again.toggle(7) == "good"


def test_from_a_frame_on(csv):
    found = flags.Flags(csv)
    assert found.toggle(3, 1) == "mixed"
    assert found.good.tolist()[:3] == [True, False, False]
    assert found.toggle(3, 2) == "mixed"
    assert found.good.tolist()[:3] == [True, False, True]
    assert found.toggle(3, 3) is None
    assert found.toggle(8) is None
    assert found.colours()[3] == flags.COLOURS["mixed"]
    assert found.colours()[None] == flags.UNTRACED


def test_tracks_are_sorted(csv):
    rows, good = flags.Flags(csv).tracks()
    assert rows.tolist()[3] == [7, 0, 20, 30]
    assert good.tolist() == [1, 1, 1, 0, 1]


def results(folder, csv, channel="PC"):
    """Make a folder of results of two positions, one of them without traces."""
    publish = {
        "exp_001.Extraction.PC.tracescsv.0000.csv": str(csv.relative_to(folder)),
        "exp_002.Extraction.PC.tracescsv.0000.csv": "fov_002/exp_fov_002_traces.csv",
        "exp_001.ome.zarr": "images/exp_001.ome.zarr",
    }
    steps = [{"tag": "IoU", "phases": {"core": []}},
             {"tag": "Extraction", "phases": {"core": [{"publish": publish}]}}]  # fmt: skip
    (folder / "pipeline_info").mkdir()
    (folder / flags.PLAN).write_text(json.dumps({"steps": steps}))
    labels = np.zeros((3, 1, 40, 50), np.uint32)
    labels[:, :, 10:15, 8:16] = 3
    labels[:2, :, 18:24, 28:33] = 7
    labels[0, 0, 35:38, 2:6] = 9
    globs = []
    for kind, data in (("image", labels.astype("u2") * 100 + 5), ("label", labels)):
        chunks, shards = layouts.default_layout(data.shape)
        layout = layouts.Layout(
            data.shape, data.dtype, chunks, shards, (1.0, 1.0, 1.0), 60.0, "exp_001", channel
        )
        path = folder / f"exp_001.x.PC.{kind}.0000.zarr"
        region = Region.whole(data.shape)
        images.write_part(path, data, region=region, like=layout, kind=kind)
        globs.append(path)
    (folder / "images").mkdir()
    deliver_unite.main(
        folder / "images" / "exp_001.ome.zarr",
        [f"{channel}={globs[0]}"],
        [f"{channel} tracks (IoU)={globs[1]}"],
    )
    return labels


@pytest.mark.parametrize("channel", ["PC", "phase µ/2"])
def test_positions_of_a_run(tmp_path, csv, channel):
    labels = results(tmp_path, csv, channel)
    (place,) = flags.places_of(tmp_path)
    assert (place.name, place.csv, place.channel) == ("exp_001", csv, "PC")
    ((name, image, index),) = flags.images_of(place)
    assert (name, index) == (channel, 0)
    assert image.frame(0)[0].max() == 905
    array = da.from_array(labels[:, None])  # t, c, z, y, x
    np.testing.assert_array_equal(flags.plane(array, 0), labels[:, 0])
    assert flags.labels_of(place).frame(1)[0].max() == 7
    assert flags.chosen([place], None) == flags.chosen([place], "exp_001") == place
    with pytest.raises(InputMissing, match=r"exp_009.*positions: exp_001"):
        flags.chosen([place], "exp_009")
    copy = csv.with_name("exp_fov_001_traces_inspected.csv")
    copy.write_text(CSV)
    assert flags.places_of(tmp_path)[0].csv == copy


def test_what_is_no_folder_of_results(tmp_path, csv):
    with pytest.raises(InputMissing, match="not a folder of results"):
        flags.places_of(tmp_path)
    (tmp_path / "pipeline_info").mkdir()
    (tmp_path / flags.PLAN).write_text("{")
    with pytest.raises(BadData, match="not the plan of a run"):
        flags.places_of(tmp_path)
    (tmp_path / flags.PLAN).write_text('{"steps": []}')
    with pytest.raises(BadData, match="no position has traces"):
        flags.places_of(tmp_path)
    csv.write_text("a,b\n1,2\n")
    with pytest.raises(BadData, match="column 'fov'"):
        flags.Flags(csv)


NAPARI = """
import sys
from pathlib import Path
import view_napari
from cytoloom import flags
from napari.components import ViewerModel

viewer = ViewerModel()
editor = view_napari.Editor(viewer, flags.places_of(Path(sys.argv[1]))[0])
print([layer.name for layer in viewer.layers])
for frame, y, x, key in ((0, 12, 10, "G"), (1, 20, 30, "F"), (0, 36, 3, "G"), (0, 0, 0, "G")):
    viewer.dims.set_current_step(0, frame)
    viewer.cursor.position = (frame, y, x)
    bound = {str(k): f for k, f in viewer.keymap.items()}
    bound[key](viewer)
    print(viewer.status.partition(". ")[0])
print(editor.cells.colormap.map(3).tolist(), editor.tracks.track_colors[0].tolist())
"""


def test_napari_shows_and_flags_them(tmp_path, csv, family_python):
    """The layers and keys of the viewer, without its window."""
    results(tmp_path, csv)
    bin_folder = Path(deliver_unite.__file__).parent
    done = subprocess.run(
        [family_python("napari"), "-c", NAPARI, tmp_path],
        env={"PYTHONPATH": str(bin_folder), "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines == [
        "['PC', 'PC (G: good or bad)', 'tracks']",
        "cell 3: bad; 2 cells flagged in exp_fov_001_traces.csv",
        "cell 7: bad; 2 cells flagged in exp_fov_001_traces.csv",
        "cell 9 has no trace here (left out by a filter) under the pointer",
        "no cell under the pointer",
        lines[-1],
    ]
    red = [int(flags.COLOURS["bad"][i : i + 2], 16) / 255 for i in (1, 3, 5)]
    for colour in json.loads(f"[{lines[-1].replace('] [', '], [')}]"):
        assert colour[:3] == pytest.approx(red, abs=0.01)
    assert not traces.read_csv(csv)["good"].any()


def test_without_a_screen_it_says_so(tmp_path, csv, family_python):
    results(tmp_path, csv)
    program = Path(deliver_unite.__file__).with_name("view_napari.py")
    done = subprocess.run(
        [family_python("napari"), program, tmp_path],
        env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if sys.platform.startswith("linux"):
        assert done.returncode == 2
        assert done.stderr.startswith("view_napari: no display")
        assert done.stderr.count("\n") == 1


def test_the_report_is_opened(tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(view.webbrowser, "open", opened.append)
    with pytest.raises(host.Failure, match="no report") as error:
        view.main([str(tmp_path)])
    assert error.value.code == 66
    (tmp_path / "report.html").write_text("")
    assert view.main([str(tmp_path)]) == 0
    assert opened == [(tmp_path / "report.html").as_uri()]
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"
    with pytest.raises(host.Failure, match="one folder of results is needed"):
        view.main([str(tmp_path), "--zoom"])
    assert view.main([]) == 2
    assert "--napari" in capsys.readouterr().out
