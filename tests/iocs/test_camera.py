"""The camera front end: acquisition, files, and stock areaDetector clients."""

import threading
import time
from functools import partial

import h5py
import numpy as np
import ophyd
import pytest
from nucleation_bluesky.contract.camera import (
    EPICS_EPOCH,
    EPICS_NANOSECONDS_DATASET,
    EPICS_SECONDS_DATASET,
    FRAMES_DATASET,
    TIMESTAMP_DATASET,
    UNIQUE_ID_DATASET,
    ImageMode,
)
from nucleation_bluesky.iocs.frames import FrameWriter, queue_size
from nucleation_bluesky.iocs.seccm_backend import Frame
from nucleation_bluesky.segments import SegmentError
from ophyd.areadetector.cam import CamBase
from ophyd.areadetector.plugins import HDF5Plugin

from tests.iocs.client import starting
from tests.iocs.seccm_client import CameraClient
from tests.support.ca_session import client_environment
from tests.support.ioc import DEMO_SECCM, seccm_ioc

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def shared(tmp_path_factory, module_patch):
    camera = "CAMTEST:IRM:"
    serve = partial(
        seccm_ioc,
        tmp_path_factory.mktemp("ioc"),
        factory=DEMO_SECCM,
        prefix="CAMTEST:",
        camera_prefix=camera,
        environment=client_environment(),  # ophyd of this process meets it
    )
    with starting(serve, lambda ioc: CameraClient(ioc, module_patch, camera)) as start:
        yield start(speed=1)


@pytest.fixture
def camera(shared):
    shared.put("cam1:Acquire", 0)
    shared.wait_value("cam1:Acquire_RBV", 0)
    shared.put("HDF1:Capture", 0)
    shared.put("cam1:ImageMode", int(ImageMode.CONTINUOUS))
    shared.put("HDF1:FileNumber", 0)
    return shared


def read(path):
    with h5py.File(path) as file:
        seconds = file[EPICS_SECONDS_DATASET][:] + 1e-9 * file[EPICS_NANOSECONDS_DATASET][:]
        return (
            file[FRAMES_DATASET][:], file[UNIQUE_ID_DATASET][:], file[TIMESTAMP_DATASET][:], seconds
        )  # fmt: skip


def test_a_film_is_whole_and_stamped_by_the_camera(camera, tmp_path):
    camera.film(tmp_path)
    camera.put("cam1:ArrayCounter", 0)
    began = time.time()
    camera.put("cam1:Acquire", 1, wait=False)
    camera.wait_value("cam1:DetectorState_RBV", 1)
    time.sleep(0.6)
    camera.put("cam1:Acquire", 0)
    camera.wait_value("cam1:DetectorState_RBV", 0)
    ended = time.time()
    taken = camera.get("cam1:ArrayCounter_RBV")
    camera.put("HDF1:Capture", 0)
    assert camera.get("HDF1:NumCaptured_RBV") == taken
    assert taken == camera.get("cam1:NumImagesCounter_RBV")
    path = camera.get("HDF1:FullFileName_RBV")
    assert path == f"{tmp_path}/film_000000.h5"
    frames, ids, stamps, seconds = read(path)
    assert frames.shape == (taken, 64, 48)
    assert frames.dtype == np.uint16
    assert (frames == (ids % 4096)[:, None, None]).all()  # each frame carries its own number
    assert (np.diff(ids) == 1).all()
    assert np.diff(stamps) == pytest.approx(0.02, abs=1e-6)
    assert stamps == pytest.approx(seconds, abs=1e-6)
    assert taken == pytest.approx((ended - began) / 0.02, abs=6)
    assert camera.get("HDF1:FileNumber_RBV") == 1
    assert camera.get("HDF1:DroppedArrays_RBV") == 0


def test_multiple_mode_ends_by_itself_and_completes_the_put(camera, tmp_path):
    camera.film(tmp_path, "m", frames=4)
    camera.put("cam1:ImageMode", int(ImageMode.MULTIPLE))
    camera.put("cam1:NumImages", 7)
    camera.put("cam1:Acquire", 1)  # completes with the seventh frame
    assert camera.get("cam1:NumImagesCounter_RBV") == 7
    camera.wait_value("HDF1:Capture_RBV", 0)  # the file was full with four
    assert camera.get("HDF1:NumCaptured_RBV") == 4
    assert read(tmp_path / "m_000000.h5")[0].shape[0] == 4


