"""A foreign file becomes a run, a result, files of other programs, and pages in a browser."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

import gwyfile
import numpy as np
import pandas as pd
import pytest
import tifffile
import xarray as xr
from nexusformat.nexus import nxload
from nucleation_bluesky.cli.app import app
from nucleation_bluesky.exchange.export import FORMATS
from nucleation_bluesky.session.access import serving
from nucleation_bluesky.session.config import Configuration
from nucleation_bluesky.session.config_export import Format
from nucleation_bluesky.storage.neutral_writer import write_ivz
from nucleation_bluesky.storage.results import maps
from nucleation_bluesky.storage.runs import find_runs, open_run
from nucleation_bluesky.storage.server import connect
from playwright.sync_api import expect, sync_playwright
from tests.exchange.ibw import write_ibw
from tests.support.ramp_samples import make_ramps, make_topographies
from typer.testing import CliRunner

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A served data directory with one ingested, analysed map."""
    directory = tmp_path_factory.mktemp("data")
    ramps, _ = make_ramps(6, 7, sample_rate=500)
    source = tmp_path_factory.mktemp("in") / "old lab.h5"
    write_ivz(source, ramps, make_topographies(ramps, pixels=64))
    with serving(Configuration(data_directory=directory)) as server:
        run("ingest", source, "--sample", "old", "-d", directory)
        run("analyse", "latest", "-d", directory)
        yield directory, server


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments], terminal_width=400)
    assert result.exit_code == 0, result.output
    return result.output


def test_export_of_a_run(data, tmp_path):
    directory, server = data
    formats = [part for name in FORMATS for part in ("-f", name)]
    run("export", "latest", *formats, "--out", tmp_path, "-d", directory)
    sites = maps(open_run(connect(server), -1))
    by_suffix = {p.suffix: p for p in tmp_path.iterdir() if "topography" not in p.name}
    onset = sites["onset_bias_map"].values
    fields = gwyfile.util.get_datafields(gwyfile.load(str(by_suffix[".gwy"])))
    assert {"onset_bias", "topography before", "topography after"} <= set(fields)
    known = np.isfinite(onset)
    np.testing.assert_allclose(fields["onset_bias"].data[::-1][known], onset[known])
    root = nxload(str(by_suffix[".nxs"]))
    assert root.get_default().nxsignal.nxname == "onset_bias"
    np.testing.assert_allclose(root["entry/onset_bias"].nxsignal.nxvalue, onset)
    with xr.open_dataset(by_suffix[".nc"]) as result:
        np.testing.assert_allclose(result["onset_bias_map"], onset)
        assert result["onset_bias_map"].attrs["units"] == "V"
    table = pd.read_csv(by_suffix[".csv"])
    np.testing.assert_allclose(table["onset_bias (V)"], sites["onset_bias"].values, rtol=1e-8)
    assert tifffile.imread(by_suffix[".tif"]).shape[-2:] == onset.shape
    lines = [json.loads(line) for line in by_suffix[".jsonl"].read_text().splitlines()]
    assert [lines[0][0], lines[-1][0]] == ["start", "stop"]


def test_export_as_configured(data, tmp_path):
    directory, _ = data
    config = tmp_path / "nucleation.toml"
    config.write_text(
        f'data_directory = "{directory}"\n'
        f'[export]\nformats = ["csv", "documents"]\ndirectory = "{tmp_path / "out"}"\n'
    )
    run("export", "latest", "--config", config)
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".csv", ".jsonl"}
    run("export", "latest", "-f", "gwy", "--out", tmp_path / "other", "--config", config)
    assert {path.suffix for path in (tmp_path / "other").iterdir()} == {".gwy"}
    assert set(get_args(Format)) == set(FORMATS)


def test_runs_are_filtered(data):
    directory, server = data
    (info,) = find_runs(connect(server), sample="old")
    start = {**info.client.metadata["start"], "operator": "ada"}
    info.client.update_metadata({"start": start}, drop_revision=True)
    day = datetime.fromtimestamp(info.time).date()

    def listed(*options):
        return info.uid[:8] in run("runs", *options, "-d", directory)

    assert listed()
    for option, right, wrong in (
        ("--sample", "old", "new one"),
        ("--technique", info.technique, "none"),
        ("--operator", "ada", "bob"),
        ("--state", "success", "fail"),
        ("--since", day, day + timedelta(days=1)),
        ("--until", day, day - timedelta(days=1)),
    ):
        assert listed(option, right), option
        assert not listed(option, wrong), option
    both = ("--sample", "old", "--operator", "ada", "--since", day, "--state", "success")
    assert listed(*both)
    assert not listed(*both, "--technique", "none")
    refused = CliRunner().invoke(app, ["runs", "--state", "over", "-d", str(directory)])
    assert refused.exit_code == 1
    assert "is not a state of a run" in refused.output


def test_import_of_an_image(data, tmp_path):
    directory, server = data
    height = np.random.default_rng(4).normal(size=(16, 12, 1)) * 1e-9
    path = tmp_path / "before.ibw"
    write_ibw(path, height, steps=(1e-8, 1e-8), labels=(b"HeightRetrace",), note=b"ScanRate: 1\r")
    assert "registered as" in run("import", path, "--sample", "new", "-d", directory)
    assert "was registered before" in run("import", path, "--sample", "new", "-d", directory)
    (info,) = find_runs(connect(server), sample="new")
    stream = info.client["primary"]
    image = np.asarray(stream["topography"][:]).reshape(12, 16)
    np.testing.assert_allclose(image, height[:, :, 0].T, rtol=1e-6)
    kept = info.client.metadata["start"]["nucleation"]["ingested"]["attributes"]
    assert kept["ScanRate"] == "1"


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium")
def test_runs_and_maps_in_the_web_pages(data):
    _, server = data
    client = connect(server)
    (info,) = find_runs(client, sample="old")
    key = next(iter(client["maps"]))
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        try:
            headers = {"Authorization": f"Apikey {server.api_key}"}
            page = browser.new_context(extra_http_headers=headers).new_page()
            page.goto(f"{server.uri}/ui/browse/")
            expect(page.get_by_text(info.uid)).to_be_visible(timeout=20_000)
            page.goto(f"{server.uri}/ui/browse/maps/{key}/onset_bias_map")
            picture = page.locator("img[src*='onset_bias_map'], img[src^='blob:'], canvas").first
            expect(picture).to_be_visible(timeout=20_000)
            stranger = browser.new_context().new_page()
            answer = stranger.request.get(f"{server.uri}/api/v1/search/")
            assert answer.status == 401  # nobody reads without the key
        finally:
            browser.close()
