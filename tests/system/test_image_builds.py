"""Images under the real Apptainer: built, run in by the whole pipeline, bundled, built by a user.

Apptainer comes onto a Debian machine by tests/system/apptainer-up.sh. All of it is of the full
tier: it builds images of a gigabyte.
"""

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cytoloom.environments import image_path
from launcher import PROJECT, images

pytestmark = pytest.mark.full

UP = Path(__file__).with_name("apptainer-up.sh")
USER = "cytoloom-test"
SMALL = """\
channels: {{Target: {image}}}
image_range: {{t: [0, 3]}}
spacing: [0.1, 0.1]
frame_interval: 5
pipeline:
  segmentation: [{{name: Threshold, channels: [Target]}}]
  label_to_sparse: {{image_label_pair: [[Target, Target]]}}
"""
MOVIE = PROJECT / "assets" / "demo" / "mitosis_2ch" / "C2-MAX_mitosis.tif"


def launch(*words, cwd=None, project=PROJECT, code=0, **env):
    done = subprocess.run(
        [sys.executable, project / "cytoloom", *words],
        cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False, timeout=3000,
    )  # fmt: skip
    assert done.returncode == code, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="session")
def apptainer():
    """Apptainer, put onto the machine where that can be."""
    if shutil.which("apptainer") is None:
        if os.geteuid() or shutil.which("apt-get") is None:
            pytest.skip("no Apptainer, and not root of a Debian: cannot install it")
        subprocess.run([UP], check=True)
    return shutil.which("apptainer")


@pytest.fixture(scope="session")
def built(apptainer):
    """The images that the tests run in."""
    return {name: images.ensure(name) for name in ("core", "stardist", "trackmate")}


def same_results(one, two):
    """Assert that the results in two output folders are the same, byte for byte."""
    for part in ("images", "tables", "tracks"):
        names = sorted(p.relative_to(one) for p in (one / part).rglob("*") if p.is_file())
        if part == "tables":
            assert names
        assert names == sorted(p.relative_to(two) for p in (two / part).rglob("*") if p.is_file())
        assert filecmp.cmpfiles(one, two, names, shallow=False)[1:] == ([], [])


def test_smoke_tests_and_labels(built, apptainer):
    assert launch("images", "--check", *built).stdout.count("works") == len(built)
    labels = subprocess.check_output([apptainer, "inspect", built["stardist"]], text=True)
    assert "cytoloom.package.stardist: 0.9" in labels
    assert "mirrorurl" not in labels
    said = subprocess.check_output([apptainer, "run", built["core"]], text=True)
    assert "zarr==" in said


def test_the_demo_in_images_is_the_demo(built, tmp_path):
    pipeline = PROJECT / "assets" / "pipelines" / "cytotoxicity.yaml"
    for words in (["local"], ["images", "-profile", "apptainer"]):
        launch("run", "--pipeline", pipeline, "--outdir", *words, cwd=tmp_path)
    same_results(tmp_path / "local", tmp_path / "images")


def test_inputs_outside_of_the_project_behind_links_and_with_odd_names(built, tmp_path):
    far = tmp_path / "far away, 'ü' \"x\": y"
    far.mkdir()
    shutil.copy(MOVIE, far / "movie.tif")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.tif").symlink_to(far / "movie.tif")
    (tmp_path / "p.yaml").write_text(SMALL.format(image=tmp_path / "in" / "link.tif"))
    run = tmp_path / "run"
    run.mkdir()
    for words in (["local"], [tmp_path / "out side", "-profile", "apptainer"]):
        launch("run", "--pipeline", "../p.yaml", "--outdir", *words, cwd=run)
    same_results(run / "local", tmp_path / "out side")


def test_a_stage_alone_in_its_image(built, tmp_path):
    words = ["stage", "--image", "ingest_image"]
    assert "--source" in launch(*words, "--help", cwd=tmp_path).stdout
    assert launch(*words, "--no-such-option", cwd=tmp_path, code=2).stderr
    program = ["exec", "--no-home", built["trackmate"], "python", "-c", "import scyjava"]
    subprocess.run(["apptainer", *program], check=True)


def test_a_missing_image_names_the_command_that_makes_it(built, tmp_path):
    (tmp_path / "p.yaml").write_text(SMALL.format(image=MOVIE))
    words = ["--pipeline", "p.yaml", "--outdir", "out", "-profile", "apptainer"]
    done = launch("run", *words, "--images", tmp_path / "none", cwd=tmp_path, code=66)
    name = image_path("core", PROJECT).name
    assert f"image '{name}' is missing: run ./cytoloom images core" in done.stderr


def test_a_bundle_runs_without_a_network_from_an_empty_cache(built, tmp_path):
    if subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("no right to take the network away (unshare -n)")
    launch("bundle", tmp_path / "b.tar", "core")
    subprocess.run(["tar", "xf", "b.tar"], cwd=tmp_path, check=True)
    (tmp_path / "b.tar").unlink()
    folder, cache = tmp_path / "cytoloom-bundle", tmp_path / "cache"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CYTOLOOM_CACHE": str(cache),
           "PYTHON": sys.executable}  # fmt: skip
    alone = ["unshare", "-n"]
    subprocess.run([*alone, folder / "install", cache], env=env, check=True)
    subprocess.run([*alone, folder / "install", cache], env=env, check=True)  # again: no harm
    (tmp_path / "p.yaml").write_text(SMALL.format(image=MOVIE))
    words = ["run", "--pipeline", "p.yaml", "--outdir", "out", "-profile", "apptainer"]
    command = [*alone, sys.executable, folder / "cytoloom" / "cytoloom", *words]
    subprocess.run(command, cwd=tmp_path, env=env, check=True)
    assert (tmp_path / "out" / "report.html").is_file()
    shutil.rmtree(tmp_path)


def test_an_unprivileged_user_builds_and_runs_an_image(apptainer):
    runuser = shutil.which("runuser", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if os.geteuid() or runuser is None:
        pytest.skip("only root, with runuser, can make a user to test with")
    subprocess.run(["useradd", "-m", USER], check=True)
    home = Path(f"/home/{USER}")
    try:
        files = subprocess.check_output(["git", "archive", "HEAD"], cwd=PROJECT)
        (home / "p").mkdir()
        subprocess.run(["tar", "x"], input=files, cwd=home / "p", check=True)
        subprocess.run(["chown", "-R", f"{USER}:", home], check=True)
        env = {name: value for name, value in os.environ.items()
               if name.startswith(("PIP_", "UV_", "SSL_"))}  # fmt: skip
        env |= {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin"}

        def as_user(*words):
            return subprocess.run(
                [runuser, "-u", USER, "--", "python3", "cytoloom", *words],
                cwd=home / "p", env=env, capture_output=True, text=True, check=False,
            )  # fmt: skip

        done = as_user("images", "trackmate")
        assert done.returncode == 0, done.stderr
        assert next(home.glob(".cache/cytoloom/images/trackmate-*.sif")).owner() == USER
        assert as_user("images", "--check", "trackmate").stdout == "trackmate: works\n"
        assert not [path for path in Path("/tmp").glob("cytoloom-*") if path.owner() == USER]
    finally:
        subprocess.run(["userdel", "-r", USER], check=False, capture_output=True)
