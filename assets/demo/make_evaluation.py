#!/usr/bin/env python3
"""Make the demo of evaluation: a ground truth of the Cell Tracking Challenge, and a result.

Twelve cells move, three divide. The result's outlines are a little small; it misses one cell in
two frames, exchanges two tracks and sees one division a frame late. Nothing is random: the
folder can be made again byte for byte.

    python assets/demo/make_evaluation.py
"""

from pathlib import Path

import numpy as np
import tifffile

FOLDER = Path(__file__).parent / "evaluation"
FRAMES, SIZE = 12, 128
DIVIDE = {2: 5, 5: 6, 9: 7}  # track: first frame of its daughters


def discs(cells, radius):
    """Paint cells (number, y, x) as discs, later ones over earlier ones."""
    y, x = np.mgrid[:SIZE, :SIZE]
    image = np.zeros((SIZE, SIZE), np.uint16)
    for number, cy, cx in cells:
        image[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = number
    return image


def movie():
    """Return the cells of each frame, and for each track its first and last frame and parent."""
    cells = [[] for _ in range(FRAMES)]
    lines = {}
    for track in range(1, 13):
        row, column = divmod(track - 1, 4)
        y, x = 22 + 40 * row, 18 + 30 * column
        end = DIVIDE.get(track, FRAMES)
        lines[track] = (0, end - 1, 0)
        for t in range(end):
            cells[t].append((track, y + t * 0.6, x + np.sin(t + track)))
        for side in (-1, 1) if track in DIVIDE else ():
            daughter = len(DIVIDE) * 4 + 1 + 2 * list(DIVIDE).index(track) + (side > 0)
            lines[daughter] = (end, FRAMES - 1, track)
            for t in range(end, FRAMES):
                step = 6 + 0.7 * (t - end)
                cells[t].append((daughter, y + t * 0.6, x + side * step))
    return cells, dict(sorted(lines.items()))


def spoil(cells):
    """Return the cells of a tracker that makes a few mistakes, and its tracks."""
    found = []
    for t, frame in enumerate(cells):
        names = {number: number for number, _, _ in frame}
        if t >= 8:  # two tracks exchanged
            names |= {1: 4, 4: 1}
        if t in (3, 4):  # a cell missed
            names.pop(7)
        if t == 7:  # the division of 9 seen a frame late: one daughter is still the mother
            names = {k: {17: 9}.get(v, v) for k, v in names.items() if k != 18}
        found.append([(names[n], y, x) for n, y, x in frame if n in names])
    return found


def lines_of(found, parents):
    """Return one line for each track, from the frames in which it is seen."""
    rows = []
    for number in sorted({n for frame in found for n, _, _ in frame}):
        seen = [t for t, frame in enumerate(found) if number in {n for n, _, _ in frame}]
        rows.append((number, seen[0], seen[-1], parents.get(number, 0)))
    return rows


def write_lines(path, rows):
    """Write a file of tracks."""
    path.write_text("".join(f"{' '.join(map(str, row))}\n" for row in rows))


def main():
    """Write the folder."""
    cells, lines = movie()
    for part in ("TRA", "SEG"):
        (FOLDER / "01_GT" / part).mkdir(parents=True, exist_ok=True)
    options = {"compression": "zlib", "photometric": "minisblack", "metadata": None}
    for t, frame in enumerate(cells):
        mask = discs(frame, 7)
        tifffile.imwrite(FOLDER / "01_GT" / "TRA" / f"man_track{t:03d}.tif", mask, **options)
        if t % 3 == 0:
            tifffile.imwrite(FOLDER / "01_GT" / "SEG" / f"man_seg{t:03d}.tif", mask, **options)
    write_lines(FOLDER / "01_GT" / "TRA" / "man_track.txt", [(n, *v) for n, v in lines.items()])
    found = spoil(cells)
    result = np.stack([discs(frame, 6.3) for frame in found])
    tifffile.imwrite(FOLDER / "result.tif", result, compression="zlib", metadata={"axes": "TYX"})
    parents = {number: parent for number, (_, _, parent) in lines.items()}
    write_lines(FOLDER / "res_track.txt", lines_of(found, parents))


if __name__ == "__main__":
    main()
