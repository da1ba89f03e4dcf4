"""Commands that set something and energise nothing: owner, heartbeat, timeouts, policy, files."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nucleation_bluesky.contract.enums import Fault, SafeState
from nucleation_bluesky.iocs.front import Front
from nucleation_bluesky.iocs.state import Refusal


class Settings:
    """Handlers of the simple commands of a front end.

    Parameters
    ----------
    front : Front
        Whose state, channels and files they set.
    """

    def __init__(self, front: Front):
        self._front = front
        self.commands: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "OWNER": self._owner,
            "HEARTBEAT": self._beat,
            "HEARTBEAT:TIMEOUT": self._heartbeat_timeout,
            "ARM:TIMEOUT": self._arm_timeout,
            "CLOCK:SYNC": self._clock_sync,
            "SAFE:POLICY": self._safe_policy,
            "FILE:CAPTURE": self._file_capture,
        }

    async def _owner(self, name: str) -> str:
        front = self._front
        front.state.claim(name.strip(), front.clock())
        front.trace("owner", owner=front.state.owner)
        return front.state.owner

    async def _beat(self, value: int) -> int:
        self._front.state.beat(value, self._front.clock())
        return value

    async def _heartbeat_timeout(self, value: float) -> float:
        self._front.state.set_heartbeat_timeout(value)
        return value

    async def _arm_timeout(self, value: float) -> float:
        self._front.state.set_arm_timeout(value)
        return value

    async def _clock_sync(self, value: int) -> int:
        front = self._front
        await front.channels.post("CLOCK", [front.ticks(), front.utc()])
        return value

    async def _safe_policy(self, policy: SafeState) -> SafeState:
        self._front.state.require_idle("SAFE:POLICY")
        supported = self._front.method.capabilities.safe_states
        if policy not in supported:
            names = ", ".join(s.label for s in sorted(supported))
            raise Refusal(
                Fault.BAD_PARAMETER,
                f"this controller cannot do the safe state '{policy.label}' (it can: {names})",
            )
        return policy

    async def _file_capture(self, on: int) -> int:
        self._front.state.require_idle("FILE:CAPTURE")
        await asyncio.to_thread(self._front.capture.set, on)
        return on
