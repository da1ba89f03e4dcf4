"""Convex hulls of pixels."""

import numpy as np
import pytest
from nucleation_bluesky.analysis.particle_images.hulls import ends, hull_of
from nucleation_bluesky.analysis.particle_images.traits import Field, traits

ROWS, COLS = np.indices((60, 60)).astype(float) - 29.7


def rod(length, width, angle):
    u = COLS * np.cos(angle) + ROWS * np.sin(angle)
    v = ROWS * np.cos(angle) - COLS * np.sin(angle)
    return (np.abs(u) < length / 2) & (np.abs(v) < width / 2), u


@pytest.mark.parametrize(("length", "width"), [(15, 5), (30, 5), (32, 8), (40, 12)])
def test_a_convex_shape_has_every_pixel_of_its_hull_in_any_direction(length, width):
    for angle in np.linspace(0, np.pi, 13):
        region, _ = rod(length, width, angle)
        assert hull_of(ends(region)).pixels == region.sum()
    ellipse = (COLS / 20) ** 2 + (ROWS / 7) ** 2 < 1
    assert hull_of(ends(ellipse)).pixels == ellipse.sum()


def test_as_many_pixels_as_lie_in_the_hull():
    rng = np.random.default_rng(3)
    for _ in range(20):
        region = np.zeros((20, 30), dtype=bool)
        region[rng.integers(0, 20, 8), rng.integers(0, 30, 8)] = True
        hull = hull_of(ends(region))
        places = np.argwhere(np.ones_like(region))
        inside = np.ones(len(places), dtype=bool)
        edges = zip(hull.vertices, np.roll(hull.vertices, -1, axis=0), strict=True)
        sides = np.array(
            [(b - a)[0] * (places - a)[:, 1] - (b - a)[1] * (places - a)[:, 0] for a, b in edges]
        )
        inside = (sides >= 0).all(axis=0) | (sides <= 0).all(axis=0)
        assert hull.pixels == inside.sum()
        assert (inside | ~region.ravel()).all()


def test_outline_goes_around_the_pixels():
    assert hull_of(np.array([[0, 0], [0, 9], [4, 0], [4, 9]])).outline == pytest.approx(30)


@pytest.mark.parametrize(
    ("points", "pixels"),
    [([[3, 4]], 1), ([[0, 0], [0, 9]], 10), ([[4, 4], [0, 0], [2, 2]], 5), ([[0, 0], [2, 6]], 3)],
)
def test_pixels_on_one_line(points, pixels):
    hull = hull_of(np.array(points))
    assert hull.pixels == pixels
    assert hull.outline >= 4


def test_both_parts_of_a_thin_rod_together_are_as_convex_as_a_rod_can_be():
    for angle in np.linspace(0.1, 1.5, 6):
        region, along = rod(30, 5, angle)
        labels = np.where(region, np.where(along > 0, 1, 2), 0).astype(np.int32)
        field = Field.of(region.astype(float), np.ones(region.shape, dtype=bool))
        np.testing.assert_array_equal(traits(field, labels, {})["united"], 1.0)
    pair = (np.hypot(ROWS, COLS - 6.5) < 7) | (np.hypot(ROWS, COLS + 6.5) < 7)
    labels = np.where(pair, np.where(COLS > 0, 1, 2), 0).astype(np.int32)
    field = Field.of(pair.astype(float), np.ones(pair.shape, dtype=bool))
    assert (traits(field, labels, {})["united"] < 0.93).all()
