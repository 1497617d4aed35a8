#!/usr/bin/env python3
"""Contacts of a position joined over time: who met whom, from when to when.

Reads all parts of the contacts that `analyse_contact.py` wrote and makes one event of
the contacts of one effector track and one target track in following frames. Cells
without a track take part in no event. The parts of the contacts and of the effectors'
table can be joined into one file each.
"""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from cytoloom import cli, tables
from cytoloom.contacts import contact_events

log = logging.getLogger("cytoloom")


def main(
    contacts: cli.InputFile,
    out_contact_events: cli.OutTable,
    table: cli.Table = None,  # type: ignore[assignment]
    out_contacts: cli.OutTable = None,  # type: ignore[assignment]
    out_table: cli.OutTable = None,  # type: ignore[assignment]
    max_gap: Annotated[
        int, typer.Option(min=0, help="frames without contact that one event may bridge")
    ] = 0,
) -> None:
    """Start, end, duration and size of the contacts between tracks; parts joined."""
    found = tables.read_table(contacts, "contacts")
    untracked = found[["effector_track_id", "target_track_id"]].isna().any(axis=1)
    if untracked.any():
        log.warning(
            "%d of %d contacts are of cells without a track and belong to no event; "
            "track both channels before this step",
            int(untracked.sum()),
            len(found),
        )
    events = contact_events(found, max_gap=max_gap)
    tables.write_table(out_contact_events, events, "contact_events")
    if out_contacts is not None:
        tables.write_table(out_contacts, found, "contacts")
    if table is not None and out_table is not None:
        cells = tables.read_table(table, ("cells", "tracks"))
        units = {"closest_distance_um": "um"}
        tables.write_table(out_table, cells, cells.attrs["kind"], units=units)


if __name__ == "__main__":
    cli.run(main)
