"""PyAMA's steps written plainly with scipy and scikit-image: what ours are measured against.

Every function follows PyAMA's own description line by line, frame by frame. Where it allows
for two ways, both are here. Used by ``benchmarks/traces.py`` for times and by the tests as a
second, independent implementation.
"""

import numpy as np
from scipy import ndimage
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import linear_sum_assignment
from skimage.filters import threshold_minimum
from skimage.measure import regionprops_table
from skimage.morphology import disk


def log_std(image, window=3):
    """Return half the logarithm of the variance in a window, of float64 sums."""
    pixels = image.astype(np.float64)
    mean = ndimage.uniform_filter(pixels, window)
    variance = ndimage.uniform_filter(pixels**2, window) - mean**2
    return np.where(variance > 0, 0.5 * np.log(np.maximum(variance, 1e-300)), 0.0)


def threshold(values, method="valley", bins=200):
    """Return the valley between two modes, or the mode and three standard deviations."""
    counts, edges = np.histogram(values, bins)
    centres = (edges[1:] + edges[:-1]) / 2
    if method == "valley":
        return threshold_minimum(hist=(counts, centres))
    mode = centres[counts.argmax()]
    return mode + 3 * values[values <= mode].std()


def clean(mask, cleanup="shipped"):
    """Return the mask after the shipped clean-up, or the one that the reference describes."""
    if cleanup == "shipped":
        square = np.ones((7, 7))
        mask = ndimage.binary_fill_holes(mask)
        mask = ndimage.binary_opening(mask, square, iterations=3)
        return ndimage.binary_closing(mask, square, iterations=3)
    mask = ndimage.binary_closing(mask, disk(7), iterations=3)
    labels, _ = ndimage.label(mask)
    mask = (np.bincount(labels.ravel()) >= 64)[labels] & mask
    mask = ndimage.binary_fill_holes(mask)
    return ndimage.binary_opening(mask, disk(7), iterations=3)


def segment(image, method="valley", cleanup="shipped", min_size=50, max_size=10000):
    """Return the labels of a frame, numbered in raster order."""
    values = log_std(image)
    labels, _ = ndimage.label(clean(values > threshold(values, method), cleanup))
    sizes = np.bincount(labels.ravel())
    keep = (sizes >= min_size) & (sizes <= max_size)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0)[labels].astype(np.uint32)


def box_iou(first, second):
    """Return the intersection over union of two boxes y0, x0, y1, x1 (ends not included)."""
    height = min(first[2], second[2]) - max(first[0], second[0])
    width = min(first[3], second[3]) - max(first[1], second[1])
    if height <= 0 or width <= 0:
        return 0.0
    shared = height * width
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)]
    return shared / (sum(areas) - shared)


def boxes_of(labels):
    """Return labels and boxes of a frame."""
    table = regionprops_table(labels, properties=["label", "area", "bbox"])
    return table["label"], np.stack([table[f"bbox-{i}"] for i in range(4)], axis=1)


def track(frames, min_iou=0.1, newborn=True):
    """Yield every frame of labels with the numbers of its tracks."""
    previous, known, last = np.empty((0, 4), int), np.empty(0, int), 0
    for index, labels in enumerate(frames):
        numbers, boxes = boxes_of(labels)
        cost = np.ones((len(boxes), len(previous)))
        for i, box in enumerate(boxes):
            for j, other in enumerate(previous):
                iou = box_iou(box, other)
                if iou >= min_iou:
                    cost[i, j] = 1 - iou
        ids = np.zeros(len(boxes), int)
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if 1 - cost[i, j] >= min_iou:
                ids[i] = known[j]
        for i in np.flatnonzero(ids == 0):
            if newborn or index == 0:
                last += 1
                ids[i] = last
        tracked = np.zeros(labels.shape, np.uint32)
        for number, track_id in zip(numbers, ids, strict=True):
            tracked[labels == number] = track_id
        previous, known = boxes[ids > 0], ids[ids > 0]
        yield tracked


def background(image, labels, tile=256, footprint=None):
    """Return the background of a frame: medians of tiles without cells, and a spline."""
    footprint = np.ones((21, 21)) if footprint is None else footprint
    covered = ndimage.binary_dilation(labels > 0, footprint)
    masked = np.where(covered, np.nan, image.astype(np.float32))
    edges, centres = [], []
    for length in image.shape:
        count = max(-(-length // tile) + 1, 2)
        edges.append(np.round(np.linspace(0, length, 2 * count - 1)).astype(int))
        centres.append((edges[-1][:-2] + edges[-1][2:] - 1) / 2)
    medians = np.array(
        [
            [np.nanmedian(masked[a:b, c:d]) for c, d in zip(edges[1], edges[1][2:], strict=False)]
            for a, b in zip(edges[0], edges[0][2:], strict=False)
        ]
    )
    medians = np.where(np.isnan(medians), np.nanmedian(medians), medians)
    spline = RectBivariateSpline(*centres, medians)
    return spline(np.arange(image.shape[0]), np.arange(image.shape[1])).astype(np.float32)


def extract(frame, tracked, images, backgrounds, weight=1.0):
    """Return one row per cell of a frame: base columns, area, and total intensities."""
    rows = []
    for cell in np.unique(tracked):
        if cell == 0:
            continue
        mask = tracked == cell
        y, x = np.nonzero(mask)
        y0, x0, y1, x1 = y.min(), x.min(), y.max(), x.max()
        centred = np.stack([y - y.mean(), x - x.mean()])
        small, large = np.linalg.eigvalsh(centred @ centred.T / y.size)
        row = [
            cell, frame, True, (x0 + x1) / 2, (y0 + y1) / 2, x0, y0, x1, y1, y.size,
            np.sqrt(large / small) if small > 0 else 1.0,
        ]  # fmt: skip
        for image, ground in zip(images, backgrounds, strict=True):
            row.append((image[mask].astype(np.float64) - weight * ground[mask]).sum())
        rows.append(row)
    return rows
