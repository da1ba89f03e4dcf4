"""Micrographs of many kinds with the particles that are truly in them, and the plain method.

Independent of the program under test: every image is drawn from a random recipe.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage import draw, feature, filters, measure, segmentation

# the kinds looked at while the method was made, and those kept for the final figures
KINDS = ("discs", "uneven", "touching", "annotated", "small", "large", "lognormal")
HELD_OUT = ("cubes", "rods", "spheres_sem", "textured", "sparse", "bimodal", "streaks", "faint")


@dataclass
class Micrograph:
    """One image."""

    image: np.ndarray
    labels: np.ndarray
    kind: str
    polarity: str

    @property
    def count(self):
        return int(self.labels.max())

    @property
    def mean_diameter(self):
        return mean_diameter(self.labels)


def mean_diameter(labels):
    area = np.bincount(labels.ravel())[1:]
    area = area[area > 0]
    return float(np.mean(2 * np.sqrt(area / np.pi))) if area.size else 0.0


def errors(labels, truth):
    """Relative errors of count and mean diameter."""
    n = np.unique(labels[labels > 0]).size
    return (
        abs(n - truth.count) / truth.count,
        abs(mean_diameter(labels) - truth.mean_diameter) / truth.mean_diameter,
    )


def micrograph(kind, seed, size=384):
    """Draw one image of a kind."""
    rng = np.random.default_rng([seed, sum(map(ord, kind))])
    diameter = {"small": rng.uniform(6, 10), "large": rng.uniform(60, 110)}.get(
        kind, rng.uniform(13, 40)
    )
    spread = {"lognormal": 0.45, "discs": 0.15, "faint": 0.1}.get(kind, rng.uniform(0.08, 0.25))
    cover = {"sparse": 0.02, "touching": 0.45, "small": 0.12}.get(kind, rng.uniform(0.08, 0.3))
    sizes = []
    target = max(4 if kind != "large" else 3, int(cover * size**2 / (np.pi / 4 * diameter**2)))
    for _ in range(target):
        d = diameter * np.exp(rng.normal(0, spread))
        if kind == "bimodal" and rng.random() < 0.5:
            d *= 0.4
        sizes.append(max(4.0, d))
    labels, profile = place(kind, np.sort(sizes)[::-1], size, rng)
    polarity = rng.choice(["bright", "dark"])
    ground = background(kind, size, rng)
    contrast = {"faint": rng.uniform(0.12, 0.2)}.get(kind, rng.uniform(0.3, 0.6))
    amplitude = np.concatenate([[0], contrast * rng.uniform(0.75, 1.25, labels.max())])[labels]
    signal = ndimage.gaussian_filter(profile * amplitude, rng.uniform(0.6, 1.6))
    image = ground + (signal if polarity == "bright" else -signal)
    noise = {"faint": 0.05, "small": 0.03}.get(kind, rng.uniform(0.015, 0.08))
    image = image + noise * ndimage.gaussian_filter(
        rng.normal(size=image.shape), 0.5 if rng.random() < 0.5 else 0
    )
    eight = np.clip((image - image.min()) / np.ptp(image) * rng.uniform(180, 240) + 8, 0, 255)
    if kind == "annotated":
        eight, drawn = annotate(eight, rng)
        hidden = np.bincount(labels[drawn], minlength=labels.max() + 1)
        area = np.bincount(labels.ravel(), minlength=labels.max() + 1)
        labels = np.where(drawn | (hidden > 0.5 * area)[labels], 0, labels)
        labels = segmentation.relabel_sequential(labels)[0]
    return Micrograph(eight.astype(np.uint8), labels, kind, str(polarity))


def place(kind, sizes, size, rng):
    """Place particles; where they would overlap by much they are tried elsewhere."""
    labels = np.zeros((size, size), dtype=int)
    profile = np.zeros((size, size))
    placed = []
    gap = 1.0 if kind == "touching" else rng.uniform(1.1, 1.3)
    for d in sizes:
        for _ in range(200):
            if kind == "touching" and placed and rng.random() < 0.6:
                r0, c0, d0 = placed[rng.integers(len(placed))]
                angle = rng.uniform(0, 2 * np.pi)
                reach = (d + d0) / 2 * rng.uniform(0.92, 1.0)
                r, c = r0 + reach * np.sin(angle), c0 + reach * np.cos(angle)
            else:
                r, c = rng.uniform(0, size, 2)
            if not (0 <= r < size and 0 <= c < size):
                continue
            least = 0.9 if kind == "touching" else gap
            if all(np.hypot(r - a, c - b) > least * (d + e) / 2 for a, b, e in placed):
                break
        else:
            continue
        rr, cc, height = shape(kind, r, c, d, size, rng)
        free = labels[rr, cc] == 0
        if free.sum() < 9:
            continue
        placed.append((r, c, d))
        labels[rr[free], cc[free]] = len(placed)
        profile[rr[free], cc[free]] = height[free]
    return segmentation.relabel_sequential(labels)[0], profile


def shape(kind, r, c, d, size, rng):
    """Pixels of one particle and its profile."""
    if kind == "cubes":
        turn = rng.uniform(0, np.pi / 2)
        corner = turn + np.arange(4) * np.pi / 2
        side = d / np.sqrt(2) * np.sqrt(np.pi) / 2 * 1.0
        rr, cc = draw.polygon(
            r + side * np.sin(corner), c + side * np.cos(corner), shape=(size, size)
        )
        return rr, cc, np.ones(rr.size)
    stretch = {"rods": 1.7}.get(kind, rng.uniform(1.0, 1.25))
    turn = rng.uniform(-np.pi, np.pi)
    a, b = d / 2 * np.sqrt(stretch), d / 2 / np.sqrt(stretch)
    rr, cc = draw.ellipse(r, c, a, b, shape=(size, size), rotation=turn)
    y, x = rr - r, cc - c
    u = (y * np.cos(turn) - x * np.sin(turn)) / a
    v = (y * np.sin(turn) + x * np.cos(turn)) / b
    rho = np.clip(np.hypot(u, v), 0, 1)
    if kind == "spheres_sem":
        return rr, cc, 0.55 + 0.45 * rho**4 + 0.15 * u
    if kind in ("lognormal", "large"):
        return rr, cc, 0.5 + 0.5 * np.sqrt(1 - rho**2)
    return rr, cc, np.ones(rr.size)


def background(kind, size, rng):
    """Draw the ground."""
    ground = np.full((size, size), 0.5)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    if kind == "uneven":
        angle = rng.uniform(0, 2 * np.pi)
        ground = ground + 0.7 * (np.cos(angle) * x + np.sin(angle) * y)
        ground = ground + rng.uniform(-0.8, 0.8) * (x**2 + y**2)
    if kind == "textured":
        for width, part in ((2, 0.04), (6, 0.05), (25, 0.08)):
            field = ndimage.gaussian_filter(rng.normal(size=(size, size)), width)
            ground = ground + part * field / field.std()
    if kind == "streaks":
        lines = ndimage.gaussian_filter1d(rng.normal(size=size), 1.0)
        ground = ground + 0.04 * (lines / lines.std())[:, None] + 0.2 * y
    return ground


def annotate(image, rng):
    """Burn in a scale bar with its label, a panel letter and sometimes an information bar."""
    picture = Image.fromarray(image.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    rows, cols = image.shape
    ink = 255 if rng.random() < 0.5 else 0
    font = ImageFont.load_default(size=int(rng.integers(16, 26)))
    foot = rows
    if rng.random() < 0.5:
        foot = rows - int(rng.integers(24, 40))
        pen.rectangle([0, foot, cols, rows], fill=255 - ink)
        pen.text((6, foot + 2), "SU8010 5.0kV 9.2mm x60k", fill=ink, font=font)
    length = int(rng.integers(50, 110))
    x, y = cols - length - 14, foot - 14
    pen.rectangle([x, y, x + length, y + int(rng.integers(3, 7))], fill=ink)
    pen.text((x + 4, y - 30), f"{rng.choice([20, 50, 100, 200, 500])} nm", fill=ink, font=font)
    pen.text((6, 4), f"({rng.choice(list('abcdef'))})", fill=ink, font=font)
    after = np.asarray(picture).astype(float)
    return after, np.abs(after - image.astype(np.uint8)) > 0


def otsu_watershed(image):
    """Segment by Otsu's threshold and a watershed on the distance, as in the usual tutorial."""
    smooth = filters.gaussian(image.astype(float), 1)
    mask = smooth > filters.threshold_otsu(smooth)
    mask = ~mask if mask.mean() > 0.5 else mask
    mask = ndimage.binary_opening(mask)
    distance = ndimage.distance_transform_edt(mask)
    peaks = feature.peak_local_max(
        ndimage.gaussian_filter(distance, 1),
        min_distance=5,
        labels=measure.label(mask),
        exclude_border=False,
    )
    markers = np.zeros(mask.shape, dtype=int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return segmentation.watershed(-distance, markers, mask=mask)
