"""The Channel Access environment of this test process.

libca reads its environment once, when the first client starts. Every test that uses ophyd in its
own process must therefore share one port; its IOCs take turns on it, under different prefixes.
"""

import os
from functools import cache

from nucleation_bluesky.session.channel_access import use_loopback


@cache
def client_environment() -> dict[str, str]:
    """Set (once) and return the environment for clients in this process and for their IOCs.

    Sessions that a test opens in this process meet their virtual instrument at the same port.
    """
    environment = use_loopback() | {"EPICS_CA_MAX_ARRAY_BYTES": "10000000"}
    os.environ.update(environment)
    return environment
