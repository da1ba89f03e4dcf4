"""Quantities with units at the edges: text such as "-10 pA" in, SI numbers inside."""

import math
import re
import tokenize
from functools import lru_cache

import pint

# What pint and the tokenizer below it raise on text that is no quantity or unit.
NOT_A_QUANTITY = (
    pint.UndefinedUnitError,
    pint.DefinitionSyntaxError,
    tokenize.TokenError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
)

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|inf|nan))\s*"
    r"(?P<unit>[^\d\s.+-].*)?",
    re.IGNORECASE,
)


@lru_cache(maxsize=1)
def unit_registry() -> pint.UnitRegistry:
    """Return the one registry of units."""
    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)


def parse_quantity(value: str | float, unit: str) -> float:
    """Return a quantity in SI.

    Parameters
    ----------
    value : str or float
        Number with a unit, "-10 pA"; a bare number is taken as SI.
    unit : str
        SI unit of the result, "A".

    Raises
    ------
    ValueError
        If the text is no quantity, its unit has another dimension, or it is not finite.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        text = str(value).strip().replace("−", "-").replace("µ", "u")
        try:
            # pint alone would multiply "1 2 V" and take "volts" for 1 V
            parts = _QUANTITY.fullmatch(text)
            if parts is None:
                raise ValueError(text)
            quantity = unit_registry().Quantity(float(parts["number"]), parts["unit"])
            if quantity.unitless and unit:
                number = float(quantity.magnitude)
            else:
                number = float(quantity.to(unit or "dimensionless").magnitude)
        except pint.DimensionalityError:
            raise ValueError(
                f"'{value}' is not in units of {unit}; write for instance '{example(unit)}'"
            ) from None
        except NOT_A_QUANTITY:
            raise ValueError(
                f"'{value}' is not a quantity; write for instance '{example(unit)}'"
            ) from None
    if not math.isfinite(number):
        raise ValueError(f"'{value}' is not finite")
    return number


_EXAMPLES = {
    "V": "-4.2 V", "A": "-10 pA", "m": "20 nm", "V/s": "1.2 V/s", "s": "5 ms", "Hz": "1 kHz",
    "m**3/mol": "13.0 cm**3/mol",
}  # fmt: skip


def example(unit: str) -> str:
    """Return an example of how a quantity of this unit is written."""
    return _EXAMPLES.get(unit, f"1 {unit}")
