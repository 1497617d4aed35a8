"""The pipeline YAML, read and checked as a whole: ``load_pipeline``.

The grammar is pyCyto's, with ``input``, ``labels``, ``tables`` and ``frame_interval``
added. Order of work: text to nodes (``nodes``), top-level settings (``settings``), step
entries (``entries``), then the flow of channels through the steps (``flow``). Every reader
notes its mistakes and goes on; at the end all are raised together, sorted by line.
Steps of a stage run in the order of their list; the stages in the order of
``registry.STAGES``. The files' headers are not opened here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cytoloom.plan import nodes, pyama, settings
from cytoloom.plan.arguments import Signatures
from cytoloom.plan.checks import known_keys, misspelt, text
from cytoloom.plan.entries import Draft, Reader
from cytoloom.plan.flow import Flow
from cytoloom.plan.model import (
    INGEST,
    RESERVED,
    ChannelSource,
    GivenResult,
    Group,
    InputSource,
    Overrides,
    Patching,
    Pipeline,
    Slice,
    Step,
    slugs,
)
from cytoloom.plan.nodes import Node
from cytoloom.plan.paths import Paths, expanded
from cytoloom.plan.problems import Problems, quoted, suggestion
from cytoloom.plan.pyama_channels import saved as saved_config
from cytoloom.plan.registry import Registry, load_registry

CAP = 32
KEYS = (
    "channels",
    "input",
    "labels",
    "tables",
    "image_range",
    "spacing",
    "frame_interval",
    "output_dir",
    "patching",
    "pipeline",
    "description",
    "fiji_dir",
    "execution_profile",
)
WITHOUT_EFFECT = (
    "microscope",
    "threads",
    "parallel_backend",
    "verbose",
    "default_profile",
    "tasks",
    "execution_configs",
)

__all__ = [
    "CAP", "ChannelSource", "GivenResult", "Group", "InputSource", "Overrides", "Patching",
    "Pipeline", "Slice", "Step", "load_pipeline",
]  # fmt: skip


def load_pipeline(
    path: Path | str,
    overrides: Overrides | None = None,
    *,
    registry: Registry | None = None,
    signatures: Signatures | None = None,
    cap: int = CAP,
) -> Pipeline:
    """Read and check a pipeline YAML.

    Parameters
    ----------
    path
        The YAML file. Paths inside it are relative to its folder if they exist there, else
        to the folder from which the run is launched.
    overrides
        What the command line says: output folder, input, first and last step, dry run.
    registry, signatures
        The steps and their executables; default: those of this installation.
    cap
        The largest number of steps.

    Raises
    ------
    PlanProblems
        With one line for each mistake in the file.
    """
    path = Path(path)
    overrides = overrides or Overrides()
    problems = Problems(str(path))
    root = nodes.read(path, problems)
    if root is None:
        problems.raise_if_any()
    assert root is not None
    config = saved_config(root) if pyama.is_config(root) else None
    if config is not None:
        root, only_copy = pyama.translate(root, path, overrides.input, problems)
        until = INGEST if only_copy else overrides.until
        overrides = replace(overrides, input=None, until=until)
    elif pyama.is_samples(root):
        message = "PyAMA's samples: leave the file beside processing_config.yaml and run that"
        problems.add(root.line, "samples", message)
        problems.raise_if_any()
    if overrides.edit is not None:
        root = overrides.edit(root)
    known_keys(root, (*KEYS, *WITHOUT_EFFECT), problems, "key")
    paths = Paths(path.parent.absolute(), overrides.launch_dir.absolute(), overrides.dry_run,
                  problems)  # fmt: skip
    given = _input(root, overrides, paths, problems)
    channels = settings.read_channels(root.get("channels"), given is not None, paths, problems)
    labels = settings.read_results(
        root.get("labels"), "label image", given is not None, paths, problems
    )
    tables = settings.read_results(root.get("tables"), "table", given is not None, paths, problems)
    sources = ("channels", "labels", "tables")
    if all(root.get(key) is None and not misspelt(root, key, KEYS) for key in sources):
        message = "is missing: map the name of each channel to its file"
        problems.add(root.line, "channels", message)
    drafts = _drafts(root, registry or load_registry(), signatures, overrides, cap, problems)
    start, stop = _part(drafts, overrides, root, problems)
    flow = Flow.start(drafts, channels, labels, tables, problems)
    _note_unread(root, flow)
    steps = _steps(drafts, flow, start)
    pipeline = Pipeline(
        path=path,
        description=settings.texts(root.fields, "description"),
        channels=channels,
        labels=labels,
        tables=tables,
        input=given,
        image_range=settings.read_range(root.get("image_range"), problems),
        spacing=settings.read_spacing(root.get("spacing"), problems),
        frame_interval=settings.read_interval(root.get("frame_interval"), problems),
        output_dir=_output_dir(root, overrides, problems),
        patching=settings.read_patching(root.get("patching"), problems),
        steps=steps[:stop],
        start=start,
        slugs=slugs(flow.names),
        all_steps=steps,
        warnings=problems.warnings,
        fiji_dir=settings.texts(root.fields, "fiji_dir"),
        execution_profile=settings.texts(root.fields, "execution_profile"),
        config=config,
    )
    problems.raise_if_any()
    return pipeline


def _input(
    root: Node, overrides: Overrides, paths: Paths, problems: Problems
) -> InputSource | None:
    node = root.get("input")
    if overrides.input is not None:
        line = node.line if node else root.line
        given = Node("scalar", line, "--input", value=overrides.input, text=overrides.input)
        sheet = overrides.input.lower().endswith((".csv", ".tsv"))
        path = node.get("path") if node is not None and node.kind == "map" else None
        if node is not None and path is not None and path.kind == "scalar" and not sheet:
            node = replace(node, fields={**node.fields, "path": given})  # z and fovs still hold
        else:
            node = given
    return settings.read_input(node, paths, problems)


def _drafts(
    root: Node,
    registry: Registry,
    signatures: Signatures | None,
    overrides: Overrides,
    cap: int,
    problems: Problems,
) -> list[Draft]:
    node = root.get("pipeline")
    if node is None:
        line = root.fields["pipeline"].line if "pipeline" in root.fields else root.line
        if not misspelt(root, "pipeline", KEYS) and overrides.until != INGEST:
            problems.add(line, "pipeline", "is missing or empty: it holds the steps by stage")
        return []
    found = len(problems.found)
    drafts = Reader(registry, signatures or Signatures(), problems, overrides.dry_run).read(node)
    if not drafts and len(problems.found) == found and overrides.until != INGEST:
        problems.add(node.line, node.where, "has no step in any stage")
    if len(drafts) > cap:
        message = f"{len(drafts)} steps are more than the {cap} that one run can have: split it"
        problems.add(drafts[cap].node.line, drafts[cap].node.where, message)
    return drafts


def _part(
    drafts: list[Draft], overrides: Overrides, root: Node, problems: Problems
) -> tuple[int, int]:
    """Return the indices of the first step to run and of the one after the last."""
    tags = [draft.tag for draft in drafts]
    found = {}
    for option, tag in (("--from", overrides.from_tag), ("--until", overrides.until)):
        if tag is None or (option == "--until" and tag == INGEST):
            continue
        if tag in tags:
            found[option] = tags.index(tag)
        else:
            message = f"there is no step with the tag {quoted(tag)}{suggestion(tag, tags)}"
            problems.add(root.line, option, message)
    if overrides.until == INGEST:  # the images are brought in, and nothing else
        return 0, 0
    start, last = found.get("--from", 0), found.get("--until", len(drafts) - 1)
    if len(found) == 2 and start > last:
        message = f"{overrides.until} comes before {overrides.from_tag}: no step is left"
        problems.add(root.line, "--until", message)
    return start, last + 1


def _note_unread(root: Node, flow: Flow) -> None:
    """Keep silent about uses of channels that are written but were refused."""
    for key, kind in (("channels", "image"), ("labels", "label"), ("tables", "table")):
        node = root.get(key)
        for name in node.fields if node is not None else ():
            flow.hide(name, [kind])


def _steps(drafts: list[Draft], flow: Flow, start: int) -> tuple[Step, ...]:
    named = slugs([draft.tag for draft in drafts], RESERVED)
    steps = []
    for index, draft in enumerate(drafts):
        slug = named[draft.tag]
        groups = flow.step(draft, slug, before_start=index < start)
        if draft.row is None:
            continue
        lines = {key: child.line for key, child in draft.node.fields.items()}
        args = draft.node.get("args")
        for key, child in args.fields.items() if args is not None else ():
            lines[f"args.{key}"] = child.line
        steps.append(
            Step(
                index=index + 1,
                name=draft.row.name,
                tag=draft.tag,
                slug=slug,
                stage=draft.stage,
                row=draft.row.variant(draft.args),
                groups=groups,
                args=draft.args,
                takes=draft.takes,
                input_type=draft.input_type,
                output_type=draft.output_type,
                output_channel_name=tuple(name for name, _ in draft.outputs),
                output=draft.output,
                line=draft.node.line,
                lines=lines,
            )
        )
    return tuple(steps)


def _output_dir(root: Node, overrides: Overrides, problems: Problems) -> Path:
    node = root.get("output_dir")
    written = None if node is None else text(node, problems, "a path")
    if overrides.output_dir is not None:
        return overrides.launch_dir / overrides.output_dir
    if node is None and not misspelt(root, "output_dir", KEYS):
        problems.add(root.line, "output_dir", "is missing: name it here, or give --outdir")
    return overrides.launch_dir / expanded(written or "results")
