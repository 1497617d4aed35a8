"""Example cells over the movie: crops with outline and path beside the trace that they gave.

Crops are read from the full image, a few frames of a few cells, so that the work does not
grow with the movie. All crops of a position have one size and one contrast: what brightens
in them brightens in the trace.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.report import charts, pictures
from cytoloom.report.inputs import Table
from cytoloom.report.page import Picture
from cytoloom.report.sections_positions import Place
from cytoloom.report.stores import Multiscale
from cytoloom.traces import channel_id, split_column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS = 6
FRAMES = 5  # crops of a cell
COLOURS = (1, 4, 2, 0, 5, 9)  # of pictures.OBJECTS: seen on dark images and on white charts
SIDE, GAP = 112, 4  # px, of a crop on the page and between crops
CHART, BELOW = 560, 40  # px: width of the traces beside the crops, room for their time axis
LEAST, MOST = 24, 256  # px of the image, along a crop
NAMES = ("cell", "frame", "time_h", "good", "position_x", "position_y", "bbox_x0", "bbox_y0",
         "bbox_x1", "bbox_y1")  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """The good rows of one cell, in the order of frames; ``y`` and ``x`` are the box's centre."""

    number: int
    frame: NDArray[np.int64]
    time: NDArray[np.float64]  # h
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    value: NDArray[np.float64]
    extent: int  # px: longest side of its boxes

    @property
    def shown(self) -> NDArray[np.int64]:
        """Return the rows that have a crop."""
        last = self.frame.size - 1
        return np.unique(np.linspace(0, last, FRAMES).round().astype(np.int64))

    def corner(self, row: int, side: int) -> tuple[int, int]:
        """Return y and x of the first pixel of a crop of ``side`` pixels around a row."""
        return round(self.y[row]) - side // 2, round(self.x[row]) - side // 2


def chosen(numbers: NDArray[Any], most: int) -> NDArray[Any]:
    """Return at most so many of some numbers, evenly spread."""
    return numbers[np.unique(np.linspace(0, numbers.size - 1, most).round().astype(int))]


def read_cells(table: Table, column: str) -> list[Cell]:
    """Return the example cells of a table of traces: good ones, evenly spread over all."""
    found = table.read(*NAMES, column)
    good = found["good"].astype(bool)
    numbers = np.unique(found["cell"][good].astype(np.int64))
    if not numbers.size:
        return []
    x0, y0, x1, y1 = (found[name].astype(float) for name in NAMES[-4:])
    extent = np.maximum(x1 - x0, y1 - y0) + 1
    cells = []
    for number in chosen(numbers, CELLS):
        mine = np.flatnonzero(good & (found["cell"] == number))
        mine = mine[np.argsort(found["frame"][mine], kind="stable")]
        time, y, x, value = (
            found[name][mine].astype(float)
            for name in ("time_h", "position_y", "position_x", column)
        )
        frame = found["frame"][mine].astype(np.int64)
        cells.append(Cell(int(number), frame, time, y, x, value, int(extent[mine].max())))
    return cells


def overview(place: Place, channel: str, cells: Sequence[Cell]) -> Picture | None:
    """Return a frame of the movie with the example cells' outlines, numbers and paths."""
    if not cells:
        return None
    t = _middle(place, cells)
    canvas = place.canvas(channel, t, None, 0.7)
    if canvas is None:
        return None
    labels = _labels(place, channel)
    marks = []
    for number, cell in enumerate(cells):
        ink = pictures.object_colour(COLOURS[number])
        if labels is not None:
            plane, _ = labels.frame(t)
            times = canvas.pixels.shape[0] // max(1, plane.shape[0])
            edge = pictures.outlines(pictures.enlarge(plane == cell.number, times))
            if edge.shape == canvas.pixels.shape:
                canvas.pixels[edge] = ink
        path = list(zip(cell.y, cell.x, strict=True))
        steps = itertools.pairwise(path)
        pictures.draw_lines(canvas, ((a, b, ink) for a, b in steps))
        row = int(np.argmin(np.abs(cell.frame - t)))
        marks.append((cell.y[row], cell.x[row], str(cell.number), _hex(number)))
    caption = f"Example cells on {channel}, {place.stamp(t)}: outline, number and whole path"
    svg = pictures.figure_svg(
        canvas, pixel_um=place.pixel[1], stamp=place.stamp(t), alt=caption, marks=marks
    )
    return Picture(svg, caption)


def _middle(place: Place, cells: Sequence[Cell]) -> int:
    """Return the frame in the middle of those in which example cells are."""
    frames = np.concatenate([cell.frame for cell in cells])
    return min(int(np.median(frames)), place.frames - 1)


