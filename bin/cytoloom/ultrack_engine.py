"""Ultrack itself: its configuration, its database in a scratch folder or a server, its silence.

Ultrack is imported only inside the functions: that takes seconds. Its warnings, prints and
progress bars are left out; ours say what a user needs.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from cytoloom.errors import BadData, TryAgain, UsageError
from cytoloom.hypotheses import Server, Settings

NAME = "data.db"
_PASSING = ("refused", "timeout", "timed out", "starting up", "too many clients", "translate host")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Ultrack from writing to the terminal."""
    logging.getLogger("ultrack").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder for Ultrack's working files, in the task's own folder."""
    with tempfile.TemporaryDirectory(prefix=".ultrack-", dir=Path.cwd()) as folder:
        yield Path(folder)


def configuration(
    folder: Path, settings: Settings, *, local: bool = False, **sections: dict[str, Any]
) -> Any:
    """Return Ultrack's configuration.

    Parameters
    ----------
    folder
        Scratch folder with the database ``data.db``.
    local
        SQLite in the folder even where the step keeps its rows in a server.
    sections
        ``segmentation``, ``linking`` and ``tracking``, as in Ultrack's TOML.

    Raises
    ------
    UsageError
        If Ultrack refuses a value.
    """
    from pydantic import ValidationError
    from ultrack import MainConfig

    data: dict[str, Any] = {"working_dir": folder, "database_file_name": NAME}
    if settings.server and not local:
        address = url(settings.server).removeprefix("postgresql://")
        data |= {"database": "postgresql", "address": address}
    try:
        config = MainConfig(data=data, **sections)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"Ultrack refuses {where}: {first['msg']}") from error
    z, y, x = settings.shape[1:]
    shape = (settings.shape[0], z, y, x) if z > 1 else (settings.shape[0], y, x)
    config.data_config.metadata_add({"shape": shape})
    return config


def scale(settings: Settings) -> tuple[float, ...] | None:
    """Return the pixel size along (z,) y, x in pixels of x; None where all are the same."""
    sizes = [size / settings.pixel_size[2] for size in settings.pixel_size]
    used = sizes if settings.volume else sizes[1:]
    return None if all(abs(size - 1) < 1e-9 for size in used) else tuple(used)


# -- PostgreSQL


def parse_server(address: str, passfile: Path | None, schema: str) -> Server:
    """Read the address of a server.

    Raises
    ------
    UsageError
        If it is none, or holds a password (that would stand in logs and command lines), or there
        is no such password file.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise UsageError(
            f"database: {address!r} is not an address: give sqlite, or "
            "postgresql://user@host:5432/database"
        )
    if parts.password is not None:
        raise UsageError(
            "database: the address holds a password, which would stand in logs; take it out and "
            "put it into ~/.pgpass or the file that passfile names"
        )
    if parts.query:
        raise UsageError("database: give the address without anything after the database's name")
    passfile = passfile.expanduser() if passfile else None
    if passfile is not None and not (passfile.is_absolute() and passfile.is_file()):
        raise UsageError(
            f"passfile: {passfile}: give the absolute path of a file with lines "
            "host:port:database:user:password"
        )
    plain = re.sub(r"[^a-z0-9_]", "_", schema.lower())
    place = f"{parts.netloc}{parts.path}"
    return Server(place, plain[:63], str(passfile) if passfile else None)


def url(server: Server) -> str:
    """Return the address that SQLAlchemy and libpq take; it holds no password."""
    query = f"options={quote(f'-csearch_path={server.schema}', safe='')}"
    if server.passfile:
        query += f"&passfile={quote(server.passfile, safe='')}"
    return f"postgresql://{server.address}?{query}"


@contextlib.contextmanager
def connected(server: Server) -> Iterator[Any]:
    """Open a transaction in the server's schema.

    Raises
    ------
    TryAgain
        If the server does not answer.
    BadData
        If it refuses.
    """
    import sqlalchemy as sqla

    engine = sqla.create_engine(url(server), hide_parameters=True)
    try:
        with engine.begin() as connection:
            yield connection
    except sqla.exc.OperationalError as error:
        message = str(error.orig).strip().splitlines()[0]
        kind = TryAgain if any(word in message.lower() for word in _PASSING) else BadData
        raise kind(f"PostgreSQL at {server.address}: {message}") from error
    except sqla.exc.ProgrammingError as error:
        message = str(error.orig).strip().splitlines()[0]
        raise BadData(f"PostgreSQL at {server.address}: {message}") from error
    finally:
        engine.dispose()


def clear_frames(server: Server, start: int, stop: int, *, nodes: bool) -> None:
    """Delete the links out of some frames; with ``nodes`` all that belongs to the frames."""
    import sqlalchemy as sqla

    from cytoloom.hypotheses import numbers

    low, high = numbers(start, stop)
    between = {"low": low, "high": high}
    with connected(server) as connection:

        def delete(table: str, column: str) -> None:
            text = f'DELETE FROM "{table}" WHERE {column} BETWEEN :low AND :high'
            connection.execute(sqla.text(text), between)

        delete("links", "source_id")
        if nodes:
            delete("links", "target_id")
            delete("overlaps", "node_id")
            delete("nodes", "id")
