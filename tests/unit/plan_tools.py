"""Helpers for tests of the plan: stand-ins for executables, and a complete pipeline."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from cytoloom.plan.arguments import Signatures
from cytoloom.plan.grammar import Overrides, Pipeline, load_pipeline
from cytoloom.plan.problems import PlanProblems
from cytoloom.plan.registry import load_registry

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ASSETS = ROOT / "assets"
BIN = ROOT / "bin"

_HEAD = """
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
import typer
from cytoloom import cli

class Choice(StrEnum):
    otsu = "otsu"
    fixed = "fixed"

def at_least(minimum, maximum=None):
    return typer.Option(min=minimum, max=maximum)

"""
_ARGUMENTS = {
    "preprocess_percentile": "lp: Annotated[float, at_least(0, 100)] = 5, "
    "up: Annotated[float, at_least(0, 100)] = 95, verbose: bool = True",
    "preprocess_gamma": "gamma: Annotated[float, at_least(0)] = 1.0, gain: float = 1.0",
    "preprocess_merge": "weights: list[float] | None = None",
    "segment_stardist": "model_name: str = '2D_versatile_fluo', "
    "prob_thresh: Annotated[float | None, at_least(0, 1)] = None, "
    "nms_thresh: Annotated[float, at_least(0, 1)] = 0.3",
    "segment_cellpose": "model_type: str = 'cellpose3_nuclei', "
    "diameter: Annotated[float | None, at_least(0)] = None, cellprob_thresh: float = 0.0, "
    "batch_size: Annotated[int, at_least(1)] = 8",
    "segment_threshold": "method: Choice = Choice.otsu, sigma: Annotated[float, at_least(0)] = 1.0,"
    " threshold: float | None = None, min_size: Annotated[int, at_least(0)] = 0",
    "segment_refine": "size_min: int | None = None, clear_border: bool = False",
    "track_laptrack": "linking_max_distance: Annotated[float, at_least(0)] = 15.0, "
    "max_frame_gap: Annotated[int, at_least(1)] = 5, "
    "gap_closing_max_distance: Annotated[float, at_least(0)] = 15.0",
    "preprocess_register": "stacks: int = 12, parallel: bool = True, batch_size: int = 0",
    "track_trackmate": "linking_max_distance: Annotated[float, at_least(0)] = 15.0, "
    "max_frame_gap: Annotated[int, at_least(1)] = 5, "
    "gap_closing_max_distance: Annotated[float, at_least(0)] = 15.0",
    "track_trackpy": "linking_max_distance: Annotated[float, at_least(0)] = 15.0",
    "analyse_contact": "base_image: bool = False, distance: Annotated[float, at_least(0)] = 0.0",
    "analyse_contact_merge": "max_gap: Annotated[int, at_least(0)] = 0",
    "analyse_traces": "min_frames: int = 30, border_margin: int = 50, "
    "frame_interval: float | None = None, time_mapping: str | None = None",
    "analyse_triangulation": "method: Literal['delaunay', 'threshold_connected'] = 'delaunay', "
    "base_image: bool = False",
    "analyse_filter": "column: str, operation: Literal['<', '>', '==', '!=', '<=', '>='], "
    "value: float",
    "analyse_cross_table": "column: str, operation: Literal['divide'] = 'divide'",
}


def write_executable(folder: Path, name: str, arguments: str = "") -> None:
    """Write a stand-in for an executable with contract options and ``arguments``."""
    contract = "out_image: cli.OutImage, region: cli.RegionText = None"
    signature = ", ".join(part for part in (f"*, {contract}", arguments) if part)
    (folder / f"{name}.py").write_text(f"{_HEAD}def main({signature}) -> None:\n    pass\n")


def stand_ins(folder: Path) -> Signatures:
    """Return signatures of stand-ins for all executables of the registry."""
    rows = list(load_registry())
    names = {row.executable for row in rows} | {p.executable for r in rows for p in r.before}
    names |= set(_ARGUMENTS)
    for name in sorted(names - {""}):
        write_executable(folder, name, _ARGUMENTS.get(name, ""))
    return Signatures(folder)


@cache
def shared_signatures() -> Signatures:
    """Return stand-ins that all tests of a session share; they are read only once."""
    import tempfile

    folder = tempfile.TemporaryDirectory(prefix="stand-ins-")
    signatures = stand_ins(Path(folder.name))
    for row in load_registry():
        if row.available:
            signatures.of_step(row)
    folder.cleanup()
    return signatures


COMPLETE = """\
description: every key and most steps
microscope: confocal
fiji_dir: null
channels:
  TCell: tcell.tif
  CancerCell: cancer.tif
  Dead: dead.tif
image_range:
  x: [0, null, 1]
  y: [0, -1, 2]
  t: [0, 100, 1]
spacing: [0.83, 0.83]
frame_interval: 60
output_dir: results
patching:
  patch_count: [2, 2]
  patches: all
  overlap: 64
pipeline:
  preprocessing:
    - name: ChannelMerge
      tag: Merge
      channels: [[CancerCell, Dead]]
      output_channel_name: Composite
      output: true
    - name: PercentileNormalization
      tag: Normalize
      channels: all
      args:
        lp: 5
        up: 95
      output: false
  segmentation:
    - name: StarDist
      tag: Nuclei
      channels: [TCell, Composite]
      input_type: image
      args:
        prob_thresh: 0.3
        nms_thresh: 0.8
      output_type: label
    - name: Refine
      channels: [TCell]
      input_type: label
      args: null
  label_to_sparse:
    image_label_pair:
      - [TCell, TCell]
      - [Composite, Composite]
      - [Dead, Composite]
    output: true
  tracking:
    - name: LapTrack
      tag: Track
      channels: [TCell, Composite]
      args:
        max_frame_gap: 2
        verbose: true
  postprocessing:
    - name: CrossCellContactMeasures
      tag: Contact
      channels: [[TCell, Composite]]
      input_type: [image, label, feature]
      output_type: [image, feature, network]
      args:
        base_image: false
        max_gap: 1
        threads: 4
      output_channel_name: [Killers]
    - name: CellTriangulation
      channels: [Composite, TCell]
      output_channel_name: [NetA, NetB]
    - name: FeatureFilter
      channels: [TCell]
      args:
        column: size
        operation: '>'
        value: 20
      output_channel_name: [Large]
    - name: Kinematics
      channels: [Large]
    - name: CellKilling
      channels: [[TCell, Composite, Dead]]
      output_channel_name: [Killing]
"""


def write_inputs(folder: Path, *names: str) -> None:
    """Make empty files: only their presence counts here."""
    for name in names or ("tcell.tif", "cancer.tif", "dead.tif"):
        (folder / name).touch()


def load(path: Path, **overrides: Any) -> Pipeline:
    """Load a pipeline with stand-ins; the launch folder is that of the file."""
    overrides.setdefault("launch_dir", path.parent)
    return load_pipeline(path, Overrides(**overrides), signatures=shared_signatures())


def load_text(folder: Path, text: str, **overrides: Any) -> Pipeline:
    """Write ``text`` as a pipeline YAML beside empty inputs, and load it."""
    write_inputs(folder)
    path = folder / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, **overrides)


def mistakes(folder: Path, text: str, **overrides: Any) -> list[str]:
    """Return the problems of a pipeline YAML without its path: ``line: where: message``."""
    lines: tuple[str, ...] = ()
    try:
        load_text(folder, text, **overrides)
    except PlanProblems as error:
        lines = error.lines
    start = f"{folder / 'p.yaml'}:"
    assert all(line.startswith(start) and "\n" not in line for line in lines)
    return [line.removeprefix(start) for line in lines]
