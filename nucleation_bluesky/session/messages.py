"""Plans around single messages of another plan."""

from collections.abc import Callable
from typing import Any

from bluesky.utils import Msg, MsgGenerator, ensure_generator


def around_messages(
    plan: MsgGenerator[Any], around: Callable[[Msg], MsgGenerator[Any] | None]
) -> MsgGenerator[Any]:
    """Yield a plan's messages, some of them by a plan of their own.

    As ``bluesky.preprocessors.plan_mutator``, which keeps every message that ever passed: some 3 kB
    of memory a site.

    Parameters
    ----------
    plan : generator
        Of messages.
    around : callable
        Gets each message; returns a plan that yields it, and more, and returns the answer to it, or
        None to leave it alone.
    """
    plan = ensure_generator(plan)
    answer: Any = None
    failure: Exception | None = None
    while True:
        try:
            msg = plan.send(answer) if failure is None else plan.throw(failure)
        except StopIteration as stop:
            return stop.value
        answer, failure = None, None
        inner = around(msg)
        try:
            answer = (yield msg) if inner is None else (yield from inner)
        except GeneratorExit:
            plan.close()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the plan is to answer it
            failure = error
