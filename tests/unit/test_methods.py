"""The methods of a run in words: every step says what it does and what it rests on."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytoloom.crate import citations, methods
from cytoloom.crate.citations import bibtex, load_citations, numbered, reference_list
from cytoloom.environments import lock_file
from cytoloom.locks import packages, pins
from cytoloom.models import PROJECT
from cytoloom.plan.arguments import Signatures
from cytoloom.plan.registry import load_registry

ROWS = [row for row in load_registry() if row.available]
KNOWN = load_citations()
SIGNATURES = Signatures()
FRAME = ("cytoloom", "nextflow", "omezarr", "rocrate", "workflowrun")


def versions_in(family):
    return packages(pins(lock_file(family, PROJECT)))


def described(row, **given):
    """What the facts of a run say of a step with these arguments."""
    declared = SIGNATURES.of_step(row).arguments
    values = {name: argument.default for name, argument in declared.items()} | given
    families = [*(row.model_families or (row.family,))[:1], *(p.family for p in row.before)]
    model = {"argument": "model_name", "name": "some_model", "sha256": "ab" * 32}
    return {
        "slug": "S", "description": row.description, "methods": row.methods,
        "cite": list(row.cite), "families": families,
        "model": model if {"model", "jars"} & set(row.extra) else None,
        "arguments": {name: {"value": value, "given": name in given, "kind": "text", "help": ""}
                      for name, value in values.items()},
    }  # fmt: skip


def described_run(row, channels=(("A", "B"),), **more):
    return {
        "version": "0.1.0", "pipeline": "p.yaml", "channels": ["A", "B"],
        "preflight": [{"channel": "A"}],
        "positions": [{"shape": [5, 1, 64, 80], "pixel_size": [1.0, 0.5, 0.5],
                       "frame_interval": 60.0}],
        "steps": [{"tag": "S", "slug": "S", "name": row.name, "stage": row.stage,
                   "channels": [list(group) for group in channels], "outputs": ["A"]}],
    } | more  # fmt: skip


def facts_of(row, **given):
    families = {"core", *(row.model_families or (row.family,)), *(p.family for p in row.before)}
    return {
        "engine": {"nextflow": "25.04.0", "java": "17"}, "commit": None,
        "families": {name: {"environment": name, "main": [], "packages": versions_in(name)}
                     for name in families},
        "steps": [described(row, **given)],
    }  # fmt: skip


def text_of(row, run=None, **given):
    return methods.write_methods(run or described_run(row), facts_of(row, **given), KNOWN)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_step_reads_as_a_sentence(row):
    text, keys = text_of(row)
    sentence = re.search(r"^\*\*S\.\*\* (.*)$", text, re.MULTILINE)[1]
    assert sentence.endswith(".")
    assert "  " not in sentence
    assert not re.search(r"\bNone\b|\{|\}|@|version unknown| ,|\(\)| \.", sentence), sentence
    assert set(FRAME) <= set(keys)
    assert len(re.findall(r"^\d+\. ", text, re.MULTILINE)) == len(keys)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_choice_of_an_argument_can_be_told(row):
    for name, argument in SIGNATURES.of_step(row).arguments.items():
        for choice in argument.choices:
            sentence = text_of(row, **{name: choice})[0]
            assert "None" not in sentence
        if argument.optional and argument.kind in ("int", "float") and not argument.many:
            assert "**S.**" in text_of(row, **{name: 7})[0]


def test_distances_are_in_pixels_and_micrometres():
    row = load_registry().find("LapTrack")
    assert "at most 15 px (7.5 µm)" in text_of(row)[0]
    assert "at most 15 µm," in text_of(row, unit="um")[0]
    differing = described_run(row)
    differing["positions"] = [
        {"shape": [5, 1, 64, 80], "pixel_size": [1.0, size, size], "frame_interval": 60.0}
        for size in (0.5, 0.6)
    ]
    assert "at most 15 px," in text_of(row, differing)[0]
    assert "5 frames (300 s)" in text_of(row)[0]
    assert "Images of 2 positions" in text_of(row, differing)[0]


def test_the_engine_that_was_used_is_cited():
    row = load_registry().find("LapTrack")
    assert "fukai2022" not in text_of(row)[1]
    assert "fukai2022" in text_of(row, rules="laptrack")[1]
    cellpose = load_registry().find("CellPose")
    assert "pachitariu2025" not in text_of(cellpose)[1]
    facts = facts_of(cellpose)
    facts["steps"][0]["families"] = ["cellpose", "core"]
    _, keys = methods.write_methods(described_run(cellpose), facts, KNOWN)
    assert "pachitariu2025" in keys


def test_a_method_without_a_text_gets_one():
    row = load_registry().find("LapTrack")
    facts = facts_of(row)
    facts["steps"][0] |= {"methods": "", "cite": [], "description": "median over a square"}
    text, _ = methods.write_methods(described_run(row), facts, KNOWN)
    assert "**S.** A and B went through LapTrack (median over a square)." in text
    facts["steps"][0]["cite"] = ["otsu1979"]
    text, keys = methods.write_methods(described_run(row), facts, KNOWN)
    assert "(median over a square) [6]." in text
    assert keys[-1] == "otsu1979"


def test_what_was_left_to_the_model_is_told():
    row = load_registry().find("StarDist")
    facts = facts_of(row)
    arguments = facts["steps"][0]["arguments"]
    assert "suppression the model's own" in methods.write_methods(
        described_run(row), facts, KNOWN)[0]  # fmt: skip
    arguments["prob_thresh"]["resolved"] = [0.479]
    arguments["nms_thresh"]["resolved"] = [n / 10 for n in range(1, 9)]
    text, _ = methods.write_methods(described_run(row), facts, KNOWN)
    assert "the probability threshold was 0.479" in text
    assert "suppression 0.1 to 0.8." in text


def test_a_sweep_tells_what_was_compared():
    row = load_registry().find("LapTrack")
    sweep = {
        "axes": [{"tag": "S", "argument": "linking_max_distance", "values": [5, 7.5]}],
        "points": [{}, {}], "rank_by": "stability", "crop": {"t": [0, 5]},
    }  # fmt: skip
    text, _ = text_of(row, described_run(row, sweep=sweep))
    assert "2 combinations of linking_max_distance of S (5 or 7.5) were compared" in text
    assert "from frame to frame over at most 5 or 7.5 px," in text


@given(st.text(min_size=1, max_size=40))
def test_names_of_the_user_stay_words(name):
    row = load_registry().find("FeatureFilter")
    run = described_run(row, channels=[[name]])
    run["steps"][0]["tag"] = name
    text, keys = text_of(row, run, column=f"[@{name}]", operation="<", value=1.0)
    plain, _ = text_of(row, column="x", operation="<", value=1.0)
    assert keys == text_of(row, column="x", operation="<", value=1.0)[1]
    assert len(text.splitlines()) == len(plain.splitlines())
    for sign in "<[`*":
        bare = [m for m in re.finditer(re.escape(sign), text.split("## Analysis")[1]
                                       .split("## Software")[0]) if m]  # fmt: skip
        ours = len(re.findall(re.escape(sign), plain.split("## Analysis")[1]
                              .split("## Software")[0]))  # fmt: skip
        escaped = sum(1 for m in bare if _is_escaped(m))
        assert len(bare) - escaped <= ours


def _is_escaped(match):
    before = match.string[: match.start()]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def test_references_are_numbered_as_they_are_cited():
    text, keys = numbered("One [@b]. Two [@a; @b]. Three [@c].")
    assert text == "One [1]. Two [1, 2]. Three [3]."
    assert keys == ["b", "a", "c"]


@pytest.mark.parametrize("key", KNOWN)
def test_references_are_complete(key):
    entry = KNOWN[key]
    assert entry["type"] in ("article", "inproceedings", "misc")
    assert entry["author"]
    assert entry["title"]
    if entry["type"] != "misc":
        assert 1900 < entry["year"] < 2100
        assert entry.get("journal") or entry.get("booktitle")
    assert re.fullmatch(r"10\.\d{4,9}/\S+", entry.get("doi", "10.1000/x"))
    assert re.fullmatch(r"https://\S+", entry.get("url", "https://x"))
    text = bibtex([key], KNOWN)
    assert text.startswith(f"@{entry['type']}{{{key},")
    assert text.count("{") == text.count("}")
    line = reference_list([key], KNOWN)
    assert line.startswith("1. ")
    assert ".." not in line


def test_every_reference_is_used():
    used = set(FRAME)
    for row in ROWS:
        used |= set(methods.cited(row.methods, row.cite))
    assert set(KNOWN) <= used


def test_marks_are_found():
    assert citations.keys_in("a [@x; @y-1] b [@x] [not] [@] c@d") == ["x", "y-1"]
