"""The ramp controller: one trigger is one guarded exposure, run and aborted by the controller."""

import threading
import time
from typing import Any

from ophyd import Component, Signal
from ophyd.status import DeviceStatus, Status

from nucleation_bluesky.contract.enums import Background, Termination
from nucleation_bluesky.contract.ramp import Compliance, RampSpec, Window
from nucleation_bluesky.devices._signals import (
    TIMEOUT,
    ContractSignal,
    contract_signal,
    write_together,
)
from nucleation_bluesky.devices._worker import Worker
from nucleation_bluesky.devices.errors import (
    BadValueError,
    ExposureFailedError,
    InstrumentError,
    PutRefusedError,
)
from nucleation_bluesky.devices.exposure import ExposureDevice, ExposureGuard
from nucleation_bluesky.ledger import Claim

MARGIN = 2.0  # s of wall time beyond the ramp before it counts as lost


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


class RampController(ExposureDevice):
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
    file_dir = contract_signal("FILE:DIR")
    file_prefix = contract_signal("FILE:PREFIX")
    file_rows = contract_signal("FILE:ROWS")
    file_max_samples = contract_signal("FILE:MAX_SAMPLES")
    file_capture = contract_signal("FILE:CAPTURE")
    file_segment = contract_signal("FILE:SEGMENT")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self._worker = Worker(f"{name}-worker")
        self._idle = threading.Event()
        self._idle.set()
        self._last: dict[str, Any] = {}  # what was last put and verified, by component
        self._seq = -1
        super().__init__(prefix, name=name, **kwargs)

    @property
    def writes_waveforms(self) -> bool:
        """Whether the controller writes waveform files for us."""
        return self.data_directory is not None and self.controller.capabilities.files

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

    def _put_changed(self, parameters: dict[str, Any]) -> None:
        changed = {n: v for n, v in parameters.items() if self._last.get(n) != v}
        for name in changed:
            self._last.pop(name, None)
        write_together([(self._signal(name), value) for name, value in changed.items()])
        self._last.update(changed)

    def _signal(self, name: str) -> ContractSignal:
        return getattr(self, name)

    # -- staging ---------------------------------------------------------------------------------

    def stage(self) -> list[object]:
        """Put all parameters, open the waveform files, measure the clocks.

        Raises
        ------
        NotConfiguredError
            Without a ramp.
        InstrumentError
            If the controller refuses a parameter or does not answer.
        """
        spec = self.require_spec()
        controller = self.controller
        controller.check()
        self._leave_last_stage()
        staged = super().stage()
        try:
            self._begin_stage()
            self._last.clear()  # another client may have written since
            self._put_changed(
                self._ramp_parameters(spec) | self._compliance_parameters(self._compliance)
            )
            if self._safe_policy is not None:
                write_together(
                    [
                        (controller.safe_policy, int(self._safe_policy)),
                        (controller.safe_bias, self._safe_bias),
                    ]
                )
            self._open_capture()
            controller.measure_clock()
            controller.refresh_epoch()
            self._seq = controller.seq.get()
        except BaseException:
            super().unstage()
            raise
        return staged

    def _open_capture(self) -> None:
        self._announcer = None
        directory = self.data_directory
        if directory is None or not self.controller.capabilities.files:
            if self.controller.capabilities.files:
                self._close_capture()
            return
        directory.local.mkdir(parents=True, exist_ok=True)
        prefix = self._new_files()
        self._close_capture()
        write_together(
            [
                (self.file_dir, directory.on_controller),
                (self.file_prefix, prefix),
                (self.file_rows, self.rows_per_file),
                (self.file_max_samples, self._max_samples),
            ]
        )
        self.file_capture.command(1)
        if self.file_capture.get() != 1:
            raise InstrumentError(
                f"the controller did not open its waveform files in {directory.on_controller} "
                f"({self.controller.fault_description()})"
            )
        self._start_files(prefix)

    def unstage(self) -> list[object]:
        """End an exposure still under way, close the waveform files.

        Raises
        ------
        InstrumentError
            If the controller does not close them.
        """
        if self._active:
            self.stop()
        try:
            self._idle.wait(TIMEOUT)
            if self._announcer is not None:
                self._announcer = None
                self._close_capture()
        finally:
            unstaged = super().unstage()
            self._read_done = True
        return unstaged

    def _close_capture(self) -> None:
        """Close the files; a controller that is still ending an exposure refuses at first."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            self.file_capture.command(0)
            if self.file_capture.get() == 0:
                return
            if time.monotonic() > deadline:
                raise PutRefusedError(
                    f"the controller did not close its waveform files "
                    f"({self.controller.fault_description()})"
                )
            self._worker.pause(0.05)

    # -- exposure --------------------------------------------------------------------------------

    def trigger(self) -> DeviceStatus:
        """Expose the site under the tip: claim, arm, go, read the result.

        Returns
        -------
        DeviceStatus
            Fails with what the ledger or the controller refused, or with ExposureFailedError; in
            every failure after the claim the controller is killed and the site burned.

        Raises
        ------
        UnguardedExposureError, UnreadExposureError, NotConfiguredError
            Before anything is put.
        """
        guard, spec = self.require_guard(), self.require_spec()
        wall = spec.duration + spec.after_time + MARGIN
        # the worker's own deadlines come first; this one is for a worker that is stuck
        status = DeviceStatus(self, timeout=wall + 4 * TIMEOUT)
        kills = self.controller.kills
        self._idle.clear()

        def job() -> None:
            try:
                self._expose(guard, spec, wall, kills)
            finally:
                self._active = False
                self._idle.set()

        self._worker.submit(status, job)
        return status

    def _expose(self, guard: ExposureGuard, spec: RampSpec, wall: float, kills: int) -> None:
        claim = guard.claim()
        try:
            result = self._run(guard, claim, wall, kills)
            termination = Termination(int(result["termination"]))
            self._publish(claim, spec, result)
            self._require_orderly(termination)
            guard.finished(claim, result)
            self._row_in_doubt = False
        except BaseException as exc:
            self._burn(guard, claim, exc)
            raise

    def _run(self, guard: ExposureGuard, claim: Claim, wall: float, kills: int) -> dict[str, float]:
        controller = self.controller
        self._active = True
        controller.arm(claim.token)
        guard.energised(claim)
        if controller.kills != kills:
            raise ExposureFailedError(
                "stopped before the ramp began; its site is burned", Termination.KILLED
            )
        self._row_in_doubt = self._announcer is not None
        controller.go_signal.command(claim.token, wall)
        result = controller.read_result(claim.token, self._seq)
        self._seq = int(result["seq"])
        return result
