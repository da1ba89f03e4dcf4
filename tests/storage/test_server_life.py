"""The embedded server does not outlive its data directory."""

import shutil

import psutil
from nucleation_bluesky.storage import server
from nucleation_bluesky.storage.server_files import ServerFiles


def test_server_ends_when_its_directory_is_removed(tmp_path):
    data = tmp_path / "data"
    server.ensure_server(data)
    state = ServerFiles(data).state()
    assert state is not None
    process = psutil.Process(state.owner["pid"])
    shutil.rmtree(data)
    process.wait(20)  # raises where it does not end
