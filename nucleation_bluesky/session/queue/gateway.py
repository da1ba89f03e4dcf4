"""The door to the queue: passes on what its list allows, and refuses the rest by name.

A process of its own: ``python -m nucleation_bluesky.session.queue.gateway <data directory>``.
Keys come from the queue's files, never from the command line.
"""

import json
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq
from bluesky_queueserver import CommTimeoutError
from bluesky_queueserver.manager.comms import ZMQCommSendThreads

from nucleation_bluesky.session.channel_access import LOOPBACK
from nucleation_bluesky.session.queue.files import QueueFiles

logger = logging.getLogger(__name__)

ALLOWED = frozenset(
    {
        "ping", "status", "config_get", "queue_get", "plans_allowed", "plans_existing",
        "devices_allowed", "devices_existing", "permissions_reload", "permissions_get",
        "history_get", "history_clear", "environment_open", "environment_close",
        "environment_destroy", "environment_update", "task_result", "task_status",
        "queue_mode_set", "queue_item_add", "queue_item_add_batch", "queue_item_update",
        "queue_item_get", "queue_item_remove", "queue_item_remove_batch", "queue_item_move",
        "queue_item_move_batch", "queue_item_execute", "queue_clear", "queue_start", "queue_stop",
        "queue_stop_cancel", "queue_autostart", "re_pause", "re_resume", "re_stop", "re_abort",
        "re_halt", "re_runs", "re_metadata", "lock", "lock_info", "unlock", "manager_stop",
    }
)  # fmt: skip
REASONS = {
    "script_upload": "it would run any code with the instrument's rights; put plans into a package "
    "and restart the environment",
    "function_execute": "functions are not offered; queue a plan",
    "permissions_set": "permissions are those of the session; change its configuration",
    "manager_kill": "use 'nucleation-bluesky queue down --now'",
}
MANAGER_TIMEOUT = 8.0  # s
POLL = 500  # ms between two looks at the request to end
MAX_REQUEST = 4_000_000  # bytes


def refusal(method: str) -> dict[str, Any] | None:
    """Return the answer to a method that is not passed on, None for one that is."""
    if method in ALLOWED:
        return None
    why = REASONS.get(method, "it is not one of the queue's methods")
    return {"success": False, "msg": f"'{method[:40]}' is refused here: {why}"}


def answer(raw: bytes, forward: Callable[[str, dict[str, Any]], Any]) -> dict[str, Any]:
    """Return the answer to one request.

    Parameters
    ----------
    raw : bytes
        JSON object with ``method`` and ``params``.
    forward : callable (method, params)
        Asks the manager.
    """
    try:
        request = json.loads(raw)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or set(request) - {"method", "params"}:
        return {"success": False, "msg": "a request is a JSON object with 'method' and 'params'"}
    method, params = request.get("method"), request.get("params") or {}
    if not isinstance(params, dict) or not isinstance(method, str):
        return {"success": False, "msg": "'method' is a name and 'params' an object"}
    refused = refusal(method)
    if refused is not None:
        logger.warning("refused: %s", method[:40])
        return refused
    try:
        return forward(method, params)
    except CommTimeoutError:
        return {"success": False, "msg": "the RE manager does not answer; see queue status"}


def serve(files: QueueFiles, stopped: Callable[[], bool]) -> None:
    """Serve until ``stopped``.

    Raises
    ------
    zmq.ZMQError
        If the port is taken.
    """
    keys, state = files.keys(), files.state()
    if state is None:
        raise FileNotFoundError(f"there is no queue in {files.home}")
    manager = ZMQCommSendThreads(
        zmq_server_address=f"tcp://{LOOPBACK}:{state.manager_port}",
        timeout_recv=int(MANAGER_TIMEOUT * 1000),
        server_public_key=keys.manager_public,
    )

    def forward(method: str, params: dict[str, Any]) -> Any:
        return manager.send_message(method=method, params=params)

    with zmq.Context() as context, context.socket(zmq.REP) as door:
        door.set(zmq.CURVE_SERVER, 1)
        door.set(zmq.CURVE_SECRETKEY, keys.gateway_private.encode())
        door.set(zmq.MAXMSGSIZE, MAX_REQUEST)
        door.set(zmq.LINGER, 100)
        door.bind(f"tcp://{LOOPBACK}:{state.control_port}")
        while not stopped():
            if door.poll(POLL):
                door.send_json(answer(door.recv(), forward))
    manager.close()


def main() -> None:
    """Run as a process until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    ended = False

    def end(*_: Any) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    serve(QueueFiles(Path(sys.argv[1])), lambda: ended)


if __name__ == "__main__":
    main()
