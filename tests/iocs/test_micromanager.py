"""Micro-Manager's demonstration camera behind the camera front end."""

import time
from functools import partial

import h5py
import numpy as np
import pytest
from nucleation_bluesky.contract.camera import (
    EPICS_EPOCH,
    FRAMES_DATASET,
    TIMESTAMP_DATASET,
    UNIQUE_ID_DATASET,
    ImageMode,
)
from nucleation_bluesky.iocs.run import run_seccm_ioc
from nucleation_bluesky.iocs.server import IocError

from tests.iocs.client import starting
from tests.iocs.seccm_client import CameraClient
from tests.support.ioc import DEMO_SECCM, seccm_ioc

pytest.importorskip("mm_test_adapters")
pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def camera(tmp_path_factory, module_patch):
    serve = partial(seccm_ioc, tmp_path_factory.mktemp("ioc"), factory=DEMO_SECCM)
    with starting(serve, lambda ioc: CameraClient(ioc, module_patch)) as start:
        yield start(speed=1, camera="micromanager")


def test_a_film_of_the_demo_camera(camera, tmp_path):
    assert camera.get("cam1:Manufacturer_RBV") == "Micro-Manager"
    assert "DemoCamera" in camera.get("cam1:Model_RBV")
    camera.put("cam1:AcquireTime", 0.01)
    camera.put("cam1:AcquirePeriod", 0.02)
    camera.put("cam1:SizeX", 300)
    camera.put("cam1:SizeY", 200)
    camera.film(tmp_path, "mm")
    camera.put("cam1:ImageMode", int(ImageMode.MULTIPLE))
    camera.put("cam1:NumImages", 20)
    began = time.time()
    camera.put("cam1:Acquire", 1)
    ended = time.time()
    camera.put("HDF1:Capture", 0)
    assert camera.get("HDF1:DroppedArrays_RBV") == 0
    with h5py.File(camera.get("HDF1:FullFileName_RBV")) as file:
        frames = file[FRAMES_DATASET]
        assert frames.shape == (20, 200, 300)
        assert frames[:].std() > 0
        assert (np.diff(file[UNIQUE_ID_DATASET][:]) == 1).all()
        stamps = file[TIMESTAMP_DATASET][:] + EPICS_EPOCH
    assert (np.diff(stamps) > 0).all()
    assert began - 0.1 < stamps[0] < stamps[-1] < ended
    assert np.diff(stamps).mean() == pytest.approx(0.02, rel=0.5)


def test_a_stop_ends_a_continuous_sequence(camera, tmp_path):
    camera.put("cam1:ImageMode", int(ImageMode.CONTINUOUS))
    camera.film(tmp_path, "go")
    camera.put("cam1:Acquire", 1, wait=False)
    camera.wait_value("cam1:DetectorState_RBV", 1)
    time.sleep(0.3)
    camera.put("cam1:Acquire", 0)
    camera.put("HDF1:Capture", 0)
    assert camera.get("HDF1:NumCaptured_RBV") == camera.get("cam1:NumImagesCounter_RBV") > 3


def test_a_missing_configuration_is_one_sentence(tmp_path):
    with pytest.raises(IocError, match="does not exist"):
        run_seccm_ioc(
            factory=DEMO_SECCM,
            camera="micromanager",
            camera_settings={"config": tmp_path / "absent.cfg"},
        )
    (tmp_path / "bad.cfg").write_text("Device,Camera,NoSuchLibrary,DCam\n")
    with pytest.raises(IocError, match="Micro-Manager camera cannot be used"):
        run_seccm_ioc(
            factory=DEMO_SECCM,
            camera="micromanager",
            camera_settings={"config": tmp_path / "bad.cfg"},
        )
    with pytest.raises(IocError, match="no camera 'x'"):
        run_seccm_ioc(factory=DEMO_SECCM, camera="x")
