"""Electrometer: current and potential between the electrodes, with range and filter."""

from nucleation_bluesky.devices._base import InstrumentDevice
from nucleation_bluesky.devices._signals import contract_signal


class Electrometer(InstrumentDevice):
    """Current (A; negative reduces) and raw potential (V) outside a landing."""

    current = contract_signal("ELM:CURRENT", kind="hinted")
    potential = contract_signal("ELM:POTENTIAL", kind="hinted")
    range = contract_signal("ELM:RANGE", kind="config")
    filter = contract_signal("ELM:FILTER", kind="config")
