#!/usr/bin/env python3
"""Ultrack, sub-step link: candidate links from each of some frames to the next."""

import sqlite3
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, hypotheses, images, provenance, ultrack_engine, ultrack_options
from cytoloom.files import find, writing
from cytoloom.regions import Region

USUAL = 15.0  # px: Ultrack's own, where no label image tells the sizes


class Movie:
    """An image as Ultrack reads it: by frame."""

    def __init__(self, layer: images.Layer, volume: bool) -> None:
        self._layer, self._volume = layer, volume
        self.shape = layer.shape if volume else (layer.shape[0], *layer.shape[2:])

    def __getitem__(self, frame: int) -> NDArray[Any]:
        read = self._layer.read(Region.whole(self._layer.shape).frame(frame))[0]
        return (read if self._volume else read[0]).astype(np.float32)


def pairs_to_link(nodes: str, frames: range, last: int) -> list[int]:
    """Return those frames that have candidates, and have them in the next frame too."""
    found: set[int] = set()
    for path in find(nodes, what="database"):
        with hypotheses.opened(path) as connection:
            rows = connection.execute(
                "SELECT DISTINCT t FROM outlines WHERE t BETWEEN ? AND ?",
                (frames.start, frames.stop),
            )
            found |= {int(t) for (t,) in rows}
    return [t for t in frames if t < last and {t, t + 1} <= found]


def link_frames(config: Any, frames: list[int], movies: list[Movie], scale: Any) -> None:
    """Link the candidates of each frame to those of the next, in Ultrack's database."""
    from ultrack import link

    for frame in cli.progress(frames, "frames"):
        with ultrack_engine.quiet():
            link(config, images=movies, scale=scale, batch_index=frame)


def main(
    nodes: ultrack_options.Nodes,
    out_links: ultrack_options.OutDatabase,
    image: ultrack_options.Images = None,
    region: cli.RegionText = None,
    channel: cli.Channel = None,  # noqa: ARG001 - all phases are given it
    max_distance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="greatest distance between centroids [px along x]; default: 1.5 times the "
            "diameter of the median cell (without label images 15)",
        ),
    ] = None,
    max_neighbors: Annotated[
        int, typer.Option(min=1, help="greatest number of links into a candidate")
    ] = 5,
    distance_weight: Annotated[
        float, typer.Option(min=0, help="what a pixel of distance takes from a link's weight (IoU)")
    ] = 0.0,
    z_score_threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="with images: no link where the mean intensities differ by more than this many "
            "standard deviations; default: intensities do not matter",
        ),
    ] = None,
) -> None:
    """Find candidate links by Ultrack: near enough, weighted by their overlap (IoU)."""
    shared = hypotheses.read_settings(nodes)
    part = Region.parse(region, shared.shape)
    start, stop = part.t
    distance = max_distance
    if distance is None:
        distance = 1.5 * shared.diameter if shared.diameter else USUAL
    provenance.note(resolved={"max_distance": float(distance)})
    options: dict[str, Any] = {
        "max_distance": distance,
        "max_neighbors": max_neighbors,
        "distance_weight": distance_weight,
    }
    movies = []
    if z_score_threshold is not None:
        options["z_score_threshold"] = z_score_threshold
        movies = [Movie(images.open_layer(one, kind="image"), shared.volume) for one in image or []]
    todo = pairs_to_link(nodes, part.frames, shared.shape[0] - 1)
    count = 0
    with writing(out_links) as temporary, ultrack_engine.scratch() as folder:
        config = ultrack_engine.configuration(folder, shared, linking=options) if todo else None
        if shared.server:
            ultrack_engine.clear_frames(shared.server, start, stop, nodes=False)
        if todo and not shared.server:
            gather(folder / ultrack_engine.NAME, nodes, start, stop + 1)
        if todo:
            link_frames(config, todo, movies, ultrack_engine.scale(shared))
        with hypotheses.made(temporary, shared) as ours:
            hypotheses.copy_tables(find(nodes)[0], ours)
            if todo and not shared.server:
                count = take_links(folder / ultrack_engine.NAME, ours)
    cli.log.info("links from %d frames%s", len(todo), f": {count}" if count else "")


def gather(path: Path, nodes: str, start: int, stop: int) -> None:
    """Bring the candidates of some frames together in one database."""
    connection = sqlite3.connect(path)
    hypotheses.copy_tables(find(nodes)[0], connection)
    hypotheses.collect(connection, "nodes", nodes, start, stop)
    connection.commit()
    connection.close()


def take_links(path: Path, target: sqlite3.Connection) -> int:
    """Copy all links out of a database; return how many."""
    source = sqlite3.connect(path)
    query = "SELECT source_id, target_id, weight, annotation FROM links ORDER BY id"
    rows = source.execute(query).fetchall()
    source.close()
    target.executemany(
        "INSERT INTO links (source_id, target_id, weight, annotation) VALUES (?, ?, ?, ?)", rows
    )
    return len(rows)


if __name__ == "__main__":
    cli.run(main)
