#!/usr/bin/env python3
"""Viewer: a position with its cells and tracks in napari, where cells are flagged good or bad."""

import os
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, flags
from cytoloom.errors import BadData, UsageError

HELP = (
    "G: the cell under the pointer is bad, or good again; F: only from this frame on. Saved at "
    "once; run again with -resume to use it"
)


class Editor:
    """A position in a viewer of napari: layers, keys and what they do.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    place : flags.Place
    """

    def __init__(self, viewer, place):
        self.viewer, self.place = viewer, place
        self.flags = flags.Flags(place.csv)
        self.add_images()
        self.cells = self.add_cells()
        self.tracks = self.add_tracks()
        self.paint()
        viewer.title = f"{place.name}: {place.csv.name}"
        viewer.bind_key("g", lambda _: self.flag(0), overwrite=True)
        viewer.bind_key("f", lambda _: self.flag(self.frame()), overwrite=True)
        viewer.status = viewer.help = HELP

    def add_images(self):
        """Add each channel; backgrounds are hidden."""
        for name, image, index in flags.images_of(self.place):
            level = lazy(image)
            planes = flags.plane(level, index)
            middle = np.asarray(planes[planes.shape[0] // 2])
            low, high = np.percentile(middle, [0.5, 99.8])
            self.viewer.add_image(
                planes, name=name, contrast_limits=(float(low), float(max(high, low + 1))),
                blending="additive", visible="(" not in name,
            )  # fmt: skip

    def add_cells(self):
        """Add the outlines of the cells in the colours of their flags."""
        found = flags.labels_of(self.place)
        if found is None:
            raise BadData(f"{self.place.store}: no tracked label image of {self.place.channel}")
        layer = self.viewer.add_labels(
            flags.plane(lazy(found), 0), name=f"{self.place.channel} (G: good or bad)"
        )
        layer.contour = 2
        layer.editable = False
        return layer

    def add_tracks(self):
        """Add the paths of the cells; None where no cell is left."""
        rows, _ = self.flags.tracks()
        if not len(rows):
            return None
        return self.viewer.add_tracks(rows, name="tracks", tail_length=20)

    def paint(self):
        """Colour cells and paths by their flags."""
        from napari.utils.colormaps import Colormap, DirectLabelColormap
        from pandas import DataFrame

        self.cells.colormap = DirectLabelColormap(color_dict=self.flags.colours())
        if self.tracks is None:
            return
        _, good = self.flags.tracks()
        # The least and greatest value take the ends of a colour map, if all are alike the first.
        ends = [flags.COLOURS[flags.GOOD if v else flags.BAD] for v in (good.min(), good.max())]
        self.tracks.features = DataFrame({"good": good})
        self.tracks.colormaps_dict = {"good": Colormap(ends)}
        self.tracks.color_by = "good"

    def frame(self):
        """Return the frame that is shown."""
        return int(self.viewer.dims.current_step[0])

    def flag(self, first):
        """Flag the cell under the pointer, save, and say what was done."""
        cell = self.cells.get_value(self.viewer.cursor.position, world=True)
        cell = int(cell) if cell else 0
        state = self.flags.toggle(cell, first) if cell else None
        if state is None:
            none = f"cell {cell} has no trace here (left out by a filter)" if cell else "no cell"
            self.viewer.status = f"{none} under the pointer. {HELP}"
            return
        self.flags.save()
        self.paint()
        bad = sum(state != flags.GOOD for state in self.flags.states().values())
        self.viewer.status = f"cell {cell}: {state}; {bad} cells flagged in {self.place.csv.name}"


def lazy(image):
    """Return the full resolution of an image (t, c, z, y, x), read where it is looked at."""
    import dask.array as da
    import zarr

    return da.from_zarr(zarr.open_array(image.path / image.levels[0], mode="r"))


def check_display():
    """Raise UsageError where there is no screen: Qt would abort without a word to the user."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in names):
        raise UsageError(
            "no display (DISPLAY is not set): run this where there is a screen, on the folder of "
            "results, or edit the column good of the CSV"
        )


def main(
    results: Annotated[Path, typer.Argument(help="folder of results of a run")],
    position: Annotated[
        str | None, typer.Option(help="position to open; default: the first")
    ] = None,
) -> None:
    """Look at a position in napari, and flag its cells as good or bad.

    Outlines and paths are green where the trace is good, red where it is bad, orange where it is
    bad in some frames; cells without a trace are grey. G flags the cell under the pointer, F
    from the frame that is shown on. The flags are saved in the CSV of the traces at once.
    """
    places = flags.places_of(results)
    place = flags.chosen(places, position)
    check_display()
    import napari

    viewer = napari.Viewer()
    Editor(viewer, place)
    others = ", ".join(other.name for other in places if other.name != place.name)
    print(f"{place.name}: {place.csv}" + (f" (--position: {others})" if others else ""))
    print(HELP)
    napari.run()


if __name__ == "__main__":
    cli.run(main)
