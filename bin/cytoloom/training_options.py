"""Options that the trainings share: one name and one meaning for each."""

from __future__ import annotations

from typing import Annotated

import typer

Images = Annotated[str, typer.Option(help="folder or quoted glob of images (TIFF, PNG, npy)")]
Labels = Annotated[str, typer.Option(help="folder or quoted glob of labels, named alike")]
Base = Annotated[
    str | None,
    typer.Option(help="model to go on with (name or folder); default: from random weights"),
]
Steps = Annotated[int, typer.Option(min=1, help="number of steps")]
BatchSize = Annotated[int, typer.Option("--batch", min=1, help="patches in a step")]
LearningRate = Annotated[
    float, typer.Option(min=1e-7, max=0.1, help="highest rate; it falls to nothing at the end")
]
HeldOut = Annotated[
    str, typer.Option(help="share of the images to hold out, or a file of their names")
]
Simulated = Annotated[
    int, typer.Option(min=0, help="simulated frames of nuclei to mix in (0: none)")
]
SimulatedShare = Annotated[
    float, typer.Option(min=0, max=1, help="share of patches that are of simulated frames")
]
Licence = Annotated[str, typer.Option(help="licence of the data, for the card")]
Source = Annotated[str, typer.Option(help="where the data are from, for the card")]
Seed = Annotated[int, typer.Option(min=0, help="another seed, other patches")]
CheckpointMinutes = Annotated[float, typer.Option(min=0.05, help="minutes between checkpoints")]
