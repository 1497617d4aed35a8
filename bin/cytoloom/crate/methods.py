"""The methods of a run in words for a paper: stage by stage, in the past tense, with references.

Each step's sentence is the template of its row in the registry, filled with the values that
were used. What the user wrote is escaped, so that it can neither break the Markdown nor
pass for a citation. A row without a text gets one from its description.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cytoloom.crate.citations import MARK, numbered, reference_list

STAGES = {
    "preprocessing": "Preprocessing",
    "segmentation": "Segmentation",
    "label_to_sparse": "Measurement",
    "tracking": "Tracking",
    "postprocessing": "Analysis",
    "evaluation": "Evaluation",
}
SPECIAL = re.compile(r"([\\`*{}\[\]<>|#~]|(?<![^\W_])_|_(?![^\W_]))")
OWN = "own"
FEW = 6  # values that are told one by one


class Choices(list[Any]):
    """The values that an argument took, over the points of a sweep or from the data."""


def escaped(text: object) -> str:
    """Return text of the user as one line of Markdown that reads as it stands."""
    return SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def listed(items: Sequence[str], last: str = "and") -> str:
    """Return words as a list in a sentence."""
    *first, end = items or ["none"]
    return f"{', '.join(first)} {last} {end}" if first else end


def number(value: float, digits: int = 6) -> str:
    """Return a number of so many significant digits, without an exponent where it is not long."""
    return f"{float(f'{value:.{digits}g}'):.9g}"


def shown(value: Any) -> str:
    """Return a value as it stands in a sentence."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if (
        isinstance(value, Choices)
        and len(value) > FEW
        and not any(isinstance(v, str) for v in value)
    ):
        return f"{shown(min(value))} to {shown(max(value))}"
    if isinstance(value, list):
        return listed(
            [shown(item) for item in value], "or" if isinstance(value, Choices) else "and"
        )
    return str(value) if isinstance(value, int | Markup) else escaped(value)


class Markup(str):
    """Text of ours, which is not escaped."""

    __slots__ = ()


def write_methods(
    run: Mapping[str, Any], facts: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]
) -> tuple[str, list[str]]:
    """Return the methods of a run in Markdown, and the keys of the references in order.

    Parameters
    ----------
    run, facts
        The description of the run and its facts (see ``plan.facts``).
    known
        All references by key.
    """
    described = {step["slug"]: step for step in facts["steps"]}
    parts = ["# Methods", _frame(run, facts)]
    for stage, title in STAGES.items():
        steps = [step for step in run["steps"] if step["stage"] == stage]
        if steps:
            parts.append(f"## {title}")
            parts += [sentence(run, facts, step, described[step["slug"]]) for step in steps]
    if sweep := run.get("sweep"):
        parts += ["## Choice of arguments", _sweep(sweep)]
    parts += ["## Software", _software(facts)]
    text, keys = numbered("\n\n".join(parts))
    head = (
        "<!-- Written by Cytoloom for the run in this folder. The arguments are those that were "
        "used; all of them stand in pipeline_info/parameters.yml. -->"
    )
    return f"{head}\n\n{text}\n\n## References\n\n{reference_list(keys, known)}\n", keys


def sentence(
    run: Mapping[str, Any],
    facts: Mapping[str, Any],
    step: Mapping[str, Any],
    about: Mapping[str, Any],
) -> str:
    """Return what is said of one step, in Markdown with marks of citations."""
    import jinja2

    values = {name: _used(one) for name, one in about["arguments"].items()}
    for tag, name, choices in _swept(run):
        if tag == step["tag"]:
            values[name] = Choices(choices)
            if about["model"] and about["model"]["argument"] == name:
                values["model"] = values[name]
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, finalize=shown, autoescape=False
    )
    context = {**_words(run, facts, step, about), **values}
    text = environment.from_string(about["methods"] or _usual(about)).render(context)
    text = " ".join(text.split())
    if OWN in about["cite"] and not MARK.search(text):
        text = f"{text.removesuffix('.')} [@cytoloom]."
    return f"**{escaped(step['tag'])}.** {text}"


def _used(argument: Mapping[str, Any]) -> Any:
    """Return the value of an argument: what was given, or what it became where nothing was."""
    became = argument.get("resolved", [])
    if argument["value"] is not None or not became:
        return argument["value"]
    return became[0] if len(became) == 1 else Choices(became)


def _usual(about: Mapping[str, Any]) -> str:
    """Return the template of a step that has none."""
    keys = [key for key in about["cite"] if key != OWN]
    marks = f" [{'; '.join(f'@{key}' for key in keys)}]" if keys else ""
    return "{{ channels }} went through {{ name }} ({{ description }})" + marks + "."


