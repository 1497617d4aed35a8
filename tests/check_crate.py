"""Hold the crate in a folder against its profiles; prints the problems as JSON.

Runs in the validator's own environment (containers/launcher/rocrate), offline: the contexts
that a crate names are served from here. RO-Crate's is that of the ``rocrate`` library, with
the terms that changed since version 1.1 as they were; terms that 1.1 lacked are listed, so
that a crate which uses one fails.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

from rocrate.rocrate import ROCrate
from rocrate_validator import models, services
from rocrate_validator.utils import document_loader, http

CRATE = "https://w3id.org/ro/crate/1.1/context"
RUN = "https://w3id.org/ro/terms/workflow-run/context"
BIOSCHEMAS = {
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
}
LATER = ("sha256", "localPath", "Profile", "RepositoryFile")
TERMS = ("containerImage", "ContainerImage", "SIFImage", "registry", "tag", "sha256",
         "environment", "resourceUsage", "connection", "ParameterConnection",
         "sourceParameter", "targetParameter")  # fmt: skip
PROFILES = ("ro-crate-1.1", "workflow-ro-crate-1.0", "process-run-crate-0.5",
            "workflow-run-crate-0.5", "provenance-run-crate-0.5")  # fmt: skip


def contexts():
    text = files("rocrate").joinpath("data/ro-crate.jsonld").read_text(encoding="utf-8")
    document = json.loads(text)
    document["@context"] |= BIOSCHEMAS
    for term in LATER:
        document["@context"].pop(term, None)
    base = "https://w3id.org/ro/terms/workflow-run#"
    return {CRATE: document, RUN: {"@context": {term: base + term for term in TERMS}}}


def serve(known):
    """Answer requests for contexts from ``known``; everything else is not to be had."""

    class Answer:
        def __init__(self, content):
            self.status_code = 200
            self.headers = {"Content-Type": "application/ld+json"}
            self.text = json.dumps(content)
            self.content = self.text.encode()

        def json(self):
            return json.loads(self.text)

    def get(self, url, *_, **__):
        if url not in known:
            raise RuntimeError(f"{url} is not to be had offline")
        return Answer(known[url])

    http.HttpRequester.get = get
    document_loader._fetch_json_ld = lambda url: known[url]  # noqa: SLF001 - no other way offline


def main():
    folder, severity = Path(sys.argv[1]).absolute(), sys.argv[2]
    serve(contexts())
    problems, checked = [], {}
    for profile in PROFILES:
        settings = services.ValidationSettings(
            rocrate_uri=str(folder), profile_identifier=profile, abort_on_first=False,
            requirement_severity=models.Severity[severity], enable_profile_inheritance=False,
            offline=True, cache_path=Path(sys.argv[3]),
        )  # fmt: skip
        result = services.validate(settings)
        checked[profile] = len(result.executed_checks)
        problems += [
            {"profile": profile, "check": issue.check.identifier, "message": issue.message,
             "entity": str(issue.violatingEntity)}
            for issue in result.get_issues()
        ]  # fmt: skip
    crate = ROCrate(folder)
    entity = crate.mainEntity
    seen = {"main": entity.id, "entities": len(crate.get_entities()), "name": crate.name}
    print(json.dumps({"problems": problems, "checked": checked, "seen": seen}))


main()
