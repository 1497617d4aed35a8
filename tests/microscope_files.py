"""ND2, CZI and sets of OME-TIFF with known pixels, as small as the formats allow.

CZI are written by Zeiss's library. No program writes ND2: the layout here (chunks, a map of
them at the end, values as "lite variants") follows what the nd2 library reads.
"""

import struct
import zlib
from itertools import product

import numpy as np
import tifffile

_MAGIC = 0x0ABECEDA


def write_nd2(
    path,
    data,
    *,
    loops="TPZ",
    channels=("Phase", "GFP"),
    compressed=False,
    planned_frames=None,
    interval=600.0,
    pixel_size=0.65,
    lost=(),
    compression=None,
):
    """Write an ND2.

    Parameters
    ----------
    data : ndarray, shape (P, T, Z, C, Y, X), uint16
    loops
        Letters from the outermost loop to the innermost.
    planned_frames
        The T that the file promises, where the acquisition was stopped before.
    lost
        Numbers of frames that are not in the file.
    compression
        What the file says of it: 1 for a lossy one, whatever its pixels are.
    """
    sizes = dict(zip("PTZCYX", data.shape, strict=True))
    planned = dict(sizes, T=planned_frames or sizes["T"])
    chunks = {}
    attributes = {
        "uiWidth": sizes["X"], "uiHeight": sizes["Y"], "uiComp": sizes["C"],
        "uiWidthBytes": sizes["X"] * sizes["C"] * 2, "uiBpcInMemory": 16, "uiBpcSignificant": 16,
        "uiSequenceCount": sizes["P"] * sizes["T"] * sizes["Z"],
        "eCompression": compression or (0 if compressed else 2), "dCompressionParam": 0.0,
    }  # fmt: skip
    planes = {
        f"a{i}": {
            "sDescription": name,
            "uiColor": 255,
            "uiCompCount": 1,
            "pFluorescentProbe": {"m_ExcitationSpectrum": {"uiCount": 0}},
        }
        for i, name in enumerate(channels)
    }
    about = {
        "bCalibrated": True, "dCalibration": pixel_size, "dXPos": 0.0, "dYPos": 0.0, "dZPos": 0.0,
        "dTimeAbsolute": 2456827.0, "dTimeMSec": 0.0, "dAngle": 0.0,
        "sPicturePlanes": {"uiCount": len(channels), "sPlaneNew": planes},
    }  # fmt: skip
    chunks[b"ImageAttributesLV!"] = _variants({"SLxImageAttributes": attributes})
    chunks[b"ImageMetadataSeqLV|0!"] = _variants({"SLxPictureMetadata": about})
    chunks[b"ImageMetadataLV!"] = _variants(
        {"SLxExperiment": _experiment(loops, planned, interval)}
    )
    times = []
    for number, at in enumerate(product(*(range(planned[a]) for a in loops))):
        index = {"P": 0, "Z": 0, "T": 0} | dict(zip(loops, at, strict=True))
        times.append(index["T"] * interval * 1000 + index["P"] * 1000.0)
        if index["T"] >= sizes["T"] or number in lost:
            continue
        frame = data[index["P"], index["T"], index["Z"]]
        pixels = np.ascontiguousarray(np.moveaxis(frame, 0, -1)).astype("<u2").tobytes()
        pixels = zlib.compress(pixels) if compressed else pixels
        chunks[b"ImageDataSeq|%d!" % number] = struct.pack("<d", times[-1]) + pixels
    chunks[b"CustomData|AcqTimesCache!"] = np.array(times, "<f8").tobytes()
    with open(path, "wb") as file:
        _chunk(file, b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), 32)
        places = b""
        for name, content in chunks.items():
            place = file.tell()
            places += name + struct.pack("<QQ", place, len(content))
            _chunk(file, name, content, 4072)
        place = file.tell()
        end = b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", place)
        _chunk(file, b"ND2 FILEMAP SIGNATURE NAME 0001!", places + end, 4072)


def stage_of(position):
    """Return where the stage of a written ND2 stood: z, y, x [um]."""
    return 7.0 + position, 20.0 * position, 100.0 * position


