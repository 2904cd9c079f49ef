"""The node's identity in NVS, namespace `citynode`: blobs, written at provisioning."""

from esp32 import NVS

from node.wire.const import const

_LONGEST = const(128)


class Identity:
    """Reads single values; nothing of it is kept or shown."""

    def __init__(self) -> None:
        self._nvs = NVS("citynode")

    def bytes(self, key: str):
        """Return a value, None if there is none."""
        buffer = bytearray(_LONGEST)
        try:
            size = self._nvs.get_blob(key, buffer)
        except OSError:
            return None
        return bytes(memoryview(buffer)[:size])

    def text(self, key: str):
        """Return a text, None if there is none or it is not UTF-8."""
        raw = self.bytes(key)
        try:
            return None if raw is None else str(raw, "utf-8")
        except UnicodeError:
            return None

    @property
    def node_id(self) -> str:
        """The node's name; `unprovisioned` where it has none."""
        return self.text("node_id") or "unprovisioned"
