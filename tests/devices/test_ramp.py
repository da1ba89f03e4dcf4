"""The ramp controller under stock plans, over a real IOC."""

import math
import threading
import time

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from bluesky.utils import FailedStatus, NoReplayAllowed
from nucleation_bluesky.contract.enums import ControllerState, SafeState, Termination
from nucleation_bluesky.contract.ramp import Compliance, RampSpec, Window
from nucleation_bluesky.devices.errors import (
    ArmRefusedError,
    BadValueError,
    ExposureFailedError,
    NotConfiguredError,
    OwnedByOtherError,
    PutRefusedError,
    UnguardedExposureError,
    UnreadExposureError,
)
from nucleation_bluesky.ledger.errors import SiteUsedError
from tests.devices.conftest import start

pytestmark = pytest.mark.stack
NM = 1e-9
SWEEP = RampSpec(0.0, (-4.2,), (1.2,), 1000.0)
STOP_AT_10_PA = Compliance(current=Window(-10e-12, 10e-12))


@pytest.fixture(scope="module")
def ioc(tmp_path_factory):
    with start(tmp_path_factory.mktemp("ioc"), "T:RAMP:") as running:
        yield running


@pytest.fixture
def made(ioc, session):
    return session(ioc.prefix)


def of(documents, name):
    return [doc for found, doc in documents if found == name]


def energised(ioc):
    return len(ioc.events("energised"))


def test_stock_grid_scan_maps_in_si_with_external_waveforms(made, ioc):
    afm = made.afm
    afm.ramp.rows_per_file = 4
    afm.ramp.configure_exposure(SWEEP, STOP_AT_10_PA)
    x, y = afm.stage_xy.x, afm.stage_xy.y
    made.RE(bp.grid_scan([afm.ramp], y, 0, 40 * NM, 3, x, 0, 20 * NM, 2, snake_axes=True))

    events = of(made.documents, "event")
    descriptor = of(made.documents, "descriptor")[0]
    keys = descriptor["data_keys"]
    roles = afm.ramp.roles
    assert len(events) == 6
    assert keys[roles["stop_bias"]]["units"] == "V"
    assert keys[roles["peak_current"]]["units"] == "A"
    assert keys[roles["current"]]["external"] == "STREAM:"
    assert descriptor["hints"]["afm_ramp"]["fields"] == ["afm_ramp_stop_bias"]
    configuration = descriptor["configuration"]["afm_ramp"]["data"]
    assert configuration["afm_ramp_compliance_current_low"] == pytest.approx(-10e-12)
    assert math.isnan(configuration["afm_ramp_compliance_height_low"])
    # the same types in every event
    for role in ("termination", "n_samples", "site"):
        assert {type(e["data"][roles[role]]) for e in events} == {int}
    for role in ("stop_bias", "latency", "x"):
        assert {type(e["data"][roles[role]]) for e in events} == {float}
    assert [e["data"][roles["site"]] for e in events] == list(range(6))
    assert np.ptp([e["data"][roles["y"]] for e in events]) == pytest.approx(40 * NM, abs=6 * NM)

    # files hold what the events say, row by row through all segments
    current = [
        d for d in of(made.documents, "stream_resource") if d["data_key"] == roles["current"]
    ]
    assert len(current) == 2
    rows = []
    for resource in current:
        assert resource["uri"].startswith("file://localhost/")
        path = resource["uri"].removeprefix("file://localhost")
        with h5py.File(path) as file:
            rows.extend(np.asarray(file[resource["parameters"]["dataset"]])[:4])
    for event, row in zip(events, rows, strict=False):
        assert np.isfinite(row).sum() == event["data"][roles["n_samples"]]
        last = row[event["data"][roles["n_samples"]] - 1 - event["data"][roles["n_post"]]]
        assert last == pytest.approx(event["data"][roles["stop_current"]], rel=1e-5)
    data = [d for d in of(made.documents, "stream_datum") if d["uid"].startswith(
        current[0]["uid"]) or d["uid"].startswith(current[1]["uid"])]  # fmt: skip
    assert [d["indices"]["start"] for d in data] == list(range(6))

    done = made.ledger.exposures("licgc")
    assert [e.state for e in done] == ["DONE"] * 6
    assert [e.token for e in done] == [e["data"][roles["exposure"]] for e in events]

    # the same sites again: refused, and not one more ramp
    count = energised(ioc)
    with pytest.raises(FailedStatus) as refused:
        made.RE(bp.list_scan([afm.ramp], x, [0.0], y, [0.0]))
    assert isinstance(refused.value.__cause__, SiteUsedError)
    assert energised(ioc) == count


def test_without_a_guard_nothing_is_armed(made, ioc):
    made.afm.ramp.configure_exposure(SWEEP)
    made.afm.set_guard(None)
    count = len(ioc.events())
    with pytest.raises(UnguardedExposureError, match="guard"):
        made.RE(bp.count([made.afm.ramp]))
    assert not [e for e in ioc.events()[count:] if e["event"] in ("armed", "energised")]


