"""The bundle command: all that a cluster without a network needs, as one tar or folder.

    cytoloom/          the project as it is here, without what git ignores
    cache/             as the cache folder: images, models, envs/core, Nextflow, Java
    SHA256SUMS         of every file (sha256sum -c)
    install, README    how to put it into place

``./install`` checks every file, puts what the cache folder of its user lacks there, and makes
the environment use the Python that runs it. Tasks run in the images; only the plan and the
uniting of parts need the environment, whose packages are for one minor version of Python.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cytoloom.environments import environment_path, image_path
from cytoloom.models import models_folder

from . import PROJECT, images, install, nextflow
from .host import BAD_DATA, INPUT_MISSING, USAGE, Failure, cache, is_there, make_folder, remove, say
from .options import sort_words

TEXT = """\
usage: ./cytoloom bundle OUT.tar|FOLDER [FAMILY...] [--all] [--pipeline P.yaml]
       ./cytoloom bundle --install FOLDER

Gathers all that a cluster without a network needs: images, models of the cache, Nextflow,
Java, the core environment and the pipeline's code; with checksums. Without a name the images
of core and stardist; core is always there.

  --pipeline P.yaml   the images that a pipeline needs
  --all               every image but those that may not be passed on (bm3d)
  --install FOLDER    put an unpacked bundle into place (its ./install does that)

On the cluster (docs/images.md): tar xf OUT.tar && ./cytoloom-bundle/install
"""
FLAGS = ("--all",)
VALUES = ("--pipeline", "--install")
NAME = "cytoloom-bundle"
SUMS = "SHA256SUMS"
SCRIPT = """\
#!/bin/sh
# Checks the bundle and puts it into place: ./install [FOLDER for the cache]
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 0 ] || export CYTOLOOM_CACHE="$1"
exec "${PYTHON:-python3}" "$here/cytoloom/cytoloom" bundle --install "$here"
"""
README = """\
Cytoloom {version}, for a machine without a network.

    ./install             check all files and put them into ~/.cache/cytoloom
    ./install FOLDER      or elsewhere; then: export CYTOLOOM_CACHE=FOLDER
    cd cytoloom && ./cytoloom run --pipeline P.yaml --outdir results -profile apptainer

Needs Linux, Apptainer, and Python {python} (PYTHON=/path/to/python{python} ./install).
"""


def python_version() -> str:
    """Minor version of this Python: what the packages of an environment are for."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder, links left out, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


# ---- Making


