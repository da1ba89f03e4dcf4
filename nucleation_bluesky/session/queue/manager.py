"""Run the stock RE manager, made patient, and with its log kept free of the Redis password.

The manager gives its worker half a second to answer. On a busy machine it would lose the report of
a plan that has ended, and stop the queue; or fail to open an environment whose worker has started.
It logs its settings, and publishes its log on the console socket.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from bluesky_queueserver.manager import manager as stock_manager
from bluesky_queueserver.manager import start_manager as stock_start
from bluesky_queueserver.manager.comms import PipeJsonRpcSendAsync

PATIENCE = 3.0  # s for an answer of worker or watchdog; the gateway waits longer than twice that
STALLED = 30.0  # s without a heartbeat of the manager before it is replaced


class PatientPipe(PipeJsonRpcSendAsync):
    """The manager's way to its worker and to its watchdog, with a longer wait for answers."""

    def __init__(self, conn: Any, *, timeout: float = 0.0, **options: Any) -> None:
        super().__init__(conn, timeout=max(timeout, PATIENCE), **options)


class PatientWatchdog(stock_start.WatchdogProcess):
    """Replaces a manager that has stalled, not one that a busy machine holds up."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._heartbeat_timeout = STALLED


def keep_out_of_logs(secrets: Sequence[str]) -> None:
    """Replace secrets in every log record of this process and its children."""
    make = logging.getLogRecordFactory()

    def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = make(*args, **kwargs)
        text = made.getMessage()
        for secret in secrets:
            if secret in text:
                made.msg, made.args = text.replace(secret, "***"), ()
                text = made.msg
        return made

    logging.setLogRecordFactory(record)


def main() -> None:
    """Run; the only argument is the manager's configuration file."""
    path = Path(sys.argv[1])
    network = yaml.safe_load(path.read_text(encoding="utf-8"))["network"]
    keep_out_of_logs([network["redis_addr"], network["zmq_private_key"]])
    # neither wait can be configured
    stock_manager.PipeJsonRpcSendAsync = PatientPipe
    stock_start.WatchdogProcess = PatientWatchdog
    sys.argv[1:] = ["--config", str(path)]
    stock_start.start_manager()


if __name__ == "__main__":
    main()
