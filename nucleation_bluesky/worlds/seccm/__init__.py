"""Virtual SECCM with an interference reflection microscope: one sample, one truth."""

from nucleation_bluesky.worlds.seccm.landing import Control, Landing
from nucleation_bluesky.worlds.seccm.settings import SeccmSettings
from nucleation_bluesky.worlds.seccm.simulate import simulate_landing
from nucleation_bluesky.worlds.seccm.world import SeccmWorld

__all__ = ["Control", "Landing", "SeccmSettings", "SeccmWorld", "simulate_landing"]
