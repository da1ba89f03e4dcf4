"""Quantities at the edges: text with a unit in, SI out."""

import pytest
from nucleation_bluesky.contract import quantities
from nucleation_bluesky.session.quantities import parse_quantity, unit_registry


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("-10 pA", "A", -1e-11),
        ("−10 pA", "A", -1e-11),
        ("20nm", "m", 20e-9),
        ("3 µm", "m", 3e-6),
        ("1.2 V/s", "V/s", 1.2),
        ("1200 mV/s", "V/s", 1.2),
        ("1 kHz", "Hz", 1e3),
        ("-4.2", "V", -4.2),
        (-4.2, "V", -4.2),
        (0, "V", 0.0),
        ("13 cm**3/mol", "m**3/mol", 13e-6),
    ],
)
def test_good(text, unit, value):
    assert parse_quantity(text, unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "unit", "sentence"),
    [
        ("10 pA", "V", r"'10 pA' is not in units of V; write for instance '-4\.2 V'"),
        ("20 furlongs_", "m", "is not a quantity"),
        ("", "V", "is not"),
        ("volts", "V", "is not"),
        ("1 2 V", "V", "is not"),
        ("((", "V", "is not a quantity"),
        ("__import__('os')", "V", "is not a quantity"),
        (True, "V", "is not"),
        ("5 %", "V", "is not in units of V"),
        ("3 ppm", "A", "is not in units of A"),
        ("nan", "V", "not finite"),
        ("nan V", "V", "not finite"),
        ("inf", "A", "not finite"),
        ("-inf pA", "A", "not finite"),
        (float("nan"), "V", "not finite"),
        (float("inf"), "V", "not finite"),
        ("1e999 V", "V", "not finite"),
    ],
)
def test_bad(text, unit, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        parse_quantity(text, unit)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("unit", ["V", "A", "m", "s", "Hz", "K", "rad", "V/s", "m/s", ""])
def test_what_is_read_without_pint_is_what_pint_reads(unit):
    known = quantities._factors(unit)
    assert len(known) > (8 if unit else 1)
    for written in known:
        for number in (1.0, -4.2, 20.0, 0.1, 7.3e-5):
            read = unit_registry().Quantity(number, written)
            bare = read.unitless and unit
            expected = read.magnitude if bare else read.to(unit or "dimensionless").magnitude
            assert parse_quantity(f"{number} {written}", unit) == expected, written
