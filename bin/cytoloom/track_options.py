"""Arguments that several trackers share, declared once so that they mean the same everywhere."""

from typing import Annotated

import typer

from cytoloom import tracks

_Distance = "greatest distance [unit]; not given: not allowed"

SizeMin = Annotated[float | None, typer.Option(help="track only cells of an area above this [px]")]
SizeMax = Annotated[float | None, typer.Option(help="track only cells of an area below this [px]")]
Unit = Annotated[
    tracks.Length,
    typer.Option(
        help="unit of the distances: px (pixels along x), um, or diameter (median diameter of "
        "the cells of this position)"
    ),
]
MinTrackLength = Annotated[
    int, typer.Option(min=1, help="trees of fewer cells stay untracked; TrackMate: 2")
]

LinkingMaxDistance = Annotated[
    float, typer.Option(min=0, help="greatest distance from one frame to the next [unit]")
]
MaxFrameGap = Annotated[
    int,
    typer.Option(
        min=1,
        help="greatest difference of frame numbers across a gap; 2 bridges one missing frame",
    ),
]
GapClosingMaxDistance = Annotated[
    float, typer.Option(min=0, help="greatest distance across a gap [unit]")
]
GapClosing = Annotated[bool, typer.Option(help="join tracks across missing frames")]
SplittingMaxDistance = Annotated[
    float | None, typer.Option(min=0, help=f"splits of tracks (divisions): {_Distance}")
]
MergingMaxDistance = Annotated[
    float | None, typer.Option(min=0, help=f"merges of tracks: {_Distance}")
]
AlternativeLinkingCostFactor = Annotated[
    float, typer.Option(min=0.01, help="cost of no link, relative to the reference cost")
]
CutoffPercentile = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="reference cost of gaps, splits and merges: this quantile of all their costs",
    ),
]
