"""Models of neural networks: found by name or folder, verified, never fetched by a task.

``assets/models.yaml`` lists the models that Cytoloom knows: those that it ships, each
file with its SHA-256, and well-known ones of others, with where they are to be had. A
name is looked up there, then under ``models/`` of the cache folder ($CYTOLOOM_CACHE); a
path of a folder is taken as it is. ``digest_of`` is what a task's command carries, so
that another model of the same name runs the task again.
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import Any

from cytoloom.environments import cache_folder
from cytoloom.errors import BadData, InputMissing
from cytoloom.files import digest

PROJECT = Path(__file__).resolve().parents[2]


def known_models(family: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the entries of ``assets/models.yaml`` by name, of one tool family or all."""
    import yaml

    with open(PROJECT / "assets" / "models.yaml", encoding="utf-8") as source:
        entries: dict[str, dict[str, Any]] = yaml.safe_load(source)
    return {k: v for k, v in entries.items() if family is None or v["family"] == family}


def find_model(name: str, family: str) -> Path:
    """Return the folder of a model, its files verified where their checksums are known.

    Parameters
    ----------
    name
        A name of ``assets/models.yaml``, of a folder in the cache, or a path of a folder.
    family
        Tool family, for example ``stardist``.

    Raises
    ------
    InputMissing
        If there is none; the message says what is known and where to put one.
    BadData
        If a file is not the one that was released.
    """
    known = known_models(family)
    entry = known.get(name, {})
    if "folder" in entry:
        folder = PROJECT / entry["folder"]
        _verify(name, folder, entry["files"])
        return folder
    path = Path(name).expanduser()
    for folder in (path, cache_folder() / "models" / name):
        if folder.is_dir():
            return folder
    if "/" in name:
        raise InputMissing(f"model {name}: no such folder")
    place = cache_folder() / "models" / name
    if "url" in entry:
        raise InputMissing(
            f"model {name!r} is not here, and a task downloads nothing: get {entry['url']}, "
            f"unpack it into {place}, or give the path of its folder as model_name "
            f"(shipped: {', '.join(k for k, v in known.items() if 'folder' in v)})"
        )
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputMissing(
        f"model {name!r} is not known{hint} (known: {', '.join(known)}); put the folder of "
        f"another model into {place}, or give its path as model_name"
    )


def digest_of(name: str, family: str) -> str:
    """Return the digest of a model's files; raises as `find_model`."""
    return digest(find_model(name, family))


def _verify(name: str, folder: Path, files: dict[str, str]) -> None:
    for file, expected in files.items():
        path = folder / file
        if not path.is_file():
            raise InputMissing(f"{path}: a file of model {name!r} is missing; restore the checkout")
        with open(path, "rb") as source:
            found = hashlib.file_digest(source, "sha256").hexdigest()
        if found != expected:
            raise BadData(
                f"{path}: not the released file of model {name!r} (SHA-256 {found[:12]}…, "
                f"expected {expected[:12]}…); restore the checkout"
            )
