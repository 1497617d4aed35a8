"""The launcher: words sorted, settings handed on, installations whole, errors in one line."""

import ast
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from cytoloom import environments
from launcher import PROJECT, checks, commands, host, install, nextflow, options

DEAD = "http://127.0.0.1:9"
DEAD_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"), DEAD)


def launch(*words, timeout=300, **env):
    return subprocess.run(
        [sys.executable, str(PROJECT / "cytoloom"), *words],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return an empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CYTOLOOM_CACHE", str(folder))
    return folder


# ---- Where things are


def test_environment_is_named_after_its_lock_file(tmp_path):
    lock = tmp_path / "containers" / "core" / "requirements.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("numpy==1\n")
    path = environments.environment_path("core", tmp_path, tmp_path / "c")
    digest = hashlib.sha256(b"numpy==1\n").hexdigest()[:12]
    assert path == tmp_path / "c" / "envs" / f"core-{digest}"
    lock.write_text("numpy==2\n")
    assert environments.environment_path("core", tmp_path, tmp_path / "c") != path
    with pytest.raises(FileNotFoundError):
        environments.environment_path("none", tmp_path)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CYTOLOOM_CACHE": "/a/b"}, "/a/b"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/cytoloom"),
        ({"HOME": "/h"}, "/h/.cache/cytoloom"),
    ],
)
def test_cache_folder(monkeypatch, variables, expected):
    for name in ("CYTOLOOM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(environments.cache_folder()) == expected


@pytest.mark.parametrize("family", environments.families(PROJECT))
def test_lock_file_holds_every_requirement_with_hashes(family):
    lock = environments.lock_file(family, PROJECT)
    locked = set(re.findall(r"^([a-z0-9][\w.-]*)==", lock.read_text(), re.MULTILINE))
    asked = re.findall(r"^([A-Za-z0-9][\w.-]*)", lock.with_suffix(".in").read_text(), re.MULTILINE)
    assert {name.lower().replace(".", "-") for name in asked} <= locked
    blocks = re.split(r"\n(?=[a-z0-9])", lock.read_text())
    assert all("--hash=sha256:" in block for block in blocks)


# ---- Words


def test_run_keeps_every_word_that_it_does_not_know():
    typed = "--pipeline=p.yaml -profile slurm --outdir o -resume --odd xy --from A --until B"
    line = options.read_run(f"{typed} --verify_inputs -log l.txt --nextflow nf".split())
    assert line.values == {"pipeline": "p.yaml", "outdir": "o", "from": "A", "until": "B"}
    assert line.before == ["-log", "l.txt"]
    assert line.nextflow == "nf"
    assert not line.dry_run
    kept = ["-profile", "slurm", "--outdir=o", "-resume", "--odd", "xy"]
    assert line.words == [
        *["--pipeline=p.yaml", *kept],
        *["--from=A", "--until=B", "--verify_inputs"],
    ]
    wanted = ["--pipeline=p.yaml", "--outdir=o", "--from=A", "--until=B"]
    assert options.plan_words(line) == [*wanted, "--verify_inputs", "--scheduler=slurm"]


@pytest.mark.parametrize("word", ["--dry_run", "--dry-run", "--dry_run=true"])
def test_dry_run_is_taken_out(word):
    line = options.read_run([word, "--pipeline", "p"])
    assert line.dry_run
    assert line.words == ["--pipeline=p"]


def test_a_value_may_begin_with_a_dash():
    line = options.read_run(["--pipeline", "p", "--outdir", "-o"])
    assert line.words == options.plan_words(line) == ["--pipeline=p", "--outdir=-o"]


def test_run_hands_over_to_nextflow(monkeypatch, tmp_path):
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text("channels: {}\n")
    made, started = [], []

    def plan(words):
        steps = [{"phases": {"core": [{"family": "x"}, {"family": "core"}]}}]
        path = Path(words[words.index("--out") + 1])
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"steps": steps, "outdir": "/of/yaml"}))
        return subprocess.CompletedProcess([], 0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "plan", plan)
    monkeypatch.setattr(install, "ensure", made.append)
    monkeypatch.setattr(nextflow, "start_command", lambda chosen: (["nf"], {}))
    monkeypatch.setattr(commands, "wait_for", lambda words, env: started.append(words) or 0)
    assert commands.main(["run", "--pipeline", str(pipeline), "-resume", "-q"]) == 0
    assert made == ["core", "x"]
    envs = str(host.cache() / "envs")
    main = str(PROJECT / "main.nf")
    expected = ["nf", "-q", "run", main, f"--pipeline={pipeline}", "-resume", "--envs", envs]
    expected += ["--outdir", "/of/yaml"]
    (words,) = started
    assert words[:-2] == expected
    assert words[-2] == "--plan"
    assert Path(words[-1]).parent == tmp_path / "work"


