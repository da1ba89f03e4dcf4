"""Types of configuration entries that are quantities: text with a unit in, SI numbers inside."""

from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from nucleation_bluesky.contract.quantities import example, parse_quantity, unit_registry

__all__ = ["example", "parse_quantity", "quantity", "unit_of", "unit_registry"]


@dataclass(frozen=True, slots=True)
class InUnit(BeforeValidator):
    """Validator of a quantity that remembers its SI unit."""

    unit: str = ""


def quantity(unit: str) -> BeforeValidator:
    """Return the pydantic validator of a quantity in ``unit``."""

    def parse(value: Any) -> float | None:
        return None if value is None else parse_quantity(value, unit)

    return InUnit(parse, unit=unit)


def unit_of(field: FieldInfo) -> str | None:
    """Return the SI unit of a configuration entry ("" for a fraction), None if it has none."""
    options = [
        *field.metadata,
        *(m for arg in get_args(field.annotation) for m in getattr(arg, "__metadata__", ())),
    ]
    return next((m.unit for m in options if isinstance(m, InUnit)), None)


Volt = Annotated[float, quantity("V")]
Ampere = Annotated[float, quantity("A")]
Metre = Annotated[float, quantity("m")]
Second = Annotated[float, quantity("s")]
Hertz = Annotated[float, quantity("Hz")]
VoltPerSecond = Annotated[float, quantity("V/s")]
Radian = Annotated[float, quantity("rad")]
MolarVolume = Annotated[float, quantity("m**3/mol")]
Fraction = Annotated[float, quantity("")]
Kelvin = Annotated[float, quantity("K")]
MetrePerSecond = Annotated[float, quantity("m/s")]
Concentration = Annotated[float, quantity("mol/m**3")]
