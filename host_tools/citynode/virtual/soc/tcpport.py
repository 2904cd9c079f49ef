"""A board's serial port as an RFC 2217 server on loopback TCP."""

import contextlib
import os
import socket

from citynode.errors import CitynodeError
from citynode.virtual.engine import Engine
from citynode.virtual.soc import rfc2217
from citynode.virtual.soc.adapter import OUTPUT_LIMIT, READ_SIZE, Adapter
from citynode.virtual.soc.line import heard
from citynode.virtual.soc.rfc2217 import Rfc2217, Settings
from citynode.virtual.soc.telnet import Data

_IN_USE = b"\r\nThis port is in use by another program.\r\n"
_REFUSED_S = 10.0


class TcpOutlet:
    """An RFC 2217 server for one client at a time."""

    def __init__(self, engine: Engine, line: Adapter, port: int) -> None:
        self._engine = engine
        self._line = line
        self._client: socket.socket | None = None
        self._protocol = Rfc2217()
        self._output = bytearray()  # escaped, ready for the socket
        self._data = bytearray()  # of the board, still to be escaped: what a purge throws away
        self._suspended = False
        self._refused: list[socket.socket] = []
        self._listener = _listen(port)
        self.port: int = self._listener.getsockname()[1]
        engine.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Close the client's connection and the listening socket."""
        self._hang_up()
        for refused in self._refused:
            self._engine.remove_reader(refused)
            refused.close()
        self._refused.clear()
        self._engine.remove_reader(self._listener)
        self._listener.close()

    def transmit(self, data: bytes, settings: Settings) -> None:
        """Take bytes of the board; without a client they are lost."""
        if self._client is None:
            return
        data, broken = heard(data, settings, self._protocol.settings)
        if broken:
            self._protocol.line_event(rfc2217.LINE_FRAMING_ERROR)
        room = OUTPUT_LIMIT - len(self._data)
        if len(data) > room:
            self._protocol.line_event(rfc2217.LINE_OVERRUN)
        self._data += data[:room]
        self._flush()

    def resume_reading(self) -> None:
        """Read from the client again after its bytes found no room."""
        if self._client is not None:
            self._engine.add_reader(self._client, self._readable)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # the peer was gone before we looked
            return
        if self._client is not None:
            # The last client's end may be waiting to be read behind its data.
            while self._read():
                pass
        client.setblocking(False)
        if self._client is not None:
            self._refuse(client)
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client
        self._protocol = Rfc2217()
        self._engine.add_reader(client, self._readable)
        self._flush()

    def _refuse(self, client: socket.socket) -> None:
        """Tell a second client that the port is taken, and end its connection in good order.

        Closing at once would break its writes with a reset, which pyserial passes on raw; so its
        bytes are read, for a while, until it goes.
        """

        def done() -> None:
            if client in self._refused:
                self._refused.remove(client)
                self._engine.remove_reader(client)
                client.close()

        def swallow() -> None:
            with contextlib.suppress(BlockingIOError):
                try:
                    if client.recv(READ_SIZE):
                        return
                except ConnectionError:
                    pass
                done()

        with contextlib.suppress(OSError):
            client.send(_IN_USE)
            client.shutdown(socket.SHUT_WR)
        self._refused.append(client)
        self._engine.add_reader(client, swallow)
        self._engine.call_later(_REFUSED_S, done)

    def _hang_up(self) -> None:
        if self._client is None:
            return
        self._engine.remove_reader(self._client)
        self._engine.remove_writer(self._client)
        self._client.close()
        self._client = None
        self._output.clear()
        self._data.clear()
        self._suspended = False
        # The driver drops both lines at once when a port is closed (HUPCL); that resets nothing.
        self._line.set_break(False)
        self._line.set_lines(dtr=False, rts=False)

    def _readable(self) -> None:
        if self._read() and self._client is not None and not self._line.accepts_input:
            self._engine.remove_reader(self._client)

    def _read(self) -> bool:
        """Take what the client has sent; tell whether there may be more."""
        client = self._client
        if client is None:
            return False
        try:
            raw = client.recv(READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            raw = b""
        if not raw:
            self._hang_up()
            return False
        settings = self._protocol.settings
        for event in self._protocol.receive(raw):
            if isinstance(event, Data):
                self._line.receive(event.data, settings)
            elif isinstance(event, Settings):
                settings = event
            elif isinstance(event, rfc2217.Lines):
                self._line.set_lines(dtr=event.dtr, rts=event.rts)
            elif isinstance(event, rfc2217.Break):
                self._line.set_break(event.on)
            elif isinstance(event, rfc2217.Purge):
                if event.receive:
                    self._data.clear()
                if event.transmit:
                    self._line.drop_input()
            else:
                self._suspended = event.on
        self._flush()
        return True

    def _flush(self) -> None:
        client = self._client
        if client is None:
            return
        self._output += self._protocol.take_output()
        while True:
            if not self._output and self._data and not self._suspended:
                self._output += Rfc2217.escape(bytes(self._data[:READ_SIZE]))
                del self._data[:READ_SIZE]
            if not self._output:
                self._engine.remove_writer(client)
                return
            try:
                sent = client.send(self._output)
            except BlockingIOError:
                self._engine.add_writer(client, self._flush)
                return
            except OSError:
                self._hang_up()
                return
            del self._output[:sent]


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(4)
    except OSError as error:
        listener.close()
        raise CitynodeError(
            f"cannot listen on 127.0.0.1 port {port}: {os.strerror(error.errno or 0)}",
            "choose another --base-port, or leave it out for free ports",
        ) from error
    listener.setblocking(False)
    return listener
