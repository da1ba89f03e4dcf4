"""Electrometer of the virtual SECCM: ranges, filter, what it can apply, and its noise at rest."""

import math
from collections.abc import Sequence
from dataclasses import replace

from nucleation_bluesky.contract.enums import AbortLocation, SafeState, StepMode
from nucleation_bluesky.contract.program import Step
from nucleation_bluesky.iocs.backend import Capabilities
from nucleation_bluesky.iocs.backends.virtual_rig import Rig
from nucleation_bluesky.iocs.seccm_backend import Reading
from nucleation_bluesky.worlds.seccm import Control

LATENCY = 50e-6  # s
RANGES = (1e-9, 1e-5)  # A, in decades
FILTERS = (10.0, 1e4)  # Hz
FILTER = 1e3
_SAMPLE_BANDWIDTH = 200.0  # Hz: of averages over 2.57 ms


class VirtualElectrometer:
    """Potentiostat, galvanostat and their amplifier.

    Parameters
    ----------
    rig : Rig
        World, clock and pipette.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._filter = FILTER
        p = rig.world.settings
        self.capabilities = Capabilities(
            bias_range=(-p.potential_range, p.potential_range),
            sample_rate_range=(50.0, 1e4),
            current_range=p.current_range,
            current_bandwidth=FILTER,
            height_bandwidth=1e3,
            abort=AbortLocation.CONTROLLER,
            latency=LATENCY,
            safe_states=frozenset(
                {
                    SafeState.OPEN_CIRCUIT,
                    SafeState.HOLD,
                    SafeState.ZERO,
                    SafeState.ZERO_CURRENT,
                }
            ),
            ramp=True,
            software_ramp=False,
        )
        self.settings = {"ELM:RANGE": p.current_range, "ELM:FILTER": FILTER}
        self._noise = rig.generator("electrometer at rest")

    def check(self, steps: Sequence[Step]) -> None:
        """Refuse what cannot be applied.

        Raises
        ------
        ValueError
            Naming the step.
        """
        caps = self.capabilities
        for number, step in enumerate(steps):
            values = (step.start, step.end)
            if step.mode is StepMode.POTENTIAL:
                low, high = caps.bias_range
                if not all(low <= v <= high for v in values):
                    raise ValueError(
                        f"step {number} goes beyond the potential range of {low:g} to {high:g} V"
                    )
            elif any(abs(v) > caps.current_range for v in values):
                raise ValueError(
                    f"step {number} needs more than the current range of "
                    f"{caps.current_range:g} A: set ELM:RANGE"
                )

    def in_air(self) -> Reading:
        """Measure with the meniscus in the air."""
        rig, p = self._rig, self._rig.world.settings
        noise = self._noise.standard_normal(2)
        potential = rig.rest.setpoint if rig.rest.mode is Control.POTENTIAL else 0.0
        current = p.current_noise * rig.noise_factor * float(noise[0])
        return Reading(potential + p.potential_noise * float(noise[1]), current, rig.position["z"])

    def set(self, name: str, value: float) -> float:
        """Apply a setting; return the value in force.

        Raises
        ------
        ValueError
            If it is out of range, or there is no such setting.
        """
        if not math.isfinite(value):
            raise ValueError("the value must be a finite number")
        if name == "ELM:RANGE":
            if not RANGES[0] <= value <= RANGES[1]:
                raise ValueError(f"ranges go from {RANGES[0]:g} to {RANGES[1]:g} A in decades")
            value = float(f"1e{math.ceil(math.log10(value) - 1e-9)}")
            self.capabilities = replace(self.capabilities, current_range=value)
        elif name == "ELM:FILTER":
            if not FILTERS[0] <= value <= FILTERS[1]:
                raise ValueError(f"the filter can be set from {FILTERS[0]:g} to {FILTERS[1]:g} Hz")
            self._filter = value
            self.capabilities = replace(self.capabilities, current_bandwidth=value)
        else:
            raise ValueError(f"this instrument has no setting {name}")
        # samples are averages over 2.57 ms: a wider filter adds little, a narrower one takes noise
        noise = math.sqrt(min(self._filter, _SAMPLE_BANDWIDTH) / _SAMPLE_BANDWIDTH)
        self._rig.set_range(self.capabilities.current_range, noise)
        return value
