"""Ramp by read, decide and step, for controllers that cannot abort by themselves.

A plan drives it with ordinary messages: ``trigger(ramp.begin)``, ``abs_set(ramp.bias, v)`` for
each step (the measurement is then in ``ramp.bias.last``), ``abs_set(ramp.end, termination)``,
then ``read(ramp)`` for the event. The roles are those of the controller-run ramp.
"""

import math
import time
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
from ophyd import Component, Device, Signal
from ophyd.status import DeviceStatus

from nucleation_bluesky.contract.enums import ControllerState, Termination
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.devices._signals import TIMEOUT, contract_signal
from nucleation_bluesky.devices._worker import Worker
from nucleation_bluesky.devices.bias_ramp import BiasRamp
from nucleation_bluesky.devices.errors import (
    BadValueError,
    ExposureFailedError,
    InstrumentError,
)
from nucleation_bluesky.devices.guarded import ExposureGuard
from nucleation_bluesky.devices.tip_bias import Measurement, TipBias
from nucleation_bluesky.ledger import Claim
from nucleation_bluesky.segments import SegmentWriter

DEFAULT_STEPS = 4096
_TIME = {"sample_time": "s"}  # since the first sample: the steps of a plan are irregular


class SoftwareBegin(Device):
    """Triggering it claims the site and energises under the plan's control."""

    def trigger(self) -> DeviceStatus:
        """Claim, ARM, SOFT:GO."""
        return _ramp_of(self).submit_begin()

    def stop(self, *, success: bool = False) -> None:
        """As the ramp's."""
        _ramp_of(self).stop(success=success)


class SoftwareEnd(Signal):
    """Setting it to a Termination ends the ramp: safe state, result, record."""

    def set(self, value: int, **_kwargs: Any) -> Any:
        """End the ramp.

        Raises
        ------
        BadValueError
            If the value is no Termination.
        """
        try:
            termination = Termination(int(value))
        except ValueError as exc:
            raise BadValueError(f"{value} is no Termination") from exc
        return _ramp_of(self).submit_end(termination)

    def stop(self, *, success: bool = False) -> None:
        """As the ramp's."""
        _ramp_of(self).stop(success=success)


class RecordedBias(TipBias):
    """The bias of a software ramp: each step's measurement is recorded."""

    def measure(self) -> Measurement:
        """Measure and record."""
        found = super().measure()
        _ramp_of(self).record(found)
        return found


def _ramp_of(part: Any) -> "SoftwareRamp":
    parent = part.parent
    if not isinstance(parent, SoftwareRamp):
        raise InstrumentError("this belongs to a software ramp")
    return parent


