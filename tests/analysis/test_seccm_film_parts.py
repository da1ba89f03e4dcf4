"""Parts of the film analysis against plain calculations."""

import numpy as np
import pytest
from nucleation_bluesky.analysis.seccm.ce_map import CycleTimes, efficiency_maps
from nucleation_bluesky.analysis.seccm.charge_correlation import FARADAY, correlate_charge
from nucleation_bluesky.analysis.seccm.display import display_frames
from nucleation_bluesky.analysis.seccm.film import bin_frames, group_frames, open_film, survey
from nucleation_bluesky.analysis.seccm.film_result import efficiency_verdict
from nucleation_bluesky.analysis.seccm.optical_time import optical_nucleation
from nucleation_bluesky.analysis.seccm.peaks import find_peaks_in, vertex_noise
from nucleation_bluesky.analysis.seccm.savgol import interpolation_operator, savgol_operator
from nucleation_bluesky.analysis.seccm.smooth import Corrected
from nucleation_bluesky.analysis.seccm.zones import zone_masks
from scipy import ndimage
from scipy.signal import savgol_filter
from scipy.special import ndtr


@pytest.mark.parametrize(("window", "order", "derivative"), [(5, 2, 1), (11, 4, 1), (9, 3, 2)])
def test_operator_is_scipys_filter_at_even_times(window, order, derivative):
    values = np.random.default_rng(0).normal(size=60)
    operator = savgol_operator(np.arange(60) * 0.2, window, order, derivative=derivative)
    expected = savgol_filter(values, window, order, deriv=derivative, delta=0.2, mode="interp")
    np.testing.assert_allclose(operator @ values, expected, rtol=1e-7, atol=1e-9)


def test_operator_is_exact_for_polynomials_at_any_times():
    time = np.cumsum(np.random.default_rng(1).uniform(0.1, 0.5, 40))
    operator = savgol_operator(time, 9, 3)
    np.testing.assert_allclose(
        operator @ (2 + time - 0.3 * time**2 + 0.01 * time**3),
        1 - 0.6 * time + 0.03 * time**2,
        atol=1e-7,
    )


def test_interpolation_is_numpys():
    rng = np.random.default_rng(2)
    time, values = np.cumsum(rng.uniform(0.1, 0.5, 30)), rng.normal(size=30)
    at = np.linspace(time[0], time[-1], 50)
    np.testing.assert_allclose(
        interpolation_operator(time, at) @ values, np.interp(at, time, values), atol=1e-12
    )


@pytest.mark.parametrize("window", [4, 1, 101])
def test_impossible_windows_are_refused(window):
    with pytest.raises(ValueError, match="window"):
        savgol_operator(np.arange(50.0), window, 2)


def test_streamed_maxima_are_those_of_a_loop():
    rng = np.random.default_rng(3)
    time = np.cumsum(rng.uniform(0.15, 0.3, 120))
    births = rng.normal(time[60], 1.0, 40)
    records = (20 * ndtr((time[:, None] - births) / 0.5) + rng.normal(size=(120, 40))).astype("f4")
    operator = savgol_operator(time, 15, 4)
    blocks = [(k, records[k : k + 7]) for k in range(0, 120, 7)]
    found = find_peaks_in(blocks, operator, time, 20, 100)
    rate = operator @ records.astype(float)
    for p in range(40):
        inner = [
            k for k in range(20, 100) if rate[k - 1, p] < rate[k, p] >= rate[k + 1, p]
        ]  # fmt: skip
        best = max(inner, key=lambda k, p=p: rate[k, p])
        assert found.index[p] == best
        vertex = np.polyfit(time[best - 1 : best + 2], rate[best - 1 : best + 2, p], 2)
        assert found.time[p] == pytest.approx(-vertex[1] / 2 / vertex[0], abs=1e-3)
    assert np.median(found.noise) == pytest.approx(1.0, rel=0.15)


def test_noise_of_the_vertex_is_what_noise_makes():
    rng = np.random.default_rng(4)
    time = np.cumsum(rng.uniform(0.2, 0.26, 61))
    operator = savgol_operator(time, 15, 4)
    clean = 400 * ndtr((time - time[30] - 0.05) / 0.6)
    noisy = (clean[:, None] + rng.normal(size=(61, 4000))).astype(np.float32)
    found = find_peaks_in([(0, noisy)], operator, time, 20, 40)
    predicted = vertex_noise(operator, time)[found.index] / -found.curvature
    assert np.std(found.time) == pytest.approx(np.median(predicted), rel=0.1)


