"""What was there when a run began: software, models, input and parameters, as entities.

Input and models are referred to where they lie (``file:``), never copied. Of very many
inputs only the list of checksums is named: it is whole in any case.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cytoloom.crate.graph import Graph, Reference, local, reference
from cytoloom.crate.records import Work

MOST = 1000  # inputs that have an entity each
TYPES = {"bool": "Boolean", "int": "Integer", "float": "Float", "text": "Text", "choice": "Text"}
KINDS = {
    ".parquet": "application/vnd.apache.parquet", ".csv": "text/csv", ".json": "application/json",
    ".html": "text/html", ".png": "image/png", ".tif": "image/tiff", ".tiff": "image/tiff",
    ".yaml": "application/yaml", ".yml": "application/yaml", ".md": "text/markdown",
    ".xml": "application/xml", ".jsonl": "application/jsonl", ".bib": "application/x-bibtex",
    ".graphml": "application/graphml+xml", ".txt": "text/plain", ".sha256": "text/plain",
    ".nf": "text/plain",
}  # fmt: skip


def encoding(path: str) -> str:
    """Return the media type of a file by its ending."""
    return KINDS.get(Path(path).suffix.lower(), "application/octet-stream")


def file_entity(graph: Graph, identifier: str, about: Mapping[str, Any], **more: Any) -> Reference:
    """Add a file or folder that is known by size and SHA-256."""
    name = Path(str(about["path"])).name
    more = {"name": name, "contentSize": str(about["size"]), **more}
    if about.get("folder"):
        value = graph.add(
            f"#sha256-{about['sha256']}", "PropertyValue", propertyID="sha256",
            name="SHA-256 of the list of checksums and names of the folder's files",
            value=about["sha256"],
        )  # fmt: skip
        return graph.add(identifier, "Dataset", identifier=value, **more)
    more.setdefault("encodingFormat", encoding(name))
    return graph.add(identifier, "File", sha256=about["sha256"], **more)


def software(graph: Graph, run: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Add Cytoloom, Nextflow, Java, and each tool family with its main packages."""
    engine = facts["engine"]
    commit = facts.get("commit")
    graph.add(
        "#cytoloom", "SoftwareApplication", name="Cytoloom", softwareVersion=run["version"],
        description="Raw microscope files into cells, tracks, contacts and counts"
        + (f"; commit {commit}" if commit else ""),
        license=reference("https://spdx.org/licenses/BSD-3-Clause"),
    )  # fmt: skip
    graph.add(
        "https://spdx.org/licenses/BSD-3-Clause", "CreativeWork",
        name='BSD 3-Clause "New" or "Revised" License',
    )  # fmt: skip
    graph.add(
        "#nextflow", "SoftwareApplication", name="Nextflow", url="https://www.nextflow.io/",
        softwareVersion=engine.get("nextflow") or "unknown",
        softwareRequirements=reference("#java"),
    )  # fmt: skip
    graph.add(
        "#java", "SoftwareApplication", name="Java",
        softwareVersion=engine.get("java") or "unknown",
    )  # fmt: skip
    for name, family in facts["families"].items():
        graph.add(
            f"#family-{name}", "SoftwareApplication", name=f"tool family {name}",
            softwareVersion=family["environment"].removeprefix(f"{name}-"),
            description="Python environment made from a lock file; all packages are in "
            "pipeline_info/versions.yml",
            softwareRequirements=[
                graph.add(
                    f"#package-{package}-{family['packages'][package]}", "SoftwareApplication",
                    name=package, softwareVersion=family["packages"][package],
                )
                for package in family["main"] if package in family["packages"]
            ],
        )  # fmt: skip
        if image := engine["found_images"].get(name):
            graph.add(
                f"#image-{name}", "ContainerImage", name=Path(image["path"]).stem,
                additionalType=reference("https://w3id.org/ro/terms/workflow-run#SIFImage"),
                sha256=image["sha256"],
            )  # fmt: skip


