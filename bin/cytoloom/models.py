"""Models of neural networks: found by name or path, verified, never fetched by a task.

``assets/models.yaml`` lists the models that Cytoloom knows: those that it ships, each
file with its SHA-256, and well-known ones of others, with where they are to be had. A
name is looked up there, then under ``models/`` of the cache folder ($CYTOLOOM_CACHE), where
``./cytoloom models fetch`` and ``add`` put a folder ``<name>`` and a record ``<name>.json``
with its family and checksums; a path is taken as it is. ``digest_of`` is what a task's
command carries, so that another model of the same name runs the task again.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cytoloom.environments import cache_folder
from cytoloom.errors import BadData, InputMissing
from cytoloom.files import digest

PROJECT = Path(__file__).resolve().parents[2]
MARKS = {"cellpose": b"W2", "cellpose3": b"downsample"}  # a parameter's name in files of a family
LOOK_AT = 2**22  # bytes of a file in which its parameters are named


def known_models(family: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the entries of ``assets/models.yaml`` by name, of one tool family or all."""
    import yaml

    with open(PROJECT / "assets" / "models.yaml", encoding="utf-8") as source:
        entries: dict[str, dict[str, Any]] = yaml.safe_load(source)
    return {k: v for k, v in entries.items() if family is None or v["family"] == family}


def models_folder() -> Path:
    """Return the folder of models that are not shipped."""
    return cache_folder() / "models"


def find_model(name: str, family: str) -> Path:
    """Return the folder or file of a model, verified where its checksums are known.

    Parameters
    ----------
    name
        A name of ``assets/models.yaml`` or of the cache, or a path.
    family
        Tool family, for example ``stardist``.

    Raises
    ------
    InputMissing
        If there is none; the message says what is known and where to put one.
    BadData
        If a file is not the one that was released, or of another family.
    """
    return _locate(name, (family,))[0]


def family_of(name: str, families: Sequence[str]) -> str:
    """Return which of several tool families a model belongs to; raises as `find_model`."""
    known = known_models().get(name)
    if known and known["family"] in families:
        return str(known["family"])
    return _locate(name, families)[1]


def weights_of(name: str, families: Sequence[str]) -> Path:
    """Return the file with a model's weights: the model itself, or the largest of its folder.

    Raises as `find_model`.
    """
    path = _locate(name, families)[0]
    if path.is_file():
        return path
    files = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    if not files:
        raise InputMissing(f"{path}: an empty folder; it should hold the weights of a model")
    return max(files, key=lambda p: (p.stat().st_size, p.name))


def digest_of(name: str, family: str) -> str:
    """Return the digest of a model's files; raises as `find_model`."""
    return digest(find_model(name, family))


def record_of(name: str) -> dict[str, Any]:
    """Return what was noted of a model in the cache when it came there, or nothing."""
    try:
        found = json.loads((models_folder() / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _locate(name: str, families: Sequence[str]) -> tuple[Path, str]:
    """Return where a model is, and its family."""
    known = {k: v for k, v in known_models().items() if v["family"] in families}
    entry = known.get(name, {})
    if "folder" in entry:
        folder = PROJECT / entry["folder"]
        verify(name, folder, entry["files"], "restore the checkout")
        return folder, entry["family"]
    path = Path(name).expanduser()
    if name and path.exists():
        return path, _family(path, families)
    place = models_folder() / name
    if "/" not in name and name and place.exists():
        record = record_of(name)
        if record:
            verify(name, place, record["files"], f"./cytoloom models fetch or add {name} again")
        family = entry.get("family") or record.get("family") or _family(place, families)
        if family not in families:
            raise BadData(f"model {name!r} is one for {family}, not for {_either(families)}")
        return place, family
    raise InputMissing(_missing(name, families, known, place))


def verify(name: str, folder: Path, files: Mapping[str, str], remedy: str) -> None:
    """Check the files of a model against their SHA-256.

    Raises
    ------
    InputMissing, BadData
        If one is missing, or another.
    """
    for file, expected in files.items():
        path = folder / file
        if not path.is_file():
            raise InputMissing(f"{path}: a file of model {name!r} is missing; {remedy}")
        with open(path, "rb") as source:
            found = hashlib.file_digest(source, "sha256").hexdigest()
        if found != expected:
            raise BadData(
                f"{path}: not the released file of model {name!r} (SHA-256 {found[:12]}…, "
                f"expected {expected[:12]}…); {remedy}"
            )


def _family(path: Path, families: Sequence[str]) -> str:
    """Return the family of a model that somebody brings, by what is in its file."""
    if len(families) == 1 and families[0] not in MARKS:
        return families[0]
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    for family in families:
        if any(MARKS[family] in _names_in(file) for file in files):
            return family
    raise BadData(f"{path}: not a model for {_either(families)}")


def _names_in(path: Path) -> bytes:
    """Return the part of a file of PyTorch that names its parameters."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inner = [n for n in archive.namelist() if n.endswith("data.pkl")]
            return archive.read(inner[0]) if inner else b""
    with open(path, "rb") as source:
        return source.read(LOOK_AT)


def _missing(
    name: str, families: Sequence[str], known: Mapping[str, dict[str, Any]], place: Path
) -> str:
    """Return what to say of a model that is not there."""
    if "/" in name:
        file = "file or " if set(families) & set(MARKS) else ""
        return f"model {name}: no such {file}folder"
    entry = known.get(name, {})
    if "url" in entry:
        zipped = entry["url"].endswith(".zip")
        shipped = ", ".join(k for k, v in known.items() if "folder" in v)
        return (
            f"model {name!r} is not here, and a task downloads nothing: "
            f"./cytoloom models fetch {name}, or get {entry['url']}, "
            f"{'unpack' if zipped else 'put'} it into {place}, or give the path of another "
            f"(shipped: {shipped})"
        )
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        f"model {name!r} is not known to {_either(families)}{hint} (known: {', '.join(known)}); "
        f"./cytoloom models add brings in another, or give its path"
    )


def _either(families: Sequence[str]) -> str:
    return " or ".join(families)
