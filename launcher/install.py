"""Python environments: one per tool family, made by uv from the family's lock file.

uv itself comes from PyPI by the host's pip. pip's settings (index, certificate, proxy,
links) are handed to uv, so that whoever has told pip about a mirror need not tell
Cytoloom; uv's own settings, where there are any, come first. Every file is checked
against the hashes of the lock file. uv's cache lies on the same disk as the environments,
so that families share their files by hard link.
"""

import ast
import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cytoloom.environments import environment_path, families, lock_file

from . import PROJECT
from .host import (
    USAGE,
    Failure,
    cache,
    check_space,
    clean_environment,
    install_once,
    is_there,
    progress,
    say,
)
from .words import nearest

PINS = PROJECT / "containers" / "launcher"
USUAL_FAMILIES = ("core", "stardist")  # what the shipped models and the demo need
ON_REQUEST = ("bm3d", "napari", "stardist_gpu")  # only where a user asks for them
DEFAULT_SIZE = 2.0  # GB, of a family that does not state it

# pip's setting -> uv's variable
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "proxy": "ALL_PROXY",
}
INDEX_SETTINGS = ("index-url", "extra-index-url", "find-links", "no-index")


def parse_pip_settings(listing: str) -> dict[str, str]:
    """Settings that apply to ``pip install``, from the output of ``pip config list``.

    Parameters
    ----------
    listing : str
        Lines ``section.name='value'``. The environment wins over ``[install]``, which
        wins over ``[global]``.
    """
    settings: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        match = re.fullmatch(r"(global|install|:env:)\.([\w-]+)=(.*)", line.strip())
        if match:
            section, name, value = match.groups()
            try:
                found[section][name] = str(ast.literal_eval(value))
            except (ValueError, SyntaxError):
                found[section][name] = value
    for section in found.values():
        settings |= section
    return settings


def uv_variables(settings: dict[str, str], user_has_uv_settings: bool) -> dict[str, str]:
    """Variables that make uv download as pip would; variables that are set already win."""
    variables = {}
    for name, value in settings.items():
        variable = PIP_TO_UV.get(name)
        if variable is None or not value.strip():
            continue
        if name in INDEX_SETTINGS and user_has_uv_settings:
            continue
        words = value.split()
        if name == "find-links":
            words = [word for word in words if "://" in word or Path(word).is_dir()]
        if words:
            separator = "," if name == "find-links" else " "
            variables[variable] = separator.join(words)
    return variables


@functools.cache
def download_environment() -> dict[str, str]:
    """Environment variables under which uv, pip and jgo download as the host is set up."""
    env = clean_environment()
    reply = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
        env=env | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    config = Path(env.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv" / "uv.toml"
    has_uv = config.exists() or Path("/etc/uv/uv.toml").exists() or "UV_CONFIG_FILE" in env
    settings = parse_pip_settings(reply.stdout) if reply.returncode == 0 else {}
    env = uv_variables(settings, has_uv) | env
    if "UV_NATIVE_TLS" not in env:
        env.setdefault("UV_SYSTEM_CERTS", "true")
    if "SSL_CERT_FILE" in env:
        env.setdefault("REQUESTS_CA_BUNDLE", env["SSL_CERT_FILE"])
    env.setdefault("UV_CACHE_DIR", str(cache() / "uv"))
    env.setdefault("UV_HTTP_TIMEOUT", "120")
    env |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "PIP_NO_INPUT": "1"}
    env |= {"PIP_USER": "0"}
    return env


def pinned(lock: Path) -> str:
    """First 12 hex digits of the digest of a lock file of the launcher's own tools."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:12]


def uv() -> Path:
    """Uv at the pinned version: installed by pip; the host's own where there is no pip."""
    lock = PINS / "uv" / "requirements.lock"
    target = cache() / "tools" / f"uv-{pinned(lock)}"

    def make(folder: Path) -> None:
        progress("preparing the installer", [sys.executable, "-m", "venv", folder])
        pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
        pip += ["--require-hashes", "-r", lock]
        progress("installing uv", pip, env=download_environment())

    if not is_there(target / "bin" / "uv") and not has_venv():
        if found := shutil.which("uv"):
            return Path(found)
        raise Failure(
            "this Python has no venv module and there is no uv on the PATH; install one of them "
            "(on Debian and Ubuntu: apt install python3-venv)"
        )
    return install_once(target, "bin/uv", make) / "bin" / "uv"


