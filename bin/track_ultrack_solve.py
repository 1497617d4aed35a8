#!/usr/bin/env python3
"""Ultrack, sub-step solve: which candidates and links are the cells and tracks of a window."""

import json
import math
import sqlite3
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cytoloom import cli, hypotheses, provenance, ultrack_engine, ultrack_options
from cytoloom.errors import BadData, UsageError
from cytoloom.files import find, writing
from cytoloom.hypotheses import NO_PARENT, Settings
from cytoloom.regions import Region

OutSolution = Annotated[
    Path,
    cli.Contract("output"),
    typer.Option("--out-solution", "--out-settled", help="solution (SQLite) to write"),
]


class Solver(StrEnum):
    """What solves the integer program."""

    cbc = "cbc"
    gurobi = "gurobi"


class LinkFunction(StrEnum):
    """How an overlap becomes the weight of a link."""

    power = "power"
    identity = "identity"


@dataclass(frozen=True)
class Span:
    """A window as Ultrack counts it.

    Attributes
    ----------
    number, size
        Number from 0, and frames per window.
    last
        Last frame that has a candidate.
    start, stop
        The frames whose cells this window decides; empty where Ultrack has no such window.
    """

    number: int
    size: int
    last: int
    start: int
    stop: int

    @classmethod
    def of(cls, start: int, size: int, last: int, frames: int) -> "Span":
        """Return the window that starts at a frame.

        Ultrack has no window for a single last frame: the one before it decides that too.
        """
        number, count = start // size, math.ceil(last / size)
        if number >= count:
            return cls(number, size, last, start, start)
        end = frames if number == count - 1 else min(start + size, frames)
        return cls(number, size, last, start, end)


def check_windows(window_size: int | None, overlap_size: int) -> None:
    """Raise UsageError unless windows may be solved side by side.

    Two windows with one between them must not meet: then the result is that of Ultrack's own
    order, in which the even windows come first and the odd ones keep to what they chose.
    """
    if window_size is not None and overlap_size >= window_size:
        raise UsageError(f"overlap_size {overlap_size} must be less than window_size {window_size}")


def gather(path: Path, nodes: str, links: str, shared: Settings, start: int, stop: int) -> int:
    """Bring the rows of some frames together in one database; return the number of links."""
    connection = sqlite3.connect(path)
    hypotheses.copy_tables(find(nodes)[0], connection)
    if shared.server:
        _from_server(connection, shared.server, start, stop)
    else:
        without = ("pickle", "features")
        hypotheses.collect(connection, "nodes", nodes, start, stop, without=without)
        hypotheses.collect(connection, "overlaps", nodes, start, stop)
        hypotheses.collect(connection, "links", links, start, stop)
    low, high = hypotheses.numbers(start, stop)
    connection.execute("DELETE FROM links WHERE target_id NOT BETWEEN ? AND ?", (low, high))
    (count,) = connection.execute("SELECT count(*) FROM links").fetchone()
    connection.commit()
    connection.close()
    return int(count)


def _from_server(
    target: sqlite3.Connection, server: hypotheses.Server, start: int, stop: int
) -> None:
    import sqlalchemy as sqla

    low, high = hypotheses.numbers(start, stop)
    with ultrack_engine.connected(server) as source:
        for table, key, order in (
            ("nodes", "id", "id"),
            ("overlaps", "node_id", "node_id, ancestor_id"),
            ("links", "source_id", "source_id, target_id"),
        ):
            columns = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
            names = [name for name in columns if name not in ("pickle", "features")]
            if table != "nodes":
                names.remove("id")
            if table == "nodes":  # what an earlier attempt chose does not count
                names = [name for name in names if name not in ("selected", "parent_id")]
            query = f'SELECT {", ".join(names)} FROM "{table}" WHERE {key} BETWEEN :low AND :high'
            rows = source.execute(
                sqla.text(f"{query} ORDER BY {order}"), {"low": low, "high": high}
            )
            marks = ", ".join("?" for _ in names)
            target.executemany(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", map(tuple, rows)
            )
        target.execute("UPDATE nodes SET selected = 0, parent_id = ?", (NO_PARENT,))


def keep_to(path: Path, chosen: dict[int, int]) -> None:
    """Enter what the windows beside this one chose."""
    connection = sqlite3.connect(path)
    connection.executemany(
        "UPDATE nodes SET selected = 1, parent_id = ? WHERE id = ?",
        [(parent, number) for number, parent in chosen.items()],
    )
    connection.commit()
    connection.close()