class SoftwareRamp(BiasRamp):
    """A bias ramp that the plan steps; overshoot is what the plan's reaction time makes it."""

    begin = Component(SoftwareBegin, "", kind="omitted")
    bias = Component(RecordedBias, "", kind="omitted")
    end = Component(SoftwareEnd, value=0, kind="omitted")
    soft_go = contract_signal("SOFT:GO")
    soft_end = contract_signal("SOFT:END")
    file_capture = contract_signal("FILE:CAPTURE")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self._worker = Worker(f"{name}-worker")
        self._writer: SegmentWriter | None = None
        self._claim: Claim | None = None
        self._owner: ExposureGuard | None = None
        self._record: list[Measurement] = []
        super().__init__(prefix, name=name, **kwargs)

    @property
    def channels(self) -> dict[str, str]:
        """Waveform channels in the files, with their units; time is one of them."""
        return super().channels | _TIME

    def check_spec(self, spec: RampSpec) -> None:
        """Refuse a ramp beyond the bias range, or a controller without software ramps."""
        cap = self.controller.capabilities
        if not cap.software:
            raise BadValueError("this controller has no software ramps (CAP:SOFTWARE is 0)")
        super().check_spec(
            replace(
                spec, sample_rate=min(max(spec.sample_rate, cap.rate_range[0]), cap.rate_range[1])
            )
        )

    def configure_exposure(self, spec: RampSpec, *args: Any, **kwargs: Any) -> None:
        """As for controller-run ramps; ``max_samples`` is the largest number of steps."""
        kwargs["max_samples"] = kwargs.get("max_samples") or max(
            DEFAULT_STEPS, spec.n_samples + spec.n_post
        )
        super().configure_exposure(spec, *args, **kwargs)

    # -- staging ---------------------------------------------------------------------------------

    def _put_parameters(self) -> None:
        if self.controller.capabilities.files:
            self.file_capture.write(0)  # these waveforms are ours

    def _open_files(self) -> None:
        self._announcer = None
        directory = self.data_directory
        if directory is None:
            return
        directory.local.mkdir(parents=True, exist_ok=True)
        prefix = uuid.uuid4().hex
        self._writer = SegmentWriter(
            directory.local, prefix, self.rows_per_file, self._max_samples, extra=_TIME
        )
        self._announce_files(directory, prefix)

    def unstage(self) -> list[object]:
        """End a ramp still under way, close the files."""
        if self._active:
            self.stop()
            self._abandon("unstaged while energised")
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._read_done = True
        return super().unstage()

    # -- the exposure, driven by the plan --------------------------------------------------------

    def submit_begin(self) -> DeviceStatus:
        """Claim, arm and energise from the device's thread.

        Raises
        ------
        UnguardedExposureError, UnreadExposureError, NotConfiguredError
            Before anything is put.
        """
        guard, _ = self.require_guard(), self.require_spec()
        if self._active:
            raise InstrumentError("a software ramp is under way; end it first")
        kills = self.controller.kills
        status = DeviceStatus(self, timeout=6 * TIMEOUT)
        return self._worker.submit(status, lambda: self._begin(guard, kills))

    def _begin(self, guard: ExposureGuard, kills: int) -> None:
        claim = guard.claim()
        self._claim, self._owner, self._record = claim, guard, []
        self.bias.last = None
        self._active = True
        try:
            self.controller.arm(claim.token)
            guard.energised(claim)
            self._energise(claim, kills)
        except BaseException as exc:
            self._fail(exc)
            raise

    def _energise(self, claim: Claim, kills: int) -> None:
        if self.controller.kills != kills:
            raise ExposureFailedError("stopped before it began; its site is burned")
        self.soft_go.command(claim.token)
        state = self.controller.state.get()
        if state != ControllerState.ENERGISED:
            raise ExposureFailedError(
                f"the controller did not energise ({self.controller.fault_description()}); "
                "its site is burned"
            )
        self.bias.measure()

    def record(self, measurement: Measurement) -> None:
        """Take up a measurement of a step."""
        if self._active:
            self._record.append(measurement)

    def submit_end(self, termination: Termination) -> DeviceStatus:
        """End the ramp from the device's thread.

        Raises
        ------
        InstrumentError
            If none is under way.
        """
        if not self._active:
            raise InstrumentError("no software ramp is under way")
        status = DeviceStatus(self, timeout=4 * TIMEOUT)
        return self._worker.submit(status, lambda: self._end(termination))

    def _end(self, termination: Termination) -> None:
        claim, guard = self._claim, self._owner
        if claim is None or guard is None:
            raise InstrumentError("no software ramp is under way")
        try:
            self.soft_end.command(int(termination))
            result = self.controller.read_result(claim.token, self._seq)
            self._seq = int(result["seq"])
            found = Termination(int(result["termination"]))
            self._publish(
                claim, {**self._values(), **self._complete(result), "sample_rate": math.nan}
            )
            self._require_orderly(found)
            guard.finished(claim, result)
            self._row_in_doubt = False
        except BaseException as exc:
            self._fail(exc)
            raise
        self._active, self._claim = False, None

    def _complete(self, result: dict[str, float]) -> dict[str, float]:
        """Fill in what only we know: the waveform is ours."""
        table = np.array(
            [(m.ticks, m.bias, m.current, m.height) for m in self._record[: self._max_samples]]
        ).reshape(-1, 4)
        ticks, bias, current, height = table.T
        full = dict(result) | {"n_samples": len(table), "n_post": 0, "latency": math.nan}
        if len(table):
            full |= {
                "stop_bias": bias[-1],
                "stop_current": current[-1],
                "height_change": height[-1] - height[0],
                "peak_current": current[np.argmax(np.abs(current))],
                "charge": float(np.trapezoid(current, ticks)),
                "start_ticks": ticks[0],
            }
        if self._writer is not None:
            scalars = {k: full[k] for k in ("n_samples", "n_post", "termination", "seq")}
            scalars |= {"start_ticks": full["start_ticks"], "sample_rate": math.nan}
            segment, row = self._writer.append(
                {
                    "bias": bias,
                    "current": current,
                    "height": height,
                    "sample_time": ticks - ticks[0] if len(ticks) else ticks,
                },
                scalars,
            )
            full |= {"file_segment": segment, "file_row": row}
            self._row_in_doubt = True
        return full

    @property
    def elapsed(self) -> float:
        """Instrument time since the ramp began, s."""
        return self._record[-1].ticks - self._record[0].ticks if self._record else 0.0

    def _fail(self, why: BaseException) -> None:
        claim, guard = self._claim, self._owner
        self._active, self._claim = False, None
        if claim is not None and guard is not None:
            self._burn(guard, claim, why)

    def _abandon(self, why: str) -> None:
        if self._claim is not None:
            self._fail(ExposureFailedError(f"{why} at {time.time():.3f}"))

    def stop(self, *, success: bool = False) -> None:
        """Kill; a ramp under way is burned."""
        active = self._active
        super().stop(success=success)
        if active:
            self._abandon("stopped")
