"""Layers and files that Ultrack's phases read and write, declared once."""

from pathlib import Path
from typing import Annotated

import typer

from cytoloom.cli import Contract

Labels = Annotated[
    list[str] | None,
    Contract("input"),
    typer.Option(help="label layer: a path, or a quoted glob of its parts; once per label image"),
]
Images = Annotated[
    list[str] | None,
    Contract("input"),
    typer.Option(
        help="image layer, the same; without label layers the first two are the probability of "
        "foreground and of contours"
    ),
]
Settings = Annotated[
    str, Contract("input"), typer.Option(help="what the phase database made (a path or glob)")
]
Nodes = Annotated[
    str, Contract("input"), typer.Option(help="what the phase segment made (a path or glob)")
]
Links = Annotated[
    str, Contract("input"), typer.Option(help="what the phase link made (a path or glob)")
]
Solutions = Annotated[
    list[str], Contract("input"), typer.Option(help="what the phase solve made (a path or glob)")
]
Earlier = Annotated[
    list[str] | None,
    Contract("input"),
    typer.Option(help="solutions of the windows beside this one (a path or glob)"),
]
OutDatabase = Annotated[Path, Contract("output"), typer.Option(help="database (SQLite) to write")]
