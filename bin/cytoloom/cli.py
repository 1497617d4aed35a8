"""The command line of every executable: contract options, exit codes, provenance.

An executable defines ``main`` with annotated parameters and ends with
``cli.run(main)``. Parameters of the types below are the contract (layers in, files
out, region, halo); all others are the step's arguments and keep their names as
options (``--prob_thresh``), one to one with ``args`` in the pipeline YAML.

Exit codes: 0 done, 2 wrong usage, 65 bad data, 66 input missing, 70 our bug, 75 try
again. For 2, 65, 66 and 75 one line on stderr says what, where and how to mend it.
Beside its outputs each run leaves a ``….provenance.json``.
"""

from __future__ import annotations

import copy
import inspect
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from cytoloom import __version__, provenance
from cytoloom.errors import FULL, CytoloomError, InputMissing

T = TypeVar("T")
log = logging.getLogger("cytoloom")


@dataclass(frozen=True)
class Contract:
    """Marks a parameter as part of the contract between stages, not of a step's arguments."""

    role: str  # "input", "output" or "control"


def _input(what: str) -> Any:
    return typer.Option(help=f"{what}: a path, or a quoted glob of its parts")


def _output(what: str) -> Any:
    return typer.Option(help=f"{what} to write")


_IN, _OUT, _CONTROL = Contract("input"), Contract("output"), Contract("control")
_EACH = "; once per channel, in order"

Image = Annotated[str, _IN, _input("image layer")]
Images = Annotated[list[str], _IN, _input(f"image layer{_EACH}")]
Label = Annotated[str, _IN, _input("label layer")]
Labels = Annotated[list[str], _IN, _input(f"label layer{_EACH}")]
Table = Annotated[str, _IN, _input("table")]
Tables = Annotated[list[str], _IN, _input(f"table{_EACH}")]
Statistics = Annotated[str, _IN, _input("histograms of the image")]
StatisticsEach = Annotated[list[str], _IN, _input(f"histograms of the image{_EACH}")]
InputFile = Annotated[str, _IN, _input("input")]
InputFiles = Annotated[list[str], _IN, _input("input; may be repeated")]

OutImage = Annotated[Path, _OUT, _output("image part")]
OutLabel = Annotated[Path, _OUT, _output("label part")]
OutTable = Annotated[Path, _OUT, _output("table (Parquet)")]
OutStatistics = Annotated[Path | None, _OUT, _output("histograms of the image part (Parquet)")]
OutNetwork = Annotated[Path | None, _OUT, _output("networks (GraphML)")]
OutFile = Annotated[Path, _OUT, _output("file or folder")]

RegionText = Annotated[
    str | None,
    _CONTROL,
    typer.Option(help="what to write, e.g. t=0:50,y=0:1200,x=0:1200; default: all"),
]
Halo = Annotated[
    int, _CONTROL, typer.Option(min=0, help="pixels to read beyond the region in y, x (and z)")
]
Channel = Annotated[str | None, _CONTROL, typer.Option(help="name of the new channel")]
Channels = Annotated[
    list[str] | None, _CONTROL, typer.Option(help="names of the new channels, in order")
]
Partial = Annotated[
    bool, _CONTROL, typer.Option("--partial", help="leave out layers of which no file is there")
]
Cores = Annotated[int, _CONTROL, typer.Option(min=1, help="processor cores to use")]


def contract_of(annotation: Any) -> Contract | None:
    """Return the contract mark of an annotation, or None for an argument of the step."""
    if get_origin(annotation) is Annotated:
        return next((a for a in get_args(annotation)[1:] if isinstance(a, Contract)), None)
    return None


def parameters(main: Callable[..., None]) -> dict[str, inspect.Parameter]:
    """Return ``main``'s parameters with their annotations resolved."""
    hints = get_type_hints(main, include_extras=True)
    return {
        name: parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(main).parameters.items()
    }


def is_contract(parameter: inspect.Parameter) -> bool:
    """Tell a contract option from an argument of the step."""
    return contract_of(parameter.annotation) is not None


