"""The same devices over a controller by somebody else: EPICS base (softioc), other units."""

import os
import subprocess
import sys
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.contract.ramp import Compliance, RampSpec, Window
from tests.devices.conftest import ENVIRONMENT

pytestmark = pytest.mark.stack
SCRIPT = Path(__file__).parents[1] / "support" / "independent_ioc.py"
PREFIX = "T:SOFTIOC:"


@pytest.fixture
def independent():
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), PREFIX],
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.kill()
    process.wait(10)


def test_stock_scan_over_an_independent_controller(independent, session):
    from nucleation_bluesky.devices import Controller  # noqa: PLC0415 - after the environment

    Controller(PREFIX, name="probe").contract.require_connection(30)
    made = session(PREFIX)
    ramp, stage = made.afm.ramp, made.afm.stage_xy
    ramp.configure_exposure(
        RampSpec(0.0, (-2.0,), (2.0,), 1000.0), Compliance(current=Window(-10e-12, 10e-12))
    )
    made.RE(bp.grid_scan([ramp], stage.y, 0, 20e-9, 2, stage.x, 0, 40e-9, 3))
    events = [d["data"] for n, d in made.documents if n == "event"]
    assert len(events) == 6
    for data in events:
        assert data["afm_ramp_termination"] == Termination.CURRENT_COMPLIANCE
        assert -1e-9 < data["afm_ramp_stop_current"] < -10e-12  # from nA to A
        assert -2.0 < data["afm_ramp_stop_bias"] < -1.0
    assert np.ptp([d["afm_ramp_x"] for d in events]) == pytest.approx(40e-9)  # from nm to m
    assert [e.state for e in made.ledger.exposures()] == ["DONE"] * 6
    resource = next(
        d for n, d in made.documents
        if n == "stream_resource" and d["data_key"] == ramp.roles["bias"]
    )  # fmt: skip
    with h5py.File(resource["uri"].removeprefix("file://localhost"), swmr=True) as file:
        row = np.asarray(file["/entry/data/bias"])[0]
    assert np.isfinite(row).sum() == events[0]["afm_ramp_n_samples"]
    made.RE(bps.mv(stage.x, 1e-6))
    made.afm.imager.configure_image(0.0, 0.0, 1e-6, 16)
    made.RE(bp.count([made.afm.imager]))
    assert made.afm.imager.read_image().heights.shape == (16, 16)
