"""The models command: what networks there are, and the one place that fetches some.

Models that are not shipped lie in ``models/<name>`` of the cache, each with a record
``models/<name>.json`` of its family, licence, source and checksums (`cytoloom.models` reads it).
"""

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cytoloom import models as known
from cytoloom.environments import families
from cytoloom.errors import CytoloomError

from . import PROJECT, install
from .host import (
    BAD_DATA,
    INPUT_MISSING,
    TRY_AGAIN,
    USAGE,
    Failure,
    clean_environment,
    locked,
    make_folder,
    say,
)
from .words import nearest

TEXT = """\
usage: ./cytoloom models list
       ./cytoloom models fetch NAME...
       ./cytoloom models add FILE|FOLDER --name NAME [--family FAMILY] [--licence TEXT]
       ./cytoloom models verify [NAME...]
       ./cytoloom models train stardist|cellpose3 --images FOLDER --labels FOLDER --out FOLDER

list      the models by name: family, size, licence, and whether they are here
fetch     download models that are not shipped; nothing else in Cytoloom downloads one
add       copy a network of your own into the cache, under a name
verify    compare files with their checksums
train     train or fine-tune on your own images and labels (train stardist --help)

A pipeline takes a model by its name or by the path of its file (docs/models.md).
"""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
READ = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)"
BLOCK = 2**20
PATIENCE = 30  # s without an answer


def catalogue() -> dict[str, dict[str, Any]]:
    """Entries of ``assets/models.yaml``, and those that only the cache has."""
    python = install.ensure("core") / "bin" / "python"
    path = PROJECT / "assets" / "models.yaml"
    reply = subprocess.run(
        [python, "-c", READ, path], capture_output=True, text=True, check=False,
        env=clean_environment(),
    )  # fmt: skip
    if reply.returncode:
        last = (reply.stderr.strip().splitlines() or ["no message"])[-1]
        raise Failure(f"cannot read {path.relative_to(PROJECT)}: {last}")
    entries: dict[str, dict[str, Any]] = json.loads(reply.stdout)
    for record in sorted(known.models_folder().glob("*.json")):
        entries.setdefault(record.stem, known.record_of(record.stem) | {"own": True})
    return entries


def place_of(name: str, entry: dict[str, Any]) -> Path:
    """Folder of a model, whether or not it is there."""
    return PROJECT / entry["folder"] if "folder" in entry else known.models_folder() / name


def sums_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by its relative name."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with open(path, "rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        found[path.relative_to(folder).as_posix()] = digest
    return found


def state_of(name: str, entry: dict[str, Any]) -> str:
    """``here``, ``damaged: …``, or how to get it."""
    folder = place_of(name, entry)
    if not folder.is_dir():
        return f"./cytoloom models fetch {name}" if "url" in entry else "missing"
    sums = entry.get("files") or known.record_of(name).get("files") or {}
    try:
        known.verify(name, folder, sums, "fetch or add it again")
    except CytoloomError as error:
        return f"damaged: {error}"
    return "here" if sums else "here, without a checksum"


def size_of(name: str, entry: dict[str, Any]) -> str:
    """Size of the files, or as the list states it."""
    folder = place_of(name, entry)
    if not folder.is_dir():
        return f"{entry['megabytes']:g} MB" if "megabytes" in entry else "?"
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{total / 1e6:.1f} MB"


def show(_words: list[str]) -> int:
    """``models list``."""
    rows = [("NAME", "FAMILY", "SIZE", "STATE", "LICENCE; DESCRIPTION")]
    for name, entry in catalogue().items():
        about = "; ".join(t for t in (entry.get("licence"), entry.get("description")) if t)
        rows.append((name, entry.get("family", "?"), size_of(name, entry),
                     state_of(name, entry), about))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        print(
            "  ".join([*(t.ljust(n) for t, n in zip(row, widths, strict=False)), row[4]]).rstrip()
        )
    print(f"\nfetched and added models lie in {known.models_folder()}")
    return 0


def verify(words: list[str]) -> int:
    """``models verify``."""
    entries = catalogue()
    check_names(words, entries)
    code = 0
    for name in words or entries:
        state = state_of(name, entries[name])
        absent = not place_of(name, entries[name]).is_dir()
        if absent and not words and "url" in entries[name]:
            continue
        print(f"{name}: {'not here; ' if absent else ''}{state}")
        code = INPUT_MISSING if absent else BAD_DATA if state.startswith("damaged") else code
    return code


