"""Channels of a TDMS file by name, in base units."""

import re
from pathlib import Path

import numpy as np
import pint
from nptdms import TdmsFile, TdmsGroup

from nucleation_bluesky.storage.hdf5_input import IngestError

BASE_UNITS = {
    "m": "[length]",
    "V": "[mass] * [length] ** 2 / [time] ** 3 / [current]",
    "A": "[current]",
    "s": "[time]",
}
NEEDS_UNIT = ("x", "y", "z", "dt")  # without one, a position may be anything


def find_group(path: Path, file: TdmsFile, wanted: str) -> TdmsGroup:
    """Return a group by its name, or the only one there is.

    Raises
    ------
    IngestError
        If there is none of that name among several.
    """
    groups = file.groups()
    if not groups:
        raise IngestError(f"{path.name}: this is not a TDMS file, or nothing was written into it")
    for group in groups:
        if plain_name(group.name) == plain_name(wanted):
            return group
    if len(groups) == 1:
        return groups[0]
    names = ", ".join(repr(g.name) for g in groups) or "none"
    raise IngestError(f"{path.name}: there is no group '{wanted}' (groups: {names})")


def plain_name(name: str) -> str:
    """Name without unit, blanks and case: 'Current 2 (A)' and 'current2' are one."""
    return re.sub(r"[\s_]+", "", re.sub(r"\([^()]*\)\s*$", "", name.strip())).lower()


def read_columns(path: Path, group: TdmsGroup) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read all channels of numbers.

    Returns
    -------
    columns : dict of str to ndarray, shape (n,)
        In base units by plain name, cut to the shortest.
    units : dict of str to str
        The base units.

    Raises
    ------
    IngestError
        If a name occurs twice, a unit that matters is not understood, or there is nothing.
    """
    found: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    for channel in group.channels():
        values = np.asarray(channel[:])
        if values.dtype.kind not in "fiub" or values.size == 0:
            continue
        name = plain_name(channel.name)
        if name in found:
            raise IngestError(f"{path.name}: two channels are called '{channel.name.strip()}'")
        scale, units[name] = _unit(
            path, channel.name, str(channel.properties.get("unit_string", ""))
        )
        found[name] = values.astype(float) * scale
    if not found:
        raise IngestError(f"{path.name}: the group '{group.name}' holds no numbers")
    n = min(map(len, found.values()))  # a record that was cut short ends unevenly
    return {name: values[:n] for name, values in found.items()}, units


def _unit(path: Path, name: str, said: str) -> tuple[float, str]:
    """Factor to the base unit, and the base unit ("" for none)."""
    inside = re.search(r"\(([^()]*)\)\s*$", name.strip())
    text = inside.group(1).strip() if inside else said.strip()
    if not text:
        return 1.0, ""
    try:
        quantity = pint.get_application_registry().Quantity(1.0, text.replace("µ", "u"))
        for base, dimensions in BASE_UNITS.items():
            if quantity.check(dimensions):
                return float(quantity.to(base).magnitude), base
    except (pint.PintError, ValueError, TypeError, AssertionError):
        pass
    if plain_name(name) in NEEDS_UNIT:
        raise IngestError(f"{path.name}: the unit of channel '{name.strip()}' is not understood")
    return 1.0, text
