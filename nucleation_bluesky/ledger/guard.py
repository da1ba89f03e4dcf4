"""What a device asks before it may energise: one claim per exposure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.ledger.records import Position, SiteClaim


@dataclass(frozen=True)
class Claim:
    """A granted exposure.

    Parameters
    ----------
    token : str
        24 lower-case hexadecimal digits, good for one ARM.
    id : int
        Number of the exposure in the ledger.
    x, y : float
        Position it was claimed for, m.
    """

    token: str
    id: int
    x: float
    y: float


@dataclass
class Guard:
    """Claims exposures for the devices of one session.

    Parameters
    ----------
    ledger : Ledger
        Open for writing.
    sample, epoch : str, int
        Sample and its present mount.
    owner : str
        Session, as in the controller's OWNER.
    position : callable
        Returns the measured `Position` of the tip in the mount's frame.
    min_distance : float
        Nearest other exposure that is tolerated, m.
    exposures_per_site : int
        How often one site may be exposed.
    technique : str
        Recorded with each exposure.
    """

    ledger: Ledger
    sample: str
    epoch: int
    owner: str
    position: Callable[[], Position]
    min_distance: float = 0.0
    exposures_per_site: int = 1
    technique: str = ""

    def claim(self) -> Claim:
        """Claim the site under the tip; durable when this returns.

        Raises
        ------
        LedgerError
            If the site must not be exposed (see `Ledger.claim`).
        """
        here = self.position()
        exposure = self.ledger.claim(
            SiteClaim(
                sample=self.sample,
                epoch=self.epoch,
                x=here.x,
                y=here.y,
                position_uncertainty=here.uncertainty,
                frame=here.frame,
                owner=self.owner,
                min_distance=self.min_distance,
                exposures_per_site=self.exposures_per_site,
                technique=self.technique,
            )
        )
        return Claim(exposure.token, exposure.id, here.x, here.y)

    def energised(self, claim: Claim) -> None:
        """Record that the bias is about to leave the safe state."""
        self.ledger.energise(claim.id)

    def finished(self, claim: Claim, outcome: Mapping[str, Any] | None = None) -> None:
        """Record the exposure's outcome."""
        self.ledger.finish(claim.id, outcome)

    def burned(self, claim: Claim, reason: str) -> None:
        """Record that the site is spoiled."""
        self.ledger.burn(claim.id, reason)
