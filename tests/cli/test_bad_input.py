"""Bad input to a running instrument: a clear sentence, nothing moved by the IOC's own trace."""

import h5py
import pytest
from caproto.sync.client import read
from nucleation_bluesky.cli.app import app
from nucleation_bluesky.storage.neutral_writer import write_ivz
from tests.support.ca_session import client_environment
from tests.support.ioc import afm_ioc
from tests.support.ramp_samples import make_ramps
from typer.testing import CliRunner

pytestmark = pytest.mark.stack
runner = CliRunner()
PREFIX = "T:BADINPUT:"
MOVES = ("armed", "energised", "image", "bias_set")
SMALL = ("--rows", "2", "--cols", "2", "--no-image-before-after")


def configuration(directory, prefix):
    path = directory / f"{prefix.strip(':').replace(':', '-')}.toml"
    path.write_text(
        f'data_directory = "{directory / "data"}"\n[instrument]\nprefix = "{prefix}"\n'
        "[instrument.virtual]\nenabled = false\n"
    )
    return path


@pytest.fixture(scope="module")
def instrument(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bad")
    with afm_ioc(directory, prefix=PREFIX, environment=client_environment()) as ioc:
        yield ioc, configuration(directory, PREFIX)


def where(prefix=PREFIX):
    """Setpoints of the stage and number of ramps so far."""
    names = ("STAGE:X", "STAGE:Y", "SEQ")
    return [float(read(prefix + name, timeout=20, repeater=False).data[0]) for name in names]


def run(config, *arguments):
    command = ["run", "map", *SMALL, *arguments, "--config", str(config)]
    return runner.invoke(app, command, terminal_width=400)


def refused(result, *words):
    told = " ".join(result.output.replace("│", " ").split())
    assert result.exit_code not in (0, None), told
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in told
    for word in words:
        assert word in told, told


CASES = {
    "nan bias": (("--stop", "nan V"), "--stop"),
    "inf bias": (("--stop", "-inf V"), "--stop"),
    "bias out of range": (("--stop", "-12 V"), "12"),
    "compliance zero": (("--current-compliance", "0 A"), "compliance"),
    "compliance sign": (("--current-compliance", "10 pA"), "compliance"),
    "height compliance sign": (
        ("--compliance", "height", "--height-compliance", "-8 nm"),
        "height_compliance must be above 0",
    ),
    "overlapping sites": (("--pitch", "5 nm"), "apart"),
    "off the stage": (("--origin", "1 mm, 0 m"), "stage"),
    "no sites": (("--rows", "0"), "at least 1 row"),
    "unknown order": (("--order", "sideways"), "order"),
}


@pytest.mark.parametrize("name", CASES)
def test_refused_before_anything_moves(instrument, name):
    ioc, config = instrument
    arguments, *words = CASES[name]
    before, events = where(), len(ioc.events(*MOVES))
    refused(run(config, *arguments), *words)
    assert where() == before
    assert len(ioc.events(*MOVES)) == events


def test_used_site(instrument):
    ioc, config = instrument
    first = run(config, "--origin", "2 um, 0 m")
    assert first.exit_code == 0, first.output
    before, events = where(), len(ioc.events(*MOVES))
    assert len(ioc.events("energised")) == 4
    refused(run(config, "--origin", "2.002 um, 0 m"), "used")
    assert where() == before
    assert len(ioc.events(*MOVES)) == events


def test_unknown_pv_and_absent_ioc(instrument, tmp_path):
    ioc, _ = instrument
    events = len(ioc.events())
    refused(run(configuration(tmp_path, "T:NOBODY:")), "T:NOBODY:")
    assert len(ioc.events(*MOVES)) <= events
    assert not (tmp_path / "data" / "journal").exists() or not list(
        (tmp_path / "data" / "journal").glob("*.jsonl")
    )


def test_corrupt_file_is_not_ingested(tmp_path):
    ramps, _ = make_ramps(2, 2)
    path = write_ivz(tmp_path / "old.h5", ramps)
    with h5py.File(path, "r+") as file:
        offsets = file["offsets"][:]
        offsets[2] = offsets[1] - 5
        file["offsets"][:] = offsets
    data = tmp_path / "data"
    result = runner.invoke(app, ["ingest", str(path), "--data", str(data)], terminal_width=400)
    refused(result, "old.h5", "offsets")
    assert not list(data.rglob("*.jsonl"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(runner.invoke(app, ["analyse", str(path)], terminal_width=400), "old.h5")
