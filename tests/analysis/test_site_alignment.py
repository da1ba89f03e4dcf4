"""Sites are placed in an image by the grains on which nothing nucleates."""

import numpy as np
import pytest
from nucleation_bluesky.analysis.grains import segment_grains
from nucleation_bluesky.analysis.site_alignment import align_sites

PIXEL = 4e-9


def world(shift, seed=0, flips=0.0):
    rng = np.random.default_rng(seed)
    rows, cols = np.indices((300, 300)) * PIXEL
    centres = rng.uniform(0, 1.2e-6, (14, 2))
    mask = np.zeros(rows.shape, dtype=bool)
    for cy, cx in centres:
        mask |= (rows - cy) ** 2 + (cols - cx) ** 2 < 90e-9**2
    image = np.where(mask, 12e-9, 0.0) + rng.normal(0, 0.3e-9, mask.shape)
    y, x = (a.ravel() for a in np.meshgrid(*2 * [np.arange(0.15e-6, 1.05e-6, 20e-9)]))
    inside = np.zeros(x.shape, dtype=bool)
    for cy, cx in centres:
        inside |= (y + shift[1] - cy) ** 2 + (x + shift[0] - cx) ** 2 < 90e-9**2
    inert = inside ^ (rng.random(x.shape) < flips)
    return segment_grains(image), x, y, inert


@pytest.mark.parametrize("shift", [(14e-9, -9e-9), (-25e-9, 30e-9)])
@pytest.mark.parametrize("flips", [0.0, 0.03])
def test_known_shift_is_found(shift, flips):
    grains, x, y, inert = world(shift, flips=flips)
    found = align_sites(x, y, inert, grains, PIXEL, (0.0, 0.0), reach=50e-9)
    assert found is not None
    assert found.dx == pytest.approx(shift[0], abs=4e-9)
    assert found.dy == pytest.approx(shift[1], abs=4e-9)
    assert found.agreement > found.agreement_before


def test_no_shift_is_left_alone():
    grains, x, y, inert = world((0.0, 0.0))
    found = align_sites(x, y, inert, grains, PIXEL, (0.0, 0.0), reach=50e-9)
    assert found is None or np.hypot(found.dx, found.dy) < 3e-9


def test_unrelated_or_few_sites_move_nothing():
    grains, x, y, inert = world((20e-9, 0.0))
    nothing = np.zeros_like(inert)
    assert align_sites(x, y, nothing, grains, PIXEL, (0.0, 0.0), reach=50e-9) is None
    few = align_sites(x[:15], y[:15], inert[:15], grains, PIXEL, (0.0, 0.0), reach=50e-9)
    assert few is None