def test_a_growing_file_can_be_read(camera, tmp_path):
    camera.film(tmp_path, "swmr")
    camera.put("cam1:Acquire", 1, wait=False)
    deadline = time.monotonic() + 5
    while camera.get("HDF1:NumCaptured_RBV") < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    seen = camera.get("HDF1:NumCaptured_RBV")
    with h5py.File(tmp_path / "swmr_000000.h5", "r", libver="latest", swmr=True) as file:
        assert file[FRAMES_DATASET].shape[0] >= seen >= 10
        assert (file[FRAMES_DATASET][seen - 1] == file[UNIQUE_ID_DATASET][seen - 1] % 4096).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"HDF1:FilePath": "/no/such/directory"}, "not an existing directory"),
        ({"HDF1:FileName": "../up"}, "not a file name"),
        ({"HDF1:FileTemplate": "%s%s.h5"}, "does not take"),
        ({"HDF1:FileTemplate": "%s/sub/%s_%d.h5"}, "in HDF1:FilePath"),
    ],
)
def test_captures_that_cannot_be_are_refused(camera, tmp_path, settings, message):
    camera.put("HDF1:FilePath", str(tmp_path))
    camera.put("HDF1:FileName", "x")
    camera.put("HDF1:FileTemplate", "%s%s_%6.6d.h5")
    for suffix, value in settings.items():
        camera.put(suffix, value)
    camera.put("HDF1:Capture", 1)
    assert camera.get("HDF1:Capture_RBV") == 0
    assert camera.get("HDF1:WriteStatus") == 1
    assert message in camera.get("HDF1:WriteMessage")
    camera.put("HDF1:FileTemplate", "%s%s_%6.6d.h5")


def test_files_are_never_replaced(camera, tmp_path):
    (tmp_path / "x_000000.h5").write_bytes(b"precious")
    camera.put("HDF1:FilePath", str(tmp_path))
    camera.put("HDF1:FileName", "x")
    camera.put("HDF1:Capture", 1)
    assert "exists already" in camera.get("HDF1:WriteMessage")
    assert (tmp_path / "x_000000.h5").read_bytes() == b"precious"


def test_region_and_what_is_refused(camera, tmp_path):
    camera.put("cam1:MinX", 8)
    assert "region" in camera.get("cam1:StatusMessage_RBV")  # beyond the sensor
    camera.put("cam1:SizeX", 32)
    camera.put("cam1:MinX", 8)
    assert (camera.get("cam1:MinX_RBV"), camera.get("cam1:ArraySizeX_RBV")) == (8, 32)
    camera.film(tmp_path, "roi", frames=1)
    camera.put("cam1:SizeX", 16)
    assert camera.get("cam1:SizeX_RBV") == 32  # the file's frames have a size
    camera.put("cam1:ImageMode", int(ImageMode.SINGLE))
    camera.put("cam1:Acquire", 1)
    camera.put("HDF1:Capture", 0)
    assert read(tmp_path / "roi_000000.h5")[0].shape == (1, 64, 32)
    camera.put("cam1:MinX", 0)
    camera.put("cam1:SizeX", 48)
    camera.put("cam1:BinX", 2)
    assert camera.get("cam1:BinX_RBV") == 1
    camera.put("cam1:AcquireTime", -1.0)
    assert camera.get("cam1:AcquireTime_RBV") == 0.01


