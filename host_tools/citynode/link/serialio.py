"""Serial ports and RFC 2217 URLs, opened for us alone; failures are told apart by their number."""

import contextlib
import errno
import socket

import serial
from serial import rfc2217

_KINDS = {
    errno.ENOENT: "no_port",
    errno.ENODEV: "no_port",
    errno.ENXIO: "no_port",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EBUSY: "busy",
    errno.EAGAIN: "busy",
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "refused",
    errno.ENETUNREACH: "refused",
}


class PortError(Exception):
    """A port that cannot be used; `kind` is one of LinkError's."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(detail)
        self.kind = kind


class _Rfc2217(rfc2217.Serial):
    """pyserial's RFC 2217 port, without its needless waits.

    It negotiates all settings anew, for 100 ms, whenever the timeout is changed, which esptool
    does twice for each command: a connection takes 2 s with this, and 18 s without.
    """

    leave_lines = False  # DTR and RTS stay as the server has them until they are set
    _negotiated: tuple[object, ...] = ()
    _opening = False

    def open(self) -> None:
        self._opening = True
        try:
            super().open()
        finally:
            self._opening = False
        _keep_alive(self._socket)  # type: ignore[attr-defined]

    def _update_dtr_state(self) -> None:
        if not (self._opening and self.leave_lines):
            super()._update_dtr_state()  # type: ignore[misc]

    def _update_rts_state(self) -> None:
        if not (self._opening and self.leave_lines):
            super()._update_rts_state()  # type: ignore[misc]

    def _reconfigure_port(self) -> None:
        wanted = (self.baudrate, self.bytesize, self.parity, self.stopbits)
        if wanted != self._negotiated or self.write_timeout is not None:
            super()._reconfigure_port()  # type: ignore[misc]  # pyserial's types leave it out
            self._negotiated = wanted


def _keep_alive(connection: socket.socket) -> None:
    """Have the system notice a server that is gone without a word, in half a minute."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def open_port(
    port: str, baud: int, timeout_s: float | None = None, *, leave_lines: bool = False
) -> serial.SerialBase:
    """Open a port (device or URL) and lock it; raises PortError.

    pyserial asserts DTR and RTS one after the other. At a device that changes nothing: the system
    has asserted both at once, which resets no board. At an URL it is a change, for as long as the
    server takes to answer; with `leave_lines` it does not happen.
    """
    remote: _Rfc2217 | None = None
    try:
        line: serial.SerialBase
        if port.lower().startswith("rfc2217://"):
            line = remote = _Rfc2217(None, baudrate=baud, timeout=timeout_s)
            remote.leave_lines = leave_lines
            line.port = port
        else:
            line = serial.serial_for_url(
                port, baudrate=baud, timeout=timeout_s, exclusive=True, do_not_open=True
            )
        line.open()
    except (OSError, ValueError) as error:
        if remote is not None and error.__context__ is None:
            # Somebody has taken the connection, and then not talked of serial ports: servers whose
            # port is taken say so in words and hang up.
            raise PortError("not_rfc2217") from None
        raise PortError(*reason(error)) from None
    return line


def reason(error: BaseException) -> tuple[str, str]:
    """Return the kind and the text of an error met while opening a port."""
    cause: BaseException | None = error
    while cause is not None:
        # pyserial tells the number where the system does, else keeps the system's error inside.
        number = cause.errno if isinstance(cause, OSError) else None
        if isinstance(cause, socket.gaierror):
            return "no_host", str(error)
        if isinstance(cause, TimeoutError):
            return "refused", str(error)
        if number in _KINDS:
            return _KINDS[number], str(error)
        cause = cause.__cause__ or cause.__context__
    return "open", str(error)
