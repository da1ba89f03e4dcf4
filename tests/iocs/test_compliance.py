"""The blockwise checker against an independent loop over samples."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.contract.ramp import Compliance, RampSpec, Window
from nucleation_bluesky.iocs.backend import Block
from nucleation_bluesky.iocs.compliance import (
    ComplianceChecker,
    Trip,
    baseline_samples,
    fit_background,
)


def reference(compliance, spec, bias, current, height, saturated, fresh):
    """One sample at a time, as the module's documentation states the rules."""
    base_n = baseline_samples(spec.sample_rate)
    blank = math.ceil(compliance.blanking * spec.sample_rate - 1e-9)
    window = max(base_n, round(compliance.background_time * spec.sample_rate))
    segments = spec.segment_at(np.arange(spec.n_samples))
    runs = {"current": 0, "height": 0}
    line, start = None, 0
    for i in range(len(current)):
        values = (bias[i], current[i], height[i])
        if not all(math.isfinite(v) for v in values):
            return Trip(i, Termination.NONFINITE)
        if not fresh[i]:
            return Trip(i, Termination.STALE)
        if saturated[i]:
            return Trip(i, Termination.SATURATED)
        if i == 0 or segments[i] != segments[i - 1]:
            start, line = i, None
        compare = start + blank
        value = current[i]
        if compliance.subtract_background and compliance.current:
            if i == compare + base_n:
                line = (np.median(current[compare:i]), 0.0, 0.0)
            if i == compare + window:
                end = int(np.searchsorted(segments, segments[i], side="right"))
                nearest = min(-compliance.current.low, compliance.current.high)
                line = fit_background(
                    np.arange(compare, i), current[compare:i], end, 0.25 * nearest
                )
            value = None if line is None else current[i] - (line[0] + line[1] * (i - line[2]))
        relative = height[i] - np.median(height[:base_n]) if i >= base_n else None
        for name, channel, limits, why in (
            ("current", value, compliance.current, Termination.CURRENT_COMPLIANCE),
            ("height", relative, compliance.height, Termination.HEIGHT_COMPLIANCE),
        ):
            if limits is None:
                continue
            if i < compare or channel is None or limits.low <= channel <= limits.high:
                runs[name] = 0
                continue
            runs[name] += 1
            if runs[name] >= compliance.confirm_samples:
                return Trip(i, why)
    return None


def blocks(signal, cuts):
    edges = [0, *sorted(cuts), len(signal[0])]
    for low, high in itertools.pairwise(edges):
        bias, current, height, saturated, fresh = (v[low:high] for v in signal)
        yield Block(low, bias, current, height, saturated, fresh)


def run(compliance, spec, signal, cuts=()):
    checker = ComplianceChecker(compliance, spec)
    for block in blocks(signal, cuts):
        if trip := checker.check(block):
            return trip
    return None


@st.composite
def cases(draw):
    rate = draw(st.sampled_from([200.0, 997.0, 3000.0]))
    vertices = draw(st.sampled_from([(-0.3,), (-0.2, 0.0), (-0.1, -0.2, 0.05)]))
    sweep = draw(st.sampled_from([1.2, 2.7]))
    spec = RampSpec(0.0, vertices, (sweep,) * len(vertices), rate)
    edge = st.floats(0.5, 4.0)
    window = st.one_of(st.none(), st.builds(lambda a, b: Window(-a, b), edge, edge))
    compliance = Compliance(
        current=draw(window),
        height=draw(window),
        blanking=draw(st.sampled_from([0.0, 0.004, 0.02, 5.0])),
        confirm_samples=draw(st.integers(1, 4)),
        subtract_background=draw(st.booleans()),
        background_time=draw(st.sampled_from([0.001, 0.01, 0.05])),
    )
    n = spec.n_samples
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.0, 0.3, 1.0, 3.0]))
    offset = draw(st.sampled_from([0.0, 2.0, -6.0]))
    current = (
        offset + scale * rng.normal(size=n) + draw(st.sampled_from([0, 5])) * np.linspace(0, 1, n)
    )
    height = scale * rng.normal(size=n)
    saturated, fresh = np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
    for _ in range(draw(st.integers(0, 3))):
        i = draw(st.integers(0, n - 1))
        what = draw(st.sampled_from(["spike", "nan", "inf", "run", "saturated", "stale", "step"]))
        if what == "spike":
            current[i] += 50.0
        elif what == "nan":
            (current if i % 2 else height)[i] = math.nan
        elif what == "inf":
            height[i] = -math.inf
        elif what == "run":
            height[i : i + draw(st.integers(1, 5))] += 20.0
        elif what == "step":
            current[i:] -= 8.0
        elif what == "saturated":
            saturated[i] = True
        else:
            fresh[i] = False
    cuts = draw(st.lists(st.integers(1, max(n - 1, 1)), max_size=12, unique=True))
    bias = spec.bias_at(np.arange(n))
    return compliance, spec, (bias, current, height, saturated, fresh), cuts


