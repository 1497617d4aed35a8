"""What the crate of a run says of it beside the description of the report.

Versions, digests of input and models, and for each step its family, all its arguments with
what they mean, and the text and citations of its row. Nothing here changes from run to run
where nothing has changed, since the task that writes the crate is hashed by it: when a task
ran is in the provenance of that task.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from cytoloom import jvm
from cytoloom.checksums import Checksum, checksums, files_in, tree_sha256
from cytoloom.environments import environment_name, image_name, imaged_families, lock_file
from cytoloom.errors import CytoloomError
from cytoloom.locks import named, pins
from cytoloom.models import PROJECT, find_model, known_models, record_of
from cytoloom.plan.arguments import Signatures
from cytoloom.plan.jobs import PlannedStep
from cytoloom.plan.model import Step
from cytoloom.plan.positions import PositionSource


def facts(
    steps: Sequence[Step],
    sources: Sequence[PositionSource],
    planned: Sequence[PlannedStep],
    model_of: Callable[[Step], Mapping[str, Any]],
    user_files: Iterable[str],
    *,
    cache: Path,
    verify: bool,
) -> dict[str, Any]:
    """Return the facts of a run.

    Parameters
    ----------
    planned
        The same steps with their tasks, those before ``--from`` included.
    model_of
        Gives the argument that names a step's model, made absolute.
    user_files
        Other files of the user's that steps read.
    """

    def digests(paths: Iterable[Path]) -> list[Checksum]:
        return checksums(paths, cache=cache, verify=verify)

    families = {p.tag: sorted({j.family for jobs in p.phases.values() for j in jobs})
                for p in planned}  # fmt: skip
    used = sorted({"core", *(name for names in families.values() for name in names)})
    return {
        "commit": commit(PROJECT),
        "families": {name: _family(name) for name in used},
        "inputs": _inputs(sources, user_files, digests),
        "steps": [
            {
                "slug": step.slug,
                "description": step.row.description,
                "methods": step.row.methods,
                "cite": list(step.row.cite),
                "families": families.get(step.slug, []),
                "arguments": _arguments(step, model_of(step)),
                "model": _model(step, model_of(step), digests),
            }
            for step in steps
        ],
    }


def commit(project: Path) -> str | None:
    """Return the commit of the project's checkout, with a + where files differ from it."""
    if not (project / ".git").exists():
        return None
    head = _git(project, "rev-parse", "HEAD")
    changed = _git(project, "status", "--porcelain", "-uno")
    return f"{head}+" if head and changed else head


def _git(project: Path, *words: str) -> str | None:
    """Return what git says, or None where it is not there or fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *words], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _family(name: str) -> dict[str, Any]:
    wanted = lock_file(name, PROJECT).with_suffix(".in")
    return {
        "environment": environment_name(name, PROJECT),
        "image": image_name(name, PROJECT) if name in imaged_families(PROJECT) else None,
        "pins": pins(lock_file(name, PROJECT)),
        "main": named(wanted) if wanted.is_file() else [],
    }


def _inputs(
    sources: Sequence[PositionSource], user_files: Iterable[str], digests: Any
) -> list[dict[str, Any]]:
    """Return every input of the run with the checksums of its files, each path once."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for source in sources:
        for opened in source.inputs:
            given = opened.given
            for path in opened.source.files if opened.source else (Path(given.path),):
                key = (given.channel, _absolute(path))
                entry = found.setdefault(key, {"channel": given.channel, "kind": given.kind,
                                               "path": key[1], "positions": []})  # fmt: skip
                if source.name not in entry["positions"]:
                    entry["positions"].append(source.name)
    for name in map(_absolute, user_files):
        found.setdefault(("", name), {"channel": "", "kind": "file", "path": name, "positions": []})
    known = {c.path: c for c in digests(Path(e["path"]) for e in found.values())}
    for entry in found.values():
        root = Path(entry["path"])
        parts = [known[str(file)] for file in files_in(root)]
        entry["folder"] = root.is_dir()
        entry["size"] = sum(part.size for part in parts)
        entry["sha256"] = tree_sha256(parts, root) if root.is_dir() else parts[0].sha256
        entry["files"] = [part.plain for part in parts]
    return list(found.values())


def _absolute(path: Path | str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links stay as the user wrote them


def _arguments(step: Step, model: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return all arguments of a step: their values, whether the YAML gives them, meaning."""
    declared = Signatures().of_step(step.row).arguments
    values = {name: argument.default for name, argument in declared.items()}
    values |= {**step.args, **model}
    return {
        name: {
            "value": _plain(values[name]),
            "given": name in step.args,
            "kind": argument.kind,
            "help": argument.help,
        }
        for name, argument in declared.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _model(step: Step, named: Mapping[str, Any], digests: Any) -> dict[str, Any] | None:
    """Return the model or jar of a step with its files, licence and where it came from."""
    argument = step.row.extra.get("model")
    jars = step.row.extra.get("jars")
    try:
        if argument:
            name = str(named[argument])
            families = step.row.model_families or (step.row.family,)
            about = known_models().get(name) or record_of(name)
            path = _found(name, families)
        elif jars and jvm.COORDINATE.fullmatch(str(named.get(jars["argument"]))):
            return {"argument": jars["argument"], "name": named[jars["argument"]], "path": None,
                    "folder": False, "files": []}  # fmt: skip
        elif jars:
            found = jvm.find_jars(named.get(jars["argument"]), jars["plugin"])
            path = jvm.plugin_jar(found, jars["plugin"]) or found[0]
            name, about = path.stem, {"description": f"the user's own {jars['plugin']}"}
        else:
            return None
        files = digests([path])
    except (CytoloomError, KeyError, OSError):
        return None  # a dry run; a real one has stopped before
    return {
        "argument": argument or (jars or {})["argument"],
        "name": name,
        "path": str(path),
        "folder": path.is_dir(),
        "size": sum(file.size for file in files),
        "sha256": tree_sha256(files, path) if path.is_dir() else files[0].sha256,
        "description": about.get("description"),
        "licence": about.get("licence"),
        "url": about.get("url"),
        "files": [file.plain for file in files],
    }


def _found(name: str, families: Sequence[str]) -> Path:
    """Return the path of a model of one of some families."""
    for family in families[:-1]:
        try:
            return find_model(name, family)
        except CytoloomError:
            continue
    return find_model(name, families[-1])
