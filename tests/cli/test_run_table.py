"""The list of runs at several widths, in a file, and for another program."""

import io
import json
from dataclasses import replace

import pytest
from nucleation_bluesky.cli.run_table import print_runs, runs_as_json
from nucleation_bluesky.storage.runs import RunInfo
from rich.console import Console

PLANS = ("nucleation_map", "combinatorial_screen", "topography")
SAMPLES = ("Au-1", "Li6PS5Cl pellet 2026-11-03 B", "")
OPERATORS = ("Ada", "", "Marie Sklodowska-Curie")
NARROW = 80


@pytest.fixture
def found():
    return [
        RunInfo(
            f"0123456{n}-aaaa-4bbb-8ccc-0123456789ab", n + 1, 1.795e9, PLANS[n], SAMPLES[n],
            "technique", OPERATORS[n], "success", "", {"primary": 196 * n}, None,
        )
        for n in range(3)
    ]  # fmt: skip


def printed(found, width, *, terminal=True):
    sink = io.StringIO()
    print_runs(found, Console(file=sink, width=width, force_terminal=terminal, color_system=None))
    return sink.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, NARROW, 100, 160])
def test_a_line_for_each_run_at_every_width(found, width):
    head, _, *lines = printed(found, width)
    assert max(len(line) for line in [head, *lines]) <= width
    assert [line.split()[0] for line in lines[:3]] == [info.uid[:8] for info in found]
    for name in ("uid", "time", "plan", "sample", "state"):
        assert name in head.split()
    assert all("2026-11-1" in line and "success" in line for line in lines[:3])


def test_what_a_narrow_terminal_goes_without_is_told(found):
    head, *_, told = printed(found, NARROW)
    assert told == "without no., operator, events: the terminal is narrow"
    assert "operator" not in head
    assert printed(found[:1], 90)[0].split() == [
        "uid", "no.", "time", "plan", "sample", "operator", "state", "events",
    ]  # fmt: skip
    wide = printed(found, 160)
    assert "Marie Sklodowska-Curie" in wide[-1]  # nothing is left out, nothing is told
    assert {"no.", "operator", "events"} <= set(wide[0].split())


@pytest.mark.parametrize("width", [40, NARROW])
def test_a_file_has_whole_lines(found, width):
    _, _, *lines = printed(found, width, terminal=False)
    assert len(lines) == len(found)
    for line, info in zip(lines, found, strict=True):
        assert line.split()[0] == info.uid
        assert all(text in line for text in (info.plan, info.sample, info.operator))


def test_json_has_everything(found):
    read = json.loads(runs_as_json(found))
    assert [run["uid"] for run in read] == [info.uid for info in found]
    assert read[2]["num_events"] == {"primary": 392}
    assert read[0]["time"].endswith("+00:00")


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    ("sample", "shown"),
    [
        ("pellet [/b] [red] :gem:", "pellet [/b] [red] :gem:"),
        ("two\nlines\tof it", "two lines of it"),
        ("\x1b[2Jcleared", "[2Jcleared"),
    ],
)
def test_a_name_is_a_name_whatever_it_holds(found, sample, shown, terminal):
    lines = printed([replace(found[0], sample=sample)], 160, terminal=terminal)
    assert len(lines) == 3
    assert f"  {shown}  " in lines[2]


def test_why_a_run_failed_is_told_where_there_is_room(found):
    reason = "the connection was lost while reading NB:AFM:STAGE:X:RBV"
    runs = [replace(found[0], operator=""), replace(found[1], state="fail", reason=reason)]
    assert printed(runs, 300)[3].split("  ")[-1].strip() == reason
    head, _, _, failed = printed(runs, 140)
    assert head.split()[-1] == "reason"
    assert len(failed) <= 140
    assert "the connection was lost" in failed
    assert failed.rstrip().endswith("…")
    for width in range(60, 200):
        assert max(map(len, printed(runs, width)[:4])) <= width
    assert printed(runs, NARROW)[-1].startswith("without reason")
    assert printed(runs, NARROW, terminal=False)[3].rstrip().endswith(reason)
    assert "reason" not in printed(found, 300)[0]