def test_stock_ophyd_devices_connect_stage_and_film(camera, tmp_path):
    """The classes of ophyd, unchanged, over a subset of their PVs."""
    cam = CamBase(f"{camera.prefix}cam1:", name="cam")
    hdf = HDF5Plugin(f"{camera.prefix}HDF1:", name="hdf")
    wanted = [
        *(getattr(cam, n) for n in (
            "acquire", "acquire_time", "acquire_period", "image_mode", "num_images",
            "num_exposures", "trigger_mode", "manufacturer", "model", "array_counter",
            "array_callbacks", "detector_state", "data_type", "color_mode", "gain", "bin_x",
            "min_x", "num_images_counter", "array_rate", "time_remaining", "port_name",
        )),
        *(getattr(hdf, n) for n in (
            "file_path", "file_path_exists", "file_name", "file_number", "file_template",
            "full_file_name", "auto_increment", "auto_save", "file_write_mode", "num_capture",
            "num_captured", "capture", "write_status", "write_message", "enable",
            "blocking_callbacks", "dropped_arrays", "array_counter", "unique_id", "time_stamp",
            "queue_size", "queue_free", "port_name", "nd_array_port", "plugin_type", "width",
            "height", "depth", "num_frames_flush", "ndimensions", "data_type", "color_mode",
        )),
    ]  # fmt: skip
    try:
        for signal in wanted:
            signal.wait_for_connection(timeout=5)
            signal.get()
        assert cam.model.get() == "demonstration"
        hdf.file_path.set(str(tmp_path)).wait(5)
        hdf.file_name.set("stock").wait(5)
        hdf.num_capture.set(0).wait(5)
        hdf.file_write_mode.set("Stream").wait(5)
        cam.image_mode.set("Multiple").wait(5)
        cam.num_images.set(5).wait(5)
        cam.acquire_period.set(0.02).wait(5)
        hdf.capture.put(1)
        status = ophyd.status.SubscriptionStatus(
            cam.acquire, lambda *, value, old_value, **_: (old_value, value) == (1, 0), run=False
        )
        cam.acquire.put(1)
        status.wait(10)
        hdf.capture.set(0).wait(5)
        # not from ophyd's monitor, which may lag behind put completion
        assert hdf.num_captured.get(use_monitor=False) == 5
        assert hdf.full_file_name.get(as_string=True) == f"{tmp_path}/stock_000000.h5"
        assert read(tmp_path / "stock_000000.h5")[0].shape == (5, 64, 48)
        assert set(cam.read_configuration()) >= {"cam_acquire_time", "cam_model"}
    finally:
        cam.destroy()
        hdf.destroy()


def frame(number, shape=(6, 5)):
    return Frame(np.full(shape, number, np.uint16), number, EPICS_EPOCH + number)


def test_writer_counts_what_it_cannot_take(tmp_path, monkeypatch):
    writer = FrameWriter(tmp_path / "w.h5", (6, 5), flush_frames=3)
    gate = writer._write

    def slow(frames, *, flush):
        time.sleep(0.3)
        gate(frames, flush=flush)

    monkeypatch.setattr(writer, "_write", slow)
    offered = queue_size((6, 5)) + 100
    taken = sum(writer.put(frame(n)) for n in range(offered))
    monkeypatch.setattr(writer, "_write", gate)
    written = writer.close()
    assert taken < offered
    assert (written.frames, written.dropped) == (taken, offered - taken)
    frames, ids, stamps, _ = read(tmp_path / "w.h5")
    assert (frames[:, 0, 0] == ids).all()
    assert stamps == pytest.approx(ids)


def test_closing_does_not_wait_for_ever_for_a_disk_that_hangs(tmp_path, monkeypatch):
    writer = FrameWriter(tmp_path / "w.h5", (6, 5))
    gate, back = writer._write, threading.Event()

    def hanging(frames, *, flush):
        back.wait(30)
        gate(frames, flush=flush)

    monkeypatch.setattr(writer, "_write", hanging)
    taken = sum(writer.put(frame(n)) for n in range(queue_size((6, 5)) + 50))
    assert "not written to its end" in writer.close(timeout=0.2).error
    back.set()
    writer._thread.join(20)
    frames, ids, _, _ = read(tmp_path / "w.h5")
    assert len(ids) == len(frames) == taken


def test_writer_tells_a_frame_of_another_size(tmp_path):
    writer = FrameWriter(tmp_path / "w.h5", (6, 5))
    writer.put(frame(1))
    time.sleep(0.1)
    writer.put(frame(2, (7, 5)))
    written = writer.close()
    assert written.frames == 1
    assert "shape" in written.error
    with pytest.raises(SegmentError, match="exists already"):
        FrameWriter(tmp_path / "w.h5", (6, 5))
