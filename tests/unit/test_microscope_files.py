"""ND2, CZI and OME-TIFF with many positions: pixels, axes, metadata and damage."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from microscope_files import (
    add_time_stamps,
    pack_czi_as_jpeg_xr,
    rename_czi_axis,
    stage_of,
    write_czi,
    write_nd2,
    write_ome_set,
)

from cytoloom.errors import BadData
from cytoloom.ingest import frames_of, read_selected
from cytoloom.regions import Region
from cytoloom.selection import Selection
from cytoloom.sources import open_source, scenes_of

no_fixture_check = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def movie(shape=(3, 4, 2, 2, 30, 44), dtype=np.uint16, seed=0):
    high = min(4000, np.iinfo(dtype).max) if np.dtype(dtype).kind == "u" else 4000
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def assert_all_read(path, data, channels):
    """Every scene, channel and an odd region have the pixels of ``data`` (S, T, Z, C, Y, X)."""
    assert [scene.number for scene in scenes_of(path)] == list(range(len(data)))
    for s, scene in enumerate(data):
        source = open_source(path, scene=s)
        assert source.shape == (*scene.shape[:2], *scene.shape[3:])
        assert source.channels == channels
        assert source.dtype == data.dtype
        for c in range(len(channels)):
            whole = source.read(Region.whole(source.shape), c)
            np.testing.assert_array_equal(whole, scene[:, :, c])
        part = Region((1, 3), (1, 2), (5, 17), (7, 40))
        np.testing.assert_array_equal(source.read(part, 1), scene[1:3, 1:2, 1, 5:17, 7:40])


@pytest.mark.parametrize("loops", ["TPZ", "PTZ", "ZTP", "TZP"])
@pytest.mark.parametrize("compressed", [False, True])
def test_nd2_positions_times_planes_channels(tmp_path, loops, compressed):
    data = movie()
    write_nd2(tmp_path / "a.nd2", data, loops=loops, compressed=compressed)
    assert_all_read(tmp_path / "a.nd2", data, ("Phase", "GFP"))
    source = open_source(tmp_path / "a.nd2", scene=2)
    assert source.pixel_size == (2.0, 0.65, 0.65)
    assert source.frame_interval == pytest.approx(600)
    taken = source.acquired(1)
    np.testing.assert_allclose(taken.seconds, 600 * np.arange(4) + 2)
    np.testing.assert_allclose(taken.stage, [stage_of(2)] * 4)
    assert scenes_of(tmp_path / "a.nd2")[1].name == "well 1"


@pytest.mark.parametrize("loops", ["", "T", "P", "Z", "PT"])
def test_nd2_without_some_axes(tmp_path, loops):
    shape = [3 if axis in loops else 1 for axis in "PTZ"]
    data = movie((*shape, 1, 20, 24))
    write_nd2(tmp_path / "a.nd2", data, loops=loops, channels=("Phase",))
    for s in range(shape[0]):
        source = open_source(tmp_path / "a.nd2", scene=s)
        read = source.read(Region.whole(source.shape), 0)
        np.testing.assert_array_equal(read, data[s, :, :, 0])


def test_nd2_that_was_stopped_early(tmp_path):
    data = movie()
    write_nd2(tmp_path / "a.nd2", data, planned_frames=9, lost=(3 * 6 + 3,))
    first, second = (open_source(tmp_path / "a.nd2", scene=s) for s in (0, 1))
    assert first.shape[0] == 4
    assert "4 of 9 frames are complete" in first.notes[0]
    assert second.shape[0] == 3  # one plane of its frame 3 is not there
    np.testing.assert_array_equal(second.read(Region.whole(second.shape), 0), data[1, :3, :, 0])


def test_nd2_with_losses_is_refused_in_a_line(tmp_path):
    write_nd2(tmp_path / "a.nd2", movie((1, 1, 1, 2, 20, 24)), compression=1)
    with pytest.raises(
        BadData, match=r"a\.nd2: lossy compression is not understood; export"
    ) as told:
        open_source(tmp_path / "a.nd2")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("compression", [None, "zstd0:ExplicitLevel=2", "zstd1:ExplicitLevel=2"])
@pytest.mark.parametrize("tiles", [1, 3])
def test_czi_scenes_times_planes_channels_mosaics(tmp_path, compression, tiles):
    data = movie()
    overlap = 4 if tiles > 1 else 0
    write_czi(tmp_path / "a.czi", data, tiles=tiles, overlap=overlap, compression=compression)
    assert_all_read(tmp_path / "a.czi", data, ("Phase", "GFP"))
    assert open_source(tmp_path / "a.czi", scene=1).pixel_size == pytest.approx((2, 0.65, 0.65))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_czi_packed_as_jpeg_xr(tmp_path, dtype):
    y, x = np.mgrid[:96, :112]
    waves = [0.5 + 0.4 * np.sin(y / 9 + k) * np.cos(x / 11) for k in range(12)]
    data = (np.stack(waves) * np.iinfo(dtype).max).astype(dtype).reshape(1, 3, 2, 2, 96, 112)
    write_czi(tmp_path / "a.czi", data, tiles=2, overlap=6)
    before = (tmp_path / "a.czi").read_bytes()
    pack_czi_as_jpeg_xr(tmp_path / "a.czi")
    assert (tmp_path / "a.czi").read_bytes() != before
    assert_all_read(tmp_path / "a.czi", data, ("Phase", "GFP"))


def test_the_later_tile_of_a_mosaic_is_on_top(tmp_path):
    from pylibCZIrw import czi

    first, second = (np.full((30, 40, 1), value, np.uint16) for value in (7, 9))
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        file.write(first, plane={}, location=(-5, 3))
        file.write(second, plane={}, location=(25, 13))
    source = open_source(tmp_path / "a.czi")
    expected = np.zeros((40, 70), np.uint16)
    expected[:30, :40], expected[10:, 30:] = 7, 9
    np.testing.assert_array_equal(source.read(Region.whole(source.shape), 0)[0, 0], expected)


def test_a_tile_that_is_missing_is_said(tmp_path):
    from pylibCZIrw import czi

    tile = np.full((30, 40, 1), 7, np.uint16)
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for t, x in ((0, 0), (0, 40), (1, 0), (2, 0), (2, 40)):
            file.write(tile, plane={"T": t}, location=(x, 0))
    source = open_source(tmp_path / "a.czi")
    assert source.shape == (3, 1, 30, 80)
    (note,) = source.notes
    assert note.endswith("position 0: 1 planes lack tiles that others have: pixels are 0 there")
    found = source.read(Region.whole(source.shape), 0)[:, 0]
    assert (found.reshape(3, 30, 2, 40).max(axis=(1, 3)) == [[7, 7], [7, 0], [7, 7]]).all()


def test_czi_of_several_views_is_refused_in_a_line(tmp_path):
    write_czi(tmp_path / "a.czi", movie((1, 1, 2, 2, 20, 24)))
    rename_czi_axis(tmp_path / "a.czi", "Z", "V")
    with pytest.raises(BadData, match=r"holds 2 views \(V\), which are not understood") as told:
        open_source(tmp_path / "a.czi")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_czi_types_and_a_single_scene(tmp_path, dtype):
    data = movie((1, 2, 1, 1, 20, 24), dtype)
    write_czi(tmp_path / "a.czi", data, channels=("Phase",))
    source = open_source(tmp_path / "a.czi")
    assert source.dtype == dtype
    np.testing.assert_array_equal(source.read(Region.whole(source.shape), 0), data[0, :, :, 0])


def test_czi_that_was_stopped_early(tmp_path):
    data = movie()
    write_czi(tmp_path / "a.czi", data, lost=[(1, 2, 1, 0), (2, 0, 0, 0)])
    whole, cut = (open_source(tmp_path / "a.czi", scene=s) for s in (0, 1))
    assert (whole.shape[0], whole.notes) == (4, ())
    assert cut.shape[0] == 2
    assert "2 of 4 frames are complete" in cut.notes[0]
    np.testing.assert_array_equal(cut.read(Region.whole(cut.shape), 0), data[1, :2, :, 0])
    with pytest.raises(BadData, match="position 2 has no complete frame"):
        open_source(tmp_path / "a.czi", scene=2)


def test_czi_that_begins_later_and_scenes_of_two_sizes(tmp_path):
    from pylibCZIrw import czi

    data = movie()
    write_czi(tmp_path / "a.czi", data, first=5)
    assert_all_read(tmp_path / "a.czi", data, ("Phase", "GFP"))
    big, small = data[0, 0, 0, 0], data[1, 0, 0, 0, 3:20, :11]
    with czi.create_czi(str(tmp_path / "b.czi")) as file:
        file.write(np.ascontiguousarray(big[..., None]), plane={}, scene=0, location=(0, 0))
        file.write(np.ascontiguousarray(small[..., None]), plane={}, scene=1, location=(900, 7))
    for scene, plane in enumerate((big, small)):
        source = open_source(tmp_path / "b.czi", scene=scene)
        np.testing.assert_array_equal(source.read(Region.whole(source.shape), 0)[0, 0], plane)


def test_colours_of_a_czi_are_red_green_blue(tmp_path):
    from pylibCZIrw import czi

    blue_first = np.random.default_rng(0).integers(0, 255, (12, 15, 3)).astype(np.uint8)
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        file.write(blue_first, plane={})
    source = open_source(tmp_path / "a.czi")
    assert source.channels == ("0", "1", "2")
    for channel in range(3):
        read = source.read(Region.whole(source.shape), channel)[0, 0]
        np.testing.assert_array_equal(read, blue_first[..., 2 - channel])


@pytest.mark.parametrize("each", [False, True])
def test_times_of_a_czi(tmp_path, each):
    """One time for each frame, or one for each scene of it."""
    data = movie()
    write_czi(tmp_path / "a.czi", data)
    seconds = [1000 + 60 * t + 5 * s for t in range(4) for s in range(3 if each else 1)]
    add_time_stamps(tmp_path / "a.czi", seconds)
    assert_all_read(tmp_path / "a.czi", data, ("Phase", "GFP"))
    source = open_source(tmp_path / "a.czi", scene=2)
    np.testing.assert_allclose(source.acquired(0).seconds, 60 * np.arange(4) + (10 if each else 0))
    assert source.frame_interval == pytest.approx(60)


def test_ome_zarr_of_many_images(tmp_path):
    data = movie()
    store = zarr.create_group(tmp_path / "a.zarr", attributes={"ome": {
        "version": "0.5", "bioformats2raw.layout": 3}})  # fmt: skip
    kinds = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
    axes = [{"name": name, "type": kind} for name, kind in kinds.items()]
    scale = [{"type": "scale", "scale": [1.0] * 5}]
    for i, scene in enumerate(data):
        datasets = [{"path": "0", "coordinateTransformations": scale}]
        about = {"multiscales": [{"axes": axes, "datasets": datasets}], "omero": {
            "channels": [{"label": "Phase"}, {"label": "GFP"}]}}  # fmt: skip
        image = store.create_group(str(i), attributes={"ome": about})
        image.create_array("0", data=np.ascontiguousarray(scene.swapaxes(1, 2)))
    assert_all_read(tmp_path / "a.zarr", data, ("Phase", "GFP"))


def write_ome(path, data, **more):
    with tifffile.TiffWriter(path, ome=True) as file:
        for i, scene in enumerate(data):
            plane = {
                "DeltaT": [30.0 * t + i for t, z, c in np.ndindex(scene.shape[:3])],
                "DeltaTUnit": ["s"] * int(np.prod(scene.shape[:3])),
                "PositionX": [100.0 * i] * int(np.prod(scene.shape[:3])),
                "PositionXUnit": ["µm"] * int(np.prod(scene.shape[:3])),
            }
            about = {
                "axes": "TZCYX", "Channel": {"Name": ["Phase", "GFP"]}, "Plane": plane,
                "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65, "PhysicalSizeZ": 2.0, **more,
            }  # fmt: skip
            file.write(scene, metadata=about, photometric="minisblack")


def test_ome_tiff_of_many_scenes(tmp_path):
    data = movie()
    write_ome(tmp_path / "a.ome.tif", data)
    assert_all_read(tmp_path / "a.ome.tif", data, ("Phase", "GFP"))
    source = open_source(tmp_path / "a.ome.tif", scene=1)
    assert source.pixel_size == (2.0, 0.65, 0.65)
    assert source.frame_interval == pytest.approx(30)
    taken = source.acquired(0)
    np.testing.assert_allclose(taken.seconds, 30 * np.arange(4) + 1)
    assert taken.stage[0, 2] == 100
    assert np.isnan(taken.stage[0, 0])


def test_ome_tiff_split_by_scene(tmp_path):
    data = movie()
    for i in (0, 2, 10):
        write_ome(tmp_path / f"exp_scene{i}.ome.tiff", data[:1], Name=str(i))
    (tmp_path / "exp2_scene1.ome.tiff").write_bytes(b"")
    found = scenes_of(tmp_path / "exp_scene2.ome.tiff")
    assert [scene.number for scene in found] == [0, 2, 10]
    assert [Path(scene.path).name[9:11] for scene in found] == ["0.", "2.", "10"]


def test_ome_tiff_spread_over_files(tmp_path):
    """All its files are the source's, so that a change in any of them is seen."""
    data = np.random.default_rng(0).integers(0, 4000, (2, 30, 44)).astype(np.uint16)
    names = ["a.ome.tif", "b.ome.tif"]
    blocks = "".join(
        f'<TiffData FirstT="{t}" FirstC="0" FirstZ="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{t:032x}</UUID></TiffData>'
        for t, name in enumerate(names)
    )
    for t, name in enumerate(names):
        about = (
            '<?xml version="1.0" encoding="UTF-8"?><OME '
            'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{t:032x}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint16" SizeX="44" SizeY="30" SizeZ="1" SizeC="1" '
            f'SizeT="2"><Channel ID="Channel:0:0"/>{blocks}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            tmp_path / name, data[t], description=about, metadata=None, ome=False,
            compression="zlib" if t == 0 else None,
        )  # fmt: skip
    source = open_source(tmp_path / "a.ome.tif")
    assert [file.name for file in source.files] == names
    np.testing.assert_array_equal(source.read(Region.whole(source.shape), 0)[:, 0], data)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", ["p{}.ome.tif", "exp_scene{}.ome.tif"])