def test_without_a_ramp_nothing_is_armed(made):
    with pytest.raises(NotConfiguredError, match="configure_exposure"):
        made.RE(bp.count([made.afm.ramp]))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (RampSpec(0.0, (-12.0,), (1.0,), 1000.0), "allows -10 to 10 V"),
        (RampSpec(0.0, (-1.0,), (1.0,), 1e6), "sample rate"),
    ],
)
def test_impossible_ramps_are_refused_before_anything_is_put(made, spec, message):
    before = made.afm.ramp.vertices.get()
    with pytest.raises(BadValueError, match=message):
        made.afm.ramp.configure_exposure(spec, STOP_AT_10_PA)
    assert np.array_equal(made.afm.ramp.vertices.get(), before)


def test_compliance_beyond_full_scale_is_refused(made):
    with pytest.raises(BadValueError, match="never trip"):
        made.afm.ramp.configure_exposure(SWEEP, Compliance(current=Window(-1e-3, 1e-3)))


def test_safe_policy_reaches_the_controller(made):
    made.afm.ramp.configure_exposure(SWEEP, safe_policy=SafeState.HOLD, safe_bias=0.25)
    made.afm.ramp.stage()
    assert made.afm.controller.safe_policy.get() == SafeState.HOLD
    assert made.afm.controller.safe_bias.get() == 0.25
    made.afm.ramp.unstage()
    made.afm.ramp.configure_exposure(SWEEP, safe_policy=SafeState.ZERO)
    made.afm.ramp.stage()
    made.afm.ramp.unstage()


@pytest.mark.parametrize("target", [math.nan, math.inf, 1.0])
def test_bad_targets_move_nothing(made, target):
    before = made.afm.stage_xy.x.setpoint.get()
    with pytest.raises(BadValueError, match="the stage reaches"):
        made.RE(bps.mv(made.afm.stage_xy.x, target))
    assert made.afm.stage_xy.x.setpoint.get() == before


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_signals_refuse_what_is_not_finite(made, value):
    with pytest.raises(BadValueError):
        made.afm.ramp.start.set(value)


def test_a_refused_put_is_noticed(made):
    with pytest.raises(PutRefusedError, match=r"BIAS.*refused"):
        made.afm.bias.setpoint.write(1.0)


def test_frame_offset_shifts_positions(made):
    stage = made.afm.stage_xy
    stage.frame_x.put(1e-6)
    made.RE(bps.mv(stage.x, 100 * NM))
    assert stage.x.setpoint.get() == pytest.approx(1.1e-6)
    assert stage.measured_position().x == pytest.approx(100 * NM, abs=6 * NM)
    assert stage.x.limits[1] == pytest.approx(stage.x.high.get() - 1e-6)
    assert stage.x.user_offset.get() == -1e-6  # what %wa shows


def test_waveform_changes_from_site_to_site(made):
    ramp, x = made.afm.ramp, made.afm.stage_xy.x
    ramp.configure_exposure(RampSpec(0.0, (-1.0,), (1.0,), 1000.0))
    specs = [
        RampSpec(0.0, (-0.5, -0.7), (10.0, 1.0), 1000.0),
        RampSpec(0.0, (-0.4,), (1.0,), 500.0),
    ]

    def plan():
        yield from bps.stage(ramp)
        yield from bps.open_run()
        for k, spec in enumerate(specs):
            yield from bps.mv(x, 2e-6 + k * 20 * NM)
            yield from bps.abs_set(ramp.waveform, spec, wait=True)
            yield from bps.trigger_and_read([ramp])
        yield from bps.close_run()
        yield from bps.unstage(ramp)

    made.RE(plan())
    data = [e["data"] for e in of(made.documents, "event")]
    assert np.array_equal(data[0]["afm_ramp_vertices"][:3], [-0.5, -0.7, np.nan], equal_nan=True)
    assert [d["afm_ramp_n_samples"] for d in data] == [spec.n_samples for spec in specs]
    assert [d["afm_ramp_sample_rate"] for d in data] == [1000.0, 500.0]
    with pytest.raises(BadValueError, match="open files take"):
        made.RE(bps.abs_set(ramp.waveform, SWEEP, wait=True))


def test_an_exposure_must_be_read(made):
    ramp, x = made.afm.ramp, made.afm.stage_xy.x
    ramp.configure_exposure(RampSpec(0.0, (-0.1,), (1.0,), 1000.0))

    def plan():
        yield from bps.stage(ramp)
        yield from bps.mv(x, 3e-6)
        yield from bps.trigger(ramp, wait=True)
        yield from bps.mv(x, 3e-6 + 20 * NM)
        yield from bps.trigger(ramp, wait=True)

    with pytest.raises(UnreadExposureError):
        made.RE(plan())
    ramp.unstage()


def test_pause_kills_and_forbids_replay(made):
    with pytest.raises(NoReplayAllowed):
        made.afm.ramp.pause()


