"""What a device asks before it may energise: one claim per exposure."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nucleation_bluesky.ledger.errors import LedgerError
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.ledger.records import Position, SiteClaim

logger = logging.getLogger(__name__)


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
    await_record : bool
        An exposure is DONE once its event is recorded, not before: a session that dies in between
        leaves a burned site, never one that is done without data. `recorded` must then be called.
    """

    ledger: Ledger
    sample: str
    epoch: int
    owner: str
    position: Callable[[], Position]
    min_distance: float = 0.0
    exposures_per_site: int = 1
    technique: str = ""
    await_record: bool = False
    _unrecorded: dict[str, tuple[int, Mapping[str, Any]]] = field(default_factory=dict, init=False)
    _open: set[str] = field(default_factory=set, init=False)  # runs

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
        """Record the exposure's outcome, now or with its event (``await_record``)."""
        if self.await_record:
            self._unrecorded[claim.token] = claim.id, dict(outcome or {})
        else:
            self.ledger.finish(claim.id, outcome)

    def recorded(self, name: str, doc: Mapping[str, Any]) -> None:
        """Finish the exposures that an event names; subscribe it after the journal.

        Those that no event named are burned when the last open run ends: they have no data.

        Parameters
        ----------
        name, doc : str, mapping
            A document.
        """
        if name == "start":
            self._open.add(doc["uid"])
        elif name == "stop":
            self._open.discard(doc["run_start"])
            if not self._open:
                self._burn_unrecorded()
        if name not in ("event", "event_page") or not self._unrecorded:
            return
        for value in doc["data"].values():
            for token in value if isinstance(value, list) else (value,):
                if isinstance(token, str) and token in self._unrecorded:
                    self.ledger.finish(*self._unrecorded.pop(token))

    def _burn_unrecorded(self) -> None:
        for token, (exposure, _) in list(self._unrecorded.items()):
            try:
                self.ledger.burn(exposure, "the run ended before its event was recorded")
            except LedgerError:  # tried again after the next run; at the latest recovery burns it
                logger.exception("exposure %s could not be burned in the ledger", exposure)
            else:
                self._unrecorded.pop(token, None)

    def burned(self, claim: Claim, reason: str) -> None:
        """Record that the site is spoiled."""
        self._unrecorded.pop(claim.token, None)
        self.ledger.burn(claim.id, reason)