def models(graph: Graph, facts: Mapping[str, Any]) -> dict[str, Reference]:
    """Add the models of all steps; return them by the slug of the step."""
    found = {}
    for step in facts["steps"]:
        if (model := step["model"]) is None:
            continue
        if model["path"] is None:  # a coordinate of Maven
            found[step["slug"]] = graph.add(
                f"#jar-{model['name']}", "CreativeWork", name=model["name"]
            )
            continue
        identifier = local(model["path"], folder=model["folder"])
        found[step["slug"]] = file_entity(
            graph, identifier, model, name=model["name"], description=model["description"],
            license=model["licence"], url=model["url"],
        )  # fmt: skip
        if model["folder"]:
            parts = [file_entity(graph, local(file["path"]), file) for file in model["files"]]
            graph.extend(identifier, "hasPart", parts)
    return found


def inputs(graph: Graph, facts: Mapping[str, Any], checksums: Reference) -> list[Reference]:
    """Add the run's input and a formal parameter for each channel; return the data."""
    if len(facts["inputs"]) > MOST:
        return [checksums]
    found = []
    for one in facts["inputs"]:
        few, many = one["positions"][:5], len(one["positions"])
        where = ", ".join(few) + (f" and {many - len(few)} more" if many > len(few) else "")
        what = f"{one['kind']} of channel {one['channel']}" if one["channel"] else "file of a step"
        identifier = local(one["path"], folder=one["folder"])
        found.append(
            file_entity(
                graph,
                identifier,
                one,
                description=f"{what}{f', position {where}' if where else ''}",
            )
        )
        kind = "Dataset" if one["folder"] else "File"
        name = one["channel"] or "files"
        parameter = formal(graph, f"#input-{one['kind']}-{name}", name, kind, what)
        link(graph, parameter, found[-1])
    return list({one["@id"]: one for one in found}.values())


def formal(graph: Graph, identifier: str, name: str, kind: str, words: str = "") -> Reference:
    """Add a formal parameter, and name it as one of the workflow's or of a tool's."""
    return graph.add(
        _plain(identifier), "FormalParameter", name=name, additionalType=kind, description=words,
        conformsTo=reference("https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"),
    )  # fmt: skip


def link(graph: Graph, parameter: Reference, example: Reference) -> None:
    """Say that data or a value are an example of a formal parameter."""
    graph.extend(parameter["@id"], "workExample", [example])
    graph.extend(example["@id"], "exampleOfWork", [parameter])


def parameters(graph: Graph, given: Mapping[str, Any]) -> list[Reference]:
    """Add the parameters of Nextflow with their values; return the values."""
    found = []
    for name, value in given.items():
        parameter = formal(graph, f"#parameter-{name}", name, "Text", f"--{name}")
        found.append(graph.add(f"#value-{name}", "PropertyValue", name=name, value=text_of(value)))
        link(graph, parameter, found[-1])
    return found


def arguments(
    graph: Graph, work: Work, step: Mapping[str, Any] | None
) -> tuple[list[Reference], list[Reference]]:
    """Add what an executable was given in a step; return formal parameters and values."""
    formals, values = [], []
    declared = step["arguments"] if step else {}
    for name, used in sorted(work.arguments.items()):
        about = declared.get(name, {})
        kind = TYPES.get(about.get("kind", "text"), "Text")
        used = work.resolved.get(name, used) if used == [None] else used
        parameter = formal(
            graph, f"#{work.executable}-{name}", name, kind, about.get("help") or name
        )
        value = graph.add(
            _plain(f"#{work.step}-{work.executable}-{name}"), "PropertyValue", name=name,
            value=[text_of(one) for one in used],
        )  # fmt: skip
        link(graph, parameter, value)
        formals.append(parameter)
        values.append(value)
    return formals, values


def text_of(value: Any) -> str:
    """Return a value as text: JSON, but for text itself."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def usage(graph: Graph, work: Work) -> Iterable[Reference]:
    """Yield what the tasks of one executable in one step took."""
    base = f"#{work.step}-{work.executable}"
    for name, unit, value in (
        ("tasks", "C62", str(work.tasks)),
        ("seconds of all tasks", "SEC", f"{work.seconds:.1f}"),
        ("peak memory", "4L", f"{work.peak_mb:.0f}"),
    ):
        key = name.split()[0]
        yield graph.add(
            f"{base}-usage-{key}", "PropertyValue", name=name, propertyID=key, value=value,
            unitCode=unit,
        )  # fmt: skip


def _plain(identifier: str) -> str:
    from urllib.parse import quote

    return "#" + quote(identifier.removeprefix("#"), safe="")