@pytest.mark.parametrize("growth", [0.0, 3.0, 10.0])
def test_growth_does_not_displace_the_footprints_time(growth):
    rng = np.random.default_rng(5)
    time = np.cumsum(rng.normal(0.23, 0.018, 240))
    births = rng.normal(16.0, 0.9, 4000)
    age = np.clip(time[:, None] - births, 0, None)
    values = (30 * (age > 0) + growth * age).mean(axis=1) + 20 * (1 - np.exp(-time / 8))
    values += 0.03 * rng.normal(size=240)
    found = optical_nucleation(time, values)
    assert found.time == pytest.approx(births.mean(), abs=2.5 * found.uncertainty)
    assert found.uncertainty < 0.35


def test_a_film_without_nucleation_has_no_optical_time():
    rng = np.random.default_rng(6)
    time = np.arange(200) * 0.23
    assert (
        optical_nucleation(time, 50 * (1 - np.exp(-time / 8)) + 0.1 * rng.normal(size=200)) is None
    )


def test_doubled_frames_are_found_by_content():
    rng = np.random.default_rng(7)
    frames = rng.poisson(900, (30, 40, 40)).astype(np.uint16)
    frames[11], frames[20] = frames[10], frames[19]
    seen = survey(open_film(frames, np.arange(30) * 0.2, 40e-9))
    assert seen.film.doubled.tolist() == [11, 20]
    assert len(seen.binned) == 28