def _experiment(loops, sizes, interval):
    inner = {}
    for letter in reversed(loops):
        count = sizes[letter]
        if letter == "T":
            kind, pars = 1, {
                "uiCount": count, "dStart": 0.0, "dPeriod": interval * 1000, "dDuration": 0.0,
            }  # fmt: skip
        elif letter == "P":
            places = [stage_of(p) for p in range(count)]
            points = {
                f"i{p:010}": {"dPosX": x, "dPosY": y, "dPosZ": z, "dPosName": f"well {p}"}
                for p, (z, y, x) in enumerate(places)
            }
            kind, pars = 2, {"uiCount": count, "bUseZ": True, "Points": points}
        else:
            kind, pars = 4, {"uiCount": count, "dZLow": 0.0, "dZHigh": 0.0, "dZStep": 2.0}
        level = {"eType": kind, "uLoopPars": pars}
        if inner:
            level["ppNextLevelEx"] = {"i0000000000": inner}
        inner = level
    return inner


def _chunk(file, name, content, room):
    file.write(struct.pack("<IIQ", _MAGIC, room, len(content)) + name.ljust(room, b"\0") + content)


def _variants(values):
    out = b""
    for name, value in values.items():
        if isinstance(value, bool):
            kind, content = 1, struct.pack("<B", value)
        elif isinstance(value, int):
            kind, content = 3, struct.pack("<I", value)
        elif isinstance(value, float):
            kind, content = 6, struct.pack("<d", value)
        elif isinstance(value, str):
            kind, content = 8, value.encode("utf-16-le") + b"\0\0"
        else:
            kind, content = 11, None
        head = struct.pack("<BB", kind, len(name) + 1) + name.encode("utf-16-le") + b"\0\0"
        if content is None:
            inside = _variants(value)
            length = len(head) + 12 + len(inside)
            content = struct.pack("<IQ", len(value), length) + inside + b"\0" * 8 * len(value)
        out += head + content
    return out


