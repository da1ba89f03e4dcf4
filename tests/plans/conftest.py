"""One Channel Access environment for this process, made before libca starts."""

from tests.support.ca_session import client_environment

ENVIRONMENT = client_environment()
