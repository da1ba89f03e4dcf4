import numpy as np
import pytest
from nucleation_bluesky.analysis import particles as pt
from nucleation_bluesky.analysis import tip
from scipy import ndimage

PIXEL = 2e-9


def caps(sites, radii, size=300, noise=0.1e-9, seed=0, height_ratio=1.0, tip_radius=0.0):
    """Spherical caps (height = ratio * base radius), as imaged by a spherical tip."""
    yy, xx = (v * PIXEL for v in np.indices((size, size)))
    image = np.zeros((size, size))
    for (x, y), a in zip(sites, radii, strict=True):
        h = height_ratio * a
        sphere = (a**2 + h**2) / (2 * h) + tip_radius
        d2 = (xx - x) ** 2 + (yy - y) ** 2
        top = np.sqrt(np.maximum(sphere**2 - d2, 0)) - sphere + h
        image = np.maximum(image, np.where(d2 < sphere**2, top, 0))
    return image + np.random.default_rng(seed).normal(scale=noise, size=image.shape)


def grid(n, pitch, start=60e-9):
    y, x = (v.ravel() * pitch + start for v in np.mgrid[:n, :n].astype(float))
    return np.stack([x, y], axis=1)


@pytest.mark.parametrize("ratio", [1.0, 0.4])
def test_volume_height_and_radius_of_caps(ratio):
    sites = grid(5, 110e-9)
    radii = np.random.default_rng(1).uniform(12e-9, 40e-9, 25)
    image = caps(sites, radii, height_ratio=ratio) + 3e-9  # on swollen ground
    height = ratio * radii
    truth = np.pi * height * (3 * radii**2 + height**2) / 6
    found = pt.site_particles(image - 3e-9, *sites.T, PIXEL)
    assert found.valid.all()
    np.testing.assert_allclose(found.volume, truth, rtol=0.05)
    np.testing.assert_allclose(found.height, height, rtol=0.06)
    np.testing.assert_allclose(found.radius, radii, rtol=0.12)
    assert np.median(np.abs(found.volume - truth) / found.uncertainty) < 5


def test_ground_beneath_each_particle_is_local():
    sites = grid(4, 130e-9)
    image = caps(sites, np.full(16, 25e-9))
    slope = np.linspace(0, 1.5e-9, 300)[None, :]
    flat, sloped = (
        pt.site_particles(i, *sites.T, PIXEL, noise=4e-10) for i in (image, image + slope)
    )
    np.testing.assert_allclose(sloped.volume, flat.volume, rtol=0.04)


def test_tip_correction_restores_the_volume():
    radii = np.array([8e-9, 12e-9, 20e-9, 30e-9])
    sites = grid(2, 300e-9, 130e-9)
    truth = 2 / 3 * np.pi * radii**3
    imaged = caps(sites, radii, tip_radius=15e-9)
    raw = pt.site_particles(imaged, *sites.T, PIXEL)
    fixed = pt.site_particles(imaged, *sites.T, PIXEL, tip=tip.Tip(15e-9))
    expected = tip.hemisphere_inflation(radii, 15e-9)
    np.testing.assert_allclose(raw.volume / truth, expected, rtol=0.06)
    np.testing.assert_allclose(fixed.volume, truth, rtol=0.12)


def test_overlapping_neighbours_are_flagged_not_guessed():
    sites = grid(6, 24e-9)
    radii = np.full(36, 8e-9)
    radii[14], radii[15] = 26e-9, 20e-9
    found = pt.site_particles(caps(sites, radii), *sites.T, PIXEL)
    assert not found.valid[[14, 15]].any()
    assert np.isnan(found.volume[[14, 15]]).all()
    wide = grid(3, 150e-9)
    apart = pt.site_particles(caps(wide, np.full(9, 20e-9)), *wide.T, PIXEL)
    assert apart.valid.all()