def test_binning_and_grouping():
    frames = np.random.default_rng(8).integers(0, 4000, (12, 21, 18)).astype(np.uint16)
    expected = frames[:, :20, :16].reshape(12, 5, 4, 4, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(bin_frames(frames, 4), expected, rtol=1e-6)
    film = open_film(frames, np.arange(12.0), 40e-9)
    grouped = group_frames(film, 2, 12, 3)
    assert len(grouped) == 3
    np.testing.assert_allclose(grouped.block(1, 3)[0], frames[5:8].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(grouped.time, [3, 6, 9])


def test_smoothing_takes_the_drift_back():
    rng = np.random.default_rng(9)
    scene = 1000 + 300 * ndimage.gaussian_filter(rng.normal(size=(120, 120)), 3) * 10
    moved = ndimage.shift(scene, (1.3, -0.6), order=5)
    film = open_film(np.stack([scene, moved, moved]), np.arange(3.0), 40e-9)
    mask = np.zeros((120, 120), bool)
    mask[30:90, 30:90] = True
    recipe = Corrected(film, np.ones(3), np.array([[0, 0], [1.3, -0.6], [1.3, -0.6]]), 2.0, mask)
    records = np.concatenate([b for _, b in recipe.records(0, 3)])
    assert np.std(records[1] - records[0]) < 0.01 * np.std(records[0])
    np.testing.assert_allclose(recipe.mean(np.array([1, 2])), records[1], atol=0.05)


def _cycled(seed: int, once: float, thick: bool = False, stays: float = 1.0, spread: float = 1.0):
    """Film of three cycles: plated amount and efficiency vary over the footprint.

    What stays reflects ``stays`` times as much as what is stripped on average, and by as much
    more or less from place to place.
    """
    rng = np.random.default_rng(seed)
    n, cycles = 96, 3
    y, x = np.mgrid[:n, :n]
    mask = np.hypot(y - 48, x - 48) < 38
    smooth = [ndimage.gaussian_filter(rng.normal(size=(n, n)), 10) for _ in range(2)]
    strength, u = (1 + 0.3 * smooth[0] / smooth[0].std()), smooth[1] / smooth[1].std()
    strength = np.clip(strength, 0.3, None)
    u -= (strength * u)[mask].sum() / strength[mask].sum()
    ce = np.array([0.3, 0.5, 0.65])
    width = spread * np.array([0.08, 0.05, 0.04])
    truth = ce[:, None, None] - width[:, None, None] * u
    third = ndimage.gaussian_filter(rng.normal(size=(n, n)), 10)
    third -= third[mask].mean()
    reflects = stays + (stays - 1) * np.clip(third / third[mask].std() / np.sqrt(3), -1, 1)
    time = np.cumsum(rng.normal(0.23, 0.01, 430))
    period = 32.0
    fine = np.arange(0, cycles * period, 0.01)
    phase = fine % period
    number = np.minimum((fine // period).astype(int), cycles - 1)
    up = np.clip((phase - 8) / 4, 0, 1)
    down = np.clip((phase - 14) / 4, 0, 1)
    frames = np.zeros((len(time), n, n), np.uint16)
    left = np.concatenate([[0], np.cumsum(1 - ce)])
    charge = -(left[number] + up - ce[number] * down)
    base = np.zeros((n, n))
    bases = [base]
    for k in range(cycles):
        left_here = strength * (1 - truth[k]) * reflects
        bases.append(bases[-1] + left_here + (once if k == 0 else 0))
    for f, t in enumerate(time):
        i = min(int(t / 0.01), len(fine) - 1)
        k = number[i]
        whole = strength * (truth[k] + (1 - truth[k]) * reflects)
        metal = bases[k] + up[i] * (whole + (once if k == 0 else 0))
        metal = metal - down[i] * strength * truth[k]
        if thick:
            metal = np.where(np.hypot(y - 40, x - 60) < 8, metal * (1 - metal / 2.2), metal)
        image = 1500 + 300 * mask * metal
        frames[f] = np.clip(image + 25 * rng.normal(size=(n, n)), 0, 60000)
    film = open_film(frames, time, 40e-9)
    recipe = Corrected(film, np.ones(len(time)), np.zeros((len(time), 2)), 4.0, mask)
    times = [CycleTimes(k * period + 8, k * period + 13, k * period + 20) for k in range(cycles)]
    maps = efficiency_maps(recipe, time, times, ce, fine, charge, smoothing=300e-9)
    return maps, truth, ndimage.binary_erosion(mask, iterations=8)


@pytest.mark.parametrize("once", [0.0, 0.3])
def test_efficiency_maps(once):
    maps, truth, core = _cycled(10, once)
    for k in range(3):
        use = core & maps.valid[k]
        assert use.sum() > 0.9 * core.sum()
        error = maps.ce[k][use] - truth[k][use]
        assert np.sqrt(np.mean(error**2)) < 0.04
        assert np.corrcoef(maps.ce[k][use], truth[k][use])[0, 1] > 0.9


@pytest.mark.parametrize(("once", "stays"), [(0.0, 1.0), (0.2, 0.9), (0.0, 1.1)])
def test_uncertainty_of_efficiency_maps(once, stays):
    """Over several films: the pixels of one share most of their error."""
    covered, narrow = [], []
    for seed in (12, 13, 14):
        maps, truth, core = _cycled(seed, once, stays=stays)
        for k in range(3):
            use = core & maps.valid[k]
            z = np.abs(maps.ce[k][use] - truth[k][use]) / maps.uncertainty[k][use]
            covered.append(np.mean(z < 2))
            narrow.append(np.mean(z < 0.5))
            assert maps.resolved[k] or once
    assert np.mean(covered) > 0.88
    assert min(covered) > 0.75
    assert np.mean(narrow) < 0.7  # nor far too wide


def test_spread_smaller_than_its_error_is_not_resolved():
    maps, truth, core = _cycled(14, 0.0, stays=0.9, spread=0.0)
    assert not maps.resolved.any()
    for k in range(3):
        use = core & maps.valid[k]
        assert np.mean(np.abs(maps.ce[k] - truth[k])[use] < 2 * maps.uncertainty[k][use]) > 0.9
    assert "not resolved in any cycle (1, 2, 3)" in efficiency_verdict(maps)


def test_inverted_contrast_is_flagged():
    maps, _, core = _cycled(11, 0.0, thick=True)
    y, x = np.mgrid[:96, :96]
    spot = np.hypot(y - 40, x - 60) < 5
    away = core & (np.hypot(y - 40, x - 60) > 20)
    assert (~maps.valid[2][spot]).mean() > 0.8
    assert maps.valid[2][away].mean() > 0.95


def test_intensity_follows_charge():
    time = np.arange(0, 60, 0.23)
    at = np.linspace(0, 60, 5000)
    charge = -1e-9 * at
    area, alpha, volume = 4e-10, 4e7, 1.302e-5
    light = alpha * volume * 1e-9 * time / FARADAY / area
    found = correlate_charge(
        time, light + 1e-5 * np.sin(time * 9), at, charge, area=area, residual=np.array([0.02])
    )
    assert found.correlation > 0.999
    assert found.alpha == pytest.approx(alpha, rel=1e-2)
    assert found.residual_charge[0] == pytest.approx(0.02 / found.slope)
    assert correlate_charge(time[:3], light[:3], at, charge) is None


def test_display_chain():
    frames = np.random.default_rng(12).poisson(1000, (11, 40, 40)).astype(np.uint16)
    film = open_film(frames, np.arange(11) * 0.23, 40e-9)
    shown = list(display_frames(film, 1, sigma=0.0))
    assert len(shown) == 5
    time, image = shown[1]
    assert time == pytest.approx(3.5 * 0.23)
    np.testing.assert_allclose(image, frames[3:5].mean(axis=0) - frames[1], atol=1e-3)
    with pytest.raises(ValueError, match="frame 30 is not in the film"):
        next(display_frames(film, 30))


def test_zones_share_the_footprint():
    y, x = np.mgrid[:80, :80]
    mask = np.hypot(y - 40, x - 40) < 30
    centre, edge = zone_masks(mask)
    assert not (centre & edge).any()
    assert ((centre | edge) == mask).all()
    assert centre.sum() / mask.sum() == pytest.approx(0.49, abs=0.06)
