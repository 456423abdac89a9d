"""What makes a new name in a folder last: without it a rename may be gone after a power cut."""

import os
from pathlib import Path


def sync(folder: Path) -> None:
    """Write the names in the folder to the device. Raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
