"""Drawn images of discs that overlap, in pairs, chains and clusters, with their labels."""

import numpy as np
from scipy import ndimage

from benchmarks.drawn_rods import painted

SIZE = 256  # px
MOST = 4  # discs of a group


def overlapping_discs(seed):
    """Return an image (rows, cols) of 8-bit grey values, and labels (0 outside).

    Among the groups are capsules as long as pairs in every third image: what has no neck is one
    particle.
    """
    rng = np.random.default_rng([seed, 78])
    diameter = np.exp(rng.uniform(np.log(9), np.log(36)))
    overlap, capsules = rng.uniform(0.02, 0.28), seed % 3 == 0
    unlike, noise = rng.choice([0.0, 0.5, 1.0]), 0.08 * rng.uniform(0.15, 1) ** 2
    y, x = np.indices((SIZE, SIZE)).astype(float)
    labels, count = np.zeros((SIZE, SIZE), int), 0
    taken = np.zeros((SIZE, SIZE), bool)
    wanted = max(6, int(0.25 * SIZE**2 / (np.pi / 4 * diameter**2)))
    for _ in range(150):
        if count >= wanted:
            break
        own = group(rng, diameter * np.exp(unlike * rng.normal(0, 0.1)), overlap, unlike, y, x)
        if capsules and rng.random() < 0.4:
            own = capsule(rng, diameter, (2 - overlap) * diameter, y, x)
        inside = own > 0
        if inside.sum() < 30 or (inside & taken).any():
            continue
        labels[inside] = own[inside] + count
        count = int(labels.max())
        taken |= ndimage.binary_dilation(inside, iterations=3)
    labels = np.concatenate([[0], np.cumsum(np.bincount(labels.ravel())[1:] > 0)])[labels]
    return painted(rng, labels, 0.2 * unlike, noise), labels


def group(rng, diameter, overlap, unlike, y, x):
    """Label the discs of one group from 1 on: a pixel belongs to the disc it is deepest in."""
    placed = [(*rng.uniform(0, SIZE, 2), diameter)]
    for _ in range(rng.integers(MOST)):
        row, col, last = placed[rng.integers(len(placed))]
        own = diameter * np.exp(unlike * rng.normal(0, 0.15))
        angle, reach = rng.uniform(0, 2 * np.pi), (1 - overlap) * (own + last) / 2
        row, col = row + reach * np.sin(angle), col + reach * np.cos(angle)
        if all(
            np.hypot(row - r, col - c) > 0.98 * (1 - overlap) * (own + d) / 2 for r, c, d in placed
        ):
            placed.append((row, col, own))
    depth = np.array([1 - np.hypot(y - r, x - c) / (d / 2) for r, c, d in placed])
    return np.where(depth.max(axis=0) > 0, depth.argmax(axis=0) + 1, 0)


def capsule(rng, width, length, y, x):
    """Label one rod with round ends 1."""
    (row, col), angle = rng.uniform(0, SIZE, 2), rng.uniform(0, np.pi)
    u = (x - col) * np.cos(angle) + (y - row) * np.sin(angle)
    v = -(x - col) * np.sin(angle) + (y - row) * np.cos(angle)
    beyond = np.clip(abs(u) - (length - width) / 2, 0, None)
    return (np.hypot(beyond, v) < width / 2).astype(int)


def pairs_on_a_grid(diameter, overlap, noise, blur, seed):
    """Return an image of pairs of equal discs, of any direction, and the number of discs."""
    rng = np.random.default_rng(seed)
    step = int(2.4 * diameter) + 8
    side = 5 * step + 8
    y, x = np.indices((side, side)).astype(float)
    image = np.zeros((side, side))
    for row in range(5):
        for col in range(5):
            angle, apart = rng.uniform(0, np.pi), (1 - overlap) * diameter / 2
            r, c = (row + 0.5) * step + 4 + rng.uniform(-2, 2, 2)[0], (col + 0.5) * step + 4
            for sign in (-1, 1):
                away = np.hypot(
                    y - r - sign * apart * np.sin(angle), x - c - sign * apart * np.cos(angle)
                )
                image[away < diameter / 2] = 1
    return ndimage.gaussian_filter(image, blur) + rng.normal(0, noise, image.shape), 50
