"""Small readers of YAML values: each returns the value, or None after noting a problem.

Null is never accepted here: callers ask for a value only where one is given.
Numbers written in quotes are refused with a hint, since a silent conversion would hide
typing mistakes such as ``"1O"``; whole numbers written as 5.0 are whole numbers. YAML 1.1's
yes/no/on/off are accepted as booleans, as pyCyto's users may have them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems, nearest, quoted, suggestion

_BOOLEANS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
LONGEST_NAME = 200


def boolean(node: Node, problems: Problems) -> bool | None:
    """Read true or false."""
    if isinstance(node.value, bool):
        return node.value
    if isinstance(node.value, str) and node.value.lower() in _BOOLEANS:
        return _BOOLEANS[node.value.lower()]
    problems.add(node.line, node.where, f"must be true or false, not {node}")
    return None


def number(
    node: Node,
    problems: Problems,
    *,
    whole: bool = False,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    infinite: bool = False,
) -> float | None:
    """Read a number within bounds: ``minimum``, ``maximum`` inclusive, ``above`` exclusive."""
    what = "a whole number" if whole else "a number"
    bounds = "".join(
        f", {word} {bound:g}"
        for word, bound in (("at least", minimum), ("at most", maximum), ("above", above))
        if bound is not None
    )
    value = node.value
    if isinstance(value, str) and _is_number(value):
        problems.add(
            node.line, node.where, f"must be {what}{bounds}, not {node}; leave out the quotes"
        )
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        problems.add(node.line, node.where, f"must be {what}{bounds}, not {node}")
        return None
    if (isinstance(value, int) and abs(value) >= 2**63) or not (
        (infinite and not math.isnan(value)) or math.isfinite(value)
    ):
        problems.add(node.line, node.where, f"must be {what}{bounds}, not {node}")
        return None
    if whole and not float(value).is_integer():
        problems.add(node.line, node.where, f"must be {what}{bounds}, not {node}")
        return None
    if (
        (minimum is not None and value < minimum)
        or (maximum is not None and value > maximum)
        or (above is not None and value <= above)
    ):
        problems.add(node.line, node.where, f"must be {what}{bounds}, not {node}")
        return None
    return int(value) if whole else value


def integer(
    node: Node,
    problems: Problems,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
) -> int | None:
    """Read a whole number within inclusive bounds."""
    value = number(node, problems, whole=True, minimum=minimum, maximum=maximum)
    return None if value is None else int(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def text(node: Node, problems: Problems, what: str = "text") -> str | None:
    """Read text that is not empty and holds no control character."""
    if not isinstance(node.value, str):
        hint = " (write it in quotes)" if node.kind == "scalar" and not node.is_null else ""
        problems.add(node.line, node.where, f"must be {what}, not {node}{hint}")
        return None
    if not node.value.strip() or any(ord(c) < 32 or ord(c) == 127 for c in node.value):
        problems.add(
            node.line, node.where, f"must be {what}, not empty and without control characters"
        )
        return None
    return node.value


def name(node: Node, problems: Problems, what: str) -> str | None:
    """Read the name of a channel or a tag; whole numbers such as 488 are names too."""
    if node.kind == "scalar" and isinstance(node.value, int) and not isinstance(node.value, bool):
        value: str | None = node.text
    else:
        value = text(node, problems, f"the name of {what}")
    if value is None or not usable_name(value, node, problems, what):
        return None
    return value


def usable_name(value: str, node: Node, problems: Problems, what: str) -> bool:
    """Note a name that cannot be one: a path, control characters, empty, over-long."""
    if value in problems.refused_names:
        return False
    if not value.strip() or value.strip() in (".", ".."):
        problems.add(node.line, node.where, f"the name of {what} is empty")
    elif "/" in value or any(ord(c) < 32 or ord(c) == 127 for c in value):
        problems.refused_names.add(value)
        problems.add(
            node.line,
            node.where,
            f"{quoted(value)} cannot be the name of {what}: names may not hold / or control "
            "characters",
        )
    elif len(value) > LONGEST_NAME:
        problems.add(
            node.line, node.where, f"the name of {what} is over {LONGEST_NAME} characters long"
        )
    else:
        return True
    return False


def choice(node: Node, valid: Iterable[str], problems: Problems) -> str | None:
    """Read one of ``valid``."""
    names = list(valid)
    if isinstance(node.value, str) and node.value in names:
        return node.value
    written = node.text if node.kind == "scalar" else ""
    shown = str(node) if node.kind != "scalar" else quoted(node.text)
    problems.add(node.line, node.where, f"{shown} is not a choice{suggestion(written, names)}")
    return None


def listed(node: Node, problems: Problems, what: str) -> tuple[Node, ...]:
    """Read a list that is not empty; () after noting that it is none."""
    if node.kind == "list" and node.items:
        return node.items
    found = "an empty list" if node.kind == "list" else str(node)
    problems.add(node.line, node.where, f"must be {what}, not {found}")
    return ()


def misspelt(node: Node, key: str, valid: Iterable[str]) -> bool:
    """Tell whether an unknown key of a mapping looks like ``key``, which is absent."""
    names = list(valid)
    return key not in node.fields and any(
        nearest(other, names) == key for other in node.fields if other not in names
    )


def known_keys(node: Node, valid: Iterable[str], problems: Problems, what: str) -> bool:
    """Note every key of a mapping that is not among ``valid``."""
    names = list(valid)
    unknown = [key for key in node.fields if key not in names]
    for key in unknown:
        child = node.fields[key]
        problems.add(child.line, child.where, f"unknown {what}{suggestion(key, names)}")
    return not unknown
