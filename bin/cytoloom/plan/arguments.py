"""A step's arguments, read from the signature of its executable.

The file ``bin/<executable>.py`` is imported (its heavy imports are inside its functions)
and each parameter of ``main`` that is not part of the contract (``cli.is_contract``)
becomes an ``Argument``: type, bounds and choices come from the annotation and its
``typer.Option``. So the YAML and the command line can never disagree. ``check`` holds one
YAML value against an argument; ``as_options`` turns checked values into command line
words. Not supported, since typer does not: unions other than with None, nested lists.
"""

from __future__ import annotations

import enum
import importlib.util
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cytoloom.plan import checks
from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems, suggestion
from cytoloom.plan.registry import Row

BIN = Path(__file__).parents[2]
Kind = Literal["bool", "int", "float", "text", "choice"]


class ExecutableError(Exception):
    """An executable is missing, cannot be imported, or has a parameter of no known type."""


@dataclass(frozen=True)
class Argument:
    """One argument of a step, as its executable declares it."""

    name: str
    kind: Kind
    many: bool = False
    length: int | None = None
    optional: bool = False
    required: bool = False
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    help: str = ""

    @property
    def valid(self) -> str:
        """What the argument takes, in words."""
        words = {
            "bool": "true or false",
            "int": "a whole number",
            "float": "a number",
            "text": "text",
            "choice": "one of " + ", ".join(self.choices),
        }[self.kind]
        if not self.many:
            return words
        count = f"{self.length} values" if self.length else "values"
        return f"a list of {count}, each {words}"


IGNORED = {
    argument.name: argument
    for argument in (
        Argument("verbose", "bool", optional=True),
        Argument("threads", "int", optional=True, minimum=1),
        Argument("parallel_backend", "choice", optional=True, choices=("NATIVE", "MPI", "PATHOS")),
    )
}


@dataclass(frozen=True)
class Signature:
    """The arguments of one executable."""

    executable: str
    arguments: Mapping[str, Argument]


def is_contract(parameter: inspect.Parameter) -> bool:
    """Tell a contract option (layers, region, halo, cores …) from an argument of the step."""
    from cytoloom import cli

    return cli.is_contract(parameter)


