"""Which channels a step works on: its ``channels`` as groups of existing names.

Single channels (or ``all``) for most steps, lists of lists where several channels are
taken together, ``image_label_pair`` for tabulation, ``images`` and ``labels`` for a step
that takes both. A name that only a later step makes is told apart from a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cytoloom.plan import checks
from cytoloom.plan.entries import Draft
from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems, nearest, quoted

Groups = list[tuple[str, ...]]
_SIZES = {"pair": 2, "triple": 3}
_EXAMPLES = {
    "pair": "[[A, B], …]",
    "triple": "[[A, B, C], …]",
    "many": "[[A, B], …]",
    "some": "[[A, B, …], …]",
}


@dataclass(frozen=True)
class Chooser:
    """Reads the channels of drafts; ``names`` are the channels that exist so far, in order."""

    problems: Problems
    drafts: Sequence[Draft]
    names: dict[str, None]

    def groups(self, draft: Draft, usable: Callable[[str], bool]) -> Groups:
        """Return the channels of each group; ``all`` means those that are ``usable``."""
        row = draft.row
        if row is None:
            return []
        if row.channels in ("image_label", "images_labels"):
            paired = row.channels == "image_label"
            return self._image_label(draft) if paired else self._images_and_labels(draft)
        node = draft.node.get("channels")
        if node is None:
            example = _EXAMPLES.get(row.channels, "[A, B] or all")
            self._add(draft.node, f"{draft.name} has no channels: give {example}")
            return []
        if row.channels == "one":
            return self._single(draft, node, usable)
        size = _SIZES.get(row.channels)
        what = f"a list of {row.channels}s" if size else "a list of lists"
        if node.kind != "list" or not all(item.kind == "list" for item in node.items):
            written = ", ".join(item.text for item in node.items if item.kind == "scalar")
            hint = f"; write [[{written}]]" if len(node.items) >= 2 and written else ""
            shown = node.text if node.kind == "scalar" else "a plain list"
            example = _EXAMPLES[row.channels]
            self._add(node, f"{draft.name} takes {what}, {example}, not {shown}{hint}")
            return []
        groups = []
        for item in checks.listed(node, self.problems, what):
            least = 1 if row.channels == "some" else 2
            if len(item.items) != size if size else len(item.items) < least:
                counts = {1: "one or more channels", 2: "two or more channels"}
                need = f"{size} channels" if size else counts[least]
                self._add(item, f"{draft.name} takes {need} together, found {len(item.items)}")
                continue
            names = [self._known(child, draft) for child in item.items]
            if None not in names:
                groups.append(tuple(name for name in names if name is not None))
        return self._no_doubles(groups, node)

    def _single(self, draft: Draft, node: Node, usable: Callable[[str], bool]) -> Groups:
        if node.value == "all":
            groups: Groups = [(name,) for name in self.names if usable(name)]
            if not groups:
                kinds = " and ".join(draft.row.inputs if draft.row else ())
                self._add(node, f"no channel has what {draft.name} needs ({kinds})")
            return groups
        items = node.items if node.kind == "list" else (node,)
        if not items:
            self._add(node, "must name a channel, not be an empty list")
        groups = []
        for item in items:
            if item.kind == "list":
                written = ", ".join(child.text for child in item.items)
                self._add(item, f"{draft.name} takes single channels; write [{written}]")
            elif (name := self._known(item, draft)) is not None:
                groups.append((name,))
        return self._no_doubles(groups, node)

    def _image_label(self, draft: Draft) -> Groups:
        node = draft.node.get("image_label_pair")
        if node is None:
            return []
        pairs = checks.listed(node, self.problems, "a list of [image channel, label channel]")
        if len(pairs) == 2 and all(item.kind == "scalar" for item in pairs):
            written = ", ".join(item.text for item in pairs)
            self._add(node, f"must be a list of pairs; write [[{written}]]")
            return []
        groups = []
        for item in pairs:
            if item.kind != "list" or len(item.items) != 2:
                found = f"a list of {len(item.items)}" if item.kind == "list" else str(item)
                self._add(item, f"must be [image channel, label channel], not {found}")
                continue
            names = [self._known(child, draft) for child in item.items]
            if None not in names:
                groups.append(tuple(name for name in names if name is not None))
        return self._no_doubles(groups, node)

    def _images_and_labels(self, draft: Draft) -> Groups:
        """Read the keys ``images`` and ``labels`` of a step that takes both (Ultrack).

        A plain list is one group: several label images of the same cells, and the images that
        belong to them. A list of lists is several groups.
        """
        lists = {key: self._lists(draft, key) for key in ("labels", "images")}
        labels, images = lists["labels"], lists["images"]
        if labels is None or images is None:
            return []
        if not labels and not images:
            message = f"{draft.name} has neither labels nor images: give labels: [A], label images "
            message += "of the same cells, or images: [foreground, contours]"
            self._add(draft.node, message)
            return []
        if labels and images and len(images) != len(labels):
            node = draft.node.fields["images"]
            self._add(node, f"{len(images)} lists of images for {len(labels)} of labels")
            return []
        for names in images if not labels else ():
            if len(names) < 2:
                message = f"{draft.name} without labels takes [foreground, contours]"
                self._add(draft.node.fields["images"], message)
                return []
        count = max(len(labels), len(images))
        draft.lists = tuple(
            {"label": labels[i] if labels else (), "image": images[i] if images else ()}
            for i in range(count)
        )
        groups = [tuple(dict.fromkeys((*one["label"], *one["image"]))) for one in draft.lists]
        firsts = [group[0] for group in groups]
        if draft.output_node is None and len(set(firsts)) < len(firsts):
            message = f"{draft.name} would make two results of {firsts[0]}; name them by "
            self._add(draft.node, f"{message}output_channel_name")
            return []
        return groups

    def _lists(self, draft: Draft, key: str) -> list[tuple[str, ...]] | None:
        """Return the names under a key, a tuple per group; None after noting a mistake."""
        node = draft.node.get(key)
        if node is None or node.is_null:
            return []
        nested = node.kind == "list" and any(item.kind == "list" for item in node.items)
        rows = node.items if nested else (node,)
        found = []
        for row in rows:
            items = row.items if row.kind == "list" else (row,)
            names = [self._known(item, draft) for item in items]
            if not names or None in names:
                if not names:
                    self._add(row, "must name a channel, not be an empty list")
                return None
            if len(set(names)) < len(names):
                self._add(row, "names a channel twice")
                return None
            found.append(tuple(name for name in names if name is not None))
        return found

    def _no_doubles(self, groups: Groups, node: Node) -> Groups:
        for group in dict.fromkeys(g for g in groups if groups.count(g) > 1):
            shown = group[0] if len(group) == 1 else f"[{', '.join(group)}]"
            self._add(node, f"{shown} is listed twice")
        return groups

    def _known(self, node: Node, draft: Draft) -> str | None:
        """Return the name of an existing channel; None after noting that it is none."""
        name = checks.name(node, self.problems, "a channel")
        if name is None or name in self.names:
            return name
        later = self._maker(name, after=draft)
        if later is not None:
            self._add(node, f"{quoted(name)} is made by step {later.where}, which comes later")
            return None
        near = nearest(name, self.names)
        mean = f"; did you mean {near}?" if near else ""
        valid = ", ".join(self.names) or "none"
        self._add(node, f"there is no channel {quoted(name)} here{mean} (channels: {valid})")
        return None

    def _maker(self, name: str, after: Draft) -> Draft | None:
        position = next(i for i, draft in enumerate(self.drafts) if draft is after)
        for draft in self.drafts[position:]:
            if name in [output for output, _ in draft.outputs]:
                return draft
        return None

    def _add(self, node: Node, message: str) -> None:
        self.problems.add(node.line, node.where, message)


def names_in(node: Node) -> set[str]:
    """Return every name in a node, whatever its form."""
    if node.kind == "scalar":
        return {node.text}
    return set().union(*(names_in(item) for item in node.items)) if node.items else set()
