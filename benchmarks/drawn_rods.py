"""Drawn images of rods, straight or bent, of any direction that do not touch, with their labels."""

import itertools

import numpy as np
from scipy import ndimage

SIZE = 256  # px
FORMS = ("box", "ellipse", "capsule", "bent")


def bent_rods(seed):
    """Return an image of arcs, and labels; see `long_rods`."""
    return long_rods(1000 + seed, "bent")


def long_rods(seed, form=None):
    """Return an image (rows, cols) of 8-bit grey values, and labels (0 outside)."""
    rng = np.random.default_rng([seed, 77])
    # thin and sharp ones are the hardest: their outlines are steps of pixels
    width, aspect = np.exp(rng.uniform(np.log(5), np.log(20))), rng.uniform(1.5, 8)
    length, form = width * aspect, form or FORMS[rng.integers(len(FORMS))]
    # from all alike and clear to different, noisy and blurred
    unlike, noise = rng.choice([0.0, 0.5, 1.0]), 0.08 * rng.uniform(0.15, 1) ** 2
    y, x = np.indices((SIZE, SIZE)).astype(float)
    labels, taken = np.zeros((SIZE, SIZE), int), np.zeros((SIZE, SIZE), bool)
    wanted, count = max(5, int(0.25 * SIZE**2 / (length * width))), 0
    for _ in range(150):
        if count >= wanted:
            break
        across = width * np.exp(unlike * rng.normal(0, 0.12))
        along = length * np.exp(unlike * rng.normal(0, 0.15))
        angle = rng.uniform(0, np.pi)
        row, col = rng.uniform(0, SIZE, 2)
        u = (x - col) * np.cos(angle) + (y - row) * np.sin(angle)
        v = -(x - col) * np.sin(angle) + (y - row) * np.cos(angle)
        if form == "box":
            inside = (abs(u) < along / 2) & (abs(v) < across / 2)
        elif form == "ellipse":
            inside = (2 * u / along) ** 2 + (2 * v / across) ** 2 < 1
        elif form == "bent":
            bow = along * rng.uniform(0.35, 2)  # up to arcs of 160 degrees
            u, v = bow * np.arctan2(u, v + bow), np.hypot(u, v + bow) - bow
            inside = (abs(u) < along / 2) & (abs(v) < across / 2)
        else:
            inside = np.hypot(np.clip(abs(u) - (along - across) / 2, 0, None), v) < across / 2
        if inside.sum() < 30 or (inside & taken).any():
            continue
        count += 1
        labels[inside] = count
        taken |= ndimage.binary_dilation(inside, iterations=3)
    return painted(rng, labels, 0.25 * unlike, noise), labels


def painted(rng, labels, unlike, noise):
    """Return a picture of labels, bright or dark, as 8-bit grey values.

    Their contrasts differ by up to the share ``unlike``.
    """
    count = int(labels.max())
    height = rng.uniform(0.3, 0.6) * (1 + rng.uniform(-unlike, unlike, count))
    seen = ndimage.gaussian_filter(
        np.concatenate([[0], height])[labels], 0.4 + 1.2 * rng.random() ** 2
    )
    image = 0.5 + (seen if rng.random() < 0.5 else -seen)
    image += noise * rng.normal(size=seen.shape)
    return np.round((image - image.min()) / np.ptp(image) * 220 + 8).astype("u1")


def rods_on_a_grid(length, width, noise, blur, seed):
    """Return an image of boxes nearly alike, of any direction, side by side; and their number."""
    rng = np.random.default_rng(seed)
    side, step = 220, int(1.35 * length) + 8
    y, x = np.indices((side, side)).astype(float)
    image, count = np.zeros((side, side)), 0
    centres = range(step // 2 + 2, side - step // 2, step)
    for row, col in itertools.product(centres, centres):
        angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.normal(0, 0.05))
        u = (x - col) * np.cos(angle) + (y - row) * np.sin(angle)
        v = -(x - col) * np.sin(angle) + (y - row) * np.cos(angle)
        image[(abs(u) < scale * length / 2) & (abs(v) < scale * width / 2)] = 1
        count += 1
    return ndimage.gaussian_filter(image, blur) + rng.normal(0, noise, image.shape), count
