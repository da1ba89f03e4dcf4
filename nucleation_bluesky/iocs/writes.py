"""Client writes: each is decided here, refused or handed to its command."""

import asyncio
import logging
from typing import Any

from nucleation_bluesky.contract.enums import Fault, Termination
from nucleation_bluesky.contract.pv import PV
from nucleation_bluesky.iocs import parameters
from nucleation_bluesky.iocs.front import Command, Front
from nucleation_bluesky.iocs.state import Refusal

logger = logging.getLogger(__name__)
UNLOGGED = frozenset({"HEARTBEAT", "CLOCK:SYNC"})  # neither commands nor reasons to clear FAULT
NEVER_VOID = frozenset({"KILL", "HEARTBEAT", "OWNER"})


class Writes:
    """Decides the writes of one front end.

    Parameters
    ----------
    front : Front
        Where decisions are published.
    commands : mapping
        Handlers by PV; they take the cleaned value and return the value to store. KILL is one.
    """

    def __init__(self, front: Front, commands: dict[str, Command]):
        self._front, self._commands = front, commands

    async def put(self, pv: PV, value: Any) -> None:
        """Decide one client write; never raises, whatever happens is published."""
        suffix = pv.suffix
        try:
            await self._decide(pv, value)
        except Refusal as refusal:
            if suffix not in UNLOGGED:
                self._front.state.refused(refusal)
                self._front.trace(
                    "refused", pv=suffix, fault=refusal.fault.label, text=refusal.text
                )
        except Exception as error:  # a defect or a driver's error: safe, latched and visible
            logger.exception("writing %s failed", suffix)
            text = f"{suffix}: {type(error).__name__}: {error}"
            await self._front.emergency(Termination.BACKEND_FAULT, Fault.BACKEND_ERROR, text)
        if suffix != "HEARTBEAT":
            await self._front.publish()
            for _ in range(4):  # let updates leave before the put completes
                await asyncio.sleep(0)

    async def _decide(self, pv: PV, value: Any) -> None:
        suffix = pv.suffix
        void = await self._front.watchdog.notice_stall()
        if void and suffix not in NEVER_VOID:
            raise Refusal(
                Fault.STALLED,
                "the controller was suspended: commands queued before are void, send it again",
            )
        if suffix == "KILL":  # whatever the value is
            await self._commands["KILL"](value)
            return
        cleaned = parameters.clean(pv, value, self._front.ranges.get(suffix))
        command = self._commands.get(suffix)
        if command is not None:
            stored = await command(cleaned)
        else:
            self._front.state.require_idle(suffix)
            if suffix.startswith("FILE:"):
                self._front.capture.require_closed(suffix)
            stored = cleaned
        if suffix not in UNLOGGED:
            self._front.state.accepted()
        if stored is not None:
            await self._front.channels.post(suffix, stored)

    async def malformed(self, pv: PV, error: Exception) -> None:
        """Handle a write whose data do not decode as the PV's type."""
        if pv.suffix == "KILL":
            await self.put(pv, 1)
            return
        text = f"{pv.suffix}: the value written does not fit ({error})"
        self._front.state.refused(Refusal(Fault.BAD_PARAMETER, text))
        self._front.trace("refused", pv=pv.suffix, fault="bad_parameter", text=text)
        await self._front.publish()
