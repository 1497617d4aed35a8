"""Lock files: the versions that they say are those that an environment holds."""

import json
import subprocess

import pytest

from cytoloom.environments import families, lock_file
from cytoloom.locks import named, packages, pins
from cytoloom.models import PROJECT

INSTALLED = """
import importlib.metadata as m, json, platform
print(json.dumps([platform.python_version(), {d.name: d.version for d in m.distributions()}]))
"""


@pytest.mark.parametrize("family", families(PROJECT))
def test_they_are_what_is_installed(family_python, family):
    done = subprocess.run(
        [family_python(family), "-c", INSTALLED], capture_output=True, text=True, check=True
    )
    python, found = json.loads(done.stdout)
    installed = {name.lower().replace("_", "-").replace(".", "-"): v for name, v in found.items()}
    assert packages(pins(lock_file(family, PROJECT)), python) == installed


def test_a_line_is_for_its_python(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "Numpy_x==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:00\n"
        "numpy-x==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:00\n"
        "only-windows==1 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
        "plain==1.0 \\\n    --hash=sha256:00\n    # via numpy==9\nbare==3\n"
    )
    assert packages(pins(lock), "3.11.7") == {"numpy-x": "2.4.6", "plain": "1.0", "bare": "3"}
    assert packages(pins(lock), "3.13.0")["numpy-x"] == "2.5.5"


def test_names_are_spelled_one_way(tmp_path):
    wanted = tmp_path / "requirements.in"
    wanted.write_text("# words\n-r ../core\nPy_Wavelets>=1  # why\nruamel.yaml\npy-wavelets\n")
    assert named(wanted) == ["py-wavelets", "ruamel-yaml"]
