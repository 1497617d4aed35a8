"""Indented XML as a stream: nothing is kept in memory, floats read back the same."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr


class Writer:
    """Indented XML; attributes that are null or not finite are left out."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._depth = 0

    def __enter__(self) -> Writer:
        self._file.write('<?xml version="1.0" encoding="UTF-8"?>\n')
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def start(self, name: str, /, **attributes: Any) -> None:
        """Open an element."""
        self._file.write(f"{'  ' * self._depth}<{name}{_texts(attributes)}>\n")
        self._depth += 1

    def end(self, name: str) -> None:
        """Close it."""
        self._depth -= 1
        self._file.write(f"{'  ' * self._depth}</{name}>\n")

    def raw(self, text: str) -> None:
        """Write a line of XML as it stands."""
        self._file.write(f"{'  ' * self._depth}{text}\n")

    def one(self, name: str, text: str = "", /, **attributes: Any) -> None:
        """Write a whole element."""
        close = f">{escape(text)}</{name}>" if text else " />"
        self._file.write(f"{'  ' * self._depth}<{name}{_texts(attributes)}{close}\n")


def _texts(attributes: dict[str, Any]) -> str:
    return "".join(_attribute(name, value) for name, value in attributes.items())


def _attribute(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f' {name}="{float(value)!r}"' if isfinite(value) else ""
    if isinstance(value, int):
        return f' {name}="{value}"'
    return "" if value is None else f" {name}={quoteattr(str(value))}"


def attribute_texts(columns: dict[str, list[Any]]) -> list[str]:
    """Return the attributes of each row as text."""
    texts = [[_attribute(key, value) for value in column] for key, column in columns.items()]
    return ["".join(parts) for parts in zip(*texts, strict=True)]
