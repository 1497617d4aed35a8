"""PyAMA's own ``processing_config.yaml``, read as a pipeline of ours.

The file names channels and parameters but no images: they come with ``--input``, or with a
key ``input`` (and ``output_dir``, ``samples``, ``fit``) that its users may add. Each position
becomes ``fov_000``, …; the phase contrast channel is called ``pc_ch_<n>``, a fluorescence channel
``fl_ch_<n>``. Whatever a channel is missing for is left out, as PyAMA does. Every value
keeps its line, so that a mistake is found where it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cytoloom.errors import CytoloomError
from cytoloom.plan import checks
from cytoloom.plan.nodes import Node
from cytoloom.plan.problems import Problems
from cytoloom.plan.pyama_channels import Config, read_channels
from cytoloom.positions import parse_fovs
from cytoloom.sources import SPLIT, expand, open_source, scenes_of

KEYS = ("channels", "params")
OURS = ("input", "output_dir", "samples", "fit", "description", "spacing")
WITHOUT_EFFECT = ("batch_size", "n_workers", "time_units", "results", "version", "device")
PARAMS = {  # of PyAMA -> the step and its argument
    "logstd_window_size": ("LogStd", "window_size"),
    "morph_size": ("LogStd", "morph_size"),
    "morph_iterations": ("LogStd", "morph_iterations"),
    "min_object_size": ("LogStd", "min_size"),
    "max_object_size": ("LogStd", "max_size"),
    "min_iou": ("IoU", "min_iou"),
    "crop_padding": ("Cropping", "padding"),
    "mask_margin": ("Cropping", "mask_margin"),
    "min_frames": ("Extraction", "min_frames"),
    "border_margin": ("Extraction", "border_margin"),
    "background_weight": ("Extraction", "background_weight"),
    "erosion_size": ("Extraction", "erosion_size"),
}
OTHER_PARAMS = (
    "fovs", "fov_list", "fov_start", "fov_end", "segmentation_method", "tracking_method",
    "copy_only", "frame_interval", "time_mapping", "features",
)  # fmt: skip
SEGMENTATION = {
    "logstd": ("LogStd", {}),
    "cellpose": (
        "CellPose",
        {"model_type": "cpsam", "flow_threshold": 0.4, "min_size": 15},
    ),
}
PERIOD = 600.0  # s: PyAMA's 10 minutes, where neither it nor the file says another
ALL = (*PARAMS, *OTHER_PARAMS, *WITHOUT_EFFECT)


def is_config(root: Node) -> bool:
    """Tell PyAMA's configuration from a pipeline of ours, by its keys."""
    if "pipeline" in root.fields:
        return False
    channels = root.get("channels")
    kinds = channels.fields if channels is not None and channels.kind == "map" else {}
    return "params" in root.fields or ("pc" in kinds and "fl" in kinds)


def is_samples(root: Node) -> bool:
    """Tell PyAMA's ``samples.yaml`` by its key."""
    return "samples" in root.fields and not {"pipeline", *KEYS} & set(root.fields)


def translate(root: Node, path: Path, given: str | None, problems: Problems) -> tuple[Node, bool]:
    """Return a configuration as the YAML of a pipeline, and whether only images are copied.

    Parameters
    ----------
    given
        What the command line names as input.
    """
    checks.known_keys(root, (*KEYS, *OURS, *WITHOUT_EFFECT), problems, "key of PyAMA's file")
    params = root.get("params")
    if params is not None and params.kind != "map":
        problems.add(params.line, "params", f"must be a mapping, not {params}")
        params = None
    if params is not None:
        checks.known_keys(params, ALL, problems, "parameter of PyAMA")
    config = Config(path, params=params.fields if params is not None else {})
    if not checks.misspelt(root, "channels", KEYS):
        read_channels(config, root.get("channels"), root.line, problems)
    only_copy = _flag(config, "copy_only", problems)
    source = _input(root, given)
    steps = _steps(config, _samples(root, path), root.get("fit"), problems)
    fields = {
        "channels": _channels(config),
        "input": _positions(config, root, source, problems),
        "pipeline": _node(steps, root.line, "pipeline"),
    }
    interval = _interval(config, source, problems)
    if interval is not None:
        fields["frame_interval"] = interval
    for key in ("output_dir", "description", "spacing"):
        if key in root.fields:
            fields[key] = root.fields[key]
    names = [step["name"] for stage in steps.values() if isinstance(stage, list) for step in stage]
    said = ", ".join(names) if names and not only_copy else "the images are copied, nothing else"
    problems.warn(1, "", f"read as PyAMA's configuration: {said}")
    return Node("map", root.line, "", fields=fields), only_copy or not names


