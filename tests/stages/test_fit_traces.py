"""FitTraces: PyAMA's files, a page of all fits, models of the user's, mistakes."""

import json
import re

import analyse_fit
import numpy as np
import pandas as pd
import pytest

from cytoloom import kinetics, tables
from cytoloom.errors import BadData, UsageError

TIMES = np.arange(60) / 4


def samples_of(folder, cells=6, frames=60):
    """Write traces of two samples that follow the model ``trivial``; return path and truth."""
    rng = np.random.default_rng(1)
    rows, truth = [], {}
    for sample in ("wild type", "mutant <b>"):
        for cell in range(1, cells + 1):
            p = np.array([[rng.uniform(1, 3), rng.uniform(300, 900), rng.uniform(0.2, 0.4), 0.05]])
            truth[sample, cell] = p[0]
            curve = kinetics.MODELS["trivial"].curve(TIMES, p)[0]
            noise = rng.normal(0, curve.max() / 50, curve.size)
            rows += [
                {
                    "sample": sample, "position": "m_003", "fov": 3, "cell": cell, "frame": t,
                    "time_h": TIMES[t], "good": True, "area_ch_0": 100.0 + cell,
                    "intensity_total_ch_1": curve[t] + noise[t],
                }
                for t in range(frames)
            ]  # fmt: skip
    path = folder / "samples.parquet"
    tables.write_table(path, pd.DataFrame(rows), "samples")
    return str(path), truth


def fit(folder, table, **options):
    """Return the tables of fits and statistics, and the folder."""
    out = folder / "fits.parquet", folder / "statistics.parquet", folder / "pages"
    analyse_fit.main(table, *out, **options)
    read = tables.read_table
    return read(out[0], "fits"), read(out[1], "trace_statistics"), out[2]


def test_files_are_pyamas_and_parameters_are_found(tmp_path):
    table, truth = samples_of(tmp_path)
    fits, statistics, pages = fit(tmp_path, table, model="trivial", cores=2)
    written = pd.read_csv(pages / "wild_type_intensity_total_ch_1_fitted_trivial.csv")
    head = ["fov", "cell", "model_type", "success", "r_squared", "t0", "ktl", "delta", "beta"]
    assert list(written.columns) == head
    assert written["success"].all()
    assert (written["model_type"] == "trivial").all()
    for row in fits.itertuples():
        true = truth[row.sample, row.cell]
        np.testing.assert_allclose([row.t0, row.ktl], true[:2], rtol=0.12)
        assert row.delta_lower95 < row.delta < row.delta_upper95
        assert row.quality == "good"
    assert fits["aic"].notna().all()
    assert set(fits["trace"]) == {"intensity_total_ch_1"}
    assert abs(statistics["onset_time_h"] - [truth[s, c][0] for s, c in zip(
        statistics["sample"], statistics["cell"], strict=True)]).max() < 0.6  # fmt: skip
    names = {p.name for p in pages.iterdir()}
    assert {"statistics_auc_raw.csv", "statistics_onset_shifted_relu_raw.csv", "fits.html"} <= names


