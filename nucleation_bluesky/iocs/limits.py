"""Limits of a step of a landing, on every sample, in blocks with the result of a loop over samples.

At one and the same sample they bind in this order: a sample that is not finite, not fresh or at
full scale; current; potential; charge. The first kind knows neither blanking nor confirmation.
"""

import math
from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.contract.program import Step
from nucleation_bluesky.iocs.compliance import ConsecutiveOutside
from nucleation_bluesky.iocs.seccm_backend import LandingBlock


@dataclass(frozen=True)
class Hit:
    """Sample ``position`` of the block reached a limit, or is bad."""

    position: int
    termination: Termination
    bad: bool = False


def first_bad(block: LandingBlock, low: int, high: int, *, saturation: bool) -> Hit | None:
    """Return the first sample of [low, high) that is not finite, not fresh, or at full scale.

    ``saturation`` is False where full scale is expected: in an approach.
    """
    part = slice(low, high)
    finite = np.isfinite(block.potential[part]) & np.isfinite(block.current[part])
    fresh = None if block.fresh is None else np.asarray(block.fresh[part], dtype=bool)
    full = None if block.saturated is None or not saturation else np.asarray(block.saturated[part])
    masks = (
        (~(finite & np.isfinite(block.z[part])), Termination.NONFINITE),
        (None if fresh is None else ~fresh, Termination.STALE),
        (full, Termination.SATURATED),
    )
    hits = [
        Hit(low + int(np.argmax(m)), why, True) for m, why in masks if m is not None and m.any()
    ]
    return min(hits, key=lambda hit: hit.position) if hits else None


class StepLimits:
    """Checks consecutive samples of one step.

    Parameters
    ----------
    step : Step
        The step.
    period : float
        Time between samples, s.
    """

    def __init__(self, step: Step, period: float):
        self._period = period
        self._blanked = math.ceil(step.blanking / period - 1e-9)
        self._count = 0
        self._charge = 0.0
        self._charge_limits = step.charge
        self._channels = [
            (name, ConsecutiveOutside(limits, step.confirm_samples), why)
            for name, limits, why in (
                ("current", step.current, Termination.CURRENT_COMPLIANCE),
                ("potential", step.potential, Termination.POTENTIAL_LIMIT),
            )
            if limits is not None
        ]

    @property
    def charge(self) -> float:
        """Net charge of the samples so far, C."""
        return self._charge

    def check(self, block: LandingBlock, low: int, high: int) -> Hit | None:
        """Check samples [low, high) of a block; all belong to this step.

        Returns
        -------
        Hit or None
            The first one that ends the step.
        """
        bad = first_bad(block, low, high, saturation=True)
        end = bad.position if bad else high
        hits = []
        compare = low + min(max(self._blanked - self._count, 0), end - low)
        for name, outside, why in self._channels:
            found = outside.feed(np.asarray(getattr(block, name)[compare:end], dtype=float))
            if found is not None:
                hits.append(Hit(compare + found, why))
        # The sum runs sample by sample, carried over, so that blocks cannot change its rounding.
        steps = np.asarray(block.current[low:end], dtype=float) * self._period
        charge = np.cumsum(np.concatenate(([self._charge], steps)))[1:]
        if (limits := self._charge_limits) is not None:
            beyond = np.flatnonzero((charge <= limits.low) | (charge >= limits.high))
            if len(beyond):
                hits.append(Hit(low + int(beyond[0]), Termination.CHARGE_LIMIT))
        hit = min(hits, key=lambda h: h.position) if hits else bad
        used = (hit.position + 1 - (hit is bad) if hit else high) - low
        if used:
            self._charge = float(charge[used - 1])
        self._count += used
        return hit
