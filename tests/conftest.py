"""Before any test module is imported: one Channel Access environment, no windows."""

import os

from tests.support.ca_session import client_environment

os.environ["MPLBACKEND"] = "agg"
client_environment()
