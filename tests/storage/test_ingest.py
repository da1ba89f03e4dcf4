"""A neutral file becomes a run: documents, segments, Tiled, and the same results."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlparse

import event_model
import h5py
import numpy as np
import pytest
import xarray as xr
from nucleation_bluesky.callbacks.journal import Journal
from nucleation_bluesky.callbacks.journal_reader import journals, read_journal
from nucleation_bluesky.contract.documents import PRIMARY_ROLES, START_KEY
from nucleation_bluesky.contract.files import waveform_path
from nucleation_bluesky.storage import ingest as ingest_module
from nucleation_bluesky.storage.analyse import analyse_run
from nucleation_bluesky.storage.analyse_any import analyse_any_file
from nucleation_bluesky.storage.hdf5_input import IngestError
from nucleation_bluesky.storage.images import Topographies
from nucleation_bluesky.storage.ingest import ingest_file
from nucleation_bluesky.storage.neutral import read_ivz
from nucleation_bluesky.storage.neutral_writer import write_ivz
from nucleation_bluesky.storage.read import load_ramps, load_topography
from nucleation_bluesky.storage.result_files import read_result, write_result
from nucleation_bluesky.storage.runs import open_run
from tests.support.ramp_samples import make_ramps, make_topographies


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    ramps, _ = make_ramps(4, 5, sample_rate=500)
    path = tmp_path_factory.mktemp("in") / "old lab.h5"
    return write_ivz(path, ramps, make_topographies(ramps, pixels=96))


@pytest.fixture
def ingested(file, tmp_path, monkeypatch):
    monkeypatch.setattr(ingest_module, "ROWS", 7)  # several segments
    done = ingest_file(file, journal_dir=tmp_path / "journal", waveform_dir=tmp_path / "w")
    return done, list(read_journal(done.journal))


def test_documents_are_valid_and_complete(ingested, file):
    done, docs = ingested
    assert done.created
    assert docs[0][0] == "start"
    assert docs[-1][0] == "stop"
    for name, doc in docs:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    start = docs[0][1]
    block = start[START_KEY]
    assert start["uid"] == done.uid
    assert block["ingested"]["sha256"] == read_ivz(file).sha256
    assert block["compliance"] == {"current": [-10e-12, 10e-12], "height": None}
    assert block["grid"]["shape"] == [4, 5]
    descriptors = {d["name"]: d for n, d in docs if n == "descriptor"}
    assert set(descriptors) == {"primary", "topography_before", "topography_after"}
    keys = descriptors["primary"]["data_keys"]
    for role, key in block["roles"].items():
        if role in PRIMARY_ROLES:
            assert keys[key]["units"] == PRIMARY_ROLES[role][0]
    stop = docs[-1][1]
    assert stop["exit_status"] == "success"
    assert stop["num_events"]["primary"] == 20


def test_segments_hold_every_sample_and_nan_beyond(ingested, file):
    _, docs = ingested
    ramps = read_ivz(file).ramps
    resources = {d["uid"]: d for n, d in docs if n == "stream_resource"}
    rows = {}
    for name, doc in docs:
        if name != "stream_datum":
            continue
        resource = resources[doc["stream_resource"]]
        if resource["data_key"] not in ("bias", "current", "height"):
            continue
        path = Path(unquote(urlparse(resource["uri"]).path))
        with h5py.File(path) as opened:
            block = opened[resource["parameters"]["dataset"]][:]
        indices = doc["indices"]
        assert len(block) == indices["stop"] - indices["start"]
        assert doc["seq_nums"] == {k: v + 1 for k, v in indices.items()}
        for k, row in zip(range(indices["start"], indices["stop"]), block, strict=True):
            rows[resource["data_key"], k] = row
    assert len(rows) == 3 * ramps.n_sites
    for k in range(ramps.n_sites):
        window = slice(ramps.offsets[k], ramps.offsets[k + 1])
        count = ramps.counts[k]
        np.testing.assert_array_equal(rows["current", k][:count], ramps.current[window])
        np.testing.assert_array_equal(rows["height", k][:count], ramps.height[window])
        np.testing.assert_allclose(rows["bias", k][:count], ramps.site_bias(k), atol=1e-6)
        assert np.isnan(rows["current", k][count:]).all()
    assert waveform_path("current").endswith("current")


def test_same_content_is_ingested_once(file, tmp_path):
    where = {"journal_dir": tmp_path / "journal", "waveform_dir": tmp_path / "w"}
    first = ingest_file(file, **where)
    twin = tmp_path / "renamed.h5"
    twin.write_bytes(file.read_bytes())
    again = ingest_file(twin, **where)
    assert again == replace(first, created=False)
    assert len(journals(tmp_path / "journal")) == 1


def test_cut_short_attempt_is_not_taken_for_a_run(file, tmp_path, monkeypatch):
    where = {"journal_dir": tmp_path / "journal", "waveform_dir": tmp_path / "w"}
    real = Journal._record

    def dies(self, name, doc):
        if name == "stop":
            raise OSError(28, "No space left on device")
        real(self, name, doc)

    monkeypatch.setattr(Journal, "_record", dies)
    with pytest.raises(RuntimeError):
        ingest_file(file, **where)
    monkeypatch.setattr(Journal, "_record", real)
    second = ingest_file(file, **where)
    assert second.created
    assert len(journals(tmp_path / "journal")) == 2
    assert ingest_file(file, **where) == replace(second, created=False)


def test_malformed_file_leaves_nothing(tmp_path):
    bad = tmp_path / "bad.h5"
    bad.write_bytes(b"not hdf5")
    with pytest.raises(IngestError):
        ingest_file(bad, journal_dir=tmp_path / "j", waveform_dir=tmp_path / "w")
    assert not (tmp_path / "j").exists()
    assert not (tmp_path / "w").exists()


@pytest.mark.stack
def test_file_and_run_give_the_same_results(house, file):
    uid = house.ingest(file)
    run = open_run(house.client, uid)
    direct, loaded = read_ivz(file), load_ramps(run)
    for name in ("current", "height", "offsets", "x", "y", "row", "col", "n_post", "termination"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(direct.ramps, name), name)
    assert loaded.material == direct.ramps.material
    assert loaded.instrument == direct.ramps.instrument
    image = load_topography(run).before
    np.testing.assert_allclose(image.height, direct.topographies.before.height, rtol=1e-6)
    assert image.x == pytest.approx(direct.topographies.before.x)
    one, other = analyse_any_file(file), analyse_run(house.client, uid)
    assert set(one.sites.variables) == set(other.sites.variables)
    assert one.sites["nucleated"].values.sum() > 10
    for name in one.sites.variables:
        scale = np.nanmax(np.abs(one.sites[name].values.astype(float)), initial=0)
        np.testing.assert_allclose(
            other.sites[name].values.astype(float),
            one.sites[name].values.astype(float),
            rtol=1e-5,
            atol=1e-4 * scale if name.startswith(("boundary", "topography")) else 1e-6 * scale,
            err_msg=str(name),
        )
    assert other.provenance["run_uids"] == [uid]
    assert one.provenance["source_sha256"] == direct.sha256


@pytest.mark.stack
def test_recorded_bias_and_time_survive_ingestion(house, tmp_path):
    ramps, _ = make_ramps(2, 3, sample_rate=200, n_post=0)
    bias = np.concatenate([np.round(ramps.site_bias(k), 2) for k in range(6)])  # a staircase
    time = np.concatenate([ramps.site_time(k) ** 1.02 for k in range(6)])
    unusual = replace(ramps, bias=bias, time=time, ramp_rate=np.full(6, np.nan))
    uid = house.ingest(write_ivz(tmp_path / "steps.h5", unusual, Topographies()))
    loaded = load_ramps(open_run(house.client, uid))
    assert loaded.bias is not None
    np.testing.assert_allclose(loaded.bias, bias, atol=1e-6)
    assert loaded.time is not None
    np.testing.assert_allclose(loaded.time, time, atol=1e-9)


def test_result_file_is_read_by_plain_xarray(file, tmp_path):
    result = analyse_any_file(file)
    path = write_result(tmp_path / "out" / "r.nc", result.sites)
    with xr.open_dataset(path) as opened:
        assert opened.sizes["site"] == 20
        assert opened["onset_bias"].attrs["units"] == "V"
        assert opened["nucleated"].dtype == bool
        grid = opened["onset_bias_map"]
        assert grid.dims == ("row", "col")
        assert grid.shape == (4, 5)
        for k in range(20):
            here = grid.values[opened["row"].values[k], opened["col"].values[k]]
            np.testing.assert_equal(here, opened["onset_bias"].values[k])
        assert opened.attrs["source_sha256"] == read_ivz(file).sha256
        assert "nucleated" in opened["classification"].attrs["flag_meanings"]
        for name in opened.variables:
            assert "units" in opened[name].attrs, name
    assert read_result(path).equals(read_result(path))
    with pytest.raises(ValueError, match="no units"):
        write_result(tmp_path / "x.nc", xr.Dataset({"a": ("site", [1.0])}))
