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
        Folder of the user's that keeps checksums between runs.
    verify
        Compute anew even where the cache has them.
    """
    files = list(dict.fromkeys(file for path in paths for file in files_in(path)))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(lambda file: _checksum(file, cache, verify), files))


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


def _checksum(path: Path, cache: Path | None, verify: bool) -> Checksum:
    about = path.stat()
    key = hashlib.blake2b(digest_size=16)
    key.update(f"sha256|{path.resolve()}|{about.st_size}|{about.st_mtime_ns}".encode())
    kept = cache / f"{key.hexdigest()}.json" if cache else None
    if kept and not verify and kept.is_file():
        try:
            return Checksum(str(path), about.st_size, str(json.loads(kept.read_text())["sha256"]))
        except (OSError, ValueError, LookupError, TypeError):
            pass
    found = Checksum(str(path), about.st_size, sha256_of(path))
    if kept:
        try:
            with writing(kept) as temporary:
                temporary.write_text(json.dumps({"sha256": found.sha256}))
        except OSError:
            pass  # a cache that cannot be written costs time, not correctness
    return found
