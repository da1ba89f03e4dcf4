"""Plans on a real RunEngine and ledger, over an AFM in this process."""

import itertools
import math

import matplotlib as mpl
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.callbacks.best_effort import BestEffortCallback
from bluesky.utils import FailedStatus
from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.plans.nucleation_map import nucleation_map, resume_map
from nucleation_bluesky.plans.registration import Reference, RegistrationError
from nucleation_bluesky.plans.site_choice import choose_sites
from nucleation_bluesky.plans.staged_run import MapEndedError
from nucleation_bluesky.plans.sweep_rate_series import sweep_rate_series
from nucleation_bluesky.plans.topography import topography
from tests.plans.fakes import FakeAfm

SMALL = {"rows": 3, "cols": 4, "pitch": 20e-9, "origin": (0.0, 0.0), "image_before_after": False}


class Documents(list):
    __hash__ = object.__hash__

    def __call__(self, name, document):
        self.append((name, document))

    def of(self, name):
        return [document for kind, document in self if kind == name]

    def events(self, stream="primary"):
        uids = {d["uid"] for d in self.of("descriptor") if d["name"] == stream}
        return [e for e in self.of("event") if e["descriptor"] in uids]

    def column(self, role, stream="primary"):
        roles = self.of("start")[-1][START_KEY]["roles"]
        return [event["data"][roles[role]] for event in self.events(stream)]


@pytest.fixture
def documents():
    return Documents()


@pytest.fixture
def engine(documents):
    engine = RunEngine({}, call_returns_result=True, context_managers=[])
    engine.subscribe(documents)
    return engine


@pytest.fixture
def afm(tmp_path):
    return FakeAfm(tmp_path)


def states(afm):
    return [exposure.state.value for exposure in afm.ledger.exposures("S1")]


@pytest.mark.parametrize("compliance", ["current", "height", "both", "none"])
def test_map_visits_every_site_once(engine, documents, afm, compliance):
    result = engine(nucleation_map(afm, **SMALL, compliance=compliance, order="snake")).plan_result
    assert states(afm) == ["DONE"] * 12
    assert documents.column("site") == [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11]
    assert documents.column("row") == [0] * 4 + [1] * 4 + [2] * 4
    np.testing.assert_allclose(documents.column("x")[:4], np.arange(4) * 20e-9, atol=1e-15)
    expected = {"current": 2, "height": 3, "both": 2, "none": 1}[compliance]
    assert set(documents.column("termination")) == {expected}
    assert result.uid == documents.of("start")[0]["uid"]
    assert sorted(result.results) == list(range(12))
    assert result.n_tripped == (0 if compliance == "none" else 12)
    assert documents.of("stop")[0]["exit_status"] == "success"
    assert ("kill", "ramp") not in afm.log


def test_start_document(engine, documents, afm):
    engine(nucleation_map(afm, **SMALL, order="snake", md={"operator": "me"}))
    start = documents.of("start")[0]
    block = start[START_KEY]
    assert start["plan_name"] == "nucleation_map"
    assert start["plan_args"]["rows"] == 3
    assert (start["detectors"], start["motors"]) == (["ramp"], ["stage_y", "stage_x"])
    assert (start["shape"], start["num_points"]) == ([3, 4], 12)
    assert start["snaking"] == [False, True]
    assert start["hints"]["gridding"] == "rectilinear"
    assert start["operator"] == "me"
    assert block["technique"] == "afm-nucleation-map"
    assert (block["schema"], block["sample"], block["mount_epoch"]) == (1, "S1", 1)
    assert block["ramp"]["vertices"] == [-4.2]
    assert block["compliance"]["current"] == [-10e-12, 10e-12]
    assert block["compliance"]["height"] is None
    assert block["grid"]["shape"] == [3, 4]
    assert block["roles"]["stop_bias"] == "ramp_stop_bias"


@pytest.mark.parametrize("order", ["raster", "snake", "random"])
def test_best_effort_callback(engine, afm, order):
    best = BestEffortCallback()
    best.disable_plots()
    engine.subscribe(best)
    engine(nucleation_map(afm, **SMALL, order=order))


@pytest.mark.parametrize("order", ["raster", "snake", "random"])
def test_live_grid(engine, afm, order):
    mpl.use("agg")
    best = BestEffortCallback()
    afm.onset = lambda x, y: -3.0 - round(x / 20e-9) / 10 - round(y / 20e-9) / 100
    engine.subscribe(best)
    engine(nucleation_map(afm, **SMALL, order=order))
    if order == "random":
        assert best._live_scatters
        return
    (grids,) = best._live_grids.values()
    rows, cols = np.mgrid[:3, :4]
    np.testing.assert_allclose(grids["ramp_stop_bias"]._Idata, -3.0 - cols / 10 - rows / 100)


