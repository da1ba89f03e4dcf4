"""Run one plan in a session and say how it went."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bluesky.utils import FailedStatus, MsgGenerator, RunEngineInterrupted

from nucleation_bluesky.callbacks.progress import MapProgress
from nucleation_bluesky.plans.failures import device_error
from nucleation_bluesky.session.session import Session

logger = logging.getLogger(__name__)


class RunFailedError(RuntimeError):
    """A run ended in failure; the message is what the device said."""


@dataclass(eq=False)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    uid : str
        Of the (last) run; empty if none was opened.
    exit_status, reason : str
        As in the stop document.
    num_events : dict
        Events by stream.
    """

    uid: str = ""
    exit_status: str = "fail"
    reason: str = "no run was opened"
    num_events: dict[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the run ended in success."""
        return self.exit_status == "success"

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        counts = ", ".join(f"{n} in '{stream}'" for stream, n in self.num_events.items())
        return f"{self.exit_status}; events: {counts or 'none'}"

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take note of start and stop documents."""
        if name == "start":
            self.uid, self.reason = doc["uid"], "it did not end"
        elif name == "stop":
            self.exit_status = doc["exit_status"]
            self.reason = doc.get("reason", "")
            self.num_events = dict(doc.get("num_events", {}))


@contextmanager
def _subscribed(session: Session, *callbacks: Any) -> Iterator[None]:
    tokens = [session.RE.subscribe(callback) for callback in callbacks]
    try:
        yield
    finally:
        for token in tokens:
            session.RE.unsubscribe(token)


def _abort(session: Session) -> None:
    """End a paused plan through its finalizers, or without them for who cannot wait."""
    if session.RE.state != "paused":  # another thread has ended it: nothing is left to do
        return
    try:
        session.RE.abort("interrupted at the terminal")
    except FailedStatus as error:  # of the ramp that this abort killed, in the middle of clean-up
        logger.info("ended by the abort: %s", device_error(error))
    except KeyboardInterrupt:
        session.instrument.kill()
        if session.RE.state == "paused":
            session.RE.halt()
        raise


def execute(session: Session, plan: MsgGenerator[Any], *, progress: bool = True) -> Outcome:
    """Run a plan. Ctrl-C once ends it at the next site's boundary, twice at once; always safely.

    Parameters
    ----------
    session : Session
        Open.
    plan : generator
        Of messages.
    progress : bool
        Whether to show sites done, nucleated share and time left.

    Raises
    ------
    RunFailedError
        If a device failed; sites not yet exposed stay usable.
    """
    outcome = Outcome()
    callbacks = [outcome, MapProgress()] if progress else [outcome]
    with _subscribed(session, *callbacks):
        try:
            session.RE(plan)
        except RunEngineInterrupted:
            _abort(session)
        except FailedStatus as error:
            raise RunFailedError(str(device_error(error))) from error
    return outcome
