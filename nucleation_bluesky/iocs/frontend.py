"""The controller front end: every client write ends here, every transition starts here."""

import asyncio
import contextlib
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from nucleation_bluesky.contract.enums import (
    AbortLocation,
    ControllerState,
    Fault,
    SafeState,
    Termination,
)
from nucleation_bluesky.contract.pvs import PV, RESULT_FIELDS, token_check
from nucleation_bluesky.contract.ramp import Compliance, RampSpec
from nucleation_bluesky.iocs import parameters
from nucleation_bluesky.iocs.backend import AfmBackend, Capabilities
from nucleation_bluesky.iocs.capture import Capture
from nucleation_bluesky.iocs.exposure import Exposure, Record, summarise
from nucleation_bluesky.iocs.pvdb import Channels
from nucleation_bluesky.iocs.state import ControlState, Mode, Refusal
from nucleation_bluesky.iocs.trace import Trace
from nucleation_bluesky.iocs.watchdog import Watchdog
from nucleation_bluesky.segments import SegmentError

logger = logging.getLogger(__name__)
Command = Callable[[Any], Awaitable[Any]]
SAFE_TIMEOUT = 2.0
RETRY_PERIOD = 0.2
UNLOGGED = frozenset({"HEARTBEAT", "CLOCK:SYNC"})  # neither commands nor reasons to clear FAULT
NEVER_VOID = frozenset({"KILL", "HEARTBEAT", "OWNER"})


