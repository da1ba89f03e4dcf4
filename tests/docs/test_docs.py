"""The documentation holds to the code: generated pages, and every command line in it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from nucleation_bluesky.cli.app import load

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def command_lines():
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.S | re.M):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("$ nucleation-bluesky"):
                    yield pytest.param(line[2:], id=f"{page.stem}: {line[2:60]}")


def test_generated_pages_are_current():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", list(command_lines()))
def test_command_line_parses(line):
    words = shlex.split(line, comments=True)[1:]
    command, words, context = load(words[0]), words[1:], None
    while True:
        context = click.Context(command, parent=context, info_name=command.name)
        if not hasattr(command, "commands"):
            break
        command, words = command.commands[words[0]], words[1:]
    command.parse_args(context, words)  # raises on an unknown option or a bad value


def test_there_are_command_lines():
    assert len(list(command_lines())) >= 8


def test_pages_build(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reference" / "cli" / "index.html").is_file()


def test_wheel_contents(tmp_path):
    import zipfile  # noqa: PLC0415

    from hatchling.builders.wheel import WheelBuilder  # noqa: PLC0415

    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(built).namelist())
    package = ROOT / "nucleation_bluesky"
    data = {
        str(p.relative_to(ROOT))
        for p in package.rglob("*")
        if p.is_file() and p.suffix not in (".pyc", ".py")
    }
    assert data <= names
    assert "nucleation_bluesky/py.typed" in names
    assert "nucleation_bluesky/session/profile/startup/00-nucleation.py" in names
    assert any(name.endswith((".html", ".j2", ".jinja")) for name in names)
    assert not [n for n in names if n.startswith("tests/") or "__pycache__" in n]
