"""Landings in Tiled: files and runs give the same results; runs of our own documents."""

import numpy as np
import pytest
from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.storage.analyse_any import analyse_any_file, analyse_any_run
from nucleation_bluesky.storage.read_seccm import load_landings
from nucleation_bluesky.storage.result_files import read_result, write_result
from nucleation_bluesky.storage.results import maps
from nucleation_bluesky.storage.results import write_result as write_to_tiled
from nucleation_bluesky.storage.runs import open_run
from tests.storage.seccm_files import hopping_record, make_file, make_movie, write_tdms

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("technique", ["galvanostatic", "cv"])
def test_file_and_run_give_the_same_results(house, tmp_path, technique):
    duration = 15.0 if technique == "galvanostatic" else 104.0
    path, truth = make_file(tmp_path / "a.h5", technique, movie=make_movie(duration))
    uid = house.ingest(path)
    one, other = analyse_any_file(path), analyse_any_run(house.client, uid)
    assert set(one.dataset.variables) == set(other.dataset.variables)
    for name in one.dataset.variables:
        np.testing.assert_allclose(
            other.dataset[name].values.astype(float),
            one.dataset[name].values.astype(float),
            rtol=1e-6,
            atol=1e-12,
            err_msg=str(name),
        )
    ours, theirs = one.dataset.attrs, other.dataset.attrs
    scalars = [k for k, v in ours.items() if isinstance(v, float)]
    assert len(scalars) > 10
    for name in scalars:
        assert theirs[name] == pytest.approx(ours[name], rel=1e-6, abs=1e-12), name
    assert ours["reference_scale"] == theirs["reference_scale"] == "Li/Li+"
    assert theirs["run_uids"] == [uid]
    if technique == "cv":
        np.testing.assert_allclose(other.dataset["cycle_ce"], truth, atol=5e-3)
        assert "e_nuc" not in theirs
    else:
        assert theirs["e_nuc"] == pytest.approx(truth["e_nuc"], abs=5e-3)
        assert theirs["t_nuc"] == pytest.approx(truth["t_nuc"], rel=0.04)
        assert theirs["q_nuc"] == pytest.approx(3e-9 * 3.8 / 380e-12, rel=0.04)
        assert "cycle_ce" not in other.dataset
    written = read_result(write_result(tmp_path / "r.nc", other.dataset))
    assert written["footprint"].dtype == bool
    assert written.attrs["footprint_area"] == ours["footprint_area"]


def test_frames_stay_in_their_file_until_they_are_used(house, tmp_path):
    movie = make_movie(15.0, seed=3)
    path, _ = make_file(tmp_path / "a.h5", movie=movie)
    run = open_run(house.client, house.ingest(path))
    landing = load_landings(run).landings[0]
    assert landing.movie.frames.shape == movie.frames.shape
    np.testing.assert_array_equal(landing.movie.frames[4:9], movie.frames[4:9])
    np.testing.assert_array_equal(landing.movie.timestamps, movie.timestamps)
    assert landing.movie.pixel_size == movie.pixel_size


def test_results_go_to_tiled_with_provenance(house, tmp_path):
    path, _ = make_file(tmp_path / "a.h5", movie=make_movie(15.0, seed=5))
    uid = house.ingest(path)
    run = open_run(house.client, uid)
    result = analyse_any_run(house.client, uid)
    for name, dataset in result.datasets.items():
        write_to_tiled(house.client, dataset, name=name, runs=[run], parameters=result.parameters)
    table = maps(open_run(house.client, uid), "landings")
    assert table["e_nuc"].values[0] == pytest.approx(-0.135, abs=5e-3)
    assert table.attrs["run_uids"] == [uid]
    assert table.attrs["parameters"]["electrochemistry"]["minimum"]["window"] > 0
    stored = maps(open_run(house.client, uid), "landing_0")
    np.testing.assert_array_equal(stored["footprint"], result.dataset["footprint"])


def test_hopping_file_and_run_agree(house, tmp_path):
    path = write_tdms(tmp_path / "scan.tdms", hopping_record(4))
    uid = house.ingest(path)
    run = open_run(house.client, uid)
    assert run.metadata["start"][START_KEY]["family"] == "seccm"
    one, other = analyse_any_file(path), analyse_any_run(house.client, uid)
    assert one.table.sizes["landing"] == 4
    for name in ("x", "y", "contact", "contact_z", "cycle_ce", "charge"):
        np.testing.assert_allclose(
            other.table[name], one.table[name], rtol=1e-5, atol=1e-12, err_msg=name
        )
    np.testing.assert_allclose(other.table["cycle_ce"][:, 0], 0.5, atol=0.01)
