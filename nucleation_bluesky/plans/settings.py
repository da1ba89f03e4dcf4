"""Settings of an instrument as plans, for queues that change them between maps."""

import math

import bluesky.plan_stubs as bps
from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator, plan

from nucleation_bluesky.plans.decorator import checked_plan

TIMEOUT = 10.0  # s


@checked_plan
def set_gain(instrument: Readable, *, gain: float) -> MsgGenerator[None]:
    """Set the gain of the current amplifier.

    Parameters
    ----------
    instrument : device
        With an ``amplifier``.
    gain : float
        Transimpedance gain, V/A.

    Raises
    ------
    ValueError
        At the call, if the gain is no positive number or the instrument has no amplifier.
    """
    signal = getattr(getattr(instrument, "amplifier", None), "gain", None)
    if signal is None:
        raise ValueError(f"'{instrument.name}' has no amplifier with a gain")
    if not (math.isfinite(gain) and gain > 0):
        raise ValueError(f"the gain must be above 0 V/A (got {gain:g})")

    @plan
    def run() -> MsgGenerator[None]:
        yield from bps.abs_set(signal, gain, wait=True, timeout=TIMEOUT)

    return run()
