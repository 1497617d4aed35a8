"""Linters, formatters and the type checker, as tests: what CI runs is what a developer runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from launcher import nextflow


def check(command, project, env=None):
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def beside_python():
    """Folder of the programs of the test environment."""
    return Path(sys.executable).parent


def test_ruff_check(project, beside_python):
    check([beside_python / "ruff", "check", "--no-cache"], project)


def test_ruff_format(project, beside_python):
    check([beside_python / "ruff", "format", "--check", "--no-cache"], project)


@pytest.mark.slow
def test_mypy(project, tmp_path):
    check([sys.executable, "-m", "mypy", "--cache-dir", tmp_path], project)


@pytest.mark.slow
@pytest.mark.parametrize("parser", ["v1", "v2"])
def test_nextflow_lint(project, parser):
    command, env = nextflow.own_command()
    scripts = ["main.nf", "nextflow.config", "modules", "conf"]
    words = [*command, "lint", *scripts]
    report = check(words, project, env | {"NXF_ANSI_LOG": "false", "NXF_SYNTAX_PARSER": parser})
    assert "warning" not in report.lower()
    assert "had no errors" in report


def test_no_file_names_a_registry_or_an_address_of_one(project):
    names = ("requirements.lock", "requirements.in", "jgo.toml", "jgo.lock.toml")
    files = [path for name in names for path in (project / "containers").rglob(name)]
    assert files
    for path in files:
        assert "://" not in path.read_text(), path
