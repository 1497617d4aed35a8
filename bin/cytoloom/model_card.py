"""The card of a trained model: data, licence, steps, seconds, held-out scores, checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cytoloom import models


def base_folder(name: str | None, family: str) -> Path | None:
    """Return the folder of a model to go on with; raises as `models.find_model`."""
    return None if name is None else Path(models.find_model(name, family)).resolve()


def checksums(folder: Path, files: Sequence[str]) -> dict[str, str]:
    """SHA-256 of files of a folder, by name."""
    sums = {}
    for file in files:
        with open(folder / file, "rb") as source:
            sums[file] = hashlib.file_digest(source, "sha256").hexdigest()
    return sums


def write(
    folder: Path,
    *,
    kind: str,
    facts: dict[str, str],
    images: tuple[int, list[str]],
    scores: dict[str, Any],
    files: Sequence[str],
) -> None:
    """Write ``README.md``, ``held_out.txt``, ``scores.json`` and ``SHA256SUMS`` of a model.

    Parameters
    ----------
    folder
        Of the model.
    kind
        Name of the engine.
    facts
        Lines of the card: what, and what of it.
    images
        Number of images trained on, and names of those held out.
    scores
        As `training.evaluate` returns them.
    files
        Names of the model's files.
    """
    trained, held = images
    sums = checksums(folder, files)
    (folder / "held_out.txt").write_text("".join(f"{name}\n" for name in held))
    (folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    (folder / "SHA256SUMS").write_text("".join(f"{s}  {f}\n" for f, s in sums.items()))
    lines = [f"# {folder.name}", "", f"A {kind} model, trained with Cytoloom.", ""]
    lines += [f"- **{what}**: {text}" for what, text in facts.items()]
    lines += [f"- **Images**: {trained} trained on, {len(held)} held out (`held_out.txt`)", ""]
    lines += ["## Held-out images", _table(scores), "", "## Checksums (SHA-256)"]
    lines += [f"- `{file}`: {digest}" for file, digest in sums.items()]
    (folder / "README.md").write_text("\n".join(lines) + "\n")


def _table(scores: dict[str, Any]) -> str:
    if not scores["images"]:
        return "No image was held out: how good the model is is not known."
    rows = ["| images | objects | IoU | F1 | AP |", "|---|---|---|---|---|"]
    counts = f"| {scores['images']} | {scores['objects']} |"
    rows += [f"{counts} {r['iou']:g} | {r['f1']:.3f} | {r['ap']:.3f} |" for r in scores["at"]]
    return "\n".join(rows) + f"\n\nMean SEG (IoU of each true object): {scores['seg']:.3f}."
