"""The controller front end: every client write ends here, every transition starts here."""

import asyncio
import contextlib
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from caproto import ChannelData

from nucleation_bluesky.contract.enums import ControllerState, Fault, SafeState, Termination
from nucleation_bluesky.contract.pvs import RESULT_LAYOUTS, token_check
from nucleation_bluesky.iocs import parameters
from nucleation_bluesky.iocs.capture import Capture
from nucleation_bluesky.iocs.front import Command
from nucleation_bluesky.iocs.method import Exposure, ExposureMethod, Record
from nucleation_bluesky.iocs.pvdb import Channels
from nucleation_bluesky.iocs.safety import SAFE_TIMEOUT, Safety
from nucleation_bluesky.iocs.settings import Settings
from nucleation_bluesky.iocs.state import ControlState, Mode, Refusal
from nucleation_bluesky.iocs.trace import Trace
from nucleation_bluesky.iocs.watchdog import Watchdog
from nucleation_bluesky.iocs.writes import Writes
from nucleation_bluesky.segments import SegmentError

logger = logging.getLogger(__name__)
END_TIME = 1.0  # s that ARM waits for an exposure that was stopped to end


class FrontEnd:
    """Token, latch, heartbeat, kill, safe state and result; a family adds its `ExposureMethod`.

    Parameters
    ----------
    prefix : str
        Prefix of the PV names.
    family : str
        Instrument family of the contract.
    method : callable (Channels) -> ExposureMethod
        How the family exposes.
    ranges : mapping of str to (low, high)
        Accepted range of each writable number, in the PV's unit.
    trace : Trace or None
        Where events are written.
    ticks, utc : callables
        The controller's clocks in RESULT and CLOCK, s. Heartbeat and timeouts are wall time.
    """

    def __init__(
        self,
        prefix: str,
        family: str,
        method: Callable[[Channels], ExposureMethod],
        ranges: dict[str, tuple[float, float]],
        *,
        trace: Trace | None = None,
        ticks: Callable[[], float] = time.monotonic,
        utc: Callable[[], float] = time.time,
    ):
        self.trace = trace or Trace()
        self.ranges = ranges
        self._commands: dict[str, Command] = {
            "ARM": self._arm,
            "GO": self._go,
            "KILL": self._kill,
            **Settings(self).commands,
        }
        writes = Writes(self, self._commands)
        self.channels = Channels(prefix, family, writes.put, writes.malformed, self.ranges)
        self.method = method(self.channels)
        self.capture = Capture(self.channels)
        self.state = ControlState(epoch=1 + secrets.randbelow(2**30))
        self.safety = Safety(self.state, self.trace)
        self.watchdog = Watchdog(self._tick, self._on_stall)
        self.clock: Callable[[], float] = time.monotonic
        self.ticks, self.utc = ticks, utc
        self.last_bias = math.nan
        self._family = family
        self._exposure: Exposure | None = None
        self._prepared: Any = None
        self._seq = 0
        self._closed = False
        self.late: set[asyncio.Task[None]] = set()  # bring the safe state after late calls
        self.readings_stale = True  # the bias has changed since the last measurement
        self._idle = asyncio.Event()
        self._idle.set()
        self.measuring = asyncio.Lock()  # held while a measurement outside an exposure runs
        self._blockers: list[Callable[[], str]] = []  # reasons to refuse ARM, "" for none
        self._enders: list[Callable[[Termination], None]] = []
        self._stoppers: list[Callable[[], Awaitable[None]]] = []

    # ---- for the server ------------------------------------------------------------------

    @property
    def database(self) -> Mapping[str, ChannelData]:
        """Channels by full PV name."""
        return self.channels.database

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs while serving."""
        return [self.watchdog.run()]

    # ---- for the parts of a family -------------------------------------------------------

    def add_commands(self, commands: dict[str, Command]) -> None:
        """Register handlers that take the cleaned value and return the value to store."""
        self._commands.update(commands)

    def add_blocker(self, blocker: Callable[[], str]) -> None:
        """Register a reason (text, or "" for none) for which ARM and GO are refused."""
        self._blockers.append(blocker)

    def add_ender(self, ender: Callable[[Termination], None]) -> None:
        """Register what is told that a software exposure was ended from outside."""
        self._enders.append(ender)

    def add_stopper(self, stopper: Callable[[], Awaitable[None]]) -> None:
        """Register what a kill stops besides exposures (motion)."""
        self._stoppers.append(stopper)

    @property
    def policy(self) -> tuple[SafeState, float]:
        """Safe state in force and its bias, V."""
        return self.channels.value("SAFE:POLICY"), self.channels.value("SAFE:BIAS")

    async def boot(self) -> None:
        """Publish capabilities and bring the safe state; call before serving."""
        post = self.channels.post
        await post("FAMILY", self._family)
        await post("BOOT", secrets.token_hex(8))
        policy = parameters.default_policy(self.method.capabilities, self._family)
        await post("SAFE:POLICY", policy)
        await self.publish_capabilities()
        self.trace("boot", boot=self.channels.value("BOOT"), epoch=self.state.epoch)
        await self.make_safe("boot")
        await self.publish()

    async def publish_capabilities(self) -> None:
        """Publish the capabilities; a change of gain or filter may alter them."""
        for suffix, value in parameters.capability_values(self.method.capabilities).items():
            await self.channels.post(suffix, value)

    async def publish(self) -> None:
        """Publish what changed in the state."""
        state, post = self.state, self.channels.post
        faulty = state.fault is not Fault.NONE
        await post("EPOCH", state.epoch)
        await post("FAULT:TEXT", state.text)
        await post("FAULT", state.fault, alarm=faulty)
        await post("STATE", state.state)
        await post("OWNER", state.owner)
        await post("FILE:SEGMENT", self.capture.open_segment)

    # ---- commands ------------------------------------------------------------------------

    async def _kill(self, _: Any) -> None:
        self.state.new_epoch()
        if self.state.state is not ControllerState.SAFE:
            text = "killed: arm a new token with the new epoch"
            await self.emergency(Termination.KILLED, Fault.KILLED, text)
        else:
            self.trace("epoch", epoch=self.state.epoch)
            if not self.safety.reached:
                await self.make_safe("kill")
        for stopper in self._stoppers:
            await stopper()

    def _require_unblocked(self) -> None:
        for blocker in self._blockers:
            if reason := blocker():
                raise Refusal(Fault.BUSY, reason)

    async def _require_ended(self) -> None:
        """Wait for a stopped exposure's safe state, withdrawal and file: they are not overtaken."""
        if self.state.active:
            return  # check_arm refuses at once
        try:
            async with asyncio.timeout(END_TIME):
                await self._idle.wait()
        except TimeoutError:
            text = "the last exposure is still ending (safe state, withdrawal, file): ARM later"
            raise Refusal(Fault.BUSY, text) from None

    def require_ended(self, what: str) -> None:
        """Refuse ``what`` until the last exposure has ended: safe state, withdrawal, file.

        Raises
        ------
        Refusal
            BUSY.
        """
        if not self._idle.is_set():
            text = f"{what} refused while the last exposure is still ending: wait for its RESULT"
            raise Refusal(Fault.BUSY, text)

    async def _arm(self, command: str) -> str:
        await self._require_ended()
        self._require_unblocked()
        if not self.safety.reached:
            raise Refusal(Fault.BACKEND_ERROR, "the safe state could not be reached: see the trace")
        self.state.check_arm(command, self.clock())
        prepared = self.method.prepare()
        self.state.arm(command, self.clock())
        self._prepared = prepared
        self.trace("armed", token=self.state.token, epoch=self.state.epoch, owner=self.state.owner)
        return command

    async def _go(self, token: str) -> str:
        if not self.method.capabilities.ramp:
            raise Refusal(Fault.BAD_PARAMETER, "this controller runs no ramps: use SOFT:GO")
        self.energise(token, Mode.RAMP)
        exposure = self._exposure = self.method.expose(self._prepared)
        self._idle.clear()
        try:
            await self._expose(exposure, token)
        finally:
            self._exposure = None
            self._idle.set()
        return token

    async def _expose(self, exposure: Exposure, token: str) -> None:
        """Run the exposure to its safe state, its row and its RESULT."""
        await self.publish()
        async with self.measuring:
            pass  # a measurement that was under way has ended; none starts in an exposure
        ticks, utc = self.ticks(), self.utc()
        record = await exposure.run()
        self.last_bias = exposure.last_bias
        if record.termination in {Termination.KILLED, Termination.HEARTBEAT_LOST} or (
            self.state.state is not ControllerState.ENERGISED
        ):
            # Whoever stopped it has brought the safe state; a driver call that was still under way
            # then may have undone it, so the safe state has the last word.
            await self.make_safe("stopped")
            for call in exposure.cut_off:
                self.safe_after(call)
        elif record.termination is Termination.BACKEND_FAULT or not await self._end(record):
            text = record.error or "the safe state could not be reached"
            await self.emergency(Termination.BACKEND_FAULT, Fault.BACKEND_ERROR, text)
        await self._wind_up(record)
        await self._finish(record, token, ticks, utc)

    def safe_after(self, call: "asyncio.Future[Any]") -> None:
        """Give the safe state the last word over a driver's call that outlives its limit."""
        late = asyncio.create_task(self._safe_after(call))
        self.late.add(late)
        late.add_done_callback(self.late.discard)

    async def _safe_after(self, call: "asyncio.Future[Any]") -> None:
        await asyncio.wait({call})
        if not call.cancelled() and (error := call.exception()) is not None:
            logger.warning("a late call of the driver failed: %s", error)
        if self.state.active:
            text = "a call of the driver ended long after it was stopped: arm a new token"
            await self.emergency(Termination.BACKEND_FAULT, Fault.BACKEND_ERROR, text)
        else:
            await self.make_safe("late call")

    async def _wind_up(self, record: Record) -> None:
        """Let the family do what follows the safe state; a failure latches and is told."""
        try:
            async with asyncio.timeout(self.method.wind_up_time + SAFE_TIMEOUT):
                await self.method.wind_up(record)
        except Exception as error:  # any driver error: the result still has to be published
            logger.exception("after the exposure")
            text = f"after the exposure: {type(error).__name__}: {error}"
            await self.emergency(Termination.BACKEND_FAULT, Fault.BACKEND_ERROR, text)

    async def _end(self, record: Record) -> bool:
        """Safe state after completion or a trip."""
        if record.trip_index >= 0 or record.termination is Termination.STALE:
            self.trace(
                "trip",
                termination=record.termination.label,
                index=record.trip_index,
                bias=self.last_bias,
                token=self.state.token,
            )
        return await self.make_safe(record.termination.label)

    def energise(self, token: str, mode: Mode) -> None:
        """Pass from ARMED to ENERGISED.

        Raises
        ------
        Refusal
            If the token is not the armed one, or anything else forbids it.
        """
        self._require_unblocked()
        self.state.go(token, mode, self.clock())
        self.trace("energised", token=token, mode=mode.value, **self.position())

    def position(self) -> dict[str, float]:
        """Position for the trace; a family with a stage replaces it."""
        return {}

    # ---- ends ----------------------------------------------------------------------------

    async def _finish(self, record: Record, token: str, ticks: float, utc: float) -> None:
        """File row and state, then RESULT."""
        fields = self.method.summarise(record)
        fields.setdefault("start_ticks", ticks)
        fields.setdefault("start_utc", utc)
        segment = row = -1
        failure = ""
        try:
            # in a thread: a slow disk must not keep the watchdog and the heartbeat waiting
            write = self.capture.write
            started = fields["start_ticks"]
            segment, row = await asyncio.to_thread(write, record, self._seq + 1, started)
        except SegmentError as error:
            failure = str(error)
            logger.exception("waveform file")
        fields.update(file_segment=float(segment), file_row=float(row))
        if self.state.state is ControllerState.ENERGISED:
            self.state.finish(record.termination)
        if failure:
            self.state.fail(Fault.FILE_ERROR, failure)
        await self.publish_result(token, fields)

    async def publish_result(self, token: str, fields: dict[str, float]) -> None:
        """Publish RESULT, then SEQ; fields left out are NaN (indices -1, counts 0 are given)."""
        self._seq += 1
        fields |= {"seq": float(self._seq), "token_check": token_check(token)}
        layout = RESULT_LAYOUTS[self._family]
        await self.channels.post("RESULT", [fields.get(name, math.nan) for name in layout])
        await self.channels.post("SEQ", self._seq)
        self.trace(
            "result",
            seq=self._seq,
            token=token,
            termination=Termination(int(fields["termination"])).label,
            n_samples=fields.get("n_samples"),
            bias=fields.get("stop_bias"),
        )

    async def emergency(self, termination: Termination, fault: Fault, text: str) -> None:
        """Latch FAULT, end whatever runs and bring the safe state, in that order, at once."""
        event = termination.label if fault is not Fault.STALLED else "stalled"
        bias = self._exposure.last_bias if self._exposure is not None else self.last_bias
        self.trace(event, token=self.state.token, text=text, bias=bias)
        self.state.fail(fault, text)
        if self._exposure is not None:
            self._exposure.stop(termination)
        for ender in self._enders:
            ender(termination)
        await self.make_safe(event)
        await self.publish()

    async def make_safe(self, reason: str) -> bool:
        """Bring the safe state; False (and retried by the watchdog) if the backend fails."""
        policy, bias = self.policy
        reached = await self.safety.bring(
            self.method.bring_safe, policy, bias, reason=reason, now=self.clock()
        )
        self.readings_stale |= reached
        return reached

    # ---- watchdog ------------------------------------------------------------------------

    async def _tick(self, now: float) -> None:
        if self.state.heartbeat_lost(now):
            age = self.state.beat_age(now)
            text = f"the owner's heartbeat is {age:.2f} s old: arm a new token"
            await self.emergency(Termination.HEARTBEAT_LOST, Fault.NO_HEARTBEAT, text)
        elif self.state.arm_expired(now):
            self.trace("expired", token=self.state.token)
            self.state.expire()
            await self.publish()
        elif self.safety.retry_due(now):
            await self.make_safe("retry")
            await self.publish()

    async def _on_stall(self, seconds: float) -> None:
        self.state.new_epoch()
        text = f"the controller was suspended for {seconds:.1f} s: everything queued is void"
        await self.emergency(Termination.KILLED, Fault.STALLED, text)

    async def close(self) -> None:
        """Safe state and files closed; call when serving ends (a second call does nothing)."""
        if self._closed:
            return
        self._closed = True
        if self.state.active:
            await self.emergency(
                Termination.KILLED, Fault.KILLED, "the controller is shutting down"
            )
        else:
            await self.make_safe("shutdown")
        with contextlib.suppress(TimeoutError):  # a driver that hangs must not keep us here
            await asyncio.wait_for(self._idle.wait(), self.method.wind_up_time + SAFE_TIMEOUT)
        self.capture.close()
        self.trace("closed")
        self.trace.close()
