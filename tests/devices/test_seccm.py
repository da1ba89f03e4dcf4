"""Landing device, pipette and film camera over a real IOC (the demonstration backend)."""

import math
from types import SimpleNamespace

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from bluesky.utils import FailedStatus
from nucleation_bluesky.contract.enums import ControllerState, Termination
from nucleation_bluesky.contract.program import Approach, Program
from nucleation_bluesky.contract.program_builders import chronoamperometry, chronopotentiometry
from nucleation_bluesky.devices import AfmInstrument
from nucleation_bluesky.devices._assets import DataDirectory
from nucleation_bluesky.devices._film import FilmClock
from nucleation_bluesky.devices.camera import FilmCamera
from nucleation_bluesky.devices.errors import (
    BadValueError,
    ContractError,
    ExposureFailedError,
    FilmError,
    NotConnectedError,
    UnguardedExposureError,
)
from nucleation_bluesky.ledger.errors import SiteUsedError
from nucleation_bluesky.plans.landing import landing
from nucleation_bluesky.plans.screen import combinatorial_screen
from tests.support.seccm_stack import seccm_stack

pytestmark = pytest.mark.stack
UM = 1e-6
APPROACH = Approach(z_max=20 * UM, potential=1.0, threshold=5e-12)
HOLD = Program(APPROACH, chronoamperometry(0.5, 0.5))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with seccm_stack(tmp_path_factory.mktemp("seccm"), "T:SECDEV:") as stack:
        yield stack


@pytest.fixture
def stack(running):
    running.documents.clear()
    running.seccm.landing.configure_exposure(HOLD)
    running.seccm.set_guard(running.guard)
    yield running
    running.seccm.unstage()
    running.seccm.landing.unstage()
    running.seccm.camera.unstage()


def site(number):
    return 10 * UM + 8 * UM * (number % 10), 10 * UM + 8 * UM * (number // 10)


def at(stack, number):
    x, y = site(number)
    pipette = stack.seccm.pipette
    stack.RE(bps.mv(pipette.x, x, pipette.y, y))


def test_a_stock_scan_lands_and_a_used_site_is_refused(stack):
    seccm, documents = stack.seccm, stack.documents
    x, y = zip(site(0), site(1), strict=True)
    pipette = seccm.pipette
    stack.RE(bp.list_scan([seccm.landing], pipette.x, list(x), pipette.y, list(y)))
    roles = seccm.landing.roles
    assert documents.column(roles["termination"]) == [Termination.COMPLETED] * 2
    assert documents.column(roles["contact"]) == [1, 1]
    overtravel = documents.column(roles["overtravel"])
    assert all(0 <= value < 50e-9 for value in overtravel)
    keys = documents.descriptor("primary")["data_keys"]
    assert keys[roles["contact_z"]]["units"] == "m"
    assert keys[roles["step"]]["external"] == "STREAM:"
    settings = documents.descriptor("primary")["configuration"]["seccm_landing"]["data"]
    assert settings["seccm_landing_approach_potential"] == 1.0
    assert {e.state for e in stack.ledger.exposures()} == {"DONE"}
    # the file holds what the event says
    (resource,) = documents.resources(roles["current"])
    with h5py.File(resource["uri"].removeprefix("file://localhost")) as file:
        current, step = file["/entry/data/current"][:], file["/entry/data/step"][:]
    counts = documents.column(roles["n_samples"])
    assert [int(np.isfinite(row).sum()) for row in current] == counts
    inside = step[0] == 0
    assert inside.sum() == HOLD.n_program_samples
    assert current[0][inside] == pytest.approx(0.5e-9, rel=1e-5)
    with pytest.raises(FailedStatus) as refused:
        stack.RE(bp.list_scan([seccm.landing], pipette.x, [x[0]], pipette.y, [y[0]]))
    assert isinstance(refused.value.__cause__, SiteUsedError)


def test_no_contact_withdraws_burns_and_is_read(stack):
    seccm = stack.seccm
    seccm.landing.configure_exposure(Program(Approach(z_max=6 * UM, potential=1.0)))
    at(stack, 3)
    before = seccm.pipette.z.position
    stack.RE(bp.count([seccm.landing]))
    roles = seccm.landing.roles
    assert stack.documents.column(roles["termination"]) == [Termination.NO_CONTACT]
    assert stack.documents.column(roles["contact"]) == [0]
    assert math.isnan(stack.documents.column(roles["contact_z"])[0])
    last = stack.ledger.exposures()[-1]
    assert (last.state, last.detail["reason"]) == ("BURNED", "no_contact")
    assert seccm.pipette.z.position == pytest.approx(before, abs=0.1 * UM)
    assert seccm.controller.state.get() != ControllerState.ENERGISED


def test_the_program_changes_from_site_to_site(stack):
    landing = stack.seccm.landing
    other = Program(APPROACH, chronopotentiometry(-1e-9, 0.2))
    landing.configure_exposure(HOLD)
    landing.stage()
    stack.RE(bps.abs_set(landing.program, other, wait=True))
    assert landing.table.get()[0] == 1  # StepMode.CURRENT
    assert landing.spec == other
    longer = Program(APPROACH, chronopotentiometry(-1e-9, 500.0))
    with pytest.raises(BadValueError, match="the open files take"):
        stack.RE(bps.abs_set(landing.program, longer, wait=True))


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (Program(APPROACH, chronoamperometry(11.0, 1.0)), "allows -10 to 10 V"),
        (Program(APPROACH, chronopotentiometry(-1e-3, 1.0)), "range of the electrometer"),
        (Program(APPROACH, sample_period=10.0), "sample period"),
        (Program(Approach(z_max=1e-3, potential=1.0)), "soft limit"),
    ],
)
def test_impossible_programs_are_refused_before_anything_is_put(stack, program, sentence):
    before = stack.seccm.landing.table.get()
    with pytest.raises(BadValueError, match=sentence):
        stack.seccm.landing.configure_exposure(program)
    assert np.array_equal(stack.seccm.landing.table.get(), before)


