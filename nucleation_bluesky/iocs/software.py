"""Software ramps: SOFT:GO, BIAS, SOFT:END, and the running MEASUREMENT."""

import asyncio
import math
import time

from nucleation_bluesky.contract.enums import ControllerState, Fault, Termination
from nucleation_bluesky.contract.pvs import MEASUREMENT_FIELDS
from nucleation_bluesky.iocs.backend import ControllerBackend, Snapshot
from nucleation_bluesky.iocs.frontend import FrontEnd
from nucleation_bluesky.iocs.parameters import SI
from nucleation_bluesky.iocs.readings import Readings
from nucleation_bluesky.iocs.state import Mode, Refusal

PERIOD = 0.005  # of MEASUREMENT while energised by SOFT:GO
POLL = 0.02
SET_TIMEOUT = 5.0  # s that a driver may take to set a bias
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
        self._peak = 0.0
        self._last: Snapshot | None = None
        self._ended_by: Termination | None = None
        front.add_commands({"SOFT:GO": self._go, "BIAS": self._bias, "SOFT:END": self._end})
        front.add_ender(self._stopped)
        self.readings = Readings(front, READBACKS, controller.measure, self._publish_measurement)

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
        # not cancelled at its limit: a driver's thread would set the bias all the same, unseen
        setting = asyncio.ensure_future(self._controller.set_bias(value))
        await asyncio.wait({setting}, timeout=SET_TIMEOUT)
        if not setting.done():
            front.safe_after(setting)
            raise TimeoutError(f"the driver did not set the bias within {SET_TIMEOUT:g} s")
        setting.result()
        if front.state.state is not ControllerState.ENERGISED:
            # The safe state was ordered while the driver was setting: it must have the last word.
            await front.make_safe("late bias")
            raise Refusal(Fault.KILLED, "the exposure was ended while the bias was being set")
        front.last_bias = value
        front.trace("bias_set", bias=value, token=self._token)
        await self.readings.measure()
        return value

    async def _end(self, termination: Termination) -> Termination:
        front = self._front
        front.state.require_software("SOFT:END")
        if termination is Termination.NONE:
            raise Refusal(Fault.BAD_PARAMETER, "SOFT:END needs the reason, not 'none'")
        await self.readings.measure()
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

    async def _publish_measurement(self, snapshot: Snapshot) -> None:
        self._last = snapshot
        if abs(snapshot.current) > abs(self._peak):
            self._peak = snapshot.current
        values = {
            "count": self.readings.count,
            "ticks": self.readings.taken_at,
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

    async def run(self) -> None:
        """Measure steadily until cancelled; publish RESULT of exposures ended from outside."""
        front = self._front
        while True:
            if self._ended_by is not None and self._token:
                ended_by, self._ended_by = self._ended_by, None
                await self._publish(ended_by)
            software = front.state.mode is Mode.SOFTWARE
            if front.state.mode is not Mode.RAMP and (software or self.readings.due):
                await self.readings.measure_or_fault()
            await asyncio.sleep(PERIOD if software else POLL)
