"""TrackMate XML: written for Fiji to open, read from any version.

The elements, their order and their attributes are those of files that TrackMate 7
saves. A TrackMate *track* is a whole tree with its splits and merges; objects without
a link are spots outside all tracks. Positions are in micrometre, times in second (or
in frames where the frame interval is not known). Outlines are not written: the spots
are circles of the cells' equivalent radius.

The writer streams, and writes floats as the shortest text that reads back the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData
from cytoloom.exchange.trackmate_features import (
    EDGE_FEATURES,
    INTENSITIES,
    TRACK_FEATURES,
    declarations,
)
from cytoloom.exchange.xml_text import Writer, attribute_texts

if TYPE_CHECKING:
    import pandas as pd

VERSION = "7.14.0"


@dataclass(frozen=True)
class Scene:
    """What the file says about the image.

    ``shape`` is (T, Z, Y, X); ``pixel_size`` is z, y, x in micrometre; ``frame_interval`` is
    in second, None where it is not known.
    """

    shape: tuple[int, int, int, int]
    pixel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)
    frame_interval: float | None = None
    filename: str = ""


def scene_of(cells: pd.DataFrame, shape: tuple[int, int, int, int] | None = None) -> Scene:
    """Return size and calibration of the image; without ``shape`` what the cells' boxes need."""
    if shape is None:
        ends = (("frame", 1), ("bbox_z1", 0), ("bbox_y1", 0), ("bbox_x1", 0))
        t, z, y, x = (max(int(cells[c].max()) + more, 1) if len(cells) else 1 for c, more in ends)
        shape = (t, z, y, x)
    z_um, y_um, x_um = cells.attrs.get("pixel_size") or (1.0, 1.0, 1.0)
    return Scene(shape, (z_um, y_um, x_um), cells.attrs.get("frame_interval"))


@dataclass(frozen=True)
class Model:
    """What a TrackMate file holds.

    Attributes
    ----------
    spots : DataFrame
        ``id``, ``name``, ``frame``, ``z``, ``y``, ``x``, ``t``, ``radius`` in the file's units,
        ``label`` where the file has it.
    edges : DataFrame
        ``source``, ``target`` (earlier and later spot), ``track``.
    space_unit, time_unit : str
    pixel_size : tuple
        z, y, x.
    frame_interval : float
    """

    spots: pd.DataFrame
    edges: pd.DataFrame
    space_unit: str
    time_unit: str
    pixel_size: tuple[float, float, float]
    frame_interval: float


def write(
    path: Path | str,
    nodes: pd.DataFrame,
    edges: NDArray[np.int64],
    scene: Scene,
    *,
    table: pd.DataFrame | None = None,
    log: str = "",
) -> None:
    """Write a TrackMate file.

    Parameters
    ----------
    path
        File to make.
    nodes : DataFrame
        One row per object, ``tree_id`` included; see `cytoloom.tracks.objects`.
    edges : ndarray of int64, shape (m, 2)
        Links as positions in ``nodes``.
    scene
    table : DataFrame
        Of kind ``tracks``: intensities of every channel. None: those of ``nodes``.
    log
        Text for TrackMate's log page.
    """
    spots = spot_features(nodes, nodes if table is None else table, scene)
    with Writer(Path(path)) as xml:
        xml.start("TrackMate", version=VERSION)
        xml.one("Log", log or "Tracks exported by Cytoloom.")
        time_unit = "frame" if scene.frame_interval is None else "second"
        xml.start("Model", spatialunits="micrometer", timeunits=time_unit)
        _write_declarations(xml, spots)
        _write_spots(xml, spots, nodes["frame"].to_numpy(dtype=np.int64), scene.shape[0])
        _write_tracks(xml, nodes, edges, scene)
        xml.end("Model")
        _write_settings(xml, scene)
        xml.one("GUIState", state="ConfigureViews")
        xml.one("DisplaySettings", "{}")
        xml.end("TrackMate")


DEFAULT_RADIUS = 2.5  # px, as pyCyto hands to TrackMate


