"""The serial port of a virtual board: one USB serial adapter with one or two ways in.

Output of the board that nobody listens to is lost, as on a real one; a listener that does not
keep up loses what is beyond the buffer.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from citynode.virtual.engine import Engine
from citynode.virtual.soc.pace import Lane
from citynode.virtual.soc.ptyport import PtyOutlet
from citynode.virtual.soc.rfc2217 import Settings
from citynode.virtual.soc.tcpport import TcpOutlet

_INPUT_LIMIT = 4096  # bytes on a paced line before the tool's writes have to wait


class BoardSide(Protocol):
    """What a port needs of its board."""

    def receive(self, data: bytes, settings: Settings) -> None:
        """Take bytes off the line, sent with `settings`."""

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Take the levels of DTR and RTS."""

    def set_break(self, on: bool) -> None:
        """Hold the board's RX line low, or let it go."""


class Outlet(Protocol):
    """One way to the people outside: a TCP connection or a PTY."""

    def transmit(self, data: bytes, settings: Settings) -> None:
        """Take bytes the board has sent with `settings`."""


class SerialPort:
    """A board's port: joins the board to its outlets, with the time bytes take if `paced`."""

    def __init__(self, engine: Engine, board: BoardSide, *, paced: bool) -> None:
        self._engine = engine
        self._board = board
        self._outlets: list[Outlet] = []
        self._from_board = Lane(engine, self._spread, paced=paced)
        self._to_board = Lane(engine, board.receive, paced=paced)
        self._to_board.on_room = self._room
        self.tcp: TcpOutlet | None = None
        self.pty: PtyOutlet | None = None

    def listen(self, port: int) -> int:
        """Open the RFC 2217 server on loopback (0: any free port) and return its port number.

        Raises CitynodeError when the port is taken.
        """
        self.tcp = TcpOutlet(self._engine, self, port)
        self._outlets.append(self.tcp)
        return self.tcp.port

    def open_pty(self, link: Path) -> Path:
        """Open a PTY with a symlink at `link` and return the link."""
        self.pty = PtyOutlet(self._engine, self, link)
        self._outlets.append(self.pty)
        return link

    def close(self) -> None:
        """Close all outlets, remove the symlink, drop what is on the line."""
        self._from_board.clear()
        self._to_board.clear()
        for outlet in (self.tcp, self.pty):
            if outlet is not None:
                outlet.close()
        self._outlets.clear()

    # -- the board's end ------------------------------------------------------------------------

    def transmit(self, data: bytes, settings: Settings) -> None:
        """Send bytes of the board."""
        self._from_board.send(data, settings)

    def when_sent(self, call: Callable[[], object]) -> None:
        """Call when everything the board has sent is off the line."""
        self._from_board.when_idle(call)

    def drop_output(self) -> None:
        """Forget what the board has not sent yet (it lost its power or its reset was pulled)."""
        self._from_board.clear()

    # -- the outlets' end -----------------------------------------------------------------------

    @property
    def accepts_input(self) -> bool:
        """Whether the adapter has room for more bytes of the tool."""
        return self._to_board.pending < _INPUT_LIMIT

    def receive(self, data: bytes, settings: Settings) -> None:
        """Take bytes of a tool."""
        self._to_board.send(data, settings)

    def drop_input(self) -> None:
        """Forget what the tool has sent and the board has not got yet."""
        self._to_board.clear()

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Pass on DTR and RTS."""
        self._board.set_lines(dtr=dtr, rts=rts)

    def set_break(self, on: bool) -> None:
        """Pass on a break."""
        self._board.set_break(on)

    def _spread(self, data: bytes, settings: Settings) -> None:
        for outlet in self._outlets:
            outlet.transmit(data, settings)

    def _room(self) -> None:
        if self.tcp is not None and self.accepts_input:
            self.tcp.resume_reading()
        if self.pty is not None and self.accepts_input:
            self.pty.resume_reading()
