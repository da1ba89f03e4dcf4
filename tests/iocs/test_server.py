import asyncio
import gc
import socket

import pytest
from nucleation_bluesky.contract.enums import ControllerState, Termination
from nucleation_bluesky.iocs.backends.demo import make_demo
from nucleation_bluesky.iocs.run import parse_speed, run_afm_ioc, serve
from nucleation_bluesky.iocs.server import IocError
from nucleation_bluesky.session.channel_access import free_port

from tests.iocs.client import Client
from tests.support.ioc import DEMO, afm_ioc


@pytest.mark.parametrize("text", ["0", "-1", "nan", "fast", ""])
def test_bad_speed(text):
    with pytest.raises(IocError, match="speed must be"):
        parse_speed(text)


def test_speed():
    assert parse_speed("max") == float("inf")
    assert parse_speed("20") == 20.0


def test_unknown_world_setting_is_one_sentence():
    with pytest.raises(IocError, match="no_such_thing"):
        run_afm_ioc("X:", world={"no_such_thing": 1})
    with pytest.raises(IocError, match="no_such_thing"):
        run_afm_ioc("X:", factory=DEMO, world={"no_such_thing": 1})


def test_bad_prefix_and_trace(tmp_path):
    with pytest.raises(IocError, match="prefix"):
        run_afm_ioc("A B:", factory=DEMO)
    with pytest.raises(IocError, match="trace file"):
        run_afm_ioc("X:", factory=DEMO, trace=tmp_path / "absent" / "trace")


@pytest.mark.stack
def test_virtual_afm_runs_a_ramp_and_listens_on_the_loopback_only(tmp_path, monkeypatch):
    truth = tmp_path / "truth.jsonl"
    with afm_ioc(tmp_path, seed=3, speed="max", truth=truth) as ioc:
        client = Client(ioc, monkeypatch)
        try:
            client.ramp(vertices=(-4.2,), rates=(1.2,), COMP_CURRENT_ON=1)
            client.put("STAGE:X", 1.0)
            client.put("GO", client.arm())
            assert client.termination in {Termination.COMPLETED, Termination.CURRENT_COMPLIANCE}
            assert client.state in {ControllerState.SAFE, ControllerState.TRIPPED}
            assert client.result["n_samples"] > 2000
            assert client.ioc.events("energised")[0]["x"] == pytest.approx(1e-6, abs=1e-7)
            client.put("AMP:GAIN", 1e10)
            assert client.get("AMP:GAIN") == 1e10
            before = client.get("CAP:CURRENT:RANGE")
            client.put("AMP:GAIN", 1e11)
            assert client.get("CAP:CURRENT:RANGE") == pytest.approx(before / 10)
        finally:
            client.close()
        port = int(ioc.environment["EPICS_CA_SERVER_PORT"])
        with socket.socket() as other:  # another loopback address is another interface
            assert other.connect_ex(("127.0.0.2", port)) != 0
    assert ioc.process.returncode == 0
    assert truth.exists()


@pytest.mark.stack
def test_a_second_server_at_one_port_says_so(tmp_path):
    """The kernel gives a client's searches to one of the two: the second one says so."""
    with afm_ioc(tmp_path, factory=DEMO, prefix="A:") as first:
        beside = tmp_path / "beside"
        beside.mkdir()
        with afm_ioc(beside, factory=DEMO, prefix="B:", environment=first.environment) as second:
            port = first.environment["EPICS_CA_SERVER_PORT"]
            assert f"another Channel Access server of this machine has port {port}" in second.log()
            assert "EPICS_CA_ADDR_LIST" in second.log()
        assert "another" not in first.log()


def test_no_collection_of_garbage_goes_through_all_that_is_imported(tmp_path, monkeypatch):
    """It would last, on a busy machine, longer than the safe state may take."""
    frozen = []

    async def served():
        stop = asyncio.Event()

        def ready():
            frozen.append(gc.get_freeze_count())
            stop.set()

        backend = make_demo(0, 1.0, None)
        serving = serve(backend, "T:FREEZE:", ready=ready, stop=stop, trace=tmp_path / "trace")
        await asyncio.wait_for(serving, 30)

    monkeypatch.setenv("EPICS_CA_SERVER_PORT", str(free_port()))
    try:
        asyncio.run(served())
    finally:
        gc.unfreeze()
    assert frozen[0] > 10_000
