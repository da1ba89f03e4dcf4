"""Engineering units are converted to SI, or refused in one clear sentence."""

import pytest
from nucleation_bluesky.contract.pvs import family_pvs
from nucleation_bluesky.devices._units import factor_to_si, si_unit
from nucleation_bluesky.devices.errors import WrongUnitError


@pytest.mark.parametrize(
    ("egu", "si", "factor"),
    [
        ("pA", "A", 1e-12), ("nA", "A", 1e-9), ("um", "m", 1e-6), ("µm", "m", 1e-6),
        ("Å", "m", 1e-10), ("mV/s", "V/s", 1e-3), ("kHz", "Hz", 1e3), ("V/nA", "V/A", 1e9),
        ("mV", "V", 1e-3), ("min", "s", 60.0), (" nm ", "m", 1e-9),
    ],
)  # fmt: skip
def test_conversion(egu, si, factor):
    assert factor_to_si("X", egu, si) == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize("egu", ["", "V", "counts", "%", "???", "A m", "m/"])
def test_wrong_units_are_refused(egu):
    with pytest.raises(WrongUnitError, match=r"NB:Z.*convertible to m.*EGU"):
        factor_to_si("NB:Z", egu, "m")


def test_every_unit_of_the_contract_has_an_si_unit():
    units = {suffix: si_unit(pv.egu) for suffix, pv in family_pvs("afm").items()}
    assert units["STAGE:X"] == "m"
    assert units["COMP:CURRENT:LOW"] == "A"
    assert units["RAMP:RATES"] == "V/s"
    assert units["AMP:GAIN"] == "V/A"
    assert units["SEQ"] == ""
