"""The HTML report: one self-contained page of a run.

``inputs`` finds what a run left (tables, stores, networks, provenance) and reads single
columns. ``counting`` makes the numbers of the summary. ``stores`` reads the few frames
that are shown, ``pictures`` turns frames into annotated PNG pictures, ``charts`` and its
neighbours draw with matplotlib, ``diagram`` draws the plan as SVG. ``making`` sums up
provenance. ``sections`` puts these together, ``page`` fills the template. A picture that
cannot be made is replaced by a line that says why; the page is always written.

Memory is bounded: three frames per channel, single columns of tables, one part of a
network. Nothing is downloaded, the page holds no script.
"""
