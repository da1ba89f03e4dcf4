"""Start the virtual instrument of a session as its own process."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from nucleation_bluesky.session.channel_access import use_loopback
from nucleation_bluesky.session.config import InstrumentConfig

logger = logging.getLogger(__name__)
READY = "ready"


class VirtualInstrumentError(RuntimeError):
    """The virtual instrument did not start; the message holds the end of its log."""


class VirtualInstrument:
    """A virtual instrument in its own process, ended with :meth:`stop` or with this process.

    Parameters
    ----------
    config : InstrumentConfig
        Prefix, speed, seed and changes of the virtual world.
    directory : Path
        Where its log goes.
    truth, trace : Path or None
        Files for ground truth and for the controller's own trace.
    environment : str
        Prefix of the environment PVs that it serves along; empty for none.
    camera_prefix : str or None
        Prefix of its camera's PVs, empty for none; None for an instrument that has no camera.
    world : mapping, optional
        Settings of its world, below those of ``config``.
    """

    def __init__(
        self,
        config: InstrumentConfig,
        directory: Path,
        *,
        truth: Path | None = None,
        trace: Path | None = None,
        environment: str = "",
        camera_prefix: str | None = None,
        world: Mapping[str, float] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / f"ioc-{config.family}.log"
        variables = os.environ | use_loopback()
        arguments = [sys.executable, "-m", "nucleation_bluesky", "ioc", config.family]
        arguments += ["--prefix", config.prefix, "--speed", str(config.virtual.speed)]
        arguments += ["--seed", str(config.virtual.seed), "--end-with", str(os.getpid())]
        arguments += ["--environment", environment]
        if camera_prefix is not None:
            arguments += ["--camera-prefix", camera_prefix]
        for name, value in {**(world or {}), **config.virtual.world}.items():
            arguments += ["--set", f"{name}={value!r}"]
        for option, path in (("--truth", truth), ("--trace", trace)):
            if path is not None:
                arguments += [option, str(path)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                arguments,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the RunEngine alone
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until the instrument serves its PVs.

        Raises
        ------
        VirtualInstrumentError
            If it ended or is not ready in time.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if READY in self.log.read_text(errors="replace").split():
                return
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
        self.stop()
        raise VirtualInstrumentError(f"the virtual instrument did not start ({self.log}):\n{tail}")

    def stop(self, timeout: float = 5.0) -> None:
        """End the process: it enters its safe state and closes its files."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            logger.warning("the virtual instrument did not end; killing pid %s", self.pid)
            self._process.kill()
            self._process.wait(timeout)