def test_ome_tiff_set_of_one_file_for_each_image(tmp_path, name, apart):
    data = np.random.default_rng(1).integers(0, 4000, (3, 2, 2, 20, 24)).astype(np.uint16)
    names = [name.format(s) for s in range(3)]
    write_ome_set(tmp_path, data, names, apart=apart)
    given = [*names, "set.companion.ome"] if apart else names
    for file in given:
        found = scenes_of(tmp_path / file)
        assert [scene.number for scene in found] == [0, 1, 2]
        for s, scene in enumerate(found):
            source = open_source(scene.path, scene=scene.inside)
            assert source.channels == ("Phase", "GFP")
            assert source.pixel_size == (None, 0.5, 0.5)
            assert ("set.companion.ome" in {f.name for f in source.files}) == apart
            for c in range(2):
                read = source.read(Region.whole(source.shape), c)
                np.testing.assert_array_equal(read[:, 0], data[s, :, c])
    own = open_source(tmp_path / names[2])  # without a choice: the image of that file
    np.testing.assert_array_equal(own.read(Region.whole(own.shape), 1)[:, 0], data[2, :, 1])


def test_ome_tiff_without_the_file_of_its_metadata(tmp_path):
    data = np.zeros((1, 2, 2, 20, 24), np.uint16)
    write_ome_set(tmp_path, data, ["a.ome.tif"], apart=True)
    described = tmp_path / "set.companion.ome"
    text = described.read_text()
    described.write_text(text.replace("a.ome.tif", "b.ome.tif"))
    with pytest.raises(BadData, match=r"the TIFF b\.ome\.tif that it describes is not beside it"):
        open_source(described)
    described.unlink()
    with pytest.raises(BadData, match=r"its metadata are in set\.companion\.ome, which is not"):
        open_source(tmp_path / "a.ome.tif")
    described.write_text("<OME")
    with pytest.raises(BadData, match="not a TIFF, or a damaged"):
        open_source(tmp_path / "a.ome.tif")


