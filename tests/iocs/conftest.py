import pytest

from tests.iocs.client import Client
from tests.support.ioc import DEMO, afm_ioc


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def shared(tmp_path_factory, module_patch):
    """One demonstration IOC in real time for a whole module."""
    with afm_ioc(tmp_path_factory.mktemp("ioc"), factory=DEMO, speed=1) as ioc:
        client = Client(ioc, module_patch)
        yield client
        client.close()


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
    opened = []

    def start(**options):
        manager = afm_ioc(tmp_path, factory=DEMO, **options)
        ioc = manager.__enter__()
        client = Client(ioc, monkeypatch)
        opened.append((manager, client))
        return client

    yield start
    for manager, client in reversed(opened):
        client.close()
        manager.__exit__(None, None, None)
