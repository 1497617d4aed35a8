"""The step entries of a pipeline YAML: structure, names, tags and arguments.

A ``Draft`` is an entry that was read but whose channels are not yet resolved (that is
``flow.py``). A draft whose ``row`` is None, or that is ``broken``, takes part in the flow
only so that what follows from its mistake is not reported a second time.
``label_to_sparse`` becomes one draft of the step LabelToSparse for each of its entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cytoloom.plan import checks
from cytoloom.plan.arguments import ExecutableError, Signatures, check_all, note_missing
from cytoloom.plan.model import unique
from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems, nearest, quoted, suggestion
from cytoloom.plan.registry import STAGES, Registry, Row

TABULATION = "label_to_sparse"
TABULATE = "LabelToSparse"
STAGE_ALIASES = {"tabulation": TABULATION}
TYPES = ("image", "label", "feature", "dataframe", "table", "network")
STEP_KEYS = (
    "name",
    "tag",
    "channels",
    "images",
    "labels",
    "args",
    "input_type",
    "output_type",
    "output_channel_name",
    "output",
)
_TABULATION_KEYS = ("image_label_pair", "output", "tag", "args", "output_channel_name", "name")


@dataclass
class Draft:
    """One entry of a stage before its channels are resolved."""

    stage: str
    node: Node
    name: str
    row: Row | None
    tag: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    takes: dict[str, frozenset[str]] = field(default_factory=dict)
    input_type: tuple[str, ...] = ()
    output_type: tuple[str, ...] = ()
    outputs: tuple[tuple[str, Node], ...] = ()
    output: bool = True
    broken: bool = False
    lists: tuple[dict[str, tuple[str, ...]], ...] = ()  # channels by role, of images_labels

    @property
    def where(self) -> str:
        """The entry in words, for messages about others."""
        return f"{self.tag or self.name} (line {self.node.line})"

    @property
    def output_node(self) -> Node | None:
        """The node of output_channel_name, where it is given."""
        return self.node.get("output_channel_name")


@dataclass(frozen=True)
class Reader:
    """Reads step entries against the registry and the executables."""

    registry: Registry
    signatures: Signatures
    problems: Problems
    dry_run: bool

    def read(self, node: Node) -> list[Draft]:
        """Read the value of ``pipeline``: all drafts in the order in which they run."""
        if node.kind != "map":
            self.problems.add(node.line, node.where, f"must map stages to steps, not {node}")
            return []
        stages: dict[str, Node] = {}
        for key, child in node.fields.items():
            stage = STAGE_ALIASES.get(key, key)
            if stage not in STAGES:
                message = f"unknown stage{suggestion(key, STAGES)}"
                self.problems.add(child.line, child.where, message)
            elif stage in stages:
                message = f"is the same stage as {stages[stage].where}; keep one"
                self.problems.add(child.line, child.where, message)
            else:
                stages[stage] = child
        drafts = []
        for stage in STAGES:
            if stage in stages and not stages[stage].is_null:
                drafts += list(self._stage(stage, stages[stage]))
        self._tags(drafts)
        return drafts

    def _stage(self, stage: str, node: Node) -> Iterator[Draft]:
        if stage == TABULATION and node.kind == "map":
            if node.fields:
                yield self._tabulation(node)
            return
        if node.kind != "list":
            hint = " (put '- ' before the name of each step)" if node.kind == "map" else ""
            message = f"must be a list of steps, not {node}{hint}"
            self.problems.add(node.line, node.where, message)
            return
        for item in node.items:
            if item.kind != "map":
                message = f"a step must be a mapping with a name, not {item}"
                self.problems.add(item.line, item.where, message)
            elif stage == TABULATION:
                yield self._tabulation(item)
            else:
                yield self._step(stage, item)

    def _tabulation(self, node: Node) -> Draft:
        draft = Draft(TABULATION, node, TABULATE, self.registry.find(TABULATE))
        checks.known_keys(node, _TABULATION_KEYS, self.problems, "key of label_to_sparse")
        self._common(draft)
        if node.get("image_label_pair") is None:
            draft.broken = True
            if not checks.misspelt(node, "image_label_pair", _TABULATION_KEYS):
                message = "has no image_label_pair: give [[image channel, label channel], …]"
                self.problems.add(node.line, node.where, message)
        return draft

    def _step(self, stage: str, node: Node) -> Draft:
        checks.known_keys(node, STEP_KEYS, self.problems, "key of a step")
        name_node = node.get("name")
        row = None
        name = ""
        if name_node is None:
            names = ", ".join(self.registry.names(stage, available=True)) or "none yet"
            if not checks.misspelt(node, "name", STEP_KEYS):
                message = f"the step has no name (valid in {stage}: {names})"
                self.problems.add(node.line, node.where, message)
        elif (written := checks.text(name_node, self.problems, "the name of a step")) is not None:
            name = written
            row = self._row(stage, name, name_node)
        draft = Draft(stage, node, name, row, broken=row is None)
        self._common(draft)
        if row is not None and not row.available:
            line = name_node.line if name_node else node.line
            message = f"{name} is not part of this version of Cytoloom; use {row.instead}"
            (self.problems.warn if self.dry_run else self.problems.add)(
                line, f"{node.where}.name", message
            )
        return draft

    def _row(self, stage: str, name: str, node: Node) -> Row | None:
        row = self.registry.find(name)
        if row is not None and row.stage == stage:
            return row
        if row is not None:
            message = f"{name} is a step of {row.stage}, not of {stage}: move it there"
        else:
            near = nearest(name, self.registry.names(stage))
            other = None if near else self._elsewhere(name)
            message = f"unknown step {quoted(name)}"
            valid = self.registry.names(stage, available=True)
            message += suggestion(name, valid, also=self.registry.names(stage), limit=20)
            message += f"; {other.name} is a step of {other.stage}" if other else ""
            message += "" if valid else f"; {stage} has no steps in this version"
        self.problems.add(node.line, node.where, message)
        return None

    def _elsewhere(self, name: str) -> Row | None:
        near = nearest(name, self.registry.names())
        return self.registry.find(near) if near else None

    def _common(self, draft: Draft) -> None:
        """Read the keys that all entries share."""
        node, problems = draft.node, self.problems
        self._arguments(draft)
        draft.input_type = self._types(draft, "input_type")
        draft.output_type = self._types(draft, "output_type")
        if (output := node.get("output")) is not None:
            draft.output = checks.boolean(output, problems) is not False
        found = len(problems.found)
        if (names := node.get("output_channel_name")) is not None:
            items = names.items if names.kind == "list" else (names,)
            read = [(checks.name(item, problems, "a channel"), item) for item in items]
            draft.outputs = tuple((name, item) for name, item in read if name is not None)
            if not items:
                problems.add(names.line, names.where, "must name a channel, not an empty list")
        draft.broken = draft.broken or len(problems.found) > found
        if (tag := node.get("tag")) is not None:
            draft.tag = checks.name(tag, problems, "a tag") or ""

    def _arguments(self, draft: Draft) -> None:
        node, row = draft.node.get("args"), draft.row
        if node is not None and node.kind != "map":
            message = f"must map arguments to values, not {node}"
            self.problems.add(node.line, node.where, message)
            return
        if row is None or not row.available:
            return
        try:
            signature = self.signatures.of_step(row)
            draft.takes = self.signatures.takes(row)
        except ExecutableError as error:
            self.problems.add(draft.node.line, draft.node.where, f"{draft.name}: {error}")
            return
        if node is not None:
            draft.args = check_all(node, signature, draft.name, self.problems) or {}
        line = node.line if node is not None else draft.node.line
        note_missing(signature, node, line, f"{draft.node.where}.args", self.problems)

    def _types(self, draft: Draft, key: str) -> tuple[str, ...]:
        """Read input_type or output_type; in segmentation it must be what the step takes."""
        node = draft.node.get(key)
        if node is None:
            return draft.row.input_type if draft.row and key == "input_type" else ()
        valid: tuple[str, ...] = TYPES
        if draft.row is not None and draft.stage == "segmentation":
            valid = getattr(draft.row, key) or TYPES
        items = node.items if node.kind == "list" else (node,)
        read = [checks.choice(item, valid, self.problems) for item in items]
        return tuple(value for value in read if value is not None)

    def _tags(self, drafts: list[Draft]) -> None:
        """Check the tags that are given, and make those that are not."""
        given: dict[str, Draft] = {}
        for draft in drafts:
            if not draft.tag:
                continue
            if draft.tag in given:
                line = given[draft.tag].node.line
                tag = draft.node.fields["tag"]
                message = f"the tag {quoted(draft.tag)} is taken by the step in line {line}"
                self.problems.add(tag.line, tag.where, message)
            given.setdefault(draft.tag, draft)
        taken = set(given)
        for draft in drafts:
            if not draft.tag:
                draft.tag = unique(draft.name or "unnamed", taken)
                taken.add(draft.tag)
