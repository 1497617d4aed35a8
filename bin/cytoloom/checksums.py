"""SHA-256 of the user's files, kept between runs by path, size and time.

These are the digests that a run states to others: ``sha256sum`` computes the same. What
decides which tasks run again are digests of pixels (``plan.digests``).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from cytoloom.files import writing


@dataclass(frozen=True)
class Checksum:
    """A file with its size [bytes] and SHA-256 (hexadecimal)."""

    path: str
    size: int
    sha256: str

    @property
    def plain(self) -> dict[str, object]:
        """The same as a mapping, for JSON."""
        return asdict(self)


def checksums(
    paths: Iterable[Path], *, cache: Path | None = None, verify: bool = False
) -> list[Checksum]:
    """Return the checksums of files, those in folders included, in order and each once.

    Parameters
    ----------
    cache
        Folder of the user's that keeps checksums between runs, in one file for each folder.
    verify
        Compute anew even where the cache has them.
    """
    home: dict[Path, Path] = {}  # file -> the folder among whose checksums it is kept
    for path in paths:
        for file in files_in(path):
            home.setdefault(file, path if path.is_dir() else path.parent)
    kept = {folder: _read(cache, folder) for folder in set(home.values())}
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        known = {} if verify else kept
        found = list(pool.map(lambda file: _checksum(file, known.get(home[file], {})), home))
    fresh: dict[Path, dict[str, list[object]]] = {}
    for file, (checksum, time, new) in zip(home, found, strict=True):
        if new:
            entry = [checksum.size, time, checksum.sha256]
            fresh.setdefault(home[file], {})[str(file)] = entry
    for folder, entries in fresh.items():
        _write(cache, folder, {**kept[folder], **entries})
    return [checksum for checksum, _, _ in found]


def files_in(path: Path) -> list[Path]:
    """Return the files of a folder, sorted; or the path itself."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def tree_sha256(parts: Iterable[Checksum], root: Path) -> str:
    """Return one digest of a folder: the SHA-256 of its list of checksums and relative names."""
    lines = sorted(f"{os.path.relpath(p.path, root)}\0{p.sha256}\n" for p in parts)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _checksum(path: Path, known: dict[str, list[object]]) -> tuple[Checksum, int, bool]:
    """Return the checksum of a file, its time of change, and whether it was computed."""
    about = path.stat()
    entry = known.get(str(path))
    if isinstance(entry, list) and entry[:2] == [about.st_size, about.st_mtime_ns]:
        return Checksum(str(path), about.st_size, str(entry[-1])), about.st_mtime_ns, False
    return Checksum(str(path), about.st_size, sha256_of(path)), about.st_mtime_ns, True


def _file(cache: Path, folder: Path) -> Path:
    return cache / f"sha256-{hashlib.sha256(str(folder).encode()).hexdigest()[:24]}.json"


def _read(cache: Path | None, folder: Path) -> dict[str, list[object]]:
    try:
        found = json.loads(_file(cache, folder).read_text()) if cache else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(cache: Path | None, folder: Path, entries: dict[str, list[object]]) -> None:
    if cache:
        try:
            with writing(_file(cache, folder)) as temporary:
                temporary.write_text(json.dumps(entries))
        except OSError:
            pass  # a cache that cannot be written costs time, not correctness
