"""Closed forms of nucleation and growth against integration step by step."""

import math

import numpy as np
import pytest
from nucleation_bluesky.worlds.afm.channels import Settings, TrueSignals
from nucleation_bluesky.worlds.afm.exposure import Exposure
from nucleation_bluesky.worlds.afm.growth import FARADAY, GrowthLaw, evolve
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters
from nucleation_bluesky.worlds.afm.path import BiasPath, Drive
from nucleation_bluesky.worlds.afm.sample import Site
from scipy.integrate import quad, solve_ivp
from scipy.special import erfc
from scipy.stats import kstest

A, B, E = 6e3, 3.2, 3.04
LAW = GrowthLaw(1e-2, 2.2e-5, 0.98 * 13e-6 / FARADAY)


def make_path(*legs, start=0.0):
    path = BiasPath(initial=start)
    for duration, to in legs:
        path.add(duration, to)
    return path


def ramp(rate=1.2, stop=-4.2):
    return make_path((-stop / rate, stop))


def site(**changes):
    fields = {"x": 0, "y": 0, "distance": 1e-6, "on_alpo4": False, "equilibrium": E, "barrier": B}
    return Site(**(fields | {"law": LAW} | changes))


PATHS = {
    "ramp": ramp(),
    "two rates": make_path((2.0, -3.2), (1.0, -3.9)),
    "triangle": make_path((1.0, -4.0), (1.0, 0.0)),
    "steps": make_path((1e-4, -3.6), (0.3, -3.6), (1e-4, -3.8), (0.2, -3.8)),
}


@pytest.mark.parametrize("name", PATHS)
def test_integrated_hazard_of_any_waveform(name):
    path = PATHS[name]
    drive = Drive(path, E, A, B, 0.0)

    def rate(t):
        eta = -float(path.bias_at(np.array([t]))[0]) - E
        return A * math.exp(-B / eta**2) if eta > 0 else 0.0

    for share in (0.5, 0.8, 1.0):
        end = path.end * share
        knots = [s[1] for s in path.segments if s[1] < end]
        expected = sum(
            quad(rate, a, b, epsabs=0, epsrel=1e-9, limit=400)[0]
            for a, b in zip([0.0, *knots], [*knots, end], strict=True)
        )
        assert drive.hazard_integral(end) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", PATHS)
def test_inverting_the_hazard_returns_its_time(name):
    drive = Drive(PATHS[name], E, A, B, 0.0)
    total = drive.hazard_integral(PATHS[name].end)
    for share in (0.01, 0.3, 0.99):
        time = drive.time_of_hazard(share * total)
        assert drive.hazard_integral(time) == pytest.approx(share * total, rel=1e-7)
    assert math.isnan(drive.time_of_hazard(1.01 * total))


@pytest.mark.parametrize("rate", [0.3, 1.2, 12.0])
def test_nucleation_follows_the_analytic_survival(rate):
    """The onsets of many equal sites against exp[-(A/r) G] with G as published."""
    parameters = AfmWorldParameters()
    settings = Settings(1e11, 1.5e-4)
    etas = []
    for cell in range(1500):
        path = ramp(rate, -6.0)
        exposure = Exposure(parameters, settings, site(), path, 200.0, (5, cell, 0, 0))
        etas.append(-exposure.nucleation[1] - E)

    def cdf(eta):
        g = eta * np.exp(-B / eta**2) - np.sqrt(np.pi * B) * erfc(np.sqrt(B) / eta)
        return 1 - np.exp(-A / rate * g)

    assert kstest(etas, cdf).pvalue > 1e-3
    # and the test is sharp enough to notice 10 % in B
    assert kstest(np.array(etas), lambda eta: cdf(eta * math.sqrt(1.1))).pvalue < 1e-6


def test_nothing_nucleates_on_alpo4():
    exposure = Exposure(
        AfmWorldParameters(),
        Settings(1e11, 1.5e-4),
        site(on_alpo4=True),
        ramp(stop=-8.0),
        1e3,
        (1, 0, 0, 0),
    )
    assert math.isnan(exposure.nucleation[0])


