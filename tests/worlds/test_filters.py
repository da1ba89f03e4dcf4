"""Filters and noise: exact whatever the sample rate."""

import numpy as np
import pytest
from nucleation_bluesky.worlds.afm.channels import Adc, Recorder, Settings
from nucleation_bluesky.worlds.afm.exposure import Exposure
from nucleation_bluesky.worlds.afm.filters import ColouredNoise, RandomWalk, low_pass
from nucleation_bluesky.worlds.afm.growth import FARADAY, GrowthLaw
from nucleation_bluesky.worlds.afm.keyed import SmoothField, keyed_generator
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters
from nucleation_bluesky.worlds.afm.path import BiasPath
from nucleation_bluesky.worlds.afm.sample import Site
from scipy.integrate import solve_ivp

QUIET = {
    "current_noise_density": 0,
    "height_noise_density": 0,
    "height_drift": 0,
    "height_drift_spread": 0,
    "height_walk": 0,
    "glitch_fraction": 0,
    "adc_bits": 24,
}


def test_piecewise_linear_input_is_filtered_exactly():
    """A kink and a jump between grid points, against the analytic response."""
    tau, kink, jump = 0.15e-3, 0.00137, 0.00252

    def u(t):
        return np.where(t < kink, 2.0 * t, 2.0 * kink - 5.0 * (t - kink)) + (t >= jump)

    grid = np.linspace(0, 0.005, 6)
    out = low_pass(u, grid, 0.001, u(grid), np.array([kink, jump]), tau, 0.0)

    def ramp_response(t, t0, slope):
        s = np.maximum(t - t0, 0)
        return slope * (s - tau * (1 - np.exp(-s / tau)))

    t = grid[1:]
    exact = ramp_response(t, 0, 2.0) + ramp_response(t, kink, -7.0)
    exact += np.where(t > jump, 1 - np.exp(-np.maximum(t - jump, 0) / tau), 0)
    assert out == pytest.approx(exact, rel=1e-5, abs=1e-9)


def exposure(rate, start=0.0):
    law = GrowthLaw(1e-2, 2.2e-5, 0.98 * 13e-6 / FARADAY)
    site = Site(0, 0, 1e-6, False, 3.04, 3.2, law)
    path = BiasPath(start=-3e-3, initial=start)
    path.add_until(0.0, start)
    path.add_until(2.5, -3.0)
    path.add_until(3.4, -4.08)
    key = (11, 0, 0, 0)
    return Exposure(AfmWorldParameters(**QUIET), Settings(1e9, 0.15e-3), site, path, rate, key)


@pytest.mark.parametrize("rate", [200.0, 1e3, 7777.0, 50e3])
def test_channels_against_dense_integration(rate):
    """Amplifier and Z loop, nucleus and background included, at slow and fast sampling."""
    run = exposure(rate)
    signals = run.signals
    count = int(3.4 * rate)
    run.recorder.extend(signals, count)
    current, height, _ = run.recorder.samples(0, count)
    born = signals.first
    stop = min(born + 0.02, 3.39)

    def slope(t, y):
        at = np.array([t])
        return [
            (signals.total(at)[0] * 1e12 - y[0]) / 0.15e-3,
            (signals.radius(at)[0] * 1e9 - y[1]) / 0.3e-3,
        ]

    begin = born - 0.002
    state = [signals.background(np.array([begin]))[0] * 1e12, 0.0]
    times = np.arange(count) / rate
    keep = np.flatnonzero((times > begin + 1.6e-3) & (times < stop))
    solved = solve_ivp(
        slope, (begin, stop), state, t_eval=times[keep], rtol=1e-8, atol=1e-9, max_step=2e-5
    )
    assert len(keep) >= 2
    assert current[keep] * 1e12 == pytest.approx(solved.y[0], rel=3e-3, abs=0.02)
    assert height[keep] * 1e9 == pytest.approx(solved.y[1], rel=3e-3, abs=0.01)


def test_blocks_do_not_change_a_sample():
    whole, parts = exposure(1e3), exposure(1e3)
    whole.recorder.extend(whole.signals, 3300)
    for end in (1, 2, 17, 1000, 3000, 3001, 3100, 3300):
        parts.recorder.extend(parts.signals, end)
    for a, b in zip(whole.recorder.samples(0, 3300), parts.recorder.samples(0, 3300), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("rate", [200.0, 5e3, 50e3])
def test_noise_does_not_depend_on_the_sample_rate(rate):
    tau = 0.15e-3
    noise = ColouredNoise(keyed_generator(1, "n"), 0.5e-12 * np.sqrt(4 * tau), tau, 1 / rate)
    x = np.concatenate([noise.draw(n) for n in (1, 7, 200_000)])
    assert x.std() == pytest.approx(0.5e-12, rel=0.02)
    for lag in (1, 4):
        measured = np.mean(x[:-lag] * x[lag:]) / np.mean(x**2)
        assert measured == pytest.approx(np.exp(-lag / rate / tau), abs=0.02)


def test_random_walk_grows_with_the_root_of_time():
    ends = {}
    for rate in (200, 2000):
        walks = [RandomWalk(keyed_generator(k, "w"), 2.0, 1 / rate) for k in range(400)]
        ends[rate] = np.std([w.draw(rate + 1)[-1] for w in walks])
    assert ends[200] == pytest.approx(2.0, rel=0.15)
    assert ends[2000] == pytest.approx(2.0, rel=0.15)


def test_recorder_noise_at_boot_is_half_a_picoampere_and_45_pm():
    run = exposure(1e3)
    p = AfmWorldParameters(
        leakage=0, capacitance=0, height_drift=0, height_drift_spread=0, height_walk=0
    )
    recorder = Recorder(p, Settings(1e11, 0.15e-3), 1e3, (3, 0, 0, 0))
    run.drive.t0[0] = 0.0
    recorder.extend(run.signals, 2400)
    current, height, saturated = recorder.samples(0, 2400)
    line = np.polyval(np.polyfit(np.arange(2400), current, 1), np.arange(2400))
    assert (current - line).std() == pytest.approx(0.5e-12, rel=0.06)
    assert height.std() == pytest.approx(45e-12, rel=0.06)
    assert not saturated.any()


def test_adc_rounds_and_saturates():
    adc = Adc(12, 100e-12)
    value, saturated = adc.digitise(np.array([0.0, 10e-12, 99e-12, 101e-12, -150e-12]))
    assert value[1] == pytest.approx(10e-12, abs=100e-12 / 2048 / 2)
    assert saturated.tolist() == [False, False, False, True, True]
    assert value[4] == pytest.approx(-100e-12)


def test_fields_have_unit_variance_and_their_correlation_length():
    field = SmoothField(4, "test", 60e-9)
    axis = np.arange(0, 20e-6, 20e-9)
    values = field.grid(axis, axis[:400])
    assert values.std() == pytest.approx(1, rel=0.05)
    lag3 = np.mean(values[:, :-3] * values[:, 3:]) / np.mean(values**2)
    assert lag3 == pytest.approx(np.exp(-1), abs=0.05)
    assert field.at(axis[5], axis[9]) == pytest.approx(values[9, 5], abs=1e-9)
    assert field.points(axis[5:6], axis[9:10])[0] == pytest.approx(values[9, 5], abs=1e-9)
