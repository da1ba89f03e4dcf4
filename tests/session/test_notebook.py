"""The session in the kernel of a notebook: plots, the live map, and an orderly end."""

import base64
import json
import os
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from jupyter_client.manager import start_new_kernel
from nucleation_bluesky.live.notebook import NotebookMap
from nucleation_bluesky.live.server import WatchError

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
PNG = b"\x89PNG"
OPEN = """
from nucleation_bluesky.session import start
globals().update(start(tiled=False).names())
"""
MAP = """
live = watch(0.2)
uid, = RE(nucleation_map(afm, rows=5, cols=5, pitch=50e-9, image_before_after=False))
"""


@pytest.fixture
def cell(tmp_path):
    """Run a cell in a kernel, as a notebook does; returns what appears below it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EPICS_", "NUCLEATION_"))}
    kept.pop("MPLBACKEND")  # the kernel chooses the notebook's own
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path), env=kept)

    def run(code):
        below = []
        reply = client.execute_interactive(code, timeout=120, output_hook=below.append)
        assert reply["content"]["status"] == "ok", reply["content"]
        return below

    run.client = client
    yield run
    client.stop_channels()
    manager.shutdown_kernel()


def pictures(messages, kind):
    data = [m["content"]["data"] for m in messages if m["msg_type"] == kind]
    return [base64.b64decode(d["image/png"]) for d in data if "image/png" in d]


def test_a_map_in_a_notebook(cell, tmp_path):
    cell(OPEN)
    (shown,) = [m for m in cell("overview") if m["msg_type"] == "execute_result"]
    assert "nucleation_map" in shown["content"]["data"]["text/plain"]
    below = cell(MAP)
    (placed,) = [m for m in below if m["content"].get("transient", {}).get("display_id")
                 and m["msg_type"] == "display_data"]  # fmt: skip
    deadline = time.monotonic() + 60
    while not pictures(below, "update_display_data"):  # its process is just starting
        assert time.monotonic() < deadline
        below.append(cell.client.get_iopub_msg(timeout=60))
    drawn = [m for m in below if m["msg_type"] == "update_display_data"]
    same = {m["content"]["transient"]["display_id"] for m in [placed, *drawn]}
    assert len(same) == 1  # one picture that is replaced
    assert all(png.startswith(PNG) for png in pictures(below, "update_display_data"))
    plotted = cell("import matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    assert [png[:4] for png in pictures(plotted, "display_data")] == [PNG]

    def mine():
        return [p for p in psutil.process_iter(["cmdline"])
                if any(str(tmp_path) in word for word in p.info["cmdline"] or [])]  # fmt: skip

    assert len(mine()) == 1  # the live map's
    (former,) = mine()
    with pytest.raises(AssertionError, match=r"0\.05 s; give 0\.2 s or more"):
        cell("watch(0.05)")
    assert mine() == [former]
    cell("live = watch()")
    (latter,) = mine()  # it takes the place of the other
    assert latter != former
    cell("live.stop()")
    assert not mine()


def test_a_live_map_that_ends_says_why(cell, tmp_path):
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "20260101-000000.open.jsonl").mkdir()  # cannot be read as a file
    cell(f"from pathlib import Path\nfrom nucleation_bluesky.live.notebook import NotebookMap\n"
         f"live = NotebookMap(Path({str(tmp_path)!r}), 0.2)")  # fmt: skip
    shown = cell.client.get_iopub_msg(timeout=60)
    while shown["msg_type"] != "update_display_data":
        shown = cell.client.get_iopub_msg(timeout=60)
    assert "the live map has ended: IsADirectoryError" in shown["content"]["data"]["text/html"]


def test_a_session_that_is_killed_leaves_nothing(cell, tmp_path):
    """Neither a process nor a file."""
    before = set(Path(tempfile.gettempdir()).iterdir())
    below = cell(
        "import os\nfrom pathlib import Path\n"
        "from nucleation_bluesky.live.notebook import NotebookMap\n"
        f"live = NotebookMap(Path({str(tmp_path)!r}), 0.2)\n"
        "[os.getpid(), live._process.pid]"
    )
    (told,) = [m for m in below if m["msg_type"] == "execute_result"]
    kernel, drawing = json.loads(told["content"]["data"]["text/plain"])
    process = psutil.Process(drawing)
    psutil.Process(kernel).kill()
    process.wait(30)
    new = {p.name for p in set(Path(tempfile.gettempdir()).iterdir()) - before}
    assert not [name for name in new if "live" in name]


def test_a_terminal_is_told_where_to_look(tmp_path):
    with pytest.raises(WatchError, match="nucleation-bluesky watch"):
        NotebookMap(tmp_path)
