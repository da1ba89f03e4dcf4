import io
import re
import sys

import matplotlib.pyplot as plt
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from nucleation_bluesky.callbacks.best_effort import BestEffortTables
from nucleation_bluesky.callbacks.live_table import SiteTable
from nucleation_bluesky.callbacks.progress import MapProgress
from ophyd.sim import det
from rich.console import Console

ROLES = {k: f"ramp_{k}" for k in ("site", "row", "col", "termination", "stop_bias")}


def start(uid="u1", n=6):
    return "start", {
        "uid": uid,
        "num_points": n,
        "nucleation": {"technique": "afm-nucleation-map", "roles": ROLES},
    }


def descriptor(uid="d1", run="u1", name="primary"):
    return "descriptor", {"uid": uid, "run_start": run, "name": name}


def event(site, termination, bias, descriptor="d1"):
    values = {"site": site, "row": 0, "col": site, "termination": termination, "stop_bias": bias}
    return "event", {
        "descriptor": descriptor,
        "data": {ROLES[key]: value for key, value in values.items()},
    }


STOP = ("stop", {"run_start": "u1", "exit_status": "success"})


def terminal(on=False):
    return Console(file=io.StringIO(), force_terminal=on, width=120)


def run(callback, *documents):
    for document in documents:
        callback(*document)


def test_plain_progress_counts_in_any_order_of_sites():
    progress = MapProgress(terminal(), interval=0.0)
    sites = [(5, 2, -3.7), (0, 1, -4.2), (3, 3, -3.5), (1, 12, -3.6)]
    run(progress, start(), descriptor(), *(event(*site) for site in sites), STOP)
    lines = progress.console.file.getvalue().splitlines()
    assert lines[-1] == ("4/6 sites, 75 % tripped, median stop bias -3.600 V, ended: success")
    assert "left" in lines[-2]


def test_plain_progress_is_throttled():
    progress = MapProgress(terminal(), interval=1000.0)
    run(progress, start(), descriptor(), *(event(k, 2, -3.7) for k in range(6)), STOP)
    assert len(progress.console.file.getvalue().splitlines()) == 1


def test_bar_in_a_terminal():
    progress = MapProgress(terminal(True), interval=0.0)
    run(progress, start(), descriptor(), event(0, 2, -3.7), STOP)
    assert "1/6 sites" in progress.console.file.getvalue()
    assert progress._bar is None


def test_a_pause_gives_the_terminal_back():
    """A prompt is no whole line: it would not pass through a bar that is still shown."""
    progress, plain = MapProgress(terminal(True), interval=0.0), sys.stdout
    run(progress, start(), descriptor(), event(0, 2, -3.7))
    assert sys.stdout is not plain
    progress.on_state("pausing", "running")
    assert sys.stdout is not plain
    progress.on_state("paused", "pausing")
    assert sys.stdout is plain
    run(progress, event(1, 2, -3.7))
    assert sys.stdout is not plain
    run(progress, STOP)
    assert sys.stdout is plain
    assert "2/6 sites" in progress.console.file.getvalue()


def test_other_streams_and_other_runs_do_not_count():
    progress = MapProgress(terminal(), interval=0.0)
    run(
        progress,
        start(),
        descriptor("d0", name="topography_before"),
        event(0, 2, -3.7, "d0"),
        descriptor(),
        event(0, 2, -3.7),
        event(1, 2, -3.7, "elsewhere"),
    )
    assert progress.summary.done == 1
    run(progress, ("start", {"uid": "x"}), event(0, 2, -3.7))
    assert progress.summary.uid == ""


@pytest.mark.parametrize("display", [MapProgress, SiteTable])
def test_broken_documents_never_raise(display):
    callback = display(console=terminal())
    run(callback, start(), descriptor(), ("event", {"descriptor": "d1"}), event(0, 99, "?"))
    run(callback, ("start", {"nucleation": {}}), ("stop", {}))
    callback.console.file.close()
    run(callback, start(), descriptor(), event(0, 2, -3.7), STOP)


def test_table_shows_the_last_sites():
    table = SiteTable(2, terminal(), interval=0.0)
    run(table, start(), descriptor(), *(event(k, 2, -3.5 - k / 10) for k in range(4)), STOP)
    text = table.console.file.getvalue().split("4/6 sites")[-1]
    assert "-3.700" in text
    assert "-3.800" in text
    assert "-3.600" not in text.split("\n", 1)[1]
    assert "current compliance" in text


@pytest.mark.parametrize(("technique", "maps", "printed"), [
    ("", False, True), ("", True, True), ("afm-nucleation-map", False, False),
    ("afm-nucleation-map", True, True),
])  # fmt: skip
def test_tables_are_for_stock_plans_and_for_the_log_of_a_queue(capsys, technique, maps, printed):
    engine, block = RunEngine({}), {"technique": technique} if technique else {}
    engine.subscribe(BestEffortTables(maps=maps))
    engine(count([det], num=2, md={"nucleation": block}))
    told = capsys.readouterr().out
    assert bool(re.search(r"\|\s+det \|", told)) is printed
    assert not plt.get_fignums()


def test_a_stock_plan_has_no_progress_of_a_map():
    engine, progress = RunEngine({}), MapProgress(terminal(), interval=0.0)
    engine.subscribe(progress)
    engine(count([det], num=2, md={"nucleation": {"sample": "s"}}))
    assert progress.console.file.getvalue() == ""
