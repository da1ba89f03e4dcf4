"""Electrochemistry of the virtual SECCM against the truth of each landing."""

import numpy as np
import pytest
from nucleation_bluesky.analysis.seccm.electrochemistry import analyse_electrochemistry
from nucleation_bluesky.analysis.seccm.trace import Trace
from nucleation_bluesky.worlds.seccm.settings import SeccmSettings
from nucleation_bluesky.worlds.seccm.simulate import (
    constant_current,
    simulate_landing,
    voltammogram,
)


def landing(settings, seed, program):
    done = simulate_landing(settings, seed, program)
    potential = (done.potential + settings.reference_offset).astype(np.float32)
    return Trace(done.time, potential, done.current.astype(np.float32)), done.truth()


@pytest.mark.parametrize(("current", "duration"), [(-0.75e-9, 45), (-3e-9, 15), (-15e-9, 3)])
@pytest.mark.parametrize("noise", [0.3e-3, 3e-3])
def test_nucleation(current, duration, noise):
    settings = SeccmSettings(potential_noise=noise)
    for seed in (11, 12):
        trace, truth = landing(settings, seed, [constant_current(current, duration)])
        found = analyse_electrochemistry(trace, "galvanostatic").plating
        assert found.e_nuc == pytest.approx(truth["e_nuc"], abs=5e-3)
        assert found.t_nuc == pytest.approx(truth["t_nuc"], rel=0.04)
        density = found.charge_nuc / truth["footprint_area"]
        assert density == pytest.approx(truth["q_nuc"], rel=0.04)
        assert found.e_growth == pytest.approx(truth["e_growth"], abs=5e-3)


def test_too_little_charge_to_nucleate():
    trace, truth = landing(SeccmSettings(), 3, [constant_current(-0.6e-9, 5)])
    found = analyse_electrochemistry(trace, "galvanostatic").plating
    assert np.isnan(truth["e_nuc"])
    assert found.e_nuc is None
    assert "no local minimum" in found.reason


def test_efficiency_by_cycle():
    settings = SeccmSettings()
    trace, truth = landing(settings, 5, voltammogram(settings, cycles=3))
    found = analyse_electrochemistry(trace, "cv")
    assert [c.number for c in found.cycles] == truth["cycle"].tolist()
    np.testing.assert_allclose([c.ce for c in found.cycles], truth["cycle_ce"], atol=0.02)
    np.testing.assert_allclose(
        [c.charge_cathodic for c in found.cycles], truth["cycle_charge_cathodic"], rtol=0.02
    )
    assert found.onset == pytest.approx(-0.13, abs=0.02)