def test_the_page_holds_every_fit_and_nothing_from_outside(tmp_path):
    table, _ = samples_of(tmp_path)
    _, _, pages = fit(tmp_path, table, model="trivial")
    text = (pages / "fits.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<b>" not in re.findall(r"<option>([^<]*<b>)", text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    (group,) = data["groups"]
    assert len(group["cells"]) == 12
    assert group["parameters"] == ["t0", "ktl", "delta", "beta"]
    assert len(group["times"]) == 60
    assert text.count("<figure") == 4


def test_a_page_of_thousands_of_cells_is_light(tmp_path):
    table, _ = samples_of(tmp_path, cells=2)
    one = tables.read_table(table, "samples")
    many = pd.concat([one.assign(position=f"p_{n}") for n in range(750)])
    tables.write_table(tmp_path / "many.parquet", many, "samples")
    _, _, pages = fit(tmp_path, str(tmp_path / "many.parquet"), model="exponential_decay")
    assert (pages / "fits.html").stat().st_size < 1.5e6


def test_arguments_change_the_model(tmp_path):
    table, _ = samples_of(tmp_path)
    fits, _, _ = fit(
        tmp_path, table, model="Trivial", fixed=["beta=0.05"], initial=["t0=2"],
        bounds=["ktl=1,1e7", "t0=0, 5"],
    )  # fmt: skip
    assert "beta" not in fits
    assert (fits["t0"] <= 5).all()


def test_values_by_area(tmp_path):
    table, _ = samples_of(tmp_path)
    _, raw, _ = fit(tmp_path, table, model="trivial")
    _, by_area, pages = fit(tmp_path, table, model="trivial", normalize=True)
    np.testing.assert_allclose(by_area["auc"] * (100 + by_area["cell"]), raw["auc"])
    assert (pages / "statistics_auc_normalized.csv").is_file()


PLUGIN = """
import numpy as np

PARAMETERS = {"line": {"slope": (1.0, -1e6, 1e6), "level": (0.0, -1e6, 1e6), "power": 1}}


def line(t, slope, level, power):
    return level + slope * t**power
"""


def test_models_of_a_plugin(tmp_path):
    table, _ = samples_of(tmp_path)
    plugin = tmp_path / "own.py"
    plugin.write_text(PLUGIN)
    fits, _, pages = fit(tmp_path, table, model="LINE", plugin=str(plugin))
    rows = tables.read_table(table, "samples")
    first = rows[(rows["sample"] == "mutant <b>") & (rows["cell"] == 1)]
    slope, level = np.polyfit(first["time_h"], first["intensity_total_ch_1"], 1)
    row = fits[(fits["sample"] == "mutant <b>") & (fits["cell"] == 1)].iloc[0]
    np.testing.assert_allclose([row.slope, row.level], [slope, level], rtol=1e-4)
    assert (pages / "wild_type_intensity_total_ch_1_fitted_line.csv").is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "no PARAMETERS"),
        ("PARAMETERS = {'f': {}}", "no such function"),
        ("PARAMETERS = {'f': {'a': (1, 2)}}\ndef f(t, a): return t", r"\(start, low, high\)"),
        ("PARAMETERS = {'f': {'a': (5, 1, 2)}}\ndef f(t, a): return t", "outside its bounds"),
        ("PARAMETERS = {'f': {'a': (1, 0, 2)}}\ndef f(t, b): return t", "own.py, line"),
        (
            "PARAMETERS = {'f': {'a': (1, 0, 2)}}\ndef f(t, a):\n    return t / none",
            "line 3: NameE",
        ),
    ],
)
def test_mistakes_in_a_plugin_are_told_in_a_line(tmp_path, text, message):
    table, _ = samples_of(tmp_path)
    plugin = tmp_path / "own.py"
    plugin.write_text(text)
    with pytest.raises(BadData, match=message) as told:
        fit(tmp_path, table, model="f", plugin=str(plugin))
    assert "\n" not in str(told.value)


def test_mistakes_in_arguments_are_told(tmp_path):
    table, _ = samples_of(tmp_path)
    for options, kind, message in (
        ({"model": "nothing"}, BadData, "Unknown model 'nothing'"),
        ({"fixed": ["t0"]}, UsageError, "name=value"),
        ({"bounds": ["t0=1"]}, UsageError, "name=least,greatest"),
        ({"columns": ["intensity_total_ch_7"]}, BadData, "no column 'intensity_total_ch_7'"),
    ):
        with pytest.raises(kind, match=message):
            fit(tmp_path, table, **options)


def test_limits_of_the_classes_are_pyamas():
    found = analyse_fit.quality_of(np.array([1, 0.90001, 0.9, 0.70001, 0.7, 0]))
    assert found.tolist() == ["good", "good", "fair", "fair", "poor", "poor"]


def test_no_cells(tmp_path):
    table, _ = samples_of(tmp_path)
    empty = tables.read_table(table, "samples").iloc[:0]
    tables.write_table(tmp_path / "empty.parquet", empty, "samples")
    fits, statistics, pages = fit(tmp_path, str(tmp_path / "empty.parquet"))
    assert len(fits) == len(statistics) == 0
    assert (pages / "fits.html").is_file()
