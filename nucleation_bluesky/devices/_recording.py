"""What an exposure leaves behind: its reading, and the row of a waveform file."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ophyd import Component, Signal

from nucleation_bluesky.contract.files import waveform_path
from nucleation_bluesky.devices._assets import DataDirectory, SegmentAnnouncer
from nucleation_bluesky.devices._base import InstrumentDevice
from nucleation_bluesky.devices._layout import ReadingLayout, describe_waveforms
from nucleation_bluesky.devices._signals import soft
from nucleation_bluesky.devices.errors import ExposureFailedError, NotConfiguredError
from nucleation_bluesky.ledger import Claim


class RecordingDevice(InstrumentDevice):
    """Makes events of exposures, and announces their waveforms.

    Attributes
    ----------
    data_directory : DataDirectory or None
        Where waveform files go; None writes none.
    rows_per_file : int
        Exposures in one file.
    site, row, col : ophyd.Signal
        What the plan knows of the site; -1 where it does not say. ``site`` then counts exposures.
    """

    layout: ClassVar[ReadingLayout]
    waveform_channels: ClassVar[Mapping[str, str]]
    hinted = "stop_bias"

    site = Component(Signal, value=-1, kind="omitted")
    row = Component(Signal, value=-1, kind="omitted")
    col = Component(Signal, value=-1, kind="omitted")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self.data_directory: DataDirectory | None = None
        self.rows_per_file = 500
        self._max_samples = 0
        self._announcer: SegmentAnnouncer | None = None
        self._reading: dict[str, dict] | None = None
        self._read_done = True
        self._count = 0
        super().__init__(prefix, name=name, **kwargs)

    @property
    def channels(self) -> dict[str, str]:
        """Waveform channels in the files, with their units."""
        return dict(self.waveform_channels)

    @property
    def roles(self) -> dict[str, str]:
        """Role -> data key, for the start document."""
        channels = self.channels if self.writes_waveforms else {}
        return {role: f"{self.name}_{role}" for role in (*self.layout.roles, *channels)}

    @property
    def writes_waveforms(self) -> bool:
        """Whether exposures announce waveform files."""
        return self.data_directory is not None

    def _begin_recording(self) -> None:
        """Forget the exposures of an earlier stage."""
        self._reading, self._read_done, self._count = None, True, 0
        for signal in (self.site, self.row, self.col):
            signal.put(-1)

    def _announce_files(self, directory: DataDirectory, prefix: str) -> None:
        channels = {f"{self.name}_{c}": waveform_path(c) for c in self.channels}
        self._announcer = SegmentAnnouncer(directory.local, prefix, channels, self._max_samples)

    def _publish(self, claim: Claim, values: Mapping[str, Any]) -> None:
        """Make the reading of an exposure and announce its row; ``values`` hold the RESULT."""
        site = int(soft(self.site))
        reading = self.layout.reading(
            self.name,
            {
                **values,
                "x": claim.x,
                "y": claim.y,
                "site": site if site >= 0 else self._count,
                "row": soft(self.row),
                "col": soft(self.col),
                "exposure": claim.token,
            },
        )
        self._count += 1
        if self._announcer is not None:
            segment = int(values["file_segment"])
            if segment < 0:
                raise ExposureFailedError(
                    f"{self.name} recorded no waveform for this exposure "
                    f"({self.controller.fault_description()}); check disk and FILE:CAPTURE"
                )
            self._announcer.add(segment)
            self._read_done = False
        self._reading = reading

    def read(self) -> Any:
        """Return the reading of the last exposure (no network).

        Raises
        ------
        NotConfiguredError
            If nothing has been exposed since staging.
        """
        if self._reading is None:
            raise NotConfiguredError(f"{self.name} has not exposed a site since it was staged")
        self._read_done = True
        return dict(self._reading)

    def describe(self) -> Any:
        """Return the data keys of an exposure (no network)."""
        source = f"PV:{self.prefix}RESULT/"
        keys = self.layout.describe(self.name, source)
        if self.writes_waveforms:
            keys |= describe_waveforms(self.name, source, self.channels, self._max_samples)
        return keys

    @property
    def hints(self) -> dict[str, list[str]]:
        """What live tables and maps show."""
        return {"fields": [f"{self.name}_{self.hinted}"]}

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, dict]]:  # noqa: ARG002 - protocol
        """Yield stream documents of what was recorded since the last call."""
        if self._announcer is not None:
            yield from self._announcer.collect()

    def get_index(self) -> int:
        """Exposures announced since staging."""
        return 0 if self._announcer is None else self._announcer.count