def spot_features(nodes: pd.DataFrame, table: pd.DataFrame, scene: Scene) -> dict[str, list[Any]]:
    """Return TrackMate's features of spots by key, one value per row of ``nodes``.

    Parameters
    ----------
    nodes, table, scene
        See `write`; micrometre and second.
    """
    frame = nodes["frame"].astype(int).tolist()
    columns: dict[str, list[Any]] = {
        "QUALITY": [1.0] * len(nodes),
        "POSITION_T": [f * (scene.frame_interval or 1.0) for f in frame],
        "FRAME": frame,
        "VISIBILITY": [1] * len(nodes),
        "LABEL": nodes["label"].astype(int).tolist(),
    }
    sources = {
        "POSITION_X": "x_um",
        "POSITION_Y": "y_um",
        "POSITION_Z": "z_um",
        "RADIUS": "equivalent_radius_um",
        "AREA": "area_um2",
        "PERIMETER": "perimeter_um",
        "SOLIDITY": "solidity",
    }
    for feature, column in sources.items():
        needed = feature.startswith("POSITION") or feature == "RADIUS"
        if needed or (column in nodes.columns and nodes[column].notna().any()):
            numbers = nodes[column].astype(float)
            if feature == "RADIUS":  # a table of the user's may have none
                numbers = numbers.fillna(DEFAULT_RADIUS * scene.pixel_size[2])
            columns[feature] = numbers.tolist()
    channels = list(dict.fromkeys(table["channel"])) if "channel" in table.columns else []
    for number, channel in enumerate(channels, start=1):
        rows = table[table["channel"] == channel]
        of_nodes = nodes[["frame", "label"]].merge(rows, on=["frame", "label"], how="left")
        for statistic, (column, _) in INTENSITIES.items():
            if column in of_nodes.columns:
                values = of_nodes[column].astype(float).tolist()
                columns[f"{statistic}_INTENSITY_CH{number}"] = values
    return columns


def _write_declarations(xml: Writer, spots: dict[str, list[Any]]) -> None:
    features = declarations(spots)
    xml.start("FeatureDeclarations")
    kinds = (("Spot", features), ("Edge", EDGE_FEATURES), ("Track", TRACK_FEATURES))
    for kind, declared in kinds:
        xml.start(f"{kind}Features")
        for key, (name, short, dimension, whole) in declared.items():
            xml.one(
                "Feature",
                feature=key,
                name=name,
                shortname=short,
                dimension=dimension,
                isint=str(whole).lower(),
            )
        xml.end(f"{kind}Features")
    xml.end("FeatureDeclarations")


def _write_spots(
    xml: Writer, spots: dict[str, list[Any]], frames: NDArray[np.int64], n_frames: int
) -> None:
    rows = attribute_texts(spots)
    xml.start("AllSpots", nspots=len(frames))
    starts = np.searchsorted(frames, np.arange(n_frames + 1))
    for frame in range(n_frames):
        if starts[frame] == starts[frame + 1]:
            xml.one("SpotsInFrame", frame=frame)
            continue
        xml.start("SpotsInFrame", frame=frame)
        for row in range(starts[frame], starts[frame + 1]):
            xml.raw(f'<Spot ID="{row}" name="ID{row}"{rows[row]} />')
        xml.end("SpotsInFrame")
    xml.end("AllSpots")


def _write_tracks(xml: Writer, nodes: pd.DataFrame, edges: NDArray[np.int64], scene: Scene) -> None:
    interval = scene.frame_interval or 1.0
    frame = nodes["frame"].to_numpy(dtype=np.int64)
    place = nodes[["x_um", "y_um", "z_um"]].to_numpy(dtype=float)
    tree = nodes["tree_id"].to_numpy(dtype=np.int64)
    order = np.lexsort((edges[:, 1], edges[:, 0], tree[edges[:, 0]]))
    trees, starts = np.unique(tree[edges[order, 0]], return_index=True)
    texts = attribute_texts(_edge_columns(edges, frame, place, interval))
    xml.start("AllTracks")
    for index, (number, rows) in enumerate(
        zip(trees.tolist(), np.split(order, starts[1:]), strict=True) if len(trees) else ()
    ):
        links = edges[rows]
        xml.start(
            "Track",
            name=f"Track_{number}",
            TRACK_ID=number,
            TRACK_INDEX=index,
            **_track_features(links, frame, place, interval),
        )
        for row in rows:
            xml.raw(f"<Edge{texts[row]} />")
        xml.end("Track")
    xml.end("AllTracks")
    xml.start("FilteredTracks")
    for number in trees.tolist():
        xml.one("TrackID", TRACK_ID=number)
    xml.end("FilteredTracks")


def _edge_columns(
    edges: NDArray[np.int64], frame: NDArray[np.int64], place: NDArray[Any], interval: float
) -> dict[str, list[Any]]:
    source, target = edges[:, 0], edges[:, 1]
    step = np.linalg.norm(place[target] - place[source], axis=1)
    x, y, z = ((place[source] + place[target]) / 2).T
    return {
        "SPOT_SOURCE_ID": source.tolist(),
        "SPOT_TARGET_ID": target.tolist(),
        "LINK_COST": (step**2).tolist(),
        "SPEED": (step / ((frame[target] - frame[source]) * interval)).tolist(),
        "DISPLACEMENT": step.tolist(),
        "EDGE_TIME": ((frame[source] + frame[target]) * interval / 2).tolist(),
        "EDGE_X_LOCATION": x.tolist(),
        "EDGE_Y_LOCATION": y.tolist(),
        "EDGE_Z_LOCATION": z.tolist(),
    }


