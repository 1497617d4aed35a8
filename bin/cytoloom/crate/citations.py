"""References: numbered in the order in which a text cites them, as a list and as BibTeX.

``assets/citations.yaml`` holds them by key. A text marks one as ``[@key]``, several as
``[@key; @other]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CITATIONS = Path(__file__).resolve().parents[3] / "assets" / "citations.yaml"
MARK = re.compile(r"\[(@[\w-]+(?:; *@[\w-]+)*)\]")
BIBTEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
          "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
          "^": r"\textasciicircum{}"}  # fmt: skip


def load_citations(path: Path = CITATIONS) -> dict[str, dict[str, Any]]:
    """Return all references by key."""
    from ruamel.yaml import YAML

    with path.open(encoding="utf-8") as file:
        return dict(YAML(typ="safe", pure=True).load(file))


def keys_in(text: str) -> list[str]:
    """Return the keys that a text cites, in order, each once."""
    found = [key.strip(" @") for marks in MARK.findall(text) for key in marks.split(";")]
    return list(dict.fromkeys(found))


def numbered(text: str) -> tuple[str, list[str]]:
    """Return a text with numbers in place of its marks, and the keys in the order of numbers."""
    keys = keys_in(text)

    def number(match: re.Match[str]) -> str:
        cited = [key.strip(" @") for key in match[1].split(";")]
        return "[" + ", ".join(str(n) for n in sorted({keys.index(k) + 1 for k in cited})) + "]"

    return MARK.sub(number, text), keys


def reference_list(keys: Sequence[str], known: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the numbered list of references, in Markdown."""
    return "\n".join(f"{n}. {in_words(known[key])}" for n, key in enumerate(keys, start=1))


def in_words(entry: Mapping[str, Any]) -> str:
    """Return one reference as a line of Markdown."""
    authors = ["et al." if name == "others" else _short(name) for name in entry["author"]]
    words = f"{', '.join(authors)}".rstrip(".") + f". {entry['title']}."
    place = entry.get("journal") or entry.get("booktitle")
    if place:
        words += f" *{place}*"
        words += f" **{entry['volume']}**" if "volume" in entry else ""
        words += f", {str(entry['pages']).replace('-', '–')}" if "pages" in entry else ""  # noqa: RUF001 - an en dash
    words += f" ({entry['year']})." if "year" in entry else "." if place else ""
    if "version" in entry:
        words += f" Version {entry['version']}."
    if "doi" in entry:
        return f"{words} <https://doi.org/{entry['doi']}>"
    return f"{words} <{entry['url']}>" if "url" in entry else words


def _short(name: str) -> str:
    family, _, given = name.partition(", ")
    initials = [f"{part[0]}." for part in re.split(r"[\s.-]+", given) if part]
    return f"{family} {' '.join(initials)}".strip()


def bibtex(keys: Sequence[str], known: Mapping[str, Mapping[str, Any]]) -> str:
    """Return references as BibTeX."""
    return "\n".join(_bibtex(key, known[key]) for key in keys)


def _bibtex(key: str, entry: Mapping[str, Any]) -> str:
    fields = {name: value for name, value in entry.items() if name != "type"}
    fields["author"] = " and ".join(
        name if name == "others" or ", " in name else f"{{{name}}}" for name in entry["author"]
    )
    fields["title"] = f"{{{_escaped(entry['title'])}}}"
    if "pages" in fields:
        fields["pages"] = str(fields["pages"]).replace("-", "--")
    lines = [
        f"  {name} = {{{value if name in ('author', 'title', 'doi', 'url') else _escaped(value)}}},"
        for name, value in fields.items()
    ]
    return "\n".join([f"@{entry['type']}{{{key},", *lines, "}"]) + "\n"


def _escaped(text: object) -> str:
    return "".join(BIBTEX.get(letter, letter) for letter in str(text))
