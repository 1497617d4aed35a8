"""Models by name, path or cache: where they are, of which family, and what is said if not."""

from __future__ import annotations

import hashlib
import json
import zipfile

import pytest

from cytoloom import models
from cytoloom.errors import BadData, InputMissing

BOTH = ("cellpose3", "cellpose")


def network(path, parameter):
    """Write a file that looks like one of PyTorch with a parameter of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", b"\x80\x02}q\x00X" + parameter)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("CYTOLOOM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_the_shipped_network_is_the_default_and_sound():
    weights = models.weights_of("cellpose3_nuclei", BOTH)
    assert weights.suffix == ".pt"
    assert models.family_of("cellpose3_nuclei", BOTH) == "cellpose3"


@pytest.mark.parametrize(("name", "family"), [
    ("cyto3", "cellpose3"), ("cyto2", "cellpose3"), ("cyto", "cellpose3"),
    ("nuclei", "cellpose3"), ("cpsam", "cellpose"),
])  # fmt: skip
def test_the_name_decides_the_family_and_says_how_to_get_it(cache, name, family):
    assert models.family_of(name, BOTH) == family
    with pytest.raises(InputMissing, match=f"models fetch {name}, or get https://.*put it into"):
        models.weights_of(name, BOTH)


@pytest.mark.parametrize(
    ("parameter", "family"), [(b"W2", "cellpose"), (b"downsample.down.0", "cellpose3")]
)
def test_a_file_of_ones_own_says_its_family(tmp_path, cache, parameter, family):
    path = network(tmp_path / "mine", parameter)
    assert models.family_of(str(path), BOTH) == family
    assert models.weights_of(str(path), BOTH) == path
    other = next(one for one in BOTH if one != family)
    with pytest.raises(BadData, match=f"not a model for {other}"):
        models.find_model(str(path), other)


def test_something_else_is_not_a_network(tmp_path, cache):
    path = tmp_path / "notes.txt"
    path.write_text("weights")
    with pytest.raises(BadData, match="not a model for cellpose3 or cellpose"):
        models.family_of(str(path), BOTH)


@pytest.mark.parametrize("name", ["models/cytoo", "/nowhere/cpsam", "./x"])
def test_a_mistyped_path_is_said(cache, name):
    with pytest.raises(InputMissing, match="no such file or folder"):
        models.weights_of(name, BOTH)


def test_a_mistyped_name_has_a_suggestion(cache):
    with pytest.raises(InputMissing, match="did you mean 'cyto3'"):
        models.weights_of("cytoo3", BOTH)
    with pytest.raises(InputMissing, match="is not known to cellpose3 or cellpose"):
        models.weights_of("", BOTH)


def test_a_model_in_the_cache_is_verified(cache):
    path = network(cache / "mine" / "weights", b"W2")
    sums = {"weights": hashlib.sha256(path.read_bytes()).hexdigest()}
    (cache / "mine.json").write_text(json.dumps({"family": "cellpose", "files": sums}))
    assert models.weights_of("mine", BOTH) == path
    assert models.family_of("mine", BOTH) == "cellpose"
    with pytest.raises(BadData, match="one for cellpose, not for stardist"):
        models.find_model("mine", "stardist")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BadData, match=r"SHA-256.*fetch or add mine again"):
        models.weights_of("mine", BOTH)