def test_limits_of_the_configuration_hold(stack):
    landing = stack.seccm.landing
    landing.bias_limits = (-0.4, None)
    try:
        with pytest.raises(BadValueError, match=r"configuration \(limits\) allows -0.4 to 10 V"):
            landing.configure_exposure(Program(APPROACH, chronoamperometry(-0.5, 1.0)))
    finally:
        landing.bias_limits = (None, None)


def test_the_pipette_keeps_limits_and_speeds(stack):
    z, x = stack.seccm.pipette.z, stack.seccm.pipette.x
    z.soft_limit.write(30 * UM)
    try:
        with pytest.raises(BadValueError, match="soft limit is 30 um"):
            z.set(31 * UM)
        with pytest.raises(BadValueError, match="soft limit"):
            stack.seccm.landing.configure_exposure(Program(Approach(z_max=31 * UM, potential=1.0)))
    finally:
        z.soft_limit.write(60 * UM)
    with pytest.raises(BadValueError, match="from 0 to 100 um"):
        x.set(101 * UM)
    x.check_speed(10 * UM)
    for speed in (0.0, -1.0, math.nan, 1e-3):
        with pytest.raises(BadValueError, match="cannot move at"):
            x.check_speed(speed)


def test_without_a_guard_nothing_lands(stack):
    stack.seccm.set_guard(None)
    with pytest.raises(UnguardedExposureError, match="guard"):
        stack.RE(bp.count([stack.seccm.landing]))


def test_a_kill_burns_and_withdraws(stack):
    landing = stack.seccm.landing
    at(stack, 5)
    landing.stage()
    original = stack.guard.energised

    def kill_now(claim):
        original(claim)
        stack.seccm.kill()

    stack.guard.energised = kill_now
    try:
        with pytest.raises(ExposureFailedError, match="burned") as failed:
            landing.trigger().wait(20)
    finally:
        stack.guard.energised = original
    assert failed.value.termination is Termination.KILLED
    assert stack.ledger.exposures()[-1].state == "BURNED"


def test_another_family_is_refused(stack):
    with pytest.raises(ContractError, match="is of the family 'seccm', not 'afm'"):
        AfmInstrument(stack.ioc.prefix, name="afm").connect()


# -- camera ------------------------------------------------------------------------------------


def film_one(stack):
    camera = stack.seccm.camera

    def plan():
        yield from bps.stage(camera)
        yield from bps.open_run()
        yield from bps.declare_stream(camera, name="film", collect=True)
        for _ in range(2):
            yield from bps.kickoff(camera, wait=True)
            yield from bps.complete(camera, wait=True)
            yield from bps.create("primary")
            yield from bps.read(camera.film)
            yield from bps.save()
            yield from bps.collect(camera, name="film")
        yield from bps.close_run()
        yield from bps.unstage(camera)

    stack.RE(plan())


def test_films_follow_each_other_in_one_stream(stack):
    camera, documents = stack.seccm.camera, stack.documents
    film_one(stack)
    first, count = (documents.column(camera.roles[f"film_{n}"]) for n in ("first", "count"))
    assert first == [0, count[0]]
    frames = documents.resources(camera.roles["frames"])
    assert len({resource["uri"] for resource in frames}) == 2
    assert documents.descriptor("film")["data_keys"][camera.roles["frames"]]["shape"] == [1, 64, 48]
    for resource, n in zip(frames, count, strict=True):
        with h5py.File(resource["uri"].removeprefix("file://localhost")) as file:
            ids = file["/entry/instrument/NDAttributes/NDArrayUniqueId"][:]
            data = file[resource["parameters"]["dataset"]][:]
        assert len(ids) == n
        assert np.array_equal(data[:, 0, 0], ids)  # what the demonstration camera draws
    stop = documents.of("stop")[0]
    assert stop["num_events"]["film"] == sum(count)
    assert np.isfinite(documents.column(camera.roles["film_clock_offset"])).all()


