"""Channel Access settings of this process, for instruments on loopback.

They must be in place before the first EPICS context is made, that is, before ophyd is imported.
"""

import logging
import os
import socket
import threading

logger = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port on loopback that is free now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def loopback_environment(port: int) -> dict[str, str]:
    """Return the variables for a client and a server that meet on loopback at ``port``."""
    return {
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_ADDR_LIST": f"{LOOPBACK}:{port}",
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_SERVER_PORT": str(port),
        "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
    }


def use_loopback(port: int) -> dict[str, str]:
    """Point this process's Channel Access at loopback and answer its repeater requests.

    Returns
    -------
    dict of str
        The variables that were set, for child processes.
    """
    variables = loopback_environment(port)
    if "EPICS_CA_REPEATER_PORT" not in os.environ:
        repeater = free_port(socket.SOCK_DGRAM)
        variables["EPICS_CA_REPEATER_PORT"] = str(repeater)
        os.environ.update(variables)
        _start_repeater()
    os.environ.update(variables)
    return variables


def _start_repeater() -> None:
    """Run caproto's repeater in a thread, so that libca does not look for its own program."""
    # imported here: caproto reads the environment when it is imported
    from caproto.sync.repeater import RepeaterAlreadyRunning, run  # noqa: PLC0415

    def serve() -> None:
        try:
            run(host=LOOPBACK)
        except (RepeaterAlreadyRunning, OSError) as error:
            logger.debug("no repeater started: %s", error)

    threading.Thread(target=serve, name="ca-repeater", daemon=True).start()
