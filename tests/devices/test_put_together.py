"""Puts that are sent together: the time to connect is none of the time to complete."""

from types import SimpleNamespace

import pytest
from nucleation_bluesky.contract.pvs import Kind
from nucleation_bluesky.devices import _round_trips
from nucleation_bluesky.devices._round_trips import Completion, write_together
from nucleation_bluesky.devices.errors import PutTimeoutError


class Late:
    """Answers, if it is given time at all; None answers never."""

    def __init__(self, clock, takes):
        self.clock, self.takes = clock, takes

    def wait(self, seconds):
        self.clock.now += seconds
        return self.takes is not None and seconds > 0


class SlowToConnect:
    """A PV that takes 5 s to connect and then obeys."""

    pvname, unit = "SLOW", ""
    cl = SimpleNamespace(name="none")
    control_pv = SimpleNamespace(connected=True)
    contract = SimpleNamespace(kind=Kind.DOUBLE)

    def __init__(self, clock, takes=0.1):
        self.clock, self.takes, self.value = clock, takes, None

    def require_connection(self): ...

    def get(self):
        return self.value

    def start(self, value):
        self.clock.now += 5.0
        self.value = value
        done = Completion(self)
        done._event = Late(self.clock, self.takes)
        return done


@pytest.fixture
def clock(monkeypatch):
    made = SimpleNamespace(now=0.0)
    made.monotonic = lambda: made.now
    monkeypatch.setattr(_round_trips, "time", made)
    return made


def test_slow_connections_leave_time_to_complete(clock):
    write_together([(SlowToConnect(clock), 1.0), (SlowToConnect(clock), 2.0)], timeout=2.0)
    assert clock.now < 10.0 + 2.0


def test_what_does_not_complete_is_told_with_its_limit(clock):
    signal = SlowToConnect(clock, takes=None)
    with pytest.raises(PutTimeoutError, match=r"within 2\.0 s"):
        write_together([(signal, 1.0)], timeout=2.0)
    assert clock.now == pytest.approx(5.0 + 2.0)
