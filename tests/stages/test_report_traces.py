"""Report: example cells drawn on the movie beside their traces."""

import base64
import io
import re

import deliver_unite
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cytoloom import images, layouts, tables
from cytoloom.regions import Region
from cytoloom.report import example_cells, inputs, pictures, sections_traces, stores

FRAMES, SIDE = 12, 160
COLUMN = "intensity_total_ch_GFP"


def movie():
    """Return labels and GFP of three cells: one at the corner, one moving, one of 3 frames."""
    labels = np.zeros((FRAMES, 1, SIDE, SIDE), np.uint32)
    for t in range(FRAMES):
        labels[t, 0, 0:14, 0:18] = 3
        labels[t, 0, 60 : 60 + 20, 40 + 5 * t : 58 + 5 * t] = 5
        if 4 <= t < 7:
            labels[t, 0, 120:140, 130:150] = 9
    level = 100 * np.arange(FRAMES, dtype="u2").reshape(-1, 1, 1, 1)
    return labels, (100 + (labels > 0) * level).astype("u2")


def write(path, data, kind, channel):
    chunks, shards = layouts.default_layout(data.shape)
    layout = layouts.Layout(data.shape, data.dtype, chunks, shards, (1.0, 0.5, 0.5), 600.0, "p1",
                            channel)  # fmt: skip
    images.write_part(path, data, region=Region.whole(data.shape), like=layout, kind=kind)
    return f"{channel}={path}"