@given(cases())
@settings(max_examples=400, deadline=None)
def test_blocks_equal_samples(case):
    compliance, spec, signal, cuts = case
    assert run(compliance, spec, signal, cuts) == reference(compliance, spec, *signal)


SPEC = RampSpec(0.0, (-4.2,), (1.2,), 1000.0)


def quiet(n=3000, seed=1):
    rng = np.random.default_rng(seed)
    index = np.arange(n)
    return [
        SPEC.bias_at(index),
        0.5e-12 * rng.normal(size=n),
        45e-12 * rng.normal(size=n),
        np.zeros(n, dtype=bool),
        np.ones(n, dtype=bool),
    ]


def test_signed_window():
    signal = quiet()
    signal[1][1500] = 30e-12
    assert run(Compliance(Window(-10e-12, 100e-12)), SPEC, signal) is None
    signal[1][2000] = -30e-12
    trip = run(Compliance(Window(-10e-12, 100e-12)), SPEC, signal)
    assert trip == Trip(2000, Termination.CURRENT_COMPLIANCE)


def test_confirm_ignores_a_glitch():
    signal = quiet()
    signal[1][1500] = -60e-12
    signal[1][2000:] -= 20e-12
    trip = run(Compliance(Window(-10e-12, 10e-12), confirm_samples=3), SPEC, signal, [2001])
    assert trip == Trip(2002, Termination.CURRENT_COMPLIANCE)


def test_height_is_relative_to_the_start():
    signal = quiet()
    signal[2] += 300e-9
    signal[2][0] = 500e-9  # one wild sample must not move the baseline
    assert run(Compliance(height=Window(-8e-9, 8e-9)), SPEC, signal) is None
    signal[2][2500:] += 9e-9
    trip = run(Compliance(height=Window(-8e-9, 8e-9)), SPEC, signal)
    assert trip == Trip(2500, Termination.HEIGHT_COMPLIANCE)


def test_background_removes_capacitive_current_but_not_the_nucleus():
    signal = quiet()
    signal[1] -= 11e-12  # 9 pF at 1.2 V/s
    signal[1][70] = -80e-12  # a glitch inside the estimation window
    compliance = Compliance(
        Window(-10e-12, 10e-12), blanking=0.01, subtract_background=True, confirm_samples=2
    )
    assert run(compliance, SPEC, signal) is None
    plain = Compliance(Window(-10e-12, 10e-12), blanking=0.01, confirm_samples=2)
    assert run(plain, SPEC, signal).index < 20
    signal[1][2500:] -= 15e-12
    assert run(compliance, SPEC, signal).index == 2501


def test_strong_current_inside_the_estimation_window_trips():
    signal = quiet()
    signal[1][30:] -= 40e-12
    compliance = Compliance(Window(-10e-12, 10e-12), subtract_background=True)
    assert run(compliance, SPEC, signal).index == 30


def test_known_leakage_slope_is_extrapolated():
    index = np.arange(500)
    current = -1e-12 - 4e-15 * index
    offset, slope, origin = fit_background(index, current, 3500, 2.5e-12)
    assert offset + slope * (3499 - origin) == pytest.approx(-1e-12 - 4e-15 * 3499, rel=1e-6)


def test_uncertain_slope_is_not_used():
    rng = np.random.default_rng(3)
    _, slope, _ = fit_background(np.arange(50), 0.5e-12 * rng.normal(size=50), 3500, 2.5e-12)
    assert slope == 0.0


@pytest.mark.parametrize("rate", [997.0, 1000.0, 50e3])
def test_segment_starts_agree_with_the_ramp(rate):
    spec = RampSpec(0.0, (-3.0, -4.2, 0.0), (12.0, 1.2, 4.0), rate)
    checker = ComplianceChecker(Compliance(), spec)
    segments = spec.segment_at(np.arange(spec.n_samples))
    starts = [0, *(np.flatnonzero(np.diff(segments)) + 1)]
    assert [span.start for span in checker._spans] == starts


def test_gap_between_blocks_is_an_error():
    checker = ComplianceChecker(Compliance(), SPEC)
    with pytest.raises(ValueError, match="expected 0"):
        checker.check(Block(5, np.zeros(3), np.zeros(3), np.zeros(3)))
