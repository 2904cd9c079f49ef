"""The network inside the engine: hosts, names and packets in virtual time.

Nothing here is a socket of the machine: a packet is a call that is due later, or one that is lost.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVarTuple, Unpack

from citynode.virtual.world.network import LOOPBACK, Network
from citynode.virtual.world.tcp import LINUX, End, Stack

if TYPE_CHECKING:
    from citynode.virtual.engine import Engine

Ts = TypeVarTuple("Ts")
Datagram = Callable[["Host", int, bytes], None]  # from whom, its port, the bytes

GATEWAY = "198.18.255.254"
_MS = 1_000_000
_LOCAL_NS = 50_000  # from a host to itself
# lwIP asks a name server four times: after 1, 1, 2 and 3 s it has waited enough (dns.c).
_NAME_TIMEOUT_NS = 7_000 * _MS
_FIRST_PORT, _LAST_PORT = 49152, 65535


@dataclass(eq=False)
class Host:
    """A machine on the network.

    `name` is what it is called in events; `listeners` has for each TCP port who takes connections,
    `datagrams` for each UDP port who takes them. `silent` has it lose all that comes and goes;
    `reachable()` tells whether packets get to it at all.
    """

    name: str
    address: str
    stack: Stack = LINUX
    reachable: Callable[[], bool] = lambda: True
    station: bool = False  # behind an access point
    silent: bool = False
    listeners: dict[int, Callable[[End], object]] = field(default_factory=dict)
    datagrams: dict[int, Datagram] = field(default_factory=dict)
    _port: int = _FIRST_PORT - 1
    _busy_until_ns: dict["Host", int] = field(default_factory=dict)

    @property
    def hears(self) -> bool:
        """Whether a packet on its way to this host arrives."""
        return not self.silent and self.reachable()

    def free_port(self) -> int:
        """Return a port number that was not given for long."""
        self._port = self._port + 1 if self._port < _LAST_PORT else _FIRST_PORT
        return self._port


class InnerNetwork(Network):
    """The network behind the access points in virtual time.

    A packet takes a time drawn from `latency_ns` (shortest, longest) and is lost with the
    probability `loss`; between two hosts packets keep their order. `names_silent` has the name
    server lose all questions, `portal` has it send everybody to the captive portal.
    """

    def __init__(self, engine: "Engine") -> None:
        super().__init__()
        self.engine = engine
        self.latency_ns = 2 * _MS, 8 * _MS
        self.loss = 0.0
        self.names_silent = False
        self.portal = False
        self._rng = engine.rng("network")
        self._hosts: dict[str, Host] = {}
        self._observers: list[Callable[[str, str, str], object]] = []
        self._connections = 0

    # -- hosts ----------------------------------------------------------------------------------

    def join(self, host: Host) -> Host:
        """Put a host on the network; one that had its address is gone."""
        self._hosts[host.address] = host
        return host

    def serve(self, name: str) -> Host:
        """Return the host behind a name, which is made if it does not exist."""
        super().register(name)
        address = self.address(name)
        host = self._hosts.get(address)
        return host if host is not None else self.join(Host(name, address))

    def register(self, name: str, host: str = LOOPBACK, port: int | None = None) -> None:
        """Give a name to a host of the machine: it has an address, and no packet comes there."""
        super().register(name, host, port)
        self._hosts.pop(self.address(name), None)

    def observe(self, fn: Callable[[str, str, str], object]) -> None:
        """Call `fn(who, kind, detail)` for each event on the network."""
        self._observers.append(fn)

    def note(self, who: str, kind: str, detail: str = "") -> None:
        """Tell the observers of an event."""
        for observer in self._observers:
            observer(who, kind, detail)

    def note_tcp(self, end: End, what: str) -> None:
        """Tell the observers of a connection's event."""
        if self._observers:
            self.note(end.host.name, "tcp", f"{end.number} {what}")

    # -- names ----------------------------------------------------------------------------------

    def resolve(self, name: str, port: int = 0) -> str | None:
        """Return the address of a name as the name server gives it, None if it has none."""
        found = super().resolve(name, port)
        return GATEWAY if self.portal and found != name else found

    def lookup(self, host: Host, name: str, port: int) -> tuple[int, str | None]:
        """Return how long a look-up takes (ns), and its result."""
        if self.names_silent or not host.hears:
            self.note(host.name, "name", f"{name} no answer")
            return _NAME_TIMEOUT_NS, None
        address = self.resolve(name, port)
        self.note(host.name, "name", f"{name} {address or 'unknown'}")
        return self._latency() + self._latency(), address

    # -- packets --------------------------------------------------------------------------------

    def connect(self, host: Host, address: str, port: int) -> End:
        """Begin a connection from a host."""
        self._connections += 1
        end = End(self, host, host.stack, host.free_port())
        end.number = self._connections
        self.note(host.name, "tcp", f"{end.number} to {address}:{port}")
        end.connect(address, port)
        return end

    def send(self, host: Host, port: int, address: str, to_port: int, data: bytes) -> None:
        """Send a datagram; nobody learns what becomes of it."""

        def arrive(target: Host) -> None:
            take = target.datagrams.get(to_port)
            if take is not None:
                take(host, port, data)

        self.carry_to(host, address, arrive)

    def carry_to(
        self,
        source: Host,
        address: str,
        fn: Callable[[Host, Unpack[Ts]], object],
        *args: *Ts,
    ) -> None:
        """Call `fn(host, …)` when a packet arrives at the host of an address, if it does."""
        target = source if address.startswith("127.") else self._hosts.get(address)
        if target is not None:
            self.carry(source, target, fn, target, *args)

    def carry(
        self, source: Host, target: Host, fn: Callable[[Unpack[Ts]], object], *args: *Ts
    ) -> None:
        """Call `fn(…)` when a packet from one host arrives at another, if it does."""
        now = self.engine.clock.now_ns()
        if source is target:
            self.engine.call_at(now + _LOCAL_NS, fn, *args)
            return
        if not source.hears or (self.loss and self._rng.random() < self.loss):
            return
        if self.portal and source.station and not target.station and target.address != GATEWAY:
            return
        at = max(now + self._latency(), source._busy_until_ns.get(target, 0) + 1)
        source._busy_until_ns[target] = at
        self.engine.call_at(at, self._deliver, target, fn, args)

    def _deliver(self, target: Host, fn: Callable[..., object], args: tuple[object, ...]) -> None:
        if target.hears:
            fn(*args)

    def _latency(self) -> int:
        low, high = self.latency_ns
        return low + int((high - low) * self._rng.random())
