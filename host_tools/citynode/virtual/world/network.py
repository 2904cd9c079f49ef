"""The network behind the access points: names and ports that lead to the machine's loopback.

A board's packets never leave the machine: what is not registered here does not exist.
"""

import ipaddress
import socket
from dataclasses import dataclass

from citynode.errors import CitynodeError

NTP_PORT = 123
LOOPBACK = "127.0.0.1"
# Addresses that the bench's name server gives to registered names (RFC 2544 benchmarking range).
_POOL = ipaddress.IPv4Network("198.18.0.0/16")
_STATIONS = ipaddress.IPv4Network("198.18.128.0/17")
NTP_ADDRESS = "198.18.127.123"


@dataclass(frozen=True, slots=True)
class Service:
    """Where a registered name leads: an address on the machine, and a port if it is fixed."""

    ip: str
    port: int | None


class Network:
    """Names and addresses as the boards see them, and what is behind them.

    Each registered name gets an address of its own; port 123 of any host is the bench's NTP.
    """

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._addresses: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._ntp_port: int | None = None
        self._leases = 0

    def register(self, name: str, host: str = LOOPBACK, port: int | None = None) -> None:
        """Let `name` lead to `host`, and all its ports to `port` unless that is None.

        A name that exists is led elsewhere and keeps its address. Raises CitynodeError if the
        machine does not know `host`.
        """
        name = name.lower()
        try:
            self._services[name] = Service(socket.gethostbyname(host), port)
        except OSError as error:
            raise CitynodeError(
                f"{name} should lead to {host}, which has no address", "give a host that exists"
            ) from error
        if name not in self._addresses:
            address = _literal(name) or str(_POOL[len(self._addresses) + 1])
            self._addresses[name] = address
            self._names[address] = name

    def unregister(self, name: str) -> None:
        """Take a name away; nothing happens if it is not there."""
        self._services.pop(name.lower(), None)

    def address(self, name: str) -> str:
        """Return the address of a registered name; raises KeyError."""
        return self._addresses[name.lower()]

    def lease(self) -> str:
        """Return the address of one more station."""
        self._leases += 1
        return str(_STATIONS[self._leases])

    def serve_ntp(self, port: int | None) -> None:
        """Say on which UDP port of the loopback the NTP server is; None: there is none."""
        self._ntp_port = port

    def resolve(self, name: str, port: int = 0) -> str | None:
        """Return the IPv4 address of a name as the boards' name server gives it, None if unknown.

        A board asks together with the port: with that of NTP every name is the bench's.
        """
        name = name.lower().rstrip(".")
        if address := _literal(name):
            return address
        if name in self._services:
            return self._addresses[name]
        return NTP_ADDRESS if port == NTP_PORT and self._ntp_port is not None else None

    def map(self, host: str, port: int) -> tuple[str, int] | None:
        """Return the machine's (ip, port) behind a host (name or address) and port.

        None where nothing is: the packets of a board end there.
        """
        address = self.resolve(host, port)
        if address is None:
            return None
        if port == NTP_PORT and self._ntp_port is not None:
            return LOOPBACK, self._ntp_port
        service = self._services.get(self._names.get(address, ""))
        if service is not None:
            return service.ip, port if service.port is None else service.port
        return None


def _literal(name: str) -> str | None:
    """Return the text as an IPv4 address if it is one."""
    try:
        return str(ipaddress.IPv4Address(name))
    except ValueError:
        return None