def test_growth_equals_the_integrated_differential_equation():
    path = make_path((3.4, -4.08), (0.05, -3.6), (0.1, -3.6))
    drive = Drive(path, E, A, B, 0.0)
    life = evolve(
        drive, LAW, lambda n: 0.05, begin=0.0, initial=0.0, start_radius=1e-9, can_nucleate=True
    )[0]
    signals = TrueSignals(drive, LAW, [life], 0.0, 0.0)

    def slope(t, y):
        eta = -float(path.bias_at(np.array([t]))[0]) - E
        a = y[0]
        current = eta / (
            1 / (4 * LAW.conductivity * a) + LAW.interface_resistance / (2 * np.pi * a**2)
        )
        return [LAW.volume_per_charge * current / (2 * np.pi * a**2)]

    times = np.linspace(life.start, path.end, 40)
    solved = solve_ivp(
        slope, (times[0], times[-1]), [1e-9], t_eval=times, rtol=1e-9, atol=1e-14, max_step=1e-3
    )
    radius = signals.radius(times)
    assert radius == pytest.approx(solved.y[0], rel=1e-5)
    # charge and volume agree by Faraday's law
    fine = np.linspace(life.start, path.end, 400_001)
    charge = -np.trapezoid(signals.faradaic(fine), fine)
    volume = 2 / 3 * np.pi * (radius[-1] ** 3 - 1e-27)
    assert charge * LAW.volume_per_charge == pytest.approx(volume, rel=1e-6)


def test_positive_bias_never_plates():
    drive = Drive(make_path((1.0, 6.0)), E, A, B, 0.0)
    assert drive.hazard_integral(1.0) == 0


@pytest.mark.parametrize(("reversibility", "gone"), [(1.0, True), (0.5, True), (0.0, False)])
def test_dissolution_at_zero_bias(reversibility, gone):
    """A nucleus of 10 nm in contact at 0 V: gone within a millisecond where plating reverses."""
    path = make_path((0.002, 0.0))
    drive = Drive(path, E, A, B, reversibility)
    lives = evolve(
        drive,
        LAW,
        lambda n: 1.0,
        begin=0.0,
        initial=LAW.extent(10e-9),
        start_radius=1e-9,
        can_nucleate=True,
    )
    signals = TrueSignals(drive, LAW, lives, 0.0, 0.0)
    assert (lives[0].stop < 1.3e-3) == gone
    if gone:

        def slope(t, y):
            a = max(y[0], 1e-13)
            return [
                -LAW.volume_per_charge
                * reversibility
                * E
                / (np.pi * a / (2 * LAW.conductivity) + LAW.interface_resistance)
            ]

        def empty(t, y):
            return y[0] - 1e-12

        empty.terminal = True
        solved = solve_ivp(slope, (0, 0.01), [10e-9], events=empty, rtol=1e-8, atol=1e-16)
        assert lives[0].stop == pytest.approx(solved.t_events[0][0], rel=1e-3)
        assert signals.faradaic(np.array([1e-4]))[0] > 0  # oxidation
        times = np.linspace(0, lives[0].stop, 200_001)[:-1]
        charge = np.trapezoid(signals.faradaic(times), times)
        assert charge * LAW.volume_per_charge == pytest.approx(2 / 3 * np.pi * 1e-24, rel=1e-3)
    else:
        assert signals.radius(np.array([0.0019]))[0] == pytest.approx(10e-9)
        assert signals.faradaic(np.array([1e-4]))[0] == 0


def test_open_circuit_keeps_a_nucleus():
    path = BiasPath(initial=-3.7)
    path.add(0.01, -3.7, driven=False)
    drive = Drive(path, E, A, B, 1.0)
    lives = evolve(
        drive,
        LAW,
        lambda n: 1e-12,
        begin=0.0,
        initial=LAW.extent(10e-9),
        start_radius=1e-9,
        can_nucleate=True,
    )
    signals = TrueSignals(drive, LAW, lives, 1e-12, 1e-13)
    t = np.array([0.001, 0.009])
    assert signals.radius(t) == pytest.approx(10e-9)
    assert (signals.total(t) == 0).all()


def test_twenty_nanometres_hold_the_charge_of_a18b():
    volume = 2 / 3 * np.pi * (20e-9) ** 3 / 1  # hemisphere of 20 nm radius
    per_charge = LAW.volume_per_charge / 0.98
    assert volume / per_charge == pytest.approx(124e-15, rel=0.02)  # 15.5 fC is one of 20 nm width
    assert 2 / 3 * np.pi * (10e-9) ** 3 / per_charge == pytest.approx(15.5e-15, rel=0.02)
