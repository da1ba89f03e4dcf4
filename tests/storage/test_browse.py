"""Finding runs and reading their results at a prompt; a real server, real files."""

import dataclasses
import json
import subprocess
import sys
from datetime import datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
import pytest
import xarray as xr
from fake_ramp import FakeRamp, block, ramp_plan
from nucleation_bluesky.session.config_text import configuration_text
from nucleation_bluesky.storage import run_list
from nucleation_bluesky.storage.event_table import IncompleteRunError
from nucleation_bluesky.storage.packed import pack
from nucleation_bluesky.storage.read import load_ramps
from nucleation_bluesky.storage.results import ResultError, maps, write_result
from nucleation_bluesky.storage.run_list import list_runs
from nucleation_bluesky.storage.runs import RunFilter, RunNotFoundError, find_runs, open_run
from nucleation_bluesky.storage.server import ServerError, ServerInfo, connect

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def runs(house):
    """A map by Ada of 20 sites, one of another sample, and one that failed; their uids."""
    ramp = FakeRamp(house.waveforms)
    other = block(ramp)
    other["nucleation"] |= {"sample": "LLZTO", "technique": "seccm-landing"}
    (first,) = house.RE(ramp_plan(ramp, 20, md={"operator": "ada"}))
    (second,) = house.RE(ramp_plan(ramp, 3, md={**other, "operator": "bob"}))
    started = []
    token = house.RE.subscribe(lambda _, doc: started.append(doc["uid"]), "start")
    with pytest.raises(RuntimeError, match="tip lost"):
        house.RE(failing())
    house.RE.unsubscribe(token)
    found = [first, second, *started]
    assert house.courier.wait_delivered(found, 120)
    return found


@bpp.run_decorator(md={"plan_name": "failing"})
def failing():
    yield from bps.null()
    raise RuntimeError("tip lost")


def uids(infos):
    return [info.uid for info in infos]


def test_finding(house, runs):
    client = house.client
    first, second, third = runs
    assert uids(find_runs(client)) == [third, second, first]
    assert uids(find_runs(client, limit=2)) == [third, second]
    assert uids(find_runs(client, sample="LLZTO")) == [second]
    assert uids(find_runs(client, technique="seccm-landing")) == [second]
    assert uids(find_runs(client, operator="ada")) == [first]
    assert uids(find_runs(client, operator="ada", sample="LLZTO")) == []
    assert uids(find_runs(client, state="success")) == [second, first]
    assert find_runs(client, state="running") == []
    (failed,) = find_runs(client, state="fail")
    assert (failed.uid, failed.reason, failed.operator) == (third, "tip lost", "")


def test_finding_by_date(house, runs):
    client = house.client
    middle = find_runs(client, sample="LLZTO")[0].time
    assert uids(find_runs(client, since=middle)) == [runs[2], runs[1]]
    assert uids(find_runs(client, until=middle)) == [runs[0]]
    assert uids(find_runs(client, since=middle, until=datetime.fromtimestamp(middle + 1e-3))) == [
        runs[1]
    ]
    today = datetime.fromtimestamp(middle).date()
    days = {"since": today.isoformat(), "until": (today + timedelta(days=1)).isoformat()}
    assert len(find_runs(client, **days)) == 3
    assert find_runs(client, until=(today - timedelta(days=1)).isoformat()) == []
    with pytest.raises(ValueError, match="is not a date"):
        find_runs(client, until="yesterday")
    with pytest.raises(ValueError, match="is not a state"):
        find_runs(client, state="done")


def test_an_until_date_includes_that_day(house, runs):
    day = datetime.fromtimestamp(find_runs(house.client, limit=1)[0].time).date()
    first = datetime.fromtimestamp(find_runs(house.client)[-1].time).date()
    if day == first:  # not over a midnight
        assert len(find_runs(house.client, since=str(day), until=str(day))) == 3


@pytest.mark.parametrize("page", [1, 2, 100])
@pytest.mark.parametrize("limit", [None, 1, 2, 20])
def test_the_list_by_http_is_that_of_the_catalogue(house, runs, page, limit, monkeypatch):
    monkeypatch.setattr(run_list, "PAGE", page)
    client = house.client
    middle = find_runs(client, sample="LLZTO")[0].time
    filters = [
        {},
        {"sample": "LLZTO"},
        {"technique": "seccm-landing"},
        {"operator": "ada"},
        {"operator": "ada", "sample": "LLZTO"},
        {"state": "success"},
        {"state": "fail"},
        {"state": "running"},
        {"since": middle},
        {"until": middle},
        {"since": "2020-01-01", "until": datetime.fromtimestamp(middle).isoformat()},
    ]
    lengths = set()
    for wanted in filters:
        found = find_runs(client, **wanted, limit=limit)
        lengths.add(len(found))
        assert list_runs(house.info, RunFilter(**wanted), limit=limit) == [
            dataclasses.replace(info, client=None) for info in found
        ], wanted
    assert lengths == {0, 1} if limit == 1 else lengths >= {0, 1, 2}


