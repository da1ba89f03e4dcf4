import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from bluesky import RunEngine

sys.path.insert(0, str(Path(__file__).parent))

from nucleation_bluesky.callbacks.journal import Journal
from nucleation_bluesky.storage import courier_process, server
from nucleation_bluesky.storage.courier_files import CourierFiles
from nucleation_bluesky.storage.ingest import ingest_file
from nucleation_bluesky.storage.server_files import ServerFiles
from tests.storage.fake_ramp import wait_until


class House:
    """A data directory with server, courier, RunEngine and journal."""

    def __init__(self, data: Path):
        self.data = data
        self.courier = courier_process.start(data)
        self.info = server.ensure_server(data)
        self.RE = RunEngine({})
        self.journal = Journal(data / "journal", session="test")
        self.journal.attach(self.RE)
        self.waveforms = data / "waveforms"

    @property
    def client(self):
        return server.connect(self.info)

    @property
    def server_pid(self) -> int:
        return ServerFiles(self.data).state().owner["pid"]

    def ingest(self, path: Path) -> str:
        """Ingest a file and wait for its run in Tiled; return its uid."""
        done = ingest_file(path, journal_dir=self.data / "journal", waveform_dir=self.waveforms)
        files = CourierFiles(self.data / "journal")
        wait_until(
            lambda: files.delivered(done.journal) or files.quarantined(done.journal), 90, "delivery"
        )
        assert files.quarantined(done.journal) is None
        return done.uid

    def close(self):
        self.courier.stop()
        server.release_server(self.data)
        kill(self.server_pid)


def kill(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        os.kill(pid, signal.SIGCONT)
        process.kill()
        process.wait(10)
    except psutil.NoSuchProcess:
        pass


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    made = House(tmp_path_factory.mktemp("data"))
    yield made
    made.close()
