"""Serial ports and RFC 2217 URLs, opened for us alone; failures are told apart by their number."""

import errno

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

    _negotiated: tuple[object, ...] = ()

    def _reconfigure_port(self) -> None:
        wanted = (self.baudrate, self.bytesize, self.parity, self.stopbits)
        if wanted != self._negotiated or self.write_timeout is not None:
            super()._reconfigure_port()  # type: ignore[misc]  # pyserial's types leave it out
            self._negotiated = wanted


def open_port(port: str, baud: int, timeout_s: float | None = None) -> serial.SerialBase:
    """Open a port (device or URL) and lock it; raises PortError."""
    try:
        line: serial.SerialBase
        if port.lower().startswith("rfc2217://"):
            line = _Rfc2217(None, baudrate=baud, timeout=timeout_s)
            line.port = port
        else:
            line = serial.serial_for_url(
                port, baudrate=baud, timeout=timeout_s, exclusive=True, do_not_open=True
            )
        line.open()
    except (OSError, ValueError) as error:
        raise PortError(*reason(error)) from None
    return line


def reason(error: BaseException) -> tuple[str, str]:
    """Return the kind and the text of an error met while opening a port."""
    cause: BaseException | None = error
    while cause is not None:
        # pyserial tells the number where the system does, else keeps the system's error inside.
        number = cause.errno if isinstance(cause, OSError) else None
        if number in _KINDS:
            return _KINDS[number], str(error)
        cause = cause.__cause__ or cause.__context__
    return "open", str(error)
