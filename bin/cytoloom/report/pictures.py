"""Pictures of frames: grey image, coloured outlines, tracks, networks, as small PNG.

A picture has at most 256 colours: greys for the image, `OBJECTS` for labels and tracks,
a ramp for time. Small frames are enlarged by whole numbers, pixel by pixel, so that what
is seen is what was measured and thin lines stay thin. Words, scale bar and time are
SVG around the PNG: sharp at any size.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

SHOWN = 640  # px: small frames are enlarged up to this
GREYS = 64
# Okabe and Ito's colours and lighter ones, all bright on dark grey.
OBJECTS = (
    (230, 159, 0), (86, 180, 233), (0, 200, 140), (240, 228, 66), (240, 110, 40),
    (225, 140, 190), (120, 220, 255), (255, 200, 120), (150, 235, 170), (200, 170, 255),
    (255, 150, 150), (190, 230, 90),
)  # fmt: skip
RAMP = 64  # colours of time
Index = NDArray[np.uint8]
Window = tuple[float, float]


@dataclass
class Canvas:
    """An indexed picture: shape (y, x), and what one of its pixels spans of the full image."""

    pixels: Index
    step: float

    @property
    def enlarged(self) -> int:
        """Return by how much a frame of this size is enlarged."""
        return max(1, SHOWN // max(self.pixels.shape))


def palette() -> NDArray[np.uint8]:
    """Return the colours of a picture, shape (256, 3): greys, objects, ramp of time."""
    from matplotlib import colormaps

    colours = np.zeros((256, 3), np.uint8)
    colours[:GREYS] = np.linspace(0, 255, GREYS)[:, np.newaxis]
    colours[GREYS : GREYS + len(OBJECTS)] = OBJECTS
    ramp = colormaps["plasma"](np.linspace(0.3, 1.0, RAMP))[:, :3]
    start = GREYS + len(OBJECTS)
    colours[start : start + RAMP] = np.rint(ramp * 255)
    return colours


def object_colour(number: int) -> int:
    """Return the palette index of the n-th object colour."""
    return GREYS + number % len(OBJECTS)


def time_colour(share: float) -> int:
    """Return the palette index of a time, 0 (start) to 1 (end)."""
    return GREYS + len(OBJECTS) + round(min(max(share, 0.0), 1.0) * (RAMP - 1))


def contrast(frames: Sequence[NDArray], low: float = 0.5, high: float = 99.8) -> list[Window]:
    """Return the window of grey values of each frame of a channel.

    Each frame has its own window, so that cells can be seen in dim frames too, but at least
    a quarter as wide as the window of all frames, so that noise of empty frames stays dark.
    """
    samples = [np.asarray(f[::2, ::2], np.float64).ravel() for f in frames]
    samples = [s[np.isfinite(s)] for s in samples]
    pooled = np.concatenate(samples)
    if not pooled.size:
        return [(0.0, 1.0)] * len(frames)
    bottom, top = np.percentile(pooled, (low, high))
    windows = []
    for sample in samples:
        start, end = np.percentile(sample if sample.size else pooled, (low, high))
        end = max(end, start + (top - bottom) / 4, start + 1e-9)
        windows.append((float(start), float(end)))
    return windows


def grey(
    frame: NDArray, window: Window, *, step: float = 1.0, bright: float = 1.0, enlarged: bool = True
) -> Canvas:
    """Return a frame as greys, enlarged where it is small."""
    scaled = (np.nan_to_num(frame.astype(np.float64)) - window[0]) / (window[1] - window[0])
    pixels = np.rint(np.clip(scaled, 0, 1) * bright * (GREYS - 1)).astype(np.uint8)
    canvas = Canvas(pixels, step)
    if not enlarged:
        return canvas
    return Canvas(enlarge(pixels, canvas.enlarged), step / canvas.enlarged)


def enlarge(plane: NDArray, times: int) -> NDArray:
    """Repeat every pixel along both axes."""
    return plane.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else plane


def outlines(labels: NDArray) -> NDArray[np.bool_]:
    """Return the pixels of labels that have a neighbour (of four) of another number.

    The edge of the image is no outline.
    """
    edge = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge & (labels > 0)


def draw_outlines(canvas: Canvas, labels: NDArray, *, colour: int | None = None) -> None:
    """Draw the outlines of labels, each in the colour of its number or all in one."""
    from cytoloom.errors import BadData

    times = canvas.pixels.shape[0] // max(1, labels.shape[0])
    big = enlarge(labels, times)
    if big.shape != canvas.pixels.shape:
        raise BadData(f"labels of shape {labels.shape} do not fit the image")
    edge = outlines(big)
    if times > 1:  # two pixels wide, inwards
        edge |= outlines(np.where(edge, 0, big))
    if colour is None:
        canvas.pixels[edge] = GREYS + big[edge].astype(np.int64) % len(OBJECTS)
    else:
        canvas.pixels[edge] = colour


def draw_lines(
    canvas: Canvas, lines: Iterable[tuple[Sequence[float], Sequence[float], int]], width: int = 2
) -> None:
    """Draw lines; ends are (y, x) in pixels of the full image, with a palette index each."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(canvas.pixels)
    pen = ImageDraw.Draw(picture)
    for (y0, x0), (y1, x1), colour in lines:
        ends = [(v + 0.5) / canvas.step for v in (x0, y0, x1, y1)]
        pen.line(ends, fill=colour, width=width)
    canvas.pixels = np.asarray(picture).copy()


