"""Ask a running queue: requests to its manager, and what of it runs."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nucleation_bluesky.session.channel_access import LOOPBACK
from nucleation_bluesky.session.queue.files import QueueFiles
from nucleation_bluesky.session.queue.parts import QueueError

CLOSE_TIMEOUT = 60.0
POLL = 0.1
_NEVER = threading.Event()
PARTS = ("gateway", "manager", "redis")  # in the order in which they end


@dataclass(frozen=True)
class Status:
    """What runs.

    Parameters
    ----------
    running : dict of str to int
        Process id by part.
    manager : dict or None
        The manager's own status, None where it does not answer.
    worker_lost : bool
        The manager thinks that there is a worker, and it has gone.
    gone : tuple of str
        Parts that were started, were not ended and have gone.
    """

    running: dict[str, int]
    manager: dict[str, Any] | None
    worker_lost: bool
    gone: tuple[str, ...] = ()


class QueueClient:
    """What is asked of the queue of a data directory.

    Parameters
    ----------
    files : QueueFiles
        Of the data directory.
    """

    def __init__(self, files: QueueFiles) -> None:
        self.files = files

    def ask(self, method: str, *, door: bool = True, timeout: float = 10.0, **params: Any) -> Any:
        """Send one request.

        Parameters
        ----------
        method : str
            Of the manager's.
        door : bool
            Through the gateway, as clients do; False asks the manager itself.
        timeout : float
            s.
        **params
            Of the method.

        Raises
        ------
        QueueError
            If nobody answers, or the request is refused.
        """
        found = self.send(method, params, door=door, timeout=timeout)
        if found is None:
            raise QueueError("the queue does not answer; see 'nucleation-bluesky queue status'")
        if not found.get("success", True):
            raise QueueError(str(found.get("msg", "refused")))
        return found

    def send(
        self, method: str, params: dict[str, Any], *, door: bool, timeout: float
    ) -> dict[str, Any] | None:
        """Send one request; None where nobody answers in time."""
        from bluesky_queueserver import CommTimeoutError  # noqa: PLC0415
        from bluesky_queueserver.manager.comms import ZMQCommSendThreads  # noqa: PLC0415

        state = self.files.state()
        if state is None:
            raise QueueError("there is no queue here; start it with 'nucleation-bluesky queue up'")
        keys = self.files.keys()
        port = state.control_port if door else state.manager_port
        client = ZMQCommSendThreads(
            zmq_server_address=f"tcp://{LOOPBACK}:{port}",
            timeout_recv=int(timeout * 1000),
            server_public_key=keys.gateway_public if door else keys.manager_public,
        )
        try:
            return client.send_message(method=method, params=params)
        except CommTimeoutError:
            return None
        finally:
            client.close()

    def status(self) -> Status:
        """Look at processes, manager and worker; changes nothing."""
        state = self.files.state()
        if state is None:
            return Status({}, None, worker_lost=False)
        found = {name: state.process(name) for name in PARTS}
        running = {name: process.pid for name, process in found.items() if process is not None}
        told = None
        if "manager" in running:
            told = self.send("status", {}, door="gateway" in running, timeout=5.0)
        worker = self.files.worker()
        exists = bool(told and told["worker_environment_exists"])
        lost = exists and worker is not None and not worker.alive()
        gone = tuple(name for name in PARTS if name in state.processes and name not in running)
        return Status(running, told, lost, gone)

    def settled(self, timeout: float) -> dict[str, Any]:
        """Wait until the environment is open or closed, not in between."""
        deadline = time.monotonic() + timeout
        while True:
            pause()
            found = self.ask("status")
            busy = ("creating_environment", "closing_environment", "destroying_environment")
            if found["manager_state"] not in busy:
                return found
            if time.monotonic() > deadline:
                raise QueueError(f"the environment is still in '{found['manager_state']}'")

    def until(self, reached: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for a state of the manager, as long as closing may take."""
        deadline = time.monotonic() + CLOSE_TIMEOUT
        while not reached(self.ask("status")) and time.monotonic() < deadline:
            pause()


def pause() -> None:
    """Wait a little."""
    _NEVER.wait(POLL)
