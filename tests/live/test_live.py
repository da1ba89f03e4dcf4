"""A run is watched through its journal while it is written, by other processes."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import event_model
import h5py
import numpy as np
import pytest
from nucleation_bluesky.callbacks.journal import Journal
from nucleation_bluesky.cli.app import app
from nucleation_bluesky.live.follower import Follower, last_curves
from nucleation_bluesky.live.picture import write_picture
from nucleation_bluesky.live.server import WatchError, watching
from nucleation_bluesky.live.state import curves_of, state_of
from playwright.sync_api import expect, sync_playwright
from skimage.io import imread
from typer.testing import CliRunner

ROLES = ("x", "y", "termination", "stop_bias", "n_samples")
CHANNELS = ("bias", "current", "height")
CHROMIUM = Path("/usr/bin/chromium")


class Run:
    """Documents of a map, one site after the other, over files of two rows."""

    def __init__(self, data, total=6):
        self.data, self.total, self.done = data, total, 0
        self.journal = Journal(data / "journal", session="test")
        block = {
            "family": "afm", "technique": "afm-nucleation-map", "sample": "S <b>1</b>",
            "roles": {r: f"ramp_{r}" for r in (*ROLES, *CHANNELS)}, "grid": {"pitch": 2e-8},
        }  # fmt: skip
        self.run = event_model.compose_run(
            metadata={"plan_name": "nucleation_map", "num_points": total, "nucleation": block}
        )
        self.journal("start", self.run.start_doc)
        keys = {
            f"ramp_{r}": {"source": "t", "dtype": "number", "shape": [], "units": ""} for r in ROLES
        } | {
            f"ramp_{c}": {"source": "t", "dtype": "array", "shape": [1, 50], "external": "STREAM:"}
            for c in CHANNELS
        }
        self.stream = self.run.compose_descriptor(
            name="primary", data_keys=keys, object_keys={"ramp": list(keys)}
        )
        self.journal("descriptor", self.stream.descriptor_doc)

    def site(self, termination=2, samples=40):
        number = self.done
        if number % 2 == 0:
            self._file(number // 2)
        with h5py.File(self.path, "a", locking=False) as file:
            for k, channel in enumerate(CHANNELS):
                row = np.full(50, np.nan)
                row[:samples] = (k + 1) * np.linspace(0, 1 + number, samples)
                file[f"/entry/data/{channel}"][number % 2] = row
        values = (number * 2e-8, 1e-6, termination, -3.5 - 0.1 * number, samples)
        data = {f"ramp_{r}": v for r, v in zip(ROLES, values, strict=True)}
        event = self.stream.compose_event(data=data, timestamps=dict.fromkeys(data, 0.0))
        self.journal("event", event)
        for bundle in self.bundles:
            datum = bundle.compose_stream_datum(
                indices={"start": number, "stop": number + 1},
                seq_nums={"start": number + 1, "stop": number + 2},
                descriptor=self.stream.descriptor_doc,
            )
            self.journal("stream_datum", datum)
        self.done += 1

    def _file(self, segment):
        self.path = self.data / f"w_{segment}.h5"
        with h5py.File(self.path, "w", libver="latest") as file:
            for channel in CHANNELS:
                file.create_dataset(f"/entry/data/{channel}", (2, 50), dtype="f4", fillvalue=np.nan)
        self.bundles = []
        for channel in CHANNELS:
            bundle = event_model.compose_stream_resource(
                mimetype="application/x-hdf5", uri=f"file://localhost{self.path}",
                data_key=f"ramp_{channel}",
                parameters={"dataset": f"/entry/data/{channel}", "chunk_shape": (1, 50)},
            )  # fmt: skip
            self.bundles.append(bundle)
            doc = {**bundle.stream_resource_doc, "run_start": self.run.start_doc["uid"]}
            self.journal("stream_resource", doc)

    def stop(self, status="success"):
        self.journal("stop", self.run.compose_stop(exit_status=status))


def test_follows_a_run_while_it_grows(tmp_path):
    follower = Follower(tmp_path)
    assert follower.poll() is None
    assert follower.state == "waiting"
    run = Run(tmp_path)
    run.site()
    live = follower.poll()
    assert follower.state == "running"
    assert len(live.points) == 1
    for termination in (1, 2, 2):
        run.site(termination, samples=30)
    live = follower.poll()
    assert [p.termination for p in live.points] == [
        "current_compliance", "completed", "current_compliance", "current_compliance",
    ]  # fmt: skip
    assert live.points[3].value == pytest.approx(-3.8)
    curves = last_curves(live)  # the second row of the second file
    np.testing.assert_allclose(curves["current"], 2 * np.linspace(0, 4, 30), rtol=1e-6)
    run.stop("abort")
    follower.poll()
    assert follower.state == "abort"
    newer = Run(tmp_path)
    newer.site()
    assert follower.poll().start["uid"] == newer.run.start_doc["uid"]
    follower.close()


def test_a_newer_run_of_as_many_sites_is_shown(tmp_path):
    follower, first = Follower(tmp_path), Run(tmp_path)
    first.site()
    assert follower.changed() is not None
    assert follower.changed() is None
    second = Run(tmp_path)
    second.site()
    shown = follower.changed()
    assert shown is not None
    assert shown.start["uid"] == second.run.start_doc["uid"]
    second.stop()
    assert follower.changed() is shown
    follower.close()


def test_state_is_sent_in_parts(tmp_path):
    run, follower = Run(tmp_path), Follower(tmp_path)
    for _ in range(3):
        run.site()
    follower.poll()
    uid = run.run.start_doc["uid"]
    assert len(state_of(follower)["points"]) == 3
    part = state_of(follower, since=2, uid=uid)
    assert (part["first"], len(part["points"]), part["total"]) == (2, 1, 6)
    assert state_of(follower, since=2, uid="another")["first"] == 0
    assert curves_of(follower.run)["bias"]["unit"] == "V"
    json.dumps(part, allow_nan=False)
    follower.close()


def test_dead_session_is_told_from_a_running_one(tmp_path, monkeypatch):
    run, follower = Run(tmp_path), Follower(tmp_path)
    run.site()
    follower.poll()
    monkeypatch.setattr("nucleation_bluesky.callbacks.journal_owner.Owner.alive", lambda _: False)
    assert follower.state == "interrupted"
    follower.close()


def test_missing_waveforms_leave_the_map(tmp_path):
    run, follower = Run(tmp_path), Follower(tmp_path)
    run.site()
    run.path.unlink()
    live = follower.poll()
    assert last_curves(live) == {}
    assert imread(write_picture(tmp_path / "live.png", live)).std() > 5
    follower.close()


def test_command_writes_a_picture(tmp_path):
    run = Run(tmp_path)
    for _ in range(4):
        run.site()
    png = tmp_path / "live.png"
    result = CliRunner().invoke(
        app, ["watch", "-d", str(tmp_path), "--png", str(png), "--once"], terminal_width=200
    )
    assert result.exit_code == 0
    assert "running: 4/6 sites" in result.output
    assert imread(png).shape[0] > 400
    empty = CliRunner().invoke(app, ["watch", "-d", str(tmp_path / "none"), "--once"])
    assert empty.exit_code == 1
    assert "there is no run" in empty.output


def get(url, host=None):
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers, answer.read().decode()


def test_page_is_served_on_the_loopback_only_to_its_own_name(tmp_path):
    run = Run(tmp_path)
    run.site()
    with watching(tmp_path) as address:
        assert address.startswith("http://127.0.0.1:")
        headers, page = get(address)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "<canvas" in page
        assert json.loads(get(f"{address}state.json")[1])["done"] == 1
        assert set(json.loads(get(f"{address}curves.json")[1])) == set(CHANNELS)
        for url, host in ((address, "evil.example"), (f"{address}state.json?since=-1", None)):
            with pytest.raises(urllib.error.HTTPError, match="400"):
                get(url, host)
        port = int(address.rsplit(":", 1)[1].strip("/"))
        with pytest.raises(WatchError, match="another --port"), watching(tmp_path, port):
            pass


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium")
def test_page_in_a_browser(tmp_path):
    run = Run(tmp_path)
    run.site()
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with watching(tmp_path) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        try:
            page = browser.new_page()
            errors = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(address)
            page.wait_for_function(
                "document.getElementById('sentence').textContent.includes('1/6')"
            )
            run.site()
            run.stop()
            expect(page.locator("#state")).to_have_text("success", timeout=15_000)
            assert "2/6" in page.inner_text("#sentence")
            assert page.inner_text("#sample").startswith("S <b>1</b>")  # text, not markup
            drawn = "c => new Set(c.getContext('2d').getImageData(0, 0, 1000, 1000).data).size"
            assert page.eval_on_selector("#map", drawn) > 3
            assert not errors
        finally:
            browser.close()