def _words(
    run: Mapping[str, Any],
    facts: Mapping[str, Any],
    step: Mapping[str, Any],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a template may use beside the arguments."""
    sizes = {place["pixel_size"][2] for place in run["positions"]}
    intervals = {place["frame_interval"] for place in run["positions"]}
    return {
        "name": step["name"],
        "description": about["description"],
        "channels": Markup(_groups(step["channels"], step["stage"])),
        "outputs": Markup(listed([escaped(name) for name in step["outputs"]])),
        "families": about["families"],
        "model": _model(about["model"]),
        "version": lambda package: _version(facts, about, package),
        "px": _unit("px", "µm", sizes),
        "frames": _unit("frames", "s", intervals),
        "length": lambda value, unit: _length(value, unit, sizes),
    }


def _groups(groups: Sequence[Sequence[str]], stage: str) -> str:
    """Return the channels of a step in words."""
    words = []
    for group in groups:
        names = [escaped(name) for name in dict.fromkeys(group)]
        if stage == "label_to_sparse" and len(names) > 1:
            names = [f"{names[0]} (within the outlines of {names[1]})"]
        words.append(listed(names))
    words = list(dict.fromkeys(words))
    many = any(len(set(group)) > 1 for group in groups) and stage != "label_to_sparse"
    return "; ".join(words) if many else listed(words)


def _unit(unit: str, other: str, factors: set[float | None]) -> Callable[[Any], Markup]:
    """Return a function that writes a number with its unit, and in another where that is known."""
    factor = next(iter(factors)) if len(factors) == 1 else None

    def write(value: Any) -> Markup:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Markup(f"{shown(value)} {unit}")
        word = unit.removesuffix("s") if value == 1 and unit == "frames" else unit
        more = f" ({number(value * factor, 3)} {other})" if factor and value else ""
        return Markup(f"{shown(value)} {word}{more}")

    return write


def _length(value: Any, unit: Any, sizes: set[float | None]) -> Markup:
    if unit == "px":
        return _unit("px", "µm", sizes)(value)
    return Markup(
        f"{shown(value)} {'µm' if unit == 'um' else f'times the {shown(unit)} of a cell'}"
    )


def _model(model: Mapping[str, Any] | None) -> Markup | None:
    if model is None:
        return None
    digest = f" (SHA-256 {model['sha256'][:16]}…)" if model.get("sha256") else ""
    return Markup(f"{escaped(model['name'])}{digest}")


def _version(facts: Mapping[str, Any], about: Mapping[str, Any], package: str) -> Markup:
    for family in [*about["families"], "core"]:
        found = facts["families"].get(family, {}).get("packages", {}).get(package)
        if found:
            return Markup(found)
    return Markup("(version unknown)")


def _swept(run: Mapping[str, Any]) -> list[tuple[str, str, list[Any]]]:
    sweep = run.get("sweep") or {"axes": []}
    return [(axis["tag"], axis["argument"], axis["values"]) for axis in sweep["axes"]]


def _frame(run: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return what was analysed, and by what."""
    places = run["positions"]
    shapes = {tuple(place["shape"]) for place in places}
    names = [str(row["channel"]) for row in run["preflight"] if row.get("channel")]
    channels = listed([escaped(name) for name in dict.fromkeys(names)])
    many = f"{len(places)} positions" if len(places) != 1 else "one position"
    words = f"Images of {many} (channels {channels}) were analysed"
    if len(shapes) == 1:
        t, z, y, x = next(iter(shapes))
        planes = f" of {z} planes" if z > 1 else ""
        words += f": {t} frame{'s' if t != 1 else ''}{planes} of {y} × {x} px each"  # noqa: RUF001 - times
    sizes = {tuple(place["pixel_size"]) for place in places}
    if len(sizes) == 1:
        z, y, x = next(iter(sizes))
        flat = all(shape[1] == 1 for shape in shapes)
        sides = [y, x] if flat else [z, y, x]
        order = "y, x" if flat else "z, y, x"
        words += f", pixels of {' × '.join(number(s) for s in sides)} µm ({order})"  # noqa: RUF001 - times
    intervals = {place["frame_interval"] for place in places}
    if len(intervals) == 1 and any(shape[0] > 1 for shape in shapes):
        words += f", a frame every {number(next(iter(intervals)))} s"
    engine = facts["engine"]
    return (
        f"{words}. The analysis was done with Cytoloom {run['version']} [@cytoloom], run by "
        f"Nextflow {engine.get('nextflow') or '(version unknown)'} [@nextflow]; images were held "
        "as OME-Zarr [@omezarr]. Versions, arguments and digests of all files were recorded as a "
        "Workflow Run RO-Crate [@rocrate; @workflowrun]."
    )


def _sweep(sweep: Mapping[str, Any]) -> str:
    axes = [
        f"{escaped(axis['argument'])} of {escaped(axis['tag'])} ({shown(Choices(axis['values']))})"
        for axis in sweep["axes"]
    ]
    ranked = (
        "agreement with neighbouring points of the grid, for want of ground truth,"
        if sweep["rank_by"] == "stability"
        else shown(sweep["rank_by"])
    )
    crop = ", ".join(
        f"{axis} {a}:{'' if b is None else b}" for axis, (a, b) in sweep["crop"].items()
    )
    part = f" on a part of the data ({crop})" if crop else ""
    return (
        f"{len(sweep['points'])} combinations of {listed(axes)} were compared{part} and ranked by "
        f"{ranked} (sweep.csv)."
    )


def _software(facts: Mapping[str, Any]) -> str:
    """Return the versions that are not in the sentences, and how they were installed."""
    engine, lines = facts["engine"], []
    for name, family in facts["families"].items():
        main = [
            f"{package} {family['packages'][package]}"
            for package in family["main"] if package in family["packages"]
        ]  # fmt: skip
        lines.append(f"- {name}: {', '.join(main)}")
    how = f"in containers ({engine['container']})" if engine.get("container") else "in environments"
    java = f" on Java {engine['java']}" if engine.get("java") else ""
    commit = ""
    if at := facts.get("commit"):
        changed = ", with uncommitted changes" if at.endswith("+") else ""
        commit = f" Cytoloom was at commit {at.rstrip('+')}{changed}."
    return (
        f"Nextflow ran{java}.{commit} Every tool ran {how} made from a lock file with checksums; "
        "the main packages of each were:\n\n" + "\n".join(lines)
    )


def cited(methods: str, cite: Sequence[str]) -> list[str]:
    """Return the keys that a row of the registry cites, `own` included."""
    marks = [key.strip(" @") for found in MARK.findall(methods) for key in found.split(";")]
    return list(dict.fromkeys([*marks, *cite]))
