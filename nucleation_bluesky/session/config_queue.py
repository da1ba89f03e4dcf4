"""Configuration of the queue server."""

from pathlib import Path

from pydantic import Field

from nucleation_bluesky.session.section import Section


class QueueConfig(Section):
    """Queue server on the loopback: ports, Redis, and what happens when an item fails.

    ``redis_file`` names a file (mode 0600) with the address of a Redis that is already there, for
    instance ``:password@127.0.0.1:6379/0``; without it one is started. Port 0 takes a free one.
    """

    control_port: int = Field(default=60615, ge=0, le=65535, description="Of the clients.")
    info_port: int = Field(default=60625, ge=0, le=65535, description="Of the console output.")
    redis_file: Path | None = Field(default=None, description="Holds the address of a Redis.")
    # an instrument that fails pauses the queue by itself
    ignore_failures: bool = Field(
        default=True, description="An item that is refused does not end the night."
    )
