"""Which sites have been exposed: an append-only ledger, and the guard that asks it.

The identity of a process is asked for by everything that has files; its import must not wait for
that of the ledger.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucleation_bluesky.ledger.filesystem import filesystem_type, require_local_filesystem
    from nucleation_bluesky.ledger.guard import Claim, Guard
    from nucleation_bluesky.ledger.ledger import Ledger
    from nucleation_bluesky.ledger.records import (
        Exposure,
        Mount,
        Position,
        Registration,
        SiteClaim,
    )
    from nucleation_bluesky.ledger.schema import ExposureState, MountKind

__all__ = [
    "Claim",
    "Exposure",
    "ExposureState",
    "Guard",
    "Ledger",
    "Mount",
    "MountKind",
    "Position",
    "Registration",
    "SiteClaim",
    "filesystem_type",
    "require_local_filesystem",
]
_HOME = {
    "Claim": "guard",
    "Exposure": "records",
    "ExposureState": "schema",
    "Guard": "guard",
    "Ledger": "ledger",
    "Mount": "records",
    "MountKind": "schema",
    "Position": "records",
    "Registration": "records",
    "SiteClaim": "records",
    "filesystem_type": "filesystem",
    "require_local_filesystem": "filesystem",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