def test_a_camera_that_delivers_nothing_is_told(stack, monkeypatch):
    camera = stack.seccm.camera
    monkeypatch.setattr(camera, "frame_timeout", 0.3)
    monkeypatch.setattr(camera.acquire, "send", lambda value: None)  # the command gets lost
    camera.stage()
    with pytest.raises(FilmError, match=r"delivers no frames.*switched on"):
        camera.kickoff().wait(10)
    assert not camera.filming


def test_a_camera_that_is_not_armed_is_told(stack, monkeypatch):
    camera = stack.seccm.camera
    camera.stage()
    monkeypatch.setattr(camera.capture, "send", lambda value: None)
    monkeypatch.setattr("nucleation_bluesky.devices.camera.TIMEOUT", 0.3)
    with pytest.raises(FilmError, match="is not armed"):
        camera.kickoff().wait(10)


def test_a_wrong_map_of_directories_is_told(stack, monkeypatch, tmp_path):
    camera = stack.seccm.camera
    monkeypatch.setattr(camera, "data_directory", DataDirectory(tmp_path, "/absent/films"))
    camera.stage()
    with pytest.raises(FilmError, match="no directory /absent/films/"):
        camera.kickoff().wait(10)


def test_a_live_view_is_not_taken_over(stack):
    camera = stack.seccm.camera
    camera.acquire.send(1)
    camera._becomes(camera.acquiring, 1, 2.0)
    try:
        with pytest.raises(Exception, match="stop the live view"):
            camera.stage()
    finally:
        camera.acquire.command(0)


def test_a_film_of_a_session_that_died_is_ended(stack):
    camera = stack.seccm.camera
    camera.stage()
    camera.kickoff().wait(20)
    again = FilmCamera(camera.prefix, name="again")  # as a new session's, which knows of nothing
    again.data_directory = camera.data_directory
    again.stage()
    assert again.acquiring.get() == again.capturing.get() == 0
    again.kickoff().wait(20)
    again.complete().wait(20)
    assert again.last.frames > 0
    again.unstage()
    again.destroy()
    camera._filming = False


def test_no_camera_at_the_prefix(stack):
    with pytest.raises(NotConnectedError, match="does not answer"):
        FilmCamera("T:NOBODY:", name="nobody").connect()


@pytest.mark.parametrize(("exposure", "period"), [(-1.0, 0.0), (math.nan, 0.1), (0.3, 0.2)])
def test_impossible_films(stack, exposure, period):
    with pytest.raises(BadValueError):
        stack.seccm.camera.configure_film(exposure=exposure, period=period)


@pytest.mark.filterwarnings("ignore:plan .* was never iterated")
def test_films_that_do_not_fit_on_the_disk_are_refused_before_anything_moves(stack, monkeypatch):
    camera, free = stack.seccm.camera, [10**12]
    monkeypatch.setattr(
        "nucleation_bluesky.devices.camera.shutil.disk_usage",
        lambda path: SimpleNamespace(free=free[0]),
    )
    rows, columns = camera.frame_shape()
    period = camera.period.get()
    sites = [site(k) for k in (70, 72, 74, 76)]
    conditions = [{"current": -1e-9, "duration": 1e3, "repeats": 4}]
    options = {"sites": sites, "wetting_ratio": 1.0, "z_max": 20 * UM}
    # programs alone, without approach and withdrawal: a lower bound of what is asked for
    frames = 4e3 / max(period, camera.exposure.get())
    free[0] = int(frames * rows * columns * 2)
    before = len(stack.documents.of("start")), stack.seccm.pipette.measured_position()
    with pytest.raises(BadValueError, match="GB free"):
        combinatorial_screen(stack.seccm, conditions=conditions, **options)
    now = len(stack.documents.of("start")), stack.seccm.pipette.measured_position()
    assert now == before
    combinatorial_screen(stack.seccm, conditions=conditions, film=False, **options)
    free[0] = int(2 * frames * rows * columns * 2) + 10**9
    combinatorial_screen(stack.seccm, conditions=conditions, **options)
    free[0] = 10**8
    x, y = site(78)  # fresh: the pipette may stand on a used one
    landing(stack.seccm, x=x, y=y, current=-1e-9, duration=0.1, z_max=20 * UM)


def test_the_offset_of_the_cameras_clock_is_bounded_whatever_its_delays():
    rng = np.random.default_rng(1)
    for _ in range(200):
        true = rng.uniform(-100, 100)
        start, readout, exposure = rng.uniform(0, 0.3, 3)
        clock = iter([1e9, 1e9 + start + exposure + readout, 1e9 + 30.0])
        watch = FilmClock(clock.__next__)
        watch.begin()
        watch.arrived()
        watch.end()
        first = 1e9 + start + true - 631152000.0
        offset, uncertainty = watch.compare(first, first + 29.0 - start)
        assert abs(offset - true) <= uncertainty * math.sqrt(3) + 1e-6
        assert uncertainty < 0.3
