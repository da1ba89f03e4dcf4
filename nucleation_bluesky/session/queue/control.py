"""Bring the queue up, look at it, recover it from a dead worker, take it down."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from nucleation_bluesky.session.channel_access import LOOPBACK, free_port
from nucleation_bluesky.session.config import Configuration
from nucleation_bluesky.session.queue.client import (
    CLOSE_TIMEOUT,
    PARTS,
    QueueClient,
    Status,
)
from nucleation_bluesky.session.queue.files import QueueFiles, State
from nucleation_bluesky.session.queue.one_command import one_command
from nucleation_bluesky.session.queue.parts import (
    QueueError,
    require_packages,
    start_gateway,
    start_manager,
    start_redis,
)
from nucleation_bluesky.session.queue.permissions import permissions
from nucleation_bluesky.session.queue.redis_access import await_redis, key_prefix, read_address

START_TIMEOUT = 60.0
PATIENCE = 3.0  # s for a Redis that was there before
OPEN_TIMEOUT = 180.0


class Queue(QueueClient):
    """The queue of a data directory.

    Parameters
    ----------
    config : Configuration
        Of the session.
    source : Path or None
        File it was read from, for the worker.
    say : callable
        Receives short lines.
    """

    def __init__(
        self, config: Configuration, source: Path | None, say: Callable[[str], None]
    ) -> None:
        require_packages()
        super().__init__(QueueFiles(config.data_directory))
        self.config, self._source, self._say = config, source, say

    # ---- up -------------------------------------------------------------------------------------

    def up(self, *, open_environment: bool = True) -> None:
        """Start what is not running.

        Raises
        ------
        QueueError
            If a part does not start; the message holds the end of its log.
        """
        self.files.prepare()
        with self._alone():
            self._up(open_environment=open_environment)

    def _alone(self, *, end: bool = False) -> contextlib.AbstractContextManager[None]:
        return one_command(self.files.lock, self._say, end=end)

    def _up(self, *, open_environment: bool = True) -> None:
        from nucleation_bluesky.session.session_plans import plan_names  # noqa: PLC0415 - slow

        files = self.files
        keys = files.keys()
        state = files.state()
        if (state is None or state.process("manager") is None) and (left := self._remains()):
            raise QueueError(
                f"the manager has died and left its worker behind (process {left[0].pid}); "
                "'nucleation-bluesky queue recover' ends it and brings the queue up again"
            )
        if state is None or not any(state.process(name) for name in PARTS):
            state = self._new_state()
        address = self._redis_address(state)  # refused before anything is started
        if not state.redis_port:
            await_redis(address, PATIENCE)
        plans = plan_names(self.config.instrument.family)
        files.write_yaml(files.permissions, permissions(plans, [self.config.instrument.name]))
        if state.redis_port and state.process("redis") is None:
            start_redis(files, state, keys)
        if state.process("gateway") is None:
            start_gateway(files, state)  # it need not wait for the manager
        if state.process("manager") is None:
            self._start_manager(state)
        self._await("manager", door=False)
        self._await("gateway", door=True)
        self._write_client_environment(state)
        if open_environment:
            self.open_environment()

    def _start_manager(self, state: State) -> None:
        address, keys, own = self._redis_address(state), self.files.keys(), bool(state.redis_port)
        await_redis(
            address, START_TIMEOUT if own else PATIENCE, lambda: self._require_alive("redis")
        )
        prefix = key_prefix(keys, own=own)
        start_manager(self.files, state, keys, address, prefix, self._source)
        self._await("manager", door=False)
        mode = {"ignore_failures": self.config.queue.ignore_failures}
        self.ask("queue_mode_set", door=False, mode=mode)

    def _new_state(self) -> State:
        queue = self.config.queue
        return State(
            control_port=queue.control_port or free_port(),
            info_port=queue.info_port or free_port(),
            manager_port=free_port(),
            redis_port=0 if queue.redis_file else free_port(),
        )

    def _redis_address(self, state: State) -> str:
        named = self.config.queue.redis_file
        if named is None:
            return f":{self.files.keys().redis_password}@{LOOPBACK}:{state.redis_port}/0"
        return read_address(named)

    def _await(self, name: str, *, door: bool) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while self.send("ping", {}, door=door, timeout=1.0) is None:
            self._require_alive(name)
            if time.monotonic() > deadline:
                tail = self.files.log_tail(name)
                raise QueueError(f"the {name} does not answer; its log ends with:\n{tail}")

    def _require_alive(self, name: str) -> None:
        state = self.files.state()
        if state is not None and name in state.processes and state.process(name) is None:
            tail = self.files.log_tail(name)
            raise QueueError(f"the {name} has ended; its log ends with:\n{tail}")

    def _write_client_environment(self, state: State) -> None:
        key = self.files.keys().gateway_public
        self.files.write(
            self.files.client_environment,
            f"export QSERVER_ZMQ_CONTROL_ADDRESS='tcp://{LOOPBACK}:{state.control_port}'\n"
            f"export QSERVER_ZMQ_INFO_ADDRESS='tcp://{LOOPBACK}:{state.info_port}'\n"
            f"export QSERVER_ZMQ_PUBLIC_KEY='{key}'\n",
        )

    def open_environment(self) -> None:
        """Open the worker's environment: the session with its instrument.

        Raises
        ------
        QueueError
            If it does not open, with the reason from the worker.
        """
        if self.ask("status")["worker_environment_exists"]:
            return
        self.ask("environment_open")
        found = self.settled(OPEN_TIMEOUT)
        if not found["worker_environment_exists"]:
            raise QueueError(f"the session did not open: {self._why_not_open()}")

    def _why_not_open(self) -> str:
        lines = self.files.log_tail("manager", 200).splitlines()
        said = [line for line in lines if "Error while executing script" in line]
        return said[-1].split(": ", 1)[-1] if said else f"see {self.files.logs / 'manager.log'}"

    # ---- recovery -------------------------------------------------------------------------------

    def recover(self) -> list[dict[str, Any]]:
        """Replace what has died: a worker, or the manager with all that depends on it.

        The item of a dead worker fails when it is run again. That of a dead manager stands in the
        history as 'unknown' and is not run again.

        Returns
        -------
        list of dict
            The queue's items.

        Raises
        ------
        QueueError
            If nothing has died, or its environment cannot be replaced.
        """
        with self._alone():
            return self._recover()

    def _recover(self) -> list[dict[str, Any]]:
        found = self.status()
        if found.gone:
            if "manager" in found.gone:
                _end(*self._remains())
            self._up()
            if not self.status().worker_lost:  # the gateway and the worker may die in one night
                return list(self.ask("queue_get")["items"])
        elif not found.worker_lost:
            raise QueueError("neither worker nor manager is lost; nothing was changed")
        self.ask("environment_destroy")
        self.settled(CLOSE_TIMEOUT)
        # killed in mid-sentence, it may have left half a message to the manager, or the lock of
        # the console's queue taken: pipes and locks begin anew, the items are in Redis
        state = self.files.state()
        if state is not None and (manager := state.process("manager")) is not None:
            _end(manager)
            self._start_manager(state)
        self.open_environment()
        return list(self.ask("queue_get")["items"])

    def _remains(self) -> list[psutil.Process]:
        """Find what a manager has left behind: its children, forked, have its command line."""
        mine = str(self.files.manager_conf)
        found = psutil.process_iter(["cmdline", "status"])
        return [p for p in found if mine in (p.info["cmdline"] or [])
                and p.info["status"] != psutil.STATUS_ZOMBIE]  # fmt: skip

    # ---- down -----------------------------------------------------------------------------------

    def down(self, *, now: bool = False) -> None:
        """End our processes, in order; the queue itself stays in Redis' file.

        Parameters
        ----------
        now : bool
            Also while a plan runs: it is aborted, its current site is burned. Also while another
            command is at work: it is ended.

        Raises
        ------
        QueueError
            If ``now`` is not given and a plan runs, or another command is at work.
        """
        with self._alone(end=now):
            self._down(now=now)

    def _down(self, *, now: bool) -> None:
        state = self.files.state()
        if state is None:
            return
        status = self.status()
        if status.manager is not None:
            self._close_environment(status, now=now)
        elif "manager" in status.running:
            self._say("the manager does not answer; ending it")
        for name in PARTS:
            process = state.process(name)
            if process is not None:
                _end(process)
        _end(*self._remains())  # of a manager that had died before
        state.processes.clear()
        self.files.save(state)

    def _close_environment(self, status: Status, *, now: bool) -> None:
        told = status.manager or {}
        if not told["worker_environment_exists"]:
            return
        if told["manager_state"] != "idle" and not status.worker_lost:
            if not now:
                raise QueueError(
                    f"the queue is in '{told['manager_state']}'; wait for it, stop it with "
                    "'qserver re pause' and 'qserver re abort', or use --now"
                )
            self._abort(told)
        with contextlib.suppress(QueueError):
            if not status.worker_lost:
                self.ask("environment_close", door=False)
                if not self.settled(CLOSE_TIMEOUT)["worker_environment_exists"]:
                    return
        with contextlib.suppress(QueueError):  # its process is ended next in any case
            self.ask("environment_destroy", door=False)
            self.settled(CLOSE_TIMEOUT)

    def _abort(self, told: dict[str, Any]) -> None:
        with contextlib.suppress(QueueError):
            if told["manager_state"] != "paused":
                self.ask("re_pause", door=False, option="immediate")
                self.until(lambda s: s["manager_state"] in ("paused", "idle"))
            self.ask("re_abort", door=False)
            self.until(lambda s: s["manager_state"] == "idle")


def _end(*processes: psutil.Process) -> None:
    """End processes of ours and what they started, gently first."""
    family = [*processes]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _, left = psutil.wait_procs(family, timeout=10)
    for member in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(left, timeout=5)
