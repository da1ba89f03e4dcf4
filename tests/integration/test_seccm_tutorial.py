"""The commands of the SECCM tutorial, as written there, on a table of two short landings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "first-seccm-screen.md"
COMMAND = "nucleation-bluesky"


def commands():
    """Lines of the page, continuation lines joined."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix(f"$ {COMMAND} ") for line in lines if f"$ {COMMAND}" in line]


def table():
    """The page's table: its columns with the first and the last condition, short and once."""
    (written,) = re.findall(r"```text\n(label,.*?)```", PAGE.read_text(), re.DOTALL)
    head, *rows = written.splitlines()
    short = [re.sub(r",5 s,\d$", ",0.5 s,1", row) for row in (rows[0], rows[-1])]
    assert short != [rows[0], rows[-1]]
    return "\n".join([head, *short, ""])


def test_the_page_runs_screens_and_a_voltammogram():
    verbs = [line.split()[0] for line in commands()]
    assert verbs == ["run", "analyse", "report", "run", "analyse", "report", "export"]
    assert [line.split()[1] for line in commands() if line.startswith("run")] == ["screen", "cv"]


def test_a_screen_is_landed_and_analysed(tmp_path):
    screen, analyse = commands()[:2]
    (tmp_path / "conditions.csv").write_text(table())
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EPICS_")}

    def run(line):
        return subprocess.run(
            f"{sys.executable} -m nucleation_bluesky {line}", shell=True, cwd=tmp_path,
            env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    landed = run(screen)
    assert landed.returncode == 0, landed.stdout + landed.stderr
    assert "2/2 sites, 100 % with contact" in landed.stderr
    analysed = run(analyse)
    assert analysed.returncode == 0, analysed.stdout + analysed.stderr
    assert "stored in Tiled: maps/" in analysed.stdout
