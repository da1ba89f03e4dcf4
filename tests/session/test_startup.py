"""The session as IPython, a script and the packaged profile see it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nucleation_bluesky
import pytest

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorials" / "session-and-queue.md"
PROFILE = Path(nucleation_bluesky.__file__).parent / "session" / "profile"


def run(command, cwd):
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("EPICS_", "NUCLEATION_"))}
    return subprocess.run(
        command, cwd=cwd, env=variables | {"MPLBACKEND": "agg"}, capture_output=True, text=True,
        timeout=220, check=False,
    )  # fmt: skip


def test_the_tutorial_runs_in_ipython(tmp_path):
    lines = re.findall(r"^In \[\d+\]: (.*)$", TUTORIAL.read_text(), re.MULTILINE)
    assert len(lines) == 8
    shown = [f"print({line})" if line.isidentifier() else line for line in lines]
    shown[-1] = f"print(len({shown[-1]}))"
    shown.append("print('latest', catalog[-1].start['uid'] == uid)")
    shown.append(lines[5])  # the same map again
    code = "\n".join(shown)
    command = [sys.executable, "-m", "nucleation_bluesky", "session", "--"]
    done = run([*command, "--simple-prompt", "--colors=NoColor", "-c", code], tmp_path)
    told = done.stdout + done.stderr
    for expected in ("sweep_rate_series", "afm.stage_xy", "afm_stage_xy_x", "afm_amplifier_current",
                     "pitch", "36/36 sites", "36\n", "latest True"):  # fmt: skip
        assert expected in told, told
    assert "Traceback" not in told
    errors = re.findall(r"^\w*Error: .*$", told, re.MULTILINE)
    assert errors == ["ValueError: every one of these sites has been used; choose another area"]


SCRIPT = """
from nucleation_bluesky.session import start
opened = start(tiled=False)
assert start() is opened
names = opened.names()
RE, afm = names["RE"], names["afm"]
RE(names["topography"](afm, size=2e-6, pixels=32))
RE(names["set_gain"](afm, gain=1e10))
print("gain", afm.amplifier.gain.get())
print("tiled", "catalog" in names, sorted(n for n in names if n.islower()))
"""


def test_a_plain_script_ends_its_session(tmp_path):
    done = run([sys.executable, "-c", SCRIPT], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "gain 10000000000.0" in done.stdout
    assert "tiled False" in done.stdout
    # closed in order: the instrument is free for the next one, and no process is left
    again = run([sys.executable, "-c", SCRIPT], tmp_path)
    assert again.returncode == 0, again.stderr
    kept = (tmp_path / "nucleation-data" / "metadata.json").read_text()
    assert '"scan_id":2' in kept


def test_profile_holds_a_few_plain_lines():
    (path,) = (PROFILE / "startup").glob("*.py")
    code = path.read_text()
    assert "import *" not in code
    assert "exec(" not in code
    assert len([line for line in code.splitlines() if line and not line.startswith("#")]) <= 5
    checkout = ROOT / "profile_collection" / "startup" / path.name
    assert checkout.read_text() == code
