"""One run at a time in an output folder, whoever dies, on whatever file system."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from cytoloom import run_lock
from cytoloom.errors import TryAgain

BIN = Path(__file__).resolve().parents[2] / "bin"


@contextmanager
def holder(folder):
    """Another process that asks for the lock; yields it and what it says."""
    words = [sys.executable, "-m", "cytoloom.run_lock", str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=BIN, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait()


def test_a_second_run_is_refused_and_told_who_holds_it(tmp_path):
    with holder(tmp_path) as (first, said):
        assert said == run_lock.HELD
        with holder(tmp_path) as (second, refused):
            pass
        with pytest.raises(TryAgain) as error:
            run_lock.check(tmp_path)
    assert (first.returncode, second.returncode) == (0, 75)
    assert refused == str(error.value)
    words = f"{tmp_path} is in use by another run: process {os.getpid()} of "
    assert refused.startswith(words)
    assert f" on {socket.gethostname()}, since 2" in refused
    assert refused.endswith("; wait for its end, stop it, or give another --outdir")


def test_the_lock_goes_with_its_run(tmp_path):
    with holder(tmp_path):
        pass
    assert not list(run_lock.lock_file(tmp_path).parent.iterdir())
    run_lock.check(tmp_path)
    with holder(tmp_path) as (_, said):
        assert said == run_lock.HELD


def test_what_a_killed_holder_left_is_taken_over(tmp_path):
    with holder(tmp_path) as (process, _):
        process.kill()
        process.wait()
        assert run_lock.lock_file(tmp_path).exists()
        run_lock.check(tmp_path)
        with holder(tmp_path) as (_, said):
            assert said == run_lock.HELD


def test_signals_to_the_group_do_not_end_it(tmp_path):
    import signal

    with holder(tmp_path) as (process, _):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        with pytest.raises(TryAgain):
            run_lock.check(tmp_path)


def left_behind(folder, *, host, holder, silent):
    """Write what a run on some host left, some seconds ago."""
    path = run_lock.lock_file(folder)
    path.parent.mkdir(parents=True)
    about = {"pid": 1, "holder": holder, "host": host, "user": "u", "since": "2020-01-01 00:00:00"}
    path.write_text(json.dumps(about))
    then = path.stat().st_mtime - silent
    os.utime(path, (then, then))


@pytest.mark.parametrize("locks", [True, False], ids=["own locks only", "no locks"])
def test_another_host_counts_by_its_signs_of_life(tmp_path, monkeypatch, locks):
    if not locks:
        monkeypatch.setattr(fcntl, "lockf", no_locks)
    left_behind(tmp_path / "a", host="far", holder=1, silent=10)
    with pytest.raises(TryAgain, match=r"process 1 of u on far.* dead, wait 1[01]\d s or delete"):
        run_lock.check(tmp_path / "a")
    left_behind(tmp_path / "b", host="far", holder=1, silent=run_lock.SILENCE + 1)
    run_lock.check(tmp_path / "b")
    with run_lock.holding(tmp_path / "b") as file:
        assert json.loads(os.pread(file, 4096, 0))["host"] == socket.gethostname()


def no_locks(*_):
    raise OSError(38, "Function not implemented")


def test_without_locks_a_living_process_of_this_host_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "lockf", no_locks)
    here = socket.gethostname()
    left_behind(tmp_path / "a", host=here, holder=os.getpid(), silent=10**6)
    with pytest.raises(TryAgain):
        run_lock.check(tmp_path / "a")
    left_behind(tmp_path / "b", host=here, holder=2**22 + 1, silent=0)
    run_lock.check(tmp_path / "b")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with holder(tmp_path / "file") as (process, said):
        pass
    assert process.returncode == 65
    assert str(tmp_path / "file") in said
