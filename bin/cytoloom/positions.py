"""Lists of positions as PyAMA writes them: ``0-2, 4, 6-7``; and its ``samples.yaml``.

The grammar and its errors are PyAMA's, word for word: ``ValueError`` says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MOST = 1_000_000  # positions: a range of more is a slip of the hand


def parse_fovs(value: str | list[Any]) -> list[int]:
    """Return the positions of a list, sorted and each once.

    Parameters
    ----------
    value
        A comma list of ``n`` or ``a-b`` (both ends included), spaces ignored, or a list of
        whole numbers.

    Raises
    ------
    ValueError
        If it is empty, or an entry is not a whole number of at least 0 or a range of them.
    """
    if isinstance(value, list):
        return sorted({_listed(entry) for entry in value})
    if not isinstance(value, str):
        raise ValueError("FOV specification must be a list of integers or a comma-separated string")
    text = "".join(value.split())
    if not text:
        raise ValueError("FOV specification cannot be empty")
    if ";" in text:
        raise ValueError("Use commas to separate FOVs; semicolons are not supported")
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        found.update(_range(part) if "-" in part else [_single(part)])
    return sorted(found)


def _single(part: str) -> int:
    if not _whole(part):
        raise ValueError(f"Invalid FOV '{part}': must be an integer")
    return int(part)


def _range(part: str) -> range:
    first, last = part.split("-", 1)
    if not first or not last:
        raise ValueError(f"Invalid range '{part}': missing start or end value")
    if not _whole(first) or not _whole(last):
        raise ValueError(f"Invalid range '{part}': values must be integers")
    start, stop = int(first), int(last)
    if start > stop:
        raise ValueError(f"Invalid range '{part}': start must be <= end")
    if stop - start >= MOST:
        raise ValueError(f"Invalid range '{part}': more than {MOST:,} positions")
    return range(start, stop + 1)


def _whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def _listed(entry: Any) -> int:
    whole = isinstance(entry, int) and not isinstance(entry, bool)
    if isinstance(entry, str):
        whole = _whole(entry.strip().removeprefix("-"))
    if not whole:
        raise ValueError(f"FOV value '{entry}' is not a valid integer")
    if int(entry) < 0:
        raise ValueError(f"FOV value '{entry}' must be >= 0")
    return int(entry)


def read_samples(path: Path | str) -> dict[str, list[int]]:
    """Return the positions of each sample of a ``samples.yaml``.

    Raises
    ------
    ValueError
        If it is not a mapping with a list ``samples`` of ``{name, fovs}``, a name is there
        twice, or ``fovs`` cannot be read; the message begins with the file.
    """
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text") from error
    try:
        return samples_of({} if data is None else data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def samples_of(data: Any) -> dict[str, list[int]]:
    """Return the positions of each sample of a ``samples.yaml`` that has been read.

    Raises
    ------
    ValueError
        As `read_samples`, without the file.
    """
    if not isinstance(data, Mapping):
        raise ValueError("Samples YAML must contain a mapping at the top level")
    if not isinstance(data.get("samples"), list):
        raise ValueError("Samples YAML must include a 'samples' list")
    found: dict[str, list[int]] = {}
    for number, entry in enumerate(data["samples"], start=1):
        if not isinstance(entry, Mapping) or not str(entry.get("name") or "").strip():
            raise ValueError(f"sample {number}: a mapping with name and fovs is needed")
        name = str(entry["name"]).strip()
        if name in found:
            raise ValueError(f"sample {name!r} is there twice")
        if "fovs" not in entry:
            raise ValueError(f"sample {name!r}: fovs is missing")
        try:
            given = entry["fovs"]
            found[name] = parse_fovs(str(given) if type(given) is int else given)
        except ValueError as error:
            raise ValueError(f"sample {name!r}: {error}") from error
    return found


def samples_by_position(
    wanted: Mapping[str, Sequence[int]], fovs: Mapping[str, int]
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the positions of each sample, and what is odd about them.

    Parameters
    ----------
    wanted : dict of str to list of int
        Numbers of positions by sample.
    fovs : dict of str to int
        Number of each position that there is.

    Returns
    -------
    samples : dict of str to list of str
    warnings : list of str
    """
    by_number: dict[int, list[str]] = {}
    for position, number in fovs.items():
        by_number.setdefault(number, []).append(position)
    warnings = [
        f"{' and '.join(names)} have one number, {number}: samples.yaml means all of them"
        for number, names in by_number.items()
        if len(names) > 1
    ]
    samples: dict[str, list[str]] = {}
    owners: dict[int, list[str]] = {}
    for sample, numbers in wanted.items():
        missing = [number for number in numbers if number not in by_number]
        if missing:
            listed = ", ".join(map(str, missing))
            warnings.append(f"sample {sample!r}: no traces of position {listed}")
        samples[sample] = [p for number in numbers for p in sorted(by_number.get(number, ()))]
        for number in numbers:
            owners.setdefault(number, []).append(sample)
    for number, names in owners.items():
        if len(names) > 1:
            warnings.append(f"position {number} is in more than one sample: {', '.join(names)}")
    left = sorted(set(by_number) - set(owners))
    if left:
        warnings.append(f"positions in no sample: {', '.join(map(str, left))}")
    return samples, warnings