def code_files() -> list[Path]:
    """Files of the project, relative to it: those of git, else all but caches and results."""
    asked = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others"]
    try:
        reply = subprocess.run(
            [*asked, "--exclude-standard"], capture_output=True, text=True, check=True
        )
        found = [Path(name) for name in reply.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = [path.relative_to(PROJECT) for path in files_below(PROJECT)]
        found = [path for path in found if not {"work", "__pycache__", ".git"} & set(path.parts)]
    return [path for path in found if (PROJECT / path).is_file()]


def gather(folder: Path, families: list[str]) -> None:
    """Fill the folder of a bundle: hard links where the disk allows, else copies."""
    for path in code_files():
        take(PROJECT / path, folder / "cytoloom" / path)
    kept = folder / "cache"
    for family in families:
        image = images.ensure(family)
        take(image, kept / "images" / image.name)
    for path in (install.ensure("core"), nextflow.ensure(), models_folder(), own_java()):
        if path.is_dir():
            say(f"gathering {path.name} ...")
            tree(path, kept / path.relative_to(cache()))
    write_script(folder / "install", SCRIPT)
    from cytoloom import __version__

    text = README.format(version=__version__, python=python_version())
    (folder / "README").write_text(text)
    say("computing checksums ...")
    lines = [f"{digest(path)}  {path.relative_to(folder)}\n" for path in files_below(folder)]
    (folder / SUMS).write_text("".join(lines))


def own_java() -> Path:
    """Java 21 of the cache, installed first where the machine's own one is used."""
    if java := nextflow.bundled_java():
        return next(path for path in java.parents if path.parent.name == "tools")
    return install.ensure_tool("jdk", "Java 21 (about 0.2 GB, once)")


def take(source: Path, target: Path) -> None:
    """Link a file, or copy it where the disk is another."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        shutil.copy2(source, target)


def tree(source: Path, target: Path) -> None:
    """The same for a folder; symbolic links stay as they are."""
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_symlink():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.readlink())
        elif path.is_file():
            take(path, place)


def write_script(path: Path, text: str) -> None:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o755)


def make(out: Path, families: list[str]) -> None:
    """Make a bundle, whole or not at all."""
    if out.exists():
        raise Failure(f"{out} exists; delete it or choose another name", USAGE)
    parent = out.absolute().parent
    if not parent.is_dir():
        raise Failure(f"{parent}: no such folder", INPUT_MISSING)
    for family in families:
        images.ensure(family)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=parent) as name:
        folder = Path(name) / NAME
        folder.mkdir()
        gather(folder, families)
        if out.suffix != ".tar":
            folder.rename(out)
            return
        say(f"writing {out} ...")
        part = Path(name) / out.name
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(folder, NAME)
        part.rename(out)


# ---- Putting into place


def check(folder: Path) -> None:
    """Fail unless every file is the one that was bundled."""
    if not (folder / SUMS).is_file():
        raise Failure(f"{folder}: not a bundle ({SUMS} is missing)", INPUT_MISSING)
    for line in (folder / SUMS).read_text().splitlines():
        expected, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file() or digest(path) != expected:
            state = "damaged" if path.is_file() else "missing"
            raise Failure(f"{path}: {state}; copy and unpack the bundle again", BAD_DATA)


def put_into_place(folder: Path) -> None:
    """Check a bundle and add it to the cache folder."""
    environment = environment_path("core", PROJECT, folder / "cache")
    wanted = next((path.name for path in environment.glob("lib/python3.*")), "")
    if wanted != f"python{python_version()}":
        raise Failure(
            f"the bundle's packages are for {wanted or 'another Cytoloom'}, and this is Python "
            f"{python_version()}: PYTHON=/path/to/{wanted or 'python3'} ./install"
        )
    say("checking every file ...")
    check(folder)
    here = folder / "cache"
    found = [path for path in here.glob("*/*") if not path.parent.name.startswith("nextflow-")]
    for source in sorted([*found, *here.glob("nextflow-*")]):
        target = cache() / source.relative_to(here)
        env = source.name == environment.name
        if is_there(target / "bin" / "python" if env else target):
            continue
        make_folder(target.parent)
        part = target.with_name(f".{target.name}.{os.getpid()}")
        (tree if source.is_dir() else take)(source, part)
        if env:
            relink(part)
        remove(target)
        part.rename(target)
    say(f"installed in {cache()}; next: cd {PROJECT} && ./cytoloom doctor")


def relink(environment: Path) -> None:
    """Make an environment that was moved use the Python that runs this."""
    python = environment / "bin" / "python"
    python.unlink(missing_ok=True)
    python.symlink_to(Path(sys.executable).resolve())
    config = environment / "pyvenv.cfg"
    lines = config.read_text().splitlines()
    home = f"home = {Path(sys.executable).resolve().parent}"
    lines = [home if line.startswith("home") else line for line in lines]
    text = "\n".join(lines) + "\n"
    config.unlink()  # the file may be a link of the checked one
    config.write_text(text)


def main(words: list[str]) -> int:
    """``./cytoloom bundle``."""
    if {"-h", "--help"} & set(words):
        print(TEXT, end="")
        return 0
    names, flags, options = sort_words(words, FLAGS, VALUES, "bundle")
    if folder := options.get("install"):
        put_into_place(Path(folder).absolute())
        return 0
    if not names:
        raise Failure("say where the bundle goes: ./cytoloom bundle OUT.tar", USAGE)
    out, families = Path(names[0]), names[1:]
    if pipeline := options.get("pipeline"):
        families += families_of(Path(pipeline))
    chosen = [*dict.fromkeys(["core", *images.wanted(families, "--all" in flags)])]
    for family in chosen:
        if images.restricted(family):
            raise Failure(f"{family}: its licence forbids to pass it on; leave it out", USAGE)
    make(out, chosen)
    say(f"{out}: {', '.join(image_path(name, PROJECT).name for name in chosen)}")
    return 0


def families_of(pipeline: Path) -> list[str]:
    """Families that the tasks of a pipeline need."""
    from .commands import plan, planned_families

    with tempfile.TemporaryDirectory() as name:
        target = Path(name) / "plan.json"
        done = plan(["--pipeline", str(pipeline), "--outdir", name, "--out", str(target)])
        if done.returncode:
            raise Failure(
                f"{pipeline} cannot be planned; mend it, or name families", done.returncode
            )
        return planned_families(target)