def check_names(words: list[str], entries: dict[str, dict[str, Any]]) -> None:
    """Fail for a name that there is no model of, or an option."""
    for word in words:
        if word.startswith("-"):
            raise Failure(f"unknown option {word} (models --help)", USAGE)
        if word not in entries:
            raise Failure(
                f"no model {word!r}{nearest(word, entries)}; `./cytoloom models list` shows all",
                USAGE,
            )


def fetch(words: list[str]) -> int:
    """``models fetch``."""
    entries = catalogue()
    check_names(words, entries)
    if not words:
        others = ", ".join(name for name, entry in entries.items() if "url" in entry)
        raise Failure(f"fetch what? ({others})", USAGE)
    for name in words:
        entry = entries[name]
        if "url" not in entry:
            say(f"{name}: {state_of(name, entry)}; nothing to fetch")
        elif state_of(name, entry) == "here":
            say(f"{name}: here already ({place_of(name, entry)})")
        else:
            fetch_one(name, entry)
    return 0


def fetch_one(name: str, entry: dict[str, Any]) -> None:
    """Download a model, check it, unpack it, and note its checksums."""
    url, folder = entry["url"], known.models_folder() / name
    file = Path(urllib.parse.urlparse(url).path).name
    with arriving(name) as temporary:
        download(name, url, temporary / file, folder)
        expected = entry.get("sha256")
        found = sums_of(temporary)[file]
        if expected and found != expected:
            raise Failure(
                f"{name}: what came from {url} is not the released file (SHA-256 {found[:12]}…, "
                f"expected {expected[:12]}…); nothing was kept",
                BAD_DATA,
            )
        if file.endswith(".zip"):
            unpack(name, temporary / file)
        if not expected:
            say(f"{name}: no checksum was published; the one of this download is noted and "
                f"checked from now on (SHA-256 {found})")  # fmt: skip
        keep(name, temporary, {
            "family": entry["family"], "licence": entry.get("licence"), "source": url,
        })  # fmt: skip


