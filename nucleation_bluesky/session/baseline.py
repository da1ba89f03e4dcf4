"""The stream ``baseline``: settings and environment at the beginning and the end of every run."""

from collections.abc import Callable, Sequence
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import Msg, MsgGenerator

from nucleation_bluesky.session.messages import around_messages

STREAM = "baseline"


def baseline(devices: Sequence[Any]) -> Callable[[MsgGenerator], MsgGenerator]:
    """Return the preprocessor that records ``devices`` in every run.

    Unlike bluesky's own it reads nothing at the end of a run that failed: a controller that has
    gone would replace the reason in the stop document by its own absence.
    """

    def after(msg: Msg) -> MsgGenerator:
        response = yield msg
        yield from _record(devices)
        return response

    def before(msg: Msg) -> MsgGenerator:
        yield from _record(devices)
        return (yield msg)

    def at_ends(msg: Msg) -> MsgGenerator | None:
        if msg.command == "open_run":
            return after(msg)
        if msg.command == "close_run" and msg.kwargs.get("exit_status") in (None, "success"):
            return before(msg)
        return None

    def with_baseline(plan: MsgGenerator) -> MsgGenerator:
        return (yield from around_messages(plan, at_ends))

    return with_baseline


def _record(devices: Sequence[Any]) -> MsgGenerator:
    yield from bps.create(STREAM)
    for device in devices:
        yield from bps.read(device)
    yield from bps.save()
