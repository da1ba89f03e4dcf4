"""Types of configuration entries that are quantities: text with a unit in, SI numbers inside."""

from typing import Annotated

from pydantic import BeforeValidator

from nucleation_bluesky.contract.quantities import example, parse_quantity, unit_registry

__all__ = ["example", "parse_quantity", "quantity", "unit_registry"]


def quantity(unit: str) -> BeforeValidator:
    """Return the pydantic validator of a quantity in ``unit``."""
    return BeforeValidator(lambda value: None if value is None else parse_quantity(value, unit))


Volt = Annotated[float, quantity("V")]
Ampere = Annotated[float, quantity("A")]
Metre = Annotated[float, quantity("m")]
Second = Annotated[float, quantity("s")]
Hertz = Annotated[float, quantity("Hz")]
VoltPerSecond = Annotated[float, quantity("V/s")]
Radian = Annotated[float, quantity("rad")]
MolarVolume = Annotated[float, quantity("m**3/mol")]