def _channels(config: Config) -> Node:
    named = {config.pc.name("pc"): config.pc} if config.pc else {}
    return Node(
        "map", 1, "channels",
        fields={
            name: Node("scalar", c.line, f"channels.{name}", value=c.inside, text=str(c.inside))
            for name, c in {**named, **config.fl}.items()
        },
    )  # fmt: skip


# ---- input ----------------------------------------------------------------------------------


def _input(root: Node, given: str | None) -> Node | None:
    if given is not None:
        return Node("scalar", root.line, "--input", value=given, text=given)
    return root.get("input")


def _positions(config: Config, root: Node, source: Node | None, problems: Problems) -> Node:
    """Return ``input``: the positions asked for, plane 0 as in PyAMA."""
    if source is None:
        message = "PyAMA's configuration names no images: give them with --input FILE"
        problems.add(root.line, "input", message)
        return Node("list", root.line, "input")
    if source.kind != "scalar" or Path(source.text).suffix.lower() in (".csv", ".tsv"):
        return source
    fields = {
        "path": source,
        "z": _node(0, source.line, "input.z"),
        "position": _node("fov_{fov}", source.line, "input.position"),
    }
    wanted = _wanted(config, source, problems)
    if wanted is not None:
        line = next((config.params[k].line for k in ("fovs", "fov_list") if k in config.params), 1)
        fields["fovs"] = _node(wanted, line, "params.fovs")
    return Node("map", source.line, "input", fields=fields)


def _wanted(config: Config, source: Node, problems: Problems) -> list[int] | None:
    """Return the positions asked for; None: all."""
    for key in ("fovs", "fov_list"):
        node = config.params.get(key)
        if (
            node is None
            or node.is_null
            or node.value == ""
            or (node.kind == "list" and not node.items)
        ):
            continue
        value = node.plain()
        try:
            return parse_fovs(str(value) if type(value) is int else value)
        except ValueError as error:
            problems.add(node.line, node.where, str(error))
            return None
    ends = [config.params.get(key) for key in ("fov_start", "fov_end")]
    first, last = (
        checks.integer(n, problems, minimum=-1) if n is not None and not n.is_null else None
        for n in ends
    )
    if first in (None, 0) and last in (None, -1):
        return None
    if last in (None, -1):
        numbers = [scene.number for scene in _scenes(config, source)]
        last = max(numbers, default=first or 0)
    assert last is not None
    if last < (first or 0):
        node = next(n for n in ends if n is not None)
        problems.add(node.line, node.where, f"fov_start {first} is after fov_end {last}")
        return None
    return list(range(first or 0, last + 1))


def _found(config: Config, source: Node) -> str | None:
    for folder in (config.path.parent, Path.cwd()):
        try:
            files = expand(folder / source.text)
        except (CytoloomError, OSError):
            continue
        if len(files) == 1 or SPLIT.fullmatch(files[0].name):
            return str(files[0])
    return None


def _scenes(config: Config, source: Node) -> list[Any]:
    path = _found(config, source)
    try:
        return list(scenes_of(path)) if path else []
    except CytoloomError:  # said where the file is opened for good
        return []


def _interval(config: Config, source: Node | None, problems: Problems) -> Node | None:
    """Return the seconds between frames: PyAMA's value, or its default if the file is silent."""
    node = config.params.get("frame_interval")
    if node is not None and not node.is_null:
        minutes = checks.number(node, problems, above=0)
        return None if minutes is None else _node(minutes * 60.0, node.line, "frame_interval")
    scenes = _scenes(config, source) if source is not None and source.kind == "scalar" else []
    if not scenes:
        return None
    try:
        opened = open_source(scenes[0].path, scene=scenes[0].inside)
    except CytoloomError:
        return None
    if opened.frame_interval is not None or opened.shape[0] == 1:
        return None
    problems.warn(1, "frame_interval", "nobody says; PyAMA's 10 minutes are taken")
    return _node(PERIOD, 1, "frame_interval")


def _samples(root: Node, path: Path) -> Node | None:
    """Return the path of the samples: named in the file, or ``samples.yaml`` beside it."""
    if (node := root.get("samples")) is not None:
        return node
    beside = path.parent / "samples.yaml"
    return _node(str(beside.absolute()), root.line, "samples") if beside.is_file() else None


# ---- steps ----------------------------------------------------------------------------------


