"""Bad input to a running SECCM: a clear sentence, nothing moved by the IOC's own trace."""

import numpy as np
import pytest
from caproto.sync.client import read
from nucleation_bluesky.cli.app import app
from tests.cli.test_bad_input import refused
from tests.storage.seccm_files import make_file, make_movie
from tests.support.ca_session import client_environment
from tests.support.ioc import DEMO_SECCM, seccm_ioc
from typer.testing import CliRunner

pytestmark = pytest.mark.stack
runner = CliRunner()
PREFIX, CAMERA = "T:BADSECCM:", "T:BADIRM:"
MOVES = ("armed", "energised", "camera_started", "capture_started", "bias_set")


@pytest.fixture(scope="module")
def instrument(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bad")
    config = directory / "nucleation.toml"
    config.write_text(
        f'data_directory = "{directory / "data"}"\n'
        f'[instrument]\nfamily = "seccm"\nprefix = "{PREFIX}"\n'
        "[instrument.virtual]\nenabled = false\n"
        f'[seccm]\ncamera_prefix = "{CAMERA}"\npipette_opening = "10 um"\n'
    )
    options = {"prefix": PREFIX, "camera_prefix": CAMERA, "environment": client_environment()}
    with seccm_ioc(directory, factory=DEMO_SECCM, **options) as ioc:
        yield ioc, config


def table(text):
    def write(directory):
        path = directory / "screen.csv"
        path.write_text(text)
        return "screen", "--table", str(path), "--rows", "2", "--cols", "2", "--pitch", "30 um"

    return write


def command(*arguments):
    return lambda directory: arguments


GRID = ("--rows", "1", "--cols", "3")
CASES = {
    "unknown condition column": (table("current,colour\n-1 nA,red\n"), "colour"),
    "negative charge limit": (table("current,charge\n-1 nA,-3 nC\n"), "charge", "magnitude"),
    "negative charge": (command("constant-charge", "--charge=-45 nC", *GRID), "charge"),
    "charge that is no number": (table("current,charge\n-1 nA,nan\n"), "charge"),
    "pitch below the footprint": (
        command("constant-charge", "--pitch", "11 um", *GRID),
        "11 um is smaller than the expected footprint of 22 um",
    ),
    "unit of a column": (table("current,duration\n5 V,1 s\n"), "not in units of A"),
    "beyond the travel": (
        command("constant-charge", "--z-max", "5 mm", *GRID), "may go from 0 to 60 um",
    ),
    "unknown scale": (
        command("cv", "--potential-scale", "SHE"), "this session knows",
    ),
    "exposure longer than the period": (
        command("landing", "--current=-1 nA", "--duration", "1 s", "--frame-exposure", "1 s",
                "--frame-period", "0.2 s"),
        "does not fit into a frame",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_before_anything_moves(instrument, tmp_path, name):
    ioc, config = instrument
    made, *words = CASES[name]
    events = len(ioc.events(*MOVES))
    names = ("PIP:X:RBV", "PIP:Y:RBV", "PIP:Z:RBV", "SEQ")
    before = [float(read(PREFIX + n, timeout=20, repeater=False).data[0]) for n in names]
    arguments = ["run", *made(tmp_path), "--config", str(config)]
    refused(runner.invoke(app, arguments, terminal_width=400), *words)
    assert len(ioc.events(*MOVES)) == events
    after = [float(read(PREFIX + n, timeout=20, repeater=False).data[0]) for n in names]
    assert after == before


def test_no_contact_ends_the_run(instrument):
    ioc, config = instrument
    arguments = ["run", "contact", "--z-max", "2 um", "--max-no-contact", "1"]
    refused(
        runner.invoke(app, [*arguments, "--config", str(config)], terminal_width=400),
        "found no contact", "z = 2 um", "check meniscus and distance",
    )  # fmt: skip
    assert ioc.events("withdrawn")[-1]["z"] == pytest.approx(0.0, abs=1e-7)


def _backwards(movie):
    stamps = movie.timestamps.copy()
    stamps[[20, 21]] = stamps[[21, 20]]
    return type(movie)(movie.frames, stamps, movie.pixel_size)


def _blank(movie):
    noise = 12 * np.random.default_rng(0).normal(size=movie.frames.shape)
    frames = np.clip(1500 + noise, 0, 4095).astype(np.uint16)
    return type(movie)(frames, movie.timestamps, movie.pixel_size)


FILES = {
    "timestamps that run backwards": (_backwards, "does not increase at index 21"),
    "no overlap": (lambda movie: make_movie(15.0, contact=5000.0), "do not overlap in time"),
    "no footprint": (_blank, "film without footprint", "check that"),
}


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path, name):
    change, *sentences = FILES[name]
    path, _ = make_file(tmp_path / "landing.h5", movie=change(make_movie(15.0)))
    result = runner.invoke(app, ["analyse", str(path)], terminal_width=400)
    refused(result, *sentences)
