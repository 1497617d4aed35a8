"""The view command: results in the browser, or in napari."""

import webbrowser
from collections.abc import Sequence
from pathlib import Path

from . import PROJECT, install
from .host import INPUT_MISSING, USAGE, Failure

VIEW_TEXT = """\
usage: ./cytoloom view RESULTS
       ./cytoloom view RESULTS --napari [--position NAME]

Opens the report of a run in the browser. With --napari: a position with traces in napari,
where cells are flagged as good or bad by a key (docs/traces.md); its environment (1.4 GB)
is made first.
"""


def main(words: Sequence[str]) -> int:
    """``./cytoloom view``."""
    if not words or any(word in ("-h", "--help") for word in words):
        print(VIEW_TEXT, end="")
        return 0 if words else USAGE
    rest = [word for word in words if word != "--napari"]
    if "--napari" in words:
        from .commands import execute, in_environment

        folder = install.ensure("napari")
        program = PROJECT / "bin" / "view_napari.py"
        return execute([folder / "bin" / "python", program, *rest], in_environment(folder))
    if len(rest) != 1 or rest[0].startswith("-"):
        raise Failure(
            f"one folder of results is needed, not {' '.join(rest)!r} (view --help)", USAGE
        )
    report = Path(rest[0]) / "report.html"
    if not report.is_file():
        raise Failure(
            f"no report at {report}: is this the folder of results of a run?", INPUT_MISSING
        )
    print(report.absolute(), flush=True)
    webbrowser.open(report.absolute().as_uri())
    return 0
