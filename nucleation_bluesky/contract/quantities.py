"""Quantities with units at the edges: text such as "-10 pA" in, SI numbers inside."""

import math
import re
import tokenize
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pint

# What pint and the tokenizer below it raise on text that is no quantity or unit; pint's own errors
# are of these kinds.
NOT_A_QUANTITY = (
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

# Units of one symbol and an SI prefix are read here, as nearly all are: pint takes 0.5 s to import,
# which a command that only reads its configuration need not pay. A test compares the two.
_PREFIXES = {
    "G": 1e9, "M": 1e6, "k": 1e3, "": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15,
}  # fmt: skip
_PREFIXED = ("V", "A", "m", "s", "Hz", "K", "rad", "V/s", "m/s")
_FRACTIONS = {"": 1.0, "%": 1e-2, "ppm": 1e-6}


@lru_cache(maxsize=1)
def unit_registry() -> "pint.UnitRegistry":
    """Return the one registry of units."""
    import pint  # noqa: PLC0415 - slow import, which most commands do without

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
            number = _in_si(float(parts["number"]), parts["unit"] or "", unit)
        except NOT_A_QUANTITY as error:
            from pint import DimensionalityError  # noqa: PLC0415 - slow import

            wrong = isinstance(error, DimensionalityError)
            what = f"in units of {unit}" if wrong else "a quantity"
            raise ValueError(
                f"'{value}' is not {what}; write for instance '{example(unit)}'"
            ) from None
    if not math.isfinite(number):
        raise ValueError(f"'{value}' is not finite")
    return number


def _in_si(number: float, written: str, unit: str) -> float:
    """Convert a number in the unit that is written."""
    if written == unit:
        return number
    if (factor := _factors(unit).get(written)) is not None:
        return number * factor
    quantity = unit_registry().Quantity(number, written)
    return float(quantity.to(unit or "dimensionless").magnitude)


@lru_cache
def _factors(unit: str) -> dict[str, float]:
    """Return what a number is multiplied by, for the ways of writing that need no pint."""
    if unit in _PREFIXED:
        return {"": 1.0} | {f"{prefix}{unit}": factor for prefix, factor in _PREFIXES.items()}
    return {"": 1.0} if unit else _FRACTIONS


_EXAMPLES = {
    "V": "-4.2 V", "A": "-10 pA", "m": "20 nm", "V/s": "1.2 V/s", "s": "5 ms", "Hz": "1 kHz",
    "m**3/mol": "13.0 cm**3/mol",
}  # fmt: skip


def example(unit: str) -> str:
    """Return an example of how a quantity of this unit is written."""
    return _EXAMPLES.get(unit, f"1 {unit}")
