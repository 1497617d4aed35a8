"""Apptainer of this machine: found, and told to build, test and run.

An image is built from ``containers/<family>/Apptainer.def`` on the image of
``containers/base``. Where packages come from is this machine's affair: Debian's mirror is
read from apt's sources, Python's index from pip's and uv's settings; they are handed to the
build in a folder bound at /mnt, with uv and its cache, and nothing of it stays in the image.

Root makes the base by debootstrap. Another user with subordinate ids (/etc/subuid) makes it
by mmdebstrap, in a name space of their own. Anybody can take a root file system that is here.
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cytoloom.environments import definition_file, lock_file
from cytoloom.plan.mounts import folders_of

from . import PROJECT, install
from .host import Failure, cache, clean_environment, progress, say
from .words import nearest

HOW_TO_GET = "install it (apptainer.org/docs/admin/main/installation.html), or load its module"
FAST = "-comp zstd -Xcompression-level 3"  # for mksquashfs: half the time of gzip, no larger
BASE_SIZE = 0.5  # GB while it is built
SUITE = "bookworm"
CAP_SYS_RESOURCE = 24


def find() -> str:
    """Path of the program.

    Raises
    ------
    Failure
        When this machine has none; says how to get it.
    """
    for name in ("apptainer", "singularity"):
        if found := shutil.which(name):
            return found
    raise Failure(f"Apptainer is not installed: {HOW_TO_GET}")


def environment() -> dict[str, str]:
    """Environment variables for Apptainer.

    Root of a virtual machine may lack a capability that Apptainer hands on without asking.
    """
    env = clean_environment() | {"APPTAINERENV_CYTOLOOM_CACHE": str(cache())}
    if os.geteuid() == 0 and not holds(CAP_SYS_RESOURCE):
        env.setdefault("APPTAINER_DROP_CAPS", "CAP_SYS_RESOURCE")
    if not may_mount():
        env.setdefault("APPTAINER_UNSQUASH", "true")
    return env


def may_mount() -> bool:
    """Whether this user can mount an image; else it is unpacked for each use, in seconds."""
    return os.geteuid() == 0 or os.access("/dev/fuse", os.W_OK)


def holds(capability: int) -> bool:
    """Whether this process has a capability, by its number."""
    status = Path("/proc/self/status").read_text()
    match = re.search(r"^CapPrm:\s*(\w+)", status, re.MULTILINE)
    return match is None or bool(int(match[1], 16) >> capability & 1)


def inside(image: Path, command: Sequence[str]) -> list[str | Path]:
    """Return the words that run a command in an image, where its paths are those of outside."""
    words = [str(path.absolute()) if (path := Path(word)).exists() else word for word in command]
    seen = [PROJECT, Path.cwd(), cache() / "models", cache() / "fiji"]
    found: list[str | Path] = [find(), "exec", "--cleanenv", "--no-home", "--pwd", Path.cwd()]
    for folder in folders_of([shlex.join(words)], seen):
        quoted = folder.replace('"', '""')
        found += ["--mount", f'type=bind,"source={quoted}","destination={quoted}"']
    if Path("/dev/nvidiactl").exists():
        found.append("--nv")
    return [*found, image, *command]


# ---- The host's own configuration


def apt_sources() -> Iterator[str]:
    """Addresses of the package archives that apt uses, in order."""
    root = Path("/etc/apt")
    for path in sorted(root.glob("sources.list.d/*.sources")):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("URIs:"):
                yield from line.split()[1:]
    for path in (root / "sources.list", *sorted(root.glob("sources.list.d/*.list"))):
        text = path.read_text(errors="replace") if path.is_file() else ""
        for line in text.splitlines():
            if line.startswith("deb "):
                yield from (word for word in line.split() if "://" in word)


def mirror(sources: Iterable[str]) -> str:
    """The first of some archives that is one of Debian.

    Raises
    ------
    Failure
        When there is none, as on other systems.
    """
    for address in sources:
        if address.rstrip("/").endswith("/debian"):
            return address
    raise Failure(
        "no Debian mirror in apt's sources: give one by --mirror URL (debian.org/mirror/list), "
        "or a root file system of Debian 12 by --rootfs"
    )


@contextmanager
def settings_folder() -> Iterator[tuple[Path, list[str]]]:
    """What %post needs of this machine, as a folder to be bound at /mnt; and more to bind."""
    env = install.download_environment()
    binds = [f"{install.uv()}:/mnt/uv", f"{env['UV_CACHE_DIR']}:/mnt/cache"]
    kept = {k: v for k, v in env.items() if k.startswith("UV_") or k.lower().endswith("_proxy")}
    kept |= {"UV_CACHE_DIR": "/mnt/cache", "UV_LINK_MODE": "copy"}
    with tempfile.TemporaryDirectory(prefix="cytoloom-build-") as name:
        folder = Path(name)
        for child in ("cache", "links", "certificates"):
            (folder / child).mkdir()
        (folder / "uv").touch()
        configs = (
            env.get("UV_CONFIG_FILE"),
            Path(env.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv" / "uv.toml",
            "/etc/uv/uv.toml",
        )
        if config := next((path for path in configs if path and Path(path).is_file()), None):
            shutil.copyfile(config, folder / "uv.toml")
            kept["UV_CONFIG_FILE"] = "/mnt/uv.toml"
        if (netrc := Path(env.get("NETRC") or Path.home() / ".netrc")).is_file():
            shutil.copyfile(netrc, folder / "netrc")
            kept["NETRC"] = "/mnt/netrc"
        for variable in ("SSL_CERT_FILE", "SSL_CLIENT_CERT"):
            if (path := Path(env.get(variable, "/-"))).is_file():
                shutil.copyfile(path, folder / "certificates" / variable)
                kept[variable] = f"/mnt/certificates/{variable}"
        links = []
        for i, link in enumerate(env.get("UV_FIND_LINKS", "").split(",")):
            if Path(link).is_dir():
                (folder / "links" / str(i)).mkdir()
                binds.append(f"{Path(link).resolve()}:/mnt/links/{i}")
                link = f"/mnt/links/{i}"
            links += [link] if link else []
        if links:
            kept["UV_FIND_LINKS"] = ",".join(links)
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(kept.items())]
        (folder / "environment").write_text("".join(lines))
        Path(env["UV_CACHE_DIR"]).mkdir(parents=True, exist_ok=True)
        yield folder, binds


# ---- Building


def check_buildable(family: str) -> None:
    """Fail for a family without a definition."""
    if not definition_file(family, PROJECT).is_file():
        known = sorted(path.parent.name for path in PROJECT.glob("containers/*/Apptainer.def"))
        raise Failure(
            f"no image {family!r}{nearest(family, known)}; there are {', '.join(known)}", 2
        )


@contextmanager
def scratch(gigabytes: float) -> Iterator[Path]:
    """Folder for a build: $APPTAINER_TMPDIR, else the first with room of $TMPDIR and the cache's.

    Raises
    ------
    Failure
        When none has room.
    """
    chosen = os.environ.get("APPTAINER_TMPDIR")
    places = [Path(chosen)] if chosen else [Path(tempfile.gettempdir()), cache() / "images"]
    for place in places:
        if place.is_dir() and shutil.disk_usage(place).free > gigabytes * 1e9:
            with tempfile.TemporaryDirectory(
                prefix="cytoloom-", dir=place, ignore_cleanup_errors=True
            ) as name:
                yield Path(name)
            return
    raise Failure(
        f"{' and '.join(map(str, places))} {'has' if chosen else 'have'} not the {gigabytes:.0f} "
        "GB free that the build needs; set APPTAINER_TMPDIR to a local disk that has"
    )


def build(target: Path, family: str, arguments: dict[str, str], size: float,
          binds: Sequence[str] = ()) -> None:  # fmt: skip
    """Build the image of a family, or ``base``, and run its smoke test."""
    definition = definition_file(family, PROJECT)
    # The tree of files, and the image beside it.
    with scratch(size * 1.6) as folder:
        command: list[str | Path] = [find(), "build", "--mksquashfs-args", FAST]
        for name, value in arguments.items():
            command += ["--build-arg", f"{name}={value}"]
        for bind in binds:
            command += ["--bind", bind]
        what = f"building the {family} image (about {size:g} GB unpacked, once)"
        env = environment() | {"APPTAINER_TMPDIR": str(folder)}
        progress(what, [*command, target, definition], env=env, cwd=definition.parent)


def build_base(target: Path, given_mirror: str | None, rootfs: str | None) -> None:
    """Build the image that all others stand on."""
    if rootfs:
        build(target, "base", {"bootstrap": "localimage", "rootfs": rootfs}, BASE_SIZE)
        return
    address = given_mirror or mirror(apt_sources())
    if os.geteuid() == 0 and shutil.which("debootstrap"):
        build(target, "base", {"mirror": address}, BASE_SIZE)
        return
    if not shutil.which("mmdebstrap"):
        tool = "debootstrap" if os.geteuid() == 0 else "mmdebstrap"
        raise Failure(f"{tool} is missing: install it (on Debian and Ubuntu: apt install {tool}), "
                      "or give a root file system or image of Debian 12 by --rootfs")  # fmt: skip
    with scratch(BASE_SIZE * 1.6) as folder:
        tree = unpack_debian(folder, address)
        build(target, "base", {"bootstrap": "localimage", "rootfs": str(tree)}, BASE_SIZE)


def unpack_debian(folder: Path, address: str) -> Path:
    """Root file system of Debian as a folder, made without being root."""
    text = definition_file("base", PROJECT).read_text()
    packages = re.findall(r"^Include: (.*)$", text, re.MULTILINE)[0].split()
    archive, tree = folder / "root.tar", folder / "root"
    mode = "root" if os.geteuid() == 0 else "unshare"
    command: list[str | Path] = ["mmdebstrap", f"--mode={mode}", "--variant=minbase", "--quiet"]
    command += [f"--include={','.join(packages)}", SUITE, archive, address]
    progress("making a root file system of Debian", command, cwd=folder)
    tree.mkdir()
    # Devices cannot be made by a user, and an image needs none.
    unpack = ["tar", "-xf", str(archive), "-C", str(tree), "--exclude=./dev/*"]
    subprocess.run(unpack, check=True)
    archive.unlink()
    return tree


def build_family(target: Path, family: str, base: Path) -> None:
    """Build the image of a family on the base."""
    with settings_folder() as (folder, more):
        binds = [f"{folder}:/mnt", *more]
        size = install.stated_size(family)
        build(target, family, {"base": str(base)}, size, binds)
    notice = lock_file(family, PROJECT).with_name("NOTICE")
    if notice.is_file():
        say(notice.read_text().strip())
