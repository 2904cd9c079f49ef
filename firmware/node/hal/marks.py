"""Numbers that must never go back, in NVS: they outlive the file system.

They are written rarely, and in a namespace of their own, apart from the identity.
"""

from esp32 import NVS


class Marks:
    """Numbers of 0 … 2^31-1 by name, in an NVS namespace."""

    def __init__(self, namespace: str) -> None:
        self._nvs = NVS(namespace)

    def get(self, key: str) -> int:
        """Return a number, 0 if there is none."""
        try:
            return self._nvs.get_i32(key)
        except OSError:
            return 0

    def set(self, key: str, number: int) -> None:
        """Store a number; raises OSError."""
        self._nvs.set_i32(key, number)
        self._nvs.commit()
