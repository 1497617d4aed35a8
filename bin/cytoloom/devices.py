"""The processor that a network runs on: the CPU, or a GPU where the user asks for one.

A step that can use a GPU has the argument ``gpu`` (type ``Gpu``, default false). With it the
GPU must be there: a run that was meant for a GPU and falls back to the CPU takes days
unnoticed. ``CYTOLOOM_ALLOW_CPU=1`` in the task's environment allows the CPU all the same.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cytoloom import cli, provenance
from cytoloom.errors import BadData

Gpu = Annotated[bool, typer.Option(help="compute on a GPU; without one the task is refused")]
ALLOW_CPU = "CYTOLOOM_ALLOW_CPU"


def choose_device(gpu: bool, library: str) -> str:
    """Return the device to compute on, and note it, a GPU with its model, in the provenance.

    Parameters
    ----------
    gpu
        Whether the user asks for a GPU.
    library
        ``torch`` or ``tensorflow``; imported only where a GPU is asked for.

    Returns
    -------
    str
        ``cpu``, or the library's name of its first GPU, such as ``cuda:0`` or ``GPU:0``.

    Raises
    ------
    BadData
        As `require_gpu`.
    """
    if gpu and os.environ.get(ALLOW_CPU, "") not in ("", "0"):
        device = find_gpu(library) or "cpu"
        if device == "cpu":
            cli.log.warning("%s finds no GPU: computing on the CPU (%s)", library, ALLOW_CPU)
    else:
        device = require_gpu(library) if gpu else "cpu"
    provenance.note(device=device if device == "cpu" else described(device, library))
    return device


def require_gpu(library: str) -> str:
    """Return the name of the GPU that a library sees.

    Raises
    ------
    BadData
        If it sees none; the message says how to mend it.
    """
    device = find_gpu(library)
    if device is None:
        raise BadData(
            f"gpu: true, but {library} finds no GPU here{_reason()}; run the task where there is "
            f"one (on SLURM: gres: gpu:1 in the resource YAML), or set gpu: false, or allow the "
            f"CPU with {ALLOW_CPU}=1"
        )
    return device


def find_gpu(library: str) -> str | None:
    """Return the name of the first GPU that ``torch`` or ``tensorflow`` sees, or None."""
    if library == "torch":
        import torch

        if torch.cuda.is_available():
            return "cuda:0"
        return "mps" if torch.backends.mps.is_available() else None
    if library == "tensorflow":
        import tensorflow as tf

        return "GPU:0" if tf.config.list_physical_devices("GPU") else None
    raise ValueError(f"no such library: {library}")


def described(device: str, library: str) -> str:
    """Return a GPU's model with the library's name of it: ``NVIDIA A100-PCIE-40GB (cuda:0)``.

    Where the library does not know the model, the name alone.
    """
    if device == "mps":
        return device
    if library == "torch":
        import torch

        model = torch.cuda.get_device_name(device)
    else:
        import tensorflow as tf

        (first, *_) = tf.config.list_physical_devices("GPU")
        model = tf.config.experimental.get_device_details(first).get("device_name", "")
    return f"{model} ({device})" if model else device


def fast_bfloat16(device: str = "cpu") -> bool:
    """Whether a CPU (AMX) or GPU (PyTorch's name of it) multiplies bfloat16 in hardware.

    Trainings then compute products in bfloat16, 3 times faster on a CPU; weights and sums stay
    in float32.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def _reason() -> str:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f" (CUDA_VISIBLE_DEVICES is {hidden!r})" if hidden in ("", "-1") else ""
