"""The Channel Access environment of this test process.

libca reads its environment once, when the first client starts. Every test that uses ophyd in its
own process must therefore share one port; its IOCs take turns on it, under different prefixes.
"""

import os
from functools import cache

from tests.support.ioc import channel_access_environment


@cache
def client_environment() -> dict[str, str]:
    """Set (once) and return the environment for clients in this process and for their IOCs."""
    environment = channel_access_environment()
    os.environ.update(environment)
    return environment
