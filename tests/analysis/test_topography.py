import numpy as np
import pytest
from nucleation_bluesky.analysis import topography as topo
from scipy import ndimage


def tilted(shape=(200, 220), seed=0, noise=0.3e-9):
    rng = np.random.default_rng(seed)
    v, u = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    plane = 40e-9 * u - 25e-9 * v + 3e-7
    return rng.normal(scale=noise, size=shape), plane, u, v


def test_plane_is_not_pulled_by_many_large_particles():
    flat, plane, u, v = tilted()
    image = flat + plane
    image[(u > 0.2) & (v > 0.0)] += 60e-9  # a fifth of the frame, all on one side
    found = topo.fit_background(image)
    assert np.max(np.abs(found - plane)) < 0.1e-9


def test_bow_and_line_jumps_are_removed():
    flat, plane, u, v = tilted()
    jumps = np.random.default_rng(3).normal(scale=2e-9, size=(200, 1))
    bow = 15e-9 * u**2 + 8e-9 * u * v
    step = np.where(u**2 + v**2 < 0.1, 5e-9, 0.0)
    result = topo.level(flat + plane + jumps + bow + step, order=2, lines=True)
    outside = step == 0
    assert topo.robust_sigma(result[outside]) < 0.8e-9
    assert np.median(result[~outside]) - np.median(result[outside]) == pytest.approx(
        5e-9, abs=4e-10
    )


def test_difference_keeps_volume_and_noise():
    flat, plane, u, v = tilted()
    rng = np.random.default_rng(5)
    bump = 10e-9 * np.exp(-(u**2 + v**2) / 0.02)
    after = flat + bump + 0.3 * plane + rng.normal(scale=0.3e-9, size=flat.shape)
    result = topo.difference(flat + plane, after, mask=u**2 + v**2 > 0.2)
    assert result.height.sum() == pytest.approx(bump.sum(), rel=0.02)
    assert result.noise == pytest.approx(0.3e-9, rel=0.1)
    assert result.unchanged[:20, :20].mean() > 0.98


def test_swelling_is_seen_beneath_particles():
    rng = np.random.default_rng(1)
    v, u = np.meshgrid(np.linspace(-1, 1, 256), np.linspace(-1, 1, 256), indexing="ij")
    ground = 12e-9 * np.exp(-(u**2 + v**2) / 0.3)
    dots = np.zeros((256, 256))
    dots[5::10, 5::10] = 1
    particles = ndimage.maximum_filter(dots, size=5) * 20e-9
    change = ground + particles + rng.normal(scale=0.1e-9, size=ground.shape)
    found = topo.swelling(change, 2e-9, window=80e-9)
    assert found[128, 128] == pytest.approx(12e-9, rel=0.1)
    assert abs(found[5, 5]) < 0.5e-9


def test_roughness_of_a_sine():
    wave = np.sin(np.linspace(0, 20 * np.pi, 1000, endpoint=False))[None, :] * np.ones((16, 1))
    result = topo.roughness(1e-9 * wave)
    assert result["rq"] == pytest.approx(1e-9 / np.sqrt(2), rel=1e-6)
    assert result["ra"] == pytest.approx(2e-9 / np.pi, rel=1e-3)
    assert result["kurtosis"] == pytest.approx(-1.5, abs=1e-3)


def test_bad_images_are_refused():
    with pytest.raises(ValueError, match="two dimensions"):
        topo.level(np.zeros(5))
    with pytest.raises(ValueError, match="no finite"):
        topo.level(np.full((9, 9), np.nan))
    with pytest.raises(ValueError, match="align"):
        topo.difference(np.zeros((9, 9)), np.zeros((9, 10)))
    with pytest.raises(ValueError, match="usable pixels"):
        topo.fit_background(np.zeros((9, 9)), mask=np.zeros((9, 9), bool))
