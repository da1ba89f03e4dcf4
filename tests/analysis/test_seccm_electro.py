"""CE, nucleation, steps and transport against records with known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nucleation_bluesky.analysis.seccm.cycles import anodic_peaks, cycle_charges, plating_onset
from nucleation_bluesky.analysis.seccm.electrochemistry import (
    ElectrochemistryOptions,
    analyse_electrochemistry,
    guess_technique,
    open_circuit_current,
)
from nucleation_bluesky.analysis.seccm.galvanostatic import plating_step
from nucleation_bluesky.analysis.seccm.steps import Planned, find_steps, plate_strip_cycles
from nucleation_bluesky.analysis.seccm.sweeps import find_sweeps
from nucleation_bluesky.analysis.seccm.trace import Trace, sample_noise
from nucleation_bluesky.analysis.seccm.transport import (
    current_density,
    limiting_current,
    sand_time,
    time_to_steady_state,
    transient_excess,
)
from tests.analysis.seccm_synthetic import PERIOD, levels, plating, voltammogram

# (E_nuc, E_growth, t_nuc, duration, potential falls again)
TABLE_1 = [
    (-0.058, -0.004, 17.7, 60.0, None),
    (-0.135, -0.022, 3.8, 15.0, None),
    (-0.292, -0.267, 0.8, 3.0, 2.45),
]


@pytest.mark.parametrize("noise", [0.0, 0.5e-3, 2e-3, 5e-3])
@pytest.mark.parametrize(("e_nuc", "e_growth", "t_nuc", "duration", "fall"), TABLE_1)
def test_nucleation_of_table_1(e_nuc, e_growth, t_nuc, duration, fall, noise):
    errors = []
    for seed in range(4):
        trace = plating(e_nuc, e_growth, t_nuc, duration, noise=noise, fall=fall, seed=seed)
        found = plating_step(trace)
        assert found.reason == ""
        assert found.e_nuc == pytest.approx(e_nuc, abs=5e-3)
        assert found.t_nuc == pytest.approx(t_nuc, rel=0.04)
        assert found.charge_nuc == pytest.approx(3e-9 * t_nuc, rel=0.04)
        assert found.e_growth == pytest.approx(e_growth, abs=5e-3)
        assert (found.second_fall is not None) == (fall is not None)
        errors.append((found.t_nuc - t_nuc) / found.t_nuc_uncertainty)
    if fall is not None and noise <= 2e-3:
        assert found.second_fall == pytest.approx(fall, abs=0.15)
    if noise:
        assert np.median(np.abs(errors)) < 3  # the stated uncertainty means something


def test_a_record_without_a_minimum_has_none():
    found = plating_step(plating(t_nuc=8.0, duration=5.0))
    assert found.e_nuc is None
    assert found.t_nuc is None
    assert found.charge_nuc is None
    assert found.e_growth is None
    assert "no local minimum" in found.reason
    assert found.charge == pytest.approx(15e-9, rel=0.01)


def test_noise_alone_makes_no_minimum():
    rng = np.random.default_rng(3)
    t = np.arange(0, 5, PERIOD)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        slow = np.cumsum(rng.normal(size=t.size)) * 2e-5  # drifts besides white noise
        potential = 1.2 * np.exp(-t / 2) - 0.02 * t + slow + 4e-3 * rng.normal(size=t.size)
        assert not plating_step(Trace(t, potential, np.full(t.size, -1e-9))).nucleated, seed


def test_time_counts_from_contact():
    trace = plating(overload=300)
    found = plating_step(trace)
    assert found.start == pytest.approx(300 * PERIOD, abs=2 * PERIOD)
    assert found.t_nuc == pytest.approx(3.8, rel=0.02)


def test_a_plateau_that_was_not_reached_is_not_invented():
    found = plating_step(plating(t_nuc=4.6, duration=5.0, noise=1e-3))
    assert found.nucleated
    assert found.e_growth is None
    assert found.growth_reason


def test_no_current_and_no_contact_are_told():
    t = np.arange(0, 3, PERIOD)
    quiet = Trace(t, np.full(t.size, 1.0), 1e-13 * np.random.default_rng(0).normal(size=t.size))
    assert "no cathodic current" in plating_step(quiet).reason
    hanging = Trace(t, np.full(t.size, 10.0), np.full(t.size, -1e-9))
    assert plating_step(hanging).e_nuc is None


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"start": 1.0, "first": 1},
        {"start": 0.5, "end": 0.5},
        {"hold": 4.0},
        {"cycles": 1},
        {"rate": 1.0, "noise": 100e-12},
        {"noise": 150e-12},
        {"spike": 3000},
    ],
)
def test_coulombic_efficiency(kwargs):
    trace, truth = voltammogram(**kwargs)
    cycles, sweeps = cycle_charges(trace)
    measured = np.array([c.ce for c in cycles])[: len(truth)]
    known = np.isfinite(measured)
    assert known.sum() >= len(truth) - 1
    np.testing.assert_allclose(measured[known], truth[known], atol=0.02)
    if "noise" not in kwargs:
        np.testing.assert_allclose(measured[known], truth[known], atol=5e-3)
        assert cycles[0].charge_cathodic == pytest.approx(12e-9, rel=5e-3)
    assert sweeps[0].rate == pytest.approx(kwargs.get("rate", 0.1), rel=5e-3)


def test_noise_is_not_rectified():
    errors = []
    for seed in range(10):
        trace, truth = voltammogram(noise=300e-12, cycles=2, seed=seed)
        cycles, _ = cycle_charges(trace)
        errors.append(cycles[0].ce - truth[0])
    assert abs(np.mean(errors)) < 0.01  # rectified it would be +0.05 and more


def test_a_voltammogram_that_begins_with_stripping_has_no_cycle_before_it():
    trace, truth = voltammogram(start=-0.27, first=1, cycles=3)
    cycles, sweeps = cycle_charges(trace)
    assert sweeps[0].direction == 1
    assert len(cycles) == 3
    assert np.isnan(cycles[-1].ce)
    np.testing.assert_allclose([c.ce for c in cycles[:2]], truth[1:3], atol=5e-3)


def test_holds_belong_to_no_sweep():
    trace, _ = voltammogram(hold=4.0, cycles=1)
    sweeps = find_sweeps(trace)
    assert trace.time[sweeps[0].start] == pytest.approx(4.0, abs=0.1)
    assert trace.time[-1] - trace.time[sweeps[-1].stop - 1] == pytest.approx(4.0, abs=0.1)


@given(
    start=st.floats(0.3, 1.4),
    first=st.sampled_from([-1, 1]),
    cycles=st.integers(1, 5),
    low=st.floats(-0.35, -0.2),
)
@settings(max_examples=25, deadline=None)
def test_any_order_of_vertices(start, first, cycles, low):
    trace, truth = voltammogram(start=start, first=first, cycles=cycles, low=low)
    found, _ = cycle_charges(trace)
    measured = np.array([c.ce for c in found])[: len(truth)]
    known = np.isfinite(measured)
    np.testing.assert_allclose(measured[known], truth[: len(measured)][known], atol=0.02)


def test_onset_and_peaks():
    trace, _ = voltammogram(cycles=3)
    _, sweeps = cycle_charges(trace)
    assert plating_onset(trace, sweeps[0]) == pytest.approx(-0.13, abs=0.01)
    peaks = anodic_peaks(trace, sweeps[-1])
    assert [p.potential for p in peaks] == pytest.approx([0.18, 0.32, 0.82], abs=0.02)


def test_a_constant_potential_is_refused():
    t = np.arange(0, 3, PERIOD)
    noise = 1e-3 * np.random.default_rng(0).normal(size=t.size)
    with pytest.raises(ValueError, match="does not sweep"):
        cycle_charges(Trace(t, noise, noise))


def _cycling(program=False, noise=1e-12):
    values = [0.0, *([-1e-9, 0.0, 1e-9, 0.0] * 3)]
    durations = [0.5, *[x for k in range(3) for x in (4.0, 1.0, 4.0 * (0.5 + 0.15 * k), 0.5)]]
    current = levels(values, durations, noise=noise)
    t = np.arange(current.size) * PERIOD
    potential = np.where(current < -5e-10, -0.1, np.where(current > 5e-10, 0.2, 0.05))
    potential = potential + 1e-3 * np.random.default_rng(1).normal(size=t.size)
    step = np.repeat(np.arange(len(values)), [round(d / PERIOD) for d in durations])
    return Trace(t, potential, current, step if program else None)


@pytest.mark.parametrize("program", [False, True])
def test_plate_rest_strip(program):
    planned = {}
    if program:
        kinds = ["rest", *(["plate", "rest", "strip", "rest"] * 3)]
        planned = {
            k: Planned(
                kind=kind,
                duration=0.5 if k == 0 else {"plate": 4.0, "rest": 0.4, "strip": 10.0}[kind],
                charge=(np.nan, 1e-9 * 4 * (0.5 + 0.15 * ((k - 1) // 4)))
                if kind == "strip"
                else None,
                cycle=0 if k == 0 else (k - 1) // 4 + 1,
            )
            for k, kind in enumerate(kinds)
        }
    found = analyse_electrochemistry(_cycling(program), "cycling", planned)
    cycles = [c for c in found.plate_strip if c.charge_cathodic > 0]
    assert [c.ce for c in cycles] == pytest.approx([0.5, 0.65, 0.8], abs=0.01)
    assert len(found.steps) == 13
    if program:
        ended = {s.ended_by for s in found.steps if s.kind == "strip"}
        assert ended == {"charge"}
        assert {s.ended_by for s in found.steps if s.kind == "plate"} == {"time"}


def test_pulses_and_chronoamperometry():
    current = levels([-2e-9, 0] * 5, [0.1, 0.2] * 5, noise=1e-12)
    t = np.arange(current.size) * PERIOD
    potential = np.where(current < -1e-9, -0.2, 0.0)
    steps = find_steps(Trace(t, potential, current))
    plates = [s for s in steps if s.kind == "plate"]
    assert len(plates) == 5
    assert [s.charge for s in plates] == pytest.approx([-0.2e-9] * 5, rel=0.05)
    potential = levels([1.0, -0.2, 0.6], [1, 3, 3], noise=1e-4)
    t = np.arange(potential.size) * PERIOD
    current = np.where(potential < 0, -1e-9, np.where(potential < 0.8, 0.5e-9, 0))
    found = analyse_electrochemistry(Trace(t, potential, current), "chronoamperometry")
    assert [s.kind for s in found.steps] == ["rest", "plate", "strip"]
    assert plate_strip_cycles(found.steps)[0].ce == pytest.approx(0.5, abs=0.01)
    assert found.plating is None


def test_offset_of_the_open_electrometer_is_taken_off():
    trace, truth = voltammogram(cycles=2)
    n = 2000
    rng = np.random.default_rng(0)
    before = 60e-12 + 30e-12 * rng.normal(size=n)
    step = np.concatenate([np.full(n, -1), np.zeros(len(trace), int)])
    time = np.arange(n + len(trace)) * PERIOD
    potential = np.concatenate([np.full(n, 1.47), trace.potential])
    whole = Trace(time, potential, np.concatenate([before, trace.current + 60e-12]), step)
    assert open_circuit_current(whole) == pytest.approx(60e-12, abs=5e-12)
    found = analyse_electrochemistry(whole, "cv")
    np.testing.assert_allclose([c.ce for c in found.cycles], truth, atol=0.01)
    raw = analyse_electrochemistry(whole, "cv", options=ElectrochemistryOptions(baseline=0.0))
    assert abs(raw.cycles[0].ce - truth[0]) > 0.02


def test_samples_that_are_not_finite_are_left_out():
    trace, truth = voltammogram(cycles=2)
    trace.current[5000:5010] = np.nan
    found = analyse_electrochemistry(trace, "cv")
    np.testing.assert_allclose([c.ce for c in found.cycles], truth, atol=0.01)


def test_techniques_are_told_apart():
    assert guess_technique(voltammogram(cycles=2)[0]) == "cv"
    assert guess_technique(plating()) == "galvanostatic"
    assert guess_technique(_cycling()) == "cycling"
    with pytest.raises(ValueError, match="galvanostatic"):
        analyse_electrochemistry(plating(), "magic")


def test_transport_of_the_paper():
    d, c, a, theta = 3.56e-10, 50.0, 5e-6, np.radians(10.3)
    limit = limiting_current(c, d, a, theta)
    assert limit / 380e-12 / 10 == pytest.approx(1.3, rel=0.05)  # mA/cm2
    assert time_to_steady_state(d, a, theta) == pytest.approx(70, rel=0.02)
    assert transient_excess(time_to_steady_state(d, a, theta), d, a, theta) == pytest.approx(1.1)
    assert current_density(-750e-12, 374e-12) == pytest.approx(-2.0, rel=0.01)
    assert sand_time(38.2, c, d) == pytest.approx(np.pi * d * (96485.33 * c / 76.4) ** 2)
    assert sand_time(0, c, d) == np.inf
    with pytest.raises(ValueError, match="semi-angle"):
        limiting_current(c, d, a, 10.3)


def test_noise_estimate_and_trace():
    rng = np.random.default_rng(0)
    slow = np.sin(np.linspace(0, 3, 5000))
    assert sample_noise(slow + 0.01 * rng.normal(size=5000)) == pytest.approx(0.01, rel=0.05)
    with pytest.raises(ValueError, match="does not increase"):
        Trace(np.array([0.0, 2.0, 1.0]), np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="2 samples"):
        Trace(np.arange(3.0), np.zeros(2), np.zeros(3))
