"""A neutral file as another lab would write it, through the command line, directly and as a run."""

import re
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from nucleation_bluesky.cli.app import app
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis"))
from synthetic import Setup, make

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
runner = CliRunner()
ROWS, COLS = 12, 15
# names, units and kinds exactly as the format states them
VARIABLES = {
    "onset_bias": "V", "onset_bias_uncertainty": "V", "stop_bias": "V", "stop_current": "A",
    "height_change": "m", "charge": "C", "particle_volume": "m3", "nucleated": "1",
    "termination": "1", "classification": "1", "current_overshoot": "1", "height_overshoot": "1",
}  # fmt: skip


def write(path):
    """Sites shuffled, a row and some sites missing, no samples after the trip, bias and time."""
    setup = Setup(sites=ROWS * COLS, n_rows=ROWS, seed=21, glitches=0.05)
    ramps, truth = make(setup)
    rng = np.random.default_rng(4)
    order = rng.permutation(ROWS * COLS)
    keep = order[(ramps.row[order] != 5) & (rng.random(len(order)) > 0.05)]
    some = ramps.select(keep)
    with h5py.File(path, "w") as file:
        file.attrs.update(
            format="nucleation-ivz", version=1, grid_shape=(ROWS, COLS), pitch=20e-9,
            sample_period=some.sample_period, ramp_rate=setup.rate, bias_start=setup.start,
            bias_stop=setup.stop, mode="current", current_compliance=10e-12,
            bias_applied_to="tip", material_molar_volume=13.0e-6, electrons=1,
        )  # fmt: skip
        file["offsets"] = some.offsets
        file["current"], file["height"] = some.current, some.height
        file["bias"] = np.concatenate([some.site_bias(k) for k in range(some.n_sites)])
        file["time"] = np.concatenate([some.site_time(k) for k in range(some.n_sites)])
        file["site_index"] = np.stack([some.row, some.col], axis=1)
        file["termination"] = some.termination
        file["termination"].attrs["flag_values"] = [1, 2, 3]
        file["termination"].attrs["flag_meanings"] = "completed current_compliance other"
    return keep, truth, some


def invoke(*arguments):
    done = runner.invoke(app, [str(a) for a in arguments], terminal_width=300)
    assert done.exit_code == 0, done.output
    return done.output


def test_file_and_run_give_equal_results(tmp_path):
    path, data = tmp_path / "lab.h5", tmp_path / "data"
    keep, truth, some = write(path)
    invoke("analyse", path, "--out", tmp_path / "direct.nc")
    told = invoke("ingest", path, "--data", data)
    uid = re.search(r"run ([0-9a-f-]{36})", told.replace("\n", ""))[1]
    invoke("analyse", uid, "--out", tmp_path / "run.nc", "--data", data)
    assert uid[:8] in invoke("runs", "--data", data)
    with (
        xr.open_dataset(tmp_path / "direct.nc") as one,
        xr.open_dataset(tmp_path / "run.nc") as two,
    ):
        assert one.sizes["site"] == two.sizes["site"] == len(keep)
        for name, unit in VARIABLES.items():
            assert one[name].dims == ("site",)
            assert one[name].attrs["units"] == unit
            assert one[f"{name}_map"].dims == ("row", "col")
            assert one[f"{name}_map"].shape == (ROWS, COLS)
            np.testing.assert_allclose(
                two[name].values.astype(float), one[name].values.astype(float),
                rtol=1e-4, atol=1e-6 * np.nanmax(np.abs(one[name].values.astype(float)), initial=0),
                err_msg=name,
            )  # fmt: skip
        assert {"x", "y", "row", "col"} <= set(one.coords)
        np.testing.assert_array_equal(one["row"], some.row)
        meanings = one["classification"].attrs["flag_meanings"].split()
        assert set(meanings) == {"nucleated", "no_nucleation", "false_trip", "undetermined"}
        verdict = np.array(meanings)[one["classification"].values.astype(int)]
        genuine, false = truth.genuine[keep], truth.false[keep]
        assert np.mean(verdict[genuine] == "nucleated") >= 0.99
        assert np.all(verdict[false] == "false_trip")
        error = (one["onset_bias"].values - truth.onset[keep])[genuine]
        assert np.sqrt(np.nanmean(error**2)) < 0.5e-3
        volume = one["particle_volume"].values[genuine] / truth.volume[keep][genuine] - 1
        assert np.sqrt(np.nanmean(volume**2)) < 0.2  # yield and latency are not told
        assert np.isnan(one["onset_bias"].values[~one["nucleated"].values]).all()
        assert np.isnan(one["onset_bias_map"].values[5]).all()
