"""A step's arguments from the signature of its executable."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan_tools import BIN, write_executable

from cytoloom.plan.arguments import ExecutableError, Signatures, as_options, check
from cytoloom.plan.nodes import parse
from cytoloom.plan.problems import Problems
from cytoloom.plan.registry import load_registry

ARGUMENTS = """
    ratio: Annotated[float, typer.Option(min=0, max=1, help="share, 0 to 1")] = 0.5,
    count: Annotated[int | None, typer.Option(min=1)] = None,
    limit: float = float("inf"),
    flag: bool = False,
    method: Choice = Choice.otsu,
    side: Literal["left", "right"] = "left",
    model: Path = Path("models/nuclei"),
    column: str = "area",
    weights: list[float] | None = None,
    box: tuple[int, int] = (1, 2),
    needed: Annotated[int, typer.Option(help="px")] = ...
""".replace(" = ...", "")


@pytest.fixture
def signatures(tmp_path: Path) -> Signatures:
    lines = [line.strip() for line in ARGUMENTS.strip().splitlines()]
    write_executable(tmp_path, "tool", " ".join([lines[-1] + ",", *lines[:-1]]))
    return Signatures(tmp_path)


def test_types_bounds_and_defaults(signatures: Signatures) -> None:
    found = signatures.of("tool").arguments
    assert "region" not in found
    assert "out_image" not in found
    kinds = {name: argument.kind for name, argument in found.items()}
    assert kinds == {
        "needed": "int", "ratio": "float", "count": "int", "limit": "float", "flag": "bool",
        "method": "choice", "side": "choice", "model": "text", "column": "text",
        "weights": "float", "box": "int",
    }  # fmt: skip
    assert (found["ratio"].minimum, found["ratio"].maximum) == (0, 1)
    assert found["method"].choices == ("otsu", "fixed")
    assert found["method"].default == "otsu"
    assert (found["needed"].required, found["count"].optional) == (True, True)
    assert (found["weights"].many, found["box"].length) == (True, 2)


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("ratio", "1", 1),
        ("count", "null", None),
        ("count", "5.0", 5),
        ("limit", ".inf", float("inf")),
        ("flag", "off", False),
        ("method", "fixed", "fixed"),
        ("model", "/a b/c", "/a b/c"),
        ("weights", "[1, 2.5]", [1, 2.5]),
        ("weights", "[]", []),
        ("box", "[3, 4]", [3, 4]),
    ],
)
def test_accepted(signatures: Signatures, name: str, written: str, value: object) -> None:
    problems = Problems("p")
    root = parse(f"v: {written}", problems)
    assert root is not None
    assert check(root.fields["v"], signatures.of("tool").arguments[name], problems) == value
    assert not problems.found


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        ("ratio", "1.5", "at most 1"),
        ("ratio", ".nan", "must be a number"),
        ("ratio", "'0.5'", "leave out the quotes"),
        ("ratio", "true", "not true"),
        ("ratio", "null", "leave it out for 0.5"),
        ("count", "0", "at least 1"),
        ("count", "1.5", "a whole number"),
        ("count", "99999999999999999999", "a whole number"),
        ("flag", "1", "true or false"),
        ("method", "Otsu", "did you mean otsu"),
        ("side", "[left]", "not a choice"),
        ("column", "3", "write it in quotes"),
        ("column", "''", "not empty"),
        ("weights", "1", "a list of values, each a number"),
        ("weights", "[1, a]", "must be a number"),
        ("box", "[1, 2, 3]", "a list of 2 values"),
    ],
)
def test_refused(signatures: Signatures, name: str, written: str, message: str) -> None:
    problems = Problems("p")
    root = parse(f"v: {written}", problems)
    assert root is not None
    check(root.fields["v"], signatures.of("tool").arguments[name], problems)
    (problem,) = problems.found
    assert message in problem.message


def test_options_for_the_command_line(signatures: Signatures) -> None:
    values = {"flag": False, "count": None, "weights": [1.5, 2], "box": [3, 4], "ratio": 1e-7}
    assert as_options(values, signatures.of("tool")) == [
        "--no_flag", "--weights", "1.5", "--weights", "2", "--box", "3", "4", "--ratio", "1e-07",
    ]  # fmt: skip


def test_executables_that_cannot_be_read(tmp_path: Path) -> None:
    signatures = Signatures(tmp_path)
    with pytest.raises(ExecutableError, match=r"none\.py is not in"):
        signatures.of("none")
    (tmp_path / "bad.py").write_text("import no_such_module_at_all\n")
    with pytest.raises(ExecutableError, match=r"bad\.py cannot be read: ModuleNotFoundError"):
        signatures.of("bad")
    write_executable(tmp_path, "odd", "value: dict[str, int] = None")
    with pytest.raises(ExecutableError, match="value: unknown type"):
        signatures.of("odd")


@pytest.mark.parametrize("row", [r for r in load_registry() if r.available], ids=lambda r: r.name)
def test_every_executable_of_the_registry_has_a_signature(row: object) -> None:
    name = row.executable  # type: ignore[attr-defined]
    if not (BIN / f"{name}.py").is_file():
        pytest.skip(f"{name}.py is missing")
    signature = Signatures().of_step(row)  # type: ignore[arg-type]
    assert not {"image", "label", "table", "region", "halo", "cores"} & set(signature.arguments)
