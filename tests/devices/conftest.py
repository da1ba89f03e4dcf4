"""One Channel Access environment for this process, and an instrument with guard and heartbeat."""

from types import SimpleNamespace

import pytest
from bluesky import RunEngine
from nucleation_bluesky.ledger import Guard, Ledger
from nucleation_bluesky.session.heartbeat import Heartbeat
from tests.support.ca_session import client_environment
from tests.support.ioc import afm_ioc

ENVIRONMENT = client_environment()
# after the environment: importing ophyd's signals may already start libca
from nucleation_bluesky.devices import AfmInstrument  # noqa: E402


def start(directory, prefix, **options):
    return afm_ioc(directory, prefix=prefix, **{"environment": ENVIRONMENT} | options)


@pytest.fixture
def run_engine():
    engine = RunEngine({}, context_managers=[])
    yield engine
    engine._loop.call_soon_threadsafe(engine._loop.stop)


@pytest.fixture
def session(run_engine, tmp_path):
    """Build a session on an IOC: instrument, heartbeat, ledger, guard, documents."""
    made = []

    def build(prefix, *, owner="tests", min_distance=15e-9):
        instrument = AfmInstrument(prefix, name="afm")
        instrument.connect(owner)
        heart = Heartbeat(run_engine._loop, instrument.controller.beat, 0.2)
        heart.start()
        ledger = Ledger(tmp_path / "ledger.sqlite")
        ledger.add_sample("licgc")
        epoch = ledger.mount("licgc")
        guard = Guard(
            ledger, "licgc", epoch, owner, instrument.stage_xy.measured_position, min_distance
        )
        instrument.set_guard(guard)
        instrument.set_data_directory(tmp_path / "data")
        documents = []
        token = run_engine.subscribe(lambda name, doc: documents.append((name, doc)))
        made.append((heart, ledger, instrument, token))
        return SimpleNamespace(
            afm=instrument, ledger=ledger, guard=guard, documents=documents, RE=run_engine,
            heart=heart,
        )  # fmt: skip

    yield build
    for heart, ledger, instrument, token in made:
        run_engine.unsubscribe(token)
        heart.stop()
        if instrument.controller.owner.connected:
            instrument.controller.owner.send("")
        ledger.close()
