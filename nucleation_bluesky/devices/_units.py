"""Engineering units to SI: checked once per connection, refused if the dimension is wrong."""

from functools import cache

import pint

from nucleation_bluesky.contract.quantities import NOT_A_QUANTITY, unit_registry
from nucleation_bluesky.devices.errors import WrongUnitError

_SI = ("V", "A", "m", "s", "Hz", "V/s", "V/A", "C", "m/s")
_SPELLINGS = {"µ": "u", "μ": "u", "Å": "angstrom", "\N{ANGSTROM SIGN}": "angstrom"}


@cache
def si_unit(egu: str) -> str:
    """SI unit of the same dimension as a contract's unit ("" for a number).

    Raises
    ------
    ValueError
        If the contract uses a dimension that has no SI unit listed here.
    """
    if not egu:
        return ""
    unit = unit_registry().Unit(egu)
    for candidate in _SI:
        # Hz and 1/s share a dimension, so the order above decides
        if unit.dimensionality == unit_registry().Unit(candidate).dimensionality:
            return candidate
    raise ValueError(f"no SI unit is listed for '{egu}'")


@cache
def factor_to_si(pvname: str, egu: str, si: str) -> float:
    """Factor by which a PV's values are multiplied to give SI.

    Parameters
    ----------
    pvname, egu : str
        The PV and the engineering unit it publishes.
    si : str
        Unit expected, e.g. "m".

    Raises
    ------
    WrongUnitError
        If the EGU is absent, unknown or of another dimension.
    """
    if not si:
        return 1.0
    text = egu.strip()
    for odd, plain in _SPELLINGS.items():
        text = text.replace(odd, plain)
    problem = f"has the unit '{egu}'" if text else "publishes no engineering unit (EGU)"
    try:
        if text:
            return float(unit_registry().Quantity(1.0, text).to(si).magnitude)
    except (pint.DimensionalityError, *NOT_A_QUANTITY):
        pass
    raise WrongUnitError(
        f"{pvname} {problem}, where a unit convertible to {si} is expected; correct the EGU field "
        "in the controller"
    )
