"""Run the stock RE manager, with its log kept free of the Redis password.

The manager logs its settings, and publishes its log on the console socket.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from bluesky_queueserver.manager.start_manager import start_manager


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
    sys.argv[1:] = ["--config", str(path)]
    start_manager()


if __name__ == "__main__":
    main()