def test_empty_sites_edges_and_strangers():
    sites = np.array([[100e-9, 100e-9], [300e-9, 300e-9], [2e-9, 300e-9], [5e-6, 0.0]])
    drawn = np.array([[100e-9, 100e-9], [2e-9, 300e-9], [440e-9, 120e-9]])  # the last: no site
    image = caps(drawn, np.full(3, 20e-9))
    found = pt.site_particles(image, *sites.T, PIXEL, reach=30e-9)
    meanings = [pt.FLAGS[k] for k in found.flag]
    assert meanings == ["valid", "no_particle", "at_edge", "at_edge"]


def test_origin_places_sites_in_the_sample_frame():
    origin = (4e-6, -7e-6)
    sites = grid(3, 150e-9)
    moved = sites + np.array(origin)
    image = caps(sites, np.full(9, 20e-9))
    here = pt.site_particles(image, *sites.T, PIXEL)
    there = pt.site_particles(image, *moved.T, PIXEL, origin=origin)
    np.testing.assert_allclose(here.volume, there.volume)


def test_noise_alone_makes_no_particle_and_one_particle_stays_one():
    rng = np.random.default_rng(2)
    assert pt.segment_particles(rng.normal(scale=1e-10, size=(200, 200)), PIXEL).x.size == 0
    one = caps(np.array([[200e-9, 200e-9]]), [90e-9], noise=1e-9)
    assert pt.segment_particles(one, PIXEL, noise=1e-9).x.size == 1


def test_tip_formulas_against_numerical_dilation():
    radius, tip_radius, step = 20e-9, 30e-9, 1e-9
    half = 60
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1] * step
    surface = np.sqrt(np.maximum(radius**2 - xx**2 - yy**2, 0))
    k = 30
    ty, tx = np.mgrid[-k : k + 1, -k : k + 1] * step
    squared = tip_radius**2 - tx**2 - ty**2
    inside = squared >= 0
    shape = np.where(inside, tip_radius - np.sqrt(np.maximum(squared, 0)), 0)
    image = ndimage.grey_dilation(surface, footprint=inside, structure=-shape)
    true = 2 / 3 * np.pi * radius**3
    apparent = image.sum() * step**2
    assert apparent / true == pytest.approx(tip.hemisphere_inflation(radius, tip_radius), rel=0.02)
    assert tip.correct_volume(apparent, radius, tip_radius) == pytest.approx(true, rel=0.06)
    assert tip.hemisphere_from_apparent_volume(apparent, tip_radius) == pytest.approx(
        radius, rel=0.02
    )
    width = np.sqrt(np.count_nonzero(image > 1e-12) * step**2 / np.pi)
    assert tip.correct_radius(width, radius, tip_radius) == pytest.approx(radius, rel=0.06)
    eroded = tip.erode_tip(image, step, tip_radius)
    assert eroded.sum() * step**2 == pytest.approx(true, rel=0.10)
    assert np.all(eroded >= surface - 1e-12)


@pytest.mark.parametrize("radius", [4e-9, 10e-9, 1e-6])
def test_picture_of_a_hemisphere_under_a_cone(radius):
    """The closed form equals the integral of the traced profile (numeric dilation along a line)."""
    apex, half_angle = 5e-9, np.radians(28)
    across = np.linspace(-4, 4, 4001) * (radius + apex)
    surface = np.sqrt(np.maximum(radius**2 - across**2, 0.0))
    # tip surface above its apex: sphere to the tangent point, then the cone
    tangent = apex * np.cos(half_angle)

    def tip_height(r):
        ball = apex - np.sqrt(np.maximum(apex**2 - np.minimum(r, tangent) ** 2, 0.0))
        return ball + np.maximum(r - tangent, 0.0) / np.tan(half_angle)

    at = np.linspace(0, 4, 1200) * (radius + apex)
    seen = np.array([np.max(surface - tip_height(np.abs(across - r))) for r in at]).clip(min=0)
    numeric = np.trapezoid(2 * np.pi * at * seen, at)
    closed = tip.hemisphere_picture(radius, apex, half_angle)
    assert closed == pytest.approx(numeric, rel=0.01)
    fixed = tip.Tip(apex, half_angle).corrected(np.array(numeric), np.array(radius))
    assert fixed == pytest.approx(2 * np.pi / 3 * radius**3, rel=0.01)