def test_the_list_says_what_is_wrong_with_a_server(house, tmp_path):
    with pytest.raises(ServerError, match="check the address, the key"):
        list_runs(ServerInfo(house.info.uri, "0" * 64), RunFilter())
    with pytest.raises(ServerError, match="check the address, the key"):
        list_runs(ServerInfo("http://127.0.0.1:9", ""), RunFilter())
    with pytest.raises(ServerError, match="check the address, the key"):
        list_runs(ServerInfo("http://[::1", ""), RunFilter())
    (tmp_path / "api/v1/search").mkdir(parents=True)
    (tmp_path / "api/v1/search/index.html").write_text("<p>something else</p>")
    other = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    )
    Thread(target=other.serve_forever, daemon=True).start()
    try:
        with pytest.raises(ServerError, match="is no Tiled server"):
            list_runs(ServerInfo(f"http://127.0.0.1:{other.server_port}", ""), RunFilter())
    finally:
        other.shutdown()
        other.server_close()


def test_the_key_goes_past_the_proxies_of_the_environment(house, runs, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert list_runs(house.info, RunFilter(), limit=1)
    assert len(connect(house.info))


HEAVY = ("bluesky", "bluesky_tiled_plugins", "dask", "databroker", "h5py", "matplotlib", "ophyd",
         "pandas", "pint", "scipy", "skimage", "tiled.client", "xarray")  # fmt: skip
COMMAND = """
import sys
from nucleation_bluesky.cli import main
try:
    main()
finally:
    sys.stderr.write(",".join(name for name in {heavy!r} if name in sys.modules))
"""


def test_the_command_lists_runs_without_the_imports_of_an_analysis(house, runs, tmp_path):
    """A command of the shell cannot be quick that imports what opening a run's data needs."""
    config = tmp_path / "all.toml"
    config.write_text(configuration_text())  # every entry, with its unit
    program = [sys.executable, "-c", COMMAND.format(heavy=HEAVY), "runs"]
    for words in (["--operator", "bob"], ["--limit", "2", "--config", str(config)]):
        done = subprocess.run(
            [*program, *words, "--data", str(house.data)],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        expected = runs[1:2] if "bob" in words else [runs[2], runs[1]]
        listed = [line.split()[0] for line in done.stdout.splitlines()[2:]]
        assert listed == expected, done.stdout  # in a pipe the uid is whole


def test_catalog_at_a_prompt(house, runs):
    catalog = house.client
    first, second, third = runs
    assert [catalog[-n].start["uid"] for n in (1, 2, 3)] == [third, second, first]
    assert catalog[1].start["uid"] == first  # its number
    assert catalog[second[:8]].start["uid"] == second
    assert catalog[second].start["uid"] == second
    assert catalog[first, "primary"].metadata["data_keys"]
    assert uids(catalog.runs(operator="bob")) == [second]
    assert "nothing" not in catalog
    assert "nothing-of-the-kind" not in catalog
    with pytest.raises(KeyError, match="no run with a uid that begins with 'abcdef12'"):
        catalog["abcdef12"]
    for which in (4711, -99):
        with pytest.raises(RunNotFoundError):
            catalog[which]


def test_beginnings_are_no_patterns(house, runs):
    for which in ("%%%%%%%%", "________", runs[0][:6] + "%", runs[0][:5]):
        with pytest.raises(RunNotFoundError):
            open_run(house.client, which)


def test_documents_of_a_run(house, runs):
    """As the RunEngine emitted them, from the embedded server."""
    documents = list(open_run(house.client, runs[0]).documents())
    names = [name for name, _ in documents]
    assert (names[0], names[-1]) == ("start", "stop")
    assert documents[0][1]["uid"] == runs[0]
    assert documents[-1][1]["num_events"] == {"primary": 20}
    rows = [doc["data"]["ramp_site"] for name, doc in documents if name == "event"]
    for name, doc in documents:
        rows += list(doc["data"]["ramp_site"]) if name == "event_page" else []
    assert rows == list(range(20))
    assert {"stream_resource", "stream_datum"} <= set(names)


def result(sites, **attrs):
    values = np.linspace(-1, 0, sites)
    return xr.Dataset({"onset_bias": ("site", values, {"units": "V"})}, attrs=attrs)


def test_a_resumed_map_is_read_as_one(house, runs):
    ramp = FakeRamp(house.waveforms)
    (first,) = house.RE(ramp_plan(ramp, 6))
    assert house.courier.wait_delivered([first], 120)
    client = house.client
    with pytest.raises(ResultError, match="analyse it first"):
        maps(client[first])
    write_result(client, result(6), runs=[client[first]])
    assert maps(client[first]).sizes == {"site": 6}

    (second,) = house.RE(ramp_plan(ramp, 4, md=block(ramp, continues=first, series=first)))
    assert house.courier.wait_delivered([second], 120)
    for run in (client[first], client[second]):
        assert load_ramps(run).n_sites == 10
    with pytest.raises(IncompleteRunError, match=f"run {second[:8]} continues its map"):
        maps(client[first])
    old = client.maps(first, allow_partial=True)
    assert old.attrs["problems"] == [f"run {second[:8]} continues its map"]
    write_result(client, result(10), runs=[client[first], client[second]])
    for which in (first, second[:8], -1):
        found = client.maps(which)
        assert found.sizes == {"site": 10}
        assert found.attrs["run_uids"] == [first, second]
        assert found["onset_bias"].attrs["units"] == "V"


def test_a_partial_result_is_refused_unless_asked_for(house, runs):
    client = house.client
    run = client[runs[0]]
    stop = {**run.metadata["stop"], "num_events": {"primary": 25}}
    run.update_metadata({"stop": stop}, drop_revision=True)
    with pytest.raises(IncompleteRunError, match="20 of 25 events"):
        load_ramps(client[runs[0]])
    problems = load_ramps(client[runs[0]], allow_partial=True).attrs["problems"]
    write_result(client, result(20, problems=problems), runs=[client[runs[0]]])
    with pytest.raises(IncompleteRunError, match="20 of 25 events"):
        client.maps(runs[0])
    found = client.maps(runs[0], allow_partial=True)
    assert found.sizes == {"site": 20}
    assert "20 of 25 events" in found.attrs["problems"][0]


def test_a_result_is_read_at_once_and_exactly(house, runs):
    client = house.client
    ds = xr.Dataset(
        {
            "onset": ("site", np.array([-3.7, np.nan, -3.8]), {"units": "V"}),
            "small": ("site", np.array([1, 2, 3], dtype="i1"), {"units": "1"}),
            "nucleated": ("site", np.array([True, False, True]), {"units": "1", "long": None}),
            "label": ("site", np.array(["a", "bb", "é"]), {"units": "1"}),
            "map": (("row", "col"), np.ones((2, 3), "f4"), {"units": "m"}),
            "nothing": ("pair", np.empty(0), {"units": "m"}),
        },
        coords={"site": ("site", np.arange(3), {"units": "1"})},
        attrs={"label": "x"},
    )
    key = write_result(client, ds, name="exact", runs=[client[runs[1]]])
    asked = []
    client.context.http_client.event_hooks["request"].append(lambda r: asked.append(str(r.url)))
    fast = maps(client[runs[1]], "exact")
    assert len(asked) <= 10, asked
    client["maps", key].update_metadata({"packed": ""}, drop_revision=True)
    slow = maps(client[runs[1]], "exact")
    for found in (fast, slow):
        assert found.attrs["label"] == "x"
        assert set(found.coords) == {"site"}
        assert set(found.variables) == set(ds.variables)
        for name, variable in ds.variables.items():
            assert found[name].dtype == variable.dtype, name
            assert found[name].dims == variable.dims, name
            assert found[name].attrs == variable.attrs, name
            equal_nan = variable.dtype.kind == "f"
            assert np.array_equal(found[name], variable, equal_nan=equal_nan), name


def test_a_result_leaves_the_server_as_netcdf_with_units_and_provenance(house, runs, tmp_path):
    client = house.client
    ds = xr.Dataset(
        {"onset": ("site", np.array([-3.7, np.nan]), {"units": "V"})},
        coords={"site": ("site", np.arange(2), {"units": "1"})},
        attrs={"capabilities": {"latency": 5e-5, "names": ["a", "b"]}, "label": "map"},
    )
    key = write_result(client, ds, name="exported", runs=[client[runs[0]]])
    path = tmp_path / "result.nc"
    client["maps", key].export(str(path), format="application/x-netcdf")
    with xr.open_dataset(path, engine="h5netcdf") as found:
        assert np.array_equal(found["onset"], ds["onset"], equal_nan=True)
        assert found["onset"].attrs["units"] == "V"
        assert json.loads(found.attrs["capabilities"]) == ds.attrs["capabilities"]
        assert found.attrs["label"] == "map"


def test_damaged_bytes_of_a_result_are_not_taken(house, runs, caplog):
    client = house.client
    key = write_result(client, result(5), name="damaged", runs=[client[runs[1]]])
    container = client["maps-packed"]
    for wrong in (np.zeros(50, "u1"), pack(result(5) * 2)):
        container.delete_contents(key, external_only=False)
        container.write_array(wrong, key=key)
        assert np.array_equal(
            maps(client[runs[1]], "damaged")["onset_bias"], result(5)["onset_bias"]
        )


def test_a_sorted_list_is_whole_for_stock_clients(house):
    """Tiled counts to 100 by default and names no page beyond; sorted lists ended there."""
    many = house.client.create_container("many")
    try:
        for n in range(125):
            many.create_container(f"{n:03}", metadata={"n": f"{n:03}"})
        found = list(many.sort(("n", -1)).keys().page_size(30))
        assert len(found) == 125
        assert found == sorted(found, reverse=True)
    finally:
        many.delete(recursive=True)
