"""Plans of landings over a real IOC: RunEngine, devices, ledger, camera, Channel Access."""

import math
import threading

import h5py
import numpy as np
import pytest
from bluesky.utils import FailedStatus, RequestAbort, RunEngineInterrupted
from nucleation_bluesky.callbacks.map_summary import MapSummary
from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.contract.program import program_from_document
from nucleation_bluesky.plans.landing import approach_until_contact, cv_cycles, hop, landing
from nucleation_bluesky.plans.screen import (
    combinatorial_screen,
    constant_charge_series,
    hopping_map,
)
from nucleation_bluesky.plans.staged_run import MapEndedError
from tests.support.seccm_stack import seccm_stack

pytestmark = pytest.mark.stack
UM, NA = 1e-6, 1e-9
SHORT = {"z_max": 20 * UM, "frame_period": 0.5, "frame_exposure": 0.01}
TABLE = [
    {"current": -0.5 * NA, "duration": 0.3},
    {"current": -1.0 * NA, "duration": 0.2},
    {"technique": "cv", "initial": 0.5, "vertex": -0.5, "rate": 2.0, "repeats": 1},
]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with seccm_stack(tmp_path_factory.mktemp("landings"), "T:SECPLAN:") as stack:
        yield stack


@pytest.fixture
def stack(running):
    running.documents.clear()
    return running


rows = iter(range(2, 15))


@pytest.fixture
def line(stack):
    """A fresh line of the sample: 12 sites, 7 um apart."""
    return {"origin": (3 * UM, 7 * UM * next(rows)), "pitch": 7 * UM, "rows": 1}


def refused(stack, plan, sentence, **changes):
    """A bad argument moves nothing."""
    before = len(stack.ioc.events()), stack.seccm.pipette.measured_position()
    with pytest.raises((ValueError, TypeError), match=sentence):
        stack.RE(plan(stack.seccm, **changes))
    assert stack.documents.all == []
    assert (len(stack.ioc.events()), stack.seccm.pipette.measured_position()) == before


