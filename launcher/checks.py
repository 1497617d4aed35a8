"""Doctor and test: whether all is there, and whether it works."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cytoloom.environments import environment_path, families, image_path, imaged_families

from . import PROJECT, apptainer, install, nextflow
from .host import USAGE, Failure, cache, clean_environment, is_there

TEST_TEXT = """\
usage: ./cytoloom test [--fast|--full] [options of pytest]

  --fast   under 5 minutes; leaves out what is marked slow, and tools that are not installed
  --full   every engine, image, fault and scale test

Linters and the type checker are tests too (tests/system/test_style.py).
"""


@dataclass(frozen=True)
class Finding:
    """One row of the doctor's table."""

    item: str
    state: str  # ok | missing | absent (not needed to start a run)
    detail: str
    remedy: str = ""


def check_python() -> Finding:
    """The launcher's own Python, which the environments are made from."""
    has = install.has_venv() or shutil.which("uv") is not None
    remedy = "" if has else "apt install python3-venv (or your system's package of that kind)"
    return Finding(
        "Python",
        "ok" if has else "missing",
        f"{platform.python_version()} at {sys.executable}" + ("" if has else ", no venv module"),
        remedy,
    )


def check_cache() -> Finding:
    """Room and the right to write where things are installed."""
    folder = cache()
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(parent).free / 1e9
    missing = [name for name in install.USUAL_FAMILIES if not installed(name)]
    needed = sum(install.stated_size(name) for name in missing) * 1.3
    detail = f"{folder}, {free:.0f} GB free"
    if missing and not os.access(parent, os.W_OK):
        return Finding("cache", "missing", f"{detail}, read-only", "set CYTOLOOM_CACHE")
    if free < needed:
        remedy = f"free {needed - free:.0f} GB, or set CYTOLOOM_CACHE"
        return Finding("cache", "missing", f"{detail}, {needed:.0f} GB needed", remedy)
    return Finding("cache", "ok", detail)


def check_machine() -> Finding:
    """Cores and memory."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Finding("machine", "ok", f"{cores} cores, {memory:.0f} GB memory")


def check_java() -> Finding:
    """A Java that Nextflow runs on."""
    if found := nextflow.find_java():
        return Finding("Java", "ok", f"{found[1]} at {found[0]}")
    unfit = shutil.which("java")
    oldest, newest = nextflow.OLDEST_JAVA, nextflow.NEWEST_JAVA
    detail = f"none from {oldest} to {newest}" + (f" ({unfit} does not fit)" if unfit else "")
    return Finding("Java", "missing", detail, "./cytoloom setup")


def check_nextflow() -> Finding:
    """The jars of Nextflow, or the user's own."""
    if own := os.environ.get("CYTOLOOM_NEXTFLOW"):
        state = "ok" if shutil.which(own) else "missing"
        return Finding("Nextflow", state, own, "" if state == "ok" else "unset CYTOLOOM_NEXTFLOW")
    if (nextflow.folder() / nextflow.JAR_FOLDER).is_dir():
        return Finding("Nextflow", "ok", f"{nextflow.version()} at {nextflow.folder()}")
    return Finding("Nextflow", "missing", f"{nextflow.version()}", "./cytoloom setup")


def installed(family: str) -> bool:
    """Whether the environment of a family has been made."""
    return is_there(environment_path(family, PROJECT) / "bin" / "python")


def check_families() -> Iterator[Finding]:
    """The environment of each tool family; only core is needed by every run."""
    for name in families(PROJECT):
        path = environment_path(name, PROJECT)
        if installed(name):
            yield Finding(f"family {name}", "ok", str(path))
        else:
            state = "missing" if name == "core" else "absent"
            detail = f"about {install.stated_size(name):g} GB; made when a pipeline needs it"
            detail = "the tests' own" if name == "test" else detail
            yield Finding(f"family {name}", state, detail, f"./cytoloom setup {name}")


