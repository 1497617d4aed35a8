"""Parts united into one store by hard link: no pixel is read or copied.

Each part has the metadata of the whole array and only its own shards, so uniting is a
union of folders. ``zarr.json`` is written anew, never linked. Channels that agree in
type, chunks, shards and codecs become one array with a channel axis: a shard's place
along c is in its path. Links need one file system; where they fail it is a reflink, and
then a copy, and the caller is told. Standard library only: this runs on the host, since
a link between two bind mounts of a container fails even on one file system.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FICLONE = 0x40049409


@dataclass
class Linker:
    """Puts files in a second place by link, reflink or copy, and counts how."""

    how: dict[str, int] = field(default_factory=lambda: {"link": 0, "reflink": 0, "copy": 0})

    def place(self, source: Path, target: Path) -> None:
        """Make ``target`` hold what ``source`` holds."""
        target.parent.mkdir(parents=True, exist_ok=True)
        real = source.resolve()
        try:
            os.link(real, target)
            self.how["link"] += 1
        except FileExistsError:
            raise
        except OSError:
            self.how[self._clone(real, target)] += 1

    @staticmethod
    def _clone(source: Path, target: Path) -> str:
        with open(source, "rb") as read, open(target, "xb") as write:
            try:
                fcntl.ioctl(write.fileno(), _FICLONE, read.fileno())
                return "reflink"
            except OSError:
                shutil.copyfileobj(read, write)
                return "copy"

    def summary(self) -> str:
        """Say in words how the files were placed."""
        return ", ".join(f"{n} by {how}" for how, n in self.how.items() if n) or "no files"


def metadata(path: Path) -> dict[str, Any]:
    """Return a ``zarr.json``."""
    return dict(json.loads((path / "zarr.json").read_text()))


def agree(arrays: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether arrays can share one array with a channel axis: all but attributes equal."""
    keys = ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "codecs", "fill_value")
    first, *rest = ({k: array.get(k) for k in keys} for array in arrays)
    return all(other == first for other in rest)


def unite_arrays(channels: list[list[Path]], target: Path, level: str, linker: Linker) -> None:
    """Unite the array ``level`` of the parts of one or more channels.

    Parameters
    ----------
    channels
        For each channel the stores of its parts; all arrays must `agree`.
    target
        Folder of the united array.
    """
    whole = metadata(channels[0][0] / level)
    whole["shape"][1] = len(channels)
    write_json(target / "zarr.json", whole)
    for index, parts in enumerate(channels):
        for part in parts:
            root = part / level / "c"
            for shard in sorted(p for p in root.rglob("*") if p.is_file()):
                t, _, *rest = shard.relative_to(root).parts
                linker.place(shard, target.joinpath("c", t, str(index), *rest))


def write_group(path: Path, attributes: Mapping[str, Any]) -> None:
    """Write the metadata of a zarr v3 group."""
    write_json(
        path / "zarr.json",
        {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)},
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
