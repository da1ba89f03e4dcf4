"""Which sites have been exposed: an append-only ledger, and the guard that asks it."""

from nucleation_bluesky.ledger.filesystem import filesystem_type, require_local_filesystem
from nucleation_bluesky.ledger.guard import Claim, Guard
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.ledger.records import Exposure, Mount, Position, Registration, SiteClaim
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
