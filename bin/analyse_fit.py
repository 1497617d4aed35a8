#!/usr/bin/env python3
"""FitTraces: kinetic models fitted to the traces of all cells, and numbers without a model."""

import re
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, fitting, kinetics, plugins, tables, trace_statistics, traces
from cytoloom.errors import BadData, UsageError
from cytoloom.files import writing

KEY = ["sample", "position", "fov", "cell"]
GOOD, FAIR = 0.9, 0.7
ASSIGNED = re.compile(r"\s*(\w+)\s*=\s*([^,\s]+)\s*(?:,\s*([^,\s]+)\s*)?")


def quality_of(r_squared):
    """Return PyAMA's classes of fits: 0.9 itself is fair, 0.7 itself poor."""
    return np.where(r_squared > GOOD, "good", np.where(r_squared > FAIR, "fair", "poor"))


def assignments(texts, what, count):
    """Return ``name=value`` or ``name=low,high`` as a dict.

    Raises
    ------
    UsageError
        If a text is of another form.
    """
    found = {}
    for text in texts or ():
        match = ASSIGNED.fullmatch(text)
        try:
            values = [float(v) for v in match.groups()[1:] if v is not None]
        except (AttributeError, ValueError):
            values = []
        if len(values) != count:
            form = "name=value" if count == 1 else "name=least,greatest"
            raise UsageError(f"{what}: {text!r} is not of the form {form}")
        found[match[1]] = values[0] if count == 1 else tuple(values)
    return found


def own_models(path):
    """Return the models of a plug-in: its functions that ``PARAMETERS`` describes.

    Raises
    ------
    BadData
        If a description does not fit.
    """
    module = plugins.load(path)
    functions = plugins.functions(module)
    described = getattr(module, "PARAMETERS", None)
    if not isinstance(described, dict) or not described:
        raise BadData(f"plug-in {path}: no PARAMETERS = {{model: {{name: (start, low, high)}}}}")
    found = {}
    for name, about in described.items():
        if name not in functions:
            raise BadData(
                f"plug-in {path}: PARAMETERS names {name!r}, but there is no such function"
            )
        try:
            free = {
                key: kinetics.Parameter(*map(float, value))
                for key, value in about.items()
                if isinstance(value, tuple | list)
            }
            fixed = {k: float(v) for k, v in about.items() if not isinstance(v, tuple | list)}
        except (TypeError, ValueError, AttributeError) as error:
            raise BadData(
                f"plug-in {path}: PARAMETERS of {name}: (start, low, high) or a number for each"
            ) from error
        for key, value in free.items():
            if not value.low <= value.start <= value.high or value.low == value.high:
                raise BadData(f"plug-in {path}: {name}: {key} starts outside its bounds")
        found[name] = kinetics.Model(name, broadcasting(functions[name], path), free, fixed)
    return found


def broadcasting(function, path):
    """Return a user's function of one cell as one of many; its errors in one line."""

    def wrapped(t, **parameters):
        arrays = {k: v for k, v in parameters.items() if isinstance(v, np.ndarray)}
        plain = {k: v for k, v in parameters.items() if k not in arrays}
        cells = max((len(v) for v in arrays.values()), default=1)
        try:
            rows = [
                function(t[0], **{k: float(v[i, 0]) for k, v in arrays.items()}, **plain)
                for i in range(cells)
            ]
            return np.array(rows, float).reshape(cells, -1)
        except Exception as error:
            raise BadData(
                f"plug-in {plugins.told(path, error)} (model {function.__name__})"
            ) from error

    return wrapped


def arrays_of(rows, column):
    """Return keys of the cells, times, and the values of a column as (cells, times)."""
    times, at = np.unique(rows["time_h"].to_numpy(float), return_inverse=True)
    groups = rows.groupby(KEY, sort=True).ngroup().to_numpy()
    cells = rows.drop_duplicates(KEY).sort_values(KEY)[KEY].reset_index(drop=True)
    data = np.full((len(cells), times.size), np.nan)
    data[groups, at] = rows[column].to_numpy(float, na_value=np.nan)
    return cells, times, data


