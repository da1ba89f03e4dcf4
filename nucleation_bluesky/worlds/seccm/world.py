"""The virtual SECCM as one object: sample, landings, camera. No I/O but the truth file."""

import math

from nucleation_bluesky.worlds.seccm.camera import FrameClock, Sensor
from nucleation_bluesky.worlds.seccm.landing import Landing
from nucleation_bluesky.worlds.seccm.optics import Patch
from nucleation_bluesky.worlds.seccm.settings import SeccmSettings
from nucleation_bluesky.worlds.seccm.truth import TruthWriter, landing_truth
from nucleation_bluesky.worlds.visits import Visits

_CELL = 1e-9  # m: places are told apart by this where random numbers are keyed


class SeccmWorld:
    """Sample and instrument with a known truth.

    Parameters
    ----------
    settings : SeccmSettings or None
        The world's figures; defaults where None.
    seed : int
        The same seed gives the same sample and the same fate of every landing.
    truth : TruthWriter or None
        Where the truth of each landing goes.
    """

    def __init__(
        self,
        settings: SeccmSettings | None = None,
        seed: int = 0,
        truth: TruthWriter | None = None,
    ) -> None:
        self.settings = settings or SeccmSettings()
        self.seed = seed
        self.sensor = Sensor(self.settings, seed)
        self._truth = truth
        self._visits = Visits()
        self._left: list[Patch] = []
        self._acquisitions = 0

    def land(self, x: float = 0.0, y: float = 0.0, time: float = 0.0) -> Landing:
        """Bring the pipette above a place in the sample frame (m) at instrument time ``time``."""
        cell = (round(x / _CELL), round(y / _CELL))
        visit = self._visits.count(cell)
        reach = self.settings.frame_size * self.settings.pixel_size
        older = [
            Patch(patch.x - x, patch.y - y, patch.image)
            for patch in self._left
            if abs(patch.x - x) < 2 * reach and abs(patch.y - y) < 2 * reach
        ]
        key = (self.seed, *cell, visit)
        return Landing(self.settings, key, x, y, time, self.sensor, older)

    def finish(self, landing: Landing, *, seen: bool = True) -> None:
        """Leave the place: keep what is visible of it (if anybody looks), and write the truth."""
        if seen and landing.count and not math.isnan(landing.contact.z):
            self._left.append(landing.remainder())
        if self._truth is not None:
            self._truth.write(landing_truth(landing))

    def acquire(self, time: float, period: float | None = None) -> FrameClock:
        """Start an acquisition of the camera at instrument time ``time``."""
        self._acquisitions += 1
        key = (self.seed, self._acquisitions)
        return FrameClock(self.settings, key, time, period)
