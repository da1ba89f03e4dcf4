"""The stock manager, made patient: a worker that is busy for a second is not a lost one."""

import asyncio
import logging
import multiprocessing
import threading

import pytest
from bluesky_queueserver import CommTimeoutError
from bluesky_queueserver.manager.comms import PipeJsonRpcReceive, PipeJsonRpcSendAsync
from nucleation_bluesky.session.queue.manager import (
    STALLED,
    PatientPipe,
    PatientWatchdog,
    keep_out_of_logs,
)


async def ask_a_busy_worker(kind):
    """Ask what is answered after a second only."""
    ours, theirs = multiprocessing.Pipe()
    worker = PipeJsonRpcReceive(theirs, use_json=False, name="worker")
    worker.add_method(lambda: threading.Event().wait(1.0) or "report", "request_plan_report")
    worker.start()
    manager = kind(ours, timeout=0.5, use_json=False, name="manager")
    manager.start()
    try:
        return await manager.send_msg("request_plan_report")
    finally:
        manager.stop()
        worker.stop()


def test_the_report_of_a_busy_worker_is_not_lost():
    with pytest.raises(CommTimeoutError):  # why it is needed
        asyncio.run(ask_a_busy_worker(PipeJsonRpcSendAsync))
    assert asyncio.run(ask_a_busy_worker(PatientPipe)) == "report"


def test_a_manager_that_is_held_up_is_not_replaced():
    watchdog = PatientWatchdog(config_worker={}, config_manager={}, log_level=logging.WARNING)
    stock = PatientWatchdog.__mro__[1](config_worker={}, config_manager={})
    assert stock._heartbeat_timeout < watchdog._heartbeat_timeout == STALLED


def test_secrets_are_kept_out_of_logs(caplog):
    before = logging.getLogRecordFactory()
    try:
        keep_out_of_logs(["hunter2"])
        logging.getLogger("queue").warning("address %s", ":hunter2@127.0.0.1")
    finally:
        logging.setLogRecordFactory(before)
    assert caplog.messages == ["address :***@127.0.0.1"]
