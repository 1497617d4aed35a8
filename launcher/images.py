"""The images command: one Apptainer image per tool family, built where it is missing.

An image is named after all that it is built from (`cytoloom.environments.image_name`), so a
changed lock file or definition means a new image, an old one is never altered, and what has
not changed is not built again. Nextflow takes them from ``images/`` of the cache.
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from cytoloom.environments import image_path, imaged_families, lock_file

from . import PROJECT, apptainer, install
from .host import Failure, cache, install_once, is_there, say
from .options import sort_words

TEXT = """\
usage: ./cytoloom images [NAME...] [--all] [--mirror URL] [--rootfs FOLDER|IMAGE] [--rebuild]
       ./cytoloom images --list
       ./cytoloom images --check [NAME...]

Builds the Apptainer images of tool families that are not there. Without a name: those that
need no more than the shipped models (core, stardist).

  --all        every family but those whose licence asks you to name them (bm3d)
  --list       what there is, what is missing, and what is left from earlier versions
  --check      run the smoke test of the images that are there
  --rebuild    build anew what is there
  --mirror URL a Debian mirror (default: that of this machine's apt)
  --rootfs X   build on this root file system or image of Debian 12 instead

Root needs debootstrap, another user mmdebstrap and subordinate ids (docs/images.md).
"""
FLAGS = ("--all", "--list", "--check", "--rebuild")
VALUES = ("--mirror", "--rootfs")


def ensure(family: str, rebuild: bool = False, **source: str) -> Path:
    """Image of a family, built first when it is missing.

    Parameters
    ----------
    family : str
        A family with a definition.
    rebuild : bool
        Build it even though it is there; the old one serves until the new one is whole.
    **source : str
        ``mirror`` or ``rootfs``: what the base is made from.
    """
    apptainer.check_buildable(family)
    target = image_path(family, PROJECT)
    if is_there(target) and not rebuild:
        return target
    try:
        apptainer.find()
    except Failure as failure:
        raise Failure(f"image {family} is missing and cannot be built here: {failure}") from failure
    base = image_path("base", PROJECT)
    install_once(
        base, "",
        lambda new: apptainer.build_base(new, source.get("mirror"), source.get("rootfs")),
    )  # fmt: skip
    if family == "base":
        return base
    return install_once(
        target, "", lambda new: apptainer.build_family(new, family, base), anew=rebuild
    )


def restricted(family: str) -> bool:
    """Whether a family's licence keeps it out of what is built by default."""
    return lock_file(family, PROJECT).with_name("NOTICE").is_file()


def wanted(names: list[str], all_: bool) -> list[str]:
    """Families to build or look at."""
    for name in names:
        apptainer.check_buildable(name)
    if all_:
        free = [name for name in imaged_families(PROJECT) if not restricted(name)]
        return [*dict.fromkeys([*free, *names])]
    return names or list(install.USUAL_FAMILIES)


def size_of(path: Path) -> str:
    """Size of a file in words."""
    return f"{path.stat().st_size / 1e9:.2f} GB"


def rows() -> list[tuple[str, str, str, str]]:
    """Name, state, size and path of every image, those of earlier versions last."""
    found = []
    for name in ("base", *imaged_families(PROJECT)):
        path = image_path(name, PROJECT)
        there = is_there(path)
        found.append((name, "built" if there else "missing", size_of(path) if there else "",
                      str(path) if there else f"./cytoloom images {name}"))  # fmt: skip
    current = {row[3] for row in found}
    old = sorted(path for path in (cache() / "images").glob("*.sif") if str(path) not in current)
    return found + [(p.stem.rpartition("-")[0], "old", size_of(p), f"rm {p}") for p in old]


def show() -> int:
    """``images --list``."""
    table = [("NAME", "STATE", "SIZE", "WHERE, OR WHAT MAKES IT"), *rows()]
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    for row in table:
        print("  ".join([*(t.ljust(n) for t, n in zip(row[:3], widths, strict=True)), row[3]]))
    return 0


def check(names: Iterable[str]) -> int:
    """``images --check``: 0 when the smoke tests of all images pass, 66 when one is missing."""
    program, env, code = apptainer.find(), apptainer.environment(), 0
    for name in names:
        path = image_path(name, PROJECT)
        if not is_there(path):
            print(f"{name}: missing (./cytoloom images {name})")
            code = code or 66
            continue
        done = subprocess.run(
            [program, "test", path], env=env, capture_output=True, text=True, check=False
        )
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{name}: {'works' if done.returncode == 0 else f'fails: {last}'}")
        code = 1 if done.returncode else code
    return code


def main(words: list[str]) -> int:
    """``./cytoloom images``."""
    if {"-h", "--help"} & set(words):
        print(TEXT, end="")
        return 0
    names, flags, values = sort_words(words, FLAGS, VALUES, "images")
    if "--list" in flags:
        return show()
    chosen = wanted(names, "--all" in flags)
    if "--check" in flags:
        built = [name for name, state, _, _ in rows() if state == "built" and name != "base"]
        return check(names or built)
    for name in chosen:
        path = ensure(name, "--rebuild" in flags, **values)
        say(f"{name}: {path} ({size_of(path)})")
    return 0
