"""Registration: how far the scene drifted, per position and channel, in micrometre."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.report import charts
from cytoloom.report.inputs import Inputs, Table
from cytoloom.report.page import Block, Picture, Section, attempt
from cytoloom.report.page import Table as PageTable

POSITIONS = 6  # positions shown with charts
COLUMNS = (
    "frame", "drift_um", "drift_z_um", "drift_y_um", "drift_x_um", "drift_z", "drift_y", "drift_x",
    "rotation_deg", "correlation", "valid_share",
)  # fmt: skip
HEAD = [
    "position", "channel", "transform", "greatest drift (µm)", "in pixels (y, x)",
    "greatest rotation (°)", "lowest correlation", "smallest valid share",
]  # fmt: skip


def make(inputs: Inputs) -> Section | None:
    """Return the section of registration; None where no step registered frames."""
    block, rows = Block(), []
    found = list(inputs.of("transforms"))
    if not found:
        return None
    places = {place["slug"]: place for place in inputs.run["positions"]}
    shown: dict[str, None] = {}
    for table in found:
        columns = table.read(*COLUMNS)
        if not len(columns["frame"]):
            continue
        name = str(places.get(table.position, {}).get("name", table.position))
        rows.append(_row(name, table, columns))
        shown.setdefault(table.position)
        if len(shown) <= POSITIONS:
            interval = places.get(table.position, {}).get("frame_interval")
            what = f"the drift of {table.channel} at {name}"
            block.pictures += attempt(what, partial(_drift, name, table, columns, interval))
    block.tables = [PageTable(HEAD, rows)]
    block.notes.append(
        "Drift is how far the scene moved since frame 0, at the centre of the image: positive "
        "x to the right, positive y down. The registered frames are in the place of frame 0; "
        "the valid share is the part of a registered frame that the camera saw."
    )
    if len(shown) > POSITIONS:
        block.notes.append(f"Charts of the first {POSITIONS} of {len(shown)} positions are shown.")
    return Section("registration", "Registration", [block])


def _row(name: str, table: Table, columns: dict[str, NDArray[Any]]) -> list[str]:
    worst = int(np.argmax(columns["drift_um"]))
    agreement = columns["correlation"].astype(float)
    lowest = f"{np.nanmin(agreement):.3f}" if np.isfinite(agreement).any() else "none"
    return [
        name, table.channel, str(table.first("transform")),
        f"{columns['drift_um'][worst]:.3g} (frame {int(columns['frame'][worst])})",
        f"{columns['drift_y'][worst]:.2f}, {columns['drift_x'][worst]:.2f}",
        f"{np.abs(columns['rotation_deg']).max():.2g}", lowest,
        f"{100 * columns['valid_share'].min():.1f} %",
    ]  # fmt: skip


def _drift(
    name: str, table: Table, columns: dict[str, NDArray[Any]], interval: float | None
) -> Picture:
    order = np.argsort(columns["frame"])
    frames = columns["frame"][order]
    scale, xlabel = charts.time_axis(int(frames.max()) + 1, interval)
    figure, axes = charts.new()
    series = {"x": "drift_x_um", "y": "drift_y_um"}
    if np.abs(columns["drift_z_um"]).max() > 0:
        series["z"] = "drift_z_um"
    for number, (label, column) in enumerate((series | {"distance": "drift_um"}).items()):
        axes.plot(
            frames * scale, columns[column][order], linewidth=1.6, label=label,
            color="#444444" if label == "distance" else charts.colour(number),
            linestyle=charts.DASHES[number % 4], marker="o" if len(frames) < 3 else None,
        )  # fmt: skip
    axes.set_xlabel(xlabel)
    axes.set_ylabel("drift since frame 0 (µm)")
    charts.legend(axes)
    words = f"Drift of {table.channel} at {name}: {columns['drift_um'].max():.3g} µm at most"
    return Picture(charts.to_img(figure, words), words)