def draw_dots(canvas: Canvas, dots: Iterable[tuple[float, float, int]], radius: float = 3) -> None:
    """Draw discs at (y, x) in pixels of the full image, with a palette index each."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(canvas.pixels)
    pen = ImageDraw.Draw(picture)
    for y, x, colour in dots:
        v, u = (y + 0.5) / canvas.step, (x + 0.5) / canvas.step
        pen.ellipse((u - radius, v - radius, u + radius, v + radius), fill=colour)
    canvas.pixels = np.asarray(picture).copy()


def to_png(canvas: Canvas) -> str:
    """Return a picture as a data URI."""
    from PIL import Image

    height, width = canvas.pixels.shape
    indexed = Image.frombytes("P", (width, height), canvas.pixels.tobytes())
    indexed.putpalette(palette().tobytes())
    out = io.BytesIO()
    indexed.save(out, "PNG", compress_level=7)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def nice_length(longest: float) -> float:
    """Return the greatest 1, 2 or 5 times a power of ten that is at most ``longest``."""
    power = 10.0 ** math.floor(math.log10(longest))
    return max(f * power for f in (1, 2, 5) if f * power <= longest * (1 + 1e-9))


def figure_svg(
    canvas: Canvas, *, pixel_um: float, stamp: str, alt: str, lines: float = 24,
    marks: Iterable[tuple[float, float, str, str]] = (),
) -> str:  # fmt: skip
    """Return a picture as inline SVG with a scale bar and a stamp of the time.

    Parameters
    ----------
    pixel_um
        Micrometre along x of one pixel of the full image.
    lines
        Lines of text that the longer side of the picture would hold.
    marks
        Words on the picture: y and x in pixels of the full image, text, colour.
    """
    height, width = canvas.pixels.shape
    size = max(width, height) / lines
    um = nice_length(max(width * canvas.step * pixel_um / 4, 1e-9))
    bar = um / pixel_um / canvas.step
    pad, text = size * 0.6, f"{um:g} µm"
    style = (
        f'font-size="{size:.1f}" fill="#fff" stroke="#000" stroke-width="{size / 6:.2f}" '
        'paint-order="stroke" font-family="sans-serif"'
    )
    return (
        f'<svg class="picture" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(alt, quote=True)}">'
        f'<image width="{width}" height="{height}" href="{to_png(canvas)}"/>'
        f"{_words(canvas, marks, size)}"
        f'<text x="{pad:.1f}" y="{size * 1.3:.1f}" {style}>{escape(stamp)}</text>'
        f'<rect x="{width - pad - bar:.1f}" y="{height - pad - size / 4:.1f}" '
        f'width="{bar:.1f}" height="{size / 4:.1f}" fill="#fff" stroke="#000" '
        f'stroke-width="{size / 14:.2f}"/>'
        f'<text x="{width - pad - bar / 2:.1f}" y="{height - pad - size * 0.55:.1f}" '
        f'text-anchor="middle" {style}>{text}</text></svg>'
    )


def _words(canvas: Canvas, marks: Iterable[tuple[float, float, str, str]], size: float) -> str:
    return "".join(
        f'<text x="{(x + 0.5) / canvas.step:.1f}" y="{(y + 0.5) / canvas.step + size / 3:.1f}" '
        f'text-anchor="middle" font-size="{size:.1f}" font-weight="700" fill="{colour}" '
        f'stroke="#000" stroke-width="{size / 6:.2f}" paint-order="stroke" '
        f'font-family="sans-serif">{escape(text)}</text>'
        for y, x, text, colour in marks
    )