def _steps(
    config: Config, samples: Node | None, fit: Node | None, problems: Problems
) -> dict[str, Any]:
    """Return the steps by stage; without phase contrast nothing is segmented or measured."""
    if config.pc is None:
        problems.warn(1, "channels.pc", "no phase contrast: nothing is segmented or measured")
        return _without_cells(list(config.fl))
    pc, fl = config.pc.name("pc"), list(config.fl)
    segmentation, own = _method(config, "segmentation_method", SEGMENTATION, problems)
    tracking, _ = _method(config, "tracking_method", {"iou": ("IoU", {})}, problems)
    args = _arguments(config, pc, segmentation)
    args[segmentation] = {**own, **args.get(segmentation, {})}
    together: list[Any] = [[pc, *fl]]
    after: list[tuple[str, list[Any]]] = []
    if fl:
        after.append(("SplineBackground", [[channel, pc] for channel in fl]))
    after += [(name, together) for name in ("Cropping", "Extraction", "Caching")]
    if samples is not None:
        args["MergeSamples"] = {"samples": samples}
    if samples is not None or fit is not None:
        after.append(("MergeSamples", [pc]))
    if fit is not None:
        args["FitTraces"] = {"model": fit} if fit.kind == "scalar" else dict(fit.fields)
        after.append(("FitTraces", [pc]))

    def step(name: str, channels: list[Any]) -> dict[str, Any]:
        written: dict[str, Any] = {"name": name, "channels": channels}
        return written | ({"args": args[name]} if args.get(name) else {})

    return {
        "segmentation": [step(segmentation, [pc])],
        "label_to_sparse": {"image_label_pair": [[pc, pc]]},
        "tracking": [step(tracking, [pc])],
        "postprocessing": [step(name, channels) for name, channels in after],
    }


def _arguments(config: Config, pc: str, segmentation: str) -> dict[str, dict[str, Any]]:
    """Return the arguments of the steps by what PyAMA's parameters say."""
    args: dict[str, dict[str, Any]] = {}
    for key, (of, name) in PARAMS.items():
        node = config.params.get(key)
        if node is not None and not node.is_null:
            args.setdefault(of, {})[name] = node
    if segmentation != "LogStd":
        args.pop("LogStd", None)
    args.setdefault("Extraction", {})["features"] = _measured(config, pc)
    if (mapping := config.params.get("time_mapping")) is not None and not mapping.is_null:
        file = _node(str(config.path.absolute()), mapping.line, mapping.where)
        args["Extraction"]["time_mapping"] = file
    if "min_frames" in args["Extraction"]:
        args.setdefault("Cropping", {})["min_frames"] = args["Extraction"]["min_frames"]
    return args


def _without_cells(fl: list[str]) -> dict[str, Any]:
    """Return what PyAMA does with fluorescence alone: backgrounds and copies to look at."""
    steps = [
        {"name": "SplineBackground", "channels": [[channel, channel] for channel in fl]},
        {"name": "Caching", "channels": [fl]},
    ]
    return {"postprocessing": steps} if fl else {}


def _measured(config: Config, pc: str) -> Node:
    """Return the features of all channels, as ``channel:feature``; ``none`` where there is none."""
    everywhere: dict[str, tuple[str, ...]] = {}
    if (node := config.params.get("features")) is not None and node.kind == "map":
        for kind in ("phase", "fluorescence"):
            child = node.get(kind)
            items = child.items if child is not None else ()
            everywhere[kind] = tuple(str(item.value) for item in items)
    assert config.pc is not None
    line = next(iter(config.fl.values()), config.pc).line
    found = [f"{pc}:{f}" for f in config.pc.features or everywhere.get("phase", ())]
    for name, channel in config.fl.items():
        features = channel.features or everywhere.get("fluorescence", ())
        found += [f"{name}:{feature}" for feature in features]
    return _node(found or ["none"], line, "features")


def _method(
    config: Config, key: str, known: Mapping[str, tuple[str, dict[str, Any]]], problems: Problems
) -> tuple[str, dict[str, Any]]:
    first = next(iter(known.values()))
    node = config.params.get(key)
    if node is None or node.is_null:
        return first
    if str(node.value).lower() == "btrack":
        message = "btrack is not offered: take iou, or write a pipeline with LapTrack"
        problems.add(node.line, node.where, message)
        return first
    name = checks.choice(node, known, problems)
    return first if name is None else known[name]


def _flag(config: Config, key: str, problems: Problems) -> bool:
    node = config.params.get(key)
    return bool(node is not None and not node.is_null and checks.boolean(node, problems))


def _node(value: Any, line: int, where: str) -> Node:
    """Return Python values as nodes; nodes in them keep their own lines."""
    if isinstance(value, Node):
        return value
    if isinstance(value, Mapping):
        fields = {str(k): _node(v, line, f"{where}.{k}") for k, v in value.items()}
        return Node("map", line, where, fields=fields)
    if isinstance(value, list | tuple):
        items = tuple(_node(v, line, f"{where}[{i}]") for i, v in enumerate(value))
        return Node("list", line, where, items=items)
    return Node("scalar", line, where, value=value, text=str(value))