def download(name: str, url: str, target: Path, folder: Path) -> None:
    """Copy an address into a file; the failure says what to do by hand."""
    verb = "unpack" if url.endswith(".zip") else "put"
    request = urllib.request.Request(url, headers={"User-Agent": "cytoloom"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply, open(target, "wb") as out:
            total, done = int(reply.headers.get("Content-Length") or 0), 0
            while block := reply.read(BLOCK):
                out.write(block)
                done += len(block)
                share = f" of {total / 1e6:.0f}" if total else ""
                say(f"\r{name}: {done / 1e6:.0f}{share} MB", end="")
            say("")
        if total and done != total:
            raise OSError(f"the download ended after {done} of {total} bytes")
    except (OSError, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise Failure(
            f"{name}: {target.name} cannot be fetched ({' '.join(str(reason).split())}); get {url} "
            f"elsewhere, then {verb} it into {folder}, or: ./cytoloom models add "
            f"{target.name} --name {name}",
            TRY_AGAIN,
        ) from error


def unpack(name: str, archive: Path) -> None:
    """Unpack a zip beside itself and remove it; one top folder is left out."""
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [n for n in opened.namelist() if not n.endswith("/")]
            for one in names:
                if one.startswith("/") or ".." in Path(one).parts:
                    raise Failure(f"{name}: {archive.name} holds an unsafe path {one!r}", BAD_DATA)
            opened.extractall(archive.parent)
    except zipfile.BadZipFile as error:
        raise Failure(f"{name}: {archive.name} is no zip archive ({error})", BAD_DATA) from error
    archive.unlink()
    inside = list(archive.parent.iterdir())
    if len(inside) == 1 and inside[0].is_dir():
        for path in list(inside[0].iterdir()):
            path.rename(archive.parent / path.name)
        inside[0].rmdir()


def add(words: list[str]) -> int:
    """``models add``."""
    source, options = read_add(words)
    name = options.get("name") or source.stem
    if not NAME.fullmatch(name):
        raise Failure(f"--name {name!r}: letters, digits, '_', '-' and '.' only", USAGE)
    entry = catalogue().get(name, {})
    if "folder" in entry:
        raise Failure(f"{name} is a shipped model; choose another --name", USAGE)
    family = options.get("family") or entry.get("family") or guess(source)
    if family not in families(PROJECT):
        raise Failure(f"unknown family {family!r}{nearest(family, families(PROJECT))}", USAGE)
    if family in known.MARKS:
        try:
            known.weights_of(str(source), (family,))
        except CytoloomError as error:
            raise Failure(str(error), error.exit_code) from error
    with arriving(name) as temporary:
        if source.is_dir():
            shutil.copytree(source, temporary, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, temporary / source.name)
        keep(name, temporary, {
            "family": family, "licence": options.get("licence") or entry.get("licence"),
            "source": str(source.absolute()),
        })  # fmt: skip
    return 0


def read_add(words: list[str]) -> tuple[Path, dict[str, str]]:
    """What to add, and the options."""
    rest, options = list(words), {}
    given = []
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            given.append(Path(word).expanduser())
        elif word not in ("--name", "--family", "--licence"):
            raise Failure(f"unknown option {word} (models --help)", USAGE)
        elif not rest:
            raise Failure(f"{word} needs a value", USAGE)
        else:
            options[word[2:]] = rest.pop(0)
    if len(given) != 1:
        raise Failure("give one file or folder to add (models --help)", USAGE)
    if not given[0].exists():
        raise Failure(f"{given[0]}: no such file or folder", INPUT_MISSING)
    return given[0], options


def guess(source: Path) -> str:
    """Tool family of a network, by what is in it."""
    config = source / "config.json"
    if config.is_file() and "n_rays" in config.read_text(errors="replace"):
        return "stardist"
    try:
        return known.family_of(str(source), tuple(known.MARKS))
    except CytoloomError as error:
        raise Failure(
            f"{source}: neither a StarDist folder nor a Cellpose network; say --family "
            f"({', '.join(families(PROJECT))})",
            USAGE,
        ) from error


@contextlib.contextmanager
def arriving(name: str) -> Iterator[Path]:
    """Give a temporary folder in the cache that is gone at the end."""
    folder = make_folder(known.models_folder())
    temporary = folder / f".{name}.part"
    with locked(f"model-{name}"):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def keep(name: str, temporary: Path, about: dict[str, Any]) -> None:
    """Put a model in its place, with its record."""
    folder = known.models_folder() / name
    record = {"name": name, **about, "files": sums_of(temporary)}
    note = folder.with_name(f".{name}.json.part")
    note.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    note.replace(folder.with_name(f"{name}.json"))
    print(f"{name} ({about['family']}): {folder}")


def train(words: list[str]) -> int:
    """``models train``: the program of the engine, in its environment."""
    programs = {path.stem[6:]: path for path in sorted((PROJECT / "bin").glob("train_*.py"))}
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: ./cytoloom models train {'|'.join(programs)} [options]")
        return 0 if words else USAGE
    if words[0] not in programs:
        raise Failure(
            f"no training of {words[0]!r}{nearest(words[0], programs)}; there are "
            f"{', '.join(programs)}",
            USAGE,
        )
    from .commands import execute, in_environment

    with_gpu = f"{words[0]}_gpu"
    wanted = "--gpu" in words and with_gpu in families(PROJECT)
    folder = install.ensure(with_gpu if wanted else words[0])
    return execute([folder / "bin" / "python", programs[words[0]], *words[1:]],
                   in_environment(folder))  # fmt: skip


COMMANDS = {"list": show, "fetch": fetch, "add": add, "verify": verify, "train": train}


def main(words: list[str]) -> int:
    """``./cytoloom models``."""
    if not words or words[0] in ("-h", "--help"):
        print(TEXT, end="")
        return 0 if words else USAGE
    if words[0] not in COMMANDS:
        raise Failure(
            f"models: unknown command {words[0]!r}{nearest(words[0], COMMANDS)} (models --help)",
            USAGE,
        )
    if words[0] != "train" and {"-h", "--help"} & set(words):
        print(TEXT, end="")
        return 0
    return COMMANDS[words[0]](words[1:])