class Signatures:
    """Reads and remembers the signatures of the executables of one folder."""

    def __init__(
        self, folder: Path = BIN, contract: Callable[[inspect.Parameter], bool] = is_contract
    ) -> None:
        self.folder = folder
        self.contract = contract
        self._known: dict[str, Signature] = {}

    def of(self, executable: str) -> Signature:
        """Return the signature of an executable.

        Raises
        ------
        ExecutableError
            If there is no such file, or it cannot be imported or understood.
        """
        if executable not in self._known:
            self._known[executable] = self._read(executable)
        return self._known[executable]

    def of_step(self, row: Row) -> Signature:
        """Return the arguments of a step: of the executables of all its phases.

        A merge has only those of ``merge_args``. Where two phases declare an argument, the
        step's own executable says what it is.

        Raises
        ------
        ExecutableError
            As ``of``; also if the merge takes no argument of a name in ``merge_args``.
        """
        arguments = dict(self.of(row.executable).arguments)
        for phase in row.before:
            arguments = {**self.of(phase.executable).arguments, **arguments}
        if row.merge and row.merge_args:
            merge = self.of(row.merge).arguments
            for name in row.merge_args:
                if name not in merge:
                    raise ExecutableError(f"{row.merge}.py has no argument {name}")
                arguments.setdefault(name, merge[name])
        return Signature(row.executable, arguments)

    def takes(self, row: Row) -> dict[str, frozenset[str]]:
        """Return the names of the arguments that each executable of a step takes."""
        programs = (row.executable, *(phase.executable for phase in row.before))
        found = {name: frozenset(self.of(name).arguments) for name in programs}
        return found | ({row.merge: frozenset(row.merge_args)} if row.merge else {})

    def _read(self, executable: str) -> Signature:
        path = self.folder / f"{executable}.py"
        if not path.is_file():
            raise ExecutableError(f"the executable {executable}.py is not in {self.folder.name}/")
        module = f"_cytoloom_plan_{executable}"
        spec = importlib.util.spec_from_file_location(module, path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[module] = loaded
        try:
            spec.loader.exec_module(loaded)
            main = loaded.main
            hints = get_type_hints(main, include_extras=True)
            parameters = inspect.signature(main).parameters
        except Exception as error:
            raise ExecutableError(
                f"the executable {executable}.py cannot be read: {type(error).__name__}: {error}"
            ) from error
        finally:
            sys.modules.pop(module, None)
        arguments = {}
        for name, parameter in parameters.items():
            parameter = parameter.replace(annotation=hints.get(name, str))
            if not self.contract(parameter):
                arguments[name] = _argument(executable, parameter)
        return Signature(executable, arguments)


def _argument(executable: str, parameter: inspect.Parameter) -> Argument:
    annotation, option = parameter.annotation, None
    if get_origin(annotation) is Annotated:
        annotation, *marks = get_args(annotation)
        option = next((mark for mark in marks if hasattr(mark, "param_decls")), None)
    default = parameter.default
    required = default is inspect.Parameter.empty
    base, optional = _without_none(annotation)
    many, length = False, None
    if get_origin(base) in (list, tuple, set) or base in (list, tuple):
        inner = get_args(base) or (str,)
        many = True
        length = len(inner) if get_origin(base) is tuple and Ellipsis not in inner else None
        base = inner[0]
    kind, choices = _kind(base)
    if kind is None:
        raise ExecutableError(f"{executable}.py: {parameter.name}: unknown type {annotation}")
    return Argument(
        name=parameter.name,
        kind=kind,
        many=many,
        length=length,
        optional=default is None or (required and optional),
        required=required,
        default=None if required else _plain(default),
        minimum=getattr(option, "min", None),
        maximum=getattr(option, "max", None),
        choices=choices,
        help=getattr(option, "help", None) or "",
    )


def _plain(default: Any) -> Any:
    if isinstance(default, enum.Enum):
        return default.value
    return str(default) if isinstance(default, Path) else default


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        if len(inner) == 1:
            base, _ = _without_none(inner[0])
            return base, len(get_args(annotation)) > 1
    return annotation, False


def _kind(base: Any) -> tuple[Kind | None, tuple[str, ...]]:
    if get_origin(base) is Literal:
        return "choice", tuple(str(value) for value in typing.get_args(base))
    if isinstance(base, type):
        if issubclass(base, enum.Enum):
            return "choice", tuple(str(member.value) for member in base)
        for cls, kind in ((bool, "bool"), (int, "int"), (float, "float"), (str, "text")):
            if issubclass(base, cls):
                return typing.cast(Kind, kind), ()
        if issubclass(base, Path):
            return "text", ()
    return None, ()


def check_all(
    node: Node, signature: Signature, step: str, problems: Problems
) -> dict[str, Any] | None:
    """Check the ``args`` of a step; return the values given, or None after noting problems.

    Keys of pyCyto that change nothing here (``IGNORED``) are left out of the result.
    """
    found = len(problems.found)
    values = {}
    known = signature.arguments
    for name, child in node.fields.items():
        if name in known:
            values[name] = check(child, known[name], problems)
        elif name in IGNORED:
            check(child, IGNORED[name], problems)
        else:
            message = f"unknown argument of {step}{suggestion(name, known)}"
            problems.add(child.line, child.where, message)
    return values if len(problems.found) == found else None


def note_missing(
    signature: Signature, node: Node | None, line: int, where: str, problems: Problems
) -> None:
    """Note each argument that has no default and was not given."""
    for argument in signature.arguments.values():
        if argument.required and (node is None or argument.name not in node.fields):
            problems.add(
                line, where, f"the argument {argument.name} is missing: it takes {argument.valid}"
            )


def check(node: Node, argument: Argument, problems: Problems) -> Any:
    """Return the value of a node as the argument takes it, or None after noting a problem."""
    if node.is_null:
        if not argument.optional:
            instead = "" if argument.required else f"; leave it out for {argument.default}"
            message = f"must be {argument.valid}, not null{instead}"
            problems.add(node.line, node.where, message)
        return None
    if not argument.many:
        return _value(node, argument, problems)
    if node.kind != "list":
        problems.add(node.line, node.where, f"must be {argument.valid}, not {node}")
        return None
    if argument.length is not None and len(node.items) != argument.length:
        message = f"must be {argument.valid}, found {len(node.items)}"
        problems.add(node.line, node.where, message)
        return None
    return [_value(item, argument, problems) for item in node.items]


def _value(node: Node, argument: Argument, problems: Problems) -> Any:
    if argument.kind == "bool":
        return checks.boolean(node, problems)
    if argument.kind == "choice":
        return checks.choice(node, argument.choices, problems)
    if argument.kind == "text":
        return checks.text(node, problems)
    return checks.number(
        node,
        problems,
        whole=argument.kind == "int",
        minimum=argument.minimum,
        maximum=argument.maximum,
        infinite=isinstance(argument.default, float) and math.isinf(argument.default),
    )


def as_options(values: Mapping[str, Any], signature: Signature) -> list[str]:
    """Return checked values as command line words; null (no value) is left out."""
    words: list[str] = []
    for name, value in values.items():
        argument = signature.arguments[name]
        if value is None:
            continue
        if argument.kind == "bool" and not argument.many:
            words.append(f"--{name}" if value else f"--no_{name}")
        elif argument.length is not None:
            words += [f"--{name}", *(_word(item) for item in value)]
        else:
            for item in value if argument.many else [value]:
                words += [f"--{name}", _word(item)]
    return words


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
