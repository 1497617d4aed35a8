"""MergeSamples: both layouts, odd samples reported, flags respected."""

import analyse_samples
import numpy as np
import pandas as pd
import pytest

from cytoloom import tables
from cytoloom.errors import BadData

FEATURES = ["area_ch_0", "intensity_total_ch_1"]


def traces_of(folder, position, fov, cells=(3, 1), frames=3, features=FEATURES):
    """Write the traces of a position; cell 1 is flagged in frame 1."""
    rows = [
        {
            "position": position, "fov": fov, "cell": cell, "frame": t, "label": cell,
            "time_h": t / 2, "good": not (cell == 1 and t == 1), "position_x": 5.5,
            "position_y": 6.0, "bbox_x0": 1, "bbox_y0": 2, "bbox_x1": 10, "bbox_y1": 10,
            **dict.fromkeys(features, 100 * fov + cell + t / 3),
        }
        for cell in cells
        for t in range(frames)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame.attrs["position"] = position
    tables.write_table(folder / f"{position}.traces.parquet", frame, "traces")


def merge(folder, samples=None, **options):
    """Return the table of samples and the folder of CSV files."""
    if samples is not None:
        (folder / "samples.yaml").write_text(samples)
        options["samples"] = str(folder / "samples.yaml")
    out, csv = folder / "out.parquet", folder / "csv"
    analyse_samples.main(str(folder / "*.traces.parquet"), out, csv, **options)
    return tables.read_table(out, "samples"), csv


@pytest.fixture
def places(tmp_path):
    for fov in (0, 1, 2, 10):
        traces_of(tmp_path, f"movie_{fov:03d}", fov)
    return tmp_path


def test_split_files_are_pyamas(places):
    text = "samples:\n- {name: a b, fovs: '10, 0-1'}\n- {name: c, fovs: [2]}\n"
    found, csv = merge(places, text)
    lines = (csv / "a_b_area_ch_0.csv").read_text().splitlines()
    assert lines[:2] == ["# Time units: h", "time,fov,cell,value"]
    assert lines[2:4] == ["0.000000,0,1,1.000000", "0.000000,0,3,3.000000"]
    body = [line.split(",") for line in lines[2:]]
    keys = [(float(t), int(f), int(c)) for t, f, c, _ in body]
    assert keys == sorted(keys)
    assert (0.5, 0, 1) not in keys  # flagged
    assert len(keys) == 3 * 5
    assert {p.name for p in csv.iterdir()} == {
        "a_b_area_ch_0.csv", "a_b_intensity_total_ch_1.csv", "a_b_merged.csv",
        "c_area_ch_0.csv", "c_intensity_total_ch_1.csv", "c_merged.csv", "problems.txt",
    }  # fmt: skip
    assert found.groupby("sample").size().to_dict() == {"a b": 15, "c": 5}
    assert found["good"].all()


def test_the_wide_file_has_the_columns_of_the_traces(places):
    _, csv = merge(
        places, "samples: [{name: all, fovs: '0-2'}]", layout=analyse_samples.Layout.wide
    )
    wide = pd.read_csv(csv / "all_merged.csv", comment="#")
    head = "fov,cell,frame,good,position_x,position_y,bbox_x0,bbox_y0,bbox_x1,bbox_y1"
    assert ",".join(wide.columns) == f"{head},area_ch_0,intensity_total_ch_1"
    assert len(wide) == 15
    assert (csv / "all_merged.csv").read_text().startswith("# Sample: all\n# FOVs: 0, 1, 2\n")
    assert not list(csv.glob("*_ch_*.csv"))


def test_minutes(places):
    _, csv = merge(places, "samples: [{name: a, fovs: '0'}]", time_units=analyse_samples.Unit.min)
    table = pd.read_csv(csv / "a_area_ch_0.csv", comment="#")
    assert sorted(table["time"].unique()) == [0, 30, 60]
    assert (csv / "a_area_ch_0.csv").read_text().startswith("# Time units: min\n")


def test_without_samples_each_position_is_one(places):
    found, _ = merge(places)
    assert list(dict.fromkeys(found["sample"])) == [f"movie_{n:03d}" for n in (0, 1, 2, 10)]


def test_odd_samples_are_reported(places):
    text = "samples: [{name: a, fovs: '0-1, 7'}, {name: b, fovs: '1'}]"
    found, csv = merge(places, text)
    said = [
        "sample 'a': no traces of position 7",
        "position 1 is in more than one sample: a, b",
        "positions in no sample: 2, 10",
    ]
    assert (csv / "problems.txt").read_text().splitlines() == said
    assert found.attrs["odd"] == said  # the report shows them
    assert found.groupby("sample").size().to_dict() == {"a": 10, "b": 5}


def test_two_positions_of_one_number(places):
    traces_of(places, "other_001", 1)
    _, csv = merge(places, "samples: [{name: a, fovs: '1'}]")
    assert "movie_001 and other_001 have one number, 1" in (csv / "problems.txt").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "mapping at the top level"),
        ("samples: 3", "must include a 'samples' list"),
        ("samples: [{name: a, fovs: '5-3'}]", "start must be <= end"),
        ("samples: [{name: a, fovs: ''}]", "cannot be empty"),
        ("samples: [{name: a/b, fovs: 0}, {name: a b, fovs: 1}]", "one file name"),
    ],
)
def test_mistakes_are_told(places, text, message):
    with pytest.raises(BadData, match=message):
        merge(places, text)


def test_no_features(tmp_path):
    traces_of(tmp_path, "p_0", 0, features=[])
    with pytest.raises(BadData, match="no channel has features"):
        merge(tmp_path, "samples: [{name: a, fovs: 0}]")
    found, _ = merge(tmp_path, layout=analyse_samples.Layout.wide)
    assert len(found) == 5


def test_positions_without_cells(tmp_path):
    traces_of(tmp_path, "p_0", 0)
    empty = tables.read_table(tmp_path / "p_0.traces.parquet", "traces").iloc[:0]
    empty.attrs = {"position": "p_1"}
    tables.write_table(tmp_path / "p_1.traces.parquet", empty, "traces")
    found, csv = merge(tmp_path, "samples: [{name: a, fovs: 0}, {name: b, fovs: 1}]")
    assert set(found["sample"]) == {"a"}
    assert (csv / "problems.txt").read_text() == ""
    assert np.isfinite(found["area_ch_0"]).all()
