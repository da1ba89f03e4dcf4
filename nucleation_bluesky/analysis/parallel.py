"""Work on many sites at a time with the cores there are."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")
_MOST = 8


def cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def single_threaded_blas() -> threadpool_limits:
    """Keep the linear algebra on the calling thread while this context lasts.

    The matrices of a window are small: threads of the BLAS wait for one another far longer than
    they work, most of all beside other busy processes.
    """
    return threadpool_limits(limits=1, user_api="blas")


def spread(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return ``[function(item) for item in items]``, computed on as many threads as cores.

    numpy gives up the interpreter's lock in large operations. The order, and with it every
    result, does not depend on the number of threads.
    """
    listed = list(items)
    workers = min(cores(), len(listed), _MOST)
    if workers < 2:
        return [function(item) for item in listed]
    with ThreadPoolExecutor(workers, thread_name_prefix="analysis") as pool:
        return list(pool.map(function, listed))
