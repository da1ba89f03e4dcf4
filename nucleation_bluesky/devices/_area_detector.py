"""The process variables of an areaDetector IOC that a film camera uses."""

from ophyd import Component, Device

from nucleation_bluesky.devices._signals import ContractSignal, read_together
from nucleation_bluesky.devices.errors import InstrumentError


class CameraSignal(ContractSignal):
    """A PV of areaDetector, whose times carry no engineering unit: they are seconds."""

    bare_is_si = True


def camera_signal(suffix: str, *, kind: str = "omitted") -> Component:
    """Component for one PV of the camera's contract."""
    return Component(CameraSignal, suffix, contract=suffix, kind=kind)


class AreaDetector(Device):
    """Camera (``cam1:``) and file writer (``HDF1:``) by the names of areaDetector."""

    acquire = camera_signal("cam1:Acquire")
    acquiring = camera_signal("cam1:Acquire_RBV")
    exposure = camera_signal("cam1:AcquireTime", kind="config")
    period = camera_signal("cam1:AcquirePeriod", kind="config")
    image_mode = camera_signal("cam1:ImageMode")
    counter = camera_signal("cam1:ArrayCounter_RBV")
    callbacks = camera_signal("cam1:ArrayCallbacks")
    columns = camera_signal("cam1:ArraySizeX_RBV")
    rows = camera_signal("cam1:ArraySizeY_RBV")
    size_x = camera_signal("cam1:SizeX_RBV")
    size_y = camera_signal("cam1:SizeY_RBV")
    state = camera_signal("cam1:DetectorState_RBV")
    message = camera_signal("cam1:StatusMessage_RBV")
    file_path = camera_signal("HDF1:FilePath")
    path_exists = camera_signal("HDF1:FilePathExists_RBV")
    file_name = camera_signal("HDF1:FileName")
    file_number = camera_signal("HDF1:FileNumber")
    file_template = camera_signal("HDF1:FileTemplate")
    full_name = camera_signal("HDF1:FullFileName_RBV")
    auto_increment = camera_signal("HDF1:AutoIncrement")
    write_mode = camera_signal("HDF1:FileWriteMode")
    num_capture = camera_signal("HDF1:NumCapture")
    captured = camera_signal("HDF1:NumCaptured_RBV")
    capture = camera_signal("HDF1:Capture")
    capturing = camera_signal("HDF1:Capture_RBV")
    write_status = camera_signal("HDF1:WriteStatus")
    write_message = camera_signal("HDF1:WriteMessage")
    plugin_callbacks = camera_signal("HDF1:EnableCallbacks")
    lazy_open = camera_signal("HDF1:LazyOpen")
    dropped = camera_signal("HDF1:DroppedArrays_RBV")
    frame_stamp = camera_signal("HDF1:TimeStamp_RBV")

    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a frame.

        Raises
        ------
        InstrumentError
            If the camera does not tell.
        """
        rows, columns, size_y, size_x = read_together(
            [self.rows, self.columns, self.size_y, self.size_x]
        )
        shape = (rows or size_y, columns or size_x)
        if min(shape) < 1:
            raise InstrumentError(f"the camera at {self.prefix} does not tell its frame size")
        return shape
