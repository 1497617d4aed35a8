"""What users edited in the results of an earlier run: the flag ``good`` of traces.

Tasks never read results. Before a plan is made, the rows that a user flagged are taken out
of the CSV (or of ``…_inspected.csv`` beside it) into a file of their own in
``pipeline_info/quality``, whose digest is part of the task that writes the traces: so an
edit runs again what depends on it and nothing else, and no edit is lost when the CSV is
written anew. Nothing flagged: no file, and the same task as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cytoloom import traces
from cytoloom.errors import CytoloomError
from cytoloom.files import digest, writing
from cytoloom.plan.layers import Position
from cytoloom.plan.model import Step
from cytoloom.plan.problems import Problems
from cytoloom.traces import csv_name

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "pipeline_info/quality"


@dataclass(frozen=True)
class Edits:
    """Finds what was edited in an output folder; ``active`` off: nothing is read or written."""

    outdir: Path
    problems: Problems
    active: bool = True

    def of(self, step: Step, position: Position) -> tuple[dict[str, str], str]:
        """Return the options that name what was flagged at a position, and its digest."""
        found, digests = {}, []
        for argument in step.row.edited:
            if not self.active:
                continue
            name = csv_name(position.slug, step.slug, position.base)
            apart = self.outdir / position.slug / name.partition("/")[2]  # of two files' positions
            result = apart if apart.is_file() else self.outdir / name
            inspected = result.with_name(f"{result.stem}_inspected.csv")
            kept = self.outdir / FOLDER / f"{position.slug}.{step.slug}.csv"
            edited = inspected if inspected.is_file() else result
            try:
                rows = self._flagged(edited, kept)
            except CytoloomError as error:
                self.problems.add(step.line, f"step {step.tag}", str(error))
                continue
            if rows is None or not len(rows):
                kept.unlink(missing_ok=True)
                continue
            kept.parent.mkdir(parents=True, exist_ok=True)
            with writing(kept) as temporary:
                rows.to_csv(temporary, index=False)
            found[argument] = str(kept.absolute())
            digests.append(f"{argument} {digest(kept)}")
        return found, " ".join(digests)

    def _flagged(self, edited: Path, kept: Path) -> pd.DataFrame | None:
        """Return the flagged rows: of the CSV, and earlier ones of cells that it does not hold."""
        import pandas as pd

        names = ["frame", "position_x", "position_y"]
        earlier = pd.read_csv(kept) if kept.is_file() else None
        if not edited.is_file() or edited.read_bytes()[:16] == b"cytoloom-failed:":
            return earlier
        rows = traces.read_csv(edited)
        flagged = rows.loc[~rows["good"], names]
        if earlier is not None and len(earlier):
            outside = [not self._holds(rows, one) for _, one in earlier.iterrows()]
            flagged = pd.concat([flagged, earlier[outside]])
        return flagged.drop_duplicates().sort_values(names).reset_index(drop=True)

    @staticmethod
    def _holds(rows: pd.DataFrame, one: pd.Series) -> bool:
        return bool(traces.flagged(rows, one.to_frame().T)[0].any())
