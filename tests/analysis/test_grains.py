import numpy as np
import pytest
from nucleation_bluesky.analysis import grains as gr
from scipy import ndimage

PIXEL = 5e-9


def scene(seed, contrast, roughness=1e-9, noise=0.2e-9, size=300, rough_width=3.0, n=11):
    """Discs of another height on a rough, tilted, noisy surface."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices((size, size))
    mask = np.zeros((size, size), bool)
    for _ in range(n):
        r, c = rng.uniform(0, size, 2)
        mask |= (rows - r) ** 2 + (cols - c) ** 2 < rng.uniform(20, 32) ** 2
    rough = ndimage.gaussian_filter(rng.normal(size=mask.shape), rough_width)
    image = ndimage.gaussian_filter(mask.astype(float), 1.0) * contrast
    image += rough / rough.std() * roughness + rng.normal(scale=noise, size=mask.shape)
    image += 3e-10 * cols - 2e-10 * rows + 4e-8
    return image, mask


@pytest.mark.parametrize("contrast", [6e-9, -6e-9, 12e-9, -3.5e-9])
@pytest.mark.parametrize("seed", [0, 1])
def test_grains_are_found_at_either_polarity(contrast, seed):
    image, mask = scene(seed, contrast)
    found = gr.segment_grains(image)
    assert found.polarity == ("bright" if contrast > 0 else "dark")
    assert np.mean(found.mask != mask) < 0.03
    assert found.mask.mean() == pytest.approx(mask.mean(), rel=0.08)
    assert found.contrast == pytest.approx(contrast, rel=0.2)
    assert found.confidence > 0.5


def test_strong_tilt_and_scale_do_not_matter():
    image, mask = scene(2, 5e-9)
    rows, cols = np.indices(image.shape)
    tilted = image + 2e-9 * cols + 1e-9 * rows
    np.testing.assert_allclose(gr.segment_grains(tilted).mask, gr.segment_grains(image).mask)
    np.testing.assert_array_equal(
        gr.segment_grains(1e3 * image).mask, gr.segment_grains(image).mask
    )
    assert np.mean(gr.segment_grains(-image).mask != mask) < 0.03


def test_a_rough_surface_without_grains_is_not_trusted():
    rng = np.random.default_rng(3)
    rough = ndimage.gaussian_filter(rng.normal(size=(300, 300)), 6)
    found = gr.segment_grains(rough / rough.std() * 1e-9)
    assert found.confidence < 0.5


def test_statistics_of_known_discs():
    rows, cols = np.indices((200, 200))
    mask = ((rows - 60) ** 2 + (cols - 60) ** 2 < 20**2) | (
        (rows - 140) ** 2 + (cols - 140) ** 2 < 30**2
    )
    labels = ndimage.label(mask)[0]
    stats = gr.grain_statistics(gr.Grains(labels, 1.0, "bright", 1e-9, 5.0, 1.0), PIXEL)
    assert stats["count"] == 2
    assert stats["mean_radius"] == pytest.approx(25 * PIXEL, rel=0.01)
    assert stats["area_fraction"] == pytest.approx(np.pi * (20**2 + 30**2) / 200**2, rel=0.01)


def test_signed_distance_is_sub_pixel_and_keeps_the_frame():
    rows, cols = np.indices((200, 200))
    mask = (rows - 100) ** 2 + (cols - 90) ** 2 < 40**2
    rng = np.random.default_rng(4)
    origin = (3e-6, -2e-6)
    x = origin[0] + rng.uniform(0, 199, 500) * PIXEL
    y = origin[1] + rng.uniform(0, 199, 500) * PIXEL
    truth = np.hypot(x - origin[0] - 90 * PIXEL, y - origin[1] - 100 * PIXEL) - 40 * PIXEL
    found = gr.distance_to_boundary(x, y, mask, PIXEL, origin)
    assert np.max(np.abs(found - truth)) < 0.6 * PIXEL
    assert abs(np.mean(found - truth)) < 0.1 * PIXEL
    whole = gr.signed_distance_map(mask, PIXEL)
    assert whole[100, 90] == pytest.approx(-40 * PIXEL, rel=0.02)
    assert np.isnan(gr.distance_to_boundary(np.array([0.0]), np.array([0.0]), mask, PIXEL, origin))
    empty = np.zeros((20, 20), bool)
    assert np.isposinf(gr.distance_to_boundary(np.array([1e-8]), np.array([1e-8]), empty, PIXEL))


def test_sites_remove_a_false_grain_and_add_a_missed_one():
    rows, cols = np.indices((200, 200))
    false = (rows - 50) ** 2 + (cols - 50) ** 2 < 25**2
    true = (rows - 50) ** 2 + (cols - 150) ** 2 < 25**2
    missed = (rows - 150) ** 2 + (cols - 100) ** 2 < 25**2
    grains = gr.Grains(ndimage.label(false | true)[0], 0.9, "bright", 5e-9, 4.0, 1.0)
    gy, gx = (v.ravel() * 4 * PIXEL for v in np.mgrid[:50, :50].astype(float))
    r, c = gr.site_pixels(gx, gy, PIXEL)
    inert = (true | missed)[r, c]
    inert |= np.random.default_rng(5).random(inert.size) < 0.02  # sites that failed by chance
    refined = gr.refine_with_sites(grains, gx, gy, inert, PIXEL)
    assert not refined.mask[false].any()
    assert refined.mask[true].all()
    assert refined.mask[missed].mean() > 0.85
    assert refined.mask[~(true | missed)].mean() < 0.02


def test_unknown_polarity_is_refused():
    with pytest.raises(ValueError, match="polarity"):
        gr.segment_grains(np.zeros((20, 20)), polarity="up")
