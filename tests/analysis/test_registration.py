import numpy as np
import pytest
from nucleation_bluesky.analysis import registration
from scipy import ndimage

PIXEL = 4e-9
SIZE = 256


def rough(seed, size=SIZE + 64, width=5.0, height=2e-9):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), width)
    return field / field.std() * height


def crop(surface, dx_px, dy_px, drift=(0.0, 0.0), size=SIZE):
    """Image in which a feature of the reference appears moved by (dx, dy) px."""
    rows, cols = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    v = rows - (size - 1) / 2
    # content at reference (x, y) appears at (x + d(y), y + d(y)): first-order inverse
    rows = rows - dy_px - drift[1] * (v - dy_px)
    cols = cols - dx_px - drift[0] * (v - dy_px)
    return ndimage.map_coordinates(surface, (rows + 32, cols + 32), order=5)


def spoil(image, seed, particles=60):
    rng = np.random.default_rng(seed)
    out = image + rng.normal(scale=0.2e-9, size=image.shape)
    v, u = np.meshgrid(*(np.linspace(-1, 1, n) for n in image.shape), indexing="ij")
    out += 30e-9 * u - 18e-9 * v + 120e-9
    rows, cols = np.indices(image.shape)
    for r, c in rng.uniform(40, 200, (particles, 2)):
        a = rng.uniform(3, 8)
        d2 = (rows - r) ** 2 + (cols - c) ** 2
        out += PIXEL * np.sqrt(np.clip(a**2 - d2, 0, None))
    return out


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.37, -7.81), (-18.25, 12.6)])
def test_known_shift_with_tilt_noise_and_new_particles(shift):
    surface = rough(1)
    reference = crop(surface, 0, 0) + np.random.default_rng(9).normal(scale=2e-10, size=(SIZE,) * 2)
    image = spoil(crop(surface, *shift), 2)
    found = registration.estimate_shift(reference, image, PIXEL)
    dx, dy, uncertainty, quality = found
    assert abs(dx - shift[0] * PIXEL) < max(4 * uncertainty, 0.1 * PIXEL)
    assert abs(dy - shift[1] * PIXEL) < max(4 * uncertainty, 0.1 * PIXEL)
    assert uncertainty < 0.1 * PIXEL
    assert quality > 0.9


def test_uncertainty_is_calibrated():
    pulls = []
    for seed in range(8):
        surface = rough(seed, width=6)
        rng = np.random.default_rng(100 + seed)
        shift = rng.uniform(-6, 6, 2)
        noise = ndimage.gaussian_filter(rng.normal(size=(2, SIZE, SIZE)), (0, 2, 2))
        noise *= 0.8e-9 / noise.std()
        reference, image = crop(surface, 0, 0) + noise[0], crop(surface, *shift) + noise[1]
        dx, dy, sigma, _ = registration.estimate_shift(reference, image, PIXEL)
        pulls += [(dx - shift[0] * PIXEL) / sigma, (dy - shift[1] * PIXEL) / sigma]
    assert 0.4 < np.sqrt(np.mean(np.square(pulls))) < 1.8


def test_linear_drift_is_found_and_removed():
    surface = rough(4)
    reference = crop(surface, 0, 0)
    drift = (0.02, -0.015)
    image = spoil(crop(surface, 2.4, -3.1, drift), 3, particles=20)
    found = registration.register(reference, image, PIXEL)
    assert found.drift_x == pytest.approx(drift[0], abs=1e-3)
    assert found.drift_y == pytest.approx(drift[1], abs=1e-3)
    aligned = registration.align(crop(surface, 2.4, -3.1, drift), found, PIXEL)
    inside = np.isfinite(aligned)
    inside[:16] = inside[-16:] = False
    assert np.std((aligned - reference)[inside]) < 0.05 * np.std(reference)


def test_an_area_plated_all_over_is_left_out():
    surface = rough(8) + np.where(rough(9, width=20.0) > 2e-9, 12e-9, 0.0)  # tall plateaus too
    image = crop(surface, 4.3, -3.2)
    rows, cols = np.indices(image.shape)
    dense = (np.abs(rows - 128) < 85) & (np.abs(cols - 128) < 85)
    bumps = 12e-9 * np.sqrt(np.clip(1 - ((rows % 5 - 2) ** 2 + (cols % 5 - 2) ** 2) / 7, 0, None))
    image = image + np.where(dense, bumps + 8e-9, 0.0)
    dx, dy, _, quality = registration.estimate_shift(crop(surface, 0, 0), image, PIXEL)
    assert abs(dx - 4.3 * PIXEL) < 0.1 * PIXEL
    assert abs(dy + 3.2 * PIXEL) < 0.1 * PIXEL
    assert quality > 0.9
    masked = registration.estimate_shift(crop(surface, 0, 0), image, PIXEL, mask=~dense)
    assert abs(masked.dx - 4.3 * PIXEL) < 0.1 * PIXEL


@pytest.mark.parametrize("shift", [(-3.8, 0.8), (9.3, -6.4)])
def test_a_lattice_of_particles_does_not_decide_where_the_ground_lies(shift):
    """A smooth ground with two phases; rows of tall, touching particles over its middle."""
    surface = rough(11, width=24.0, height=1e-9)
    surface += 6e-9 * ndimage.gaussian_filter((rough(12, width=24.0) > 1e-9) * 1.0, 2)
    image = crop(surface, *shift)
    rows, cols = np.indices(image.shape)
    dense = (np.abs(rows - 128) < 80) & (np.abs(cols - 128) < 80)
    lattice = np.clip(1 - ((rows % 11 - 5) ** 2 + (cols % 11 - 5) ** 2) / 36, 0, None)
    image = image + np.where(dense, 12e-9 * np.sqrt(lattice), 0.0)
    found = registration.estimate_shift(crop(surface, 0, 0), image, PIXEL, mask=~dense)
    assert found.quality > 0.95
    assert found.uncertainty < 0.5 * PIXEL
    assert abs(found.dx - shift[0] * PIXEL) < 4 * found.uncertainty
    assert abs(found.dy - shift[1] * PIXEL) < 4 * found.uncertainty


def test_align_marks_what_the_image_does_not_reach():
    surface = rough(5)
    image = crop(surface, 10.0, 0.0)
    moved = registration.align(image, registration.Shift(10 * PIXEL, 0.0, 0.0, 1.0), PIXEL)
    assert np.isnan(moved[:, -9:]).all()
    assert np.isfinite(moved[:, :-11]).all()


def test_unrelated_images_have_no_quality():
    found = registration.estimate_shift(crop(rough(6), 0, 0), crop(rough(7), 0, 0), PIXEL)
    assert found.quality < 0.4


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="shape"):
        registration.estimate_shift(np.zeros((16, 16)), np.zeros((16, 17)), PIXEL)
    with pytest.raises(ValueError, match="pixel size"):
        registration.estimate_shift(rough(1), rough(1), 0.0)