def test_a_kill_by_somebody_else_between_sites_is_noticed_before_the_claim(made):
    ramp = made.afm.ramp
    ramp.configure_exposure(RampSpec(0.0, (-0.1,), (1.0,), 1000.0))
    ramp.stage()
    made.RE(bps.mv(made.afm.stage_xy.x, 4e-6))
    made.afm.controller.kill_signal.command(1)  # not through kill(): as another client would
    deadline = time.monotonic() + 5
    while made.afm.controller._seen_epoch == made.afm.controller._epoch:
        assert time.monotonic() < deadline
    with pytest.raises(ArmRefusedError, match="somebody else"):
        ramp.trigger()
    assert made.ledger.exposures() == []
    ramp.unstage()


def test_one_owner_at_a_time(made, ioc):
    with pytest.raises(OwnedByOtherError, match="tests"):
        made.afm.controller.acquire("intruder")


def test_topography_is_announced_and_read_back(made):
    imager = made.afm.imager
    made.afm.set_data_directory(made.ledger.path.parent / "images")
    imager.configure_image(0.0, 0.0, 1e-6, 32)
    made.RE(bp.count([imager]))
    event, resource = of(made.documents, "event")[0], of(made.documents, "stream_resource")[0]
    assert event["data"]["afm_imager_topography_pixel_size"] == pytest.approx(1e-6 / 32)
    with h5py.File(resource["uri"].removeprefix("file://localhost")) as file:
        stored = np.asarray(file[resource["parameters"]["dataset"]])
    image = imager.read_image()
    assert image.heights.shape == (32, 32)
    assert np.array_equal(image.heights, stored.reshape(32, 32))
    with pytest.raises(BadValueError):
        imager.configure_image(math.nan, 0.0, 1e-6, 32)


def test_software_ramp_gives_the_same_roles(made):
    soft, x = made.afm.software_ramp, made.afm.stage_xy.x
    soft.configure_exposure(RampSpec(0.0, (-0.5,), (1.0,), 1000.0))
    steps = np.linspace(-0.1, -0.5, 5)

    def plan():
        yield from bps.stage(soft)
        yield from bps.open_run()
        yield from bps.mv(x, 5e-6)
        yield from bps.trigger(soft.begin, wait=True)
        for bias in steps:
            yield from bps.abs_set(soft.bias, float(bias), wait=True)
        yield from bps.abs_set(soft.end, Termination.COMPLETED, wait=True)
        yield from bps.create("primary")
        yield from bps.read(soft)
        yield from bps.save()
        yield from bps.close_run()
        yield from bps.unstage(soft)

    made.RE(plan())
    data = of(made.documents, "event")[0]["data"]
    assert set(soft.roles) == {*made.afm.ramp.roles, "sample_time"}
    assert math.isnan(data["afm_software_ramp_sample_rate"])
    assert data["afm_software_ramp_termination"] == Termination.COMPLETED
    assert data["afm_software_ramp_n_samples"] == 6
    assert data["afm_software_ramp_stop_bias"] == pytest.approx(-0.5, abs=5e-3)
    assert [e.state for e in made.ledger.exposures()] == ["DONE"]
    path = next(
        d["uri"] for d in of(made.documents, "stream_resource")
        if d["data_key"] == soft.roles["bias"]
    ).removeprefix("file://localhost")  # fmt: skip
    with h5py.File(path) as file:
        assert np.allclose(file["/entry/data/bias"][0, 1:6], steps, atol=5e-3)
        assert (np.diff(file["/entry/data/sample_time"][0, :6]) > 0).all()
    with pytest.raises(PutRefusedError):
        made.afm.bias.setpoint.write(-0.2)
    assert made.afm.controller.state.get() != ControllerState.ENERGISED


def test_an_aborted_software_ramp_is_burned_and_safe(made):
    soft = made.afm.software_ramp
    soft.configure_exposure(RampSpec(0.0, (-0.5,), (1.0,), 1000.0))

    def plan():
        yield from bps.stage(soft)
        yield from bps.mv(made.afm.stage_xy.x, 6e-6)
        yield from bps.trigger(soft.begin, wait=True)
        yield from bps.abs_set(soft.bias, -0.2, wait=True)
        raise RuntimeError("the plan failed")

    with pytest.raises(RuntimeError, match="the plan failed"):
        made.RE(plan())
    assert [e.state for e in made.ledger.exposures()] == ["BURNED"]
    deadline = time.monotonic() + 2
    while made.afm.controller.state.get() == ControllerState.ENERGISED:
        assert time.monotonic() < deadline
    soft.unstage()


def test_killed_exposures_carry_their_termination(made):
    """A kill in mid-ramp by another thread: burned, failed, yet readable."""
    ramp = made.afm.ramp
    ramp.configure_exposure(RampSpec(0.0, (-0.1,), (1.0,), 1000.0))
    ramp.stage()
    made.RE(bps.mv(made.afm.stage_xy.x, 7e-6))
    original = made.guard.energised

    def kill_now(claim):
        original(claim)
        threading.Thread(target=made.afm.kill).run()

    made.guard.energised = kill_now
    status = ramp.trigger()
    with pytest.raises(ExposureFailedError, match="burned") as failed:
        status.wait(10)
    assert failed.value.termination is Termination.KILLED
    assert [e.state for e in made.ledger.exposures()] == ["BURNED"]
    ramp.unstage()
