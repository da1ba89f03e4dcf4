"""Bad input on the command line: one sentence, an exit code, no traceback, nothing started."""

import shutil

import click
import psutil
import pytest
import typer
from nucleation_bluesky.cli.app import app
from nucleation_bluesky.ledger import Ledger, SiteClaim, filesystem
from typer.testing import CliRunner

runner = CliRunner()


def commands(group, path=()):
    if isinstance(group, click.Group) or hasattr(group, "commands"):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))
    yield list(path)


def invoke(*arguments):
    return runner.invoke(app, [str(a) for a in arguments], terminal_width=400)


def refused(result, *words):
    assert result.exit_code not in (0, None)
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    told = " ".join(result.output.replace("│", " ").split())
    for word in words:
        assert word in told
    return told


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_help(path):
    result = invoke(*path, "--help")
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


BAD = {
    "--pitch": ("20 V", "nan", "inf m", "wide", ""),
    "--stop": ("-4.2 nm", "nan V", "-inf"),
    "--rate": ("1 V", "nan"),
    "--current-compliance": ("-10 pV", "nan A", "inf"),
    "--origin": ("3 V, 0 V", "a, b", "nan, 0 m"),
}


@pytest.mark.parametrize(
    ("option", "text"), [(option, text) for option, texts in BAD.items() for text in texts]
)
def test_bad_quantities(tmp_path, option, text):
    data = tmp_path / "data"
    refused(invoke("run", "map", option, text, "--data", data), option, "is not")
    assert not data.exists()


def test_bad_configuration(tmp_path):
    path = tmp_path / "lab.toml"
    path.write_text("[sites]\nexposures_per_site = 0\n")
    refused(invoke("run", "map", "--config", path), "sites.exposures_per_site")
    refused(invoke("doctor", "--config", tmp_path / "absent.toml"), "cannot read")


def test_full_disk(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**8))
    data = tmp_path / "data"
    before = psutil.Process().children(recursive=True)
    told = refused(invoke("run", "map", "--data", data), "0.1 GB free", "free space or choose")
    assert told.startswith("error:")
    assert not data.exists()
    assert psutil.Process().children(recursive=True) == before


def test_network_file_system(tmp_path, monkeypatch):
    monkeypatch.setattr(filesystem, "filesystem_type", lambda _: "nfs4")
    before = psutil.Process().children(recursive=True)
    refused(invoke("run", "map", "--data", tmp_path / "data"), "nfs4")
    assert psutil.Process().children(recursive=True) == before


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + b"\0" * 64, b"not a data file"])
def test_corrupt_files(tmp_path, content):
    path = tmp_path / "map.h5"
    path.write_bytes(content)
    refused(invoke("analyse", path), "error:", "map.h5")
    refused(invoke("analyse", tmp_path / "absent.h5"), "there is no file")


def test_ledger(tmp_path):
    refused(invoke("ledger", "show", "--data", tmp_path), "there is no ledger")
    first = invoke("ledger", "mount", "S1", "--data", tmp_path)
    assert first.exit_code == 0, first.output
    assert "S1: mount" in first.output
    area = invoke("ledger", "mount", "S1", "--new-area", "--data", tmp_path)
    assert area.exit_code == 0, area.output
    shift = ("--registered", "--dx", "120 nm", "--dy", "-40 nm", "--uncertainty", "3 nm")
    assert invoke("ledger", "mount", "S1", *shift, "--data", tmp_path).exit_code == 0
    refused(invoke("ledger", "mount", "S1", "--registered", "--new-area", "--data", tmp_path),
            "not both")  # fmt: skip
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ends = [{"termination": 2.0}, {"termination": 99}, {}]
        for number, end in enumerate(ends):
            made = ledger.claim(SiteClaim("S1", 3, number * 1e-6, 0.0, "test"))
            ledger.energise(made.id)
            ledger.finish(made.id, end)
        ledger.burn(ledger.claim(SiteClaim("S1", 3, 9e-6, 0.0, "test")).id, "tip lost")
    shown = invoke("ledger", "show", "S1", "--data", tmp_path)
    assert "mount 3" in shown.output
    table = [line.split("│")[1:-1] for line in shown.output.splitlines() if "│ " in line]
    outcomes = [row[-1].strip() for row in table[-4:]]
    assert outcomes == ["current compliance", "99", "", "tip lost"]


def test_journal(tmp_path):
    assert invoke("journal", "list", "--data", tmp_path).exit_code == 0
    directory = tmp_path / "journal"
    directory.mkdir()
    (directory / "20260101T000000Z_x.jsonl").write_text('{"crc":"00000000",garbage}\n{}\n')
    refused(invoke("journal", "verify", "--data", tmp_path), "1 of 1 journals are damaged")


def test_what_a_user_wrote_is_no_markup(tmp_path):
    """Brackets are told as they are; as markup of rich they would end in a traceback."""
    refused(invoke("runs", "--since", "[/b] [red]", "--data", tmp_path), "[/b] [red]")
    damaged = tmp_path / "[red] :gem:.jsonl"
    damaged.write_text("no journal\n{}\n")
    refused(invoke("journal", "verify", damaged), "[red] :gem:.jsonl: damaged")