def add_time_stamps(path, seconds):
    """Add an attachment of time stamps to a CZI, as ZEN does: its library writes none."""
    with open(path, "r+b") as file:
        file.seek(0, 2)
        place = -(-file.tell() // 32) * 32
        content = struct.pack("<ii", 8 + 8 * len(seconds), len(seconds))
        content += struct.pack(f"<{len(seconds)}d", *seconds)
        entry = struct.pack(
            "<2s10xqi16s8s80s", b"A1", place, 0, b"\0" * 16, b"CZTIMS", b"TimeStamps"
        )
        body = struct.pack("<i12x", len(content)) + entry + b"\0" * 112 + content
        file.seek(place)
        file.write(struct.pack("<16sqq", b"ZISRAWATTACH", len(body), len(body)) + body)
        listing = -(-file.tell() // 32) * 32
        body = struct.pack("<i252x", 1) + entry
        file.seek(listing)
        file.write(struct.pack("<16sqq", b"ZISRAWATTDIR", len(body), len(body)) + body)
        file.seek(32 + 72)
        file.write(struct.pack("<q", listing))


def write_czi(
    path, data, *, channels=("Phase", "GFP"), tiles=1, overlap=0, compression=None, first=0, lost=()
):
    """Write a CZI of scenes side by side.

    Parameters
    ----------
    data : ndarray, shape (S, T, Z, C, Y, X)
    tiles, overlap
        Each plane is a mosaic of tiles x tiles that overlap by so many px.
    first
        Index of the first time point in the file.
    lost
        Planes (S, T, Z, C) that are not in the file.
    """
    from pylibCZIrw import czi

    scenes, frames, planes, count, height, width = data.shape
    with czi.create_czi(str(path), exist_ok=True, compression_options=compression) as file:
        for s, t, z, c in product(*map(range, (scenes, frames, planes, count))):
            plane, at = data[s, t, z, c], {"T": first + t, "Z": z, "C": c}
            if (s, t, z, c) in lost:
                continue
            for j, i in product(range(tiles), repeat=2):
                y, x = j * height // tiles, i * width // tiles
                bottom, right = (j + 1) * height // tiles, (i + 1) * width // tiles
                y, x = max(0, y - overlap), max(0, x - overlap)
                tile = np.ascontiguousarray(plane[y:bottom, x:right])[..., np.newaxis]
                where = (s * 1000 + x - 30, y + 50)
                file.write(data=tile, plane=at, scene=s, location=where)
        file.write_metadata(
            "experiment", channel_names=dict(enumerate(channels)),
            scale_x=0.65e-6, scale_y=0.65e-6, scale_z=2e-6,
        )  # fmt: skip


def pack_czi_as_jpeg_xr(path):
    """Turn the pixels of an uncompressed CZI into lossless JPEG XR, which its library only reads.

    Layout of subblocks and of their directory: ZISRAW (CZI) file format, version 1.2.
    """
    import imagecodecs

    kinds = {0: np.uint8, 1: np.uint16}
    stored = bytearray(path.read_bytes())
    at = stored.find(b"ZISRAWSUBBLOCK\0\0")
    while at >= 0:
        entry = at + 32 + 16
        about, _, size = struct.unpack_from("<iiq", stored, at + 32)
        (pixels,) = struct.unpack_from("<i", stored, entry + 2)
        (count,) = struct.unpack_from("<i", stored, entry + 28)
        extent = {}
        for i in range(count):
            name, _, length = struct.unpack_from("<4sii", stored, entry + 32 + 20 * i)
            extent[name.strip(b"\0")] = length
        start = at + 32 + max(256, 16 + 32 + 20 * count) + about
        room = np.dtype(kinds[pixels]).itemsize
        plane = np.frombuffer(bytes(stored[start : start + size]), kinds[pixels], size // room)
        packed = imagecodecs.jpegxr_encode(plane.reshape(extent[b"Y"], extent[b"X"]), level=1.0)
        assert len(packed) <= size, "smooth pixels only: there is no room for more"
        stored[start : start + len(packed)] = packed
        struct.pack_into("<q", stored, at + 40, len(packed))
        struct.pack_into("<i", stored, entry + 18, 4)
        at = stored.find(b"ZISRAWSUBBLOCK\0\0", at + 1)
    (listing,) = struct.unpack_from("<q", stored, 32 + 52)
    (entries,) = struct.unpack_from("<i", stored, listing + 32)
    entry = listing + 32 + 128
    for _ in range(entries):
        struct.pack_into("<i", stored, entry + 18, 4)
        (count,) = struct.unpack_from("<i", stored, entry + 28)
        entry += 32 + 20 * count
    path.write_bytes(stored)


def rename_czi_axis(path, old, new):
    """Give an axis of a CZI another letter: V, for views, is one that its library cannot write."""
    stored = path.read_bytes()
    for index in range(8):
        before = old.encode() + b"\0\0\0" + struct.pack("<ii", index, 1)
        stored = stored.replace(before, new.encode() + before[1:])
    path.write_bytes(stored)


def write_ome_set(folder, data, names, *, apart):
    """Write images (S, T, C, Y, X), one file for each; their metadata in each, or in one apart."""
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    pixels = (
        '<Image ID="Image:{s}" Name="well {s}"><Pixels ID="Pixels:{s}" DimensionOrder="XYCZT" '
        'Type="uint16" SizeX="{3}" SizeY="{2}" SizeZ="1" SizeC="{1}" SizeT="{0}" '
        'PhysicalSizeX="0.5" PhysicalSizeY="0.5"><Channel ID="Channel:{s}:0" Name="Phase"/>'
        '<Channel ID="Channel:{s}:1" Name="GFP"/>{blocks}</Pixels></Image>'
    )
    images = ""
    for s, name in enumerate(names):
        blocks = "".join(
            f'<TiffData FirstT="{t}" FirstC="{c}" IFD="{2 * t + c}" PlaneCount="1">'
            f'<UUID FileName="{name}">urn:uuid:{s:032x}</UUID></TiffData>'
            for t, c in np.ndindex(data.shape[1:3])
        )
        images += pixels.format(*data.shape[1:], s=s, blocks=blocks)
    if apart:
        text = f'<OME xmlns="{schema}" UUID="urn:uuid:{255:032x}">{images}</OME>'
        (folder / "set.companion.ome").write_text(text)
        images = '<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:ff"/>'
    for s, name in enumerate(names):
        about = (
            f'<?xml version="1.0"?><OME xmlns="{schema}" UUID="urn:uuid:{s:032x}">{images}</OME>'
        )
        planes = data[s].reshape(-1, *data.shape[3:])
        tifffile.imwrite(
            folder / name, planes, description=about, metadata=None, ome=False,
            photometric="minisblack",
        )  # fmt: skip
