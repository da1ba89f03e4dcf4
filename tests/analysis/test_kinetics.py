import numpy as np
import pytest
from nucleation_bluesky.analysis import hazard, kinetics
from nucleation_bluesky.analysis.kinetics_model import Mixture
from scipy import integrate, ndimage

E_EQ = -3.04
TRUE_A, TRUE_B, TRUE_SPREAD = 6e3, 3.2, 0.30
RATES = (0.3, 1.2, 4.8, 19.2)


def simulate(seed, n=4000, spread=TRUE_SPREAD, stop=-4.2, distance=None, rates=RATES):
    """Onsets by direct integration of the hazard along the ramp, cut at ``stop``."""
    rng = np.random.default_rng(seed)
    rate = np.resize(rates, n)
    b = TRUE_B * np.exp(spread * rng.normal(size=n))
    shift = np.zeros(n)
    if distance is not None:
        b *= 1 - 0.62 * np.exp(-distance / 30e-9)
        shift = 0.06 * np.exp(-distance / 30e-9)
    eta = np.linspace(-0.1, abs(stop - E_EQ), 1500)
    up = np.maximum(eta[None, :] + shift[:, None], 1e-6)
    h = TRUE_A * np.exp(-b[:, None] / up**2) / rate[:, None]
    total = integrate.cumulative_trapezoid(h, eta, axis=1, initial=0)
    need = rng.exponential(size=n)
    nucleated = total[:, -1] > need
    onset = np.array([np.interp(q, t, eta) for q, t in zip(need, total, strict=True)])
    bias = np.where(nucleated, E_EQ - onset + 2e-4 * rng.normal(size=n), stop)
    return bias, nucleated, rate


@pytest.mark.parametrize("b", [0.05, 3.2, 40.0])
def test_barrier_integral_is_the_integral(b):
    for eta in (0.05, 0.3, 0.7, 1.9):
        direct, _ = integrate.quad(lambda u: np.exp(-b / u**2), 0, eta, epsabs=0, epsrel=1e-11)
        assert hazard.barrier_integral(eta, b) == pytest.approx(direct, rel=1e-8)
        slope = (
            hazard.barrier_integral(eta, b + 1e-5) - hazard.barrier_integral(eta, b - 1e-5)
        ) / 2e-5
        assert hazard.barrier_integral_derivative(eta, b) == pytest.approx(slope, rel=1e-4)
    assert hazard.barrier_integral(-0.3, b) == 0


def test_exposure_of_a_piecewise_ramp_adds_its_segments():
    bounds, rates = np.array([[-3.0, 0.4, 0.9]]), np.array([[20.0, 1.2]])
    g = [hazard.barrier_integral(e, TRUE_B) for e in (0.4, 0.9)]
    expected = g[0] / 20 + (g[1] - g[0]) / 1.2
    assert hazard.ramp_exposure(bounds, rates, TRUE_B)[0] == pytest.approx(expected)


def test_gradient_of_the_likelihood():
    distance = np.random.default_rng(0).uniform(0, 200e-9, 300)
    bias, nucleated, rate = simulate(0, 300, distance=distance)
    data = kinetics.onset_data(
        bias,
        nucleated,
        rate,
        E_EQ,
        distance=distance,
        fast_end=np.where(np.arange(300) % 2, -3.3, np.nan),
        fast_rate=50.0,
    )
    model = Mixture(data, 32, joint=True)
    p = np.array([8.4, 1.2, 0.25, 0.5, 0.03, np.log(35e-9)])
    gradient = model.negative(p)[1]
    for k in range(p.size):
        step = np.zeros(p.size)
        step[k] = 1e-5
        numeric = (model.negative(p + step)[0] - model.negative(p - step)[0]) / 2e-5
        assert gradient[k] == pytest.approx(numeric, rel=1e-4, abs=1e-7)


def test_mixture_recovers_the_truth_with_censoring():
    bias, nucleated, rate = simulate(1, stop=-3.8)
    assert 0.2 < np.mean(~nucleated) < 0.7
    data = kinetics.onset_data(bias, nucleated, rate, E_EQ)
    fit = kinetics.fit_mixture(data)
    assert fit.converged
    for name, truth in (("a", TRUE_A), ("b", TRUE_B), ("sd_ln_b", TRUE_SPREAD)):
        low, high = fit.interval(name, 0.999)
        assert low < truth < high
    assert fit.b == pytest.approx(TRUE_B, rel=0.12)
    assert abs(np.log(fit.a / TRUE_A)) < np.log(2)
    assert kinetics.goodness_of_fit(fit, data)["ks"] < 0.03