def has_venv() -> bool:
    """Whether this Python can make an environment with pip in it (Debian splits them off)."""
    return all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))


def make_environment(folder: Path, lock: Path, what: str) -> None:
    """Make a Python environment from a lock file, checked by hash and compiled."""
    env = download_environment()
    installer = uv()
    python = os.environ.get("CYTOLOOM_PYTHON", sys.executable)
    make: list[str | Path] = [
        installer,
        "venv",
        "--quiet",
        "--relocatable",
        "--python",
        python,
        folder,
    ]
    subprocess.run([str(part) for part in make], env=env, check=True, cwd=cache())
    install: list[str | Path] = [installer, "pip", "install", "--require-hashes"]
    install += ["--compile-bytecode", "--python", folder / "bin" / "python", "-r", lock]
    progress(what, install, env=env)


def stated_size(family: str) -> float:
    """Size of a family's environment in GB, as stated on top of its requirements.in."""
    text = (lock_file(family, PROJECT).with_suffix(".in")).read_text()
    match = re.search(r"#.*about (\d+(?:\.\d+)?) GB", text, re.IGNORECASE)
    return float(match[1]) if match else DEFAULT_SIZE


def check_family(family: str) -> None:
    """Fail for a family that the project does not have."""
    known = families(PROJECT)
    if family not in known:
        raise Failure(
            f"unknown environment {family!r}{nearest(family, known)}; there are {', '.join(known)}",
            USAGE,
        )


def ensure(family: str) -> Path:
    """Environment of a tool family, made first when it is missing."""
    check_family(family)
    size = stated_size(family)

    def make(folder: Path) -> None:
        check_space(folder.parent, size * 1.3)
        what = f"installing the {family} environment (about {size:g} GB, once)"
        make_environment(folder, lock_file(family, PROJECT), what)
        notice = lock_file(family, PROJECT).with_name("NOTICE")
        if notice.is_file():
            say(notice.read_text().strip())

    return install_once(environment_path(family, PROJECT), "bin/python", make)


def tool_folder(name: str) -> Path:
    """Environment of one of the launcher's own tools, whether or not it has been made."""
    return cache() / "tools" / f"{name}-{pinned(PINS / name / 'requirements.lock')}"


def ensure_tool(name: str, what: str) -> Path:
    """Environment of one of the launcher's own tools (jgo, jdk; rocrate for the tests)."""
    lock, target = PINS / name / "requirements.lock", tool_folder(name)
    return install_once(
        target, "bin/python", lambda folder: make_environment(folder, lock, f"installing {what}")
    )


def remake_locks(names: list[str], upgrade: bool) -> None:
    """Resolve requirements.in files, for every system and Python from 3.11 on.

    Parameters
    ----------
    names : list of str
        Families; with all of them, the launcher's own tools as well.
    upgrade : bool
        Take the newest versions; without it versions change only where they must.
    """
    folders = [lock_file(name, PROJECT).parent for name in names]
    if set(names) == set(families(PROJECT)):
        folders += sorted(path.parent for path in PINS.glob("*/requirements.in"))
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    options += ["--no-emit-index-url", "--no-emit-find-links", "--no-header"]
    options += ["--upgrade"] if upgrade else []
    root = PROJECT / "containers"
    for folder in folders:
        shown = folder.relative_to(root)
        draft = folder / "requirements.lock.new"
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(folder / "requirements.lock", draft)
        files = ["-o", str(draft.relative_to(root)), str(shown / "requirements.in")]
        try:
            command: list[str | Path] = [uv(), "pip", "compile", *options, *files]
            progress(f"resolving {shown}", command, env=download_environment(), cwd=root)
            draft.rename(folder / "requirements.lock")
        finally:
            draft.unlink(missing_ok=True)
