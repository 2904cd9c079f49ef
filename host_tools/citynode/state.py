"""What citynode must not forget: where it is kept, and how secrets are written there."""

import os
import secrets
from pathlib import Path

from platformdirs import user_state_path


def state_dir() -> Path:
    """Return the folder of what citynode must not forget: `CITYNODE_STATE`, else the user's."""
    if given := os.environ.get("CITYNODE_STATE"):
        return Path(given)
    return user_state_path("citynode")


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only we can read, whole or not at all, and on the disk at return."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # or the name could be gone after a power cut
        finally:
            os.close(folder)
