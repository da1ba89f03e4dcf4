"""Nothing that hears a RunEngine's documents, and nothing it runs, can wait for a server."""

import ast
from pathlib import Path

import pytest
from bluesky import RunEngine
from bluesky.plan_stubs import close_run, open_run
from nucleation_bluesky.callbacks.journal import Journal
from nucleation_bluesky.callbacks.journal_reader import JournalReader, journals

PACKAGE = Path(__file__).resolve().parents[2] / "nucleation_bluesky"
BESIDE_THE_RUN = ("callbacks", "devices", "ledger", "plans")  # what runs in, or beside, a run
WAITS = {
    "httpx", "requests", "urllib3", "aiohttp", "tiled", "databroker", "bluesky_tiled_plugins",
    "suitcase", "zmq",
}  # fmt: skip


def imported(source):
    """Top-level names of everything that a module imports, wherever it does."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def named(source):
    return {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Attribute)
    }


@pytest.mark.parametrize("room", BESIDE_THE_RUN)
def test_no_client_of_a_server_runs_with_the_plan(room):
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    assert {f.name: w for f in files if (w := imported(f.read_text()) & WAITS)} == {}


def test_the_writer_that_blocks_is_used_nowhere():
    for path in PACKAGE.rglob("*.py"):
        assert "TiledWriter" not in named(path.read_text()), path


def test_the_checks_see():
    assert imported("def f():\n    from tiled.client import from_uri") & WAITS
    assert "TiledWriter" in named("RE.subscribe(TiledWriter(client))")


def test_a_subscriber_that_fails_costs_the_journal_nothing(tmp_path):
    engine = RunEngine({}, call_returns_result=True, context_managers=[])
    Journal(tmp_path, session="s").attach(engine)

    def fails(name, _):
        if name in ("start", "stop"):
            raise RuntimeError("a display failed")

    engine.subscribe(fails)

    def plan():
        yield from open_run()
        yield from close_run()

    with pytest.raises(RuntimeError, match="display"):
        engine(plan())
    (path,) = journals(tmp_path)
    with JournalReader(path) as reader:
        documents = reader.read()
    assert documents[0][0] == "start"
    assert documents[-1][0] == "stop"
    assert documents[-1][1]["exit_status"] == "fail"