def traces(labels):
    rows = []
    for t, frame in enumerate(labels[:, 0]):
        for cell in np.unique(frame[frame > 0]):
            y, x = np.nonzero(frame == cell)
            rows.append(
                {"fov": 1, "cell": cell, "label": cell, "frame": t, "good": cell != 7,
                 "time_h": t / 6, "position_x": (x.min() + x.max()) / 2,
                 "position_y": (y.min() + y.max()) / 2, "bbox_x0": x.min(), "bbox_y0": y.min(),
                 "bbox_x1": x.max(), "bbox_y1": y.max(), COLUMN: float(len(y) * 100 * t)}
            )  # fmt: skip
    frame = pd.DataFrame(rows)
    frame["position"] = "p1"
    frame.attrs = {"position": "p1", "channel": "Phase", "pixel_size": [1.0, 0.5, 0.5],
                   "frame_interval": 600.0}  # fmt: skip
    return frame


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the store and the traces of one position."""
    work, folder = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("in")
    labels, fluorescence = movie()
    pair = [
        write(work / "p1.ingest.Phase.image.0000.zarr", fluorescence + 7, "image", "Phase"),
        write(work / "p1.ingest.GFP.image.0000.zarr", fluorescence, "image", "GFP"),
    ]
    tracked = write(work / "p1.IoU.Phase.label.0000.zarr", labels, "label", "Phase")
    name = tracked.replace("Phase=", "Phase tracks (IoU)=", 1)
    deliver_unite.main(folder / "p1.ome.zarr", pair, [name])
    tables.write_table(folder / "p1.Extraction.Phase.traces.0000.parquet", traces(labels), "traces")
    return folder


def described(folder, channels=("Phase", "GFP")):
    run = {
        "channels": list(channels),
        "steps": [{"slug": tag, "tag": tag} for tag in ("IoU", "Extraction")],
        "positions": [
            {"name": "p1", "slug": "p1", "shape": [FRAMES, 1, SIDE, SIDE],
             "pixel_size": [1.0, 0.5, 0.5], "frame_interval": 600.0}
        ],
    }  # fmt: skip
    return inputs.index(folder, run)


def blocks(folder, **more):
    section = sections_traces.make(described(folder, **more))
    return next(block for block in section.blocks if block.title == "p1")


def crops(html):
    """Return the crops of a picture as indices of the palette, shape (cells, 5, side, side)."""
    (png,) = re.findall(r'href="data:image/png;base64,([^"]*)"', html)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
    step = example_cells.SIDE + example_cells.GAP
    rows = (image.shape[0] + example_cells.GAP) // step
    side = example_cells.SIDE
    return np.stack([
        [image[r * step : r * step + side, c * step : c * step + side] for c in range(5)]
        for r in range(rows)
    ])  # fmt: skip


def test_example_cells_are_drawn_on_a_frame_and_over_time(made):
    (chart, marked, strip) = blocks(made).pictures
    assert not any(p.failed for p in (chart, marked, strip))
    assert marked.caption.startswith("Example cells on Phase, frame ")
    assert re.findall(r">(\d+)</text>", marked.html) == ["3", "5", "9"]
    assert strip.wide
    assert "GFP around 3 example cells" in strip.caption
    drawn = crops(strip.html)
    assert drawn.shape[:2] == (3, 5)
    for row in range(3):
        ink = pictures.object_colour(example_cells.COLOURS[row])
        used = [c for c in range(5) if not (drawn[row, c] == pictures.GREYS - 1).all()]
        assert len(used) == (3 if row == 2 else 5)  # the third cell has three frames
        assert all((drawn[row, c] == ink).sum() > 100 for c in used)
        others = {pictures.object_colour(c) for c in example_cells.COLOURS} - {ink}
        assert not np.isin(drawn[row], list(others)).any()


def test_crops_brighten_like_the_trace_and_hold_the_cell_in_the_middle(made):
    drawn = crops(blocks(made).pictures[2].html)
    middle = example_cells.SIDE // 2
    ink = pictures.object_colour(example_cells.COLOURS[1])
    inside = drawn[1, :, middle + 15, middle - 15]  # beside the path, in the cell
    assert (np.diff(inside.astype(int)) > 5).all()
    y, x = np.nonzero(drawn[1, 4] == ink)
    scale = 30 / example_cells.SIDE  # px of the image for one of the crop: 1.5 times 20 px
    assert (y.max() - y.min() + 1) * scale == pytest.approx(20, abs=1)
    assert (y.max() + y.min()) / 2 == pytest.approx(middle, abs=3)
    assert x.min() == 0  # the path, from where the cell was, leaves the crop to the left


def test_a_movie_without_store_or_labels_has_charts_only(tmp_path, made):
    name = "p1.Extraction.Phase.traces.0000.parquet"
    (tmp_path / name).write_bytes((made / name).read_bytes())
    assert len(blocks(tmp_path).pictures) == 1
    labels, fluorescence = movie()
    (tmp_path / "work").mkdir()
    part = tmp_path / "work" / "p1.ingest.GFP.image.0000.zarr"
    deliver_unite.main(tmp_path / "p1.ome.zarr", [write(part, fluorescence, "image", "GFP")], None)
    shown = blocks(tmp_path).pictures
    assert len(shown) == 3  # crops without outlines
    assert not any(p.failed for p in shown)
    assert labels.any()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.tuples(*[st.integers(-40, SIDE + 40)] * 2), st.integers(1, 60), st.integers(0, FRAMES - 1)
)
def test_a_crop_is_that_of_the_padded_frame(made, corner, side, t):
    store = stores.Store(made / "p1.ome.zarr")
    padded = np.pad(movie()[1][t, 0], 110)
    y, x = (v + 110 for v in corner)
    cut = store.image.crop(t, 1, corner, side)
    np.testing.assert_array_equal(cut, padded[y : y + side, x : x + side])


def test_odd_samples_are_told(tmp_path, made):
    name = "p1.Extraction.Phase.traces.0000.parquet"
    (tmp_path / name).write_bytes((made / name).read_bytes())
    rows = traces(movie()[0]).assign(sample="a")
    rows.attrs["odd"] = ["positions in no sample: 7"]
    tables.write_table(tmp_path / "run.MergeSamples.Phase.samples.0000.parquet", rows, "samples")
    found = described(tmp_path)
    sections_traces.make(found)
    assert found.problems == ["MergeSamples: positions in no sample: 7"]
