"""PVs and files of a camera, as areaDetector names them (plugins ``cam1:`` and ``HDF1:``).

A real areaDetector IOC serves these and more; a device that uses no others fits both.
"""

from typing import Self, Unpack

from nucleation_bluesky.contract.enums import ContractEnum
from nucleation_bluesky.contract.pv import PV, Kind, PVOptions, rw

EPICS_EPOCH = 631152000.0  # 1990-01-01 in seconds since 1970: areaDetector's zero of time
FRAMES_DATASET = "/entry/data/data"  # (frames, rows, columns), uint16
ATTRIBUTES_GROUP = "/entry/instrument/NDAttributes"
UNIQUE_ID_DATASET = f"{ATTRIBUTES_GROUP}/NDArrayUniqueId"
TIMESTAMP_DATASET = f"{ATTRIBUTES_GROUP}/NDArrayTimeStamp"
EPICS_SECONDS_DATASET = f"{ATTRIBUTES_GROUP}/NDArrayEpicsTSSec"
EPICS_NANOSECONDS_DATASET = f"{ATTRIBUTES_GROUP}/NDArrayEpicsTSnSec"
FRAME_DATASETS: dict[str, tuple[str, str]] = {
    # dataset of shape (frames,): (type, meaning)
    UNIQUE_ID_DATASET: ("int32", "number of the frame as the camera counted: gaps are losses"),
    TIMESTAMP_DATASET: ("float64", "UTC at the start of the exposure, s since 1990-01-01"),
    EPICS_SECONDS_DATASET: ("uint32", "whole seconds of the same"),
    EPICS_NANOSECONDS_DATASET: ("uint32", "nanoseconds of the same"),
}
FILE_TEMPLATE = "%s%s_%6.6d.h5"  # path, name, number