def solve(config: Any, span: Span, name: str) -> dict[str, Any]:
    """Solve one window in Ultrack's database by Ultrack, and return what the solver says.

    Where nothing in the window can be linked there is nothing to solve, and nothing is said.

    Raises
    ------
    BadData
        If the solver finds no solution in the time that it has.
    """
    import mip

    with ultrack_engine.quiet():
        tracking = _tracking(config, span)
        if not tracking.has_links(config, span.number):
            return {}
        tracking.construct_model(span.number)
        inside = vars(tracking.solver)
        model, edges = inside["_model"], inside["_edges"]
        model.verbose = 0
        _check_solver(model.solver_name, name)
        began = time.monotonic()
        tracking.solve()
        seconds = time.monotonic() - began
        status = model.status
        if status not in (mip.OptimizationStatus.OPTIMAL, mip.OptimizationStatus.FEASIBLE):
            raise BadData(
                f"window {span.number} (frames {span.start} to {span.stop - 1}): the solver ended "
                f"with {status.name.lower()} after {seconds:.0f} s; raise time_limit or "
                "solution_gap, or give a smaller window_size"
            )
        if any(edge.x > 0.5 for edge in edges):
            tracking.add_solution(span.number)
    return {
        "solver": name,
        "status": status.name.lower(),
        "objective": float(model.objective_value),
        "bound": float(model.objective_bound),
        "gap": _gap(float(model.objective_value), float(model.objective_bound)),
        "solver_seconds": round(seconds, 3),
        "variables": int(model.num_cols),
        "constraints": int(model.num_rows),
    }


def _tracking(config: Any, span: Span) -> Any:
    """Return Ultrack's tracking of one window of a time-lapse of which it sees only that part."""
    from ultrack.core.solve.sqltracking import SQLTracking

    class Windowed(SQLTracking):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(config)
            self._max_t, self._window_size = span.last, span.size
            self.num_batches = math.ceil(span.last / span.size)

        def has_links(self, config: Any, number: int) -> bool:
            """Tell whether there is anything to link; Ultrack stops where there is not."""
            layout = self._compute_layout(number)
            between = hypotheses.numbers(layout.solver_start, layout.solver_end)
            connection = sqlite3.connect(config.data_config.working_dir / ultrack_engine.NAME)
            query = "SELECT count(*) FROM links WHERE source_id BETWEEN ? AND ?"
            (count,) = connection.execute(query, between).fetchone()
            connection.close()
            return bool(count)

    return Windowed()


def _gap(objective: float, bound: float) -> float:
    """Return how far the optimum may be above the solution, relative to the solution."""
    return abs(bound - objective) / abs(objective) if objective else abs(bound - objective)


def _check_solver(found: str, name: str) -> None:
    if (found.upper() == "CBC") != (name == "cbc"):
        raise BadData(f"the solver {name} is not usable here (no licence?); set solver: cbc")


def choose_singles(path: Path) -> None:
    """Choose every finest candidate: what is left to do where there is nothing to link to."""
    connection = sqlite3.connect(path)
    connection.execute(
        "UPDATE nodes SET selected = 1 WHERE id NOT IN (SELECT ancestor_id FROM overlaps)"
    )
    connection.commit()
    connection.close()


def chosen_in(path: Path) -> list[tuple[int, int, int]]:
    """Return number, frame and parent of the chosen candidates."""
    connection = sqlite3.connect(path)
    query = "SELECT id, t, parent_id FROM nodes WHERE selected ORDER BY id"
    rows = connection.execute(query).fetchall()
    connection.close()
    return rows


def publish(server: hypotheses.Server, span: Span, chosen: list[tuple[int, int, int]]) -> None:
    """Enter the window's cells in the server, for Ultrack's own programs."""
    import sqlalchemy as sqla

    low, high = hypotheses.numbers(span.start, span.stop)
    own = [
        {"id": number, "parent": parent}
        for number, frame, parent in chosen
        if span.start <= frame < span.stop
    ]
    reset = "UPDATE nodes SET selected = false, parent_id = -1 WHERE id BETWEEN :low AND :high"
    enter = "UPDATE nodes SET selected = true, parent_id = :parent WHERE id = :id"
    with ultrack_engine.connected(server) as connection:
        connection.execute(sqla.text(reset), {"low": low, "high": high})
        if own:
            connection.execute(sqla.text(enter), own)


