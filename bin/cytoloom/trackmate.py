"""TrackMate in the running virtual machine: spots in, links and TrackMate's file out.

Written against TrackMate 7 (and 8, whose spots are of another class); nothing here needs
an image or a window. Detections are imported, as TrackMate's CSV importer does it.

References
----------
Tinevez et al., Methods 115, 80 (2017). Ershov et al., Nature Methods 19, 829 (2022).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom import cli, jvm
from cytoloom.errors import BadData, UsageError
from cytoloom.exchange.trackmate_features import declarations
from cytoloom.exchange.trackmate_xml import Scene

log = logging.getLogger("cytoloom")
Filter = tuple[str, bool, float]

ROOT = "fiji.plugin.trackmate"
TRACKERS = [f"{ROOT}.tracking.{name}" for name in ("jaqaman", "sparselap")]  # since 7.10, before
ANALYZERS = {  # what TrackMate's CSV importer computes, and the splits and merges
    "Edge": (
        "EdgeTargetAnalyzer",
        "EdgeTimeLocationAnalyzer",
        "EdgeSpeedAnalyzer",
        "EdgeVelocityAnalyzer",  # its name before
    ),
    "Track": (
        "TrackIndexAnalyzer",
        "TrackDurationAnalyzer",
        "TrackBranchingAnalyzer",
        "TrackLocationAnalyzer",
        "TrackSpeedStatisticsAnalyzer",
        "TrackSpotQualityFeatureAnalyzer",
    ),
}


@dataclass(frozen=True)
class Settings:
    """What TrackMate is told; distances in micrometre, None forbids."""

    linking_max_distance: float
    max_frame_gap: int
    gap_closing_max_distance: float | None
    splitting_max_distance: float | None
    merging_max_distance: float | None
    alternative_linking_cost_factor: float
    cutoff_percentile: float
    initial_spot_filter: float | None = None
    spot_filters: Sequence[Filter] = ()
    track_filters: Sequence[Filter] = ()

    @property
    def simple(self) -> bool:
        """Whether the simple LAP tracker does."""
        return self.splitting_max_distance is None and self.merging_max_distance is None


@dataclass(frozen=True)
class Result:
    """Links as positions in the table of objects, and which objects TrackMate kept."""

    edges: NDArray[np.int64]
    kept: NDArray[np.bool_]


def tracker(settings: Settings) -> tuple[Any, Any]:
    """Return TrackMate's tracker factory and its map of settings, every value of its class."""
    name = "SimpleSparseLAPTrackerFactory" if settings.simple else "SparseLAPTrackerFactory"
    factory = jvm.find_class(*(f"{package}.{name}" for package in TRACKERS))()
    double, integer, boolean = (
        jvm.find_class(f"java.lang.{kind}").valueOf for kind in ("Double", "Integer", "Boolean")
    )
    table = factory.getDefaultSettings()
    table.put("LINKING_MAX_DISTANCE", double(settings.linking_max_distance))
    events = {
        ("ALLOW_GAP_CLOSING", "GAP_CLOSING_MAX_DISTANCE"): settings.gap_closing_max_distance,
        ("ALLOW_TRACK_SPLITTING", "SPLITTING_MAX_DISTANCE"): settings.splitting_max_distance,
        ("ALLOW_TRACK_MERGING", "MERGING_MAX_DISTANCE"): settings.merging_max_distance,
    }
    for (allowed, distance), limit in events.items():
        table.put(allowed, boolean(limit is not None))
        if limit is not None:
            table.put(distance, double(limit))
    table.put("MAX_FRAME_GAP", integer(settings.max_frame_gap))
    table.put("ALTERNATIVE_LINKING_COST_FACTOR", double(settings.alternative_linking_cost_factor))
    table.put("CUTOFF_PERCENTILE", double(settings.cutoff_percentile))
    if not factory.checkSettingsValidity(table):
        raise BadData(f"TrackMate refuses the settings: {factory.getErrorMessage()}")
    return factory, table


