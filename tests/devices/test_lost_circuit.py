"""A circuit lost between the look at it and the put: one sentence, and the heart beats on."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
from epics.ca import CASeverityException
from nucleation_bluesky.contract.pvs import FAMILIES
from nucleation_bluesky.devices._signals import ContractSignal, read_together
from nucleation_bluesky.devices.errors import NotConnectedError
from nucleation_bluesky.session.heartbeat import Heartbeat

(HEARTBEAT,) = {
    pv for groups in FAMILIES.values() for group in groups.values() for pv in group
    if pv.suffix == "HEARTBEAT"
}  # fmt: skip


def lost(*_args, **_kwargs):
    raise CASeverityException("put", "Virtual circuit disconnect")


class Torn(ContractSignal):
    """Says that it is connected, and is not."""

    pvname = "TORN"
    control_pv = SimpleNamespace(connected=True, put=lost, get_with_metadata=lost)

    def __init__(self):
        self.contract = HEARTBEAT

    def require_connection(self, *_args): ...

    def get(self, **_kwargs):
        lost()


@pytest.mark.parametrize("act", ["send", "start", "command"])
def test_a_put_says_that_the_connection_was_lost(act):
    with pytest.raises(NotConnectedError, match="connection to TORN was lost"):
        getattr(Torn(), act)(1)


def test_so_does_a_read(monkeypatch):
    monkeypatch.setattr("nucleation_bluesky.devices._round_trips._read_together_pyepics", lost)
    torn = Torn()
    monkeypatch.setattr(Torn, "cl", SimpleNamespace(name="pyepics"), raising=False)
    with pytest.raises(NotConnectedError, match="while reading TORN, TORN"):
        read_together([torn, torn])


def test_the_heart_beats_on():
    torn, again = Torn(), threading.Event()

    def beat(count):
        if count > 2:
            again.set()
        torn.send(count)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    heart = Heartbeat(loop, beat, 0.001)
    try:
        heart.start()
        assert again.wait(20)
        heart.stop()  # and raises nothing
    finally:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
