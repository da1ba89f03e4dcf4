"""Plans over a real IOC with the virtual AFM: RunEngine, devices, ledger, Channel Access."""

import threading
import time

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.callbacks.best_effort import BestEffortCallback
from bluesky.utils import RequestAbort, RunEngineInterrupted
from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.devices import AfmInstrument
from nucleation_bluesky.ledger import Guard, Ledger
from nucleation_bluesky.plans.nucleation_map import nucleation_map, resume_map
from nucleation_bluesky.plans.sweep_rate_series import sweep_rate_series
from nucleation_bluesky.plans.topography import topography
from nucleation_bluesky.session.heartbeat import Heartbeat
from tests.plans.test_map_logic import Documents
from tests.support.ca_session import client_environment
from tests.support.ioc import afm_ioc

pytestmark = pytest.mark.stack
OWNER = "plans-test"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """IOC, instrument, RunEngine with heartbeat: one for all tests, each on an area of its own."""
    directory = tmp_path_factory.mktemp("stack")
    with afm_ioc(directory, environment=client_environment(), seed=3, prefix="NB:PLANS:") as ioc:
        afm = AfmInstrument(ioc.prefix, name="afm")
        afm.connect(OWNER)
        afm.set_data_directory(directory / "data")
        with Ledger(directory / "ledger.sqlite") as ledger:
            ledger.add_sample("S1")
            epoch = ledger.mount("S1")
            position = afm.stage_xy.measured_position
            afm.set_guard(Guard(ledger, "S1", epoch, OWNER, position, min_distance=10e-9))
            afm.stage_xy.frame_uncertainty.put(0.5e-9)
            engine = RunEngine({}, call_returns_result=True, context_managers=[])
            heart = Heartbeat(engine.loop, afm.controller.beat, 0.2)
            heart.start()
            time.sleep(0.3)
            yield ioc, afm, engine, ledger
            heart.stop()


@pytest.fixture
def documents(stack):
    collected = Documents()
    token = stack[2].subscribe(collected)
    yield collected
    stack[2].unsubscribe(token)


areas = iter((x, y) for y in np.arange(-3, 4) * 1e-6 for x in np.arange(-3, 4) * 1e-6)


@pytest.fixture
def options(stack):
    (low_x, high_x), (low_y, high_y) = stack[1].stage_xy.x.limits, stack[1].stage_xy.y.limits
    x, y = next(areas)
    origin = ((low_x + high_x) / 2 + x, (low_y + high_y) / 2 + y)
    return {
        "rows": 2,
        "cols": 3,
        "pitch": 20e-9,
        "origin": origin,
        "image_pixels": 32,
        "confirm_samples": 1,
    }


@pytest.mark.parametrize("compliance", ["current", "height", "both", "none"])
def test_map(stack, documents, options, compliance):
    _, afm, engine, _ = stack
    engine(nucleation_map(afm, **options, compliance=compliance, order="snake"))
    assert documents.of("stop")[0]["exit_status"] == "success"
    assert documents.column("site") == [0, 1, 2, 5, 4, 3]
    allowed = {
        "current": {Termination.CURRENT_COMPLIANCE, Termination.COMPLETED},
        "height": {Termination.HEIGHT_COMPLIANCE, Termination.COMPLETED},
        "none": {Termination.COMPLETED, Termination.SATURATED},
    }.get(compliance, set(Termination))
    assert set(documents.column("termination")) <= {int(t) for t in allowed}
    x0, y0 = options["origin"]
    np.testing.assert_allclose(documents.column("x")[:3], x0 + np.arange(3) * 2e-8, atol=4e-9)
    np.testing.assert_allclose(documents.column("y")[3:], y0 + 2e-8, atol=4e-9)
    resources = {r["data_key"]: r for r in documents.of("stream_resource")}
    assert {"afm_ramp_current", "afm_imager_topography"} <= set(resources)
    with h5py.File(resources["afm_ramp_current"]["uri"].removeprefix("file://localhost")) as file:
        recorded = file[resources["afm_ramp_current"]["parameters"]["dataset"]]
        lengths = np.isfinite(recorded[:]).sum(axis=1)
    np.testing.assert_array_equal(lengths, documents.column("n_samples"))


