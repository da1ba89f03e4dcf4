"""Height of the tip, with the state of the force feedback loop."""

from nucleation_bluesky.devices._base import InstrumentDevice
from nucleation_bluesky.devices._signals import contract_signal


class ZSensor(InstrumentDevice):
    """Height of the tip (m); ``feedback`` is 1 while the force feedback loop is closed."""

    height = contract_signal("Z:RBV", kind="hinted")
    feedback = contract_signal("Z:FEEDBACK", kind="config")
