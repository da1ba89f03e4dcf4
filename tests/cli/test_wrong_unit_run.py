"""A controller by somebody else, in a wrong unit: refused, nothing moved.

In a module of its own: two controllers cannot share the port of one client.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from caproto import CaprotoTimeoutError
from caproto.sync.client import read
from nucleation_bluesky.cli.app import app
from tests.support.ca_session import client_environment
from typer.testing import CliRunner

pytestmark = pytest.mark.stack
runner = CliRunner()
SMALL = ("--rows", "2", "--cols", "2", "--no-image-before-after")


def where(prefix, patience=60.0):
    """Setpoints of the stage and number of ramps so far, once the controller answers."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return [
                float(read(prefix + name, timeout=3, repeater=False).data[0])
                for name in ("STAGE:X", "STAGE:Y", "SEQ")
            ]
        except (CaprotoTimeoutError, TimeoutError):
            if time.monotonic() > deadline:
                raise


def test_wrong_unit(tmp_path):
    """A controller by somebody else whose height is in volts."""
    for part in (Path(__file__).parents[1] / "support").glob("independent_*.py"):
        shutil.copy(part, tmp_path)
    script, records = tmp_path / "independent_ioc.py", tmp_path / "independent_records.py"
    source = records.read_text()
    wrong = source.replace('("Z:RBV", 0.0, "nm")', '("Z:RBV", 0.0, "V")')
    assert wrong != source
    records.write_text(wrong)
    prefix = "T:WRONGUNIT:"
    process = subprocess.Popen(
        [sys.executable, str(script), prefix],
        env=os.environ | client_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        before = where(prefix)
        config = tmp_path / "wrong.toml"
        config.write_text(
            f'data_directory = "{tmp_path / "data"}"\n[instrument]\nprefix = "{prefix}"\n'
            "[instrument.virtual]\nenabled = false\n"
        )
        command = ["run", "map", *SMALL, "--config", str(config)]
        result = runner.invoke(app, command, terminal_width=400)
        told = " ".join(result.output.replace("│", " ").split())
        assert result.exit_code not in (0, None)
        assert isinstance(result.exception, SystemExit)
        assert "Z:RBV has the unit 'V'" in told
        assert "convertible to m" in told
        assert where(prefix) == before
    finally:
        process.kill()
        process.wait(10)
