"""Where there is a GPU of PyTorch, it gives what the CPU gives."""

import json
import subprocess

import pytest


@pytest.fixture(scope="module")
def found(family_python, project):
    """What the GPU computes beside what the CPU does (`gpu_agreement`)."""
    done = subprocess.run(
        [family_python("cellpose3"), project / "tests" / "gpu_agreement.py"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("no GPU on this machine")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_distances_are_those_of_the_tree(found):
    assert found["contacts"]["difference"] < 1e-12


def test_cellpose_finds_the_same_objects(found):
    assert found["cellpose"]["pixels"] < 5e-3  # the network computes in TF32 there
    cpu, gpu = found["cellpose"]["objects"]
    assert cpu > 10
    assert abs(cpu - gpu) <= 0.02 * cpu


def test_the_model_of_the_gpu_is_named(found):
    assert found["cellpose"]["device"].endswith("(cuda:0)")
    assert len(found["cellpose"]["device"]) > len("(cuda:0)")
