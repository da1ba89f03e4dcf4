"""Blocking calls of a driver in threads that cannot be cancelled, but are not forgotten."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Cut = set["asyncio.Future[object]"]
_CUT: ContextVar[Cut | None] = ContextVar("calls_cut_off", default=None)


async def in_thread(function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
    """Run a blocking call of a driver in a thread and return its result.

    As `asyncio.to_thread`; but where an exposure is stopped meanwhile, the controller knows of the
    thread, which runs on, and brings the safe state once more when it has ended.

    Parameters
    ----------
    function : callable
        The driver's call.
    args, options : object
        Its arguments.

    Returns
    -------
    object
        What it returned.
    """
    call = asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **options))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        cut = _CUT.get()
        if cut is not None and not call.done():
            cut.add(call)  # type: ignore[arg-type]
        raise


def watch_threads(cut: Cut) -> None:
    """Collect in ``cut`` the calls of tasks made from here on that are cut off."""
    _CUT.set(cut)