def chosen_columns(wanted, columns):
    """Return the columns to fit; default: all total intensities.

    Raises
    ------
    BadData
        If a wanted one is not there, or there is none.
    """
    known = traces.features_of([c for c in columns if c != "sample"])
    if not wanted:
        wanted = [name for name in known if traces.split_column(name)[0] == "intensity_total"]
        if not wanted:
            raise BadData(
                "no column intensity_total_ch_… to fit: name others in `columns` "
                f"({', '.join(known) or 'the traces have no features'})"
            )
    for name in wanted:
        if name not in known:
            raise BadData(f"columns: no column {name!r} (columns: {', '.join(known)})")
    return list(dict.fromkeys(wanted))


def fit_table(cells, column, model, found):
    """Return the rows of the table of fits."""
    r = found.r_squared
    table = cells.assign(
        trace=column,
        model_type=model.name,
        success=found.success,
        r_squared=r,
        quality=quality_of(r),
        points=found.points.astype(np.int32),
        aic=found.aic,
    )
    for index, name in enumerate(model.free):
        table[name] = found.values[:, index]
        table[f"{name}_lower95"] = found.low[:, index]
        table[f"{name}_upper95"] = found.high[:, index]
    return table


def statistics_table(cells, column, times, data, window):
    """Return the rows of the table of numbers without a model."""
    rows = []
    for values in data:
        start = trace_statistics.onset(times, values, window)
        change = trace_statistics.event(times, values)
        rows.append(
            {
                "auc": trace_statistics.area_under_curve(times, values),
                "onset_time_h": start.time,
                "onset_slope": start.slope,
                "onset_offset": start.offset,
                "event": change.found,
                "event_time_h": change.time,
                "event_score": change.score,
            }
        )
    import pandas as pd

    names = ["auc", "onset_time_h", "onset_slope", "onset_offset"]
    names += ["event", "event_time_h", "event_score"]
    found = pd.DataFrame(rows, columns=names, index=cells.index)
    found["event"] = found["event"].astype(bool)
    return cells.assign(trace=column).join(found)


def normalised(rows, data):
    """Return a trace divided by the running median of the cell's area."""
    areas = [name for name in rows if name.startswith("area_ch_")]
    if not areas:
        raise BadData(
            "normalize: the traces have no area: add `area` to the features of Extraction"
        )
    return trace_statistics.normalised(data, arrays_of(rows, areas[0])[2])


def shown_of(column, times, data, table, found, model):
    """Return what the page shows of one column."""
    from cytoloom.report.fit_page import Shown

    curves = model.curve(times, np.nan_to_num(found.values))
    curves = np.where(found.success[:, np.newaxis], curves, np.nan)
    about = [
        {
            "sample": row.sample, "position": row.position, "cell": int(row.cell),
            "r_squared": round(float(row.r_squared), 4), "quality": row.quality,
        }
        for row in table.itertuples()
    ]  # fmt: skip
    return Shown(column, times, data, curves, about, list(model.free), found.values)


def write_csvs(folder, tables_, statistics, model, mode):
    """Write PyAMA's CSV files of fits and of statistics."""
    for table in tables_:
        for (sample, column), part in table.groupby(["sample", "trace"], sort=False):
            names = ["fov", "cell", "model_type", "success", "r_squared", *model.free]
            name = f"{safe(sample)}_{column}_fitted_{model.name}.csv"
            part[names].to_csv(folder / name, index=False)
    head = ["sample", "fov", "cell", "trace"]
    files = {
        f"statistics_auc_{mode}.csv": ["auc"],
        f"statistics_onset_shifted_relu_{mode}.csv": [
            "onset_time_h",
            "onset_slope",
            "onset_offset",
        ],
        f"events_{mode}.csv": ["event", "event_time_h", "event_score"],
    }
    for name, columns in files.items():
        statistics[[*head, *columns]].to_csv(folder / name, index=False)


