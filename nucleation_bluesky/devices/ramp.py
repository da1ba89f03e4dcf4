"""The ramp controller: one trigger is one guarded exposure, run and aborted by the controller."""

from typing import Any

from ophyd import Component, Signal
from ophyd.status import Status

from nucleation_bluesky.contract.enums import Background
from nucleation_bluesky.contract.ramp import Compliance, RampSpec, Window
from nucleation_bluesky.devices._signals import TIMEOUT, contract_signal
from nucleation_bluesky.devices.controller_run import ControllerRun
from nucleation_bluesky.devices.errors import BadValueError, InstrumentError
from nucleation_bluesky.devices.exposure import ExposureDevice


class RampWaveform(Signal):
    """The ramp of the next exposure, for plans that change it from site to site.

    ``bps.abs_set(ramp.waveform, spec, wait=True)`` puts what differs from the last one. Stopping
    it stops the ramp, so that a halted RunEngine leaves nothing energised.
    """

    @property
    def _ramp(self) -> "RampController":
        parent = self.parent
        if not isinstance(parent, RampController):
            raise InstrumentError("a waveform belongs to a ramp controller")
        return parent

    def check_value(self, value: RampSpec, **_kwargs: Any) -> None:
        """Refuse what the controller cannot run (BadValueError)."""
        self._ramp.check_waveform(value)

    def set(self, value: RampSpec, **_kwargs: Any) -> Status:
        """Put the ramp's parameters that changed, verified by readback."""
        self.check_value(value)
        return self._ramp.submit_waveform(value)

    def get(self, **_kwargs: Any) -> RampSpec | None:
        """Return the ramp in force."""
        return self._ramp.spec

    def stop(self, *, success: bool = False) -> None:
        """As the ramp's."""
        self._ramp.stop(success=success)


class RampController(ControllerRun, ExposureDevice):
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

    waveform = Component(RampWaveform, kind="omitted")

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

    def check_waveform(self, spec: RampSpec) -> None:
        """Refuse a ramp for the next site (BadValueError)."""
        if not isinstance(spec, RampSpec):
            raise BadValueError("the waveform of a ramp is a RampSpec")
        self.check_spec(spec)
        needed = spec.n_samples + spec.n_post
        if self.writes_waveforms and needed > self._max_samples:
            raise BadValueError(
                f"this ramp has {needed} samples, the open files take {self._max_samples}; "
                "configure_exposure(..., max_samples=...) before the run"
            )

    def submit_waveform(self, spec: RampSpec) -> Status:
        """Put another ramp from the device's thread."""
        status = Status(self, timeout=3 * TIMEOUT)

        def job() -> None:
            self._put_changed(self._ramp_parameters(spec))
            self._spec = spec

        return self._worker.submit(status, job)

    @staticmethod
    def _ramp_parameters(spec: RampSpec) -> dict[str, Any]:
        return {
            "start": spec.start,
            "vertices": spec.vertices,
            "rates": spec.rates,
            "sample_rate": spec.sample_rate,
            "after_action": int(spec.after_trip),
            "after_time": spec.after_time,
            "after_samples": spec.n_post,
        }

    @staticmethod
    def _compliance_parameters(compliance: Compliance) -> dict[str, Any]:
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

    # -- as controller-run exposures ask -----------------------------------------------------------

    def _parameters(self) -> dict[str, Any]:
        spec = self.require_spec()
        return self._ramp_parameters(spec) | self._compliance_parameters(self._compliance)

    def _wall(self) -> float:
        spec = self.require_spec()
        return spec.duration + spec.after_time

    def _values(self) -> dict[str, Any]:
        return self._ramp_reading(self.require_spec())