def test_each_site_is_censored_at_its_own_bias():
    """Stopping half of the sites early must not move the estimate beyond its uncertainty."""
    bias, nucleated, rate = simulate(2)
    early = np.random.default_rng(3).uniform(-3.9, -3.5, bias.size)
    cut = (early > bias) & (np.arange(bias.size) % 2 == 0)
    data = kinetics.onset_data(np.where(cut, early, bias), nucleated & ~cut, rate, E_EQ)
    fit = kinetics.fit_mixture(data)
    assert abs(fit.value("ln_b") - np.log(TRUE_B)) < 4 * fit.sd("ln_b")
    wrong = kinetics.onset_data(np.where(cut, early, bias), np.ones(bias.size, bool), rate, E_EQ)
    assert kinetics.fit_mixture(wrong).log_likelihood != fit.log_likelihood
    assert abs(kinetics.fit_mixture(wrong).value("ln_b") - np.log(TRUE_B)) > 4 * fit.sd("ln_b")


def test_plain_fit_is_right_without_spread_and_biased_with_it():
    def plain(spread):
        bias, nucleated, rate = simulate(4, spread=spread)
        return kinetics.fit_plain(kinetics.onset_data(bias, nucleated, rate, E_EQ))

    same, mixed = plain(0.0), plain(TRUE_SPREAD)
    assert same.b == pytest.approx(TRUE_B, rel=0.05)
    assert abs(np.log(same.a / TRUE_A)) < 4 * same.sd("ln_a")
    assert mixed.b < 0.6 * TRUE_B


def test_fast_approach_segment_counts_with_its_own_rate():
    rng = np.random.default_rng(5)
    n, fast_end, fast = 4000, -3.55, 40.0
    rate = np.resize(RATES, n)
    b = TRUE_B * np.exp(TRUE_SPREAD * rng.normal(size=n))
    eta = np.linspace(0, 1.3, 3000)
    local = np.where(eta[None, :] < -(fast_end - E_EQ), fast, rate[:, None])
    h = TRUE_A * np.exp(-b[:, None] / np.maximum(eta, 1e-6) ** 2) / local
    total = integrate.cumulative_trapezoid(h, eta, axis=1, initial=0)
    need = rng.exponential(size=n)
    onset = np.array([np.interp(q, t, eta) for q, t in zip(need, total, strict=True)])
    seen = total[:, -1] > need
    data = kinetics.onset_data(
        E_EQ - onset, seen, rate, E_EQ, fast_end=np.full(n, fast_end), fast_rate=fast
    )
    fit = kinetics.fit_mixture(data)
    assert abs(fit.value("ln_b") - np.log(TRUE_B)) < 4 * fit.sd("ln_b")
    vertices = np.stack([np.full(n, fast_end), np.full(n, -4.4), np.full(n, np.nan)], axis=1)
    rates = np.stack([np.full(n, fast), rate, np.full(n, np.nan)], axis=1)
    general = kinetics.onset_data(E_EQ - onset, seen, rate, E_EQ, vertices=vertices, rates=rates)
    np.testing.assert_allclose(general.final_rate, data.final_rate)
    exposures = [hazard.ramp_exposure(d.bounds, d.rates, TRUE_B) for d in (data, general)]
    np.testing.assert_allclose(*exposures)


def test_joint_model_uses_sites_near_the_boundary():
    distance = np.random.default_rng(6).uniform(-50e-9, 250e-9, 5000)
    bias, nucleated, rate = simulate(6, 5000, distance=np.maximum(distance, 0))
    data = kinetics.onset_data(bias, nucleated, rate, E_EQ, distance=distance)
    fit = kinetics.fit_mixture(data, joint=True)
    assert fit.n_sites == np.count_nonzero(distance >= 0)
    truth = {
        "ln_b": np.log(TRUE_B),
        "boundary_b": 0.62,
        "boundary_e": 0.06,
        "ln_length": np.log(30e-9),
    }
    for name, value in truth.items():
        assert abs(fit.value(name) - value) < 4 * fit.sd(name)
    assert fit.sd("ln_length") < 0.5
    naive = kinetics.fit_mixture(data.select(distance >= 0))
    assert abs(naive.value("ln_b") - np.log(TRUE_B)) > 4 * fit.sd("ln_b")


