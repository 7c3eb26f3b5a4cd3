"""The guard before a file that a user names is opened."""

import stat
from pathlib import Path

from jaxmi.errors import InputError


def check_regular_file(path: Path, max_bytes: int | None = None) -> None:
    """Check that a path leads to a regular file: reading a FIFO or a device would block.

    Symbolic links are followed.

    Args:
      path: The file.
      max_bytes: The most bytes that it may have; None sets no limit.

    Raises:
      InputError: if there is no such file, it is a folder, a FIFO, a socket or a device, or it is
        too large; names the path.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is not a regular file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise InputError(f"{path} has {status.st_size:,} bytes; at most {max_bytes:,} are read")
