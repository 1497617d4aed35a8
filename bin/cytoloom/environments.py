"""Where the Python environment of a tool family lies, and its image.

An environment is named ``<family>-<first 12 hex digits of the SHA-256 of its lock file>``,
so a changed lock file means a new environment and an old one is never altered. The
launcher makes environments; the plan only names them, and a task whose environment is
missing fails with the command that makes it. An image is named in the same way, after all
that it is built from. Standard library only: the launcher imports this before anything is
installed.
"""

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """Folder of all that Cytoloom installs: $CYTOLOOM_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("CYTOLOOM_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cytoloom"


def lock_file(family: str, project: Path) -> Path:
    """Lock file of a tool family, the same one that its image is made from."""
    return project / "containers" / family / "requirements.lock"


def families(project: Path) -> list[str]:
    """Names of all tool families of the project, sorted."""
    return sorted(path.parent.name for path in project.glob("containers/*/requirements.lock"))


def environment_name(family: str, project: Path) -> str:
    """Folder name of a family's environment.

    Raises
    ------
    FileNotFoundError
        When the project has no lock file for the family.
    """
    digest = hashlib.sha256(lock_file(family, project).read_bytes()).hexdigest()
    return f"{family}-{digest[:12]}"


def environment_path(family: str, project: Path, cache: Path | None = None) -> Path:
    """Folder of a family's environment, whether or not it has been made.

    Parameters
    ----------
    family : str
        A folder of ``containers/`` that holds a ``requirements.lock``.
    project : Path
        Root of the project.
    cache : Path, optional
        Cache folder; default `cache_folder`.
    """
    return (cache or cache_folder()) / "envs" / environment_name(family, project)


def definition_file(family: str, project: Path) -> Path:
    """Apptainer definition of a family's image."""
    return project / "containers" / family / "Apptainer.def"


def imaged_families(project: Path) -> list[str]:
    """Names of the families that have an image, sorted."""
    return [name for name in families(project) if definition_file(name, project).is_file()]


def image_name(family: str, project: Path) -> str:
    """File name, without ``.sif``, of the image of a family, or of ``base``, which all stand on.

    It changes with the family's definition and lock file, and with any file of the base.

    Raises
    ------
    FileNotFoundError
        When the project has no definition for the family.
    """
    base = sorted(path for path in (project / "containers" / "base").iterdir() if path.is_file())
    own = [definition_file(family, project), lock_file(family, project)]
    digest = hashlib.sha256()
    for path in base if family == "base" else [*base, *own]:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return f"{family}-{digest.hexdigest()[:12]}"


def image_path(family: str, project: Path, cache: Path | None = None) -> Path:
    """Image file of a family, whether or not it has been built."""
    return (cache or cache_folder()) / "images" / f"{image_name(family, project)}.sif"
