"""The page: what it is made of, and the template that puts it together.

Template, style and palette are files of ``assets/``. Everything goes through Jinja's
escaping except pictures that this package made itself. A picture that fails is replaced
by a line that says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).resolve().parents[3] / "assets"
log = logging.getLogger("cytoloom")


@dataclass
class Picture:
    """A picture or chart with its caption; ``html`` is empty where it could not be made."""

    html: str
    caption: str = ""
    wide: bool = False
    ramp: tuple[str, str] | None = None  # words at both ends of a ramp of time
    failed: str = ""


@dataclass
class Table:
    """A table of the page; cells are text."""

    head: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclass
class Block:
    """A heading of second order with text, pictures and tables below."""

    title: str = ""
    notes: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass
class Section:
    """A part of the page."""

    id: str
    title: str
    blocks: list[Block] = field(default_factory=list)


def attempt(what: str, make: Callable[[], Picture | None]) -> list[Picture]:
    """Make a picture; an error becomes a line in its place and a warning in the log."""
    try:
        picture = make()
    except Exception as error:  # a report without one picture is still a report
        why = " ".join(str(error).split()) or type(error).__name__
        log.warning("%s could not be drawn: %s", what, why)
        return [Picture("", failed=f"{what} could not be drawn: {why}")]
    return [picture] if picture else []


def palette() -> dict[str, str]:
    """Return the colours of the stages."""
    from ruamel.yaml import YAML

    return dict(YAML(typ="safe", pure=True).load((ASSETS / "palette.yaml").read_text()))


def render(template: str, **content: Any) -> str:
    """Return a page as HTML, from a template of ``assets/report``."""
    import jinja2

    folder = ASSETS / "report"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style = (folder / "report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=style, **content)
