"""Fault tests: whole stacks of real processes, and single devices over a real IOC."""

import pytest
from benchmarks.fault_stack import Stack

from tests.devices.conftest import run_engine, session, start

__all__ = ["run_engine", "session"]


@pytest.fixture(scope="session")
def slow_stack(tmp_path_factory):
    """In real time, with Tiled; each test uses a sample of its own."""
    stack = Stack(tmp_path_factory.mktemp("slow"), speed="1", heartbeat=0.5)
    yield stack
    stack.close()


@pytest.fixture(scope="session")
def fast_stack(tmp_path_factory):
    """As fast as it can, with Tiled."""
    stack = Stack(tmp_path_factory.mktemp("fast"), heartbeat=1.0)
    yield stack
    stack.close()


@pytest.fixture(scope="module")
def real_time_ioc(tmp_path_factory):
    """An IOC whose ramps take their time."""
    with start(tmp_path_factory.mktemp("ioc"), "T:DOUBT:", speed=1.0) as running:
        yield running