BAD = [
    ({"rows": 0}, "1 row"),
    ({"pitch": math.nan}, "pitch"),
    ({"pitch": 5e-9}, "overlapping sites"),
    ({"origin": (1.0, 0.0)}, "off the stage"),
    ({"sites": [(0, 0), (math.inf, 0)]}, "not finite"),
    ({"sites": [(0, 0)], "site_file": "a.csv"}, "not both"),
    ({"lattice": "cubic"}, "cubic"),
    ({"order": "spiral"}, "spiral"),
    ({"stop": math.nan}, "not finite"),
    ({"stop": math.inf}, "not finite"),
    ({"stop": -50.0}, "-10 to 10 V"),
    ({"rate": 0.0}, "sweep rates"),
    ({"current_compliance": 10e-12}, "wrong sign"),
    ({"current_compliance": 0.0}, "not 0 A"),
    ({"compliance": "height", "height_compliance": -8e-9}, "above 0 m"),
    ({"compliance": "magic"}, "magic"),
    ({"after_trip": "explode"}, "explode"),
    ({"adaptive": True, "compliance": "none"}, "learns from compliance"),
    ({"adaptive": True, "fast_rate": 0.5}, "greater than the measuring"),
    ({"adaptive": True, "software": True}, "software=False"),
    ({"software": True, "min_step": 1.0}, "min_step"),
    ({"image_before_after": True, "image_pixels": 2}, "16 pixels"),
    ({"image_before_after": True, "image_size": -1.0}, "size"),
    ({"reregister_every": -1}, "whole number"),
    ({"reregister_every": 2, "min_quality": 3}, "between 0 and 1"),
    ({"region": [(1, 1), (2, 2)]}, "region of interest"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_refused_before_anything_moves(engine, documents, afm, change, message):
    with pytest.raises(ValueError, match=message):
        engine(nucleation_map(afm, **{**SMALL, **change}))
    assert documents == []
    assert afm.log == []


def test_no_instrument(engine):
    with pytest.raises(TypeError, match="not an instrument"):
        nucleation_map(object())


def test_no_imager(engine, afm):
    afm.imager = None
    with pytest.raises(ValueError, match="needs a topography imager"):
        nucleation_map(afm, rows=2, cols=2)
    with pytest.raises(ValueError, match="needs a topography imager"):
        topography(afm)


def test_used_sites_are_refused_or_skipped(engine, documents, afm):
    engine(nucleation_map(afm, **{**SMALL, "rows": 1}))
    afm.log.clear()
    with pytest.raises(ValueError, match=r"4 of 12 sites have been used"):
        nucleation_map(afm, **SMALL)
    assert afm.log == []
    engine(nucleation_map(afm, **SMALL, skip_used=True))
    assert documents.column("site")[-8:] == list(range(4, 12))
    with pytest.raises(ValueError, match="every one"):
        nucleation_map(afm, **SMALL, skip_used=True)


def test_images_before_and_after(engine, documents, afm):
    engine(nucleation_map(afm, **{**SMALL, "image_before_after": True}, image_pixels=32))
    assert len(documents.events("topography_before")) == 1
    assert len(documents.events("topography_after")) == 1
    assert afm.logged("image") == [("image", pytest.approx(30e-9), pytest.approx(20e-9))] * 2
    assert documents.column("topography_pixel_size", "topography_before")[0] == pytest.approx(
        (60e-9 + 160e-9) / 32
    )


def test_topography(engine, documents, afm):
    uid = engine(topography(afm, center=(1e-6, 2e-6), size=1e-6, pixels=64)).plan_result
    assert uid == documents.of("start")[0]["uid"]
    assert documents.column("topography_x") == [1e-6]
    with pytest.raises(ValueError, match="size"):
        topography(afm, size=0.0)


def test_a_failing_ramp_ends_the_map_and_burns_one_site(engine, documents, afm):
    afm.ramp.fail_with = {5: RuntimeError("amplifier unplugged")}
    with pytest.raises(FailedStatus, match=r"^amplifier unplugged$"):
        engine(nucleation_map(afm, **SMALL))
    assert states(afm) == ["DONE"] * 5 + ["BURNED"]
    stop = documents.of("stop")[0]
    assert (stop["exit_status"], stop["reason"]) == ("fail", "amplifier unplugged")
    kill, unstage = afm.log.index(("kill", "ramp")), afm.log.index(("unstage", "ramp"))
    assert kill < unstage


def test_the_reason_of_a_failure_is_what_the_device_says(engine, documents, afm):
    """Not what a lower layer told the device."""
    error = RuntimeError("the connection to NB:Ramp was lost")
    error.__cause__ = OSError("status code 192")
    afm.ramp.fail_with = {1: error}
    with pytest.raises(FailedStatus, match=r"^the connection to NB:Ramp was lost$"):
        engine(nucleation_map(afm, **SMALL))
    assert documents.of("stop")[0]["reason"] == "the connection to NB:Ramp was lost"


def test_a_failing_clean_up_step_does_not_stop_the_others(engine, documents, afm):
    afm.ramp.fail_with = {"unstage": True}
    with pytest.raises(MapEndedError, match=r"unstage ramp.*unstage failed"):
        engine(nucleation_map(afm, **SMALL))
    assert documents.of("stop")[0]["exit_status"] == "success"


def test_resume_visits_only_free_sites(engine, documents, afm):
    afm.ramp.fail_with = {5: RuntimeError("tip lost")}
    with pytest.raises(FailedStatus):
        engine(nucleation_map(afm, **SMALL))
    first = documents.of("start")[0]["uid"]
    afm.ramp.fail_with = {}
    with pytest.raises(ValueError, match="needs a registration"):
        resume_map(afm, continues=first, **SMALL)
    engine(resume_map(afm, continues=first, register=False, **SMALL))
    second = documents.of("start")[1]
    assert second[START_KEY]["continues"] == first
    assert second[START_KEY]["series"] == first
    assert documents.column("site") == [*range(5), *range(6, 12)]
    assert states(afm) == ["DONE"] * 5 + ["BURNED"] + ["DONE"] * 6


def test_resume_registers_first(engine, documents, afm):
    engine(nucleation_map(afm, **{**SMALL, "rows": 1}))
    uid = documents.of("start")[0]["uid"]
    afm.imager.configure_image(30e-9, 20e-9, 600e-9, 96)
    afm.imager.trigger()
    image = afm.imager.read_image()
    reference = Reference(image.heights, image.pixel_size, 30e-9, 20e-9)
    afm.drift = (25e-9, -14e-9)
    engine(resume_map(afm, continues=uid, reference=reference, **SMALL))
    np.testing.assert_allclose(afm.stage_xy.frame_offset, afm.drift, atol=1e-9)
    assert len(documents.events("registration")) == 1
    assert documents.column("site")[-8:] == list(range(4, 12))
    afm.imager = None
    with pytest.raises(ValueError, match="imager"):
        resume_map(afm, continues=uid, reference=reference, **{**SMALL, "rows": 5})


def test_the_frame_follows_drift(engine, documents, afm):
    expose = afm.ramp._expose

    def drifting():
        afm.drift = (afm.drift[0] + 2e-9, afm.drift[1] - 1e-9)
        expose()

    afm.ramp._expose = drifting
    options = {"reregister_every": 4, "registration_size": 600e-9, "registration_pixels": 96}
    engine(nucleation_map(afm, **SMALL, **options))
    registrations = documents.events("registration")
    assert [e["data"]["registration_site_count"] for e in registrations] == [0, 4, 8]
    np.testing.assert_allclose(afm.stage_xy.frame_offset, (16e-9, -8e-9), atol=1e-9)
    assert afm.stage_xy.frame_uncertainty.get() > 0.5e-9


@pytest.mark.parametrize("cause", ["far", "poor"])
def test_a_lost_frame_ends_the_map(engine, documents, afm, cause):
    expose = afm.ramp._expose

    def losing():
        afm.drift = (60e-9, 0.0) if cause == "far" else (0.0, 0.0)
        afm.imager.blank = cause == "poor"
        expose()

    afm.ramp._expose = losing
    options = {"reregister_every": 4, "registration_size": 600e-9, "registration_pixels": 96}
    with pytest.raises(RegistrationError, match="frame is lost after 4 sites"):
        engine(nucleation_map(afm, **SMALL, **options, max_shift=30e-9))
    assert states(afm) == ["DONE"] * 4
    assert afm.stage_xy.frame_offset == (0.0, 0.0)
    assert documents.of("stop")[0]["exit_status"] == "fail"


def test_rates_are_interleaved(engine, documents, afm):
    rates = (0.3, 1.2, 4.8)
    options = {**SMALL, "cols": 6, "order": "raster"}
    engine(sweep_rate_series(afm, rates=rates, **options, samples_per_volt=1000.0))
    visited = [row[0] for row in documents.column("rates")]
    assert sorted(visited) == sorted(rates * 6)
    assert all(a != b for a, b in itertools.pairwise(visited))
    np.testing.assert_allclose(documents.column("sample_rate"), np.array(visited) * 1000)
    assert documents.of("start")[0][START_KEY]["sweep_rates"] == list(rates)
    assert documents.of("start")[0][START_KEY]["technique"] == "afm-sweep-rate-series"


@pytest.mark.parametrize("rates", [(1.2,), (1.2, 1.2), (1.2, -1.0), (1.2, math.nan)])
def test_bad_rates(engine, afm, rates):
    with pytest.raises(ValueError, match=r"rates|finite"):
        sweep_rate_series(afm, rates=rates, **SMALL)
    assert afm.log == []


def test_adaptive_map(engine, documents, afm):
    rng = np.random.default_rng(0)
    onsets = {k: -rng.normal(3.7, 0.07) for k in range(400)}
    afm.onset = lambda x, y: onsets[round(x / 20e-9) + 10 * round(y / 20e-9)]
    options = {**SMALL, "rows": 10, "cols": 10, "first_sites": 30}
    result = engine(nucleation_map(afm, **options, adaptive=True)).plan_result
    ends = np.array(documents.column("fast_segment_end"))
    assert np.isnan(ends[:30]).all()
    assert np.isfinite(ends[30:]).all()
    vertices = np.array(documents.column("vertices"))
    np.testing.assert_allclose(vertices[30:, 0], ends[30:])
    assert result.n_flagged == sum(s == 0 for s in documents.column("trip_segment")[30:])
    assert result.n_flagged <= 1


def test_stepped_ramp(engine, documents, afm):
    options = {**SMALL, "rows": 1, "cols": 2, "rate": 50.0}
    engine(nucleation_map(afm, **options, software=True, max_step=20e-3, min_step=1e-3))
    assert documents.column("termination") == [Termination.STOPPED_BY_PLAN] * 2
    stops = np.array(documents.column("stop_bias"))
    assert np.all(stops < -3.7)
    assert np.all(stops > -3.74)
    first = [entry[1] for entry in afm.log[: afm.log.index(("end", 12))] if entry[0] == "bias"]
    steps = -np.diff(first)
    assert steps.max() <= 20e-3 * (1 + 1e-9)
    assert states(afm) == ["DONE"] * 2


def test_stepped_ramp_without_nucleation_completes(engine, documents, afm):
    afm.onset = lambda x, y: None
    options = {**SMALL, "rows": 1, "cols": 1, "rate": 50.0}
    engine(nucleation_map(afm, **options, software=True))
    assert documents.column("termination") == [Termination.COMPLETED]
    assert afm.logged("bias")[-1] == ("bias", -4.2)


@pytest.mark.parametrize("order", ["snake", "raster"])
def test_a_list_has_no_rows_to_go_along(order):
    """An order that cannot be honoured is refused; a plan's default is nobody's wish."""
    choice = {
        "rows": 2, "cols": 2, "pitch": 1e-7, "origin": None, "angle": 0.0, "lattice": "square",
        "sites": [(3e-6, 0), (0, 3e-6), (1e-6, 0)], "site_file": "", "region": None, "seed": 0,
    }  # fmt: skip
    travel = ((0.0, 1e-5), (0.0, 1e-5))
    other = "raster" if order == "snake" else "snake"
    with pytest.raises(ValueError, match=f"order '{order}' needs a grid"):
        choose_sites(travel, **choice, order=order, usual=other)
    chosen = choose_sites(travel, **choice, order=order, usual=order)
    assert chosen.order == "given"
    assert chosen.x.tolist() == [3e-6, 0, 1e-6]


def test_single_site_and_custom_list(engine, documents, afm):
    with pytest.raises(ValueError, match="order 'snake' needs a grid"):
        nucleation_map(afm, sites=[(1e-6, 2e-6)], order="snake")
    engine(nucleation_map(afm, sites=[(1e-6, 2e-6)], image_before_after=False))
    assert documents.column("x") == [1e-6]
    engine(
        nucleation_map(
            afm, sites=[(3e-6, 0), (0, 3e-6), (1e-6, 0)], image_before_after=False, order="given"
        )
    )
    np.testing.assert_allclose(documents.column("x")[1:], [3e-6, 0, 1e-6])
