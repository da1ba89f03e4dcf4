import numpy as np
import pytest
from nucleation_bluesky.analysis import boundary


def sites(seed, n=4000, amplitude=0.25, length=35e-9, plateau=3.8, scatter=0.1):
    rng = np.random.default_rng(seed)
    distance = rng.uniform(-60e-9, 260e-9, n)
    onset = -(plateau - amplitude * np.exp(-distance / length) + scatter * rng.normal(size=n))
    nucleated = distance > 0
    return distance, np.where(nucleated, onset, np.nan), nucleated


def test_profile_follows_the_law_and_grains_stay_apart():
    distance, onset, nucleated = sites(0)
    profile = boundary.onset_profile(distance, onset, nucleated, bins=8)
    assert profile.edges[1] == 0
    assert profile.nucleated_fraction[0] == 0
    assert np.isnan(profile.median[0])
    assert np.all(profile.nucleated_fraction[1:] == 1)
    assert profile.count.sum() == distance.size
    expected = -(3.8 - 0.25 * np.exp(-profile.distance[1:] / 35e-9))
    assert np.all(np.abs(profile.median[1:] - expected) < 0.025)
    covered = (profile.low[2:] <= expected[1:]) & (expected[1:] <= profile.high[2:])
    assert covered.mean() > 0.6


def test_contrast_and_its_interval():
    distance, onset, _ = sites(1)
    found = boundary.boundary_contrast(distance, onset, near=20e-9, far=100e-9)
    assert found.near < found.far
    assert found.interval[0] > 0
    expected = 0.25 * np.mean(np.exp(-np.linspace(0, 20e-9, 100) / 35e-9))
    assert found.difference == pytest.approx(expected, abs=0.03)
    flat = boundary.boundary_contrast(*sites(2, amplitude=0.0)[:2], near=20e-9, far=100e-9)
    assert flat.interval[0] < 0 < flat.interval[1]


def test_decay_fit_recovers_the_law_despite_outliers():
    distance, onset, _ = sites(3)
    onset = onset.copy()
    onset[::60] = -6.0
    fit = boundary.fit_decay(distance, onset)
    assert fit.success
    assert fit.plateau == pytest.approx(3.8, abs=4 * fit.plateau_sd + 5e-3)
    assert fit.amplitude == pytest.approx(0.25, abs=4 * fit.amplitude_sd + 5e-3)
    assert fit.length == pytest.approx(35e-9, abs=4 * fit.length_sd + 2e-9)


def test_fraction_on_grains():
    distance, _, nucleated = sites(4)
    found = boundary.fraction_on_grains(distance, nucleated)
    assert found["nucleated"] == found["fraction"] == 0
    assert 0 < found["high"] < 0.02
    shifted = boundary.fraction_on_grains(distance - 10e-9, nucleated)
    assert shifted["nucleated"] > 0
    assert boundary.fraction_on_grains(distance - 10e-9, nucleated, margin=10e-9)["nucleated"] == 0


def test_bad_input_is_refused():
    distance, onset, _ = sites(5)
    with pytest.raises(ValueError, match="near must not exceed"):
        boundary.boundary_contrast(distance, onset, near=2e-7, far=1e-7)
    with pytest.raises(ValueError, match="other limits"):
        boundary.boundary_contrast(distance, onset, near=2e-8, far=1.0)
    with pytest.raises(ValueError, match="ten nucleated"):
        boundary.fit_decay(distance[:5], onset[:5])
