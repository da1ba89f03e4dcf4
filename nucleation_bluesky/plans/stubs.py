"""Plan stubs: one ramp, one move, one topography; and cleaning up step by step.

What runs at every site yields its messages itself: bluesky's stubs record the whole stack at each
call, for a warning about plans that nobody iterates, and that took a quarter of the RunEngine's
time per site.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import (
    FailedStatus,
    Msg,
    MsgGenerator,
    RunEngineControlException,
    plan,
    short_uid,
)

from nucleation_bluesky.contract.documents import PRIMARY_STREAM
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.plans.failures import device_error
from nucleation_bluesky.plans.protocols import ExposureDevice, ImagerDevice, RampDevice, StageDevice
from nucleation_bluesky.plans.results import RampResult

logger = logging.getLogger(__name__)

MOVE_TIMEOUT = 30.0  # s
PREPARE_TIMEOUT = 10.0
CLEANUP_TIMEOUT = 5.0
IMAGE_TIMEOUT = 600.0
RAMP_GRACE = 30.0  # s beyond the ramp's own duration


def ramp_timeout(spec: RampSpec) -> float:
    """Wall time after which a ramp that did not report is given up, s."""
    return 2.0 * (spec.duration + spec.after_time) + RAMP_GRACE


class InterruptedStepError(RuntimeError):
    """A pause or suspender cut a step short; the plan ends, sites not yet exposed stay usable."""


def finished(
    group: str, statuses: Sequence[Any], *, timeout: float, what: str
) -> MsgGenerator[None]:
    """Wait for a group, and make sure that the wait was not cut short.

    After an immediate pause bluesky goes on with the message after the interrupted wait when a
    device forbids replay: without this check a plan would read what has not happened.

    Raises
    ------
    InterruptedStepError
        If a status is not done, or failed unnoticed.
    TimeoutError
        If the wait times out.
    """
    try:
        yield Msg("wait", None, group=group, error_on_timeout=True, timeout=timeout, watch=())
    except TimeoutError as error:  # which does not say of what
        raise TimeoutError(f"{what} did not end within {timeout:g} s") from error
    for status in statuses:
        if status is not None and not (status.done and status.success):
            raise InterruptedStepError(
                f"{what} was interrupted by a pause; the run ends here, resume it over the sites "
                "that are still free"
            )


@plan
def change_ramp(ramp: RampDevice, spec: RampSpec) -> MsgGenerator[None]:
    """Give the device another ramp than the one it was configured with.

    Raises
    ------
    TimeoutError
        If the device does not take it over in time.
    """
    group = short_uid("waveform")
    status = yield from bps.abs_set(ramp.waveform, spec, group=group)
    yield from finished(group, [status], timeout=PREPARE_TIMEOUT, what="setting the ramp")


@plan
def move_to(
    stage: StageDevice, x: float | None, y: float | None, *, timeout: float = MOVE_TIMEOUT
) -> MsgGenerator[None]:
    """Move to a position in the sample frame, m; None leaves an axis alone.

    Raises
    ------
    TimeoutError
        If the stage does not settle in time.
    """
    group = short_uid("move")
    statuses = []
    for axis, target in ((stage.x, x), (stage.y, y)):
        if target is not None:
            statuses.append((yield Msg("set", axis, target, group=group)))
    yield from finished(group, statuses, timeout=timeout, what="the move")


@plan
def bias_ramp(
    ramp: RampDevice,
    *,
    also: Sequence[Readable] = (),
    stream: str = PRIMARY_STREAM,
    timeout: float = 120.0,
) -> MsgGenerator[RampResult]:
    """Run one exposure at the present site and record it in the open run.

    The device claims the site. Nothing in here is ever replayed: an immediate pause kills the ramp
    (the device does), and when the plan is resumed it ends through its finalizers, with this site
    burned and the others usable. A deferred pause waits for the checkpoint between two sites. (A
    ``clear_checkpoint`` would forbid replay too, but bluesky then refuses every later pause.)

    Parameters
    ----------
    ramp : RampDevice
        Prepared before.
    also : sequence of Readable
        Read into the same event.
    stream : str
        Name of the event stream.
    timeout : float
        Wall time to wait for the ramp, s.

    Returns
    -------
    RampResult
        What the device reported.

    Raises
    ------
    TimeoutError
        If the ramp does not end in time.
    """

    def expose() -> MsgGenerator[RampResult]:
        group = short_uid("ramp")
        status = yield Msg("trigger", ramp, group=group)
        yield from finished(group, [status], timeout=timeout, what="the ramp")
        return (yield from _record(ramp, also, stream))

    return (yield from bpp.rewindable_wrapper(expose(), False))


@plan
def record(
    ramp: ExposureDevice, *, also: Sequence[Readable] = (), stream: str = PRIMARY_STREAM
) -> MsgGenerator[RampResult]:
    """Read the exposure just made into an event and return it."""
    return (yield from _record(ramp, also, stream))


def _record(
    ramp: ExposureDevice, also: Sequence[Readable], stream: str
) -> MsgGenerator[RampResult]:
    yield Msg("create", name=stream)
    reading = yield Msg("read", ramp)
    if not reading:  # bluesky does not give the answer to a message that was interrupted
        raise InterruptedStepError(
            "the reading of the exposure was interrupted by a pause or a suspender; the run ends "
            "here, resume it over the sites that are still free"
        )
    for device in also:
        yield Msg("read", device)
    yield Msg("save")
    values: dict[str, Any] = dict(reading)
    return RampResult.from_reading(values, ramp.roles)


@plan
def take_topography(
    imager: ImagerDevice,
    *,
    x: float,
    y: float,
    size: float,
    pixels: int,
    stream: str,
    record: bool = True,
    timeout: float = IMAGE_TIMEOUT,
) -> MsgGenerator[None]:
    """Take an image centred on (x, y), m, and record it in the open run.

    Parameters
    ----------
    imager : ImagerDevice
        Takes the image.
    x, y, size : float
        Centre and edge length in the sample frame, m.
    pixels : int
        Pixels per edge.
    stream : str
        Event stream.
    record : bool
        False leaves it to the caller to record the event.
    timeout : float
        s.

    Raises
    ------
    TimeoutError
        If the image does not come in time.
    """

    def take() -> MsgGenerator[None]:
        group = short_uid("image")
        imager.stream.put(stream)
        imager.configure_image(x, y, size, pixels)
        status = yield from bps.trigger(imager, group=group)
        yield from finished(group, [status], timeout=timeout, what="the image")
        if record:
            yield from record_topography(imager, stream=stream)

    # a replay would announce two images for one event
    yield from bpp.rewindable_wrapper(take(), False)


@plan
def record_topography(
    imager: ImagerDevice, *, stream: str, also: Sequence[Readable] = ()
) -> MsgGenerator[None]:
    """Read the image just taken into an event."""
    yield from bps.create(stream)
    for device in also:
        yield from bps.read(device)
    yield from bps.read(imager)
    yield from bps.save()


@plan
def clean_up(
    steps: Mapping[str, Callable[[], MsgGenerator[Any]]],
) -> MsgGenerator[list[str]]:
    """Run every clean-up step although others fail.

    Parameters
    ----------
    steps : mapping
        What the step does, and the plan that does it (each with its own timeout).

    Returns
    -------
    list of str
        What failed, in words.
    """
    failed: list[str] = []
    request: RunEngineControlException | None = None
    for name, step in steps.items():
        for _ in range(2):
            try:
                yield from step()
            except RunEngineControlException as error:
                # an abort that arrives during a step must not spare the step: do it again
                request = error
                continue
            except (FailedStatus, TimeoutError, OSError, RuntimeError, ValueError) as error:
                logger.exception("clean-up: %s failed", name)
                failed.append(f"{name}: {device_error(error)}")
            break
    if request is not None:
        raise request
    return failed
