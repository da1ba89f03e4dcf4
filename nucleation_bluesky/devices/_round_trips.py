"""Several PVs in one round trip: puts with completion, reads, and puts that are verified."""

import math
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from nucleation_bluesky.contract.pv import PV, Kind
from nucleation_bluesky.devices.errors import (
    NotConnectedError,
    PutRefusedError,
    PutTimeoutError,
)

TIMEOUT = 2.0  # s: for reading, short puts and coming back after a lost connection
TEXTS = (Kind.STRING, Kind.CHARS)
_RELATIVE = 1e-6  # readbacks may pass through float32 or a decimal string
_POLL = 0.1  # s: how often a wait for completion looks at the connection


class OnePv(Protocol):
    """What is asked of a signal here; `ContractSignal` is one."""

    contract: PV
    cl: Any
    unit: str

    @property
    def control_pv(self) -> Any:
        """The control layer's own PV."""
        ...

    @property
    def pvname(self) -> str:
        """Its name."""
        ...

    def require_connection(self) -> None:
        """Raise NotConnectedError where there is none."""
        ...

    def get(self) -> Any:
        """Read it."""
        ...

    def typed(self, raw: Any) -> Any:
        """Make a value as read one in SI."""
        ...

    def start(self, value: Any) -> "Completion":
        """Begin a put."""
        ...


def losses() -> tuple[type[Exception], ...]:
    """Return what pyepics raises where a circuit is lost between the look at it and its use."""
    ca = sys.modules.get("epics.ca")
    if ca is None:  # another control layer
        return ()
    return ca.CASeverityException, ca.ChannelAccessGetFailure, ca.ChannelAccessException


class Completion:
    """A put whose completion is pending."""

    def __init__(self, signal: OnePv) -> None:
        self._signal = signal
        self._event = threading.Event()

    def mark(self, **_kwargs: Any) -> None:
        """Channel Access callback."""
        self._event.set()

    def wait(self, timeout: float, deadline: float | None = None) -> None:
        """Wait for completion.

        Parameters
        ----------
        timeout : float
            s.
        deadline : float, optional
            When it ends (`time.monotonic`), where several are waited for together.

        Raises
        ------
        PutTimeoutError
            If it does not come within ``timeout``.
        NotConnectedError
            If the connection is lost meanwhile.
        """
        deadline = time.monotonic() + timeout if deadline is None else deadline
        done = False
        while not done:
            done = self._event.wait(max(0.0, min(_POLL, deadline - time.monotonic())))
            # libca also calls back when the connection is lost: that is no completion
            if not self._signal.control_pv.connected:
                raise NotConnectedError(
                    f"the connection to {self._signal.pvname} was lost while waiting for it"
                )
            if not done and time.monotonic() >= deadline:
                raise PutTimeoutError(
                    f"{self._signal.pvname} did not complete within {timeout:.1f} s; is its "
                    "controller running?"
                )


def read_together(signals: Sequence[OnePv], timeout: float = TIMEOUT) -> list[Any]:
    """Read several PVs in one round trip where the control layer allows it.

    Returns
    -------
    list
        Values in SI, as `get` of each.

    Raises
    ------
    NotConnectedError
        If one does not answer in time.
    """
    for signal in signals:
        signal.require_connection()
    if len(signals) == 1 or signals[0].cl.name != "pyepics":
        return [signal.get() for signal in signals]
    try:
        return _read_together_pyepics(signals, timeout)
    except losses() as exc:
        names = ", ".join(signal.pvname for signal in signals)
        raise NotConnectedError(f"the connection was lost while reading {names}") from exc


def _read_together_pyepics(signals: Sequence[OnePv], timeout: float) -> list[Any]:
    from epics import ca  # noqa: PLC0415 - only where pyepics is the control layer

    pvs = [signal.control_pv for signal in signals]
    if ca.current_context() is None:
        ca.attach_context(pvs[0].context)
    types = [ca.promote_type(pv.chid, use_time=True) for pv in pvs]
    for pv, ftype in zip(pvs, types, strict=True):
        ca.get_with_metadata(pv.chid, ftype=ftype, wait=False)
    values = []
    for signal, pv, ftype in zip(signals, pvs, types, strict=True):
        info = ca.get_complete_with_metadata(
            pv.chid, ftype=ftype, timeout=timeout, as_string=signal.contract.kind in TEXTS
        )
        if info is None:
            raise NotConnectedError(f"{signal.pvname} did not answer a read in time")
        values.append(signal.typed(info["value"]))
    return values


def write_together(puts: Sequence[tuple[OnePv, Any]], timeout: float = TIMEOUT) -> None:
    """Put several values at once, wait for all, verify all by readback.

    Raises
    ------
    PutRefusedError
        Naming the PV that did not take its value.
    PutTimeoutError, NotConnectedError
        If the controller does not answer.
    """
    if not puts:
        return
    pending = [signal.start(value) for signal, value in puts]
    # from here on: connecting has a time of its own, and so has a busy machine that sends them
    deadline = time.monotonic() + timeout
    for completion in pending:
        completion.wait(timeout, deadline)
    found = read_together([signal for signal, _ in puts])
    for (signal, value), got in zip(puts, found, strict=True):
        if not _same(signal, value, got):
            raise PutRefusedError(
                f"{signal.pvname} was to become {value} {signal.unit} but reads {got}; the "
                "controller refused it"
            )


def _same(signal: OnePv, wanted: Any, got: Any) -> bool:
    kind = signal.contract.kind
    if kind in TEXTS:
        return str(wanted) == got
    if kind is Kind.DOUBLES:
        want = np.atleast_1d(np.asarray(wanted, dtype=float))
        return len(got) >= len(want) and bool(
            np.allclose(got[: len(want)], want, rtol=_RELATIVE, atol=0)
            and not np.any(got[len(want) :])
        )
    if kind is Kind.DOUBLE:
        return math.isclose(got, float(wanted), rel_tol=_RELATIVE, abs_tol=1e-300)
    return got == int(wanted)
