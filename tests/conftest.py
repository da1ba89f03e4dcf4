"""Before any test module is imported: Channel Access environment, no windows, fixed examples."""

import os

import hypothesis

from tests.support.ca_session import client_environment

os.environ["MPLBACKEND"] = "agg"
client_environment()
# a change is judged by its own merits: `--hypothesis-profile=default` looks for new examples
hypothesis.settings.register_profile("fixed", derandomize=True)
hypothesis.settings.load_profile("fixed")
