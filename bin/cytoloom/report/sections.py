"""The sections of a run's page that have data: positions, illumination, motion, traces and more.

A section without its tables is left out; a table without rows gives a line that says so.
"""

from __future__ import annotations

from cytoloom.report import (
    sections_evaluation,
    sections_illumination,
    sections_killing,
    sections_motion,
    sections_positions,
    sections_registration,
    sections_traces,
)
from cytoloom.report.inputs import Inputs
from cytoloom.report.page import Section


def make(inputs: Inputs) -> list[Section]:
    """Return all sections in the order of the page."""
    colours = channel_colours(inputs)
    made = (
        sections_positions.make(inputs, colours),
        sections_illumination.make(inputs, colours),
        sections_registration.make(inputs),
        sections_motion.make(inputs, colours),
        sections_killing.contacts(inputs),
        sections_killing.killing(inputs),
        sections_traces.make(inputs),
        sections_evaluation.make(inputs),
    )
    return [section for section in made if section and section.blocks]


def channel_colours(inputs: Inputs) -> dict[str, int]:
    """Give every channel its number among the colours, the same in all charts."""
    names = [str(name) for name in inputs.run.get("channels", [])]
    for place in inputs.run["positions"]:
        names += inputs.measured(place["slug"])
    return {name: number for number, name in enumerate(dict.fromkeys(names))}
