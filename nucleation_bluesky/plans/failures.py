"""What failed, in the words of the device that failed."""

from typing import Any

from bluesky.utils import FailedStatus, MsgGenerator, plan


def first_cause(error: BaseException) -> BaseException:
    """Return what a chain of exceptions began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def device_error(error: BaseException) -> BaseException:
    """Return what a device raised, where bluesky tells of its failed status; else the error itself.

    What this was raised from in turn says less: a number of Channel Access, not which PV was lost.
    """
    while isinstance(error, FailedStatus) and error.__cause__ is not None:
        error = error.__cause__
    return error


@plan
def in_words(messages: MsgGenerator[Any]) -> MsgGenerator[Any]:
    """Yield a plan's messages; a failed status is told by what made it fail.

    Its own text is the representation of a status object, which would become the reason in the
    run's stop document.
    """
    try:
        return (yield from messages)
    except FailedStatus as error:
        cause = device_error(error)
        if cause is error:
            raise
        raise FailedStatus(str(cause) or type(cause).__name__) from cause
