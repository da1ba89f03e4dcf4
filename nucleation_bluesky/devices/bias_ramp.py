"""Bias ramps, run by the controller or stepped: the ramp, its compliance and their checks."""

import math
from typing import Any

from ophyd import Component, Signal

from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.contract.files import WAVEFORM_CHANNELS
from nucleation_bluesky.contract.ramp import Compliance, RampSpec
from nucleation_bluesky.devices._ramp_layout import (
    RAMP_LAYOUT,
    RAMP_SETTINGS,
    compliance_values,
    ramp_values,
)
from nucleation_bluesky.devices._signals import soft
from nucleation_bluesky.devices.errors import BadValueError, NotConfiguredError
from nucleation_bluesky.devices.guarded import GuardedDevice


class BiasRamp(GuardedDevice[RampSpec]):
    """Base of the devices that expose sites to a bias ramp.

    Attributes
    ----------
    fast_segment_end : ophyd.Signal
        Bias at which a fast approach ended, V; NaN without one.
    """

    layout = RAMP_LAYOUT
    settings = RAMP_SETTINGS
    waveform_channels = WAVEFORM_CHANNELS

    fast_segment_end = Component(Signal, value=math.nan, kind="omitted")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self._compliance = Compliance()
        super().__init__(prefix, name=name, **kwargs)

    @property
    def compliance(self) -> Compliance:
        """Compliance of the next exposure."""
        return self._compliance

    def configure_exposure(
        self,
        spec: RampSpec,
        compliance: Compliance | None = None,
        *,
        safe_policy: SafeState | None = None,
        safe_bias: float = 0.0,
        max_samples: int | None = None,
    ) -> None:
        """Say what the next exposures are; checked against the controller's capabilities.

        Nothing is put until `stage`.

        Parameters
        ----------
        spec : RampSpec
            The ramp.
        compliance : Compliance or None
            None for no compliance.
        safe_policy : SafeState or None
            None leaves the controller's own.
        safe_bias : float
            Bias of the safe state ``hold``, V.
        max_samples : int or None
            Width of a waveform row; None for what ``spec`` needs.

        Raises
        ------
        BadValueError
            If the controller cannot do it.
        NotConnectedError
            If the controller does not answer.
        """
        wanted = compliance or Compliance()
        self.check_spec(spec)
        self._check_compliance(wanted)
        self._accept(spec, safe_policy=safe_policy, safe_bias=safe_bias, max_samples=max_samples)
        self._compliance = wanted

    def samples(self, spec: RampSpec) -> int:
        """Return the samples of a ramp that runs to its end."""
        return spec.n_samples + spec.n_post

    def check_spec(self, spec: RampSpec) -> None:
        """Refuse a ramp that the controller cannot run.

        Raises
        ------
        BadValueError
            Saying which limit it exceeds.
        """
        cap = self.controller.capabilities
        low, high = self.bias_range
        reach = (spec.start, *spec.vertices)
        if min(reach) < low or max(reach) > high:
            raise BadValueError(
                f"the ramp goes from {min(reach):g} to {max(reach):g} V, the {self.limiter} allows "
                f"{low:g} to {high:g} V"
            )
        slowest, fastest = cap.rate_range
        if not slowest <= spec.sample_rate <= fastest:
            raise BadValueError(
                f"the sample rate is {spec.sample_rate:g} Hz, the controller allows {slowest:g} to "
                f"{fastest:g} Hz"
            )

    def _check_compliance(self, compliance: Compliance) -> None:
        full = self.controller.capabilities.current_range
        window = compliance.current
        if window and full > 0 and (window.low < -full and window.high > full):
            raise BadValueError(
                f"the current compliance ({window.low:g} to {window.high:g} A) lies beyond the full"
                f" scale of the amplifier (+-{full:g} A) and would never trip; choose a lower gain"
            )

    def require_spec(self) -> RampSpec:
        """Return the configured ramp.

        Raises
        ------
        NotConfiguredError
            If there is none.
        """
        if self._spec is None:
            raise NotConfiguredError(
                f"{self.name} has no ramp; call {self.name}.configure_exposure(spec, compliance)"
            )
        return self._spec

    def _begin_stage(self) -> None:
        super()._begin_stage()
        self.fast_segment_end.put(math.nan)

    def _values(self) -> dict[str, Any]:
        return {
            **ramp_values(self.require_spec()),
            "fast_segment_end": soft(self.fast_segment_end),
        }

    def _settings_values(self) -> dict[str, float]:
        return compliance_values(self._spec, self._compliance)