# ---- planes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("z", "reduce"),
    [
        ("max", lambda a: a.max(1, keepdims=True)),
        ("min", lambda a: a.min(1, keepdims=True)),
        ("mean", lambda a: np.rint(a.mean(1, keepdims=True)).astype(a.dtype)),
        ("all", lambda a: a),
        (None, lambda a: a),
        (2, lambda a: a[:, 2:3]),
        ("0", lambda a: a[:, :1]),
    ],
)
def test_planes_are_chosen_or_projected(tmp_path, monkeypatch, z, reduce):
    monkeypatch.setattr("cytoloom.ingest.PLANES_BYTES", 3000)  # one plane at a time
    data = movie((2, 5, 4, 2, 30, 44))
    write_nd2(tmp_path / "a.nd2", data)
    source = open_source(tmp_path / "a.nd2", scene=1)
    ranges = {"t": (1, None, 2), "y": (3, 29, 1)}
    selection = Selection.of(ranges, source.shape).of_planes(z)
    wanted = reduce(data[1, :, :, 1])[1::2, :, 3:29]
    assert selection.shape == wanted.shape
    read = read_selected(source, selection, Region.whole(selection.shape), 1)
    np.testing.assert_array_equal(read, wanted)
    assert read.dtype == data.dtype
    part = Region((1, 2), (0, 1), (4, 9), (2, 30))
    np.testing.assert_array_equal(
        read_selected(source, selection, part, 1), wanted[1:2, :1, 4:9, 2:30]
    )
    taken = frames_of(source, selection, 0)
    np.testing.assert_allclose(taken.seconds, [601, 1801])


