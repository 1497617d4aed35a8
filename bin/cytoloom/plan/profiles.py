"""pyCyto's container profiles: ``tasks``, ``execution_configs`` and ``default_profile``.

A profile says of each task whether it runs in a container, in which image, and with how much
memory and GPU. Here the image of a step comes from its lock file, and ``-profile`` chooses
whether images are used at all. So of a profile only the resources count (they fill what
``pipeline`` does not say), and of ``tasks`` the ``dependencies``. A task is a step by its tag
or, where only one step has it, by its name; one that is neither, and what is left out, is
warned of. The profile is ``execution_profile`` of the pipeline, else ``default_profile``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cytoloom.plan import checks, resource_values
from cytoloom.plan.model import Pipeline
from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems, quoted, suggestion

PROFILE_KEYS = ("tasks", "execution_configs", "default_profile")
BARE = "baremetal"


@dataclass(frozen=True)
class Profile:
    """What a profile asks for by tag, and the steps that a step waits for (tag -> its node)."""

    found: bool = False
    steps: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    after: Mapping[str, Mapping[str, Node]] = field(default_factory=dict)


def read_profile(root: Node, pipeline: Pipeline, problems: Problems) -> Profile:
    """Read the profile that a resource YAML holds, if any."""
    if not any(root.get(key) for key in PROFILE_KEYS):
        return Profile()
    reader = _Reader(pipeline, problems)
    return Profile(True, reader.chosen(root), reader.dependencies(root.get("tasks")))


class _Reader:
    def __init__(self, pipeline: Pipeline, problems: Problems) -> None:
        self.pipeline = pipeline
        self.problems = problems

    def chosen(self, root: Node) -> dict[str, Mapping[str, object]]:
        """Return the resources of the profile that applies."""
        configs = root.get("execution_configs")
        if configs is None or not self._mapping(configs):
            return {}
        default = root.get("default_profile")
        name = self.pipeline.execution_profile or (default.text if default else None)
        if name is None and len(configs.fields) == 1:
            (name,) = configs.fields
        if name is None or name not in configs.fields:
            node = default or configs
            what = "no profile is chosen: name one under default_profile"
            said = what if name is None else f"there is no profile {quoted(name)}"
            message = f"{said}{suggestion(name or '', configs.fields)}"
            self.problems.add(node.line, node.where, message)
            return {}
        return self._tasks(configs.fields[name])

    def _tasks(self, profile: Node) -> dict[str, Mapping[str, object]]:
        found: dict[str, Mapping[str, object]] = {}
        for task, node in profile.fields.items() if self._mapping(profile) else ():
            tag = self._tag(task, node)
            if tag is None or not self._mapping(node):
                continue
            kind, image = node.get("type"), node.get("image")
            if (kind and kind.text != BARE) or image:
                message = "images are made from lock files: -profile apptainer or slurm uses them"
                self.problems.warn(node.line, node.where, message)
            resources = node.get("resources")
            if resources is not None and self._mapping(resources):
                found[tag] = self._resources(resources)
        return found

    def _resources(self, node: Node) -> dict[str, object]:
        found: dict[str, object] = {}
        if (memory := node.get("memory") or node.get("mem")) is not None:
            found["memory_mb"] = resource_values.memory(memory, self.problems)
        if (cpus := node.get("cpus") or node.get("cpu")) is not None:
            found["cpus"] = resource_values.whole(cpus, self.problems)
        if (gpu := node.get("gpu") or node.get("gpus")) is not None:
            found["gres"] = self._gpu(gpu)
        known = ("memory", "mem", "cpus", "cpu", "gpu", "gpus")
        for key in node.fields.keys() - set(known):
            child = node.fields[key]
            self.problems.warn(child.line, child.where, "is not used")
        return {key: value for key, value in found.items() if value is not None}

    def _gpu(self, node: Node) -> str | None:
        """Read true, false, a number of GPUs, or a type."""
        if isinstance(node.value, bool) or node.text.lower() in ("true", "false", "yes", "no"):
            return "gpu:1" if checks.boolean(node, self.problems) else None
        if node.text == "0":
            return None
        if node.text.isdecimal():
            return f"gpu:{node.text}"
        return resource_values.gres(node, self.problems)

    def dependencies(self, tasks: Node | None) -> dict[str, dict[str, Node]]:
        """Return the steps that each step waits for, and warn of what tasks hold besides."""
        found: dict[str, dict[str, Node]] = {}
        for task, node in tasks.fields.items() if tasks and self._mapping(tasks) else ():
            tag = self._tag(task, node)
            if tag is None or not self._mapping(node):
                continue
            if ignored := [key for key in ("module", "params") if node.get(key)]:
                message = f"{' and '.join(ignored)}: a step and its args stand in the pipeline YAML"
                self.problems.warn(node.line, node.where, message)
            given = node.get("dependencies")
            items = () if given is None else given.items if given.kind == "list" else (given,)
            for item in items:
                other = self._tag(item.text, item)
                if other is not None:
                    found.setdefault(tag, {})[other] = item
        return found

    def _tag(self, task: str, node: Node) -> str | None:
        steps = self.pipeline.all_steps
        tags = [step.tag for step in steps if step.tag == task]
        tags = tags or [step.tag for step in steps if step.name == task]
        if len(tags) == 1:
            return tags[0]
        what = "is the name of several steps" if tags else "is no step of the pipeline"
        near = "" if tags else suggestion(task, [step.tag for step in steps])
        self.problems.warn(node.line, node.where, f"{quoted(task)} {what}: left out{near}")
        return None

    def _mapping(self, node: Node) -> bool:
        if node.kind != "map" and not node.is_null:
            self.problems.add(node.line, node.where, f"must be a mapping, not {node}")
        return node.kind == "map"
