"""Limits in blocks against a plain loop over samples."""

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from nucleation_bluesky.contract.enums import StepMode, Termination
from nucleation_bluesky.contract.program import Limits, Step
from nucleation_bluesky.iocs.limits import Hit, StepLimits
from nucleation_bluesky.iocs.seccm_backend import LandingBlock

PERIOD = 0.01


def by_loop(step, potential, current, saturated, fresh):
    runs = {"current": 0, "potential": 0}
    charge = 0.0
    for i in range(len(current)):
        if not (math.isfinite(potential[i]) and math.isfinite(current[i])):
            return Hit(i, Termination.NONFINITE, True), charge
        if not fresh[i]:
            return Hit(i, Termination.STALE, True), charge
        if saturated[i]:
            return Hit(i, Termination.SATURATED, True), charge
        charge += current[i] * PERIOD
        for name, value, why in (
            ("current", current[i], Termination.CURRENT_COMPLIANCE),
            ("potential", potential[i], Termination.POTENTIAL_LIMIT),
        ):
            limits = getattr(step, name)
            if limits is None or i < math.ceil(step.blanking / PERIOD - 1e-9):
                continue
            outside = value < limits.low or value > limits.high
            runs[name] = runs[name] + 1 if outside else 0
            if runs[name] >= step.confirm_samples:
                return Hit(i, why), charge
        if step.charge and (charge <= step.charge.low or charge >= step.charge.high):
            return Hit(i, Termination.CHARGE_LIMIT), charge
    return None, charge


window = st.one_of(
    st.none(), st.builds(Limits, st.floats(-3, -0.5), st.floats(0.5, 3)), st.just(Limits(high=1.0))
)
sample = st.one_of(st.floats(-2, 2), st.sampled_from([math.nan, math.inf, 0.0, 5.0, -5.0]))


@given(
    st.lists(st.tuples(sample, sample, st.integers(0, 40), st.integers(0, 40)), min_size=1,
             max_size=50),
    window, window, st.one_of(st.none(), st.just(Limits(-0.05, 0.04))),
    st.sampled_from([0.0, 0.03, 0.031]), st.integers(1, 3),
    st.lists(st.integers(0, 50), max_size=5),
)  # fmt: skip
def test_blocks_as_by_loop(rows, potential, current, charge, blanking, confirm, cuts):
    step = Step(
        StepMode.CURRENT, 0, 0, 10, potential=potential, current=current, charge=charge,
        blanking=blanking, confirm_samples=confirm,
    )  # fmt: skip
    e, i = (np.array([row[n] for row in rows]) for n in (0, 1))
    full, stale = (np.array([row[n] == 0 for row in rows]) for n in (2, 3))
    n = len(rows)
    wanted, total = by_loop(step, e, i, full, ~stale)
    checker, found = StepLimits(step, PERIOD), None
    edges = sorted({0, n, *(c for c in cuts if c < n)})
    for low, high in itertools.pairwise(edges):
        block = LandingBlock(
            low, e[low:high], i[low:high], np.zeros(high - low), np.zeros(high - low, int),
            full[low:high], ~stale[low:high],
        )  # fmt: skip
        hit = checker.check(block, 0, high - low)
        if hit is not None:
            found = Hit(low + hit.position, hit.termination, hit.bad)
            break
    assert found == wanted
    assert checker.charge == total  # to the last bit
