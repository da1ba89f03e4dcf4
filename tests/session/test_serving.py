"""Nested contexts share one server, which ends after the outermost."""

import psutil
from nucleation_bluesky.session.access import serving
from nucleation_bluesky.session.config import Configuration
from nucleation_bluesky.storage.server_files import ServerFiles


def test_inner_context_leaves_the_server_to_the_outer(tmp_path):
    config = Configuration(data_directory=tmp_path)
    files = ServerFiles(tmp_path.resolve())
    with serving(config) as outer:
        with serving(config) as inner:
            assert inner.uri == outer.uri
        assert files.users.any_alive()
        state = files.state()
        assert state is not None
        process = psutil.Process(state.owner["pid"])
    assert not files.users.any_alive()
    process.wait(30)
