"""Devices of the instruments: classic ophyd, SI units, guarded exposures."""

from nucleation_bluesky.devices._assets import DataDirectory
from nucleation_bluesky.devices.afm import AfmInstrument
from nucleation_bluesky.devices.camera import FilmCamera
from nucleation_bluesky.devices.controller import Controller
from nucleation_bluesky.devices.controller_run import NextExposure
from nucleation_bluesky.devices.guarded import ExposureGuard, GuardedDevice
from nucleation_bluesky.devices.imager import Image, TopographyImager
from nucleation_bluesky.devices.landing import Landing
from nucleation_bluesky.devices.pipette import Pipette
from nucleation_bluesky.devices.ramp import RampController
from nucleation_bluesky.devices.seccm import SeccmInstrument
from nucleation_bluesky.devices.software_ramp import SoftwareRamp
from nucleation_bluesky.devices.stage import StageAxis, XYStage
from nucleation_bluesky.devices.tip_bias import Measurement, TipBias

__all__ = [
    "AfmInstrument",
    "Controller",
    "DataDirectory",
    "ExposureGuard",
    "FilmCamera",
    "GuardedDevice",
    "Image",
    "Landing",
    "Measurement",
    "NextExposure",
    "Pipette",
    "RampController",
    "SeccmInstrument",
    "SoftwareRamp",
    "StageAxis",
    "TipBias",
    "TopographyImager",
    "XYStage",
]
