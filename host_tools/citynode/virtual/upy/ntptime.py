"""`ntptime`: sets the clock from a time server (RFC 4330)."""

import socket
import struct
from time import gmtime

host = "pool.ntp.org"
timeout = 1

_SINCE_1900_S = 3155673600  # 2000-01-01, the epoch of the port
_ERA_S = 1 << 32
_OLDEST = 3913056000  # 2024-01-01: what seems older is of the era that begins in 2036


def time():
    address = socket.getaddrinfo(host, 123)[0][-1]
    request = bytearray(48)
    request[0] = 0x23  # version 4, client
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.settimeout(timeout)
        sock.sendto(request, address)
        answer = sock.recv(48)
    finally:
        sock.close()
    seconds = struct.unpack("!I", answer[40:44])[0]
    if seconds < _OLDEST:
        seconds += _ERA_S
    return seconds - _SINCE_1900_S


def settime():
    import machine

    now = gmtime(time())
    machine.RTC().datetime((now[0], now[1], now[2], now[6] + 1, now[3], now[4], now[5], 0))
