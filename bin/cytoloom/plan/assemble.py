"""The whole plan, from a pipeline YAML to steps with jobs.

Order: grammar (``grammar``), resources (``resources``), headers of the input
(``positions``), the grid of each position (``layers``), digests of the pixels
(``digests``), then ingest, steps and delivery (``ends``, ``builder``). A description of
the run for the report lies beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cytoloom.errors import BadData, InputMissing, UsageError
from cytoloom.files import writing
from cytoloom.plan import forms
from cytoloom.plan.arguments import Signatures
from cytoloom.plan.builder import Builder
from cytoloom.plan.crate import crate_step
from cytoloom.plan.digests import frames_digest, region_digests
from cytoloom.plan.edits import Edits
from cytoloom.plan.ends import delivery_steps, ingest_steps, sweep_steps
from cytoloom.plan.facts import facts
from cytoloom.plan.grammar import load_pipeline
from cytoloom.plan.jobs import Job, PlannedStep
from cytoloom.plan.layers import Grid, Position, frames_for_patches, share_of
from cytoloom.plan.model import Overrides, Pipeline, Step, slugs
from cytoloom.plan.positions import Opened, PositionSource, find_positions, preflight
from cytoloom.plan.problems import Problems
from cytoloom.plan.resources import Resources, load_resources
from cytoloom.plan.step_models import StepModels, in_family_of_model, notices
from cytoloom.plan.submissions import Submissions
from cytoloom.plan.sweep import Choice, Joined, Sweep, edited, join, load_sweep
from cytoloom.plan.user_files import UserFiles
from cytoloom.provenance import provenance_name
from cytoloom.regions import Region, Shape
from cytoloom.traces import base_of

FILES_OF_RUN = "pipeline_info/files.tsv"


@dataclass
class Plan:
    """A pipeline with everything that will be done for it."""

    pipeline: Pipeline
    resources: Resources
    outdir: Path
    positions: list[Position]
    sources: list[PositionSource]
    steps: list[PlannedStep]
    warnings: list[str]
    given: list[tuple[str, str]] = field(default_factory=list)
    sweep: Sweep | None = None
    joined: Joined | None = None  # the steps of all points of the sweep

    def jobs(self) -> list[Job]:
        """Return all jobs, in order."""
        return [job for step in self.steps for phase in step.phases.values() for job in phase]

    def total_jobs(self) -> int:
        """Return the number of tasks."""
        return len(self.jobs())

    def submissions(self) -> Submissions:
        """Return what is asked of a scheduler, and in which order."""
        return Submissions(self.pipeline, self.resources, self.steps)

    def preflight(self) -> list[dict[str, Any]]:
        """Return one row per input."""
        return preflight(self.sources)


def make_plan(
    path: Path,
    *,
    outdir: Path | None,
    resources: Path | None,
    input_: str | None,
    until: str | None,
    from_tag: str | None,
    lenient: bool,
    sweep: Path | None,
    assume_shape: Shape | None,
    digest: bool,
    verify: bool,
    cache: Path,
    code: Callable[[str, str], str],
    run_file: Path | None,
    describe: Callable[[Plan], dict[str, Any]],
    scheduler: str | None = None,
) -> Plan:
    """Make the plan of a pipeline.

    Raises
    ------
    BadData, InputMissing
        With one line for each mistake in the YAML, the resources or the input.
    """
    overrides = Overrides(
        output_dir=outdir, input=input_, until=until, from_tag=from_tag, dry_run=lenient
    )
    pipeline = load_pipeline(path, overrides)
    pipeline, swept, joined = _sweep(sweep, pipeline, overrides)
    asked = load_resources(resources, pipeline) if resources else Resources()
    on_gpu = _gpu_steps(pipeline, asked) if scheduler else []
    pipeline = replace(pipeline, steps=tuple(_on_gpu(s, on_gpu) for s in pipeline.steps))
    if not lenient:
        _check_output_folder(pipeline.output_dir)
    sources, warnings = find_positions(pipeline, assume_shape=assume_shape, lenient=lenient)
    positions = _positions(pipeline, asked, sources)
    plan = Plan(
        pipeline,
        asked,
        pipeline.output_dir,
        positions,
        sources,
        [],
        [*pipeline.warnings, *asked.warnings, *warnings],
        sweep=swept,
        joined=joined,
    )

    def digests(opened: Opened, regions: Sequence[Region]) -> list[str]:
        return _digests(opened, regions, cache if digest else None, verify)

    models = StepModels(pipeline, lenient, plan.warnings)
    steps = ingest_steps(
        positions, sources, dict(pipeline.slugs), code, digests, pipeline.patching.patches
    )
    files = UserFiles(
        (path.parent.absolute(), overrides.launch_dir.absolute()),
        {source.name: source.selected for source in sources},
        Problems(str(path)),
        cache if digest else None,
        verify,
        lenient,
    )
    builder = Builder(
        positions, pipeline.slugs, code, asked.batch_size, models.of, files.of,
        pipeline.patching.overlap or 0, Edits(plan.outdir, files.problems, digest).of, _value,
    )  # fmt: skip
    built = [_on_gpu(s, on_gpu) for s in joined.steps] if joined else pipeline.steps
    plan.steps = [*steps, *_build(builder, pipeline, built)]
    names = [position.slug for position in positions]
    for step in pipeline.steps if names else ():
        forms.check(step, names, files.of(step, names[0], step.groups[0])[0], files.problems)
    files.problems.raise_if_any()
    plan.warnings += notices({job.family for job in plan.jobs()})
    plan.warnings += files.problems.warnings
    about = digest and facts(
        [in_family_of_model(step, path.parent) for step in pipeline.steps],
        sources, plan.steps, lambda step: models.of(step)[0], files.used,
        cache=cache, verify=verify,
    )  # fmt: skip
    earlier = _skip(plan, {step.slug for step in pipeline.steps[: pipeline.start]})
    text = json.dumps(describe(plan), indent=1, sort_keys=True, default=str)
    run_digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    if run_file is not None:
        with writing(run_file) as temporary:
            temporary.write_text(text)
    where = run_file or Path("plan.run.json")
    if joined:
        plan.steps += sweep_steps(positions, plan.steps, code, where, run_digest)
    else:
        plan.steps += delivery_steps(
            pipeline, positions, plan.steps, code, where, run_digest, earlier
        )
    plan.steps.append(
        crate_step(
            plan.steps, code, plan.outdir, where, run_digest, about or None, bool(pipeline.config)
        )
    )
    _publish_apart(plan.jobs())
    for job in plan.jobs():
        job.outputs.append(provenance_name(job.outputs))
    plan.warnings += plan.submissions().warnings()
    plan.warnings += [f"step {tag}: its resources hold a GPU: gpu: true" for tag in on_gpu]
    return plan


def _publish_apart(jobs: Sequence[Job]) -> None:
    """Give results that would go to one place (position 0 of two files) folders of their own."""
    places = Counter(place for job in jobs for place in job.publish.values())
    for job in jobs:
        for name, place in job.publish.items():
            if places[place] > 1:
                position = name.split(".", 1)[0]
                job.publish[name] = f"{position}/{place.partition('/')[2]}"


def _digests(
    opened: Opened, regions: Sequence[Region], cache: Path | None, verify: bool
) -> list[str]:
    """Return a digest of what each ingest task reads; without a cache none is computed."""
    if cache is None or opened.source is None or opened.selection is None:
        return ["not computed"] * len(regions)
    channel = opened.source.channel_index(opened.given.source_channel)
    read = (opened.source, opened.selection, channel)
    found = region_digests(*read, regions, cache=cache, verify=verify)
    if opened.source.acquired is not None:  # what the first task writes beside its pixels
        found[0] += f" frames {frames_digest(*read, cache=cache, verify=verify)}"
    return found


def _gpu_steps(pipeline: Pipeline, resources: Resources) -> list[str]:
    """Return the tags of steps that are given a GPU and would leave it idle."""
    return [
        step.tag
        for step in pipeline.steps
        if step.row.gpu and "gpu" not in step.args and resources.wants_gpu(step)
    ]


def _on_gpu(step: Step, tags: Sequence[str]) -> Step:
    """Return a step with ``gpu: true`` if it is among ``tags``."""
    return replace(step, args={**step.args, "gpu": True}) if step.tag in tags else step


def _sweep(
    path: Path | None, base: Pipeline, overrides: Overrides
) -> tuple[Pipeline, Sweep | None, Joined | None]:
    """Read a sweep, and the pipeline at every point of its grid; return the cropped pipeline."""
    if path is None:
        return base, None, None
    if base.start:
        raise UsageError("--from does not go with --sweep: a sweep shares what it can by itself")
    signatures = Signatures()
    sweep = load_sweep(path, base, signatures)

    def at(choice: Choice) -> Pipeline:
        edit = replace(overrides, edit=lambda root: edited(root, base, sweep, choice))
        return load_pipeline(base.path, edit, signatures=signatures)

    joined = join(sweep, [at(choice) for choice in sweep.points()])
    return replace(base, image_range={**base.image_range, **sweep.crop}), sweep, joined


def _build(builder: Builder, pipeline: Pipeline, steps: Sequence[Step]) -> list[PlannedStep]:
    """Return the jobs of steps; those of one tag (points of a sweep) are one planned step."""
    slugs_ = {step.tag: step.slug for step in pipeline.steps}
    found: dict[str, PlannedStep] = {}
    for step in steps:
        made = builder.build(in_family_of_model(step, pipeline.path.parent))
        whole = found.setdefault(step.tag, replace(made, tag=slugs_[step.tag], phases={}))
        for phase, jobs in made.phases.items():
            whole.phases.setdefault(phase, []).extend(jobs)
    return list(found.values())


def _value(step: Step, name: str) -> Any:
    """Return the value of an argument of a step, given or by default."""
    if name in step.args:
        return step.args[name]
    return Signatures().of_step(step.row).arguments[name].default


def _check_output_folder(folder: Path) -> None:
    """Raise BadData unless files can be written in a folder, which is made if it is not there."""
    remedy = "give another folder with --outdir"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadData(f"output folder {folder}: {error.strerror}; {remedy}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadData(f"output folder {folder}: no right to write; {remedy}")


def _positions(
    pipeline: Pipeline, resources: Resources, sources: list[PositionSource]
) -> list[Position]:
    names = slugs([source.name for source in sources])
    steps = pipeline.steps

    def batches(shape: Shape) -> tuple[int, ...]:
        sizes = (_frames_asked(step, resources, pipeline.patching.count, shape) for step in steps)
        return tuple(size for size in sizes if size)

    return [
        Position(
            source.name,
            names[source.name],
            Grid.of(
                source.shape,
                pipeline.patching.count,
                batches(source.shape),
                _shares(pipeline, source.shape),
            ),
            source.pixel_size,
            source.frame_interval,
            base_of(source.inputs[0].given.path) if source.inputs else "",
        )
        for source in sources
    ]


def _frames_asked(
    step: Step, resources: Resources, count: tuple[int, int], shape: Shape
) -> int | None:
    """Return the frames per task that a step asks for."""
    asked = resources.batch_size(step.tag, step.row.phase)
    if asked and step.row.batch_of == "patches":
        return frames_for_patches(asked, count[0] * count[1], shape[0])
    return asked or step.args.get(step.row.batch_size or "")


def _shares(pipeline: Pipeline, shape: Shape) -> tuple[int, ...]:
    """Return the frames per batch of the steps that are long enough for several cores."""
    shares = (
        share_of(shape, phase.seconds_per_voxel)
        for step in pipeline.steps
        for phase in (*step.row.before, step.row.core)
    )
    return tuple(share for share in shares if share)


def _skip(plan: Plan, slugs_: set[str]) -> list[str]:
    """Take the files of the steps before ``--from`` from an earlier run in the same folder.

    Returns the names of the provenance of those steps, as far as it is still there.
    """
    listing = plan.outdir / FILES_OF_RUN
    skipped = [step for step in plan.steps if step.tag in slugs_]
    plan.steps = [step for step in plan.steps if step.tag not in slugs_]
    made = {name for job in plan.jobs() for name in job.outputs}
    needed = {name for job in plan.jobs() for name in job.inputs} - made
    skipped_names = {
        n for s in skipped for jobs in s.phases.values() for j in jobs for n in j.outputs
    }
    needed |= skipped_names
    if not needed:
        return []
    if not listing.is_file():
        raise InputMissing(
            f"--from: {listing} is not there: an earlier run in the same output folder is needed, "
            "or give the results before that step as labels: and tables:"
        )
    known = dict(line.split("\t", 1) for line in listing.read_text().splitlines() if "\t" in line)
    missing = sorted(name for name in needed if not Path(known.get(name, "/-")).exists())
    if missing:
        raise BadData(
            f"--from: {len(missing)} files of the earlier run are gone or were made otherwise "
            f"(the first: {missing[0]}); run without --from, with -resume"
        )
    jobs = [job for step in skipped for phase in step.phases.values() for job in phase]
    records = {provenance_name(job.outputs) for job in jobs}
    records = {name for name in records if Path(known.get(name, "/-")).exists()}
    plan.given = sorted((name, known[name]) for name in needed | records)
    return sorted(records)
