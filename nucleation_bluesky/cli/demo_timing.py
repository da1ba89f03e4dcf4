"""What the parts of the demo share."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from nucleation_bluesky.cli.common import console

DELIVERY_TIMEOUT = 120.0


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long a step took."""
    start = monotonic()
    yield
    console.print(f"  {what}: {monotonic() - start:.0f} s")
