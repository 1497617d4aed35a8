"""What was done: the workflow, its run, and one action per step and executable.

Follows RO-Crate 1.1 and, of Workflow Run RO-Crate, the profiles Process, Workflow and
Provenance Run Crate. There is one action per executable and step, however many tasks it
had: each task's own record is a line of ``pipeline_info/provenance.jsonl``.

References
----------
Leo et al., PLOS ONE 19, e0309210 (2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytoloom.crate import about
from cytoloom.crate.graph import Graph, Reference, reference, relative
from cytoloom.crate.records import Work

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
NEXTFLOW = "https://w3id.org/workflowhub/workflow-ro-crate#nextflow"
GRAMMAR = "#pipeline-grammar"
WORKFLOW = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
COMPLETED = "http://schema.org/CompletedActionStatus"
FAILED = "http://schema.org/FailedActionStatus"
NO_LICENCE = (
    "No licence has been chosen for these results. Whoever publishes them replaces this entity "
    "by the licence of the data."
)
ON_HOST = ("deliver_unite",)  # without a container
ENDS = {
    "ingest": "bring the images in as OME-Zarr", "unite": "unite the parts of each position",
    "pyramid": "make smaller copies of the images", "tables": "join the tables of all positions",
    "tracks": "export the tracks", "report": "write the report", "sweep": "rank the points",
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A file or folder of the output folder; ``size`` and ``sha256`` are of files."""

    path: str
    folder: bool
    size: int | None = None
    sha256: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Made:
    """All that a crate is made from.

    Attributes
    ----------
    run, facts
        The description of the run, and its facts (see ``plan.facts``).
    works
        The provenance of all tasks, by step and executable.
    results
        What lies in the output folder.
    ended
        When the crate was written (ISO 8601).
    failed
        Why the run failed, line by line; empty where it did not.
    """

    run: Mapping[str, Any]
    facts: Mapping[str, Any]
    works: Sequence[Work]
    results: Sequence[Result]
    ended: str
    failed: Sequence[str] = ()


def build(made: Made) -> dict[str, Any]:
    """Return the crate of a run as JSON-LD."""
    graph = Graph()
    _frame(graph, made)
    about.software(graph, made.run, made.facts)
    results = _results(graph, made)
    models = about.models(graph, made.facts)
    data = about.inputs(graph, made.facts, reference("pipeline_info/inputs.sha256"))
    engine = made.facts["engine"]
    given = {"profile": engine.get("profile") or "standard", **engine.get("parameters", {})}
    values = about.parameters(graph, given)
    actions = _steps(graph, made, models, results, data)
    _run(graph, made, actions, [*data, *models.values()], values, results)
    return graph.document()


def _frame(graph: Graph, made: Made) -> None:
    """Add the descriptor, the root, the profiles and who ran it."""
    run = made.run
    graph.add(
        "ro-crate-metadata.json", "CreativeWork", about=reference("./"),
        conformsTo=[reference("https://w3id.org/ro/crate/1.1"),
                    reference("https://w3id.org/workflowhub/workflow-ro-crate/1.0")],
    )  # fmt: skip
    pipeline = Path(run["pipeline"]).name
    channels = ", ".join(run["channels"])
    graph.add(
        "./", "Dataset", name=run.get("description") or f"Analysis by {pipeline}",
        description=f"Results of the pipeline {pipeline} by Cytoloom {run['version']}: "
        f"{len(run['positions'])} position(s), channels {channels}."
        + " The run failed: not all results are here." * bool(made.failed),
        datePublished=made.ended, license=reference("#licence"),
        conformsTo=[reference(profile) for profile in PROFILES],
        mainEntity=reference("pipeline_info/main.nf"),
    )  # fmt: skip
    graph.add("#licence", "CreativeWork", name="Not chosen yet", description=NO_LICENCE)
    for profile, name in PROFILES.items():
        graph.add(profile, "CreativeWork", name=name, version=profile.rsplit("/", 1)[1])
    if user := made.facts["engine"].get("user"):
        graph.add("#agent", "Person", name=user, description="the user who started the run")
        graph.entities["./"]["author"] = reference("#agent")


