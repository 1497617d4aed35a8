"""YAML as a tree of nodes that know their line.

ruamel.yaml composes the text (YAML 1.2); its node graph is turned into ``Node`` objects.
Against loading it into Python objects this has three advantages: every value has its
line, all duplicate keys are found instead of the first, and no tag can construct
anything. Aliases and merge keys work; an alias that holds itself, explicit tags and
documents of more than ``MOST_NODES`` nodes (aliases written out) are reported.
``Node.line`` is the line of the key for a value of a mapping, else that of the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from cytoloom.plan.problems import Problems, quoted

MOST_NODES = 100_000
_TAG = "tag:yaml.org,2002:"
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Node:
    """A value of the YAML with its place."""

    kind: Literal["map", "list", "scalar"]
    line: int
    where: str
    value: Scalar = None
    text: str = ""
    items: tuple[Node, ...] = ()
    fields: dict[str, Node] = field(default_factory=dict)

    @property
    def is_null(self) -> bool:
        """Whether the value is null or left empty."""
        return self.kind == "scalar" and self.value is None

    def get(self, key: str) -> Node | None:
        """Return the value of ``key``, or None where it is absent or null."""
        child = self.fields.get(key)
        return None if child is None or child.is_null else child

    def __str__(self) -> str:
        if self.kind == "map":
            return "a mapping"
        if self.kind == "list":
            return "a list"
        if isinstance(self.value, str):
            return f"the text {quoted(self.value)}"
        return "null" if self.value is None else f"{self.text[:60]}"

    def plain(self) -> Any:
        """Return the tree as Python lists, dicts and scalars."""
        if self.kind == "map":
            return {key: child.plain() for key, child in self.fields.items()}
        if self.kind == "list":
            return [child.plain() for child in self.items]
        return self.value


def read(path: Path, problems: Problems) -> Node | None:
    """Read a YAML file whose top level is a mapping; None after noting why it cannot be."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        problems.add(1, "", "no such file", missing_file=True)
        return None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.add(line, "", "not UTF-8 text: save the file as UTF-8")
        return None
    except OSError as error:
        problems.add(1, "", f"cannot be read: {error.strerror}", missing_file=True)
        return None
    return parse(text, problems)


def parse(text: str, problems: Problems) -> Node | None:
    """Parse YAML text whose top level is a mapping; None after noting why it cannot be."""
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        node = _Tree(problems).convert(root, "", _line(root), ()) if root is not None else None
    except RecursionError:
        problems.add(1, "", "not usable: nested too deeply")
        return None
    except (YAMLError, ValueError, AttributeError, TypeError, AssertionError) as error:
        problems.add(*_invalid(error, text))
        return None
    if root is None:
        problems.add(1, "", "the file is empty; a mapping of keys is expected")
    elif node is not None and node.kind != "map":
        problems.add(node.line, "", f"a mapping of keys is expected, found {node}")
        return None
    return node


def _invalid(error: Exception, text: str) -> tuple[int, str, str]:
    """Return line, place and message of an error of the YAML parser."""
    if isinstance(error, ReaderError):
        line = text[: error.position].count("\n") + 1
        return line, "", "not valid YAML: it holds a character that YAML does not allow"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if not isinstance(error, MarkedYAMLError) or mark is None:
        return 1, "", f"not valid YAML: {error}"
    line = mark.line + 1
    begun = error.context_mark.line + 1 if error.context_mark else line
    where = f" (in what begins in line {begun})" if begun != line else ""
    return line, "", f"not valid YAML: {error.problem or error.context or 'unreadable'}{where}"


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


class _Tree:
    """Converts ruamel's node graph, noting what cannot be used."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.count = 0

    def convert(self, node: Any, where: str, line: int, above: tuple[int, ...]) -> Node | None:
        self.count += 1
        if self.count > MOST_NODES:
            if self.count == MOST_NODES + 1:
                self.problems.add(line, where, f"more than {MOST_NODES} values: not a pipeline")
            return None
        if id(node) in above:
            self.problems.add(line, where, "an alias refers to the entry that holds it")
            return None
        if not str(node.tag).startswith(_TAG):
            self.problems.add(line, where, f"the tag {quoted(str(node.tag))} is not supported")
            return None
        above = (*above, id(node))
        if isinstance(node, ScalarNode):
            value = _scalar(node)
            return Node("scalar", line, where, value=value, text=str(node.value))
        if isinstance(node, SequenceNode):
            children = (
                self.convert(child, f"{where}[{i}]", _line(child), above)
                for i, child in enumerate(node.value)
            )
            return Node("list", line, where, items=tuple(c for c in children if c is not None))
        return Node("map", line, where, fields=self._fields(node, where, above))

    def _fields(self, node: MappingNode, where: str, above: tuple[int, ...]) -> dict[str, Node]:
        fields: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if key_node.tag == _TAG + "merge":
                for source in self._merge_sources(value_node, line, where):
                    child = self.convert(source, where, line, above)
                    for key, inherited in child.fields.items() if child else ():
                        merged.setdefault(key, inherited)
                continue
            if not isinstance(key_node, ScalarNode):
                self.problems.add(line, where, "a key must be a name, not a list or mapping")
                continue
            key = str(key_node.value)
            path = f"{where}.{key}" if where else key
            if key in fields:
                first = fields[key].line
                self.problems.add(line, path, f"given twice (first in line {first}); keep one")
                continue
            value = self.convert(value_node, path, line, above)
            if value is not None:
                fields[key] = value
        return {**merged, **fields}

    def _merge_sources(self, node: Any, line: int, where: str) -> Iterator[Any]:
        sources = node.value if isinstance(node, SequenceNode) else [node]
        for source in sources:
            if isinstance(source, MappingNode):
                yield source
            else:
                self.problems.add(line, where, "<< takes a mapping, or a list of mappings")


def _scalar(node: ScalarNode) -> Scalar:
    """Return the Python value of a scalar; what is no number, bool or null is text."""
    text, kind = str(node.value), str(node.tag).removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("true", "yes", "on")
    bare = text.replace("_", "")
    try:
        if kind == "int":
            return _integer(bare)
        if kind == "float":
            return float(bare.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
    return text


def _integer(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    for prefix, base in (("0x", 16), ("0o", 8), ("0b", 2)):
        if digits.startswith(prefix):
            return sign * int(digits[2:], base)
    return sign * int(digits)
