"""Devices of the instruments: classic ophyd, SI units, guarded exposures."""

from nucleation_bluesky.devices._assets import DataDirectory
from nucleation_bluesky.devices.afm import AfmInstrument
from nucleation_bluesky.devices.controller import Controller
from nucleation_bluesky.devices.exposure import ExposureDevice, ExposureGuard
from nucleation_bluesky.devices.imager import Image, TopographyImager
from nucleation_bluesky.devices.ramp import RampController, RampWaveform
from nucleation_bluesky.devices.software_ramp import SoftwareRamp
from nucleation_bluesky.devices.stage import StageAxis, XYStage
from nucleation_bluesky.devices.tip_bias import Measurement, TipBias

__all__ = [
    "AfmInstrument",
    "Controller",
    "DataDirectory",
    "ExposureDevice",
    "ExposureGuard",
    "Image",
    "Measurement",
    "RampController",
    "RampWaveform",
    "SoftwareRamp",
    "StageAxis",
    "TipBias",
    "TopographyImager",
    "XYStage",
]
