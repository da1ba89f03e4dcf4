"""The ramp controller: one trigger is one guarded exposure, run and aborted by the controller."""

from typing import Any

from ophyd import Component

from nucleation_bluesky.contract.enums import Background
from nucleation_bluesky.contract.ramp import RampSpec, Window
from nucleation_bluesky.devices._signals import contract_signal
from nucleation_bluesky.devices.bias_ramp import BiasRamp
from nucleation_bluesky.devices.controller_run import ControllerRun, NextExposure
from nucleation_bluesky.devices.errors import BadValueError


class RampController(ControllerRun[RampSpec], BiasRamp):
    """Runs bias ramps with compliance in the controller.

    Call `configure_exposure`, attach a ``guard``, stage; then each trigger exposes the site under
    the tip once. `read` gives the roles of the contract as ``<name>_<role>``.

    Parameters
    ----------
    prefix : str
        Of the instrument's PVs.
    name : str
        Of the device.
    """

    spec_type = RampSpec
    waveform = Component(NextExposure, kind="omitted")

    start = contract_signal("RAMP:START")
    vertices = contract_signal("RAMP:VERTICES")
    rates = contract_signal("RAMP:RATES")
    sample_rate = contract_signal("RAMP:SAMPLE_RATE")
    current_on = contract_signal("COMP:CURRENT:ON")
    current_low = contract_signal("COMP:CURRENT:LOW")
    current_high = contract_signal("COMP:CURRENT:HIGH")
    height_on = contract_signal("COMP:HEIGHT:ON")
    height_low = contract_signal("COMP:HEIGHT:LOW")
    height_high = contract_signal("COMP:HEIGHT:HIGH")
    blanking = contract_signal("COMP:BLANKING")
    confirm = contract_signal("COMP:CONFIRM")
    background = contract_signal("COMP:BACKGROUND")
    background_time = contract_signal("COMP:BACKGROUND:TIME")
    after_action = contract_signal("AFTER:ACTION")
    after_time = contract_signal("AFTER:TIME")
    after_samples = contract_signal("AFTER:SAMPLES")

    # -- parameters ------------------------------------------------------------------------------

    def check_spec(self, spec: RampSpec) -> None:
        """Refuse a ramp that the controller cannot run (BadValueError)."""
        if not self.controller.capabilities.ramp:
            raise BadValueError(
                "this controller does not run ramps by itself (CAP:RAMP is 0); use the stepped, "
                "software ramp"
            )
        super().check_spec(spec)

    def _spec_parameters(self, spec: RampSpec) -> dict[str, Any]:
        return {
            "start": spec.start,
            "vertices": spec.vertices,
            "rates": spec.rates,
            "sample_rate": spec.sample_rate,
            "after_action": int(spec.after_trip),
            "after_time": spec.after_time,
            "after_samples": spec.n_post,
        }

    def _fixed_parameters(self) -> dict[str, Any]:
        compliance = self._compliance
        parameters: dict[str, Any] = {
            "blanking": compliance.blanking,
            "confirm": compliance.confirm_samples,
            "background": int(
                Background.SUBTRACT if compliance.subtract_background else Background.OFF
            ),
            "background_time": compliance.background_time,
        }
        for channel in ("current", "height"):
            window: Window | None = getattr(compliance, channel)
            parameters[f"{channel}_on"] = int(window is not None)
            if window is not None:
                parameters |= {f"{channel}_low": window.low, f"{channel}_high": window.high}
        return parameters

    def _wall(self) -> float:
        spec = self.require_spec()
        return spec.duration + spec.after_time
