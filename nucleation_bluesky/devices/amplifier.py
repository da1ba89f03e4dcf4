"""Current amplifier: the tip current, with gain and filter as configuration."""

from nucleation_bluesky.devices._base import InstrumentDevice
from nucleation_bluesky.devices._signals import contract_signal


class CurrentAmplifier(InstrumentDevice):
    """Tip current (A; negative reduces), gain (V/A) and filter (-3 dB bandwidth, Hz)."""

    current = contract_signal("AMP:CURRENT", kind="hinted")
    gain = contract_signal("AMP:GAIN", kind="config")
    filter = contract_signal("AMP:FILTER", kind="config")