def _results(graph: Graph, made: Made) -> list[Reference]:
    """Add what lies in the output folder; return those at its top or of its main folders."""
    found = []
    for result in made.results:
        identifier = relative(result.path + ("/" if result.folder else ""))
        name = Path(result.path).name
        if result.folder:
            value = result.digest and graph.add(
                f"#blake2b-{result.digest}", "PropertyValue", propertyID="BLAKE2b-160",
                name="Cytoloom's digest of the folder's content", value=result.digest,
            )  # fmt: skip
            graph.add(identifier, "Dataset", name=name, identifier=value or None)
        else:
            size = None if result.size is None else str(result.size)
            graph.add(
                identifier, "File", name=name, contentSize=size, sha256=result.sha256,
                encodingFormat=about.encoding(name),
            )  # fmt: skip
        found.append(reference(identifier))
    return found


def _steps(
    graph: Graph,
    made: Made,
    models: Mapping[str, Reference],
    results: Sequence[Reference],
    data: Sequence[Reference],
) -> dict[str, list[Reference]]:
    """Add one action per step and executable; return them by the slug of the step."""
    known = {step["slug"]: step for step in made.facts["steps"]}
    tags = {step["slug"]: step["tag"] for step in made.run["steps"]}
    actions: dict[str, list[Reference]] = {}
    for work in made.works:
        step, tag = known.get(work.step), tags.get(work.step, work.step)
        words = step["description"] if step else ENDS.get(work.step, work.step)
        families = step["families"] if step else ["core"]
        formals, values = about.arguments(graph, work, step)
        graph.add(
            f"#{work.executable}", "SoftwareApplication", name=f"{work.executable}.py",
            description=words, softwareVersion=work.facts.get("version", [made.run["version"]])[0],
            softwareRequirements=[
                reference("#cytoloom"), *(reference(f"#family-{name}") for name in families)
            ],
        )  # fmt: skip
        graph.extend(f"#{work.executable}", "input", formals)
        own = [
            result for result in results
            if result["@id"].startswith((f"tables/{work.step}.", f"tracks/{work.step}."))
        ]  # fmt: skip
        taken = [models[work.step]] if work.step in models else []
        images = [
            reference(f"#image-{name}") for name in families
            if f"#image-{name}" in graph.entities and work.executable not in ON_HOST
        ]  # fmt: skip
        action = graph.add(
            f"#run-{work.step}-{work.executable}", "CreateAction",
            name=f"{tag}: {work.executable}.py",
            description="; on ".join([words, *work.facts.get("device", [])]),
            instrument=reference(f"#{work.executable}"), agent=_agent(graph),
            startTime=work.started, endTime=work.ended, actionStatus=COMPLETED,
            object=[*values, *taken, *(data if work.step == "ingest" else [])],
            result=own or [reference("images/")] * ("images/" in graph.entities),
            containerImage=images, resourceUsage=list(about.usage(graph, work)),
        )  # fmt: skip
        actions.setdefault(work.step, []).append(action)
    return actions


def _agent(graph: Graph) -> Reference | None:
    return reference("#agent") if "#agent" in graph.entities else None