def test_best_effort_and_topography(stack, documents, options):
    _, afm, engine, _ = stack
    best = BestEffortCallback()
    best.disable_plots()
    token = engine.subscribe(best)
    engine(nucleation_map(afm, **options))
    engine(topography(afm, center=options["origin"], size=0.5e-6, pixels=32))
    engine.unsubscribe(token)
    assert [d[START_KEY]["technique"] for d in documents.of("start")] == [
        "afm-nucleation-map",
        "topography",
    ]


def test_rates(stack, documents, options):
    _, afm, engine, _ = stack
    engine(sweep_rate_series(afm, rates=(1.2, 4.8), **options))
    assert sorted(row[0] for row in documents.column("rates")) == [1.2] * 3 + [4.8] * 3


def test_stepped(stack, documents, options):
    _, afm, engine, _ = stack
    options |= {"rows": 1, "cols": 1, "image_before_after": False, "rate": 20.0}
    engine(nucleation_map(afm, **options, software=True, max_step=50e-3))
    (found,) = documents.column("termination")
    assert found in (Termination.STOPPED_BY_PLAN, Termination.COMPLETED, Termination.SATURATED)
    assert documents.column("n_samples")[0] > 50


def test_adaptive(stack, documents, options):
    _, afm, engine, _ = stack
    options |= {"rows": 8, "cols": 8, "image_before_after": False}
    result = engine(nucleation_map(afm, **options, adaptive=True, first_sites=25)).plan_result
    ends = np.array(documents.column("fast_segment_end"))
    fast = np.isfinite(ends)
    assert fast.sum() > 15
    assert result.n_flagged <= 2
    duration = np.array(documents.column("duration"))
    assert duration[fast].mean() < 0.5 * duration[~fast].mean()


def test_abort_and_resume(stack, documents, options):
    _, afm, engine, ledger = stack
    options |= {"image_before_after": False}
    before = len(ledger.exposures("S1"))
    count = 0

    def abort_after_three(name, _):
        nonlocal count
        count += name == "event"
        if count == 3 and name == "event":
            threading.Timer(0.0, engine.abort).start()

    token = engine.subscribe(abort_after_three)
    with pytest.raises((RunEngineInterrupted, RequestAbort)):
        engine(nucleation_map(afm, **options))
    engine.unsubscribe(token)
    first = documents.of("start")[0]["uid"]
    assert documents.of("stop")[0]["exit_status"] == "abort"
    engine(resume_map(afm, continues=first, register=False, **options))
    assert documents.of("start")[1][START_KEY]["continues"] == first
    assert len(ledger.exposures("S1")) - before == 6
    assert len(set(documents.column("site"))) == len(documents.column("site"))


def test_registration_follows_an_imposed_shift(stack, documents, options):
    _, afm, engine, _ = stack
    options |= {"image_before_after": False, "registration_size": 1e-6, "registration_pixels": 64}
    stage = afm.stage_xy
    engine(nucleation_map(afm, **options, reregister_every=3))
    shifts = [e["data"]["registration_dx"] for e in documents.events("registration")]
    assert len(shifts) == 2
    assert np.all(np.abs(shifts) < 30e-9)
    assert stage.frame_uncertainty.get() > 0.5e-9


def test_bad_input_changes_no_pv(stack, documents, options):
    ioc, afm, engine, _ = stack
    lines = len(ioc.events())
    place = stack[1].stage_xy.measured_position()
    for change, message in (
        ({"stop": -500.0}, "the controller allows"),
        ({"sample_rate": 1e9}, "sample rate"),
        ({"origin": (1.0, 1.0)}, "off the stage"),
        ({"current_compliance": 1e-11}, "wrong sign"),
    ):
        with pytest.raises(ValueError, match=message):
            engine(nucleation_map(afm, **{**options, **change}))
    assert documents == []
    assert len(ioc.events()) == lines
    assert stack[1].stage_xy.measured_position().x == pytest.approx(place.x, abs=5e-9)
