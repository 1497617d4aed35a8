"""The entities of an RO-Crate: a flat graph of JSON-LD, each with an id, a type and properties.

Written by hand, not by a library: a crate is one JSON file beside results that are there
already, and the library would copy or move them. The tests hold the result against the
profiles with the community's validator, and read it with that library.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

CONTEXT = [
    "https://w3id.org/ro/crate/1.1/context",
    "https://w3id.org/ro/terms/workflow-run/context",
]
Reference = dict[str, str]


def reference(identifier: str) -> Reference:
    """Return a reference to an entity."""
    return {"@id": identifier}


def relative(path: str) -> str:
    """Return the id of a file of the crate; that of a folder ends with a slash."""
    return quote(path, safe="/~!$&'()*+,;=@")


def local(path: str, *, folder: bool = False) -> str:
    """Return the id of a file outside the crate that is referred to, not copied."""
    return Path(path).absolute().as_uri() + ("/" if folder else "")


class Graph:
    """Entities by id, in the order in which they came."""

    def __init__(self) -> None:
        self.entities: dict[str, dict[str, Any]] = {}

    def add(self, identifier: str, kind: str | list[str], /, **properties: Any) -> Reference:
        """Add an entity, or properties to one that is there; what is None or empty is left out."""
        entity = self.entities.setdefault(identifier, {"@id": identifier, "@type": kind})
        entity |= {k: v for k, v in properties.items() if v is not None and v not in ("", [])}
        return reference(identifier)

    def extend(self, identifier: str, name: str, values: Iterable[Any]) -> None:
        """Append values to a property, each once."""
        kept = self.entities[identifier].get(name, [])
        kept = kept if isinstance(kept, list) else [kept]
        whole = {_key(value): value for value in [*kept, *values]}
        if whole:
            self.entities[identifier][name] = list(whole.values())

    def document(self) -> dict[str, Any]:
        """Return the crate; a property of one value is that value, not a list."""
        return {
            "@context": CONTEXT,
            "@graph": [
                {name: _compact(value) for name, value in entity.items()}
                for entity in self.entities.values()
            ],
        }


def _key(value: Any) -> Any:
    return value["@id"] if isinstance(value, dict) else value


def _compact(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value
