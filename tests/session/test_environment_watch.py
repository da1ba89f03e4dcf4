"""A map waits between two sites, and only there, while the environment is not fit."""

import math
import threading
import time

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from nucleation_bluesky.devices.environment import Reading
from nucleation_bluesky.session.environment_watch import EnvironmentWatch, Limit, shown

FIT = {"oxygen": 0.02e-6, "water": 0.05e-6}
LIMITS = {"oxygen": Limit(-math.inf, 0.1e-6), "water": Limit(-math.inf, 0.2e-6)}


class Sensors:
    """Stands in for the sensors' thread: readings come when the test says so."""

    name = "environment"
    parent = None

    def subscribe(self, listener):
        self.listener = listener

    def reads(self, **changes):
        values = FIT | changes
        now = time.time()
        self.listener(
            {n: v if isinstance(v, Reading) else Reading(v, now) for n, v in values.items()}
        )

    def read(self):
        return {"environment_oxygen": {"value": 1e-8, "timestamp": time.time()}}

    def describe(self):
        return {"environment_oxygen": {"source": "test", "dtype": "number", "shape": []}}

    def read_configuration(self):
        return {}

    describe_configuration = read_configuration


@pytest.fixture
def held():
    sensors, said = Sensors(), []
    watch = EnvironmentWatch(sensors, LIMITS, settle=0.3, period=0.1, say=said.append)
    engine = RunEngine({}, context_managers=[])
    engine.preprocessors.append(watch.preprocessor(engine))
    documents = []
    engine.subscribe(lambda name, doc: documents.append((name, doc)))
    yield sensors, watch, engine, said, documents
    engine._loop.call_soon_threadsafe(engine._loop.stop)


def visits(log, sites=3, at_site=None):
    @bpp.run_decorator(md={})
    def plan():
        for site in range(sites):
            yield from bps.checkpoint()
            log.append((site, time.monotonic()))
            yield from bps.null()
            if at_site:
                at_site(site)
            yield from bps.sleep(0.02)
        yield from bps.checkpoint()

    return plan()


def test_troubles_in_words():
    high = Limit(-math.inf, 0.1e-6)
    assert high.trouble("oxygen", Reading(0.05e-6, 0.0)) == ""
    assert high.trouble("oxygen", Reading(5e-6, 0.0)) == "oxygen is 5 ppm, above 0.1 ppm"
    assert high.trouble("oxygen", Reading(math.nan, 0.0, "PV does not answer")) == (
        "PV does not answer"
    )
    low = Limit(293.15, math.inf)
    assert "below 20 degC" in low.trouble("temperature", Reading(290.0, 0.0))
    assert shown("vibration", 12e-6) == "12 um/s"


def test_fit_environment_costs_no_event(held):
    sensors, _, engine, said, documents = held
    sensors.reads()
    log = []
    engine(visits(log))
    assert [site for site, _ in log] == [0, 1, 2]
    assert said == []
    assert [name for name, _ in documents] == ["start", "stop"]


def test_never_read_is_not_fit(held):
    _, watch, *_ = held
    assert "was not read for" in watch.trouble


def test_held_between_sites_and_recorded(held):
    sensors, watch, engine, said, documents = held
    sensors.reads()
    log, moments = [], {}

    def back():
        sensors.reads()
        moments["fit"] = time.monotonic()

    def turns_bad(site):
        if site == 1:  # in the middle of a site: that one is finished first
            sensors.reads(oxygen=5e-6)
            threading.Timer(0.5, back).start()

    engine(visits(log, at_site=turns_bad))
    assert [site for site, _ in log] == [0, 1, 2]
    assert log[2][1] >= moments["fit"] + 0.3  # settled
    assert said[0] == "held before the next site: oxygen is 5 ppm, above 0.1 ppm"
    assert said[1].startswith("going on after")
    (event,) = [doc for name, doc in documents if name == "event"]
    assert event["data"]["held_reason"] == "oxygen is 5 ppm, above 0.1 ppm"
    assert event["data"]["held_duration"] >= 0.8
    assert watch.trouble == ""


def test_a_sensor_that_does_not_answer_holds(held):
    sensors, watch, *_ = held
    sensors.reads(water=Reading(math.nan, 0.0, "NB:ENV:H2O does not answer"))
    assert watch.trouble == "NB:ENV:H2O does not answer"
    sensors.reads()
    assert "settling" in watch.trouble


def test_a_pause_takes_effect_while_held(held):
    sensors, _, engine, _, documents = held
    sensors.reads(water=1e-6)
    log = []
    threading.Timer(0.3, lambda: engine.request_pause(defer=True)).start()
    with pytest.raises(RunEngineInterrupted):
        engine(visits(log))
    assert engine.state == "paused"
    assert log == []  # no site was used
    engine.abort("enough")
    assert log == []
    assert documents[-1][1]["exit_status"] == "abort"


def test_resumed_while_still_bad_is_held_again(held):
    sensors, _, engine, _, _ = held
    sensors.reads(water=1e-6)
    log = []
    threading.Timer(0.3, lambda: engine.request_pause(defer=True)).start()
    with pytest.raises(RunEngineInterrupted):
        engine(visits(log))
    threading.Timer(0.5, sensors.reads).start()
    began = time.monotonic()
    engine.resume()
    assert [site for site, _ in log] == [0, 1, 2]
    assert log[0][1] - began >= 0.5
