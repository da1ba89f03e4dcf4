"""Contact between meniscus and surface: when it is made, how it spreads, when it breaks."""

import math
from dataclasses import dataclass, replace

from nucleation_bluesky.worlds.afm.keyed import keyed_generator
from nucleation_bluesky.worlds.seccm.settings import SeccmSettings


@dataclass(slots=True)
class Contact:
    """State of the meniscus; times are instrument time, s."""

    wet: bool = False
    time: float = math.nan  # first contact
    z: float = math.nan
    broken: float = math.nan  # end of the last contact
    spiked: bool = False
    crashed: bool = False
    deepest: float = -math.inf

    def copy(self) -> "Contact":
        """Independent copy."""
        return replace(self)


class Meniscus:
    """Geometry of one approach.

    Parameters
    ----------
    settings : SeccmSettings
        The world.
    key : tuple of int
        Key of the landing.
    x, y : float
        Place in the sample frame, m.
    """

    def __init__(self, settings: SeccmSettings, key: tuple[int, ...], x: float, y: float) -> None:
        p = self._p = settings
        rng = keyed_generator(*key, "meniscus")
        scatter, reach, spike, where, loss, late = rng.random(6)
        self.surface = p.surface_z + p.surface_tilt * (x + y)
        self.surface += p.surface_scatter * math.sqrt(12) * (scatter - 0.5)
        self.detach = p.detach_distance * (0.8 + 0.4 * reach)
        self.spike_z = self.surface - (0.3e-6 + 3.7e-6 * where)
        self.has_spike = bool(spike < p.spike_fraction)
        self.loses = bool(loss < p.loss_fraction)
        self.loss_after = -p.loss_time * math.log1p(-late)

    def wetted_share(self, age: float) -> float:
        """Share of the final area that is wetted ``age`` after contact."""
        if age <= 0:
            return 0.0
        p = self._p
        return 1 - (1 - p.wetting_start) * math.exp(-age / p.wetting_time)

    def follow(self, c: Contact, z: float, time: float) -> bool:
        """Move to extension ``z`` at ``time``; return whether this sample carries a spike."""
        c.deepest = max(c.deepest, z)
        if z > self.surface + self._p.crash_depth:
            c.crashed = True
        if c.wet:
            lost = self.loses and time > c.time + self.loss_after
            if z < c.z - self.detach or lost or c.crashed:
                c.wet, c.broken = False, time
            return False
        if z >= self.surface and not c.crashed and math.isnan(c.broken):
            c.wet, c.time, c.z = True, time, z
            return False
        if self.has_spike and not c.spiked and z >= self.spike_z:
            c.spiked = True
            return True
        return False
