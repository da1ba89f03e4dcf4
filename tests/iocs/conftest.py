from functools import partial

import pytest

from tests.iocs.client import Client, starting
from tests.support.ioc import DEMO, afm_ioc


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def shared(tmp_path_factory, module_patch):
    """One demonstration IOC in real time for a whole module."""
    serve = partial(afm_ioc, tmp_path_factory.mktemp("ioc"), factory=DEMO)
    with starting(serve, lambda ioc: Client(ioc, module_patch)) as start:
        yield start(speed=1)


@pytest.fixture
def client(shared):
    """The shared IOC, in state safe or latched, with default compliance."""
    shared.put("KILL", 1)
    shared.put("COMP:CURRENT:ON", 0)
    shared.put("COMP:HEIGHT:ON", 0)
    shared.put("AFTER:ACTION", 0)
    shared.put("AFTER:SAMPLES", 0)
    shared.put("FILE:CAPTURE", 0)
    shared.put("ARM:TIMEOUT", 5.0)
    shared.put("SAFE:POLICY", 2)
    shared.ramp()
    return shared


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Start demonstration IOCs of one's own."""
    serve = partial(afm_ioc, tmp_path, factory=DEMO)
    with starting(serve, lambda ioc: Client(ioc, monkeypatch)) as start:
        yield start