def test_screen(stack, line):
    result = stack.RE(
        combinatorial_screen(
            stack.seccm, conditions=TABLE, repeats=2, assignment="blocked", seed=1, **line, **SHORT
        )
    ).plan_result
    documents, roles = stack.documents, stack.seccm.landing.roles
    start = documents.of("start")[0]
    assert start["plan_name"] == "combinatorial_screen"
    assert result.n_contacts == 5
    condition, repeat = (documents.column(roles[r]) for r in ("condition", "repeat"))
    assert sorted(zip(condition, repeat, strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    assert sorted(condition[:3]) == [0, 1, 2]
    assert documents.column(roles["site"]) == list(range(5))
    np.testing.assert_allclose(np.diff(documents.column(roles["x"])), 7 * UM, atol=20e-9)
    # what was commanded is what its program says
    block = start[START_KEY]
    charges = documents.column(roles["charge"])
    for k, charge in zip(condition, charges, strict=True):
        program = program_from_document(block["conditions"][k]["program"])
        if k < 2:
            step = program.steps[0]
            assert charge == pytest.approx(step.start * step.duration, rel=0.02)
    # one film for each landing, in one stream, on the controller's clock
    camera = stack.seccm.camera.roles
    first, count = (documents.column(camera[f"film_{n}"]) for n in ("first", "count"))
    assert first == [0, *np.cumsum(count)[:-1].tolist()]
    times = documents.resources(camera["frame_time"])
    begins = documents.column(roles["start_utc"])
    contacts = documents.column(roles["contact_ticks"])
    for resource, n, begin, ticks, contact in zip(
        times, count, begins, documents.column(roles["start_ticks"]), contacts, strict=True
    ):
        with h5py.File(resource["uri"].removeprefix("file://localhost")) as file:
            stamps = file[resource["parameters"]["dataset"]][:] + 631152000.0 - begin
        assert len(stamps) == n
        assert stamps[0] <= 0.02  # the film begins before the landing
        assert stamps[-1] > contact - ticks  # and goes on after contact
    assert documents.of("stop")[0]["num_events"]["film"] == sum(count)


def test_abort_and_resume_keep_condition_and_site(stack, line):
    options = {"conditions": TABLE, "repeats": 2, "assignment": "random", "seed": 4}
    options |= {**line, **SHORT}
    before, count = len(stack.ledger.exposures()), 0

    def abort_after_two(name, doc):
        nonlocal count
        count += name == "event" and "seccm_landing_site" in doc["data"]
        if name == "event" and count == 2:
            threading.Timer(0.0, stack.RE.abort).start()

    token = stack.RE.subscribe(abort_after_two)
    with pytest.raises((RunEngineInterrupted, RequestAbort)):
        stack.RE(combinatorial_screen(stack.seccm, **options))
    stack.RE.unsubscribe(token)
    start = stack.documents.of("start")[0]
    arguments = {k: v for k, v in start["plan_args"].items() if k != "instrument"}
    stack.RE(combinatorial_screen(stack.seccm, **arguments, skip_used=True, continues=start["uid"]))
    second = stack.documents.of("start")[1]
    assert second[START_KEY]["continues"] == second[START_KEY]["series"] == start["uid"]
    roles = stack.seccm.landing.roles
    sites = stack.documents.column(roles["site"])
    assert len(set(sites)) == len(sites)
    # a site aborted in mid-air is burned; every other one was measured once
    assert len(stack.ledger.exposures()) - before == 5
    pairs = zip(*(stack.documents.column(roles[r]) for r in ("condition", "repeat")), strict=True)
    found = dict(zip(sites, pairs, strict=True))
    complete = {(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)}
    assert set(found.values()) <= complete
    assert len(set(found.values())) == len(sites)


def test_cv_against_lithium_is_commanded_raw(stack, line):
    x, y = line["origin"]
    plan = cv_cycles(
        stack.seccm, initial=3.5, vertex=2.6, rate=1.0, cycles=2, x=x, y=y,
        potential_scale="Li/Li+", **SHORT,
    )  # fmt: skip
    stack.RE(plan)
    block = stack.documents.of("start")[0][START_KEY]
    program = program_from_document(block["program"])
    assert [step.start for step in program.steps] == pytest.approx([0.5, -0.4, 0.5, -0.4])
    assert program.approach.potential == pytest.approx(0.5)
    assert block["conditions"][0]["initial"] == 3.5  # as it was given
    assert block["reference_offset"] == {"scale": "Li/Li+", "offset": 3.0}
    (stop,) = stack.documents.column(stack.seccm.landing.roles["stop_bias"])
    assert stop == pytest.approx(0.5, abs=0.01)


def test_constant_charge(stack, line):
    plan = constant_charge_series(
        stack.seccm, currents=(-1 * NA, -4 * NA), charge=1e-9, **line, film=False, z_max=20 * UM
    )
    stack.RE(plan)
    charges = stack.documents.column(stack.seccm.landing.roles["charge"])
    assert charges == pytest.approx([-1e-9, -1e-9], rel=0.02)
    assert stack.documents.resources(stack.seccm.camera.roles["frames"]) == []
    assert stack.documents.column("seccm_landing_termination") == [Termination.COMPLETED] * 2


def test_contact_and_hop(stack, line):
    x, y = line["origin"]
    found = stack.RE(hop(stack.seccm, x=x, y=y, **SHORT)).plan_result.results[0]
    assert found.touched
    assert found.x == pytest.approx(x, abs=20e-9)
    assert 0 <= found.overtravel < 30e-9
    # where the pipette now is, the site is used
    refused_again = approach_until_contact(stack.seccm, x=x + 7 * UM, y=y, **SHORT)
    stack.RE(refused_again)
    with pytest.raises(ValueError, match="been used"):
        approach_until_contact(stack.seccm, **SHORT)


def test_no_contact_goes_on_and_then_ends(stack, line):
    options = {**SHORT, "film": False, "z_max": 5 * UM, "max_no_contact": 3}
    before = len(stack.ledger.exposures())
    with pytest.raises(MapEndedError, match=r"3 approaches in a row .* z = 5 um"):
        stack.RE(hopping_map(stack.seccm, **{**line, "cols": 5}, **options))
    terminations = stack.documents.column(stack.seccm.landing.roles["termination"])
    assert terminations == [Termination.NO_CONTACT] * 3
    used = stack.ledger.exposures()[before:]
    assert [e.state for e in used] == ["BURNED"] * 3
    assert stack.documents.of("stop")[0]["exit_status"] == "fail"


def test_a_footprint_wider_than_the_pitch_ends_the_screen(stack, line):
    seen = []

    def measure(outcome, film):
        seen.append((outcome.site if hasattr(outcome, "site") else 0, film.path.exists()))
        return 5 * UM if len(seen) == 1 else 9 * UM

    with pytest.raises(MapEndedError, match="9 um wide, the sites are 7 um apart"):
        stack.RE(
            combinatorial_screen(
                stack.seccm, conditions=TABLE[:2], repeats=2, measure_footprint=measure,
                **line, **SHORT,
            )
        )  # fmt: skip
    assert [exists for _, exists in seen] == [True, True]


def test_a_limit_ends_a_landing_in_the_safe_state(stack, line):
    x, y = line["origin"]
    plan = landing(
        stack.seccm, current=-2 * NA, duration=1.0, potential_low=-1.0, x=x, y=y, film=False,
        z_max=20 * UM,
    )  # fmt: skip
    (outcome,) = stack.RE(plan).plan_result.results.values()
    assert outcome.termination is Termination.POTENTIAL_LIMIT
    assert outcome.n_samples > 0


def test_a_dead_camera_spoils_no_site(stack, line, monkeypatch):
    x, y = line["origin"]
    camera = stack.seccm.camera
    monkeypatch.setattr(camera, "frame_timeout", 0.3)
    send = camera.acquire.send
    monkeypatch.setattr(camera.acquire, "send", lambda value: None if value else send(value))
    before = len(stack.ledger.exposures())
    with pytest.raises(FailedStatus) as failed:
        stack.RE(landing(stack.seccm, current=-1 * NA, duration=0.2, x=x, y=y, **SHORT))
    assert "delivers no frames" in str(failed.value.__cause__)
    assert len(stack.ledger.exposures()) == before


def test_bad_input_moves_nothing(stack, line):
    screen = {"conditions": TABLE, **line, **SHORT}
    for change, sentence in (
        ({"conditions": [{"curent": 1}]}, "unknown condition column 'curent'"),
        ({"conditions": [{"current": -1e-9, "duration": 1, "charge": -1e-9}]}, "charge is a mag"),
        ({"conditions": None}, "either conditions or a table"),
        ({"pitch": 4 * UM}, "4 um is smaller than the expected footprint of 6 um"),
        ({"wetting_ratio": 2.0}, "smaller than the expected footprint of 8 um"),
        ({"rows": 1, "cols": 2}, "3 landings do not fit on the 2 sites"),
        ({"origin": (1.0, 0.0)}, "off the stage"),
        ({"assignment": "zigzag"}, "assignment 'zigzag'"),
        ({"potential_scale": "SHE"}, "cannot be given on the scale 'SHE'"),
        ({"z_max": 1e-3}, "soft limit"),
        ({"contact_threshold": math.nan}, "contact_threshold"),
        ({"frame_period": 0.1, "frame_exposure": 0.5}, "does not fit into a frame"),
        ({"sample_period": 0.0}, "sample period"),
        ({"conditions": [{"technique": "cv", "initial": 12, "vertex": 0, "rate": 1}]}, "10 V"),
    ):
        refused(stack, combinatorial_screen, sentence, **{**screen, **change})
    refused(stack, landing, "give both x and y", current=-1e-9, duration=1.0, x=1e-6)
    refused(stack, cv_cycles, "two different potentials", initial=1.0, vertex=1.0)
    with pytest.raises(TypeError, match="SECCM device of the session"):
        landing(stack.seccm.pipette, current=-1e-9, duration=1.0)
    with pytest.raises(TypeError, match="unexpected keyword"):
        landing(stack.seccm, curent=-1e-9)


def test_a_pipette_left_down_is_not_dragged(stack, line):
    z = stack.seccm.pipette.z
    height = z.position
    z.set(z.safe.get() + 3 * UM).wait(20)
    try:
        refused(
            stack, hop, "too near to the sample", x=line["origin"][0], y=line["origin"][1], **SHORT
        )
    finally:
        z.set(height).wait(20)


def test_a_list_has_no_rows_to_go_along(stack):
    with pytest.raises(ValueError, match="order 'raster' needs a grid"):
        hopping_map(stack.seccm, sites=[(0.0, 0.0), (4e-5, 0.0)], order="raster", **SHORT)


def test_progress_tells_contacts(stack, line):
    summary = MapSummary()
    token = stack.RE.subscribe(summary.take)
    stack.RE(hopping_map(stack.seccm, **{**line, "cols": 2}, **SHORT))
    stack.RE.unsubscribe(token)
    assert summary.sentence() == "2/2 sites, 100 % with contact, ended: success"
