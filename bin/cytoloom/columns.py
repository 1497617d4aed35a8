"""The page of all table columns, from the schemas: ``docs/columns.md``."""

from __future__ import annotations

from cytoloom.schemas import KEYS, SCHEMAS

_INTRODUCTION = """# Columns of the tables

Made from `bin/cytoloom/schemas.py`. Rows are sorted by the key; *null* marks columns that
may have no value. Further columns may follow the declared ones.

Measurements in pixels are scikit-image's `regionprops` of the same name. An axis along x has
the orientation pi/2, where scikit-image gives pi/2 or -pi/2 by rounding. In 3-D, flat
objects, of which scikit-image finds no convex hull, have one too.
"""


def render() -> str:
    """Return the page as Markdown."""
    pages = [_INTRODUCTION]
    for kind, schema in SCHEMAS.items():
        lines = [f"## {kind}", ""]
        if KEYS.get(kind):
            lines += ["Key: " + ", ".join(f"`{name}`" for name in KEYS[kind]), ""]
        lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        for field in schema:
            about = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
            type_ = f"{field.type}, null" if field.nullable else str(field.type)
            cells = (f"`{field.name}`", type_, about.get("unit", ""), about.get("description", ""))
            lines.append("| " + " | ".join(cells).rstrip() + " |")
        pages.append("\n".join(lines) + "\n")
    return "\n".join(pages)
