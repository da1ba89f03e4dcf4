"""Software ramps: SOFT:GO, BIAS, SOFT:END, and the running MEASUREMENT."""

import asyncio
import math
import time

from nucleation_bluesky.contract.enums import ControllerState, Fault, Termination
from nucleation_bluesky.contract.pvs import MEASUREMENT_FIELDS
from nucleation_bluesky.iocs.backend import ControllerBackend, Snapshot
from nucleation_bluesky.iocs.frontend import FrontEnd
from nucleation_bluesky.iocs.parameters import SI
from nucleation_bluesky.iocs.state import Mode, Refusal

PERIOD = 0.005  # of MEASUREMENT while energised by SOFT:GO
IDLE_PERIOD = 0.5
POLL = 0.02
FRESH = 0.01  # a read does not measure again within this time
READBACKS = {"BIAS:RBV", "AMP:CURRENT", "Z:RBV", "MEASUREMENT"}


class SoftwareRamp:
    """The plan steps the bias; the front end guards token, range, heartbeat and kill.

    Parameters
    ----------
    front : FrontEnd
        The front end.
    controller : ControllerBackend
        The instrument.
    """

    def __init__(self, front: FrontEnd, controller: ControllerBackend):
        self._front, self._controller = front, controller
        self._token = ""
        self._started = (0.0, 0.0)
        self._count = 0
        self._measured_at = float("-inf")
        self._feedback = 1.0
        self._peak = 0.0
        self._last: Snapshot | None = None
        self._ended_by: Termination | None = None
        front.add_commands({"SOFT:GO": self._go, "BIAS": self._bias, "SOFT:END": self._end})
        front.add_ender(self._stopped)
        front.channels.set_refresher(READBACKS, self._refresh)

    async def _go(self, token: str) -> str:
        if not self._controller.capabilities.software_ramp:
            raise Refusal(Fault.BAD_PARAMETER, "this controller has no software ramp: use GO")
        self._front.energise(token, Mode.SOFTWARE)
        self._token, self._started = token, (self._front.clock(), time.time())
        self._ended_by, self._peak = None, 0.0
        return token

    async def _bias(self, value: float) -> float:
        front = self._front
        front.state.require_software("BIAS")
        await self._controller.set_bias(value)
        if front.state.state is not ControllerState.ENERGISED:
            # The safe state was ordered while the driver was setting: it must have the last word.
            await front.make_safe("late bias")
            raise Refusal(Fault.KILLED, "the exposure was ended while the bias was being set")
        front.last_bias = value
        front.trace("bias_set", bias=value, token=self._token)
        await self.measure()
        return value

    async def _end(self, termination: Termination) -> Termination:
        front = self._front
        front.state.require_software("SOFT:END")
        if termination is Termination.NONE:
            raise Refusal(Fault.BAD_PARAMETER, "SOFT:END needs the reason, not 'none'")
        await self.measure()
        reached = await front.make_safe(f"soft end: {termination.label}")
        if reached and front.state.state is ControllerState.ENERGISED:
            front.state.finish(termination)
        await self._publish(termination)
        return termination

    def _stopped(self, termination: Termination) -> None:
        if self._token:
            self._ended_by = termination

    async def _publish(self, termination: Termination) -> None:
        token, self._token = self._token, ""
        if not token:
            return
        last = self._last
        fields = dict.fromkeys(("n_samples", "n_post", "trip_segment", "latency"), 0.0)
        fields |= dict.fromkeys(("trip_index", "file_segment", "file_row"), -1.0)
        fields |= {
            "termination": float(termination),
            "stop_bias": self._front.last_bias,
            "stop_current": last.current if last else math.nan,
            "peak_current": self._peak,
            "duration": self._front.clock() - self._started[0],
            "height_feedback": float(self._front.channels.value("Z:FEEDBACK")),
            "start_ticks": self._started[0],
            "start_utc": self._started[1],
        }
        await self._front.publish_result(token, fields)

    async def measure(self) -> None:
        """Measure once and publish MEASUREMENT and the readbacks."""
        async with self._front.measuring:
            if self._front.state.mode is Mode.RAMP:
                return
            self._front.readings_stale = False
            snapshot = await self._controller.measure()
            self._measured_at = self._front.clock()
            self._count += 1
        self._last = snapshot
        if abs(snapshot.current) > abs(self._peak):
            self._peak = snapshot.current
        values = {
            "count": self._count,
            "ticks": self._measured_at,
            "bias": snapshot.bias,
            "current": snapshot.current,
            "height": snapshot.height,
            "saturated": float(snapshot.saturated),
        }
        post = self._front.channels.post
        await post("MEASUREMENT", [values[name] for name in MEASUREMENT_FIELDS])
        await post("BIAS:RBV", float(snapshot.bias))
        await post("AMP:CURRENT", float(snapshot.current / SI["pA"]))
        await post("Z:RBV", float(snapshot.height / SI["nm"]))

    async def _refresh(self, _: str) -> None:
        """Measure before a client reads, unless a ramp owns the acquisition."""
        front = self._front
        fresh = front.clock() - self._measured_at < FRESH and not front.readings_stale
        if front.state.mode is not Mode.RAMP and not fresh:
            await self._measure_or_fault()

    async def _measure_or_fault(self) -> None:
        try:
            await self.measure()
        except Exception as error:  # noqa: BLE001 - any driver error becomes a visible fault
            text = f"measurement failed: {type(error).__name__}: {error}"
            if self._front.state.active:
                await self._front.emergency(Termination.BACKEND_FAULT, Fault.BACKEND_ERROR, text)
            elif self._front.state.text != text:
                self._front.state.refused(Refusal(Fault.BACKEND_ERROR, text))
                await self._front.publish()

    async def run(self) -> None:
        """Measure steadily until cancelled; publish RESULT of exposures ended from outside."""
        front = self._front
        while True:
            if self._ended_by is not None and self._token:
                ended_by, self._ended_by = self._ended_by, None
                await self._publish(ended_by)
            software = front.state.mode is Mode.SOFTWARE
            due = front.clock() - self._measured_at > IDLE_PERIOD or front.readings_stale
            if front.state.mode is not Mode.RAMP and (software or due):
                await self._measure_or_fault()
            await asyncio.sleep(PERIOD if software else POLL)
