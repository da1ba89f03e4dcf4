"""A screen of the virtual SECCM, from its run in Tiled, against the truth of each landing."""

import numpy as np
import pytest
from nucleation_bluesky.callbacks.journal import Journal
from nucleation_bluesky.storage.analyse_any import analyse_any_run
from nucleation_bluesky.storage.courier_files import CourierFiles
from nucleation_bluesky.storage.event_table import IncompleteRunError
from nucleation_bluesky.storage.read_seccm import load_landings
from nucleation_bluesky.storage.results import maps
from nucleation_bluesky.storage.results import write_result as write_to_tiled
from nucleation_bluesky.storage.runs import open_run
from nucleation_bluesky.worlds.seccm.truth import read_truth
from tests.storage.fake_ramp import wait_until
from tests.support.ioc import VIRTUAL_SECCM
from tests.support.seccm_stack import seccm_stack

pytestmark = pytest.mark.stack

CONDITIONS = [
    {"current": -0.3e-9, "duration": 2.0, "label": "none"},
    {"current": -3e-9, "duration": 7.0, "label": "0.78"},
    {"current": -15e-9, "duration": 2.0, "label": "3.82"},
]
WORLD = {"frame_size": 200, "pixel_size": 150e-9}


@pytest.fixture(scope="module")
def screened(house, tmp_path_factory):
    from nucleation_bluesky.plans.screen import combinatorial_screen  # noqa: PLC0415 - after CA

    directory = tmp_path_factory.mktemp("seccm")
    truth = directory / "truth.h5"
    with seccm_stack(
        directory, "NBT:", factory=VIRTUAL_SECCM, truth=truth, world=WORLD, seed=4
    ) as stack:
        stack.seccm.set_data_directory(house.waveforms)
        stack.seccm.session_metadata |= {
            "camera": {"pixel_size": WORLD["pixel_size"]},
            "pipette": {"opening": 10e-6, "wetting_ratio": 2.3},
            "reference_offset": {"scale": "Li/Li+", "offset": 3.17},
        }
        stack.RE.dispatcher.unsubscribe_all()  # the journal comes first
        Journal(house.data / "journal", session="seccm").attach(stack.RE)
        stack.RE.subscribe(stack.documents)
        stack.RE(
            combinatorial_screen(
                stack.seccm,
                conditions=CONDITIONS,
                repeats=2,
                assignment="random",
                pitch=40e-6,
                origin=(-40e-6, -20e-6),
                frame_period=0.23,
            )
        )
        uid = stack.documents.of("start")[0]["uid"]
    files = CourierFiles(house.data / "journal")
    journal = next(p for p in (house.data / "journal").iterdir() if uid in p.name)
    wait_until(lambda: files.delivered(journal) or files.quarantined(journal), 90, "delivery")
    assert files.quarantined(journal) is None
    return uid, read_truth(truth)


def by_place(truth, landing):
    return min(truth, key=lambda t: np.hypot(t["x"] - landing.x, t["y"] - landing.y))


def test_nucleation_against_truth(house, screened):
    uid, truth = screened
    result = analyse_any_run(house.client, uid)
    assert len(result.landings) == 6
    assert result.source.reference_scale == "Li/Li+"
    for one in result.landings:
        known = by_place(truth, one.landing)
        plating = one.electrochemistry.plating
        assert one.landing.contact is True
        if not np.isfinite(known["e_nuc"]):
            assert plating.e_nuc is None
            assert one.landing.condition == 0
            continue
        assert plating.e_nuc == pytest.approx(known["e_nuc"], abs=5e-3)
        assert plating.t_nuc == pytest.approx(known["t_nuc"], rel=0.04)
        attrs = one.dataset.attrs
        assert attrs["footprint_area"] == pytest.approx(known["footprint_area"], rel=0.05)
        assert attrs["q_nuc"] == pytest.approx(known["q_nuc"], rel=0.08)
        if one.landing.condition == 1:  # the other film has nine frames
            assert attrs["t_nuc_irm"] == pytest.approx(known["t_nuc_irm"], abs=0.5)
    screen = result.screen
    assert screen["label"].values.tolist() == ["none", "0.78", "3.82"]
    assert screen["n"].values.tolist() == [2, 2, 2]
    assert screen["no_nucleation"].values.tolist() == [True, False, False]
    assert np.isnan(screen["e_nuc"].values[0])
    assert np.all(np.diff(screen["e_nuc"].values[1:]) < 0)
    assert screen["e_nuc_low"].values[1] <= screen["e_nuc"].values[1]
    runs = [open_run(house.client, uid)]
    write_to_tiled(
        house.client, result.screen, name="screen", runs=runs, parameters=result.parameters
    )
    assert maps(runs[0], "screen")["n_nucleated"].values.tolist() == [0, 2, 2]


def test_films_lie_on_the_clock_of_the_landing(house, screened):
    uid, _ = screened
    for landing in load_landings(open_run(house.client, uid)).landings:
        movie = landing.movie
        assert movie is not None
        assert movie.frames.shape[1:] == (WORLD["frame_size"],) * 2
        assert movie.times[0] < landing.contact_time < movie.times[-1]
        assert np.all(np.diff(movie.frame_ids) >= 0)
        steps = landing.trace.step
        assert steps[0] == -1
        assert steps[-1] == -2
        assert landing.planned[0].kind == "plate"


def test_a_run_without_its_stop_is_refused(house, screened):
    uid, _ = screened
    run = open_run(house.client, uid)

    class Cut:
        def __init__(self):
            self.metadata = {**run.metadata, "stop": None}
            self.base = self
            self.parent = run.parent

        def __getattr__(self, name):
            return getattr(run, name)

        def __getitem__(self, key):
            return run[key]

    with pytest.raises(IncompleteRunError, match="no stop document"):
        load_landings(Cut(), join=False)
    assert len(load_landings(Cut(), join=False, allow_partial=True).landings) == 6