def test_correlated_sites_widen_the_interval():
    rng = np.random.default_rng(7)
    n = 50
    field = ndimage.gaussian_filter(rng.normal(size=(n, n)), 3, mode="wrap").ravel()
    field /= field.std()
    y, x = (v.ravel() * 20e-9 for v in np.mgrid[:n, :n].astype(float))
    rate = rng.permutation(np.resize(RATES, n * n))
    eta = np.linspace(0, 1.5, 1500)
    b = TRUE_B * np.exp(TRUE_SPREAD * field)
    h = TRUE_A * np.exp(-b[:, None] / np.maximum(eta, 1e-6) ** 2) / rate[:, None]
    total = integrate.cumulative_trapezoid(h, eta, axis=1, initial=0)
    onset = np.array(
        [np.interp(q, t, eta) for q, t in zip(rng.exponential(size=n * n), total, strict=True)]
    )
    data = kinetics.onset_data(E_EQ - onset, np.ones(n * n, bool), rate, E_EQ, x=x, y=y)
    fit = kinetics.fit_mixture(data)
    assert 60e-9 < fit.block_size / kinetics.BLOCK_LENGTHS < 200e-9
    assert fit.sd("ln_b") > 1.15 * np.sqrt(fit.covariance_independent[1, 1])


def test_profile_interval_agrees_with_wald_for_large_samples():
    bias, nucleated, rate = simulate(8, 2000)
    data = kinetics.onset_data(bias, nucleated, rate, E_EQ)
    fit = kinetics.fit_mixture(data, nodes=32)
    wald, profile = fit.interval("b"), kinetics.profile_interval(fit, data, "b")
    np.testing.assert_allclose(np.log(profile), np.log(wald), atol=0.5 * fit.sd("ln_b"))


def test_prediction_matches_a_fresh_simulation():
    bias, nucleated, rate = simulate(9)
    fit = kinetics.fit_mixture(kinetics.onset_data(bias, nucleated, rate, E_EQ))
    fresh, _, _ = simulate(10, 3000, rates=(2.4,), stop=-4.6)
    eta = np.linspace(0.0, 1.5, 400)
    alive, density = kinetics.onset_distribution(fit, eta, 2.4)
    empirical = np.mean((E_EQ - fresh)[:, None] > eta, axis=0)
    assert np.max(np.abs(alive - empirical)) < 0.035
    np.testing.assert_allclose(
        1 - integrate.cumulative_trapezoid(density, eta, initial=0), alive, atol=1e-3
    )


def test_sensitivity_to_the_distance_cut():
    distance = np.random.default_rng(11).uniform(0, 250e-9, 3000)
    bias, nucleated, rate = simulate(11, 3000, distance=distance)
    data = kinetics.onset_data(bias, nucleated, rate, E_EQ, distance=distance)
    fits = kinetics.distance_sensitivity(data, (0.0, 60e-9, 100e-9))
    assert [f.distance_cut for f in fits] == [0.0, 60e-9, 100e-9]
    assert fits[0].n_sites > fits[1].n_sites > fits[2].n_sites
    error = [abs(f.b / TRUE_B - 1) for f in fits]
    assert error[0] > max(error[1:])


def test_bad_input_is_refused():
    bias, nucleated, rate = simulate(12, 100)
    with pytest.raises(ValueError, match="one sweep rate"):
        kinetics.fit_mixture(kinetics.onset_data(bias, nucleated, np.ones(100), E_EQ))
    with pytest.raises(ValueError, match="no site nucleated"):
        kinetics.onset_data(bias, np.zeros(100, bool), rate, E_EQ)
    with pytest.raises(ValueError, match="same sign"):
        kinetics.onset_data(bias, nucleated, rate, 3.04)
    with pytest.raises(ValueError, match="equilibrium"):
        kinetics.onset_data(bias, nucleated, rate, np.nan)
    with pytest.raises(ValueError, match="greater than 0"):
        kinetics.onset_data(bias, nucleated, -rate, E_EQ)
    with pytest.raises(ValueError, match="distance"):
        kinetics.away_from_boundaries(kinetics.onset_data(bias, nucleated, rate, E_EQ), 6e-8)
