"""Which layers each step reads and makes: the flow of channels through the steps.

Every channel has a current image, label image and table; steps run in order and what a
step makes becomes current for those after it. A table remembers the image and label
channel that it was measured from, so that a channel that has only a table (a filtered
one) still has a label image to measure contacts on. Contacts belong to a pair of channels.
What a step with a mistake would have made is ``hidden``: nothing more is said of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cytoloom.plan.choose import Chooser, names_in
from cytoloom.plan.entries import TABULATION, Draft
from cytoloom.plan.model import INGEST, Group, Layer
from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems, quoted
from cytoloom.plan.registry import load_registry

TABLES = ("table", "cells", "tracks")
OF_A_CHANNEL = ("background", "traces", "samples")  # current for the first channel of their group


@dataclass
class Table:
    """A channel's current table with the layers that it was measured from."""

    layer: Layer
    image: Layer | None = None
    label: Layer | None = None


@dataclass
class Flow:
    """The current layers of all channels while the steps are gone through in order."""

    problems: Problems
    drafts: Sequence[Draft]
    images: dict[str, Layer] = field(default_factory=dict)
    labels: dict[str, Layer] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    detections: dict[str, Layer] = field(default_factory=dict)  # of the current label images
    own: dict[tuple[str, str], Layer] = field(default_factory=dict)  # by kind and channel
    shared: dict[tuple[str, tuple[str, ...]], Layer] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)  # all channels so far, in order
    hidden: set[tuple[str | tuple[str, ...], str]] = field(default_factory=set)
    made: dict[str, int] = field(default_factory=dict)  # new channel -> line of its step
    given: frozenset[tuple[str, str]] = frozenset()  # (channel, kind) given beside channels

    @property
    def chooser(self) -> Chooser:
        """The reader of channel names as they stand now."""
        return Chooser(self.problems, self.drafts, self.names)

    @classmethod
    def start(
        cls,
        drafts: Sequence[Draft],
        channels: Mapping[str, object],
        labels: Mapping[str, object],
        tables: Mapping[str, object],
        problems: Problems,
    ) -> Flow:
        """Return the flow before the first step: what the user gives."""
        flow = cls(problems, drafts)
        flow.images = {name: Layer(name, "image", INGEST) for name in channels}
        flow.labels = {name: Layer(name, "label", INGEST) for name in labels}
        flow.tables = {
            name: Table(Layer(name, "table", INGEST), flow.images.get(name), flow.labels.get(name))
            for name in tables
        }
        flow.names = dict.fromkeys((*channels, *labels, *tables))
        flow.given = frozenset(
            [*((name, "label") for name in labels), *((name, "table") for name in tables)]
        )
        return flow

    def step(self, draft: Draft, slug: str, *, before_start: bool = False) -> tuple[Group, ...]:
        """Resolve one step and make its outputs current.

        Groups with a mistake are left out, and what they would make is hidden. A step before
        ``--from`` does not take the place of a given label image or table.
        """
        row = draft.row
        found = len(self.problems.found)
        channels = self.chooser.groups(draft, lambda name: self._has_all(draft, name))
        outputs = self._outputs(draft, channels)
        if row is None or draft.broken or len(self.problems.found) > found:
            self._hide_all(draft)
            return ()
        groups = []
        for i, names in enumerate(channels):
            inputs = self._inputs(draft, names, i)
            if inputs is None:
                self.hide(outputs[i], row.outputs.values(), names)
            else:
                groups.append(self._group(draft, slug, names, outputs[i], inputs))
        for group in groups:
            self._apply(draft, group, before_start)
        return tuple(groups)

    def hide(self, name: str, kinds: Iterable[str], channels: tuple[str, ...] = ()) -> None:
        """Say nothing more of these kinds of layers of a channel, nor of a group's."""
        self.names.setdefault(name, None)
        for kind in kinds:
            self.hidden.add((name, _family(kind)))
            self.hidden.add((channels, kind))

    def _hide_all(self, draft: Draft) -> None:
        """Hide whatever a step would have made that could not be read."""
        kinds = tuple(draft.row.outputs.values()) if draft.row else ("image", "label", "table")
        new = {name for name, _ in draft.outputs}
        mentioned: set[str] = set()
        for key in ("channels", "image_label_pair", "images", "labels"):
            if (node := draft.node.get(key)) is not None:
                mentioned |= names_in(node)
        known = set(self.names) if "all" in mentioned else mentioned & set(self.names)
        for name in new or known:
            self.hide(name, kinds)
        self.hidden |= {("", kind) for kind in kinds}

    def _is_hidden(self, key: str | tuple[str, ...], kind: str) -> bool:
        return (key, _family(kind)) in self.hidden or (key, kind) in self.hidden

    # -- outputs ---------------------------------------------------------------------

    def _outputs(self, draft: Draft, channels: list[tuple[str, ...]]) -> list[str]:
        """Return the output channel of each group."""
        row, node = draft.row, draft.output_node
        if row is None:
            return [name for name, _ in draft.outputs]
        if node is None:
            if row.output_channel_name == "required":
                example = "To".join(channels[0][:2]) if channels else "NewChannel"
                wanted = example if row.stage == "preprocessing" else f"[{example}]"
                message = f"{draft.name} has no output_channel_name: name what it makes, "
                self._add(draft.node, f"{message}for example {wanted}")
            elif draft.stage == TABULATION and channels:
                self._one_table_each(draft, channels)
            return [names[0] for names in channels]
        if channels and len(draft.outputs) != len(channels) and not draft.broken:
            count = f"{len(draft.outputs)} for {len(channels)} entries of channels"
            self._add(node, f"names {count}; give one name for each")
        names = [name for name, _ in draft.outputs]
        for i, (name, item) in enumerate(draft.outputs):
            own = i < len(channels) and row.channels == "one" and name == channels[i][0]
            if name in names[:i]:
                self._add(item, f"{quoted(name)} is given twice; name each output differently")
            elif name in self.names and not own:
                line = self.made.get(name)
                origin = f"made by the step in line {line}" if line else "given in channels"
                self._add(item, f"the channel {quoted(name)} exists ({origin}); take another name")
        return names

    def _one_table_each(self, draft: Draft, channels: list[tuple[str, ...]]) -> None:
        seen: set[str] = set()
        node = draft.node.fields["image_label_pair"]
        for image, _ in channels:
            if image in seen:
                message = f"{image} would have two tables; name them by output_channel_name"
                self._add(node, message)
            seen.add(image)

    # -- layers ----------------------------------------------------------------------

    def _has_all(self, draft: Draft, name: str) -> bool:
        row = draft.row
        if row is None:
            return False
        kinds = [row.kind(role) for role in row.inputs if not row.optional(role)]
        return all(self._layer(draft, kind, name) is not None for kind in kinds)

    def _layer(self, draft: Draft, kind: str, name: str) -> Layer | None:
        """Return the current layer of a kind of a channel."""
        table = self.tables.get(name)
        if kind == "detections" or kind in OF_A_CHANNEL:
            return self.detections.get(name) if kind == "detections" else self.own.get((kind, name))
        if kind == "image":
            return self.images.get(name) or (table.image if table else None)
        if kind == "label":
            late = draft.stage in ("tracking", "postprocessing", "evaluation")
            if late and table is not None and table.label is not None:
                return table.label
            return self.labels.get(name)
        if table is None or (kind == "tracks" and table.layer.kind == "cells"):
            return None
        return table.layer

    def _inputs(
        self, draft: Draft, names: tuple[str, ...], index: int
    ) -> dict[str, tuple[Layer, ...]] | None:
        """Return the layers that a group reads, by role; None after noting one that is missing."""
        row = draft.row
        assert row is not None
        found: dict[str, tuple[Layer, ...]] = {}
        complete = True
        for position, role in enumerate(row.inputs):
            of = row.of(role)
            if of is not None:
                first = row.at(role) or 0
                together = names[first : first + of]
                if row.optional(role):
                    made = self.shared.get((row.kind(role), together))
                    found[role] = (made,) if made else ()
                    continue
                found[role] = self._shared(draft, row.kind(role), together, index)
                complete = complete and bool(found[role])
                continue
            at = row.at(role)
            if row.channels == "image_label":
                at = min(position, 1)
            wanted = names if at is None else (names[at],)
            if row.channels == "images_labels":
                wanted = draft.lists[index].get(role, ())
            layers, lacking = [], 0
            for i, name in enumerate(wanted):
                one = row.kind(role, i)
                layer = self._layer(draft, one, name)
                if layer is not None:
                    layers.append(layer)
                elif row.optional(role) and row.channels != "images_labels":
                    lacking += 1
                elif not self._is_hidden(name, one):
                    self._add(self._place(draft, index), self._missing(draft, one, name))
            found[role] = tuple(layers)
            complete = complete and len(layers) + lacking == len(wanted)
        return found if complete else None

    def _place(self, draft: Draft, index: int) -> Node:
        for key in ("channels", "image_label_pair", "labels"):
            node = draft.node.get(key)
            if node is not None:
                inside = node.kind == "list" and index < len(node.items)
                return node.items[index] if inside else node
        return draft.node

    def _shared(
        self, draft: Draft, kind: str, names: tuple[str, ...], index: int
    ) -> tuple[Layer, ...]:
        """Return the layer that was made for several channels together."""
        layer = self.shared.get((kind, names))
        unknown = self._is_hidden(names, kind) or self._is_hidden("", kind)
        if layer is None and not unknown:
            channels = f"[{', '.join(names)}]"
            message = (
                f"{draft.name} needs the {kind} of {' and '.join(names)}: add "
                f"{' or '.join(makers_of(kind))} with channels: "
                f"{f'[{channels}]' if len(names) > 1 else channels} before it"
            )
            self._add(self._place(draft, index), message)
        return (layer,) if layer else ()

    def _missing(self, draft: Draft, kind: str, name: str) -> str:
        later = self._makes_later(draft, kind, name)
        when = f" before it (step {later.where} comes later)" if later else ""
        if kind == "label":
            cure = f"segment {name}{when}, or give it in labels:"
            return f"{draft.name} needs a label image of {name}: {cure}"
        if kind == "tracks" and name in self.tables:
            cure = f"add a tracking step with channels: [{name}]{when}, or give them in tables:"
            return f"{draft.name} needs tracks of {name}: {cure}"
        if kind in TABLES:
            what = "tracks" if kind == "tracks" else "a table"
            cure = f"add [{name}, {name}] to label_to_sparse (LabelToSparse){when}"
            cure += " and track it" if kind == "tracks" else ""
            return f"{draft.name} needs {what} of {name}: {cure}, or give it in tables:"
        if kind in OF_A_CHANNEL:
            makers = " or ".join(makers_of(kind))
            return f"{draft.name} needs the {kind} of {name}: add {makers}{when} before it"
        return f"{draft.name} needs an image of {name}, which has none: give it in channels:"

    def _makes_later(self, draft: Draft, kind: str, name: str) -> Draft | None:
        position = next(i for i, one in enumerate(self.drafts) if one is draft)
        for other in self.drafts[position + 1 :]:
            node = other.node.get("channels") or other.node.get("image_label_pair")
            kinds = other.row.outputs.values() if other.row else ()
            made = kind in kinds or (kind == "table" and {"cells", "tracks"} & set(kinds))
            if made and node is not None and name in names_in(node):
                return other
        return None

    def _group(
        self,
        draft: Draft,
        slug: str,
        names: tuple[str, ...],
        output: str,
        inputs: dict[str, tuple[Layer, ...]],
    ) -> Group:
        row = draft.row
        assert row is not None
        outputs = {}
        for role, kind in (*row.outputs.items(), *((made, made) for made in row.merge_makes)):
            if kind == "table":  # the same kind as the table that is read
                read = next((v for v in inputs.values() if v and v[0].kind in TABLES), ())
                kind = read[0].kind if read else kind
            outputs[role] = Layer(output, kind, slug)
        table = self.tables.get(names[0])
        own = _label_of(outputs.values())
        label = own or (table.label if table is not None else None)
        if row.relabel and label is not None:
            inputs = {**inputs, "relabel": (label,)}
            outputs["trackedlabel"] = Layer(output, "trackedlabel", slug)
        return Group(names, output, inputs, outputs)

    def _apply(self, draft: Draft, group: Group, before_start: bool) -> None:
        """Make the outputs of a group current."""
        name = group.output_channel
        if name not in self.names:
            self.made[name] = draft.node.line
            self.names[name] = None
        for layer in group.outputs.values():
            if before_start and (name, _family(layer.kind)) in self.given:
                continue
            if layer.kind == "image":
                self.images[name] = layer
            elif layer.kind == "label":
                self.labels[name] = layer
                self._note_detections(draft, group)
            elif layer.kind in OF_A_CHANNEL:
                self.own[layer.kind, group.channels[0]] = layer
            elif layer.kind in TABLES:
                self.tables[name] = self._table(draft, group, layer)
            else:
                self.shared[(layer.kind, group.channels)] = layer

    def _note_detections(self, draft: Draft, group: Group) -> None:
        """Note what is known of the objects of a new label image.

        In segmentation, objects of a label image made from another one keep their numbers.
        """
        found = next((o for o in group.outputs.values() if o.kind == "detections"), None)
        if found is None and "label" in group.inputs and draft.stage == "segmentation":
            found = self.detections.get(group.channels[0])
        self.detections.pop(group.output_channel, None)
        if found is not None:
            self.detections[group.output_channel] = found

    def _table(self, draft: Draft, group: Group, layer: Layer) -> Table:
        if draft.stage == TABULATION:
            (image,), (label,) = group.inputs["image"], group.inputs["label"]
            return Table(layer, image, label)
        if own := _label_of(group.outputs.values()):
            measured = next(iter(group.inputs.get("image", ())), None)
            return Table(layer, measured or self.images.get(own.channel), own)
        source = self.tables.get(group.channels[0])
        return replace(source, layer=layer) if source else Table(layer)

    def _add(self, node: Node, message: str) -> None:
        self.problems.add(node.line, node.where, message)


def makers_of(kind: str) -> list[str]:
    """Return the names of the steps that make a kind of layer."""
    rows = load_registry()
    made = {row.name: {*row.outputs.values(), *row.merge_makes} for row in rows}
    painted = {row.name for row in rows if row.relabel} if kind == "trackedlabel" else set()
    return [name for name, kinds in made.items() if kind in kinds or name in painted]


def _label_of(layers: Iterable[Layer]) -> Layer | None:
    """Return the label image among layers."""
    return next((layer for layer in layers if layer.kind == "label"), None)


def _family(kind: str) -> str:
    return "table" if kind in TABLES else kind
