"""Tiers, property-test profiles, and where things are.

--fast leaves out what is marked slow or full, the default what is marked full, --full
nothing. A test that needs what this machine or checkout does not have is skipped by name,
through one of the fixtures below.
"""

import os
from pathlib import Path

import pytest
import slurm_daemons
from hypothesis import HealthCheck, settings

from cytoloom.environments import environment_path

PROJECT = Path(__file__).resolve().parent.parent

settings.register_profile(
    "default",
    deadline=None,  # the machine is shared with other tests
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("fast", settings.get_profile("default"), max_examples=15)
settings.register_profile("full", settings.get_profile("default"), max_examples=300)


def pytest_addoption(parser):
    group = parser.getgroup("tiers")
    group.addoption("--fast", action="store_true", help="leave out slow tests")
    group.addoption("--full", action="store_true", help="run every test")


def tier(config):
    """``fast``, ``default`` or ``full``."""
    if config.getoption("--fast"):
        return "fast"
    return "full" if config.getoption("--full") else "default"


def pytest_configure(config):
    settings.load_profile(tier(config))


def pytest_collection_modifyitems(config, items):
    left_out = {"fast": {"slow", "full"}, "default": {"full"}, "full": set()}[tier(config)]
    dropped = [item for item in items if left_out & {mark.name for mark in item.iter_markers()}]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in set(dropped)]


@pytest.fixture(scope="session")
def project():
    """Root of the project."""
    return PROJECT


@pytest.fixture(scope="session")
def shared():
    """Folder of large test data: $CYTOLOOM_DATA, else ``shared/data`` beside the checkout."""
    folder = Path(os.environ.get("CYTOLOOM_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder} (set CYTOLOOM_DATA)")
    return folder


@pytest.fixture(scope="session")
def family_python():
    """Return the Python of a tool family's environment: ``family_python("stardist")``."""

    def find(family):
        python = environment_path(family, PROJECT) / "bin" / "python"
        if not python.exists():
            pytest.skip(f"no {family} environment (./cytoloom setup {family})")
        return python

    return find


@pytest.fixture(scope="session")
def slurm_running():
    """Real slurmctld, slurmd and munged; ended at the end, if they were started here."""
    try:
        with slurm_daemons.using() as slurm:
            yield slurm
    except slurm_daemons.CannotBeHad as error:
        pytest.skip(f"no SLURM: {error}")


@pytest.fixture
def slurm(slurm_running):
    """A real SLURM: nodes cpu1 and gpu1 (a pretended GPU), 16 pretended processors each."""
    with slurm_daemons.together():
        yield slurm_running


@pytest.fixture
def slurm_alone(slurm_running):
    """The same, for a test that sets a node down or restarts a daemon."""
    with slurm_daemons.alone():
        yield slurm_running
