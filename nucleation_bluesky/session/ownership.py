"""Ownership of the instrument: taken only from who has left or is silent, watched, given up."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucleation_bluesky.devices.controller import Controller
    from nucleation_bluesky.session.heartbeat import Heartbeat

logger = logging.getLogger(__name__)
LEASE_MARGIN = 0.5  # s beyond its timeout after which a heart that is not heard has stopped
SAFE_PATIENCE = 15.0  # s for the exposure of a dead session to end; a pipette withdraws first
LOOK = 0.1  # s between looks at another session's heart
_NEVER = threading.Event()


class Ownership:
    """The claim of one session on its controller.

    Parameters
    ----------
    controller : Controller
        Connected.
    owner : str
        This session.
    patience : float
        How long to wait for a session that lives, s.
    say : callable
        Receives short lines for the person who started the session.
    """

    def __init__(
        self, controller: "Controller", owner: str, patience: float, say: Callable[[str], None]
    ) -> None:
        self._controller, self._owner, self._patience = controller, owner, patience
        self._say = say
        self._heard = ""  # whose heart was listened for

    def take(self) -> None:
        """Take the instrument; a session that died lets go of it with its last heartbeat.

        Nothing is written while another session lives: a refusal would show as a fault of its
        instrument, and a write in a pause of its heart would take the instrument away.

        Raises
        ------
        OwnedByOtherError
            If another session lives for longer than the patience.
        """
        from nucleation_bluesky.devices.errors import OwnedByOtherError  # noqa: PLC0415

        controller = self._controller
        deadline = time.monotonic() + self._patience
        refused, silent = None, ""
        while True:
            holder = controller.owner.get()
            if holder in ("", silent):
                try:
                    controller.acquire(self._owner)
                except OwnedByOtherError:  # an exposure of the dead session is still ending
                    refused = refused or time.monotonic()
                    if time.monotonic() >= max(deadline, refused + SAFE_PATIENCE):
                        raise
                    silent = ""
                else:
                    return
            elif (lives := self._lives(holder)) is False:
                silent = holder
                continue
            elif lives and time.monotonic() >= deadline:
                raise controller.owned_by(holder)
            _NEVER.wait(LOOK)

    def _lives(self, holder: str) -> bool | None:
        """Whether the owner's heart beats: its first beat, or its silence; None if it has left."""
        controller = self._controller
        silence = controller.heartbeat_timeout.get() + LEASE_MARGIN
        beat, since = controller.heartbeat.get(), time.monotonic()
        if holder != self._heard:
            self._heard = holder
            self._say(f"listening for {silence:.1f} s at most whether session '{holder}' lives")
        while time.monotonic() - since < silence:
            _NEVER.wait(LOOK)
            if controller.owner.get() != holder:
                return None
            if controller.heartbeat.get() != beat:
                return True
        return False

    def watch(self, heartbeat: "Heartbeat") -> None:
        """Let ``heartbeat`` beat no more once another session took the instrument (by monitor)."""

        def owner_is(value: Any, **_: Any) -> None:  # as after this session slept
            if value and value != self._owner:
                heartbeat.give_up()
                logger.critical(
                    "session '%s' took the instrument while this one was silent; nothing is "
                    "exposed from here any more: close this session",
                    value,
                )

        self._controller.owner.subscribe(owner_is, run=False)

    def release(self) -> None:
        """Let go of the instrument, where it still answers."""
        from nucleation_bluesky.devices.errors import InstrumentError  # noqa: PLC0415

        try:
            self._controller.release(self._owner)
        except InstrumentError as error:
            # it lets go of a session without heartbeat; an error here would hide the run's own
            logger.warning("the instrument was not given up: %s", error)
