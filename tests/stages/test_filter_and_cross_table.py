"""FeatureFilter and CrossTableOperation: conditions, keys, nulls, names, broken input."""

import subprocess
import sys
from pathlib import Path

import analyse_cross_table
import analyse_filter
import cells_table
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytoloom import tables
from cytoloom.errors import BadData, UsageError

BIN = Path(analyse_filter.__file__).parent
POINTS = [(0, 1, 5, 5), (0, 2, 9, 5), (1, 1, 5, 6), (1, 7, 9, 6)]


def write(path, kind="cells", **columns):
    frame = cells_table.cells(POINTS, **columns)
    if kind == "tracks":
        frame["track_id"] = pd.array([1, 2, 1, None], dtype="Int64")
    tables.write_table(path, frame, kind, units={"weight": "pg"})
    return str(path)


def keep(path, out, *condition, **value):
    analyse_filter.main(path, out, condition[0], analyse_filter.Operation(condition[1]), **value)
    return tables.read_table(out)


@given(
    values=st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=20),
    operation=st.sampled_from(analyse_filter.Operation),
    limit=st.integers(-3, 3),
)
def test_a_row_passes_if_and_only_if_its_value_meets_the_condition(values, operation, limit):
    expected = [v is not None and bool(analyse_filter.COMPARE[operation](v, limit)) for v in values]
    nulls = pd.Series(pd.array(values, dtype="Int64"), name="n")
    floats = pd.Series([np.nan if v is None else float(v) for v in values], name="n", dtype=float)
    for series in (nulls, floats):
        assert analyse_filter.meets(series, operation, limit).tolist() == expected


def test_filter_keeps_kind_columns_and_units(tmp_path):
    path = write(tmp_path / "a.parquet", "tracks", area=[10, 20, 30, 40], weight=[1.0, 2, 3, 4])
    kept = keep(path, tmp_path / "b.parquet", "size", ">=", value=20.0)
    assert kept["area"].tolist() == [20, 30, 40]
    assert kept.attrs["kind"] == "tracks"
    assert kept.attrs["frame_interval"] == 60.0
    assert tables.units(tmp_path / "b.parquet")["weight"] == "pg"


def test_null_never_passes_a_filter(tmp_path):
    path = write(tmp_path / "a.parquet", "tracks")
    assert len(keep(path, tmp_path / "b.parquet", "TrackID", "!=", value=1.0)) == 1


def test_filter_of_text_and_of_truth(tmp_path):
    path = write(tmp_path / "a.parquet", channels=("A", "B"), contact=[True, False] * 2)
    assert len(keep(path, tmp_path / "b.parquet", "channel", "==", text="B")) == 4
    assert len(keep(path, tmp_path / "b.parquet", "contact", "==", value=1.0)) == 4


def test_filter_that_nothing_passes_gives_an_empty_table(tmp_path):
    path = write(tmp_path / "a.parquet")
    kept = keep(path, tmp_path / "b.parquet", "area", ">", value=1e9)
    assert kept.empty
    assert keep(tmp_path / "b.parquet", tmp_path / "c.parquet", "area", ">", value=1.0).empty


@pytest.mark.parametrize(
    ("column", "value", "error", "says"),
    [
        ("aera", {"value": 1.0}, BadData, "'area'"),
        ("area", {"text": "big"}, BadData, "--value"),
        ("channel", {"value": 1.0}, BadData, "--text"),
        ("area", {}, UsageError, "either"),
    ],
)
def test_filter_refuses(tmp_path, column, value, error, says):
    path = write(tmp_path / "a.parquet")
    with pytest.raises(error, match=says):
        keep(path, tmp_path / "b.parquet", column, "==", **value)


def cross(tmp_path, first, second, column="mean", operation="divide"):
    out = tmp_path / "crossed.parquet"
    analyse_cross_table.main([first, second], out, column, analyse_cross_table.Operation(operation))
    return tables.read_table(out)


@pytest.mark.parametrize("operation", ["divide", "multiply", "add", "subtract"])
def test_cells_are_matched_by_key_not_by_row(tmp_path, operation):
    first = write(tmp_path / "a.parquet", intensity_mean=[8.0, 6.0, 4.0, 2.0])
    frame = cells_table.cells(POINTS[::-1][:3], intensity_mean=[5.0, 0.0, 3.0], channels=("Other",))
    tables.write_table(tmp_path / "b.parquet", frame, "cells")
    crossed = cross(tmp_path, first, str(tmp_path / "b.parquet"), operation=operation)
    expected = {
        "divide": [np.nan, 2.0, np.nan, 0.4],
        "multiply": [np.nan, 18.0, 0.0, 10.0],
        "add": [np.nan, 9.0, 4.0, 7.0],
        "subtract": [np.nan, 3.0, 4.0, -3.0],
    }
    np.testing.assert_allclose(crossed[f"mean_{operation}"], expected[operation])
    assert crossed["intensity_mean"].tolist() == [8.0, 6.0, 4.0, 2.0]
    unit = tables.units(tmp_path / "crossed.parquet")[f"mean_{operation}"]
    assert unit == {"divide": "", "multiply": "counts x counts"}.get(operation, "counts")


def test_a_table_by_itself_is_one(tmp_path):
    path = write(tmp_path / "a.parquet", area=[1, 2, 3, 4])
    assert cross(tmp_path, path, path, "area")["area_divide"].tolist() == [1.0] * 4


def test_crossed_column_can_be_filtered(tmp_path):
    path = write(tmp_path / "a.parquet", area=[1, 2, 3, 4])
    cross(tmp_path, path, path, "area", "multiply")
    kept = keep(tmp_path / "crossed.parquet", tmp_path / "c.parquet", "area_multiply", ">",
                value=5.0)  # fmt: skip
    assert kept["area"].tolist() == [3, 4]


def test_cross_table_refuses(tmp_path):
    first = write(tmp_path / "a.parquet")
    both = write(tmp_path / "b.parquet", channels=("A", "B"))
    with pytest.raises(BadData, match="stands twice"):
        cross(tmp_path, first, both)
    with pytest.raises(BadData, match="numbers"):
        cross(tmp_path, first, first, "channel")
    with pytest.raises(UsageError, match="twice"):
        analyse_cross_table.main([first], tmp_path / "c.parquet", "mean")


@pytest.mark.slow
def test_command_lines(tmp_path):
    path = write(tmp_path / "a.parquet", area=[10, 20, 30, 40])
    out = tmp_path / "b.parquet"
    run = [sys.executable, BIN / "analyse_filter.py", "--table", path, "--out-table", out]
    wanted = ["--column", "size", "--operation", "<=", "--value", "20"]
    done = subprocess.run([*run, *wanted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(tables.read_table(out)) == 2
    wrong = ["--column", "sise", "--operation", "<", "--value", "20"]
    done = subprocess.run([*run, *wrong], capture_output=True, text=True, check=False)
    assert done.returncode == 65
    assert done.stderr.count("\n") == 1
    assert "size" in done.stderr
    run[1] = BIN / "analyse_cross_table.py"
    done = subprocess.run([*run, "--table", path, "--column", "area"], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tables.read_table(out)["area_divide"] == 1).all()
