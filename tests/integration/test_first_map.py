"""The commands of the tutorial, as written there, and what stock clients then find in Tiled."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import xarray as xr
from databroker import catalog
from tiled.client import from_uri
from tiled.profiles import create_profile, delete_profile
from tiled.queries import Eq

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "first-map.md"
COMMAND = "nucleation-bluesky"


def commands():
    """Console lines of the page by their subcommand, continuation lines joined."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    shell = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return {line.split()[1]: line for line in shell if line.startswith(COMMAND)}


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Run a line of the page in an empty folder, as a user's shell would."""
    folder = tmp_path_factory.mktemp("tutorial")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EPICS_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["COLUMNS"] = "200"

    def run(line, **options):
        return subprocess.run(
            line, shell=True, cwd=folder, env=environment, capture_output=True, text=True,
            timeout=300, check=False, **options,
        )  # fmt: skip

    run.folder, run.environment = folder, environment
    return run


@pytest.fixture(scope="module")
def measured(shell):
    lines = commands()
    assert set(lines) == {"doctor", "run", "runs", "analyse", "report", "serve"}
    done = shell(lines["run"])
    assert done.returncode == 0, done.stdout + done.stderr
    return lines


def test_doctor(shell):
    done = shell(commands()["doctor"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tiled" in done.stdout.lower()


def test_same_line_again_is_refused(shell, measured):
    for line in (measured["run"], measured["run"] + " --skip-used"):
        again = shell(line)
        assert again.returncode != 0
        assert "every one of these sites has been used" in again.stdout + again.stderr
        assert "Traceback" not in again.stdout + again.stderr


def test_runs_analyse_report(shell, measured):
    listed = shell(measured["runs"])
    assert listed.returncode == 0, listed.stderr
    assert "nucleation_map" in listed.stdout
    assert "success" in listed.stdout
    analysed = shell(measured["analyse"])
    assert analysed.returncode == 0, analysed.stdout + analysed.stderr
    assert "stored in Tiled" in analysed.stdout
    with xr.open_dataset(shell.folder / "first.nc") as result:
        assert result["onset_bias_map"].shape == (12, 12)
        nucleated = result["nucleated"].values.astype(bool)
        assert 0 < nucleated.sum() <= 144
        # the image after lies on the one before, although particles cover its middle
        heights = result["topography_height"].values[nucleated]
        assert np.isfinite(heights).mean() > 0.8
        assert np.nanmedian(heights) > 5e-9
    reported = shell(measured["report"])
    assert reported.returncode == 0, reported.stdout + reported.stderr
    page = (shell.folder / "first-report" / "report.html").read_text()
    assert "data:image/png" in page


@pytest.fixture
def served(shell, measured):
    """Address and key that `serve` prints."""
    process = subprocess.Popen(
        measured["serve"].split(),
        cwd=shell.folder, env=shell.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    address = key = None
    deadline = time.monotonic() + 120
    while not (address and key) and time.monotonic() < deadline:
        line = process.stdout.readline()
        if found := re.search(r"from_uri\('([^']+)'", line):
            address = found[1]
        if line.startswith("API key:"):
            key = line.split()[-1]
    assert address
    assert key
    yield address, key
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130  # as a shell tells an interrupt


def test_stock_clients(shell, served, measured, monkeypatch):
    address, key = served
    client = from_uri(address, api_key=key)
    maps = Eq("start.plan_name", "nucleation_map")  # results lie beside the runs
    run = client.search(maps).values().last()
    assert run.metadata["start"]["plan_name"] == "nucleation_map"
    table = run["primary"].read()
    assert table.sizes["time"] == 144
    keys = run["primary"].metadata["data_keys"]
    assert keys["afm_ramp_stop_bias"]["units"] == "V"
    assert keys["afm_ramp_stop_current"]["units"] == "A"
    assert float(table["afm_ramp_stop_bias"].max()) < -2.0
    waveform = run["primary"]["afm_ramp_current"]
    part = np.asarray(waveform[3])  # one site: the server slices
    assert np.isfinite(part).sum() == int(table["afm_ramp_n_samples"][3])
    lazy_client = from_uri(address, structure_clients="dask", api_key=key)
    lazy = lazy_client.search(maps).values().last()
    array = lazy["primary"]["afm_ramp_current"].read()
    assert hasattr(array, "dask")
    np.testing.assert_array_equal(np.asarray(array[3]).ravel(), part.ravel())
    name = f"nucleation-test-{os.getpid()}"
    monkeypatch.setenv("TILED_API_KEY", key)
    create_profile(name=name, uri=address)
    try:
        found = catalog[name]
        assert run.metadata["start"]["uid"] in list(found)
    finally:
        delete_profile(name)


def test_nothing_is_left_running(shell, measured):
    """The Tiled server lingers for some seconds after its last user, then leaves too."""
    here = str(shell.folder)

    def left():
        return [
            p.pid
            for p in psutil.process_iter(["cmdline"])
            if any(here in part for part in p.info["cmdline"] or [])
        ]

    deadline = time.monotonic() + 40
    while left() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left() == []