def spot_collection(features: dict[str, list[Any]], n_frames: int) -> Any:
    """Return the spots for TrackMate; a spot's ID is its row.

    Frames without spots are there too: TrackMate links the frames that it is given one
    after the other, and a missing one would count as no gap.
    """
    spot_class = jvm.find_class(f"{ROOT}.SpotBase", f"{ROOT}.Spot")  # of 8, of 7
    double = jvm.find_class("java.lang.Double").valueOf
    integer = jvm.find_class("java.lang.Integer").valueOf
    nothing = jvm.find_class("java.util.ArrayList")
    spots = jvm.find_class(f"{ROOT}.SpotCollection")()
    for frame in range(n_frames):
        spots.put(integer(frame), nothing())
    values = list(zip(*features.values(), strict=True)) if features else []
    for row, numbers in enumerate(cli.progress(values, "spots to TrackMate")):
        spot = spot_class(row)
        spot.setName(f"ID{row}")
        for key, number in zip(features, numbers, strict=True):
            spot.putFeature(key, double(float(number)))
        spots.add(spot, integer(int(features["FRAME"][row])))
    return spots


def declare(model: Any, features: dict[str, list[Any]]) -> None:
    """Tell TrackMate of the features that are not its own: measurements of the table."""
    own = set(map(str, model.getFeatureModel().getSpotFeatures()))
    extra = {key: row for key, row in declarations(features).items() if key not in own}
    names, shorts, dimensions, whole = (jvm.find_class("java.util.HashMap")() for _ in range(4))
    dimension = jvm.find_class(f"{ROOT}.Dimension")
    boolean = jvm.find_class("java.lang.Boolean").valueOf
    keys = jvm.find_class("java.util.ArrayList")()
    for key, (name, short, kind, is_whole) in extra.items():
        keys.add(key)
        names.put(key, name)
        shorts.put(key, short)
        dimensions.put(key, getattr(dimension, kind, dimension.NONE))
        whole.put(key, boolean(is_whole))
    model.getFeatureModel().declareSpotFeatures(keys, names, shorts, dimensions, whole)


def settings_of(settings: Settings, scene: Scene) -> Any:
    """Return TrackMate's settings: image geometry, tracker, filters and analyzers."""
    given = jvm.find_class(f"{ROOT}.Settings")()
    frames, planes, rows, columns = scene.shape
    given.nframes, given.nslices, given.height, given.width = frames, planes, rows, columns
    given.dz, given.dy, given.dx = (float(size) for size in scene.pixel_size)
    given.dt = float(scene.frame_interval or 1.0)
    given.tstart, given.tend, given.zstart, given.zend = 0, frames - 1, 0, planes - 1
    for name, pixel in (("xstart", 0), ("xend", columns - 1), ("ystart", 0), ("yend", rows - 1)):
        with contextlib.suppress(AttributeError):  # fields until 7.6, then worked out
            setattr(given, name, pixel)
    detector = jvm.find_class(f"{ROOT}.detection.ManualDetectorFactory")()
    given.detectorFactory, given.detectorSettings = detector, detector.getDefaultSettings()
    given.trackerFactory, given.trackerSettings = tracker(settings)
    if settings.initial_spot_filter is not None:
        double = jvm.find_class("java.lang.Double").valueOf
        given.initialSpotFilterValue = double(settings.initial_spot_filter)
    make = jvm.find_class(f"{ROOT}.features.FeatureFilter")
    for feature, above, value in settings.spot_filters:
        given.addSpotFilter(make(feature, value, above))
    for feature, above, value in settings.track_filters:
        given.addTrackFilter(make(feature, value, above))
    for kind, names in ANALYZERS.items():
        for name in names:
            package = "edges" if kind == "Edge" else "track"
            with contextlib.suppress(BadData):  # of another version: its features are missed
                analyzer = jvm.find_class(f"{ROOT}.features.{package}.{name}")
                getattr(given, f"add{kind}Analyzer")(analyzer())
    return given


def check_features(filters: Sequence[Filter], features: Any, option: str) -> None:
    """Raise UsageError for a filter on a feature that TrackMate does not have."""
    names = sorted(map(str, features))
    for feature, _, _ in filters:
        if feature not in names:
            raise UsageError(f"{option}: no feature {feature}; there are {', '.join(names)}")


