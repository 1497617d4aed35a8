"""Digests of the pixels that each ingest task reads.

Nextflow sees a folder of the user's only by path, size and time, so a changed chunk in
a store would go unseen, and a touched file would run everything again. Instead the
command of an ingest task carries a digest of the decoded pixels of its own region. The
digests are kept in the user's cache by path, size and time of the files;
``verify=True`` computes all anew. Other files that a step is given are taken whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cytoloom.files import digest, writing
from cytoloom.ingest import frames_of, read_selected
from cytoloom.regions import Region
from cytoloom.selection import Selection
from cytoloom.sources import Source

READ_BYTES = 2**27


def region_digests(
    source: Source,
    selection: Selection,
    channel: int,
    regions: Sequence[Region],
    *,
    cache: Path,
    verify: bool = False,
) -> list[str]:
    """Return one digest per region of the layer that a selection makes.

    Parameters
    ----------
    cache
        Folder of the user's that keeps digests between runs.
    verify
        Compute anew even where the cache has them.
    """
    key = _key(source, selection, channel, regions)
    kept = cache / f"{key}.json"
    if not verify and kept.is_file():
        try:
            found = json.loads(kept.read_text())
            if isinstance(found, list) and len(found) == len(regions):
                return [str(d) for d in found]
        except (OSError, ValueError):
            pass
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        digests = list(pool.map(lambda r: _digest(source, selection, channel, r), regions))
    _keep(kept, digests)
    return digests


def frames_digest(
    source: Source, selection: Selection, channel: int, *, cache: Path, verify: bool = False
) -> str:
    """Return a digest of the times and stage positions, kept as `region_digests` does."""
    kept = cache / f"{_key(source, selection, channel, ())}.frames.json"
    if not verify and kept.is_file():
        try:
            return str(json.loads(kept.read_text())[0])
        except (OSError, ValueError, LookupError):
            pass
    found = frames_of(source, selection, channel)
    state = hashlib.blake2b(digest_size=12)
    if found is not None:
        state.update(found.seconds.tobytes() + found.stage.tobytes())
    _keep(kept, [state.hexdigest()])
    return state.hexdigest()


def _keep(file: Path, digests: list[str]) -> None:
    try:
        with writing(file) as temporary:
            temporary.write_text(json.dumps(digests))
    except OSError:
        pass  # a cache that cannot be written costs time, not correctness


def _digest(source: Source, selection: Selection, channel: int, region: Region) -> str:
    state = hashlib.blake2b(digest_size=12)
    plane = max(1, region.size // max(1, len(region.frames)) * source.dtype.itemsize)
    step = max(1, READ_BYTES // plane)
    for start in range(*region.t, step):
        box = Region((start, min(start + step, region.t[1])), region.z, region.y, region.x)
        data = read_selected(source, selection, box, channel)
        state.update(data.tobytes())
    return state.hexdigest()


def files_digest(paths: Sequence[Path], *, cache: Path, verify: bool = False) -> str:
    """Return one digest of the content of files and folders, kept as `region_digests` does."""
    state = hashlib.blake2b(digest_size=16)
    for path in paths:
        for file in _files(path):
            about = file.stat()
            state.update(f"{file.resolve()}|{about.st_size}|{about.st_mtime_ns}".encode())
    kept = cache / f"{state.hexdigest()}.json"
    if not verify and kept.is_file():
        try:
            return str(json.loads(kept.read_text())[0])
        except (OSError, ValueError, LookupError):
            pass
    found = "-".join(digest(path) for path in paths)
    _keep(kept, [found])
    return found


def _key(source: Source, selection: Selection, channel: int, regions: Sequence[Region]) -> str:
    state = hashlib.blake2b(digest_size=16)
    about_scene = source.scene.inside if source.scene else 0
    state.update(f"{selection}|{selection.projection}|{channel}|{about_scene}|".encode())
    state.update(f"{source.dtype}|{source.shape}".encode())
    for region in regions:
        state.update(str(region).encode())
    for path in source.files:
        for file in _files(path):
            about = file.stat()
            state.update(f"{file.resolve()}|{about.st_size}|{about.st_mtime_ns}".encode())
    return state.hexdigest()


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