def main(
    nodes: ultrack_options.Nodes,
    links: ultrack_options.Links,
    out_solution: OutSolution,
    earlier: ultrack_options.Earlier = None,
    region: cli.RegionText = None,
    channel: cli.Channel = None,  # noqa: ARG001 - all phases are given it
    window_size: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="frames that are solved together, one task each, even windows before odd ones; "
            "default: all frames in one task",
        ),
    ] = None,
    overlap_size: Annotated[
        int, typer.Option(min=1, help="frames that a window looks beyond its own, on each side")
    ] = 1,
    appear_weight: Annotated[
        float, typer.Option(max=0, help="penalty for a cell that appears")
    ] = -0.001,
    disappear_weight: Annotated[
        float, typer.Option(max=0, help="penalty for a cell that disappears")
    ] = -0.001,
    division_weight: Annotated[
        float, typer.Option(max=0, help="penalty for a cell that divides")
    ] = -0.001,
    image_border_size: Annotated[
        int, typer.Option(min=0, help="no penalty for coming and going this near the edge [px]")
    ] = 0,
    solver: Annotated[
        Solver, typer.Option(help="cbc is open and part of Cytoloom; gurobi needs a licence")
    ] = Solver.cbc,
    solution_gap: Annotated[
        float, typer.Option(min=0, help="good enough: this near the optimum, relative to it")
    ] = 0.001,
    time_limit: Annotated[
        int, typer.Option(min=1, help="time for one window [s]; then the best so far is taken")
    ] = 36000,
    n_threads: Annotated[
        int, typer.Option(min=1, help="threads; with more, equal solutions may come out otherwise")
    ] = 1,
    link_function: Annotated[
        LinkFunction, typer.Option(help="a link's weight: power (of its overlap) or identity")
    ] = LinkFunction.power,
    power: Annotated[float, typer.Option(min=0, help="the exponent of that power")] = 4.0,
    bias: Annotated[float, typer.Option(max=0, help="added to the weight of every link")] = 0.0,
) -> None:
    """Choose cells and links by Ultrack's integer program, in one window of the time-lapse.

    The windows and their result are those of Ultrack: even ones first, each on its own, then
    the odd ones, which keep to what their neighbours chose at the common border.
    """
    shared = hypotheses.read_settings(nodes)
    check_windows(window_size, overlap_size)
    frames, last = shared.shape[0], hypotheses.last_frame(nodes)
    size = window_size or (last if last is not None else 0) + 1
    start = Region.parse(region, shared.shape).t[0] if window_size else 0
    span = Span.of(start, size, last if last is not None else 0, frames)
    border = (0, image_border_size, image_border_size) if image_border_size else None
    tracking = {
        "solver_name": solver.value.upper(),
        "appear_weight": appear_weight,
        "disappear_weight": disappear_weight,
        "division_weight": division_weight,
        "image_border_size": border,
        "n_threads": n_threads,
        "window_size": size,
        "overlap_size": overlap_size,
        "solution_gap": solution_gap,
        "time_limit": time_limit,
        "link_function": link_function.value,
        "power": power,
        "bias": bias,
    }
    about: dict[str, Any] = {}
    chosen: list[tuple[int, int, int]] = []
    with writing(out_solution) as temporary, ultrack_engine.scratch() as folder:
        data = folder / ultrack_engine.NAME
        single = frames == 1 and last is not None
        if single:
            span = Span(0, 1, 0, 0, 1)
        if span.stop > span.start:
            low, high = max(0, span.start - overlap_size), min(frames, span.stop + overlap_size)
            if gather(data, nodes, links, shared, low, high):
                if earlier:
                    keep_to(data, hypotheses.solution(earlier, low, high, borders=True))
                config = ultrack_engine.configuration(folder, shared, local=True, tracking=tracking)
                about = solve(config, span, solver.value)
            elif single:
                choose_singles(data)
            chosen = chosen_in(data)
            if shared.server:
                publish(shared.server, span, chosen)
        with hypotheses.made(temporary, shared) as ours:
            write(ours, span, about, chosen)
    say(span, about, shared.position)


def write(
    target: sqlite3.Connection,
    span: Span,
    about: dict[str, Any],
    chosen: list[tuple[int, int, int]],
) -> None:
    """Enter a window and what it chose, its neighbours' border frames included."""
    if span.stop == span.start:
        return
    target.execute(
        "INSERT INTO windows VALUES (?, ?, ?, ?)",
        (span.number, span.start, span.stop, json.dumps(about)),
    )
    target.executemany(
        "INSERT INTO solution VALUES (?, ?, ?)",
        [
            (number, frame, parent)
            for number, frame, parent in chosen
            if span.start - 1 <= frame <= span.stop
        ],
    )


def say(span: Span, about: dict[str, Any], position: str) -> None:
    """Report the solver's result in the log and the provenance."""
    if not about:
        cli.log.info("%s, window %d: nothing to solve", position, span.number)
        return
    provenance.note(window=span.number, frames=f"{span.start}:{span.stop}", **about)
    cli.log.info(
        "%s, window %d, frames %d to %d: %s by %s, objective %.6g, gap %.3g %%, %.1f s",
        position, span.number, span.start, span.stop - 1, about["status"], about["solver"],
        about["objective"], 100 * about["gap"], about["solver_seconds"],
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