def _run(
    graph: Graph,
    made: Made,
    actions: Mapping[str, list[Reference]],
    data: Sequence[Reference],
    values: Sequence[Reference],
    results: Sequence[Reference],
) -> None:
    """Add the workflow with its steps, and its run."""
    tags = {step["slug"]: step["tag"] for step in made.run["steps"]}
    steps, controls = [], []
    for position, (slug, done) in enumerate(actions.items(), start=1):
        tools = [graph.entities[action["@id"]]["instrument"] for action in done]
        steps.append(
            graph.add(
                f"#step-{slug}",
                "HowToStep",
                name=tags.get(slug, slug),
                position=str(position),
                workExample=list({tool["@id"]: tool for tool in tools}.values()),
            )
        )
        controls.append(
            graph.add(
                f"#control-{slug}",
                "ControlAction",
                name=f"orchestrate {tags.get(slug, slug)}",
                instrument=steps[-1],
                object=done,
            )
        )
    _workflows(graph, made, actions, steps, _outputs(graph, results))
    started = min((work.started for work in made.works if work.started), default=None)
    pipeline = reference("pipeline_info/pipeline.yaml")
    about.link(
        graph, about.formal(graph, "#pipeline", "pipeline", "File", "the pipeline YAML"), pipeline
    )
    whole = graph.add(
        "#run", "CreateAction", name=f"Run of {Path(made.run['pipeline']).name}",
        description="all tasks of the run; of a resumed run also those that were kept",
        instrument=reference("pipeline_info/main.nf"), agent=_agent(graph),
        startTime=started, endTime=made.ended,
        actionStatus=FAILED if made.failed else COMPLETED, error="\n".join(made.failed),
        object=[pipeline, *data, *values], result=list(results),
    )  # fmt: skip
    if controls:
        graph.add(
            "#orchestration", "OrganizeAction", name=f"Nextflow {_version(made)}",
            instrument=reference("#nextflow"), agent=_agent(graph), object=controls, result=whole,
            startTime=started, endTime=made.ended,
        )  # fmt: skip
    local = [one for one in data if one["@id"].startswith("file:")]
    graph.extend("./", "hasPart", [*results, *local])
    every = [action for done in actions.values() for action in done]
    graph.extend("./", "mentions", [whole, *every])


def _outputs(graph: Graph, results: Sequence[Reference]) -> list[Reference]:
    """Add a formal parameter for each file and folder at the top of the output folder."""
    found = []
    for result in results:
        name = result["@id"].rstrip("/")
        if "/" not in name:
            kind = "Dataset" if result["@id"].endswith("/") else "File"
            found.append(about.formal(graph, f"#output-{name}", name, kind, f"result {name}"))
            about.link(graph, found[-1], result)
    return found


def _workflows(
    graph: Graph,
    made: Made,
    actions: Mapping[str, list[Reference]],
    steps: Sequence[Reference],
    outputs: Sequence[Reference],
) -> None:
    tools = [graph.entities[a["@id"]]["instrument"] for done in actions.values() for a in done]
    tools = list({tool["@id"]: tool for tool in tools}.values())
    formals = [
        reference(one) for one, entity in graph.entities.items()
        if entity["@type"] == "FormalParameter"
        and one.startswith(("#input-", "#parameter-"))
    ]  # fmt: skip
    graph.add(
        NEXTFLOW, "ComputerLanguage", name="Nextflow", version=_version(made),
        identifier=reference("https://www.nextflow.io/"), url=reference("https://www.nextflow.io/"),
    )  # fmt: skip
    graph.add(
        GRAMMAR, "ComputerLanguage", name="Cytoloom's pipeline YAML (pyCyto's grammar)",
        version=made.run["version"],
    )  # fmt: skip
    for path, language, name in (
        ("pipeline_info/main.nf", NEXTFLOW, "Cytoloom's workflow (Nextflow)"),
        ("pipeline_info/pipeline.yaml", GRAMMAR, Path(made.run["pipeline"]).name),
    ):
        graph.add(path, WORKFLOW)
        graph.entities[path] |= {
            "@type": WORKFLOW, "name": name, "version": made.run["version"],
            "programmingLanguage": reference(language), "hasPart": tools, "step": list(steps),
            "conformsTo": reference(
                "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
            ),
        }  # fmt: skip
    own = {"license": reference("https://spdx.org/licenses/BSD-3-Clause"),
           "input": [reference("#pipeline"), *formals], "output": list(outputs)}  # fmt: skip
    graph.entities["pipeline_info/main.nf"] |= own


def _version(made: Made) -> str:
    return str(made.facts["engine"].get("nextflow") or "")
