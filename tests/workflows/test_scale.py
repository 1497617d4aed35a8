"""Many small tasks under a real SLURM, and costs that grow no faster than the parts."""

from __future__ import annotations

import sys

import pytest
from nextflow import PROJECT

sys.path.insert(0, str(PROJECT / "benchmarks"))

import scale_parts
import scale_slurm

pytestmark = pytest.mark.full


def test_two_thousand_tasks_with_bounded_memory_of_the_head(tmp_path, slurm):
    found = scale_slurm.measure(tmp_path, 2000, slurm.env)
    assert found["head_peak_memory_mb"] < 1000


@pytest.mark.parametrize("what", scale_parts.WHAT)
def test_ten_times_the_parts_cost_at_most_ten_times_the_processor(what):
    few, many = (scale_parts.measured(what, parts)["cpu_seconds"] for parts in (300, 3000))
    assert many < 10 * few * 1.5 + 1