class FrontEnd:
    """Token, latch, compliance, heartbeat, kill, safe state and result over one backend.

    Parameters
    ----------
    backend : AfmBackend
        The instrument.
    prefix : str
        Prefix of the PV names.
    family : str
        Instrument family of the contract.
    trace : Trace or None
        Where events are written.
    """

    def __init__(
        self, backend: AfmBackend, prefix: str, *, family: str = "afm", trace: Trace | None = None
    ):
        self.backend = backend
        self.trace = trace or Trace()
        self.ranges = parameters.ranges(backend)
        self.channels = Channels(prefix, family, self._put, self._malformed, self.ranges)
        self.capture = Capture(self.channels)
        self.state = ControlState(epoch=1 + secrets.randbelow(2**30))
        self.watchdog = Watchdog(self._tick, self._on_stall)
        self.clock: Callable[[], float] = time.monotonic
        self.last_bias = math.nan
        self._family = family
        self._exposure: Exposure | None = None
        self._prepared: tuple[RampSpec, Compliance] | None = None
        self._seq = 0
        self._unsafe_since: float | None = None
        self._safe_lock = asyncio.Lock()
        self._closed = False
        self.readings_stale = True  # the bias has changed since the last measurement
        self._idle = asyncio.Event()
        self._idle.set()
        self.measuring = asyncio.Lock()  # held while a measurement outside a ramp is under way
        self._commands: dict[str, Command] = {
            "ARM": self._arm,
            "GO": self._go,
            "KILL": self._kill,
            "OWNER": self._owner,
            "HEARTBEAT": self._beat,
            "HEARTBEAT:TIMEOUT": self._heartbeat_timeout,
            "ARM:TIMEOUT": self._arm_timeout,
            "CLOCK:SYNC": self._clock_sync,
            "SAFE:POLICY": self._safe_policy,
            "FILE:CAPTURE": self._file_capture,
        }
        self._blockers: list[Callable[[], str]] = []  # reasons to refuse ARM, "" for none
        self._enders: list[Callable[[Termination], None]] = []

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

    @property
    def policy(self) -> tuple[SafeState, float]:
        """Safe state in force and its bias, V."""
        return self.channels.value("SAFE:POLICY"), self.channels.value("SAFE:BIAS")

    async def boot(self) -> None:
        """Publish capabilities and bring the safe state; call before serving."""
        caps = self.backend.controller.capabilities
        post = self.channels.post
        await post("FAMILY", self._family)
        await post("BOOT", secrets.token_hex(8))
        await post("SAFE:POLICY", parameters.default_policy(caps))
        await self.publish_capabilities()
        for suffix, value in getattr(self.backend.controller, "settings", {}).items():
            await post(suffix, value)
        self.trace("boot", boot=self.channels.value("BOOT"), epoch=self.state.epoch)
        await self.make_safe("boot")
        await self.publish()

    async def publish_capabilities(self) -> None:
        """Publish the capabilities; a change of gain or filter may alter them."""
        for suffix, value in _capability_values(self.backend.controller.capabilities).items():
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

    # ---- writes --------------------------------------------------------------------------

    async def _put(self, pv: PV, value: Any) -> None:
        """Decide one client write; never raises, whatever happens is published."""
        suffix = pv.suffix
        try:
            await self._decide(pv, value)
        except Refusal as refusal:
            if suffix not in UNLOGGED:
                self.state.refused(refusal)
                self.trace("refused", pv=suffix, fault=refusal.fault.label, text=refusal.text)
        except Exception as error:  # a defect or a driver's error: safe, latched and visible
            logger.exception("writing %s failed", suffix)
            text = f"{suffix}: {type(error).__name__}: {error}"
            await self.emergency(Termination.BACKEND_FAULT, Fault.BACKEND_ERROR, text)
        if suffix != "HEARTBEAT":
            await self.publish()
            for _ in range(4):  # let updates leave before the put completes
                await asyncio.sleep(0)

    async def _decide(self, pv: PV, value: Any) -> None:
        suffix = pv.suffix
        void = await self.watchdog.notice_stall()
        if void and suffix not in NEVER_VOID:
            raise Refusal(
                Fault.STALLED,
                "the controller was suspended: commands queued before are void, send it again",
            )
        if suffix == "KILL":  # whatever the value is
            await self._kill(value)
            return
        cleaned = parameters.clean(pv, value, self.ranges.get(suffix))
        command = self._commands.get(suffix)
        if command is not None:
            stored = await command(cleaned)
        else:
            self.state.require_idle(suffix)
            if suffix.startswith("FILE:"):
                self.capture.require_closed(suffix)
            stored = cleaned
        if suffix not in UNLOGGED:
            self.state.accepted()
        if stored is not None:
            await self.channels.post(suffix, stored)

    async def _malformed(self, pv: PV, error: Exception) -> None:
        """Handle a write whose data do not decode as the PV's type."""
        if pv.suffix == "KILL":
            await self._put(pv, 1)
            return
        text = f"{pv.suffix}: the value written does not fit ({error})"
        self.state.refused(Refusal(Fault.BAD_PARAMETER, text))
        self.trace("refused", pv=pv.suffix, fault="bad_parameter", text=text)
        await self.publish()

    # ---- commands ------------------------------------------------------------------------

    async def _owner(self, name: str) -> str:
        self.state.claim(name.strip(), self.clock())
        self.trace("owner", owner=self.state.owner)
        return self.state.owner

    async def _beat(self, value: int) -> int:
        self.state.beat(value, self.clock())
        return value

    async def _heartbeat_timeout(self, value: float) -> float:
        self.state.set_heartbeat_timeout(value)
        return value

    async def _arm_timeout(self, value: float) -> float:
        self.state.set_arm_timeout(value)
        return value

    async def _clock_sync(self, value: int) -> int:
        await self.channels.post("CLOCK", [self.clock(), time.time()])
        return value

    async def _safe_policy(self, policy: SafeState) -> SafeState:
        self.state.require_idle("SAFE:POLICY")
        supported = self.backend.controller.capabilities.safe_states
        if policy not in supported:
            names = ", ".join(s.label for s in sorted(supported))
            raise Refusal(
                Fault.BAD_PARAMETER,
                f"this controller cannot do the safe state '{policy.label}' (it can: {names})",
            )
        return policy

    async def _file_capture(self, on: int) -> int:
        self.state.require_idle("FILE:CAPTURE")
        await asyncio.to_thread(self.capture.set, on)
        return on

    async def _kill(self, _: Any) -> None:
        self.state.new_epoch()
        if self.state.state is not ControllerState.SAFE:
            text = "killed: arm a new token with the new epoch"
            await self.emergency(Termination.KILLED, Fault.KILLED, text)
            return
        self.trace("epoch", epoch=self.state.epoch)
        if self._unsafe_since is not None:
            await self.make_safe("kill")

    def _require_unblocked(self) -> None:
        for blocker in self._blockers:
            if reason := blocker():
                raise Refusal(Fault.BUSY, reason)

    async def _arm(self, command: str) -> str:
        self._require_unblocked()
        if self._unsafe_since is not None:
            raise Refusal(Fault.BACKEND_ERROR, "the safe state could not be reached: see the trace")
        self.state.check_arm(command, self.clock())
        spec = parameters.ramp_spec(self.channels)
        parameters.check_width(self.channels, spec)
        prepared = spec, parameters.compliance(self.channels)
        self.state.arm(command, self.clock())
        self._prepared = prepared
        self.trace("armed", token=self.state.token, epoch=self.state.epoch, owner=self.state.owner)
        return command

    async def _go(self, token: str) -> str:
        if not self.backend.controller.capabilities.ramp:
            raise Refusal(Fault.BAD_PARAMETER, "this controller runs no ramps: use SOFT:GO")
        self.energise(token, Mode.RAMP)
        if self._prepared is None:
            raise Refusal(Fault.NOT_ARMED, "not armed: write ARM first")
        spec, compliance = self._prepared
        exposure = self._exposure = Exposure(self.backend.controller, spec, compliance)
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
            pass  # a measurement that was under way has ended; none starts in a ramp
        ticks, utc = self.clock(), time.time()
        record = await exposure.run()
        self.last_bias = exposure.last_bias
        if record.termination in {Termination.KILLED, Termination.HEARTBEAT_LOST} or (
            self.state.state is not ControllerState.ENERGISED
        ):
            # Whoever stopped it has brought the safe state; a driver call that was still under way
            # then may have undone it, so the safe state has the last word.
            await self.make_safe("stopped")
        elif record.termination is Termination.BACKEND_FAULT or not await self._end(record):
            text = record.error or "the safe state could not be reached"
            await self.emergency(Termination.BACKEND_FAULT, Fault.BACKEND_ERROR, text)
        await self._finish(record, token, ticks, utc)

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
        fields = summarise(record)
        fields["height_feedback"] = float(self.channels.value("Z:FEEDBACK"))
        segment = row = -1
        failure = ""
        try:
            # in a thread: a slow disk must not keep the watchdog and the heartbeat waiting
            write = self.capture.write
            segment, row = await asyncio.to_thread(write, record, self._seq + 1, ticks)
        except SegmentError as error:
            failure = str(error)
            logger.exception("waveform file")
        fields.update(file_segment=float(segment), file_row=float(row))
        if self.state.state is ControllerState.ENERGISED:
            self.state.finish(record.termination)
        if failure:
            self.state.fail(Fault.FILE_ERROR, failure)
        await self.publish_result(token, fields, ticks, utc)

    async def publish_result(
        self, token: str, fields: dict[str, float], ticks: float, utc: float
    ) -> None:
        """Publish RESULT, then SEQ; fields left out are NaN (indices -1, counts 0 are given)."""
        self._seq += 1
        fields |= {
            "seq": float(self._seq),
            "token_check": token_check(token),
            "start_ticks": ticks,
            "start_utc": utc,
        }
        await self.channels.post("RESULT", [fields.get(name, math.nan) for name in RESULT_FIELDS])
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
        async with self._safe_lock:
            try:
                async with asyncio.timeout(SAFE_TIMEOUT):
                    await self.backend.controller.safe_state(policy, bias)
            except Exception as error:  # any driver error: keep trying, and say so
                logger.exception("safe state")
                self._unsafe_since = self.clock()
                text = f"the safe state failed ({type(error).__name__}: {error}); trying again"
                self.trace("unsafe", reason=reason, text=text)
                self.state.fail(Fault.BACKEND_ERROR, text)
                return False
            self._unsafe_since = None
            self.readings_stale = True
            self.trace("safe", reason=reason, policy=policy.label, bias=bias)
        return True

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
        elif self._unsafe_since is not None and now - self._unsafe_since > RETRY_PERIOD:
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
            await asyncio.wait_for(self._idle.wait(), SAFE_TIMEOUT)
        self.capture.close()
        self.trace("closed")
        self.trace.close()


def _capability_values(caps: Capabilities) -> dict[str, Any]:
    mask = sum(1 << int(policy) for policy in caps.safe_states)
    return {
        "CAP:ABORT": AbortLocation(caps.abort),
        "CAP:LATENCY": caps.latency,
        "CAP:CURRENT:BANDWIDTH": caps.current_bandwidth,
        "CAP:HEIGHT:BANDWIDTH": caps.height_bandwidth,
        "CAP:CURRENT:RANGE": caps.current_range / parameters.SI["pA"],
        "CAP:RATE:MIN": caps.sample_rate_range[0],
        "CAP:RATE:MAX": caps.sample_rate_range[1],
        "CAP:BIAS:MIN": caps.bias_range[0],
        "CAP:BIAS:MAX": caps.bias_range[1],
        "CAP:SAFE": mask,
        "CAP:FILES": int(caps.files),
        "CAP:RAMP": int(caps.ramp),
        "CAP:SOFTWARE": int(caps.software_ramp),
    }
