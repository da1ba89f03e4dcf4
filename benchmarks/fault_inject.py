"""Does to one session what its schedule says."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.fault_kinds import Fault
from benchmarks.fault_machine import jump
from benchmarks.fault_stack import Child, Stack, holds


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Keep a process stopped."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class NotPossibleHereError(RuntimeError):
    """This machine does not let us."""


class Injector:
    """Injects faults; a fault's method returns its moment, where that is not the call's."""

    def __init__(self, made: Stack, child: Child, requests: Path):
        self.made, self.child, self.requests = made, child, requests

    def __call__(self, fault: Fault) -> dict[str, Any]:
        """Inject; returns the fault's moment and how long it lasted."""
        act: Callable[[Fault], float | None] = getattr(self, f"_{fault.kind}", self._request)
        began = time.monotonic()
        moment = act(fault)
        return {"at": moment or began, "lasted": time.monotonic() - (moment or began)}

    # -- the session -----------------------------------------------------------------------------

    def _request(self, fault: Fault) -> None:
        with contextlib.suppress(OSError):  # nobody reads: the session has ended
            pipe = os.open(self.requests, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(pipe, f"{fault.kind} {fault.seconds}\n".encode())
            finally:
                os.close(pipe)

    def _session_killed(self, _: Fault) -> float:
        return self.child.kill()

    def _session_frozen(self, fault: Fault) -> None:
        with stopped(self.child.process.pid):
            time.sleep(fault.seconds)

    _session_blink = _session_frozen

    def _one_interrupt(self, _: Fault) -> None:
        self.child.interrupt()

    def _two_interrupts(self, _: Fault) -> float:
        self.child.interrupt()
        self.child.wait_quiet(0.2)
        moment = time.monotonic()
        self.child.interrupt()
        return moment

    def _many_interrupts(self, _: Fault) -> float:
        self.child.interrupt()
        self.child.wait_quiet(0.1)
        moment = time.monotonic()
        for _again in range(12):  # a hand that stays on the keys
            self.child.interrupt()
            self.child.wait_quiet(0.03)
        return moment

    def _clock_jump(self, fault: Fault) -> None:
        jump(self.made.clock, fault.extent)

    # -- Tiled and courier -----------------------------------------------------------------------

    def _tiled_killed(self, _: Fault) -> None:
        _kill(self.made, "tiled_pid")

    def _tiled_frozen(self, fault: Fault) -> None:
        self._freeze("tiled_pid", fault)

    def _courier_killed(self, _: Fault) -> None:
        _kill(self.made, "courier_pid")

    def _courier_frozen(self, fault: Fault) -> None:
        self._freeze("courier_pid", fault)

    def _freeze(self, name: str, fault: Fault) -> None:
        if (pid := pid_of(self.made, name)) is not None:
            with stopped(pid):
                self.child.wait_quiet(fault.seconds)

    # -- the controller --------------------------------------------------------------------------

    def _ioc_frozen(self, fault: Fault) -> float:
        with stopped(self.made.ioc.pid):
            time.sleep(fault.seconds)
        return time.monotonic()  # a frozen controller can act when it is thawed

    def _ioc_restarted(self, _: Fault) -> float:
        moment = time.monotonic()
        self.made.restart_ioc()
        return moment

    # -- the network -----------------------------------------------------------------------------

    def _net_hold(self, fault: Fault) -> None:
        self.made.network.hold()
        self.child.wait_quiet(fault.seconds)
        self.made.network.heal()

    _net_blink = _net_hold

    def _net_delay(self, fault: Fault) -> None:
        self.made.network.delay(fault.extent)
        self.child.wait_quiet(fault.seconds)
        self.made.network.heal()

    def _net_cut(self, _: Fault) -> None:
        self.made.network.cut()

    def _net_torn(self, fault: Fault) -> None:
        self.made.network.tear("up" if fault.extent > 0 else "down")

    def _net_down(self, fault: Fault) -> None:
        self.made.network.refuse()
        self.made.network.cut()
        self.child.wait_quiet(fault.seconds)
        self.made.network.heal()

    # -- the disk --------------------------------------------------------------------------------

    def _disk_full(self, fault: Fault) -> None:
        disk = self.made.disk
        if disk is None or not disk.mounted:
            raise NotPossibleHereError("no file system of our own may be mounted here")
        disk.fill()
        self.child.wait_quiet(3 * fault.seconds)
        disk.free()

    def heal(self) -> None:
        """Give the machine back what faults took."""
        self.made.network.heal()
        if self.made.disk is not None:
            self.made.disk.free()
        jump(self.made.clock, 0.0)


def random_of(seed: int, family: str, number: int) -> random.Random:
    """The random numbers of one schedule."""
    return random.Random(f"{seed}-{family}-{number}")


def pid_of(made: Stack, name: str) -> int | None:
    """Process of this data directory, if it lives."""
    with contextlib.suppress(OSError, ValueError, KeyError, psutil.Error):
        process = psutil.Process(getattr(made, name))
        if holds(process, made.data):
            return process.pid
    return None


def _kill(made: Stack, name: str) -> None:
    if (pid := pid_of(made, name)) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
