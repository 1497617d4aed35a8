"""Makes tables of kind `cells` from points; for tests only."""

import pandas as pd
import pyarrow as pa

from cytoloom.schemas import SCHEMAS

PIXEL_SIZE = [2.0, 0.5, 0.5]


def cells(points, *, pixel_size=PIXEL_SIZE, frame_interval=60.0, channels=("TCell",), **columns):
    """Return a table of cells.

    `points` is a sequence of (frame, label, z, y, x) in pixels, or of (frame, label, y, x).
    """
    rows = [(f, n, *([0.0] * (5 - len(p))), *xy) for p in points for f, n, *xy in [p]]
    base = pd.DataFrame(rows, columns=["frame", "label", "z", "y", "x"])
    base = base.astype({"frame": "int32", "label": "uint32", "z": float, "y": float, "x": float})
    for axis, size in zip("zyx", pixel_size, strict=True):
        base[f"{axis}_um"] = base[axis] * size
        base[f"bbox_{axis}0"] = base[axis].fillna(0).astype("int32")
        base[f"bbox_{axis}1"] = base[f"bbox_{axis}0"] + 1
    for name, values in columns.items():
        base[name] = values
    table = pd.concat([base.assign(channel=c) for c in channels], ignore_index=True)
    for field in SCHEMAS["cells"]:
        if field.name not in table:
            text = pa.types.is_string(field.type)
            table[field.name] = ("p1" if text else 1) if not field.nullable else None
    table["label_channel"] = "TCell"
    table = table[SCHEMAS["cells"].names + [c for c in columns if c not in SCHEMAS["cells"].names]]
    for field in SCHEMAS["cells"]:
        if field.type == pa.float64():
            table[field.name] = table[field.name].astype(float)
    table.attrs.update(
        position="p1",
        channel=channels[0],
        pixel_size=list(pixel_size),
        frame_interval=frame_interval,
    )
    return table


def tracked(points_by_track, **options):
    """Return a table of kind `tracks` of unbranched tracks: {track: [(frame, z, y, x), ...]}."""
    numbered = [(t, p) for t, ps in points_by_track.items() for p in ps]
    table = cells([(p[0], t, *p[1:]) for t, p in numbered], **options)
    table["track_id"] = table["label"].astype("Int64")
    table["parent_track_id"] = pd.array([pd.NA] * len(table), dtype="Int64")
    table["tree_id"] = table["track_id"]
    table["generation"] = pd.array([0] * len(table), dtype="Int32")
    return table
