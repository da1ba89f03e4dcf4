"""Process variables: name, type, unit and meaning of every PV a controller serves.

Suffixes are appended to the instrument's prefix (``NB:AFM:`` + ``STATE``). ``egu`` is what the
reference controller publishes; a device accepts any unit of the same dimension and converts.
"""

from nucleation_bluesky.contract.camera import CAMERA_CAM, CAMERA_HDF
from nucleation_bluesky.contract.pv import PV, Kind
from nucleation_bluesky.contract.pvs_afm import (
    AFM,
    MEASUREMENT_FIELDS,
    RAMP,
    RESULT_FIELDS,
    SOFTWARE_RAMP,
)
from nucleation_bluesky.contract.pvs_core import (
    CAPABILITIES,
    CLOCK_FIELDS,
    CONTRACT_VERSION,
    FILES,
    core,
)
from nucleation_bluesky.contract.pvs_seccm import (
    ELECTROMETER,
    PIPETTE,
    PROGRAM,
    READING_FIELDS,
    SECCM_RESULT_FIELDS,
)

__all__ = [
    "CLOCK_FIELDS",
    "CONTRACT_VERSION",
    "FAMILIES",
    "MEASUREMENT_FIELDS",
    "PV",
    "READING_FIELDS",
    "RESULT_FIELDS",
    "RESULT_LAYOUTS",
    "SECCM_RESULT_FIELDS",
    "TOKEN_LENGTH",
    "Kind",
    "family_pvs",
    "token_check",
]
TOKEN_LENGTH = 24  # lower-case hexadecimal digits
RESULT_LAYOUTS: dict[str, dict[str, tuple[str, str]]] = {
    "afm": RESULT_FIELDS,
    "seccm": SECCM_RESULT_FIELDS,
}
CORE = core(RESULT_FIELDS)

FAMILIES: dict[str, dict[str, tuple[PV, ...]]] = {
    "afm": {
        "Core": CORE,
        "Capabilities": CAPABILITIES,
        "Ramp and compliance": RAMP,
        "Software ramp": SOFTWARE_RAMP,
        "Waveform files": FILES,
        "AFM": AFM,
    },
    "seccm": {
        "Core": core(SECCM_RESULT_FIELDS),
        "Capabilities": CAPABILITIES,
        "Landing": PROGRAM,
        "Waveform files": FILES,
        "Pipette": PIPETTE,
        "Electrometer": ELECTROMETER,
    },
    "camera": {
        "Camera": CAMERA_CAM,
        "HDF5 files": CAMERA_HDF,
    },
}


def family_pvs(family: str) -> dict[str, PV]:
    """Every PV of an instrument family by suffix.

    Raises
    ------
    ValueError
        If the family is unknown.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown instrument family '{family}' (known: {', '.join(FAMILIES)})")
    return {pv.suffix: pv for group in FAMILIES[family].values() for pv in group}


def token_check(token: str) -> float:
    """Return the number by which RESULT names its token (exact in a double)."""
    return float(int(token[:12], 16))
