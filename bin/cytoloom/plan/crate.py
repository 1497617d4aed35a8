"""The last step of a run: what describes it to others (crate, methods, versions, digests)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cytoloom.files import writing
from cytoloom.plan.ends import Code, assets_digest, core_job
from cytoloom.plan.jobs import Command, PlannedStep
from cytoloom.provenance import provenance_name

ENGINE = "pipeline_info/engine.json"
CRATE = {
    "crate": "ro-crate-metadata.json",
    "methods": "methods.md",
    "references": "references.bib",
    "versions": "pipeline_info/versions.yml",
    "parameters": "pipeline_info/parameters.yml",
    "checksums": "pipeline_info/inputs.sha256",
    "workflow": "pipeline_info/main.nf",
    "pipeline": "pipeline_info/pipeline.yaml",
}
CONFIG = "processing_config.yaml"  # of PyAMA, where a run was given one


def crate_step(
    steps: Sequence[PlannedStep],
    code: Code,
    outdir: Path,
    run_file: Path,
    run_digest: str,
    facts: Mapping[str, Any] | None,
    config: bool = False,
) -> PlannedStep:
    """Return the step that describes the run to others: crate, methods, versions.

    Parameters
    ----------
    steps
        All other steps; the last of them joined the provenance of the tasks before it.
    outdir
        Where Nextflow writes what it says of itself.
    facts
        What ``facts`` found, to be written beside the description of the run; None: nothing
        is written (a dry run).
    config
        Whether the run was given PyAMA's configuration.
    """
    jobs = [job for step in steps for phase in step.phases.values() for job in phase]
    results = {path: name for job in jobs for name, path in job.publish.items()}
    last = provenance_name(jobs[-1].outputs)
    text = json.dumps({**(facts or {}), "results": results}, indent=1, ensure_ascii=False)
    where = run_file.with_name(run_file.name.removesuffix(".run.json") + ".facts.json")
    if facts is not None and run_file.is_absolute():
        with writing(where) as temporary:
            temporary.write_text(text, encoding="utf-8")
    command = Command("deliver_crate").option("run", str(run_file)).option("facts", str(where))
    command.option("engine", str(outdir.absolute() / ENGINE)).option("inputs", "in")
    made = {**CRATE, "config": CONFIG} if config else CRATE
    publish = {Path(path).name: path for path in made.values()}
    for role, path in made.items():
        command.output(role, Path(path).name)
    step = PlannedStep("crate", "Crate", "delivery", "CRATE")
    also = f"citations {assets_digest('citations.yaml')} run {run_digest} facts {_short(text)}"
    files = [*results.values(), last]
    step.add(
        "core",
        core_job(
            "crate", command, code, files, publish, also=also, publish=publish, reads_engine=True
        ),
    )
    return step


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
