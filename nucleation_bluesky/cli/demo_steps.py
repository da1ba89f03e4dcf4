"""What the parts of the demo share: timed steps, results written while the next is computed."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from typing import Any

from nucleation_bluesky.cli.common import console, fail
from nucleation_bluesky.session.execute import Outcome
from nucleation_bluesky.storage.results import write_result


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long a step took."""
    start = monotonic()
    yield
    console.print(f"  {what}: {monotonic() - start:.0f} s")


def uid_of(outcome: Outcome, label: str) -> str:
    """Return the uid of a run that completed; the demo ends with any other."""
    if not outcome.complete:
        fail(f"'{label}' did not complete: {outcome.reason}")
    return outcome.uid


class ResultWriter:
    """Writes results beside the analysis of the next ones; leaving the context waits for all.

    An error in writing is raised on leaving.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="results")
        self._written: list[Future[str]] = []

    def __enter__(self) -> "ResultWriter":
        return self

    def __call__(self, *args: Any, **options: Any) -> None:
        """Write a result as `write_result` does, later."""
        self._written.append(self._pool.submit(write_result, *args, **options))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for written in self._written:
                written.result()
