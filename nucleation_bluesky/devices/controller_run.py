"""Exposures that the controller runs by itself: claim, arm, go, read the result."""

import threading
import time
import uuid
from abc import abstractmethod
from typing import Any, ClassVar

from ophyd import Signal
from ophyd.status import DeviceStatus, Status

from nucleation_bluesky.contract.enums import Termination
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
from nucleation_bluesky.devices.guarded import ExposureGuard, GuardedDevice, Spec
from nucleation_bluesky.ledger import Claim

TOLERANCE = 1.1  # real stages are somewhat slower than their speed says
MARGIN = 2.0  # s of wall time beyond the exposure before it counts as lost


class NextExposure(Signal):
    """What the next exposure is, for plans that change it from site to site.

    ``bps.abs_set(ramp.waveform, spec, wait=True)`` puts what differs from the last one. Stopping
    it stops the device, so that a halted RunEngine leaves nothing energised.
    """

    @property
    def _device(self) -> "ControllerRun[Any]":
        parent = self.parent
        if not isinstance(parent, ControllerRun):
            raise InstrumentError(f"{self.name} is no part of a device that exposes sites")
        return parent

    def check_value(self, value: Any, **_kwargs: Any) -> None:
        """Refuse what the controller cannot run (BadValueError)."""
        self._device.check_next(value)

    def set(self, value: Any, **_kwargs: Any) -> Status:
        """Put the parameters that changed, verified by readback."""
        self.check_value(value)
        return self._device.submit_next(value)

    def get(self, **_kwargs: Any) -> Any:
        """Return what is in force; None before the device was told."""
        return self._device.spec

    def stop(self, *, success: bool = False) -> None:
        """As the device's."""
        self._device.stop(success=success)


class ControllerRun(GuardedDevice[Spec]):
    """Base of the devices whose exposure is one GO.

    A family says what one exposure is (`spec_type`, `check_spec`), which parameters to put for it,
    how long it may take, and what its reading holds beside RESULT.
    """

    spec_type: ClassVar[type]
    spoiling: frozenset[Termination] = frozenset()  # orderly ends that leave a burned site

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
        super().__init__(prefix, name=name, **kwargs)

    @property
    def writes_waveforms(self) -> bool:
        """Whether the controller writes waveform files for us."""
        return self.data_directory is not None and self.controller.capabilities.files

    # -- what a family says ------------------------------------------------------------------------

    @abstractmethod
    def _spec_parameters(self, spec: Spec) -> dict[str, Any]:
        """Component name -> value of everything that follows from ``spec``."""

    @abstractmethod
    def _wall(self) -> float:
        """Longest wall time of the exposure to come, s."""

    def _fixed_parameters(self) -> dict[str, Any]:
        """Component name -> value of what stays the same from site to site."""
        return {}

    # -- parameters --------------------------------------------------------------------------------

    def _put_changed(self, parameters: dict[str, Any]) -> None:
        changed = {n: v for n, v in parameters.items() if self._last.get(n) != v}
        for name in changed:
            self._last.pop(name, None)
        write_together([(self._signal(name), value) for name, value in changed.items()])
        self._last.update(changed)

    def _signal(self, name: str) -> ContractSignal:
        return getattr(self, name)

    def check_next(self, spec: Spec) -> None:
        """Refuse what cannot be the next exposure (BadValueError)."""
        if not isinstance(spec, self.spec_type):
            raise BadValueError(f"{self.name} takes a {self.spec_type.__name__}, not {spec!r}")
        self.check_spec(spec)
        needed = self.samples(spec)
        if self.writes_waveforms and needed > self._max_samples:
            raise BadValueError(
                f"this exposure may have {needed} samples, the open files take "
                f"{self._max_samples}; configure_exposure(..., max_samples=...) before the run"
            )

    def submit_next(self, spec: Spec) -> Status:
        """Put what the next exposure is, from the device's thread."""
        status = Status(self, timeout=3 * TIMEOUT)

        def job() -> None:
            self._put_changed(self._spec_parameters(spec))
            self._spec = spec

        return self._worker.submit(status, job)

    # -- staging -----------------------------------------------------------------------------------

    def _put_parameters(self) -> None:
        self._last.clear()  # another client may have written since
        self._put_changed(self._spec_parameters(self.require_spec()) | self._fixed_parameters())

    def _open_files(self) -> None:
        self._announcer = None
        if not self.controller.capabilities.files:
            return
        self._close_capture()
        directory = self.data_directory
        if directory is None:
            return
        directory.local.mkdir(parents=True, exist_ok=True)
        prefix = uuid.uuid4().hex
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
        self._announce_files(directory, prefix)

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

    # -- exposure ----------------------------------------------------------------------------------

    def trigger(self) -> DeviceStatus:
        """Expose the site under the probe: claim, arm, go, read the result.

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
        guard, wall = self.require_guard(), TOLERANCE * self._wall() + MARGIN
        # the worker's own deadlines come first; this one is for a worker that is stuck
        status = DeviceStatus(self, timeout=wall + 4 * TIMEOUT)
        kills = self.controller.kills
        self._idle.clear()

        def job() -> None:
            try:
                self._expose(guard, wall, kills)
            finally:
                self._active = False
                self._idle.set()

        self._worker.submit(status, job)
        return status

    def _expose(self, guard: ExposureGuard, wall: float, kills: int) -> None:
        claim = guard.claim()
        try:
            result = self._run(guard, claim, wall, kills)
            termination = Termination(int(result["termination"]))
            self._publish(claim, {**self._values(), **result})
            self._require_orderly(termination)
            if termination in self.spoiling:
                guard.burned(claim, termination.label)
            else:
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
                "stopped before the exposure began; its site is burned", Termination.KILLED
            )
        self._row_in_doubt = self._announcer is not None
        controller.go_signal.command(claim.token, wall)
        result = controller.read_result(claim.token, self._seq)
        self._seq = int(result["seq"])
        return result
