#!/usr/bin/env python3
"""Crate: what describes a run to others, as a Workflow Run RO-Crate and in words for a paper."""

import csv
import datetime as dt
import json
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cytoloom import cli
from cytoloom.checksums import checksums, sha256_of
from cytoloom.crate import actions
from cytoloom.crate.actions import Made, Result
from cytoloom.crate.citations import bibtex, load_citations
from cytoloom.crate.methods import write_methods
from cytoloom.crate.records import Work, read_record, read_records
from cytoloom.errors import BadData, InputMissing
from cytoloom.files import writing
from cytoloom.locks import packages
from cytoloom.report.inputs import read_run

PROJECT = Path(__file__).resolve().parents[1]
MOST_FILES = 2000  # entries of one folder of results that are named one by one
JOINED, RECORD = "provenance.jsonl", ".provenance.json"
ITS_OWN = ".zarr", ".geff", ".ctc"  # folders that are one thing


def read_facts(path: Path) -> dict[str, Any]:
    """Read the facts of a run, which the plan wrote."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        _ = found["commit"], found["families"], found["inputs"], found["steps"], found["results"]
    except FileNotFoundError as error:
        raise InputMissing(f"{path}: no such file; the plan writes it") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadData(f"{path}: not the facts of a run ({error!r})") from error
    return dict(found)


def read_engine(path: Path, families: Mapping[str, Any]) -> dict[str, Any]:
    """Read what Nextflow said of itself, and find the images of the families where it used any."""
    try:
        engine = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadData(f"{path}: not what Nextflow says of itself ({error})") from error
    folder = engine.get("images")
    files = {
        name: Path(folder) / f"{family['image']}.sif"
        for name, family in families.items() if folder and family["image"]
    }  # fmt: skip
    engine["found_images"] = {
        name: checksums([file])[0].plain for name, file in files.items() if file.is_file()
    }
    return engine


def resolve(facts: Mapping[str, Any], works: list[Work]) -> None:
    """Add to the arguments of steps what those became that were left to the model or the data."""
    steps = {step["slug"]: step["arguments"] for step in facts["steps"]}
    for work in works:
        for name, values in work.resolved.items():
            argument = steps.get(work.step, {}).get(name)
            if argument and argument["value"] is None:
                argument["resolved"] = values


def python_of(works: list[Work]) -> str | None:
    """Return the version of Python of most tasks; uniting is left out, it runs on the host."""
    count: Counter[str] = Counter()
    for work in works:
        for python in work.facts.get("python", []):
            count[python] += work.tasks * (work.executable != "deliver_unite")
    return count.most_common(1)[0][0] if count else None


def versions(run: Mapping[str, Any], facts: Mapping[str, Any], works: list[Work]) -> dict[str, Any]:
    """Return the versions of all tools."""
    engine = facts["engine"]
    images = engine["found_images"]
    pythons = sorted({python for work in works for python in work.facts.get("python", [])})
    return {
        "cytoloom": {"version": run["version"], "commit": facts["commit"]},
        "nextflow": engine.get("nextflow"),
        "java": engine.get("java"),
        "python": pythons,
        "devices": sorted({d for work in works for d in work.facts.get("device", [])}),
        "families": {
            name: {
                "environment": family["environment"],
                **({"image": image} if (image := images.get(name)) else {}),
                "packages": family["packages"],
            }
            for name, family in facts["families"].items()
        },
    }


def parameters(run: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of Nextflow, and all arguments of all steps."""
    known = {step["slug"]: step for step in facts["steps"]}
    swept = run["sweep"]["axes"] if run.get("sweep") else []
    return {
        "run": dict(facts["engine"].get("parameters", {})),
        "profile": facts["engine"].get("profile"),
        "steps": [
            {
                "tag": step["tag"],
                "name": step["name"],
                "channels": step["channels"],
                "given": {n: a["value"] for n, a in known[step["slug"]]["arguments"].items()
                          if a["given"]},
                "default": {n: a["value"] for n, a in known[step["slug"]]["arguments"].items()
                            if not a["given"]},
                **({"resolved": became} if (became := {
                    name: one["resolved"]
                    for name, one in known[step["slug"]]["arguments"].items() if "resolved" in one
                }) else {}),
                **({"swept": found} if (found := {
                    axis["argument"]: axis["values"]
                    for axis in swept if axis["tag"] == step["tag"]
                }) else {}),
            }
            for step in run["steps"]
        ],
    }  # fmt: skip


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain values as YAML."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    with writing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        yaml.dump(content, file)


def find_results(
    published: Mapping[str, str], inputs: Path, digests: Mapping[str, str]
) -> Iterator[Result]:
    """Yield what lies in the output folder, from where the tasks left it.

    Of a folder with more than `MOST_FILES` entries only the folder is named.

    Parameters
    ----------
    published
        Path below the output folder: name in the folder ``inputs``.
    digests
        Digests of folders by name, as the tasks computed them.
    """
    published = {path: name for path, name in published.items() if (inputs / name).exists()}
    tops = Counter(path.split("/")[0] for path in published if "/" in path)
    tops.pop("pipeline_info", None)
    yield from (Result(top, True) for top in sorted(tops))
    for path, name in sorted(published.items()):
        here = inputs / name
        if tops[path.split("/")[0]] > MOST_FILES:
            continue
        if here.is_dir():
            yield Result(path, True, digest=digests.get(name))
            if not path.endswith(ITS_OWN):
                files = sorted(file for file in here.rglob("*") if file.is_file())
                for file in files[:MOST_FILES]:
                    yield _file(f"{path}/{file.relative_to(here)}", file)
        elif here.is_file():
            yield _file(path, here)


def _file(path: str, here: Path) -> Result:
    return Result(path, False, here.stat().st_size, sha256_of(here))