def _track_features(
    links: NDArray[np.int64], frame: NDArray[np.int64], place: NDArray[Any], interval: float
) -> dict[str, Any]:
    spots = np.unique(links)
    _, children = np.unique(links[:, 0], return_counts=True)
    _, parents = np.unique(links[:, 1], return_counts=True)
    both = np.intersect1d(np.unique(links[:, 0])[children > 1], np.unique(links[:, 1])[parents > 1])
    missing = frame[links[:, 1]] - frame[links[:, 0]] - 1
    first, last = spots[0], spots[np.argmax(frame[spots])]
    return {
        "NUMBER_SPOTS": len(spots),
        "NUMBER_GAPS": int((missing > 0).sum()),
        "NUMBER_SPLITS": int((children > 1).sum()),
        "NUMBER_MERGES": int((parents > 1).sum()),
        "NUMBER_COMPLEX": len(both),
        "LONGEST_GAP": int(missing.max()),
        "TRACK_DURATION": float((frame[last] - frame[first]) * interval),
        "TRACK_START": float(frame[first] * interval),
        "TRACK_STOP": float(frame[last] * interval),
        "TRACK_DISPLACEMENT": float(np.linalg.norm(place[last] - place[first])),
    }


def _write_settings(xml: Writer, scene: Scene) -> None:
    frames, planes, rows, columns = scene.shape
    z, y, x = (float(s) for s in scene.pixel_size)
    xml.start("Settings")
    xml.one(
        "ImageData",
        filename=scene.filename,
        folder="",
        width=columns,
        height=rows,
        nslices=planes,
        nframes=frames,
        pixelwidth=x,
        pixelheight=y,
        voxeldepth=z,
        timeinterval=float(scene.frame_interval or 1.0),
    )
    xml.one(
        "BasicSettings",
        xstart=0,
        xend=columns - 1,
        ystart=0,
        yend=rows - 1,
        zstart=0,
        zend=planes - 1,
        tstart=0,
        tend=frames - 1,
    )
    xml.one("DetectorSettings", DETECTOR_NAME="MANUAL_DETECTOR", TARGET_CHANNEL=1, RADIUS=5.0)
    xml.one("InitialSpotFilter", feature="QUALITY", value=0.0, isabove="true")
    xml.one("SpotFilterCollection")
    xml.one("TrackerSettings", TRACKER_NAME="MANUAL_TRACKER")
    xml.one("TrackFilterCollection")
    xml.start("AnalyzerCollection")
    for kind in ("Spot", "Edge", "Track"):
        xml.one(f"{kind}Analyzers")
    xml.end("AnalyzerCollection")
    xml.end("Settings")


def read(path: Path | str) -> Model:
    """Read spots and links of a TrackMate file, of any version.

    Raises
    ------
    BadData
        If it is no TrackMate file, or an edge names a spot that is not there.
    """
    import xml.etree.ElementTree as ET

    import pandas as pd

    try:
        root = ET.parse(path).getroot()
        model, image = _child(root, "Model"), _child(root, "Settings/ImageData")
        spots = pd.DataFrame(
            [_read_spot(s) for s in model.iterfind("AllSpots/SpotsInFrame/Spot")],
            columns=["id", "name", "frame", "z", "y", "x", "t", "radius", "label"],
        )
        links = [
            (
                int(e.attrib["SPOT_SOURCE_ID"]),
                int(e.attrib["SPOT_TARGET_ID"]),
                int(t.attrib["TRACK_ID"]),
            )
            for t in model.iterfind("AllTracks/Track")
            for e in t.iterfind("Edge")
        ]
        size = [float(image.attrib[k]) for k in ("voxeldepth", "pixelheight", "pixelwidth")]
        interval = float(image.attrib["timeinterval"])
    except (ET.ParseError, KeyError, ValueError) as error:
        raise BadData(f"{path}: not a TrackMate file ({error})") from error
    frame = dict(zip(spots["id"], spots["frame"], strict=True))
    unknown = {i for a, b, _ in links for i in (a, b)} - frame.keys()
    if unknown:
        raise BadData(f"{path}: an edge names spot {min(unknown)}, which is not in the file")
    forward = [(*sorted((a, b), key=frame.__getitem__), track) for a, b, track in links]
    return Model(
        spots=spots.dropna(axis=1, how="all") if len(spots) else spots,
        edges=pd.DataFrame(forward, columns=["source", "target", "track"]),
        space_unit=model.get("spatialunits", "pixel"),
        time_unit=model.get("timeunits", "frame"),
        pixel_size=(size[0], size[1], size[2]),
        frame_interval=interval,
    )


def _child(element: Any, name: str) -> Any:
    found = element.find(name)
    if found is None:
        raise ValueError(f"no element {name}")
    return found


def _read_spot(spot: Any) -> tuple[Any, ...]:
    value = spot.attrib
    place = (float(value[f"POSITION_{axis}"]) for axis in "ZYXT")
    label = int(float(value["LABEL"])) if "LABEL" in value else None
    return (
        int(value["ID"]),
        value.get("name", ""),
        int(float(value["FRAME"])),
        *place,
        float(value["RADIUS"]),
        label,
    )