def test_projection_of_chosen_planes():
    selection = Selection.of({"z": (1, 6, 2)}, (2, 7, 4, 4)).of_planes("max")
    assert selection.shape == (2, 1, 4, 4)
    box, steps = selection.source_region(Region((0, 1), (0, 1), (0, 4), (0, 4)))
    assert box.z == (1, 6)
    assert steps[1].step == 2


@pytest.mark.parametrize("z", ["middle", "-1", 7, "1.5"])
def test_wrong_planes_are_refused(z):
    with pytest.raises(BadData, match=r"^z: "):
        Selection.of({}, (2, 7, 4, 4)).of_planes(z)


# ---- wrong files ----------------------------------------------------------------------------


@no_fixture_check
@given(st.floats(0, 0.999), st.sampled_from(["nd2", "czi"]))
def test_a_truncated_file_is_named_or_read(tmp_path, share, kind):
    """Cut anywhere, a file gives its own pixels or BadData that names it: never others."""
    data = movie((2, 2, 1, 2, 20, 24))
    whole, cut = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    (write_nd2 if kind == "nd2" else write_czi)(whole, data)
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    said, read = "", None
    try:
        source = open_source(cut, scene=0)
        read = source.read(Region.whole(source.shape), 0)
    except BadData as error:
        said = str(error)
    if read is None:
        assert str(cut) in said
        assert "\n" not in said
    else:
        np.testing.assert_array_equal(read, data[0, :, :, 0])


