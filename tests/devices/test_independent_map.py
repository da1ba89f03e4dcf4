"""The nucleation map, unchanged, over a controller written with softioc from the contract page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from tests.devices.conftest import ENVIRONMENT

pytestmark = pytest.mark.stack
SCRIPT = Path(__file__).parents[1] / "support" / "independent_ioc.py"
PREFIX = "T:SOFTMAP:"


def test_nucleation_map_over_an_independent_controller(session):
    from nucleation_bluesky.devices import Controller  # noqa: PLC0415 - after the environment

    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), PREFIX],
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        Controller(PREFIX, name="probe").contract.require_connection(60)
        made = session(PREFIX)
        options = {"rows": 2, "cols": 3, "pitch": 20e-9, "image_pixels": 16}
        made.RE(nucleation_map(made.afm, **options, stop=-2.0, confirm_samples=1))
        assert not re.search(r"^\s*(from|import) nucleation", SCRIPT.read_text(), re.MULTILINE)
        starts = [d for n, d in made.documents if n == "start"]
        stops = [d for n, d in made.documents if n == "stop"]
        assert starts[0]["plan_name"] == "nucleation_map"
        assert stops[0]["exit_status"] == "success"
        assert stops[0]["num_events"]["primary"] == 6
        assert stops[0]["num_events"]["topography_before"] == 1
        assert stops[0]["num_events"]["topography_after"] == 1
        primary = next(
            d["uid"] for n, d in made.documents if n == "descriptor" and d["name"] == "primary"
        )
        events = [
            d["data"] for n, d in made.documents if n == "event" and d["descriptor"] == primary
        ]
        for data in events:
            assert data["afm_ramp_termination"] == Termination.CURRENT_COMPLIANCE
            assert -2.0 < data["afm_ramp_stop_bias"] < -1.0
        assert np.ptp([d["afm_ramp_x"] for d in events]) == pytest.approx(40e-9, abs=1e-9)
        assert np.ptp([d["afm_ramp_y"] for d in events]) == pytest.approx(20e-9, abs=1e-9)
        assert [e.state for e in made.ledger.exposures()] == ["DONE"] * 6
        uris = {d["uri"] for n, d in made.documents if n == "stream_resource"}
        for uri in uris:
            with h5py.File(uri.removeprefix("file://localhost"), swmr=True) as file:
                assert len(file)
        with pytest.raises(ValueError, match="used"):
            made.RE(nucleation_map(made.afm, **options, stop=-2.0, confirm_samples=1))
    finally:
        process.kill()
        process.wait(10)
