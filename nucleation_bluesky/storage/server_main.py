"""The process of the embedded Tiled server; started by `nucleation_bluesky.storage.server`."""

import argparse
import asyncio
import gc
import json
import logging
import os
import re
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from tiled.config import parse_configs
from tiled.server.app import build_app_from_config

from nucleation_bluesky.callbacks.journal_owner import Owner
from nucleation_bluesky.storage.catalog_database import bound_caches, prepare_database
from nucleation_bluesky.storage.hdf5_adapter import BlockwiseAdapter
from nucleation_bluesky.storage.netcdf_export import serialize_netcdf
from nucleation_bluesky.storage.server_files import ServerFiles, ServerState, give_way
from nucleation_bluesky.storage.table_access import NoTurnError, Turns

CATALOG = "catalog.db"
MOST_RUNS = 1_000_000  # to which lists are counted
POLL = 0.5  # s between looks at the registered users
LAST_WORDS = 15.0  # s from the decision to end, for requests that still run
logger = logging.getLogger(__name__)


class RedactKeys(logging.Filter):
    """Keeps API keys out of the log."""

    _pattern = re.compile(r"(api_key=|[Aa]pikey )[^\s&\"']+")

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the message of a record."""
        message = record.getMessage()
        redacted = self._pattern.sub(r"\1...", message)
        if redacted != message:
            record.msg, record.args = redacted, ()
        return True


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"redact": {"()": RedactKeys}},
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "log": {
            "class": "logging.StreamHandler",
            "formatter": "plain",
            "filters": ["redact"],
        }
    },
    "root": {"handlers": ["log"], "level": "WARNING"},
    "loggers": {
        "tiled": {"level": "WARNING"},
        "uvicorn.error": {"level": "INFO"},
        "uvicorn.access": {"level": "CRITICAL"},
        __name__: {"level": "INFO"},
    },
}


def configuration(files: ServerFiles, readable: list[str]) -> dict[str, Any]:
    """Return the Tiled configuration, without the API key."""
    home = files.home
    return {
        "catalog": {
            "uri": f"sqlite:///{home / CATALOG}",
            "writable_storage": [
                f"file://localhost{home / 'files'}",
                _tables(files),
            ],
            "readable_storage": readable,
            "adapters_by_mimetype": {
                "application/x-hdf5": f"{BlockwiseAdapter.__module__}:{BlockwiseAdapter.__name__}"
            },
            # no CatalogOfBlueskyRuns spec: with it, client["maps"] would be a partial uid
        },
        "authentication": {"allow_anonymous_access": False},
        "media_types": {
            "BlueskyRun": {
                "application/json-seq": "bluesky_tiled_plugins.exporters:json_seq_exporter"
            },
            "xarray_dataset": dict.fromkeys(
                ("application/netcdf", "application/x-netcdf"),
                f"{serialize_netcdf.__module__}:{serialize_netcdf.__name__}",
            ),
        },
        # sorted lists have a next page only as far as the server counts, 100 entries by default
        "exact_count_limit": MOST_RUNS,
        "metrics": {"prometheus": False},
    }


def _tables(files: ServerFiles) -> str:
    return f"duckdb:///{files.home / 'tables.duckdb'}"


async def _busy(_request: Request, error: Exception) -> Response:
    """Answer as a server in trouble: the courier tries again without blaming the run."""
    return JSONResponse({"detail": f"the tables cannot be used now: {error}"}, status_code=503)


def _end_in_time() -> None:
    """Start the clock for the end: a request that never returns would keep the process for ever."""

    def end() -> None:
        logger.error("a request did not end within %g s, ending without it", LAST_WORDS)
        logging.shutdown()
        os._exit(1)

    deadline = threading.Timer(LAST_WORDS, end)
    deadline.daemon = True
    deadline.start()


def _listen(preferred: int) -> socket.socket:
    for port in (preferred, 0):
        # named TCP, for asyncio to switch Nagle's algorithm off: answers wait 40 ms otherwise
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            sock.close()
            continue
        return sock
    raise OSError("no free port on 127.0.0.1")


async def _leave_after_last_user(server: uvicorn.Server, files: ServerFiles, linger: float) -> None:
    last_seen = time.monotonic()
    while not server.should_exit:
        if not files.home.is_dir():
            logger.error("the data directory is gone, stopping")
            server.should_exit = True
        elif files.users.any_alive():
            last_seen = time.monotonic()
        elif time.monotonic() - last_seen > linger and _take_leave(files):
            logger.info("no user left, stopping")
            server.should_exit = True
        await asyncio.sleep(POLL)


def _take_leave(files: ServerFiles) -> bool:
    """Announce the end; False where somebody has come, or is just coming."""
    state = files.state()
    try:
        with files.lock(time.monotonic()):
            if state is None or files.users.any_alive():
                return state is None
            files.write_state(replace(state, stopping=True))
    except TimeoutError:
        return False
    return True


async def _serve(files: ServerFiles, readable: list[str], linger: float) -> None:
    files.config.write_text(yaml.safe_dump(configuration(files, readable), sort_keys=False))
    turns = Turns(_tables(files))
    config = parse_configs(files.config)
    config.authentication.single_user_api_key = files.api_key()
    app = build_app_from_config(config)
    app.add_exception_handler(NoTurnError, _busy)
    previous = files.state()
    sock = _listen(previous.port if previous else 0)
    port = sock.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=LOGGING, access_log=False, timeout_graceful_shutdown=5)
    )
    files.write_state(ServerState(Owner.current().to_dict(), port, readable))
    give_way()
    # what is there now stays: the collector goes through what requests leave, and so often enough
    gc.collect()
    gc.freeze()
    watch = asyncio.create_task(_leave_after_last_user(server, files, linger))

    def leave(_: asyncio.Task[None]) -> None:
        server.should_exit = True  # a server that nobody watches would never end
        turns.end()
        _end_in_time()

    watch.add_done_callback(leave)
    try:
        await server.serve(sockets=[sock])
    finally:
        server.should_exit = True
        await watch


def main() -> None:
    """Serve until told to stop or no registered user is left."""
    parser = argparse.ArgumentParser(description="Embedded Tiled server of a data directory.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--readable", type=json.loads, default=[])
    parser.add_argument("--linger", type=float, default=5.0)
    options = parser.parse_args()
    files = ServerFiles(options.data)
    files.prepare()
    bound_caches()
    prepare_database(files.home / CATALOG)
    asyncio.run(_serve(files, options.readable, options.linger))


if __name__ == "__main__":
    main()
