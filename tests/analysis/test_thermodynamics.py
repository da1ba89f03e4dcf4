import numpy as np
import pytest
from nucleation_bluesky.analysis import thermodynamics as th


def test_parts_add_up_and_say_where_they_come_from():
    split = th.split_potential(
        np.array([-3.7, -3.9]),
        np.array([-10e-12, -1e-9]),
        -3.04,
        1e8,
        equilibrium_source="given",
        resistance_source="measured",
        scale="Cu/Ag",
    )
    total = split.equilibrium_potential + split.overpotential + split.ohmic
    np.testing.assert_allclose(total, split.nucleation_potential)
    np.testing.assert_allclose(split.ohmic, [-1e-3, -0.1])
    np.testing.assert_allclose(split.beyond_equilibrium, [0.66, 0.86])
    assert (split.resistance, split.equilibrium_source) == (1e8, "given")


def test_resistance_of_an_ohmic_tail():
    rng = np.random.default_rng(0)
    bias = np.linspace(-3.6, -5.0, 1200)
    growth = 1 - np.exp(-np.linspace(0, 12, 1200))
    current = (bias + 3.5) / 2e8 * growth + 5e-13 * rng.normal(size=1200)
    found = th.series_resistance(bias, current)
    assert found.value == pytest.approx(2e8, rel=0.05)
    assert found.uncertainty < 0.02 * found.value
    assert found.linearity > 0.95


def test_no_resistance_where_the_current_only_grows():
    bias = np.linspace(-3.6, -3.7, 200)
    current = -1e-12 * np.exp(np.linspace(0, 8, 200))
    assert np.isnan(th.series_resistance(bias, current).value)
    noise = 1e-12 * np.random.default_rng(1).normal(size=200)
    assert np.isnan(th.series_resistance(bias, noise).value)
    assert np.isnan(th.series_resistance(bias[:5], current[:5]).value)


def test_scales_convert_both_ways_and_by_named_offset():
    assert th.convert_potential(0.0, "Li/Li+", "SHE") == pytest.approx(-3.04)
    there = th.convert_potential(-3.7, "Cu/Ag", "Li/Li+", {"Cu/Ag": 0.1})
    assert there == pytest.approx(-3.7 + 0.1 + 3.04)
    assert th.convert_potential(there, "Li/Li+", "Cu/Ag", {"Cu/Ag": 0.1}) == pytest.approx(-3.7)
    with pytest.raises(ValueError, match="Cu/Ag"):
        th.convert_potential(0.0, "Cu/Ag", "SHE")


def test_nernst_shift_per_decade():
    assert th.nernst_shift(1) == pytest.approx(0.05916, abs=1e-5)
    assert th.nernst_shift(-1, electrons=2) == pytest.approx(-0.02958, abs=1e-5)


def test_bad_input_is_refused():
    named = {"equilibrium_source": "", "resistance_source": "", "scale": ""}
    with pytest.raises(ValueError, match="resistance"):
        th.split_potential(np.array([-3.7]), np.array([0.0]), -3.04, -1.0, **named)
    with pytest.raises(ValueError, match="equilibrium"):
        th.split_potential(np.array([-3.7]), np.array([0.0]), np.nan, 1.0, **named)
    with pytest.raises(ValueError, match="electrons"):
        th.nernst_shift(1, electrons=0)
