"""EPICS channels made from the contract's tables.

Every client write goes to one handler, which decides; the channel itself stores nothing. Writes
that are refused therefore leave the value as it was, and always complete.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from caproto import (
    AccessRights,
    AlarmSeverity,
    AlarmStatus,
    ChannelChar,
    ChannelData,
    ChannelDouble,
    ChannelEnum,
    ChannelInteger,
    ChannelString,
    SkipWrite,
)

from nucleation_bluesky.contract.pvs import PV, Kind, family_pvs

Handler = Callable[[PV, Any], Awaitable[None]]
Refresher = Callable[[str], Awaitable[None]]
PRECISION = 6
RECORD_TYPES = {
    Kind.DOUBLE: ("ai", "ao"),
    Kind.INT: ("longin", "longout"),
    Kind.ENUM: ("mbbi", "mbbo"),
    Kind.STRING: ("stringin", "stringout"),
    Kind.CHARS: ("waveform", "waveform"),
    Kind.DOUBLES: ("waveform", "waveform"),
}


class _Served:
    """Mixin of a channel that asks the handler before anything is stored."""

    pv: PV
    handler: Handler
    malformed: Callable[[PV, Exception], Awaitable[None]]
    refresher: Refresher | None = None

    async def verify_value(self, data: Any) -> Any:
        """Hand a client's value over; the handler posts what is to be stored."""
        await self.handler(self.pv, data)
        raise SkipWrite

    async def write_from_dbr(self, *args: Any, **kwargs: Any) -> None:
        """Take a client's write; one that cannot be decoded is refused, never an error."""
        try:
            await super().write_from_dbr(*args, **kwargs)  # type: ignore[misc] - the channel it is mixed into
        except Exception as error:  # noqa: BLE001 - client data of any kind; reported as a fault
            await self.malformed(self.pv, error)

    async def read(self, data_type: Any) -> Any:
        """Refresh a measured value before it is read."""
        if self.refresher is not None:
            await self.refresher(self.pv.suffix)
        return await super().read(data_type)  # type: ignore[misc] - the channel it is mixed into

    def check_access(self, hostname: str, username: str) -> AccessRights:
        """Read-only PVs are read-only for every client."""
        del hostname, username
        if self.pv.writable:
            return AccessRights.READ | AccessRights.WRITE
        return AccessRights.READ

    def get_field(self, name: str) -> ChannelData:
        """Return one of the record fields that clients ask for: EGU, DESC, RTYP."""
        fields = {
            "EGU": self.pv.egu,
            "DESC": self.pv.doc[:39],
            "RTYP": RECORD_TYPES[self.pv.kind][self.pv.writable],
        }
        if name in {"", "VAL"}:
            return self  # type: ignore[return-value] - the channel it is mixed into
        return _ReadOnlyString(value=fields[name], string_encoding="utf-8")


class _ReadOnlyString(ChannelString):
    def check_access(self, hostname: str, username: str) -> AccessRights:  # noqa: ARG002 - caproto's signature
        return AccessRights.READ


class _Double(_Served, ChannelDouble):
    pass


class _Int(_Served, ChannelInteger):
    pass


class _Enum(_Served, ChannelEnum):
    pass


class _String(_Served, ChannelString):
    pass


class _Chars(_Served, ChannelChar):
    pass


def _make(pv: PV, limits: tuple[float, float] | None) -> ChannelData:
    kinds: dict[str, Any] = {
        "reported_record_type": RECORD_TYPES[pv.kind][pv.writable],
    }
    low, high = limits or (0, 0)
    numeric = {
        "units": pv.egu,
        "lower_ctrl_limit": low,
        "upper_ctrl_limit": high,
        "lower_disp_limit": low,
        "upper_disp_limit": high,
    }
    if pv.kind is Kind.DOUBLE:
        return _Double(value=float(pv.default), precision=PRECISION, **numeric, **kinds)  # type: ignore[arg-type] - a scalar, by its kind
    if pv.kind is Kind.INT:
        numeric["lower_ctrl_limit"] = numeric["lower_disp_limit"] = int(low)
        numeric["upper_ctrl_limit"] = numeric["upper_disp_limit"] = int(min(high, 2**31 - 1))
        return _Int(value=int(pv.default), **numeric, **kinds)  # type: ignore[arg-type] - a scalar, by its kind
    if pv.kind is Kind.ENUM and pv.enum is not None:
        labels = pv.enum.labels()
        return _Enum(value=labels[int(pv.default)], enum_strings=labels, **kinds)  # type: ignore[arg-type] - a scalar, by its kind
    if pv.kind is Kind.STRING:
        value = pv.default if isinstance(pv.default, str) else ""
        return _String(value=value, string_encoding="utf-8", **kinds)
    if pv.kind is Kind.CHARS:
        return _Chars(value=str(pv.default), max_length=pv.length, string_encoding="utf-8", **kinds)
    start = [float(v) for v in pv.default]  # type: ignore[union-attr] - an array, by its kind
    return _Double(value=start, max_length=pv.length, precision=PRECISION, **numeric, **kinds)


