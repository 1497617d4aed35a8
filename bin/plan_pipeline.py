#!/usr/bin/env python3
"""The plan: a pipeline YAML becomes a list of jobs, checked before anything is submitted."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from cytoloom import __version__, cli, run_lock
from cytoloom.code import code_digest
from cytoloom.environments import cache_folder, environment_name, image_name
from cytoloom.errors import BadData, UsageError
from cytoloom.plan.assemble import Plan, make_plan
from cytoloom.plan.describe import dry_run_text, preflight_text, run_description
from cytoloom.plan.plan_json import to_json
from cytoloom.plan.resources import beside
from cytoloom.plan.submissions import Site

NO_RESOURCES = Path("none")
PROJECT = Path(__file__).resolve().parents[1]
OUT = cli.Contract("control")


def parse_shape(text):
    """Return (T, Z, Y, X) from ``t=10,c=1,z=1,y=512,x=512``; an axis left out is 1."""
    sizes = {"t": 1, "c": 1, "z": 1, "y": 1, "x": 1}
    for term in text.split(","):
        axis, _, number = term.strip().partition("=")
        if axis not in sizes or not number.isdecimal() or int(number) < 1:
            raise UsageError(f"--assume_shape {text!r}: {term!r} is not axis=size (t, c, z, y, x)")
        sizes[axis] = int(number)
    return (sizes["t"], sizes["z"], sizes["y"], sizes["x"])


def find_resources(given, pipeline):
    """Return the resource YAML to use: the one given, else one beside the pipeline, else None."""
    if given is not None:
        return None if given == NO_RESOURCES else given
    found = beside(pipeline)
    if found:
        cli.log.info("resources: %s, found beside the pipeline (--resources none: without)", found)
    return found


def main(
    pipeline: Annotated[Path, OUT, typer.Option(help="pipeline YAML")],
    outdir: Annotated[Path | None, OUT, typer.Option(help="output folder")] = None,
    out: Annotated[Path | None, OUT, typer.Option(help="plan to write (JSON)")] = None,
    resources: Annotated[Path | None, OUT, typer.Option(help="resource YAML, or none")] = None,
    input: Annotated[str | None, OUT, typer.Option(help="sample sheet or files")] = None,  # noqa: A002 - the option's name
    until: Annotated[str | None, OUT, typer.Option("--until", help="last step, by tag")] = None,
    from_tag: Annotated[
        str | None, OUT, typer.Option("--from", "--from_tag", help="first step, by tag")
    ] = None,
    dry_run: Annotated[
        bool, OUT, typer.Option("--dry_run", help="print every task; submit nothing")
    ] = False,
    sweep: Annotated[
        Path | None, OUT, typer.Option(help="sweep YAML: a grid of arguments to compare")
    ] = None,
    assume_shape: Annotated[
        str | None,
        OUT,
        typer.Option("--assume_shape", help="shape of absent inputs in a dry run: t=,c=,z=,y=,x="),
    ] = None,
    verify_inputs: Annotated[
        bool, OUT, typer.Option("--verify_inputs", help="compute all digests of the input anew")
    ] = False,
    scheduler: Annotated[
        str | None, OUT, typer.Option(help="scheduler that tasks are submitted to: slurm")
    ] = None,
    partition: Annotated[str | None, OUT, typer.Option(help="partition of all tasks")] = None,
    gpu_partition: Annotated[
        str | None, OUT, typer.Option("--gpu_partition", help="partition of tasks on a GPU")
    ] = None,
    gpu_type: Annotated[
        str | None,
        OUT,
        typer.Option("--gpu_type", help="type of GPU, as the gres of SLURM names it"),
    ] = None,
    account: Annotated[str | None, OUT, typer.Option(help="account that pays")] = None,
    qos: Annotated[str | None, OUT, typer.Option(help="quality of service")] = None,
) -> None:
    """Check a pipeline and write its plan, or print it (--dry_run)."""
    shape = parse_shape(assume_shape) if assume_shape else None
    if not dry_run and out is None:
        raise UsageError("nothing to do: give --out or --dry_run")
    if outdir and not dry_run:
        run_lock.check(outdir)
    resources = find_resources(resources, pipeline)
    plan: Plan = make_plan(
        pipeline,
        outdir=outdir,
        resources=resources,
        input_=input,
        until=until,
        from_tag=from_tag,
        sweep=sweep,
        lenient=dry_run,
        assume_shape=shape,
        digest=not dry_run,
        verify=verify_inputs,
        cache=cache_folder() / "digests",
        code=lambda executable, family: code_digest(executable, family, PROJECT),
        run_file=out.absolute().with_suffix(".run.json") if out else None,
        describe=lambda built: run_description(built, __version__),
        scheduler=scheduler or ("slurm" if dry_run and resources else None),
    )
    for line in plan.warnings:
        cli.log.warning("warning: %s", line)
    if dry_run:
        site = Site(partition, gpu_partition, gpu_type, account, qos)
        print(dry_run_text(plan, site if scheduler or resources else None))
        return
    print(preflight_text(plan))
    if plan.total_jobs() == 0:
        raise BadData(f"{pipeline}: there is nothing to do")
    run_lock.check(plan.outdir)
    document = to_json(
        plan,
        lambda family: environment_name(family, PROJECT),
        lambda family: image_name(family, PROJECT),
        __version__,
        [PROJECT, *(cache_folder() / name for name in ("models", "fiji"))],
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.part")
    temporary.write_text(json.dumps(document, indent=1))
    os.replace(temporary, out)


if __name__ == "__main__":
    cli.run(main)
