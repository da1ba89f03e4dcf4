"""Drawn images of straight rods of any direction that do not touch, with their labels."""

import numpy as np
from scipy import ndimage

SIZE = 256  # px
FORMS = ("box", "ellipse", "capsule")


def long_rods(seed):
    """Return an image (rows, cols) of 8-bit grey values, and labels (0 outside)."""
    rng = np.random.default_rng([seed, 77])
    width, aspect = rng.uniform(7, 18), rng.uniform(2, 6)
    length, form = width * aspect, FORMS[rng.integers(len(FORMS))]
    y, x = np.indices((SIZE, SIZE)).astype(float)
    labels, taken = np.zeros((SIZE, SIZE), int), np.zeros((SIZE, SIZE), bool)
    wanted, count = max(5, int(0.25 * SIZE**2 / (length * width))), 0
    for _ in range(150):
        if count >= wanted:
            break
        across, along = width * np.exp(rng.normal(0, 0.12)), length * np.exp(rng.normal(0, 0.15))
        angle = rng.uniform(0, np.pi)
        row, col = rng.uniform(0, SIZE, 2)
        u = (x - col) * np.cos(angle) + (y - row) * np.sin(angle)
        v = -(x - col) * np.sin(angle) + (y - row) * np.cos(angle)
        if form == "box":
            inside = (abs(u) < along / 2) & (abs(v) < across / 2)
        elif form == "ellipse":
            inside = (2 * u / along) ** 2 + (2 * v / across) ** 2 < 1
        else:
            inside = np.hypot(np.clip(abs(u) - (along - across) / 2, 0, None), v) < across / 2
        if inside.sum() < 30 or (inside & taken).any():
            continue
        count += 1
        labels[inside] = count
        taken |= ndimage.binary_dilation(inside, iterations=3)
    height = rng.uniform(0.3, 0.6) * rng.uniform(0.75, 1.25, count)
    seen = ndimage.gaussian_filter(np.concatenate([[0], height])[labels], rng.uniform(0.6, 1.6))
    image = 0.5 + (seen if rng.random() < 0.5 else -seen)
    image += rng.uniform(0.015, 0.07) * rng.normal(size=seen.shape)
    return np.round((image - image.min()) / np.ptp(image) * 220 + 8).astype("u1"), labels
