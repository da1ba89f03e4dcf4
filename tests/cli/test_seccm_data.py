"""``analyse`` and ``ingest`` of landings on the command line."""

import numpy as np
import pytest
import xarray as xr
from nucleation_bluesky.cli.app import app
from tests.storage.seccm_files import hopping_record, make_file, make_movie, write_tdms
from typer.testing import CliRunner

runner = CliRunner()


def invoke(*arguments):
    return runner.invoke(app, [str(a) for a in arguments], terminal_width=400)


def told(result):
    assert "Traceback" not in result.output
    return " ".join(result.output.replace("│", " ").split())


def test_analyse_a_galvanostatic_file(tmp_path):
    path, truth = make_file(tmp_path / "a.h5")
    result = invoke("analyse", path, "--out", tmp_path / "r.nc")
    assert result.exit_code == 0, result.output
    assert "nucleation" in result.output
    assert "-0.13" in result.output
    with xr.open_dataset(tmp_path / "r.nc") as opened:
        assert opened["footprint"].dims == ("y", "x")
        assert opened["footprint"].dtype == bool
        for name in ("nucleation_time", "nucleation_time_uncertainty", "nucleation_time_valid"):
            assert opened[name].dims == ("y", "x")
        assert opened.attrs["e_nuc"] == pytest.approx(truth["e_nuc"], abs=5e-3)
        assert opened.attrs["t_nuc"] == pytest.approx(truth["t_nuc"], rel=0.04)
        assert opened.attrs["q_nuc"] == pytest.approx(3e-9 * 3.8 / 380e-12, rel=0.04)
        assert "contact_time" in opened.attrs
        assert "contact_time_uncertainty" in opened.attrs
        assert "cycle_ce" not in opened
        for name in opened.variables:
            assert "units" in opened[name].attrs, name


def test_analyse_a_voltammogram(tmp_path):
    path, truth = make_file(tmp_path / "a.h5", "cv", movie=make_movie(104.0))
    result = invoke("analyse", path, "--out", tmp_path / "r.nc")
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "r.nc") as opened:
        np.testing.assert_allclose(opened["cycle_ce"], truth, atol=0.02)
        assert opened["cycle_charge_cathodic"].dims == ("cycle",)
        ratio = opened["cycle_charge_anodic"] / opened["cycle_charge_cathodic"]
        np.testing.assert_allclose(ratio, opened["cycle_ce"], rtol=1e-9)
        assert opened["ce"].dims == ("cycle", "y", "x")
        assert opened["ce_valid"].dtype == bool
        assert "e_nuc" not in opened.attrs
        assert "t_nuc" not in opened.attrs


def test_a_film_without_footprint_is_told(tmp_path):
    movie = make_movie(15.0)
    rng = np.random.default_rng(0)
    blank = np.clip(1500 + 12 * rng.normal(size=movie.frames.shape), 0, 4095).astype(np.uint16)
    movie = type(movie)(blank, movie.timestamps, movie.pixel_size)
    path, _ = make_file(tmp_path / "a.h5", movie=movie)
    result = invoke("analyse", path)
    assert result.exit_code not in (0, None)
    assert "footprint" in told(result) or "wetted" in told(result)
    result = invoke("analyse", path, "--no-film", "--out", tmp_path / "r.nc")
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "r.nc") as opened:
        assert opened.attrs["e_nuc"] == pytest.approx(-0.135, abs=5e-3)


def test_a_filter_that_does_not_fit_is_refused(tmp_path):
    path, _ = make_file(tmp_path / "a.h5")
    result = invoke("analyse", path, "--film-window", 99)
    assert result.exit_code not in (0, None)
    assert "frames" in told(result)


def test_mistakes(tmp_path):
    path, _ = make_file(tmp_path / "a.h5", movie=make_movie(15.0, contact=5000.0))
    result = invoke("analyse", path)
    assert result.exit_code not in (0, None)
    assert "do not overlap in time" in told(result)
    result = invoke("ingest", path, "--data", tmp_path / "data")
    assert result.exit_code not in (0, None)
    assert "do not overlap in time" in told(result)
    record = hopping_record()
    path = write_tdms(tmp_path / "a.tdms", record)
    result = invoke("ingest", path, "--data", tmp_path / "data", "--potential-channel", "V9")
    assert result.exit_code not in (0, None)
    assert "'V9' (potential) is missing" in told(result)


@pytest.mark.stack
def test_ingested_tdms_is_analysed_by_number(tmp_path):
    path = write_tdms(tmp_path / "scan.tdms", hopping_record())
    data = tmp_path / "data"
    result = invoke("ingest", path, "--data", data, "--reference-scale", "Ag QRCE")
    assert result.exit_code == 0, result.output
    assert "registered as run" in told(result)
    result = invoke("analyse", "latest", "--data", data, "--out", tmp_path / "r.nc")
    assert result.exit_code == 0, result.output
    assert "stored in Tiled: maps/landings-" in told(result)
    with xr.open_dataset(tmp_path / "r.nc") as opened:
        assert opened.sizes["landing"] == 3
        np.testing.assert_allclose(opened["cycle_ce"][:, 0], 0.5, atol=0.01)
        assert opened.attrs["reference_scale"] == "Ag QRCE"
