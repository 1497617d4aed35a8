"""Whatever is written into a pipeline or resource YAML: problems with a line, or a plan."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plan_tools import ASSETS, COMPLETE, load, load_text, mistakes
from ruamel.yaml import YAML

from cytoloom.plan.problems import PlanProblems
from cytoloom.plan.resources import load_resources

RESOURCES = (ASSETS / "resources" / "pipeline-resources.yaml").read_text(encoding="utf-8")
FREE_VALUES = ("description", "microscope", "fiji_dir", "tag", "column", "output_dir")
UNUSED_NAMES = ("Killers", "NetA", "NetB", "Killing")
DEFINING_KEYS = ("TCell", "CancerCell", "Dead", "output_channel_name")
SLOW = settings(max_examples=60, deadline=None)


def _tokens() -> list[tuple[int, int, str]]:
    """Return (start, end, key of the line) of every key and name whose spelling counts."""
    found = []
    offset = 0
    for line in COMPLETE.splitlines(keepends=True):
        key = re.match(r"[\s-]*([\w-]+):", line)
        name = key[1] if key else ""
        words = list(re.finditer(r"[A-Za-z_][\w.]*", line))
        words = words[:1] if name in FREE_VALUES else words
        words = [word for word in words if word[0] not in ("null", *UNUSED_NAMES)]
        found += [(offset + word.start(), offset + word.end(), name) for word in words]
        offset += len(line)
    return found


TOKENS = _tokens()
KNOWN = {"z"} | {COMPLETE[start:end] for start, end, _ in TOKENS}


@SLOW
@given(
    token=st.sampled_from(TOKENS),
    place=st.integers(0, 30),
    how=st.sampled_from(["insert", "delete", "swap", "replace"]),
    letter=st.sampled_from("qzkxQ"),
)
def test_a_typo_is_always_found(
    token: tuple[int, int, str], place: int, how: str, letter: str
) -> None:
    start, end, key = token
    word = COMPLETE[start:end]
    i = place % len(word)
    typo = {
        "insert": word[:i] + letter + word[i:],
        "delete": word[:i] + word[i + 1 :],
        "swap": word[:i] + word[i + 1 : i + 2] + word[i : i + 1] + word[i + 2 :],
        "replace": word[:i] + letter + word[i + 1 :],
    }[how]
    assume(typo not in KNOWN and typo.lower() not in ("null", "true", "false", ""))
    text = COMPLETE[:start] + typo + COMPLETE[end:]
    line = COMPLETE[:start].count("\n") + 1
    with tempfile.TemporaryDirectory() as folder:
        found = mistakes(Path(folder), text)
    lines = [int(problem.split(":")[0]) for problem in found]
    assert found, f"{word} -> {typo}"
    if key not in DEFINING_KEYS:  # a wrong definition is found where the name is used
        assert line in lines, (word, typo, found)


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["all", "TCell", "StarDist", "../x", "*", "**", "~nobody/x", "a\0b", "1-1"]),
)
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=6), st.sampled_from(["name", "args", "channels", "path"])),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside: Any = ()
    if isinstance(value, dict | list):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
    deeper = [p for key, child in inside for p in _paths(child, (*path, key))]
    return [path, *deeper] if path else deeper


def _replaced(text: str, path: tuple[Any, ...], value: Any) -> str:
    yaml = YAML(typ="safe", pure=True)
    data = yaml.load(text)
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


def _check(problems: PlanProblems, text: str) -> None:
    assert problems.lines
    for problem in problems.problems:
        assert 1 <= problem.line <= text.count("\n") + 1
        assert "\n" not in str(problem)


PIPELINE_PATHS = _paths(YAML(typ="safe", pure=True).load(COMPLETE))
RESOURCE_PATHS = _paths(YAML(typ="safe", pure=True).load(RESOURCES))


@SLOW
@given(path=st.sampled_from(PIPELINE_PATHS), value=VALUES, dry_run=st.booleans())
def test_any_value_anywhere_gives_a_plan_or_problems(
    path: tuple[Any, ...], value: Any, dry_run: bool
) -> None:
    text = _replaced(COMPLETE, path, value)
    with tempfile.TemporaryDirectory() as folder:
        try:
            load_text(Path(folder), text, dry_run=dry_run)
        except PlanProblems as problems:
            _check(problems, text)


@SLOW
@given(
    start=st.integers(0, len(COMPLETE)),
    length=st.integers(0, 40),
    put=st.text(alphabet=st.sampled_from(" \n\t:-[]{}&*!|>'\"%@#,?aA0.~<"), max_size=8),
)
def test_any_text_gives_a_plan_or_problems(start: int, length: int, put: str) -> None:
    text = COMPLETE[:start] + put + COMPLETE[start + length :]
    with tempfile.TemporaryDirectory() as folder:
        try:
            load_text(Path(folder), text)
        except PlanProblems as problems:
            _check(problems, text)


@pytest.fixture(scope="module")
def template() -> Any:
    return load(ASSETS / "pipelines" / "pipeline.template.yaml", dry_run=True)


@SLOW
@given(path=st.sampled_from(RESOURCE_PATHS), value=VALUES)
def test_any_value_in_resources(template: Any, path: tuple[Any, ...], value: Any) -> None:
    text = _replaced(RESOURCES, path, value)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "r.yaml"
        file.write_text(text, encoding="utf-8")
        try:
            load_resources(file, template)
        except PlanProblems as problems:
            _check(problems, text)