def over_time(
    place: Place, column: str, cells: Sequence[Cell], channels: Mapping[str, str], cells_in: str
) -> Picture | None:
    """Return crops of the example cells over time, each row beside its trace.

    Parameters
    ----------
    column
        The trace, ``<feature>_ch_<channel>``; crops are of its channel.
    channels
        Names of channels by what columns call them.
    cells_in
        The channel whose label image numbers the cells.
    """
    name = channels.get(split_column(column)[1], cells_in)
    index = place.store.channel_of(name) if place.store else None
    if index is None or not cells or place.store is None:
        return None
    side = int(np.clip(1.5 * max(cell.extent for cell in cells), LEAST, MOST))
    crops = list(_crops(place.store.image, index, _labels(place, cells_in), cells, side))
    (window,) = pictures.contrast([np.concatenate([image for _, _, image, _ in crops])])
    step = SIDE + GAP
    mosaic = pictures.Canvas(
        np.full((len(cells) * step - GAP, FRAMES * step - GAP), pictures.GREYS - 1, np.uint8), 1.0
    )
    words = []
    for number, place_in_row, image, mask in crops:
        tile = _tile(cells[number], place_in_row, image, mask, window, number)
        y, x = number * step, place_in_row * step
        mosaic.pixels[y : y + SIDE, x : x + SIDE] = tile
        row = cells[number].shown[place_in_row]
        words.append((x + 4, y + 13, f"{cells[number].time[row]:.3g} h"))
    caption = (
        f"{name} around {len(cells)} example cells, the same contrast in all, with outline and "
        f"path up to then; beside them {column}, dots where crops are"
    )
    figure = _chart(column, cells)
    return Picture(_svg(mosaic, words, figure, caption), caption, wide=True)


def _labels(place: Place, channel: str) -> Multiscale | None:
    found = place.store.find_labels(channel, place.tags) if place.store else None
    return place.store.label(found[0]) if found and place.store else None


def _crops(
    image: Multiscale, index: int, labels: Multiscale | None, cells: Sequence[Cell], side: int
) -> Iterator[tuple[int, int, NDArray[Any], NDArray[np.bool_]]]:
    """Yield cell, place in its row, image and mask of each crop, ``side`` pixels square."""
    for number, cell in enumerate(cells):
        for at, row in enumerate(cell.shown):
            corner = cell.corner(row, side)
            t = int(cell.frame[row])
            mask = np.zeros((side, side), bool)
            if labels is not None:
                mask = labels.crop(t, 0, corner, side) == cell.number
            yield number, at, image.crop(t, index, corner, side), mask


def _tile(
    cell: Cell, at: int, image: NDArray[Any], mask: NDArray[np.bool_], window: pictures.Window,
    number: int,
) -> NDArray[np.uint8]:  # fmt: skip
    """Return a crop as an indexed picture of ``SIDE`` pixels, with outline and path."""
    side = image.shape[0]
    take = np.arange(SIDE) * side // SIDE
    take = np.ix_(take, take)
    grey = pictures.grey(image, window, enlarged=False).pixels
    canvas = pictures.Canvas(grey[take], side / SIDE)
    ink = pictures.object_colour(COLOURS[number])
    canvas.pixels[pictures.outlines(mask[take])] = ink
    row = cell.shown[at]
    corner = cell.corner(row, side)
    path = [(y - corner[0], x - corner[1]) for y, x in zip(cell.y, cell.x, strict=True)][: row + 1]
    pictures.draw_lines(canvas, ((a, b, ink) for a, b in itertools.pairwise(path)), 1)
    return canvas.pixels


def _chart(column: str, cells: Sequence[Cell]) -> Figure:
    """Return the traces below each other, each as high as its row of crops."""
    from matplotlib.ticker import EngFormatter

    figure, _ = charts.new()
    figure.clear()
    figure.set_layout_engine("none")
    step, height = SIDE + GAP, len(cells) * (SIDE + GAP) - GAP + BELOW
    figure.set_size_inches(CHART / 96, height / 96)
    first = None
    for number, cell in enumerate(cells):
        bottom = (height - number * step - SIDE + 8) / height
        axes = figure.add_axes((0.13, bottom, 0.85, (SIDE - 16) / height), sharex=first)
        first = first or axes
        axes.plot(cell.time, cell.value, color=_hex(number), linewidth=1.4)
        rows = cell.shown
        axes.plot(cell.time[rows], cell.value[rows], "o", color=_hex(number), markersize=4)
        axes.text(0.01, 0.86, f"cell {cell.number}", transform=axes.transAxes, fontsize=9)
        axes.locator_params(axis="y", nbins=4)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.tick_params(labelbottom=number == len(cells) - 1)
    axes.set_xlabel(f"time (h); up: {charts.short(column, 40)}")
    return figure


def _hex(number: int) -> str:
    red, green, blue = pictures.OBJECTS[COLOURS[number]]
    return f"#{red:02x}{green:02x}{blue:02x}"


def _svg(
    mosaic: pictures.Canvas, words: Sequence[tuple[int, int, str]], figure: Figure, alt: str
) -> str:
    """Return crops and traces side by side as one inline SVG."""
    rows, columns = mosaic.pixels.shape
    width, height = columns + CHART, rows + BELOW
    chart = base64.b64encode(charts.to_svg(figure)).decode()
    style = (
        'font-size="11" fill="#fff" stroke="#000" stroke-width="2" paint-order="stroke" '
        'font-family="sans-serif"'
    )
    texts = "".join(f'<text x="{x}" y="{y}" {style}>{escape(text)}</text>' for x, y, text in words)
    return (
        f'<svg class="crops" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(alt, quote=True)}">'
        f'<image width="{columns}" height="{rows}" href="{pictures.to_png(mosaic)}"/>{texts}'
        f'<image x="{columns}" width="{CHART}" height="{height}" '
        f'href="data:image/svg+xml;base64,{chart}"/></svg>'
    )


def channel_names(names: Sequence[str]) -> dict[str, str]:
    """Return the names of channels by what columns of traces call them."""
    return {channel_id(name): name for name in names}
