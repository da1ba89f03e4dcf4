"""Channel Access signals in SI units, with a timeout on everything."""

import time
from typing import Any, ClassVar

import numpy as np
from ophyd import Component, EpicsSignal, Signal
from ophyd.status import Status
from ophyd.utils import ReadOnlyError

from nucleation_bluesky.contract.pvs import FAMILIES, PV, Kind
from nucleation_bluesky.devices._round_trips import (
    TEXTS,
    TIMEOUT,
    Completion,
    losses,
    read_together,
    write_together,
)
from nucleation_bluesky.devices._units import factor_to_si, si_unit
from nucleation_bluesky.devices._worker import Worker
from nucleation_bluesky.devices.errors import (
    BadValueError,
    InstrumentError,
    NotConnectedError,
)

FIRST_CONTACT = (
    8.0  # s: searches are repeated at growing intervals, and a busy machine answers late
)
_PVS = {pv.suffix: pv for groups in FAMILIES.values() for group in groups.values() for pv in group}
_NUMBERS = (Kind.DOUBLE, Kind.DOUBLES)


def contract_signal(suffix: str, *, kind: str = "omitted") -> Component:
    """Component for one PV of the contract."""
    return Component(ContractSignal, suffix, contract=suffix, kind=kind)


class ContractSignal(EpicsSignal):
    """A PV of the contract: SI values, the declared type always, never a stale one.

    Values are read by a plain get, never from a monitor. Texts are str, integers and enumerations
    int, numbers float in SI, waveforms float64 arrays in SI.

    Parameters
    ----------
    read_pv : str
        Full PV name.
    contract : str
        Suffix of the PV in the contract.
    """

    bare_is_si: ClassVar[bool] = False  # what a PV without an engineering unit means

    def __init__(self, read_pv: str, *, contract: str, **kwargs: Any) -> None:
        self.contract: PV = _PVS[contract]
        self.unit = si_unit(self.contract.egu)
        self._factor: float | None = None
        self._worker: Worker | None = None
        super().__init__(
            read_pv,
            string=self.contract.kind in TEXTS,
            auto_monitor=False,
            timeout=TIMEOUT,
            write_timeout=TIMEOUT,
            connection_timeout=TIMEOUT,
            **kwargs,
        )

    # -- reading ---------------------------------------------------------------------------------

    @property
    def factor(self) -> float:
        """Factor from the PV's engineering unit to SI.

        Raises
        ------
        WrongUnitError
            If the PV's unit has another dimension than the contract's.
        NotConnectedError
            If the PV does not connect in time.
        """
        if self._factor is None:
            self.require_connection()
            egu = self._metadata.get("units") or ""
            if isinstance(egu, bytes):
                egu = egu.decode("latin-1")
            if self.bare_is_si:
                egu = egu or self.unit
            self._factor = factor_to_si(self.pvname, egu, self.unit)
        return self._factor

    def require_connection(self, timeout: float = TIMEOUT) -> None:
        """Wait for the connection.

        Raises
        ------
        NotConnectedError
            After ``timeout``, s.
        """
        deadline = time.monotonic() + timeout
        while not self.connected:
            left = deadline - time.monotonic()
            try:
                self.wait_for_connection(timeout=max(min(left, TIMEOUT), 0.01))
            except TimeoutError as exc:
                self._announce_again()
                if not self.connected and time.monotonic() >= deadline:
                    raise NotConnectedError(
                        f"{self.pvname} does not answer; start its controller, or correct the "
                        "prefix or EPICS_CA_ADDR_LIST"
                    ) from exc

    def _announce_again(self) -> None:
        """Tell ophyd what pyepics knows of a PV that is connected.

        ophyd counts on one event each for connection and access rights, and pyepics now and then
        loses the latter at first connection (its PV reads the rights again for that reason).
        """
        pv: Any = self._read_pv
        if pv is None or not pv.connected:
            return
        if not self._connection_states[pv.pvname]:
            self._pv_connected(pv.pvname, True, pv)
        pv.force_read_access_rights()
        self._pv_access_callback(pv.read_access, pv.write_access, pv)

    def get(self, **kwargs: Any) -> Any:
        """Read the PV now.

        Raises
        ------
        NotConnectedError
            If the controller does not answer within 2 s.
        """
        self.require_connection()
        if self.contract.kind in _NUMBERS:
            _ = self.factor
        try:
            value = super().get(**kwargs)
        except (TimeoutError, *losses()) as exc:
            raise NotConnectedError(f"{self.pvname} did not answer a read in time") from exc
        return self.typed(value)

    def typed(self, raw: Any) -> Any:
        """Convert a raw value to the declared type in SI."""
        kind = self.contract.kind
        if kind in TEXTS:
            return str(raw)
        if kind is Kind.DOUBLES:
            return np.atleast_1d(np.asarray(raw, dtype=float)) * self.factor
        if kind is Kind.DOUBLE:
            return float(raw) * self.factor
        return int(raw)

    def describe(self) -> dict[str, Any]:
        """Describe in SI, without touching the network."""
        kind = self.contract.kind
        key: dict[str, Any] = {"source": f"PV:{self.pvname}", "shape": []}
        if kind in TEXTS:
            key["dtype"] = "string"
        elif kind is Kind.DOUBLES:
            key.update(dtype="array", dtype_numpy="<f8", shape=[self.contract.length])
        elif kind is Kind.DOUBLE:
            key.update(dtype="number", dtype_numpy="<f8", units=self.unit)
        else:
            key.update(dtype="integer", dtype_numpy="<i8")
        return {self.name: key}

    @property
    def control_pv(self) -> Any:
        """The control layer's PV."""
        return self._write_pv

    # -- writing ---------------------------------------------------------------------------------

    def raw(self, value: Any) -> Any:
        """Convert an SI value to what the PV takes.

        Raises
        ------
        BadValueError
            If a number is not finite.
        ReadOnlyError
            If the contract does not let clients write.
        """
        if not self.contract.writable:
            raise ReadOnlyError(f"{self.pvname} is not for writing")
        kind = self.contract.kind
        if kind is Kind.STRING:
            return str(value)
        if kind is Kind.CHARS:
            data = str(value).encode()
            if len(data) >= self.contract.length:
                raise BadValueError(f"{self.pvname} takes {self.contract.length - 1} bytes at most")
            return np.frombuffer(data + b"\0", dtype=np.uint8)
        numbers = np.asarray(value, dtype=float)
        if not np.isfinite(numbers).all():
            raise BadValueError(f"{self.pvname} takes finite numbers only, not {value}")
        if kind is Kind.DOUBLES:
            return np.atleast_1d(numbers) / self.factor
        return float(numbers) / self.factor if kind is Kind.DOUBLE else int(value)

    def check_value(self, value: Any) -> None:
        """Refuse what is not finite."""
        if self.contract.writable:
            self.raw(value)

    def send(self, value: Any) -> None:
        """Put without waiting; never blocks on a lost connection.

        Raises
        ------
        NotConnectedError
            If the PV is not connected.
        """
        pv = self.control_pv
        if not pv.connected:
            raise NotConnectedError(f"{self.pvname} is not connected; the value was not sent")
        raw = self.raw(value)
        try:
            pv.put(raw, wait=False)
        except losses() as exc:
            raise NotConnectedError(
                f"the connection to {self.pvname} was lost; the value was not sent"
            ) from exc

    def start(self, value: Any) -> Completion:
        """Put with completion and return what to wait for."""
        self.require_connection()
        done = Completion(self)
        raw = self.raw(value)
        try:
            self.control_pv.put(raw, use_complete=True, callback=done.mark)
        except losses() as exc:
            raise NotConnectedError(
                f"the connection to {self.pvname} was lost; the value was not sent"
            ) from exc
        return done

    def command(self, value: Any, timeout: float = TIMEOUT) -> None:
        """Put and wait for completion, without reading back.

        Raises
        ------
        PutTimeoutError
            If completion does not come in time.
        NotConnectedError
            If the connection is lost meanwhile.
        """
        self.start(value).wait(timeout)

    def write(self, value: Any, timeout: float = TIMEOUT) -> None:
        """Put, wait for completion and verify by reading back.

        Raises
        ------
        PutRefusedError
            If the readback differs.
        PutTimeoutError, NotConnectedError
            As `command`.
        """
        write_together([(self, value)], timeout)

    def put(self, value: Any, *_args: Any, **_kwargs: Any) -> None:  # type: ignore[override]
        """Write and verify; blocks for 2 s at most."""
        self.write(value)

    def set(  # type: ignore[override]
        self, value: Any, *, timeout: float | None = None, **_kwargs: Any
    ) -> Status:
        """Write and verify on a thread of this signal's own."""
        self.check_value(value)
        limit = TIMEOUT if timeout is None else timeout
        if self._worker is None:
            self._worker = Worker(f"{self.name}-set")
        status = Status(self, timeout=2 * limit + TIMEOUT)
        return self._worker.submit(status, lambda: self.write(value, limit))


def soft(signal: Signal) -> Any:
    """Value of a soft signal."""
    return signal.get()


__all__ = [
    "FIRST_CONTACT",
    "TIMEOUT",
    "Completion",
    "ContractSignal",
    "InstrumentError",
    "contract_signal",
    "read_together",
    "soft",
    "write_together",
]
