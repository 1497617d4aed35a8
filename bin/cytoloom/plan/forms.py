"""Arguments whose text, or the file that they name, has a form of its own (``forms`` of a row).

They are checked before anything runs; the executables check them once more. What is odd but
can be done is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cytoloom import cell_features
from cytoloom.plan.model import Step
from cytoloom.plan.problems import Problems, quoted, suggestion
from cytoloom.positions import read_samples, samples_by_position
from cytoloom.traces import fov_of

NOTHING = "none"  # as a feature


def check(step: Step, positions: list[str], found: Mapping[str, Any], problems: Problems) -> None:
    """Note what is wrong with the arguments of a step.

    Parameters
    ----------
    positions
        Names of all positions of the run.
    found
        Paths of files that arguments name.
    """
    for name, form in step.row.forms.items():
        if step.args.get(name) is not None:
            line = step.lines.get(f"args.{name}", step.line)
            value = found.get(name, step.args[name])
            FORMS[form](step, value, positions, problems, line, f"step {step.tag}: {name}")


def _features(
    step: Step, value: Any, _positions: list[str], problems: Problems, line: int, where: str
) -> None:
    """Check names of features of traces, where no plug-in brings others."""
    if step.args.get("plugin") is not None:
        return
    known = [*cell_features.SHAPE, *cell_features.INTENSITY, NOTHING]
    channels = sorted({name for group in step.groups for name in group.channels})
    for text in value:
        channel, _, feature = str(text).rpartition(":")
        if feature not in known:
            said = f"no feature {quoted(feature)}{suggestion(feature, known)}"
            problems.add(line, where, f"{said}; one of your own needs a plug-in, in a pipeline")
        if channel and channel not in channels:
            said = f"no channel {quoted(channel)} here{suggestion(channel, channels)}"
            problems.add(line, where, f"{text}: {said}")


def _samples(
    _step: Step, value: Any, positions: list[str], problems: Problems, line: int, where: str
) -> None:
    """Check PyAMA's ``samples.yaml``; positions missing, in two samples or in none are odd."""
    if not Path(value).is_file():
        return  # said where files are found
    try:
        wanted = read_samples(value)
    except (ValueError, OSError) as error:
        problems.add(line, where, str(error))
        return
    _, odd = samples_by_position(wanted, {name: fov_of(name) for name in positions})
    for text in odd:
        problems.warn(line, where, text)


FORMS: Mapping[str, Callable[..., None]] = {"features": _features, "samples": _samples}