def safe(name):
    """Return a sample's name as part of a file name."""
    return re.sub(r"[^\w.+-]+", "_", str(name)).strip("._") or "sample"


def main(
    table: cli.Table,
    out_fits: cli.OutTable,
    out_trace_statistics: cli.OutTable,
    out_fitspages: Annotated[
        Path, cli.Contract("output"), typer.Option(help="folder of CSV files and page to write")
    ],
    cores: cli.Cores = 1,
    model: Annotated[
        str,
        typer.Option(
            help="maturation, trivial, maturation_blocked, twostage, exponential_decay, or one of "
            "the plug-in's"
        ),
    ] = "maturation",
    columns: Annotated[
        list[str] | None,
        typer.Option(help="traces to fit, e.g. intensity_total_ch_1; default: all totals"),
    ] = None,
    fixed: Annotated[
        list[str] | None, typer.Option(help="parameters that are not fitted: name=value")
    ] = None,
    initial: Annotated[
        list[str] | None, typer.Option(help="where parameters start: name=value")
    ] = None,
    bounds: Annotated[
        list[str] | None, typer.Option(help="bounds of parameters: name=least,greatest")
    ] = None,
    plugin: Annotated[
        str | None, typer.Option(help="Python file with models of your own; docs/traces.md")
    ] = None,
    normalize: Annotated[
        bool, typer.Option(help="divide by the running median (5 frames) of the cell's area")
    ] = False,
    onset_window: Annotated[
        float, typer.Option(min=0, help="onsets are sought up to this after the first point [h]")
    ] = 4.0,
) -> None:
    """Fit a model to every trace, with confidence limits, R², AIC and a page of all fits.

    Beside the fits: area under the curve, onset of the rise, and the greatest sudden change.
    Times are in hours. docs/traces.md has the models.
    """
    import pandas as pd

    rows = tables.read_table(table, "samples")
    about = {k: v for k, v in rows.attrs.items() if k != "kind"}
    own = own_models(plugin) if plugin else {}
    chosen = kinetics.find_model(model, own).changed(
        assignments(fixed, "fixed", 1), assignments(initial, "initial", 1),
        assignments(bounds, "bounds", 2),
    )  # fmt: skip
    fitted, numbers, shown = [], [], []
    for column in chosen_columns(columns, rows.columns):
        cells, times, data = arrays_of(rows, column)
        if normalize:
            data = normalised(rows, data)
        found = fitting.fit(chosen, times, data, cores=cores)
        fitted.append(fit_table(cells, column, chosen, found))
        numbers.append(statistics_table(cells, column, times, data, onset_window))
        shown.append(shown_of(column, times, data, fitted[-1], found, chosen))
    statistics = pd.concat(numbers, ignore_index=True)
    write_folder(out_fitspages, fitted, statistics, chosen, normalize, shown)
    for path, frame, kind in (
        (out_fits, pd.concat(fitted, ignore_index=True), "fits"),
        (out_trace_statistics, statistics, "trace_statistics"),
    ):
        frame.attrs.update(about)
        tables.write_table(path, frame, kind)
    good = sum(int((one["r_squared"] > GOOD).sum()) for one in fitted)
    cli.log.info("%d fits, %d good", sum(map(len, fitted)), good)


def write_folder(path, fitted, statistics, model, normalize, shown):
    """Write the folder of CSV files with the page."""
    from cytoloom.report import fit_page

    mode = "normalized" if normalize else "raw"
    held = ", ".join(f"{k} {v:g}" for k, v in model.fixed.items())
    notes = [f"Fixed: {held}."] if held else []
    text = fit_page.render("Fits of all traces", model.name, shown, notes)
    with writing(path) as folder:
        folder.mkdir()
        write_csvs(folder, fitted, statistics, model, mode)
        (folder / "fits.html").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
