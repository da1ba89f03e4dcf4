import numpy as np
import pytest
from nucleation_bluesky.analysis import statistics as st


def test_wilson_against_the_closed_form():
    z, n, k = 1.959963985, 40, 3
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert st.wilson_interval(k, n) == pytest.approx((centre - half, centre + half))
    low, high = st.wilson_interval(0, 500)
    assert low == 0
    assert 0 < high < 0.01
    assert np.isnan(st.wilson_interval(0, 0)).all()
    with pytest.raises(ValueError, match="not possible"):
        st.wilson_interval(3, 2)


def test_bootstrap_interval_covers_the_median():
    rng = np.random.default_rng(0)
    hits = 0
    for k in range(100):
        low, high = st.bootstrap_interval(rng.normal(size=80), np.median, resamples=400, seed=k)
        hits += low < 0 < high
    assert 87 <= hits <= 100


def test_block_bootstrap_is_wider_for_correlated_sites():
    rng = np.random.default_rng(1)
    n = 40
    y, x = (v.ravel().astype(float) for v in np.mgrid[:n, :n])
    patches = np.repeat(np.repeat(rng.normal(size=(8, 8)), 5, axis=0), 5, axis=1).ravel()
    plain = st.bootstrap_interval(patches, np.mean, resamples=500)
    block = st.bootstrap_interval(patches, np.mean, resamples=500, x=x, y=y, block_size=5.0)
    assert np.diff(block) > 3 * np.diff(plain)


def test_histograms_tell_narrow_from_broad():
    rng = np.random.default_rng(2)
    compliance = np.exp(rng.normal(np.log(1e-23), 0.15, 2000))
    normal = np.concatenate([np.exp(rng.normal(np.log(1e-19), 1.5, 100)), [np.nan, -1e-25]])
    found = st.compare_volumes(normal, compliance)
    assert found["compliance"].log_width == pytest.approx(0.15, rel=0.1)
    assert found["normal"].log_width == pytest.approx(1.5, rel=0.3)
    low, high = found["normal"].log_width_interval
    assert low < 1.5 < high
    assert found["normal"].n_not_positive == 1
    assert found["normal"].counts.sum() == found["normal"].n == 100
    assert found["compliance"].counts.sum() == 2000
    np.testing.assert_array_equal(found["normal"].edges, found["compliance"].edges)
    radius = found["compliance"].median_diameter / 2
    assert 2 / 3 * np.pi * radius**3 == pytest.approx(found["compliance"].median)


def test_one_outlier_does_not_move_the_robust_width():
    values = np.concatenate([np.random.default_rng(3).normal(size=500), [1e6]])
    found = st.summarise(values)
    assert found.robust_sd == pytest.approx(1.0, rel=0.1)
    assert found.sd > 1e4
    assert found.median_interval[0] < found.median < found.median_interval[1]
    assert st.summarise(np.array([np.nan])).n == 0


def test_overshoot_percentiles():
    found = st.overshoot_statistics(np.concatenate([np.linspace(1, 2, 101), [np.nan]]))
    assert found["n"] == 101
    assert found["median"] == pytest.approx(1.5)
    assert found["p99"] == pytest.approx(1.99)
    assert found["max"] == 2
    assert st.overshoot_statistics(np.array([]))["n"] == 0