def make_channel(
    pv: PV,
    handler: Handler,
    malformed: Callable[[PV, Exception], Awaitable[None]],
    limits: tuple[float, float] | None = None,
) -> Any:
    """Return the channel of one PV, whose writes go to ``handler``."""
    channel: Any = _make(pv, limits)
    channel.pv, channel.handler, channel.malformed = pv, handler, malformed
    return channel


async def post_value(channel: Any, pv: PV, value: Any, *, alarm: bool | None = None) -> None:
    """Publish a value on one channel (see `Channels.post`)."""
    if pv.kind is Kind.ENUM and pv.enum is not None:
        value = pv.enum(value).label
    elif pv.kind is Kind.DOUBLES:
        value = np.asarray(value, dtype=float).tolist()
    elif pv.kind is Kind.CHARS:
        value = value.encode()[: pv.length - 1].decode(errors="ignore")
    elif pv.kind is Kind.STRING:
        value = value[:39]
    if value == channel.value:
        return
    extra = {}
    if alarm is not None:
        extra = {
            "status": AlarmStatus.STATE if alarm else AlarmStatus.NO_ALARM,
            "severity": AlarmSeverity.MAJOR_ALARM if alarm else AlarmSeverity.NO_ALARM,
        }
    await channel.write(value, verify_value=False, **extra)


class Channels:
    """All channels of one instrument.

    Parameters
    ----------
    prefix : str
        Prefix of the PV names, for instance ``NB:AFM:``.
    family : str
        Instrument family of the contract.
    handler : coroutine function (PV, value)
        Decides every client write.
    malformed : coroutine function (PV, error)
        Told of writes that could not be decoded.
    limits : mapping of str to (low, high), optional
        Accepted range of each writable number, in the PV's unit.
    """

    def __init__(
        self,
        prefix: str,
        family: str,
        handler: Handler,
        malformed: Callable[[PV, Exception], Awaitable[None]],
        limits: dict[str, tuple[float, float]] | None = None,
    ):
        self.prefix = prefix
        self.pvs = family_pvs(family)
        self._channels: dict[str, Any] = {}
        for suffix, pv in self.pvs.items():
            limit = (limits or {}).get(suffix)
            self._channels[suffix] = make_channel(pv, handler, malformed, limit)

    @property
    def database(self) -> dict[str, ChannelData]:
        """Channels by full PV name."""
        return {f"{self.prefix}{suffix}": c for suffix, c in self._channels.items()}

    def set_refresher(self, suffixes: set[str], refresher: Refresher) -> None:
        """Let ``refresher(suffix)`` run before each client read of these PVs."""
        for suffix in suffixes:
            self._channels[suffix].refresher = refresher

    def value(self, suffix: str) -> Any:
        """Value in the PV's own unit; enumeration members, text, float, int or list of float."""
        value = self._channels[suffix].value
        pv = self.pvs[suffix]
        if pv.kind is Kind.ENUM and pv.enum is not None:
            return pv.enum.from_label(value)
        return value

    async def post(self, suffix: str, value: Any, *, alarm: bool | None = None) -> None:
        """Publish a value; nothing happens where it has not changed.

        Parameters
        ----------
        suffix : str
            The PV.
        value : object
            In the PV's own unit.
        alarm : bool or None
            Raise or clear a major state alarm along with it.
        """
        await post_value(self._channels[suffix], self.pvs[suffix], value, alarm=alarm)
