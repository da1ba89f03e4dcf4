"""One run from staging to unstaging, that leaves the instrument safe whatever happens."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator, plan, short_uid

from nucleation_bluesky.plans.failures import in_words
from nucleation_bluesky.plans.stubs import CLEANUP_TIMEOUT, clean_up

logger = logging.getLogger(__name__)


class MapEndedError(RuntimeError):
    """The instrument cannot go on; sites not yet exposed stay usable."""


class RunResult(Protocol):
    """What a run fills in while it goes."""

    uid: str


@plan
def staged_run(
    body: Callable[[], MsgGenerator[Any]],
    *,
    md: Mapping[str, Any],
    result: RunResult,
    devices: Sequence[Any],
    stops: Mapping[str, Any],
) -> MsgGenerator[None]:
    """Stage, open the run, do the body, close; leave everything safe whatever happens.

    Every clean-up step is tried although others fail, each with its own timeout.

    Parameters
    ----------
    body : callable
        Returns the messages inside the run.
    md : mapping
        Metadata.
    result : RunResult
        Gets the run's uid.
    devices : sequence
        Staged in this order, unstaged in the reverse one; those that cannot are left out.
    stops : mapping of str to device
        What is stopped, in this order, when the body fails; the names say what it is for.

    Raises
    ------
    MapEndedError
        If the body succeeded but a clean-up step failed.
    """
    staged: list[Any] = []
    failed: list[str] = []

    def run() -> MsgGenerator[None]:
        for device in devices:
            if hasattr(device, "stage"):
                staged.append(device)
                yield from bps.stage(device)
        result.uid = yield from bpp.run_wrapper(opened(), md=dict(md))

    def opened() -> MsgGenerator[None]:
        # safe before anything else happens, the stop document included
        yield from bpp.contingency_wrapper(first_checkpoint(), except_plan=make_safe)

    def first_checkpoint() -> MsgGenerator[None]:
        yield Msg("rewindable", None, True)  # a halted plan may have left it off
        yield from bps.checkpoint()
        yield from in_words(body())

    def make_safe(error: BaseException) -> MsgGenerator[None]:
        logger.warning("the run ends early: %s", str(error) or type(error).__name__)
        steps = {what: lambda device=device: _stop(device) for what, device in stops.items()}
        failed.extend((yield from clean_up(steps)))

    def leave() -> MsgGenerator[None]:
        steps = {
            f"unstage {device.name}": lambda device=device: _unstage(device)
            for device in reversed(staged)
        }
        failed.extend((yield from clean_up(steps)))

    yield from bpp.finalize_wrapper(run(), leave)
    if failed:
        raise MapEndedError(f"the run is complete, but clean-up failed: {'; '.join(failed)}")


def _stop(device: Any) -> MsgGenerator[None]:
    if hasattr(device, "stop"):
        yield Msg("stop", device)


def _unstage(device: Any) -> MsgGenerator[None]:
    group = short_uid("unstage")
    yield from bps.unstage(device, group=group)
    yield from bps.wait(group, timeout=CLEANUP_TIMEOUT)