def test_several_positions_need_a_choice(tmp_path):
    write_nd2(tmp_path / "a.nd2", movie())
    with pytest.raises(BadData, match=r"a.nd2: holds 3 positions; .*`fov:`"):
        open_source(tmp_path / "a.nd2")
    with pytest.raises(BadData, match="no position 3"):
        open_source(tmp_path / "a.nd2", scene=3)
    with pytest.raises(BadData, match=r"no channel 'RFP' .channels: Phase, GFP."):
        open_source(tmp_path / "a.nd2", scene=0).channel_index("RFP")


@pytest.mark.parametrize("kind", ["nd2", "czi"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 5000])
def test_another_format_is_named(tmp_path, kind, content):
    file = tmp_path / f"a.{kind}"
    file.write_bytes(content)
    with pytest.raises(BadData, match=rf"a\.{kind}: "):
        open_source(file)
    with pytest.raises(BadData, match=rf"a\.{kind}: "):
        scenes_of(file)


# ---- real files -----------------------------------------------------------------------------


def test_real_czi_has_the_pixels_of_its_tiff(shared):
    formats = shared / "formats"
    source = open_source(formats / "test-pllp_980_prescan.czi")
    twin = tifffile.imread(formats / "test-pllp_980_prescan.tif")
    np.testing.assert_array_equal(source.read(Region.whole(source.shape), 0)[0], twin)
    assert source.pixel_size == pytest.approx((2, 0.42018, 0.42018), rel=1e-4)
    assert source.acquired(0).stage[0, 1:] == pytest.approx((32858.669, 57411.953))


@pytest.mark.parametrize(
    ("name", "shape", "scenes", "channels"),
    [
        ("cluster.nd2", (3, 10, 31, 38), 1, ("5-FAM/pH 9.0", "FM 4-64/2% CHAPS")),
        ("test-pllp_AXR_prescan.nd2", (1, 21, 128, 256), 1, ("Green",)),
        ("test-full_prescan_pllp.czi", (1, 20, 100, 200), 1, ("ChS1",)),
        ("test-pllo_cyto_880_prescan.czi", (1, 25, 200, 200), 1, ("Ch1",)),
        ("xyz__multiple_images.czi", (1, 2, 251, 251), 2, ("ChA",)),
    ],
)
def test_real_files(shared, name, shape, scenes, channels):
    formats = shared / "formats"
    assert len(scenes_of(formats / name)) == scenes
    for scene in range(scenes):
        source = open_source(formats / name, scene=scene)
        assert (source.shape, source.channels) == (shape, channels)
        assert source.read(Region.whole(shape), len(channels) - 1).std() > 0
        assert None not in source.pixel_size


def test_real_nd2_agrees_with_a_second_reading(shared):
    import nd2

    formats = shared / "formats"
    whole = nd2.imread(formats / "cluster.nd2")  # T, Z, C, Y, X
    source = open_source(formats / "cluster.nd2")
    for channel in (0, 1):
        read = source.read(Region.whole(source.shape), channel)
        np.testing.assert_array_equal(read, whole[:, :, channel])
