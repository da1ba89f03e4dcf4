"""Virtual AFM: sample, nucleation, growth, amplifier, Z loop, stage and imaging."""

from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters
from nucleation_bluesky.worlds.afm.world import AfmWorld

__all__ = ["AfmWorld", "AfmWorldParameters"]
