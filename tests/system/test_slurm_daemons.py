"""The real SLURM of the tests: it runs jobs, keeps their limits, and gives its pretended GPU."""

import os
import subprocess

import slurm_daemons


def srun(slurm, *words):
    env = {**os.environ, **slurm.env}
    return subprocess.run(["srun", *words], env=env, capture_output=True, text=True, check=False)


def test_both_nodes_run_jobs(slurm):
    for partition, node in (("cpu", "cpu1"), ("gpu", "gpu1")):
        done = srun(slurm, "-p", partition, "printenv", "SLURMD_NODENAME")
        assert (done.returncode, done.stdout.strip()) == (0, node)


def test_only_a_job_that_asks_for_the_gpu_sees_it(slurm):
    command = ("-p", "gpu", "bash", "-c", "echo ${CUDA_VISIBLE_DEVICES:-none}")
    assert srun(slurm, "--gres=gpu:1", *command).stdout.strip() == "0"
    assert srun(slurm, *command).stdout.strip() == "none"


def test_a_job_that_takes_more_memory_than_it_asked_for_is_ended(slurm):
    greedy = "import time; held = bytearray(300 << 20); time.sleep(30)"
    done = srun(slurm, "--mem=50", "python3", "-c", greedy)
    assert done.returncode != 0
    assert "exceeded memory limit" in done.stderr.lower()


def test_a_second_start_changes_nothing(slurm):
    before = [slurm.pid(name) for name in ("slurmctld", "slurmd-cpu1", "slurmd-gpu1")]
    slurm_daemons.start()
    assert [slurm.pid(name) for name in ("slurmctld", "slurmd-cpu1", "slurmd-gpu1")] == before
