"""The AFM: all its devices under one name."""

from typing import Any

from ophyd import Component

from nucleation_bluesky.devices.amplifier import CurrentAmplifier
from nucleation_bluesky.devices.guarded import GuardedDevice
from nucleation_bluesky.devices.imager import TopographyImager
from nucleation_bluesky.devices.instrument import Instrument
from nucleation_bluesky.devices.ramp import RampController
from nucleation_bluesky.devices.software_ramp import SoftwareRamp
from nucleation_bluesky.devices.stage import Positioner, XYStage
from nucleation_bluesky.devices.tip_bias import TipBias
from nucleation_bluesky.devices.z_sensor import ZSensor


class AfmInstrument(Instrument):
    """Atomic force microscope for bias ramps in contact.

    Parameters
    ----------
    prefix : str
        Of all PVs, e.g. ``NB:AFM:``.
    name : str
        Of the instrument.
    """

    family = "afm"
    ramp = Component(RampController, "")
    software_ramp = Component(SoftwareRamp, "", kind="omitted")
    stage_xy = Component(XYStage, "")
    amplifier = Component(CurrentAmplifier, "", labels={"detectors"})
    z = Component(ZSensor, "", labels={"detectors"})
    bias = Component(TipBias, "", kind="omitted")
    imager = Component(TopographyImager, "", kind="omitted")

    @property
    def positioner(self) -> Positioner:
        """The XY stage."""
        return self.stage_xy

    @property
    def exposers(self) -> tuple[GuardedDevice[Any], ...]:
        """Both kinds of ramp."""
        return (self.ramp, self.software_ramp)

    @property
    def companions(self) -> tuple[Any, ...]:
        """The imager."""
        return (self.imager,)