class AreaDetectorEnum(ContractEnum):
    """An enumeration whose labels are spelled as in areaDetector."""

    text: str

    def __new__(cls, value: int, text: str) -> Self:
        """Make a member with its label."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member

    @property
    def label(self) -> str:
        """The text of areaDetector."""
        return self.text

    @classmethod
    def from_label(cls, label: str) -> Self:
        """Return the member with this label.

        Raises
        ------
        ValueError
            If no member has the label.
        """
        for member in cls:
            if member.text == label.strip():
                return member
        raise ValueError(f"'{label}' is not one of {', '.join(cls.labels())} ({cls.__name__})")


class ImageMode(AreaDetectorEnum):
    """How many frames one acquisition takes."""

    SINGLE = 0, "Single"
    MULTIPLE = 1, "Multiple"
    CONTINUOUS = 2, "Continuous"


class TriggerMode(AreaDetectorEnum):
    """What starts an exposure."""

    INTERNAL = 0, "Internal"


class AcquireSwitch(AreaDetectorEnum):
    """Start and stop of acquisition."""

    DONE = 0, "Done"
    ACQUIRE = 1, "Acquire"


class DetectorState(AreaDetectorEnum):
    """State of the camera."""

    IDLE = 0, "Idle"
    ACQUIRE = 1, "Acquire"
    READOUT = 2, "Readout"
    CORRECT = 3, "Correct"
    SAVING = 4, "Saving"
    ABORTING = 5, "Aborting"
    ERROR = 6, "Error"
    WAITING = 7, "Waiting"
    INITIALIZING = 8, "Initializing"
    DISCONNECTED = 9, "Disconnected"
    ABORTED = 10, "Aborted"


class DataType(AreaDetectorEnum):
    """Type of a pixel."""

    INT8 = 0, "Int8"
    UINT8 = 1, "UInt8"
    INT16 = 2, "Int16"
    UINT16 = 3, "UInt16"
    INT32 = 4, "Int32"
    UINT32 = 5, "UInt32"
    INT64 = 6, "Int64"
    UINT64 = 7, "UInt64"
    FLOAT32 = 8, "Float32"
    FLOAT64 = 9, "Float64"


class ColorMode(AreaDetectorEnum):
    """Colour layout."""

    MONO = 0, "Mono"


class Switch(AreaDetectorEnum):
    """No or yes."""

    NO = 0, "No"
    YES = 1, "Yes"


class Callbacks(AreaDetectorEnum):
    """Whether a plugin takes frames."""

    DISABLE = 0, "Disable"
    ENABLE = 1, "Enable"


class CaptureSwitch(AreaDetectorEnum):
    """Start and stop of file writing."""

    DONE = 0, "Done"
    CAPTURE = 1, "Capture"


class WriteMode(AreaDetectorEnum):
    """How frames become files."""

    SINGLE = 0, "Single"
    CAPTURE = 1, "Capture"
    STREAM = 2, "Stream"


class Compression(AreaDetectorEnum):
    """Filter of the files."""

    NONE = 0, "None"
    NBIT = 1, "N-bit"
    SZIP = 2, "szip"
    ZLIB = 3, "zlib"
    BLOSC = 4, "Blosc"
    BSLZ4 = 5, "BSLZ4"
    LZ4 = 6, "LZ4"
    JPEG = 7, "JPEG"


class WriteStatus(AreaDetectorEnum):
    """Result of the last write."""

    OK = 0, "Write OK"
    ERROR = 1, "Write error"


def _pair(suffix: str, kind: Kind, doc: str, **options: Unpack[PVOptions]) -> tuple[PV, PV]:
    """Return a setpoint and its readback."""
    return (
        rw(suffix, kind, doc, **options),
        PV(f"{suffix}_RBV", kind, "Value in force.", **options),
    )


CAMERA_CAM: tuple[PV, ...] = (
    *_pair(
        "cam1:Acquire",
        Kind.ENUM,
        "1 starts, 0 stops. Put completion of 1 when the acquisition has ended, of 0 at once; "
        "frames exposed before the stop still reach the file, then Acquire_RBV is Done.",
        enum=AcquireSwitch,
    ),
    *_pair("cam1:AcquireTime", Kind.DOUBLE, "Exposure time.", egu="s", default=0.1),
    *_pair("cam1:AcquirePeriod", Kind.DOUBLE, "Time between frames.", egu="s", default=0.23),
    *_pair("cam1:ImageMode", Kind.ENUM, "Frames per acquisition.", enum=ImageMode, default=2),
    *_pair("cam1:NumImages", Kind.INT, "Frames in image mode Multiple.", default=1),
    *_pair("cam1:NumExposures", Kind.INT, "Exposures per frame: always 1.", default=1),
    *_pair("cam1:TriggerMode", Kind.ENUM, "What starts an exposure.", enum=TriggerMode),
    *_pair("cam1:ArrayCounter", Kind.INT, "Frames since this was last written.", default=0),
    *_pair(
        "cam1:ArrayCallbacks", Kind.ENUM, "Frames go to the plugins.", enum=Callbacks, default=1
    ),
    *_pair("cam1:SizeX", Kind.INT, "Columns of the region read out."),
    *_pair("cam1:SizeY", Kind.INT, "Rows of it."),
    *_pair("cam1:MinX", Kind.INT, "First column of the region."),
    *_pair("cam1:MinY", Kind.INT, "First row of it."),
    *_pair("cam1:BinX", Kind.INT, "Binning: always 1.", default=1),
    *_pair("cam1:BinY", Kind.INT, "Binning: always 1.", default=1),
    *_pair("cam1:DataType", Kind.ENUM, "Type of a pixel: UInt16.", enum=DataType, default=3),
    *_pair("cam1:ColorMode", Kind.ENUM, "Mono.", enum=ColorMode),
    *_pair("cam1:Gain", Kind.DOUBLE, "Gain.", default=1.0),
    PV("cam1:MaxSizeX_RBV", Kind.INT, "Columns of the sensor."),
    PV("cam1:MaxSizeY_RBV", Kind.INT, "Rows of the sensor."),
    PV("cam1:ArraySizeX_RBV", Kind.INT, "Columns of a frame."),
    PV("cam1:ArraySizeY_RBV", Kind.INT, "Rows of a frame."),
    PV("cam1:ArraySizeZ_RBV", Kind.INT, "0: not a colour image."),
    PV("cam1:ArraySize_RBV", Kind.INT, "Bytes of a frame.", egu="B"),
    PV("cam1:NumImagesCounter_RBV", Kind.INT, "Frames of this acquisition."),
    PV("cam1:NumExposuresCounter_RBV", Kind.INT, "Exposures of this frame."),
    PV("cam1:ArrayRate_RBV", Kind.DOUBLE, "Frames per second.", egu="Hz"),
    PV("cam1:DetectorState_RBV", Kind.ENUM, "State of the camera.", enum=DetectorState),
    PV("cam1:StatusMessage_RBV", Kind.CHARS, "The same in words.", length=256, default=""),
    PV("cam1:TimeRemaining_RBV", Kind.DOUBLE, "Of the acquisition.", egu="s"),
    PV("cam1:Manufacturer_RBV", Kind.STRING, "Maker of the camera.", default=""),
    PV("cam1:Model_RBV", Kind.STRING, "Model of the camera.", default=""),
    PV("cam1:UniqueId_RBV", Kind.INT, "Number of the last frame as the camera counts."),
    rw("cam1:WaitForPlugins", Kind.ENUM, "Accepted; Capture 0 waits anyhow.", enum=Switch),
    rw("cam1:NDAttributesFile", Kind.CHARS, "Accepted, unused.", length=256, default=""),
    PV("cam1:PortName_RBV", Kind.STRING, "Name of the driver's port.", default="CAM"),
)

CAMERA_HDF: tuple[PV, ...] = (
    *_pair(
        "HDF1:FilePath",
        Kind.CHARS,
        "Directory of the files, as the camera's computer sees it.",
        length=256,
        default="",
    ),
    PV("HDF1:FilePathExists_RBV", Kind.ENUM, "Whether it exists.", enum=Switch),
    *_pair("HDF1:FileName", Kind.CHARS, "Name in FileTemplate.", length=256, default=""),
    *_pair("HDF1:FileNumber", Kind.INT, "Number in FileTemplate."),
    *_pair(
        "HDF1:FileTemplate",
        Kind.CHARS,
        "C format of path, name and number.",
        length=256,
        default=FILE_TEMPLATE,
    ),
    PV("HDF1:FullFileName_RBV", Kind.CHARS, "The open or last file.", length=256, default=""),
    *_pair("HDF1:AutoIncrement", Kind.ENUM, "FileNumber counts files.", enum=Switch, default=1),
    *_pair("HDF1:AutoSave", Kind.ENUM, "Without effect in Stream.", enum=Switch),
    *_pair("HDF1:FileWriteMode", Kind.ENUM, "Only Stream.", enum=WriteMode, default=2),
    *_pair(
        "HDF1:NumCapture",
        Kind.INT,
        "Frames in the file, then it is closed; 0 for no end.",
        default=0,
    ),
    PV("HDF1:NumCaptured_RBV", Kind.INT, "Frames written and flushed."),
    *_pair(
        "HDF1:Capture",
        Kind.ENUM,
        "1 opens the file, 0 closes it. Put completion of 0 when every frame taken before is in "
        "the closed file; of 1 when the capture has ended, as in areaDetector: do not wait for it.",
        enum=CaptureSwitch,
    ),
    PV("HDF1:WriteStatus", Kind.ENUM, "Result of the last write.", enum=WriteStatus),
    PV("HDF1:WriteMessage", Kind.CHARS, "The same in words.", length=256, default=""),
    *_pair("HDF1:EnableCallbacks", Kind.ENUM, "Take frames.", enum=Callbacks, default=1),
    *_pair("HDF1:BlockingCallbacks", Kind.ENUM, "Always No.", enum=Switch),
    *_pair("HDF1:SWMRMode", Kind.ENUM, "Readable while it grows: on.", enum=Switch, default=1),
    PV("HDF1:SWMRActive_RBV", Kind.ENUM, "Whether a file open now is readable.", enum=Switch),
    *_pair("HDF1:LazyOpen", Kind.ENUM, "Open with the first frame.", enum=Switch, default=1),
    *_pair("HDF1:NumFramesFlush", Kind.INT, "Frames between flushes; 0: 8 frames.", default=0),
    *_pair("HDF1:DroppedArrays", Kind.INT, "Frames lost because the writer was too slow."),
    *_pair("HDF1:ArrayCounter", Kind.INT, "Frames that the writer took."),
    PV("HDF1:ArraySize0_RBV", Kind.INT, "Columns of a frame."),
    PV("HDF1:ArraySize1_RBV", Kind.INT, "Rows of a frame."),
    PV("HDF1:ArraySize2_RBV", Kind.INT, "0: not a colour image."),
    PV("HDF1:NDimensions_RBV", Kind.INT, "Dimensions of a frame.", default=2),
    PV("HDF1:DataType_RBV", Kind.ENUM, "Type of a pixel.", enum=DataType, default=3),
    PV("HDF1:ColorMode_RBV", Kind.ENUM, "Mono.", enum=ColorMode),
    PV("HDF1:UniqueId_RBV", Kind.INT, "Number of the last frame."),
    PV("HDF1:TimeStamp_RBV", Kind.DOUBLE, "Its time since 1990-01-01.", egu="s"),
    rw("HDF1:QueueSize", Kind.INT, "Frames that may wait for the writer.", default=500),
    PV("HDF1:QueueFree", Kind.INT, "Free places of them.", default=500),
    PV("HDF1:PortName_RBV", Kind.STRING, "Name of the plugin's port.", default="HDF1"),
    *_pair("HDF1:NDArrayPort", Kind.STRING, "Where frames come from.", default="CAM"),
    # What asynchronous areaDetector clients also look for.
    PV("HDF1:ArraySizeX_RBV", Kind.INT, "Columns of a frame."),
    PV("HDF1:ArraySizeY_RBV", Kind.INT, "Rows of a frame."),
    PV("HDF1:ArraySize0", Kind.INT, "Columns of a frame."),
    PV("HDF1:ArraySize1", Kind.INT, "Rows of a frame."),
    *_pair("HDF1:Acquire", Kind.ENUM, "Accepted, unused.", enum=AcquireSwitch),
    rw("HDF1:WaitForPlugins", Kind.ENUM, "Accepted, unused.", enum=Switch),
    rw("HDF1:NDAttributesFile", Kind.CHARS, "Accepted, unused.", length=256, default=""),
    *_pair("HDF1:NDArrayAddress", Kind.INT, "Always 0."),
    PV("HDF1:QueueSize_RBV", Kind.INT, "Frames that may wait for the writer.", default=500),
    rw("HDF1:CreateDirectory", Kind.INT, "Accepted; directories are not made."),
    *_pair("HDF1:PositionMode", Kind.ENUM, "Always No.", enum=Switch),
    *_pair("HDF1:Compression", Kind.ENUM, "Always None.", enum=Compression),
    *_pair("HDF1:NumExtraDims", Kind.INT, "Always 0."),
    rw("HDF1:FlushNow", Kind.ENUM, "Accepted: files are flushed by themselves.", enum=Switch),
    *_pair("HDF1:XMLFileName", Kind.CHARS, "Accepted, unused.", length=256, default=""),
    PV("HDF1:NumFramesChunks_RBV", Kind.INT, "Frames in a chunk: 1.", default=1),
    *_pair(
        "HDF1:ChunkSizeAuto", Kind.ENUM, "Always Yes: a frame is a chunk.", enum=Switch, default=1
    ),
    PV("HDF1:PluginType_RBV", Kind.STRING, "Kind of plugin.", default="NDFileHDF5"),
)
