"""What sockets of the machine are to a program on the ESP32: its errors, its link."""

import _irq
import ffi
from _rpc import call

# Where Linux numbers an error otherwise than the C library of the ESP32.
_ERRNO = {
    88: 108,  # ENOTSOCK
    89: 121,  # EDESTADDRREQ
    90: 122,  # EMSGSIZE
    91: 107,  # EPROTOTYPE
    92: 109,  # ENOPROTOOPT
    93: 123,  # EPROTONOSUPPORT
    97: 106,  # EAFNOSUPPORT
    98: 112,  # EADDRINUSE
    99: 125,  # EADDRNOTAVAIL
    100: 115,  # ENETDOWN
    101: 114,  # ENETUNREACH
    103: 113,  # ECONNABORTED
    106: 127,  # EISCONN
    107: 128,  # ENOTCONN
    110: 116,  # ETIMEDOUT
    112: 117,  # EHOSTDOWN
    113: 118,  # EHOSTUNREACH
    114: 120,  # EALREADY
    115: 119,  # EINPROGRESS
}
# macOS has numbers of its own.
_DARWIN = {
    35: 11,  # EAGAIN
    36: 119,
    37: 120,
    38: 108,
    39: 121,
    40: 122,
    41: 107,
    42: 109,
    43: 123,
    45: 95,
    47: 106,
    48: 112,
    49: 125,
    50: 115,
    51: 114,
    53: 113,
    54: 104,
    55: 105,
    56: 127,
    57: 128,
    60: 116,
    61: 111,
    65: 118,
}
EAGAIN = 11
ECONNABORTED = 113
ETIMEDOUT = 116
_SHUT_BOTH = 2
CHANNEL = 90

_libc = ffi.open(None)
_shutdown = _libc.func("i", "shutdown", "ii")
try:
    _libc.func("i", "prctl", "i")
except OSError:
    _ERRNO = _DARWIN

open_fds = set()  # connections that end when the link does
age = 0  # how often the link was lost


def translated(error):
    """Return the error as the ESP32 has it."""
    number = error.errno
    return OSError(_ERRNO.get(number, number))


def _on_link(up):
    global age
    if up:
        return
    age += 1
    # lwIP aborts the connections of an address that is gone; who waits for one is woken.
    for fd in open_fds:
        _shutdown(fd, _SHUT_BOTH)
    open_fds.clear()


_irq.attach(CHANNEL, _on_link)


def route(address):
    """Return the machine's (ip, port) behind an address; raises OSError."""
    ip, port = call("net.route", address[0], address[1])
    return ip, port
