"""Programs as the documentation shows them: what ``--help`` says, as Markdown tables.

An executable is imported (its heavy imports are inside its functions); arguments, types,
ranges, defaults and help come from the parameters of its ``main``, which also make
``--help``.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from cytoloom import cli
from cytoloom.plan.arguments import Argument, ExecutableError, Signatures


@dataclass(frozen=True)
class Program:
    """One executable: its words of help, its arguments and its contract options."""

    name: str
    text: str
    arguments: dict[str, Argument]
    contract: dict[str, Argument]
    options: dict[str, str]  # parameter -> option as typed
    negations: dict[str, str]  # parameter -> option that says no


def read_program(name: str, folder: Path) -> Program:
    """Read an executable by importing it; its heavy imports are inside its functions."""
    step = Signatures(folder).of(name).arguments
    everything = Signatures(folder, contract=lambda _: False).of(name).arguments
    spec = importlib.util.spec_from_file_location(f"_page_{name}", folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        declared = cli.parameters(module.main)
    finally:
        sys.modules.pop(spec.name)
    named = {key: option_names(key, parameter) for key, parameter in declared.items()}
    return Program(
        name=name,
        text=inspect.cleandoc((module.main.__doc__ or "").split("\n    Parameters\n")[0]),
        arguments=dict(step),
        contract={key: value for key, value in everything.items() if key not in step},
        options={key: names[0] for key, names in named.items()},
        negations={key: names[1] for key, names in named.items()},
    )


def read_programs(folder: Path) -> tuple[dict[str, Program], list[str]]:
    """Return the programs of ``bin/`` by name, and one line for each that cannot be read."""
    programs, problems = {}, []
    for path in sorted(folder.glob("*.py")):
        try:
            programs[path.stem] = read_program(path.stem, folder)
        except ExecutableError as error:
            problems.append(str(error))
    return programs, problems


def option_names(name: str, parameter: inspect.Parameter) -> tuple[str, str]:
    """Return the option of a parameter of ``main`` as the command line has it, and its no."""
    marks = get_args(parameter.annotation)[1:]
    options = [mark for mark in marks if hasattr(mark, "param_decls")]
    # Within Annotated, typer keeps the first name that is given as the default.
    firsts = [o.default for o in options if isinstance(o.default, str)]
    declared = firsts + [word for o in options for word in o.param_decls or ()]
    yes, _, no = (declared[0] if declared else "").partition("/")
    if yes.startswith("--"):
        return yes, no
    if cli.is_contract(parameter):
        return f"--{name.replace('_', '-')}", ""
    flag = parameter.annotation is bool or bool in get_args(parameter.annotation)[:1]
    return f"--{name}", f"--no_{name}" if flag else ""


# ---- Words


def cell(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *(list(row) for row in rows)]
    return "".join("| " + " | ".join(map(cell, line)) + " |\n" for line in lines)


def usage(program: Program) -> str:
    """Return the shortest command line of a program."""
    words = [f"./cytoloom stage {program.name}"]
    for key, argument in (program.contract | program.arguments).items():
        if argument.required:
            words.append(f"{program.options[key]} {key.upper()}")
    return " ".join(words)


def takes(argument: Argument) -> str:
    """Return what an argument takes, with its range."""
    low, high = argument.minimum, argument.maximum
    words = argument.valid
    if low is not None and high is not None:
        words += f", {low:g} to {high:g}"
    elif low is not None or high is not None:
        words += f", at least {low:g}" if low is not None else f", at most {high:g}"
    return words


def standard(argument: Argument) -> str:
    """Return the default of an argument as the YAML would have it."""
    if argument.required:
        return "needed"
    value = argument.default
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return f"`{value}`" if isinstance(value, str) else f"{value:g}"


def arguments_table(arguments: Iterable[Argument]) -> str:
    """Return the table of a step's ``args``."""
    rows = [(f"`{a.name}`", takes(a), standard(a), a.help) for a in arguments]
    return table(("argument", "takes", "default", "meaning"), rows)


def options_table(program: Program, arguments: Iterable[Argument]) -> str:
    """Return the table of options that stand on the command line only."""
    rows = []
    for a in arguments:
        names = " ".join(
            f"`{word}`" for word in (program.options[a.name], program.negations[a.name]) if word
        )
        rows.append(
            (
                names,
                standard(a),
                a.help + (" (repeated)" if a.many and "repeated" not in a.help else ""),
            )
        )
    return table(("option", "default", "meaning"), rows)
