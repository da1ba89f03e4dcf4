"""One process variable of the contract."""

from dataclasses import dataclass
from enum import Enum
from typing import TypedDict, Unpack

from nucleation_bluesky.contract.enums import ContractEnum


class Kind(Enum):
    """Data type of a PV."""

    DOUBLE = "double"
    INT = "int"
    ENUM = "enum"
    STRING = "string"  # EPICS string, at most 39 characters
    CHARS = "char waveform"  # long string, UTF-8, NUL-terminated
    DOUBLES = "double waveform"


@dataclass(frozen=True)
class PV:
    """One process variable.

    Parameters
    ----------
    suffix : str
        Name after the instrument's prefix.
    kind : Kind
        Data type.
    doc : str
        Meaning and behaviour, one or two sentences.
    egu : str
        Engineering unit the reference controller publishes ("" where dimensionless).
    writable : bool
        Whether clients may write it.
    enum : type of ContractEnum or None
        Enumeration of an ENUM PV.
    length : int
        Elements of a waveform.
    default : object
        Value at boot.
    """

    suffix: str
    kind: Kind
    doc: str
    egu: str = ""
    writable: bool = False
    enum: type[ContractEnum] | None = None
    length: int = 1
    default: float | int | str | tuple[float, ...] = 0


class PVOptions(TypedDict, total=False):
    """What else may be said of a PV (see `PV`)."""

    egu: str
    enum: type[ContractEnum]
    length: int
    default: float | int | str | tuple[float, ...]


def rw(suffix: str, kind: Kind, doc: str, **options: Unpack[PVOptions]) -> PV:
    """Return a PV that clients may write."""
    return PV(suffix, kind, doc, writable=True, **options)


def axis_pvs(name: str, doc: str) -> tuple[PV, ...]:
    """Return what every axis has: target (described by ``doc``), position and travel, um."""
    return (
        rw(name, Kind.DOUBLE, doc, egu="um"),
        PV(f"{name}:RBV", Kind.DOUBLE, "Position.", egu="um"),
        PV(f"{name}:LOW", Kind.DOUBLE, "Lower limit of travel.", egu="um"),
        PV(f"{name}:HIGH", Kind.DOUBLE, "Upper limit of travel.", egu="um"),
    )
