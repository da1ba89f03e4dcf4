"""Refusal of network file systems, where SQLite's locks and fsync cannot be trusted."""

import os
from pathlib import Path

import psutil

from nucleation_bluesky.ledger.errors import NetworkFileSystemError

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.ceph",
        "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.gvfsd-fuse", "fuse.juicefs",
        "fuse.mfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "fuse.vmhgfs-fuse", "glusterfs",
        "gpfs", "lustre", "ncpfs", "nfs", "nfs3", "nfs4", "orangefs", "osxfuse.sshfs", "panfs",
        "prl_fs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "sshfs", "vboxsf", "virtiofs",
        "webdav", "wekafs",
    }
)  # fmt: skip


def filesystem_type(path: str | os.PathLike[str]) -> str:
    """Type of the file system that holds ``path``.

    Parameters
    ----------
    path : path-like
        A file or directory; it need not exist, the nearest existing parent decides.

    Returns
    -------
    str
        Lower-case type as the operating system names it (``ext4``, ``nfs4``), "" if unknown.
    """
    resolved = Path(path).expanduser().resolve()
    best, found = -1, ""
    for partition in psutil.disk_partitions(all=True):
        mount = Path(partition.mountpoint)
        # later entries hide earlier ones at the same mount point, hence >=
        if resolved.is_relative_to(mount) and len(mount.parts) >= best:
            best, found = len(mount.parts), partition.fstype.lower()
    return found


def require_local_filesystem(path: str | os.PathLike[str], what: str) -> None:
    """Refuse ``path`` if it lies on a network file system.

    Parameters
    ----------
    path : path-like
        Where the file is or is going to be.
    what : str
        What the file is, for the message ("the exposure ledger").

    Raises
    ------
    NetworkFileSystemError
        If the file system is a network one.
    """
    kind = filesystem_type(path)
    if kind in NETWORK_FILE_SYSTEMS:
        raise NetworkFileSystemError(
            f"{what} cannot live in {Path(path).expanduser().resolve()}: this is a network file "
            f"system ({kind}), where locks and fsync are not reliable; choose a directory on a "
            "local disk of this machine"
        )