def check_images() -> Iterator[Finding]:
    """Apptainer, and the images that it has."""
    try:
        program = apptainer.find()
    except Failure as failure:
        yield Finding("Apptainer", "absent", "needed by -profile apptainer", str(failure))
        return
    if apptainer.may_mount():
        yield Finding("Apptainer", "ok", program)
    else:
        remedy = "ask the administrator for: chmod 666 /dev/fuse"
        yield Finding("Apptainer", "absent", f"{program}, which may not open /dev/fuse", remedy)
    for name in imaged_families(PROJECT):
        path = image_path(name, PROJECT)
        if is_there(path):
            yield Finding(f"image {name}", "ok", str(path))
        else:
            remedy = f"./cytoloom images {name}"
            yield Finding(
                f"image {name}", "absent", "built when -profile apptainer needs it", remedy
            )


def check_cluster() -> Iterator[Finding]:
    """What only some profiles need."""
    tools = (
        ("SLURM", ("sbatch",), "needed by -profile slurm"),
        ("GPU", ("nvidia-smi",), "stages run on the processor"),
    )
    for item, names, otherwise in tools:
        found = next((path for name in names if (path := shutil.which(name))), None)
        if found and item == "GPU":
            reply = subprocess.run([found, "-L"], capture_output=True, text=True, check=False)
            lines = [line for line in reply.stdout.splitlines() if line.startswith("GPU")]
            found = "; ".join(line.split(" (UUID")[0] for line in lines)
        if found:
            yield Finding(item, "ok", found)
        else:
            yield Finding(item, "absent", otherwise)


def doctor(words: list[str]) -> int:
    """``./cytoloom doctor``: 0 when a run could start now, else 1."""
    if words:
        print("usage: ./cytoloom doctor")
        return 0 if words[0] in ("-h", "--help") else USAGE
    findings = [check_python(), check_cache(), check_machine(), check_java(), check_nextflow()]
    findings += [*check_families(), *check_images(), *check_cluster()]
    width = max(len(finding.item) for finding in findings)
    for finding in findings:
        remedy = f"  -> {finding.remedy}" if finding.remedy else ""
        print(f"{finding.item:<{width}}  {finding.state:<7}  {finding.detail}{remedy}")
    missing = [finding.item for finding in findings if finding.state == "missing"]
    if missing:
        print(f"\na run cannot start yet: {', '.join(missing)}")
        return 1
    print("\na run can start")
    return 0


def parallel(words: list[str]) -> list[str]:
    """Options that spread tests over processes, unless the user debugs or chose already."""
    own = ("-n", "--numprocesses", "--pdb", "-s", "--dist", "--trace", "--collect-only", "--co")
    if any(word.startswith(own) for word in words):
        return []
    return ["-n", "2", "--dist", "loadfile"]


def tested_families(tiers: Sequence[str]) -> list[str]:
    """Families whose environments a tier of the tests needs; others are skipped by name there."""
    if "--fast" in tiers:
        return ["core"]
    if "--full" in tiers:
        return [name for name in families(PROJECT) if name not in install.ON_REQUEST]
    return list(install.USUAL_FAMILIES)


def test(words: list[str]) -> int:
    """``./cytoloom test``: pytest in the test environment, over all that a tier needs."""
    if "-h" in words or "--help" in words:
        print(TEST_TEXT, end="")
        return 0
    tiers = [word for word in ("--fast", "--full") if word in words]
    if len(tiers) > 1:
        raise Failure("give --fast or --full, not both", USAGE)
    folder = install.ensure("test")
    for name in tested_families(tiers):
        install.ensure(name)
    if "--fast" not in tiers:
        install.ensure_tool("rocrate", "the validator of crates")
    nextflow.ensure()
    nextflow.ensure_java()
    env = clean_environment()
    env["PATH"] = f"{folder / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
    command = [str(folder / "bin" / "python"), "-m", "pytest", *parallel(words), *words]
    code = subprocess.run(command, env=env, cwd=PROJECT, check=False).returncode
    return 1 if code < 0 else code
