"""What users install: built by the project's own backend, used outside the checkout."""

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nucleation_bluesky"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = directory.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel's files alone in a directory, and an empty one to work in."""
    directory = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


def run(installed, folder, *arguments):
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NUCLEATION"))
    }
    # before the checkout, which is in this environment in editable mode
    environment["PYTHONPATH"] = str(installed)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    kept = ["git", "ls-files", "--cached", "--others", "--exclude-standard", PACKAGE.name]
    listed = subprocess.run(kept, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    sources = {name for name in listed.splitlines() if (ROOT / name).is_file()}
    assert len(sources) > 300
    assert packed == sources
    data = {name for name in packed if not name.endswith(".py")}
    assert {Path(name).suffix for name in data} >= {".html", ".j2", ".typed"}


def test_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        scripts = archive.read(f"{info}/entry_points.txt").decode()
        assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert set(metadata.get_all("Provides-Extra")) >= {"queue", "micromanager"}
    assert "nucleation-bluesky = nucleation_bluesky.cli:main" in scripts
    assert metadata.get_payload().startswith("#")  # the README


READ_DATA = """\
import jinja2
import nucleation_bluesky
from pathlib import Path
from nucleation_bluesky.live.server import application
from nucleation_bluesky.session.config import PROFILE
jinja2.PackageLoader("nucleation_bluesky.report").get_source(jinja2.Environment(), "report.html.j2")
application(Path("data"))  # it reads its page
print(nucleation_bluesky.__file__)
print(sorted(p.name for p in (PROFILE / "startup").iterdir() if p.suffix == ".py"))
"""


def test_it_works_where_the_checkout_is_not(installed, tmp_path):
    told = run(installed, tmp_path, "-c", READ_DATA).splitlines()
    assert Path(told[0]).is_relative_to(installed)
    assert told[1] == "['00-nucleation.py']"
    run(installed, tmp_path, "-m", "nucleation_bluesky", "config", "init")
    assert (tmp_path / "nucleation.toml").read_text().startswith("#")
    shown = run(installed, tmp_path, "-m", "nucleation_bluesky", "config", "check")
    assert "nucleation.toml" in shown
