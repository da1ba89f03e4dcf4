import numpy as np
import pytest
from nucleation_bluesky.analysis import transference as tr
from scipy import constants

# Pearson's data with York's weights: the standard test of straight lines with errors in both
# variables (York 1966; York et al. 2004 table II).
PEARSON_X = np.array([0.0, 0.9, 1.8, 2.6, 3.3, 4.4, 5.2, 6.1, 6.5, 7.4])
PEARSON_Y = np.array([5.9, 5.4, 4.4, 4.6, 3.5, 3.7, 2.8, 2.8, 2.4, 1.5])
WEIGHT_X = np.array([1000, 1000, 500, 800, 200, 80, 60, 20, 1.8, 1.0])
WEIGHT_Y = np.array([1, 1.8, 4, 8, 20, 20, 70, 70, 100, 500.0])


def test_pearson_data_with_york_weights():
    fit = tr.transference_fit(PEARSON_Y, PEARSON_X, WEIGHT_Y**-0.5, WEIGHT_X**-0.5)
    assert fit.slope == pytest.approx(-0.480533407, abs=1e-8)
    assert fit.intercept == pytest.approx(5.479910224, abs=1e-7)
    widen = np.sqrt(fit.reduced_chi_square)
    assert fit.slope_sd / widen == pytest.approx(0.0579850, rel=1e-4)
    assert fit.intercept_sd / widen == pytest.approx(0.2949707, rel=1e-4)
    assert fit.reduced_chi_square == pytest.approx(11.8663531941 / 8, rel=1e-6)


def synthetic(seed, slope=0.98, relative=0.08, n=60, offset=0.0):
    rng = np.random.default_rng(seed)
    electrons = np.exp(rng.uniform(np.log(1e6), np.log(1e10), n))
    li = slope * electrons + offset
    return (
        li * (1 + relative * rng.normal(size=n)),
        electrons * (1 + relative / 2 * rng.normal(size=n)),
        relative * li,
        relative / 2 * electrons,
    )


@pytest.mark.parametrize("fixed", [None, 0.0])
def test_interval_covers_the_true_slope(fixed):
    hits = boots = 0
    for seed in range(60):
        fit = tr.transference_fit(*synthetic(seed), fixed_intercept=fixed, resamples=120)
        hits += fit.slope_interval[0] < 0.98 < fit.slope_interval[1]
        boots += fit.bootstrap_interval[0] < 0.98 < fit.bootstrap_interval[1]
    assert hits >= 52
    assert boots >= 49


def test_unknown_errors_are_taken_from_the_scatter():
    li, electrons, _, _ = synthetic(3)
    fit = tr.transference_fit(li, electrons, fixed_intercept=0.0)
    assert fit.slope == pytest.approx(0.98, abs=4 * fit.slope_sd)
    assert 0.003 < fit.slope_sd < 0.03
    assert 0.4 < fit.reduced_chi_square < 2.5


def test_volume_and_charge_become_numbers():
    assert tr.atoms_from_volume(13.0e-6, 13.0e-6) == pytest.approx(constants.Avogadro)
    assert tr.electrons_from_charge(-15.5e-15) == pytest.approx(15.5e-15 / constants.e)
    hemisphere = 2 / 3 * np.pi * (20e-9) ** 3
    charge = tr.atoms_from_volume(hemisphere, 13.0e-6) * constants.e
    # the volume of a hemisphere 20 nm in diameter is an eighth of this one
    assert charge / 8 == pytest.approx(15.5e-15, rel=0.01)


def test_too_little_data_is_refused():
    with pytest.raises(ValueError, match="three particles"):
        tr.transference_fit(np.array([1.0, np.nan]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="one value per particle"):
        tr.transference_fit(np.ones(4), np.ones(5))


def test_scales_shared_by_all_particles_widen_the_interval():
    calibration = tr.Calibration(height=0.03, lateral=0.02, current=0.0)
    assert calibration.of_slope() == pytest.approx(0.05)
    assert calibration.of_slope(0.12) == pytest.approx(0.13)
    low, high = tr.widened((0.97, 1.0), 0.98, 0.0)
    assert (low, high) == pytest.approx((0.97, 1.0))
    low, high = tr.widened((0.97, 1.0), 0.98, 0.02)
    assert low == pytest.approx(0.98 - np.hypot(0.01, 1.96 * 0.02), abs=1e-4)
    assert high == pytest.approx(0.98 + np.hypot(0.02, 1.96 * 0.02), abs=1e-4)
    with pytest.raises(ValueError, match="tip_radius"):
        tr.Calibration(tip_radius=-0.1)


def test_interval_with_scales_covers_a_wrong_scale():
    """Many instruments whose scales are off by their stated uncertainty, few of them outside."""
    rng = np.random.default_rng(2)
    calibration = tr.Calibration(height=0.03, lateral=0.0, current=0.02)
    inside = narrow = 0
    for seed in range(80):
        li, e, sli, se = synthetic(seed, n=400, relative=0.05)
        li, e = li * (1 + 0.03 * rng.normal()), e * (1 + 0.02 * rng.normal())
        fit = tr.transference_fit(li, e, sli, se, fixed_intercept=0.0, resamples=20)
        systematic = calibration.of_slope() * fit.slope
        low, high = tr.widened(fit.slope_interval, fit.slope, systematic)
        inside += low < 0.98 < high
        narrow += fit.slope_interval[0] < 0.98 < fit.slope_interval[1]
    assert inside >= 70
    assert narrow < 40