def run(
    features: dict[str, list[Any]], settings: Settings, scene: Scene, xml: Path | None
) -> Result:
    """Track spots with TrackMate in the running virtual machine.

    Parameters
    ----------
    features
        Of the spots, by TrackMate's key (see `trackmate_xml.spot_features`).
    settings
    scene
        Size and calibration of the image.
    xml
        TrackMate file to write, or None.

    Raises
    ------
    BadData
        If TrackMate fails; its own message.
    """
    n = len(features["FRAME"])
    features = {key: values for key, values in features.items() if not n or known(values)}
    with jvm.Called("TrackMate"):
        model = jvm.find_class(f"{ROOT}.Model")()
        logger = jvm.find_class(f"{ROOT}.Logger$StringBuilderLogger")()
        model.setLogger(logger)
        model.setPhysicalUnits("micrometer", "frame" if scene.frame_interval is None else "second")
        declare(model, features)
        model.setSpots(spot_collection(features, scene.shape[0]), False)
        given = settings_of(settings, scene)
        trackmate = jvm.find_class(f"{ROOT}.TrackMate")(model, given)
        trackmate.setNumThreads(1)  # the same order of links, whatever the number of cores
        check_features(settings.spot_filters, features, "spot_filter")
        steps: list[Any] = []
        if n:
            steps = [
                lambda: (
                    settings.initial_spot_filter is None or trackmate.execInitialSpotFiltering()
                ),
                lambda: trackmate.execSpotFiltering(False),
                lambda: count_visible(model) == 0 or trackmate.execTracking(),
                lambda: trackmate.computeEdgeFeatures(False),
                lambda: trackmate.computeTrackFeatures(False),
            ]
        for step in steps:
            if not step():
                raise BadData(f"TrackMate: {' '.join(str(trackmate.getErrorMessage()).split())}")
        if n:
            names = model.getFeatureModel().getTrackFeatures()
            check_features(settings.track_filters, names, "track_filter")
            trackmate.execTrackFiltering(False)
        log.debug("%s", logger)
        if xml:
            write_xml(xml, model, given, str(logger))
        return result_of(model, n, bool(settings.track_filters))


def known(values: Sequence[Any]) -> bool:
    """Tell whether any spot has a value."""
    return not all(isinstance(value, float) and np.isnan(value) for value in values)


def version() -> str:
    """Return TrackMate's version."""
    return str(jvm.find_class(f"{ROOT}.TrackMate").PLUGIN_NAME_VERSION)


def count_visible(model: Any) -> int:
    """Return how many spots pass the filters; TrackMate's trackers refuse to have none."""
    return int(model.getSpots().getNSpots(True))


def write_xml(path: Path, model: Any, given: Any, text: str) -> None:
    """Write TrackMate's own file, as its "Save" does."""
    writer = jvm.find_class(f"{ROOT}.io.TmXmlWriter")(jvm.find_class("java.io.File")(str(path)))
    writer.appendLog("Detections imported by Cytoloom.\n" + text)
    writer.appendModel(model)
    writer.appendSettings(given)
    writer.appendGUIState("ConfigureViews")
    writer.writeToFile()


def result_of(model: Any, n: int, filtered: bool) -> Result:
    """Read links and kept spots; with filters of tracks, what is in no track is not kept."""
    kept = np.zeros(n, dtype=bool)
    for spot in model.getSpots().iterable(True):
        kept[int(spot.ID())] = True
    graph = model.getTrackModel()
    pairs = []
    for track in graph.trackIDs(True):
        for edge in graph.trackEdges(track):
            ends = [graph.getEdgeSource(edge), graph.getEdgeTarget(edge)]
            ends.sort(key=lambda spot: float(spot.getFeature("FRAME")))
            pairs.append([int(spot.ID()) for spot in ends])
    edges = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    if filtered:
        linked = np.zeros(n, dtype=bool)
        linked[edges] = True
        kept &= linked
    return Result(edges, kept)
