"""Networks in the ONNX format, with their bioimage.io description where there is one.

A network comes as a folder or a zip package with ``bioimageio.yaml`` (or ``rdf.yaml``,
format 0.3 to 0.5) or as a plain ``.onnx`` file. The description says how the axes of
its input are ordered, which sizes it takes, how far from the edge of a block its output
is not to be trusted (halo), and what is done to the numbers before and after.
Source of the format: https://github.com/bioimage-io/spec-bioimage-io
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cytoloom.errors import BadData

NAMES = ("bioimageio.yaml", "rdf.yaml", "model.yaml")
LETTERS = {"batch": "b", "channel": "c", "index": "i", "time": "t"}


@dataclass(frozen=True)
class Package:
    """The files of a model: a folder, a zip file, or a single file."""

    path: Path

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; raises BadData where it is not there."""
        try:
            if self.path.is_dir():
                return (self.path / name).read_bytes()
            if zipfile.is_zipfile(self.path):
                with zipfile.ZipFile(self.path) as package:
                    return package.read(name)
            return (self.path.parent / name).read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise BadData(f"{self.path}: lacks {name}, which its description names") from error

    def names(self) -> list[str]:
        """Return the names of the files at its top."""
        if self.path.is_dir():
            return sorted(p.name for p in self.path.iterdir())
        if zipfile.is_zipfile(self.path):
            with zipfile.ZipFile(self.path) as package:
                return sorted(n for n in package.namelist() if "/" not in n)
        return [self.path.name]


@dataclass(frozen=True)
class Size:
    """The sizes that a network takes along an axis: ``least`` + n x ``step``; step 0: only it."""

    least: int = 1
    step: int = 1

    def fit(self, size: int) -> int:
        """Return the smallest size that it takes and that is at least ``size``."""
        if not self.step:
            return self.least
        return self.least + -(-max(0, size - self.least) // self.step) * self.step


@dataclass(frozen=True)
class Description:
    """What is known of a network.

    Attributes
    ----------
    axes, output_axes
        Letters of b, c, z, y, x in the order of the tensors.
    sizes
        Of the input along z, y, x.
    halo
        Along z, y, x of the output [px].
    before, after
        Steps on the numbers: name and keyword arguments, in order.
    weights
        Name of the ONNX file in the package.
    tests
        Names of the files with a test input and its output, or None.
    """

    weights: str
    axes: str
    output_axes: str
    sizes: Mapping[str, Size] = field(default_factory=dict)
    halo: Mapping[str, int] = field(default_factory=dict)
    before: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    after: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    tests: tuple[str, str] | None = None


def describe(package: Package) -> Description | None:
    """Return the description of a package, or None for a plain ONNX file.

    Raises
    ------
    BadData
        If the package has no description, or one that we cannot follow; the message says what.
    """
    import yaml

    file = next((name for name in NAMES if name in package.names()), None)
    if file is None and package.path.suffix in (".yaml", ".yml"):
        file = package.path.name
    if file is None:
        if package.path.suffix == ".onnx":
            return None
        raise BadData(
            f"{package.path}: neither an .onnx file nor a bioimage.io model "
            f"(a folder or zip file with {NAMES[0]} or {NAMES[1]})"
        )
    try:
        data = yaml.safe_load(package.read(file))
        return _description(data)
    except (yaml.YAMLError, KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise BadData(f"{package.path}: {file} cannot be followed ({error!r})") from error
    except BadData as error:
        raise BadData(f"{package.path}: {file}: {error}") from error


def _description(data: Mapping[str, Any]) -> Description:
    inputs, outputs = data["inputs"], data["outputs"]
    if len(inputs) != 1:
        raise BadData(f"a network of {len(inputs)} inputs; use one that takes a single image")
    if "onnx" not in data["weights"]:
        have = ", ".join(data["weights"])
        raise BadData(f"has no weights in the ONNX format (only {have}); export it to ONNX")
    axes, sizes = _axes_of(inputs[0])
    output_axes, _ = _axes_of(outputs[0])
    return Description(
        weights=_local(data["weights"]["onnx"]["source"]),
        axes=axes,
        output_axes=output_axes,
        sizes=sizes,
        halo=_halo_of(outputs[0], output_axes),
        before=_steps(inputs[0].get("preprocessing")),
        after=_steps(outputs[0].get("postprocessing")),
        tests=_tests(data),
    )


def _local(source: Any) -> str:
    """Return the name of a file in the package: packages hold what they name by address too."""
    if isinstance(source, Mapping):
        source = source["source"]
    text = str(source)
    return PurePosixPath(text).name if "://" in text else text


def _letter(axis: Mapping[str, Any]) -> str:
    kind = axis.get("type", "space")
    return str(axis.get("id", "x")) if kind == "space" else LETTERS.get(kind, kind)


def _axes_of(tensor: Mapping[str, Any]) -> tuple[str, dict[str, Size]]:
    axes = tensor["axes"]
    if isinstance(axes, str):  # format 0.3 and 0.4
        shape = tensor.get("shape")
        if isinstance(shape, Mapping) and "min" in shape:
            sizes = [Size(a, b) for a, b in zip(shape["min"], shape["step"], strict=True)]
        elif isinstance(shape, Sequence):
            sizes = [Size(int(n), 0) for n in shape]
        else:
            sizes = [Size()] * len(axes)
        return axes, {a: s for a, s in zip(axes, sizes, strict=True) if a in "zyx"}
    letters = [_letter(axis) for axis in axes]
    found = {}
    for letter, axis in zip(letters, axes, strict=True):
        size = axis.get("size")
        if letter not in ("z", "y", "x"):
            continue
        if isinstance(size, Mapping):
            found[letter] = Size(int(size["min"]), int(size["step"])) if "min" in size else Size()
        elif size is not None:
            found[letter] = Size(int(size), 0)
    return "".join(letters), found


def _halo_of(tensor: Mapping[str, Any], letters: str) -> dict[str, int]:
    axes = tensor["axes"]
    if isinstance(axes, str):
        halo = tensor.get("halo") or [0] * len(letters)
        pairs = zip(letters, halo, strict=True)
    else:
        pairs = zip(letters, (axis.get("halo") or 0 for axis in axes), strict=True)
    return {letter: int(n) for letter, n in pairs if letter in "zyx"}


def _steps(items: Sequence[Mapping[str, Any]] | None) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    return tuple((str(i.get("id") or i["name"]), i.get("kwargs") or {}) for i in items or ())


def _tests(data: Mapping[str, Any]) -> tuple[str, str] | None:
    if data.get("test_inputs") and data.get("test_outputs"):
        return _local(data["test_inputs"][0]), _local(data["test_outputs"][0])
    pair = [data[key][0].get("test_tensor") for key in ("inputs", "outputs")]
    return (_local(pair[0]), _local(pair[1])) if all(pair) else None
