#!/usr/bin/env python3
"""Compare two output folders bit for bit: images, labels, tables, tracks; say what was compared.

usage: same_results.py FIRST SECOND

What tells of the run itself (the report, the crate, pipeline_info) is not compared: it names
folders, dates and machines. Exit status 0: all the same; 1: something differs, or is missing.
"""

import sys
from collections import defaultdict
from pathlib import Path

FOLDERS = ("images", "tables", "tracks", "flatfields")


def kind_of(name):
    """What a result is, from its path in the output folder."""
    if name.parts[0] != "images":
        return name.parts[0]
    if name.suffix == ".json":
        return "metadata of stores"
    return "shards of labels" if "labels" in name.parts else "shards of images"


def files(folder):
    """Return the results below an output folder: name to path."""
    found = (path for name in FOLDERS for path in (folder / name).rglob("*"))
    return {path.relative_to(folder): path for path in found if path.is_file()}


def compare(first, second):
    """Return how many files and bytes of each kind are the same, and what differs."""
    left, right = files(first), files(second)
    same = defaultdict(lambda: [0, 0])
    wrong = [f"only in {first}: {name}" for name in sorted(left.keys() - right.keys())]
    wrong += [f"only in {second}: {name}" for name in sorted(right.keys() - left.keys())]
    for name in sorted(left.keys() & right.keys()):
        content = left[name].read_bytes()
        if content != right[name].read_bytes():
            wrong.append(f"differs: {name}")
        else:
            same[kind_of(name)][0] += 1
            same[kind_of(name)][1] += len(content)
    return same, wrong


def main():
    """Compare the folders of the command line."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    same, wrong = compare(*map(Path, sys.argv[1:]))
    for kind, (count, size) in sorted(same.items()):
        print(f"the same: {count:5} {kind} ({size:,} bytes)")
    for line in wrong:
        print(line)
    if wrong or not same:
        print(f"{len(wrong)} files differ" if same else "nothing to compare")
        return 1
    print("identical")
    return 0


if __name__ == "__main__":
    sys.exit(main())
