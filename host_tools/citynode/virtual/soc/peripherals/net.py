"""The chip's TCP/IP, as far as it decides where a packet goes: names, routes, listening ports.

In real time the bytes themselves go through sockets of the interpreter on the machine's loopback;
in virtual time all of it is in `sockets`.
"""

from collections import Counter

from citynode.virtual.soc.peripherals.pins import Host
from citynode.virtual.soc.peripherals.sockets import Sockets
from citynode.virtual.soc.peripherals.wlan import Wlan
from citynode.virtual.soc.rpc import Value
from citynode.virtual.world.innernet import InnerNetwork
from citynode.virtual.world.network import Network

CHANNEL = 90  # of the soft interrupt that tells of the link: 1 up, 0 down

# Numbers of the ESP32's C library and of lwIP.
ECONNREFUSED = 111
EHOSTUNREACH = 118
_EAI_FAIL = -202


class Net:
    """Where the packets of one board go; `lookups` counts the names that it asked for.

    `name` is the board's in events. `sockets` are those of virtual time.
    """

    def __init__(self, network: Network, wlan: Wlan, name: str = "") -> None:
        self.lookups: Counter[str] = Counter()
        self.listeners: dict[int, int] = {}
        self._network = network
        self._wlan = wlan
        self._host: Host | None = None
        self.sockets = Sockets(network, wlan, name) if isinstance(network, InnerNetwork) else None
        wlan.on_link = self._on_link if self.sockets is None else self.sockets.link

    def attach(self, app: Host) -> None:
        """Answer the calls of `socket`."""
        self._host = app
        if self.sockets is not None:
            self.sockets.attach(app)
            app.expose("net.lookup", self._lookup)
            return
        app.at_soft_reset(self.listeners.clear)
        app.expose("net.resolve", self._resolve)
        app.expose("net.route", self._route)
        app.expose("net.bound", self._bound)

    def reset(self) -> None:
        """Close what listens."""
        self.listeners.clear()
        if self.sockets is not None:
            self.sockets.reset()

    def _on_link(self, up: bool) -> None:
        if self._host is not None:
            self._host.post_irq(CHANNEL, int(up))

    def _resolve(self, name: str, port: int) -> str:
        """Return the address of a name; raises OSError as lwIP's look-up fails."""
        if name == "localhost":
            return "127.0.0.1"  # lwIP knows it without asking
        self.lookups[name] += 1
        address = self._network.resolve(name, port) if self._wlan.up else None
        if address is None:
            raise OSError(_EAI_FAIL, "no address")
        return address

    def _lookup(self, name: str, port: int) -> Value:
        """Return how long the look-up of a name takes (ns), and its address or None."""
        if name == "localhost":
            return 0, "127.0.0.1"
        self.lookups[name] += 1
        if self.sockets is None or not self._wlan.up:
            return 0, None
        return self.sockets.lookup(name, port)

    def _route(self, ip: str, port: int) -> Value:
        """Return the machine's (ip, port) behind an address; raises OSError."""
        if ip.startswith("127.") or ip in ("0.0.0.0", self._wlan.ip):
            if port in self.listeners:
                return "127.0.0.1", self.listeners[port]
            raise OSError(ECONNREFUSED, "nothing listens")
        there = self._network.map(ip, port) if self._wlan.up else None
        if there is None:
            raise OSError(EHOSTUNREACH, "no way there")
        return there

    def _bound(self, port: int, real: int) -> None:
        """Note that the board's `port` is the machine's port `real`."""
        self.listeners[port] = real