def slugs_of(run: Mapping[str, Any]) -> dict[str, str]:
    """Return the slug of each step by itself, and by its slug at each point of a sweep."""
    own = {step["tag"]: step["slug"] for step in run["steps"]}
    points = run["sweep"]["points"] if run.get("sweep") else []
    swept = {slug: own[tag] for point in points for tag, slug in point["slugs"].items()}
    return {slug: slug for slug in own.values()} | swept


def records_in(inputs: Path) -> Iterator[str]:
    """Yield the provenance of all tasks that ended before this one."""
    joined = inputs / JOINED
    if joined.is_file():
        with open(joined, encoding="utf-8") as lines:
            yield from lines
    yield from (read_record(path) for path in sorted(inputs.glob(f"*{RECORD}")))


def folder_digests(inputs: Path) -> dict[str, str]:
    """Return the digests of the outputs of delivery by name."""
    found = {}
    for line in records_in(inputs):
        record = json.loads(line)
        if str(record.get("executable", "")).startswith("deliver_"):
            found |= record.get("outputs", {})
    return found


def link_finished(trace: Path, inputs: Path, results: Container[str]) -> None:
    """Link results and provenance of the tasks that ended well by a trace into a folder.

    If the report was made, it has joined the provenance of all tasks before it.
    """
    with open(trace, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    found = {
        path.name: path
        for row in rows
        if row["status"] in ("COMPLETED", "CACHED")
        for path in Path(row["workdir"]).glob("out/*")
    }
    joined = JOINED in found
    for name, path in found.items():
        record = name.endswith(RECORD) and (not joined or name == JOINED + RECORD)
        if name in results or record:
            (inputs / name).symlink_to(path)


def main(
    run: Annotated[Path, typer.Option(help="description of the run, made by the plan (JSON)")],
    facts: Annotated[Path, typer.Option(help="facts of the run, made by the plan (JSON)")],
    engine: Annotated[Path, typer.Option(help="what Nextflow says of itself (JSON)")],
    inputs: Annotated[Path, typer.Option(help="folder of results and provenance")],
    out_crate: cli.OutFile,
    out_methods: cli.OutFile,
    out_references: cli.OutFile,
    out_versions: cli.OutFile,
    out_parameters: cli.OutFile,
    out_checksums: cli.OutFile,
    out_workflow: cli.OutFile,
    out_pipeline: cli.OutFile,
    out_config: cli.OutFile = None,  # type: ignore[assignment]
    failed: Annotated[
        Path | None, typer.Option(help="why the run failed, line by line (text)")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            help="of a run that failed: its trace; links to what it made are put into the "
            "folder inputs"
        ),
    ] = None,
) -> None:
    """Describe a run to others: RO-Crate, methods for a paper, versions, parameters, digests.

    The crate is RO-Crate 1.1 with the profiles Process, Workflow and Provenance Run Crate. It
    refers to the input where it lies. Times are those of the tasks that made the results. Of a
    run that failed there is no text for a paper.
    """
    about, found = read_run(run), read_facts(facts)
    reasons = failed.read_text(encoding="utf-8").splitlines() if failed else []
    if trace:
        link_finished(trace, inputs, set(found["results"].values()))
    found["engine"] = read_engine(engine, found["families"])
    works = read_records(records_in(inputs), slugs_of(about))
    resolve(found, works)
    python = python_of(works)
    for family in found["families"].values():
        family["packages"] = packages([tuple(pin) for pin in family["pins"]], python)
    with writing(out_workflow) as path:
        path.write_bytes((PROJECT / "main.nf").read_bytes())
    with writing(out_pipeline) as path:
        path.write_text(about["pipeline_text"], encoding="utf-8")
    if out_config:
        with writing(out_config) as path:
            path.write_text(about["processing_config"], encoding="utf-8")
    with writing(out_checksums) as path, open(path, "w", encoding="utf-8") as file:
        file.writelines(checksum_lines(found))
    known = load_citations()
    known["cytoloom"] = {**known["cytoloom"], "version": about["version"]}
    if not reasons:
        text, keys = write_methods(about, found, known)
        with writing(out_methods) as path:
            path.write_text(text, encoding="utf-8")
        with writing(out_references) as path:
            path.write_text(bibtex(keys, known), encoding="utf-8")
    write_yaml(out_versions, versions(about, found, works))
    write_yaml(out_parameters, parameters(about, found))
    own = {
        "methods.md": out_methods, "references.bib": out_references,
        "pipeline_info/versions.yml": out_versions,
        "pipeline_info/parameters.yml": out_parameters,
        "pipeline_info/inputs.sha256": out_checksums, "pipeline_info/main.nf": out_workflow,
        "pipeline_info/pipeline.yaml": out_pipeline,
        **({"processing_config.yaml": out_config} if out_config else {}),
    }  # fmt: skip
    results = [*find_results(found["results"], inputs, folder_digests(inputs))]
    results += [_file(path, here) for path, here in own.items() if here.exists()]
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    crate = actions.build(Made(about, found, works, results, now, reasons))
    with writing(out_crate) as path:
        path.write_text(json.dumps(crate, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def checksum_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line for each file of the input and of the models, as sha256sum writes them."""
    groups = [one["files"] for one in facts["inputs"]]
    groups += [step["model"]["files"] for step in facts["steps"] if step["model"]]
    files = {file["path"]: file["sha256"] for group in groups for file in group}
    for path, digest in sorted(files.items()):
        name = path.replace("\\", "\\\\").replace("\n", "\\n")
        mark = "" if name == path else "\\"  # a backslash first: the name is escaped
        yield f"{mark}{digest}  {name}\n"


if __name__ == "__main__":
    cli.run(main)
