"""A virtual AFM behind a real IOC for the plans, one process for all tests of this room."""

import itertools

import pytest
from tests.support.ioc import afm_ioc, channel_access_environment


@pytest.fixture(scope="session")
def plans_ioc(tmp_path_factory):
    """The IOC; the session's Channel Access client is pointed at it."""
    import os  # noqa: PLC0415

    environment = channel_access_environment()
    saved = dict(os.environ)
    os.environ.update(environment)
    directory = tmp_path_factory.mktemp("ioc")
    try:
        with afm_ioc(directory, environment=environment, seed=3, speed="max") as ioc:
            yield ioc
    finally:
        os.environ.clear()
        os.environ.update(saved)


counter = itertools.count()
