"""What a step computes with that is not an image or a table: its model, or its Java jars."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cytoloom import jvm
from cytoloom.errors import CytoloomError
from cytoloom.files import digest as digest_of_file
from cytoloom.models import PROJECT, digest_of, family_of
from cytoloom.plan.arguments import Signatures
from cytoloom.plan.model import Pipeline, Step
from cytoloom.plan.registry import load_registry


@dataclass
class StepModels:
    """Finds the model, or the Java jars, of each step of a pipeline, once.

    Attributes
    ----------
    lenient
        Whether one that is not there is a warning, not an error.
    """

    pipeline: Pipeline
    lenient: bool
    warnings: list[str]
    _found: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)

    def of(self, step: Step) -> tuple[dict[str, Any], str]:
        """Return the argument that names a step's model or jars, made absolute, and its digest.

        Raises
        ------
        CytoloomError
            With the step's tag, if it is not there or not whole.
        """
        if step.slug not in self._found:
            find = self._jars if "jars" in step.row.extra else self._model
            self._found[step.slug] = find(step)
        return self._found[step.slug]

    def _model(self, step: Step) -> tuple[dict[str, Any], str]:
        argument = step.row.extra.get("model")
        if argument is None:
            return {}, ""
        name = _model_name(step, self.pipeline.path.parent)
        try:
            return {argument: name}, f"model {digest_of(name, _family_of_models(step))}"
        except CytoloomError as error:
            self._missing(error, f"step {step.tag}: {argument}: {error}")
            return {argument: name}, ""

    def _jars(self, step: Step) -> tuple[dict[str, Any], str]:
        about = step.row.extra["jars"]
        argument, plugin = about["argument"], about["plugin"]
        given = jvm.place_of(step.args.get(argument) or self.pipeline.fiji_dir)
        places = [self.pipeline.path.parent / given, Path(given)] if given else []
        place = next((str(p.absolute()) for p in places if p.exists()), given)
        if place and jvm.COORDINATE.fullmatch(place):
            return {argument: place}, ""
        try:
            jars = jvm.find_jars(place, plugin)
            digest = digest_of_file(jvm.plugin_jar(jars, plugin) or jars[0])
        except CytoloomError as error:
            self._missing(error, f"step {step.tag}: {error}; or use {about['instead']}")
            return {}, ""
        return {argument: place}, f"jar {digest}"

    def _missing(self, error: CytoloomError, text: str) -> None:
        if not self.lenient:
            raise type(error)(text) from error
        self.warnings.append(text)


def in_family_of_model(step: Step, folder: Path) -> Step:
    """Return a step in the tool family of its model, where the model decides that."""
    if not step.row.model_families:
        return step
    try:
        family = family_of(_model_name(step, folder), step.row.model_families)
    except CytoloomError:  # `StepModels` says so
        return step
    return replace(step, row=step.row.in_family(family))


def _model_name(step: Step, folder: Path) -> str:
    """Return the name of a step's model, a path made absolute."""
    argument = step.row.extra["model"]
    declared = Signatures().of_step(step.row).arguments[argument]
    name = str(step.args.get(argument) or declared.default)
    for place in (folder / name, Path(name)):
        if place.exists():
            return str(place.absolute())
    return name


def _family_of_models(step: Step) -> str:
    """Return the family whose models a step takes; on a GPU those of the CPU's family."""
    on_gpu = step.row.family == step.row.gpu_family
    return load_registry().rows[step.row.name].family if on_gpu else step.row.family


def notices(families: set[str]) -> list[str]:
    """Return what a user must know of the licences of families."""
    files = (PROJECT / "containers" / name / "NOTICE" for name in sorted(families))
    return [file.read_text(encoding="utf-8").strip() for file in files if file.is_file()]