def test_summary_is_told_in_words():
    summary = {"cells": 1234, "tracks": 56, "mean_speed": 1.5, "name": "x", "ok": True}
    assert commands.describe(summary) == "1,234 cells, 56 tracks, 1.5 mean speed"


# ---- Settings of the host


def test_pip_settings_reach_uv(tmp_path):
    listing = (
        ":env:.cert='/c.pem'\nglobal.cert='/other.pem'\nglobal.index-url='idx'\n"
        f"install.find-links='\\n{tmp_path}\\n/not/there'\nfreeze.timeout='10'\n"
    )
    settings = install.parse_pip_settings(listing)
    assert settings["cert"] == "/c.pem"
    variables = install.uv_variables(settings, user_has_uv_settings=False)
    expected = {"SSL_CERT_FILE": "/c.pem", "UV_DEFAULT_INDEX": "idx", "UV_FIND_LINKS": tmp_path}
    assert variables == {name: str(value) for name, value in expected.items()}
    assert install.uv_variables(settings, user_has_uv_settings=True) == {"SSL_CERT_FILE": "/c.pem"}


# ---- Whole or not at all


def make_slowly(target, log):
    def make(folder):
        (folder / "bin").mkdir(parents=True)
        time.sleep(0.5)
        (folder / "bin" / "python").write_text("x")
        with log.open("a") as handle:
            handle.write("made\n")

    host.install_once(target, "bin/python", make)


def test_two_launchers_make_an_environment_once(cache, tmp_path):
    target, log = cache / "envs" / "e", tmp_path / "log"
    fork = get_context("fork")
    both = [fork.Process(target=make_slowly, args=(target, log)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    assert log.read_text() == "made\n"
    assert [path.name for path in target.parent.iterdir()] == ["e"]


def test_a_killed_installation_leaves_nothing_that_counts(cache, tmp_path):
    target, log = cache / "envs" / "e", tmp_path / "log"
    one = get_context("fork").Process(target=make_slowly, args=(target, log))
    one.start()
    time.sleep(0.25)
    os.kill(one.pid, signal.SIGKILL)
    one.join()
    assert not target.exists()
    make_slowly(target, log)
    assert [path.name for path in target.parent.iterdir()] == ["e"]


def test_a_failed_installation_leaves_nothing(cache):
    def fail(folder):
        folder.mkdir()
        raise host.Failure("no")

    with pytest.raises(host.Failure, match="no"):
        host.install_once(cache / "envs" / "e", "bin/python", fail)
    assert list((cache / "envs").iterdir()) == []


def test_an_environment_without_its_python_is_made_anew(cache, tmp_path):
    target = cache / "envs" / "e"
    (target / "bin").mkdir(parents=True)
    (target / "bin" / "python").symlink_to(tmp_path / "removed")
    make_slowly(target, tmp_path / "log")
    assert (target / "bin" / "python").read_text() == "x"


def test_reading_a_cache_needs_no_lock(cache):
    (cache / "envs" / "e" / "bin").mkdir(parents=True)
    (cache / "envs" / "e" / "bin" / "python").write_text("x")
    host.install_once(cache / "envs" / "e", "bin/python", lambda folder: pytest.fail("made"))
    assert [path.name for path in cache.iterdir()] == ["envs"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("error: Request failed\n cause: dns error", host.TRY_AGAIN, "registry cannot be reached"),
        ("error: write: No space left on device (os error 28)", host.FAILED, "disk is full"),
        ("Resolved 3\nerror: hash mismatch for x\n", host.FAILED, "hash mismatch for x"),
    ],
)
def test_failures_of_an_installation_in_one_line(tmp_path, words, code, message):
    log = tmp_path / "log"
    log.write_text(words)
    failure = host.explain("installing x (big)", log)
    assert failure.code == code
    assert message in str(failure)
    assert "\n" not in str(failure)


def test_no_room_is_said_before_anything_is_fetched(cache):
    cache.mkdir()
    with pytest.raises(host.Failure, match="CYTOLOOM_CACHE"):
        host.check_space(cache, 1e9)


# ---- Java and Nextflow


def fake_java(folder, version):
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    return java


def test_a_java_that_is_too_new_is_passed_over(cache, tmp_path, monkeypatch):
    new, good = fake_java(tmp_path / "25", "25.0.1"), fake_java(tmp_path / "21", "21.0.8")
    assert nextflow.java_version(new) == 25
    monkeypatch.setattr(nextflow, "java_candidates", lambda: iter([new, good]))
    assert nextflow.find_java() == (good, 21)
    monkeypatch.setattr(nextflow, "java_candidates", lambda: iter([new, tmp_path / "none"]))
    assert nextflow.find_java() is None


def test_java_version_from_its_release_file(tmp_path):
    java = fake_java(tmp_path, "9")
    (tmp_path / "release").write_text('IMPLEMENTOR="x"\nJAVA_VERSION="17.0.15"\n')
    assert nextflow.java_version(java) == 17


def test_a_changed_jar_is_found(tmp_path):
    with pytest.raises(host.Failure, match="differ"):
        nextflow.check_jars(tmp_path)
    nextflow.check_jars(nextflow.ensure() / nextflow.JAR_FOLDER)
    assert len(nextflow.recorded_jars()) > 50


def test_own_nextflow(tmp_path, monkeypatch):
    own = tmp_path / "nextflow"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert nextflow.start_command(str(own))[0] == [str(own)]
    monkeypatch.setenv("CYTOLOOM_NEXTFLOW", str(tmp_path / "none"))
    with pytest.raises(host.Failure, match="no Nextflow"):
        nextflow.start_command()


# ---- The program itself


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_is_quick_and_needs_nothing(tmp_path, word):
    start = time.monotonic()
    done = launch(word, CYTOLOOM_CACHE=str(tmp_path / "none"))
    assert done.returncode == 0
    assert "./cytoloom" in done.stdout
    assert time.monotonic() - start < 5
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["demo", "run", "setup", "test", "stage", "doctor"])
def test_every_command_has_help(command):
    done = launch(command, "--help")
    assert done.returncode == 0
    assert "usage" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, ""),
        (["dmeo"], 2, "did you mean 'demo'"),
        (["run"], 2, "--pipeline"),
        (["run", "--pipeline"], 2, "needs a value"),
        (["run", "--pipeline", "none.yaml"], 66, "none.yaml"),
        (["setup", "stardits"], 2, "did you mean 'stardist'"),
        (["setup", "--odd"], 2, "--odd"),
        (["stage", "preprocess_gama"], 2, "did you mean 'preprocess_gamma'"),
        (["test", "--fast", "--full"], 2, "not both"),
    ],
)
def test_mistakes_in_one_line(words, code, message):
    done = launch(*words)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count("\n") == (1 if words else 0)


