"""The seam between a board's serial adapter and its outlets (TCP, PTY)."""

from typing import Protocol

from citynode.virtual.soc.rfc2217 import Settings

OUTPUT_LIMIT = 1 << 20  # bytes kept for a slow reader; the stub sends flash in 256 KiB windows
READ_SIZE = 65536


class Adapter(Protocol):
    """What an outlet needs of the port it belongs to."""

    @property
    def accepts_input(self) -> bool:
        """Whether there is room for more bytes of the tool."""
        ...

    def receive(self, data: bytes, settings: Settings) -> None:
        """Take bytes of a tool."""

    def drop_input(self) -> None:
        """Forget what the tool has sent and the board has not got yet."""

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Pass on DTR and RTS."""

    def set_break(self, on: bool) -> None:
        """Pass on a break."""
