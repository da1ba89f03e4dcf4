"""A session of the virtual SECCM: landings and their films end up in Tiled, and are resumed."""

import numpy as np
import pytest
from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.plans.landing import landing
from nucleation_bluesky.plans.screen import combinatorial_screen
from nucleation_bluesky.session.config import Configuration
from nucleation_bluesky.session.execute import execute
from nucleation_bluesky.session.resume import resume
from nucleation_bluesky.session.session import Session, SessionError
from nucleation_bluesky.session.session_plans import session_plans
from nucleation_bluesky.storage.analyse_any import analyse_any_run
from nucleation_bluesky.storage.runs import open_run

pytestmark = pytest.mark.stack
UM = 1e-6
SMALL = {  # a short approach and small frames: the wires are the same
    "frame_size": 64, "surface_z": 3e-6, "surface_tilt": 0.0, "spike_fraction": 0.0,
}  # fmt: skip


def configured(path, **changes):
    return Configuration.model_validate(
        {
            "data_directory": path,
            "instrument": {
                "family": "seccm", "prefix": "T:SECSES:", "virtual": {"world": SMALL},
            },
            "seccm": {"pipette_opening": "1 um", "camera_prefix": "T:SECSES:IRM:"},
        }
        | changes
    )  # fmt: skip


def test_defaults_of_the_family():
    config = Configuration.model_validate({"instrument": {"family": "seccm"}})
    assert (config.instrument.prefix, config.instrument.name) == ("NB:SECCM:", "seccm")
    assert config.reference.converted_scale == "Li/Li+"
    assert config.seccm.footprint == pytest.approx(22 * UM)
    named = Configuration.model_validate(
        {"instrument": {"family": "seccm", "prefix": "X:"}, "reference": {"offset": 3.0}}
    )
    assert (named.instrument.prefix, named.reference.offset) == ("X:", 3.0)
    assert named.reference.scale == "Ag QRCE"
    assert Configuration().instrument.name == "afm"


def test_screen_in_tiled_and_resumed(tmp_path):
    # amperes that this small pipette's footprint turns into some mA/cm2
    conditions = [
        {"current": "-50 pA", "duration": "0.5 s"},
        {"current": "-100 pA", "charge": 5e-11},
    ]
    sites = [(20 * UM + 4 * UM * k, 30 * UM) for k in range(4)]
    config = configured(tmp_path)
    with Session(config) as session:
        with pytest.raises(SessionError, match="family 'seccm', not 'afm'"):
            _ = session.afm
        assert session.guard.min_distance == pytest.approx(2.2 * UM)
        assert set(session_plans(session)) >= {"landing", "combinatorial_screen", "hopping_map"}
        options = {"repeats": 2, "assignment": "blocked", "sites": sites, "z_max": 6 * UM}
        first = execute(
            session,
            interrupted(combinatorial_screen(session.seccm, conditions=conditions, **options), 2),
            progress=False,
        )
        assert first.num_events["primary"] == 2
        assert session.wait_delivered([first.uid], 60)
        second = execute(session, resume(session, first.uid), progress=False)
        assert second.complete
        assert session.wait_delivered([second.uid], 60)
        states = [e.state for e in session.ledger.exposures()]
        assert states == ["DONE"] * 4
        runs = [open_run(session.catalog, uid) for uid in (first.uid, second.uid)]
        block = runs[1].metadata["start"][START_KEY]
        assert block["continues"] == first.uid
        assert block["pipette"] == {"opening": 1 * UM, "wetting_ratio": 2.2}
        assert block["reference_offset"] == {"scale": "Li/Li+", "offset": 3.17}
        pairs = []
        for run in runs:
            pairs += check_run(run)
        assert sorted(pairs) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_film_and_electrochemistry_are_compared_on_one_clock(tmp_path):
    """The camera's clock is 2.5 s ahead: what is compared has that taken off."""
    ahead = 2.5
    world = SMALL | {"frame_size": 128, "camera_clock_offset": ahead, "dropped": 0.0}
    virtual = {"family": "seccm", "prefix": "T:SECCLK:", "virtual": {"world": world}}
    config = configured(
        tmp_path,
        instrument=virtual,
        seccm={"pipette_opening": "1 um", "camera_prefix": "T:SECCLK:IRM:"},
    )
    with Session(config) as session:
        plan = landing(
            session.seccm, current=-20e-12, duration=4.0, x=30 * UM, y=30 * UM,
            z_max=6 * UM,
        )  # fmt: skip
        done = execute(session, plan, progress=False)
        assert session.wait_delivered([done.uid], 60)
        (one,) = analyse_any_run(session.catalog, done.uid).landings
    movie, attrs = one.landing.movie, one.dataset.attrs
    assert movie.clock_offset == pytest.approx(-ahead, abs=0.2 + 3 * movie.clock_uncertainty)
    contact = one.landing.contact_time
    assert movie.timestamps[0] < attrs["contact_time"]
    assert "clocks differ" not in attrs["notes"]
    # on the camera's own clock contact is late by as much as that clock is ahead
    assert attrs["contact_time"] - contact == pytest.approx(ahead, abs=0.5)
    trace = one.landing.trace.in_program()
    last = one.dataset["frame_time"].values[-1]
    assert last == pytest.approx(trace.time[-1] - contact, abs=0.5)  # no frame of the withdrawal


def interrupted(plan, after):
    """Close the generator of a plan after some events: what a person does who presses Ctrl-C."""
    saved = 0
    response = None
    while True:
        message = plan.send(response)
        if message.command == "checkpoint" and saved == after:
            plan.close()
            return
        response = yield message
        saved += message.command == "collect"


def plain(node):
    return node.base if hasattr(node, "base") else node


def check_run(run):
    """Waveforms and frames come from Tiled, slice by slice, as the events say."""
    roles = run.metadata["start"][START_KEY]["roles"]
    primary, film = (plain(plain(run)[stream]) for stream in ("primary", "film"))
    table = primary["internal"].read()
    frames, times = film[roles["frames"]], film[roles["frame_time"]]
    total = int(table[roles["film_count"]].sum())
    assert frames.shape == (total, 64, 64)
    assert times.shape == (total,)
    for k in range(len(table)):
        row = table.iloc[k]
        first, count = int(row[roles["film_first"]]), int(row[roles["film_count"]])
        assert count > 3
        stamps = times[first : first + count]
        assert (np.diff(stamps) > 0).all()
        since = stamps + 631152000.0 - row[roles["start_utc"]]
        contact = row[roles["contact_ticks"]] - row[roles["start_ticks"]]
        assert since[0] < contact < since[-1]
        some = np.asarray(frames[first : first + 2])
        assert some.shape == (2, 64, 64)
        assert some.std() > 0
        samples = int(row[roles["n_samples"]])
        current = np.asarray(primary[roles["current"]][k]).ravel()
        assert np.isfinite(current[:samples]).all()
        assert np.isnan(current[samples:]).all()
    return list(zip(table[roles["condition"]], table[roles["repeat"]], strict=True))
