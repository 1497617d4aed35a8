#!/usr/bin/env python3
"""Report: one self-contained HTML page of a run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cytoloom import cli
from cytoloom.files import writing


def main(
    run: Annotated[Path, typer.Option(help="description of the run (JSON)")],
    inputs: Annotated[Path, typer.Option(help="folder of stores, tables and provenance")],
    out_report: cli.OutFile,
    out_summary: cli.OutFile,
) -> None:
    """Write the report and the summary of a run."""
    described = json.loads(run.read_text())
    with writing(out_report) as path:
        path.write_text(f"<html><body><h1>{described['pipeline']}</h1></body></html>")
    with writing(out_summary) as path:
        path.write_text(json.dumps({"files": len(list(inputs.iterdir()))}))


if __name__ == "__main__":
    cli.run(main)
