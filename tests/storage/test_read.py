"""Runs as analysis input, results next to them; a real server, real files."""

import numpy as np
import pytest
import xarray as xr
from fake_ramp import FakeRamp, block, ramp_plan, site_samples, wait_until, waveform
from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.storage.event_table import IncompleteRunError
from nucleation_bluesky.storage.read import load_ramps
from nucleation_bluesky.storage.results import ResultError, maps, write_result
from nucleation_bluesky.storage.runs import RunNotFoundError, find_runs, open_run
from nucleation_bluesky.storage.waveforms import OutOfStepError

pytestmark = pytest.mark.stack


def take(house, sites=20, md=None, ramp=None):
    ramp = ramp or FakeRamp(house.waveforms)
    (uid,) = house.RE(ramp_plan(ramp, sites, md=md))
    assert house.courier.wait_delivered([uid], 40)
    return uid


@pytest.fixture(scope="module")
def uid(house):
    return take(house)


def test_ramp_set(house, uid):
    ramps = load_ramps(open_run(house.client, uid))
    assert ramps.n_sites == 20
    assert list(ramps.counts) == [site_samples(k) for k in range(20)]
    for site in range(20):
        window = slice(ramps.offsets[site], ramps.offsets[site + 1])
        assert np.array_equal(ramps.current[window], waveform("current", site))
        assert np.array_equal(ramps.height[window], waveform("height", site))
        assert np.array_equal(ramps.bias[window], waveform("bias", site))
    assert ramps.sample_period == 1e-3
    fast = np.arange(20) % 3 == 0
    assert np.array_equal(ramps.fast_end[fast], np.full(fast.sum(), -0.5))
    assert np.isnan(ramps.fast_end[~fast]).all()
    assert np.all(ramps.ramp_rate == 1.2)
    assert np.all(ramps.bias_start == 0)
    assert np.all(ramps.bias_stop == -2)
    assert (ramps.mode, ramps.current_compliance) == ("current", 1e-11)
    assert (ramps.grid_shape, ramps.pitch) == ((4, 5), 1e-7)
    assert np.array_equal(ramps.row, np.arange(20) // 5)
    assert np.allclose(ramps.x, 1e-7 * (np.arange(20) % 5))
    assert ramps.equilibrium_potential == -0.1
    assert ramps.instrument.abort_latency == 1e-3
    assert ramps.termination_labels[2] == "current_compliance"
    assert ramps.attrs["run_uids"] == [uid]


def test_finding(house, uid):
    client = house.client
    (found,) = find_runs(client, sample="glass-1", technique="afm-nucleation-map", state="success")
    assert (found.uid, found.num_events) == (uid, {"primary": 20})
    assert find_runs(client, sample="other") == []
    assert find_runs(client, technique="other") == []
    assert find_runs(client, since=found.time + 1) == []
    assert [r.uid for r in find_runs(client, since=found.time - 1)] == [uid]
    assert find_runs(client, until=found.time - 1) == []
    assert [r.uid for r in find_runs(client, until=found.time + 1)] == [uid]
    for which in (uid, uid[:8], -1, 1):
        assert open_run(client, which).start["uid"] == uid
    for which in ("aaaaaaaa", "%%%%%%%%", 77, -99):
        with pytest.raises(RunNotFoundError):
            open_run(client, which)


def test_result_is_linked_both_ways_and_computed_once(house, uid):
    client = house.client
    run = open_run(client, uid)
    with pytest.raises(ResultError, match="analyse it first"):
        maps(run)
    result = xr.Dataset(
        {
            "onset": ("site", np.linspace(-1, 0, 20), {"units": "V"}),
            "ok": ("site", np.arange(20) % 2 == 0, {"units": "1"}),
            "nothing": ("pair", np.empty(0), {"units": "m"}),
        },
        coords={"site": ("site", np.arange(20), {"units": "1"})},
    )
    key = write_result(client, result, runs=[run], parameters={"level": 3})
    assert write_result(client, result, runs=[run], parameters={"level": 3}) == key
    other = write_result(client, result * 2, runs=[run], parameters={"level": 4})
    assert other != key
    changed = result.assign(onset=result["onset"] + 1)
    changed["onset"].attrs["units"] = "V"
    assert write_result(client, changed, runs=[run], parameters={"level": 3}) == key
    run = open_run(house.client, uid)
    back = maps(run)
    for name in result.variables:
        assert back[name].dtype == result[name].dtype
        assert back[name].attrs == result[name].attrs
    assert np.array_equal(back["onset"], changed["onset"])
    assert back.attrs["run_uids"] == [uid]
    assert back.attrs["parameters"] == {"level": 3}
    assert set(client["maps"]) == {key, other}
    assert np.array_equal(client["maps"][key].read()["onset"], changed["onset"])
    with pytest.raises(ResultError, match="no units"):
        write_result(client, xr.Dataset({"a": ("x", [1])}), runs=[run])


def test_resumed_map_is_one_set(house):
    first = take(house, 6)
    more = block(FakeRamp(house.waveforms), continues=first, series=first)
    second = take(house, 4, md=more)
    for uid in (first, second):
        ramps = load_ramps(open_run(house.client, uid))
        assert ramps.attrs["run_uids"] == [first, second]
        assert ramps.n_sites == 10
        assert list(ramps.counts[6:]) == [site_samples(k) for k in range(4)]
    assert load_ramps(open_run(house.client, second), join=False).n_sites == 4


def test_stock_run_is_readable_by_names(house):
    uid = take(house, 6, md={START_KEY: {}, "shape": [2, 3], "extents": [[0, 1e-7], [0, 2e-7]]})
    ramps = load_ramps(open_run(house.client, uid))
    assert ramps.n_sites == 6
    assert ramps.grid_shape == (2, 3)
    assert list(ramps.col) == [0, 1, 2, 0, 1, 2]
    assert np.array_equal(ramps.current[: site_samples(0)], waveform("current", 0))


def test_incomplete_runs_are_refused(house):
    states = []

    def look(name, doc):
        if doc["seq_num"] == 10:
            uid = house.RE.md["last"] = look.uid
            wait_until(lambda: uid in house.client, what="run")
            run = open_run(house.client, uid)
            with pytest.raises(IncompleteRunError, match="no stop document"):
                load_ramps(run)
            states.append(find_runs(house.client, state="running")[0].uid)

    look.uid = ""
    first = house.RE.subscribe(lambda name, doc: setattr(look, "uid", doc["uid"]), "start")
    token = house.RE.subscribe(look, "event")
    uid = take(house, 10)
    house.RE.unsubscribe(token)
    house.RE.unsubscribe(first)
    assert states == [uid]
    run = open_run(house.client, uid)
    stop = {**run.metadata["stop"], "num_events": {"primary": 12}}
    run.update_metadata({"stop": stop}, drop_revision=True)
    run = open_run(house.client, uid)
    with pytest.raises(IncompleteRunError, match="10 of 12 events"):
        load_ramps(run)
    partial = load_ramps(run, allow_partial=True)
    assert partial.n_sites == 10
    assert partial.attrs["problems"]


def test_files_out_of_step_are_noticed(house):
    ramp = FakeRamp(house.waveforms)
    ramp.overrides = {"n_samples": {3: site_samples(3) - 1}}
    uid = take(house, 6, ramp=ramp)
    with pytest.raises(OutOfStepError, match="row 3"):
        load_ramps(open_run(house.client, uid))
