"""The Channel Access environment of this test process.

libca reads its environment once, when the first client starts. Every test that uses ophyd in its
own process must therefore share one port; its IOCs take turns on it, under different prefixes. An
IOC that runs beside another one has the second port: of two servers at one port, a client's
searches reach one, chosen by the kernel from the client's own port.
"""

import os
from functools import cache

from nucleation_bluesky.session.channel_access import (
    free_port,
    loopback_environment,
    use_loopback,
)


@cache
def client_environment() -> dict[str, str]:
    """Set (once) and return the environment for clients in this process and for their IOCs.

    Sessions that a test opens in this process meet their virtual instrument at the same port.
    """
    environment = use_loopback() | {"EPICS_CA_MAX_ARRAY_BYTES": "10000000"}
    both = [e["EPICS_CA_ADDR_LIST"] for e in (environment, second_environment())]
    os.environ.update(environment | {"EPICS_CA_ADDR_LIST": " ".join(both)})
    return environment


@cache
def second_environment() -> dict[str, str]:
    """Return the environment for an IOC that runs beside one at the first port."""
    return loopback_environment(free_port()) | {"EPICS_CA_MAX_ARRAY_BYTES": "10000000"}