def run(main: Callable[..., None]) -> None:
    """Run ``main`` as the command of this executable and exit with its code."""
    name = Path(sys.argv[0]).stem
    try:
        code = _command(main, name)(standalone_mode=False)
    except typer.Exit as error:
        code = error.exit_code
    except CytoloomError as error:
        code = _fail(name, str(error), error.exit_code)
    except OSError as error:
        code = _os_error(name, error)
    except MemoryError:
        code = _fail(name, "out of memory: give the task more memory, or smaller regions", 75)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if hasattr(error, "format_message"):  # click's usage errors
            code = _fail(name, f"{error.format_message()} (see {name}.py --help)", 2)
        else:
            raise_bug(name)
            code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: libraries that die in mid-read complain of their threads at a normal exit.
    os._exit(code if isinstance(code, int) else 0)


def raise_bug(name: str) -> None:
    """Print the traceback of the current exception: only our own bugs get one."""
    import traceback

    traceback.print_exc()
    _fail(name, "this is a bug in Cytoloom; please report it with the lines above", 70)


def _fail(name: str, message: str, code: int) -> int:
    for line in message.splitlines():
        print(f"{name}: {' '.join(line.split())}", file=sys.stderr)
    return code


def _os_error(name: str, error: OSError) -> int:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in FULL:
        return _fail(name, f"{where}the disk is full (or over quota): make room and resume", 75)
    if isinstance(error, FileNotFoundError):
        return _fail(name, f"{where}no such file or folder", InputMissing.exit_code)
    if isinstance(error, PermissionError | IsADirectoryError | NotADirectoryError):
        return _fail(name, f"{where}{error.strerror}", 65)
    raise_bug(name)
    return 70


def _command(main: Callable[..., None], name: str) -> Any:
    import typer.main

    declared = parameters(main)
    extra = {
        "verbose": inspect.Parameter(
            "verbose",
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option("-v", "--verbose", help="log more")],
        ),
        "version": inspect.Parameter(
            "version",
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[
                bool,
                typer.Option(
                    "--version", callback=_print_version, is_eager=True, help="print the version"
                ),
            ],
        ),
    }

    def command(**values: Any) -> None:
        _set_up_logging(name, values["verbose"])
        given = {key: value for key, value in values.items() if key in declared}
        roles = {key: contract_of(p.annotation) for key, p in declared.items()}
        with provenance.recording(name, given, roles):
            main(**given)

    merged = {key: _with_option_name(p) for key, p in declared.items()} | {
        key: p for key, p in extra.items() if key not in declared
    }
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in merged.values()]
    )
    command.__annotations__ = {key: p.annotation for key, p in merged.items()}
    command.__doc__ = (main.__doc__ or "").split("\n    Parameters\n")[0]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name=name)(command)
    return typer.main.get_command(app)


def _with_option_name(parameter: inspect.Parameter) -> inspect.Parameter:
    """Give an argument of the step an option of exactly its own name."""
    base, *marks = get_args(parameter.annotation) or (parameter.annotation,)
    option = next((copy.copy(m) for m in marks if hasattr(m, "param_decls")), typer.Option())
    if not is_contract(parameter) and not option.param_decls:
        flag = base is bool
        option.param_decls = (
            (f"--{parameter.name}/--no_{parameter.name}",) if flag else (f"--{parameter.name}",)
        )
    return parameter.replace(annotation=Annotated[base, option])


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _set_up_logging(name: str, verbose: bool) -> None:
    logging.basicConfig(
        format=f"{name}: %(message)s", level=logging.WARNING, stream=sys.stderr, force=True
    )
    log.setLevel(logging.DEBUG if verbose else logging.INFO)


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` with a progress bar on a terminal and a log line every 10 s elsewhere."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=what, total=total, leave=False)
        return
    last = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last > 10:
            last = time.monotonic()
            log.info("%s: %d of %s", what, count, total if total is not None else "?")
