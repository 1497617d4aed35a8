#!/usr/bin/env python3
"""Ultrack, sub-step database: an empty database, and what all tasks after it share."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, hypotheses, images, ultrack_engine, ultrack_options
from cytoloom.errors import BadData, UsageError
from cytoloom.files import writing

log = cli.log


def areas_of(layers: list[images.Layer]) -> tuple[int, int, int] | None:
    """Return the 1st percentile, the median and the greatest area [px] of all cells, or None."""
    import fastremap

    found = []
    for layer in layers:
        for frame in cli.progress(layer.region.frames, f"areas in {layer.channel}"):
            numbers, counts = fastremap.unique(
                layer.read(layer.region.frame(frame)), return_counts=True
            )
            found.append(counts[numbers != 0])
    areas = np.concatenate(found) if found else np.empty(0, np.int64)
    if not areas.size:
        return None
    low, middle = np.quantile(areas, [0.01, 0.5], method="lower")
    return int(low), int(middle), int(areas.max())


def open_inputs(label: list[str] | None, image: list[str] | None) -> list[images.Layer]:
    """Open the label layers, or else the images of foreground and contours.

    Raises
    ------
    UsageError
        If there are neither.
    BadData
        If their shapes differ.
    """
    if not label and (not image or len(image) < 2):
        raise UsageError(
            "Ultrack needs label images (labels:), or images of foreground and contours "
            "(images: [foreground, contours])"
        )
    kind, given = ("label", label) if label else ("image", image)
    layers = [images.open_layer(one, kind=kind) for one in given or []]
    for other in layers[1:]:
        if other.shape != layers[0].shape:
            raise BadData(
                f"{kind} {other.channel!r} has the shape {other.shape}, {layers[0].channel!r} "
                f"has {layers[0].shape}: they must be of one shape"
            )
    return layers


def make_tables(path: Path) -> None:
    """Make Ultrack's tables in a SQLite file."""
    from sqlalchemy import create_engine
    from ultrack.core.database import Base

    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()


def make_schema(server: hypotheses.Server) -> None:
    """Make the schema of the server anew, with Ultrack's tables, empty."""
    import sqlalchemy as sqla
    from ultrack.core.database import Base

    with ultrack_engine.connected(server) as connection:
        connection.execute(sqla.text(f'DROP SCHEMA IF EXISTS "{server.schema}" CASCADE'))
        connection.execute(sqla.text(f'CREATE SCHEMA "{server.schema}"'))
        Base.metadata.create_all(connection)


def main(
    out_database: ultrack_options.OutDatabase,
    label: ultrack_options.Labels = None,
    image: ultrack_options.Images = None,
    channel: cli.Channel = None,
    database: Annotated[
        str,
        typer.Option(
            help="sqlite: files of the run's work folder; or a PostgreSQL server, "
            "postgresql://user@host:5432/database, without a password"
        ),
    ] = "sqlite",
    passfile: Annotated[
        Path | None,
        typer.Option(
            help="password file of PostgreSQL (lines host:port:database:user:password, mode 0600); "
            "default: ~/.pgpass"
        ),
    ] = None,
    schema: Annotated[
        str,
        typer.Option(
            help="PostgreSQL: start of the schema's name, the rest is position, tag and channel; "
            "give each of two runs on one server its own"
        ),
    ] = "cytoloom",
) -> None:
    """Make Ultrack's database, empty, and measure the areas that other defaults follow from.

    With PostgreSQL the schema is made anew: what an earlier run of the same name left is lost.
    """
    layers = open_inputs(label, image)
    first = layers[0]
    server = None
    if database != "sqlite":
        name = "_".join([schema, *out_database.name.split(".")[:3]])
        server = ultrack_engine.parse_server(database, passfile, name)
    settings = hypotheses.Settings(
        position=first.position,
        channel=channel or first.channel,
        shape=tuple(first.shape),
        pixel_size=tuple(first.pixel_size),
        areas=areas_of(layers) if label else None,
        server=server,
    )
    with ultrack_engine.quiet():
        if server:
            make_schema(server)
    with writing(out_database) as temporary:
        with ultrack_engine.quiet():
            make_tables(temporary)
        with hypotheses.made(temporary, settings):
            pass
    if settings.areas:
        log.info("areas: 1st percentile %d, median %d, greatest %d px", *settings.areas)


if __name__ == "__main__":
    cli.run(main)