def test_an_old_python_is_told_so(tmp_path):
    source = (PROJECT / "cytoloom").read_text()
    ast.parse(source, feature_version=(3, 4))
    script = (
        "import sys, runpy; sys.version_info = (3, 9, 1, 'final', 0); "
        f"sys.argv = ['cytoloom']; runpy.run_path({str(PROJECT / 'cytoloom')!r})"
    )
    env = {"PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "3.11" in done.stderr
    assert done.stderr.count("\n") == 1


def test_stage_hands_words_and_exit_code_through(family_python):
    family_python("core")
    done = launch("stage", "preprocess_gamma", "--help")
    assert done.returncode == 0
    assert "--gamma" in done.stdout
    assert launch("stage", "preprocess_gamma", "--no-such-option").returncode == 2


def test_what_is_installed_needs_no_network(family_python):
    family_python("core")
    done = launch("setup", "core", **DEAD_NETWORK)
    assert done.returncode == 0
    assert "installing" not in done.stderr


def test_doctor(cache):
    done = launch("doctor")
    assert done.returncode == 1
    assert re.search(r"family core +missing .* ./cytoloom setup core", done.stdout)
    assert not cache.exists()


def test_doctor_where_all_is_installed(family_python, capsys):
    family_python("core")
    nextflow.ensure()
    assert checks.doctor([]) == 0
    assert "a run can start" in capsys.readouterr().out


@pytest.mark.full
def test_no_network_and_nothing_cached(cache):
    done = launch("setup", "core", **DEAD_NETWORK)
    assert done.returncode == host.TRY_AGAIN
    assert "registry cannot be reached" in done.stderr
    assert list((cache / "envs").iterdir()) == []


@pytest.mark.full
def test_everything_from_an_empty_cache(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(nextflow, "java_candidates", lambda: iter([]))
    assert (nextflow.ensure() / nextflow.JAR_FOLDER).is_dir()
    assert nextflow.find_java() == (nextflow.bundled_java(), 21)
    python = install.ensure("core") / "bin" / "python"
    subprocess.run([python, "-c", "import zarr, laptrack, trackpy"], check=True)
    start, env = nextflow.start_command()
    said = subprocess.check_output([*start, "-v"], env=env, cwd=tmp_path, text=True)
    assert said.startswith("nextflow version")


def test_the_report_of_a_failed_task_is_left_to_two_lines():
    from launcher.commands import without_report

    said = [
        "[1a/2b] Submitted process > X (a)\n",
        "ERROR ~ Error executing process > 'X (a)'\n",
        "\n",
        "Caused by:\n",
        "Command error:\n",
        "  a.tif: truncated\n",
        " -- Check '.nextflow.log' file for details\n",
        "[3c/4d] Submitted process > X (b)\n",
    ]
    assert list(without_report(said)) == [said[0], *said[6:]]
    assert list(without_report(said[:1])) == said[:1]
