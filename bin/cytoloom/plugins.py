"""Functions of the user's in a Python file that is given by its path.

The file is run as a module of its own, in the environment of the step: it may import what
that environment holds. Its public functions, in the order of the file, are what it offers.
What goes wrong in it is the user's to mend and said in one line: file, line, error.
"""

from __future__ import annotations

import importlib.util
import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from cytoloom.errors import BadData, InputMissing


def load(path: Path | str) -> ModuleType:
    """Run a file and return it as a module.

    Raises
    ------
    InputMissing
        If it is not there.
    BadData
        If it cannot be run.
    """
    file = Path(path)
    if not file.is_file():
        raise InputMissing(f"plug-in {path}: no such file")
    spec = importlib.util.spec_from_file_location(f"_plugin_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise BadData(f"plug-in {path}: not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BadData(f"plug-in {told(file, error)}") from error
    return module


def functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """Return the public functions that a module defines itself."""
    return {
        name: one
        for name, one in vars(module).items()
        if inspect.isfunction(one) and one.__module__ == module.__name__ and name[0] != "_"
    }


def told(file: Path | str, error: BaseException) -> str:
    """Return file, line and message of an error in a user's file, in one line."""
    line = getattr(error, "lineno", None)
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename) == Path(file):
            line = frame.lineno
    return f"{file}, line {line or '?'}: {type(error).__name__}: {error}"
