"""TCP inside the engine: connections of boards and servers, segment by segment, in virtual time.

What a program can see of TCP is here (RFC 9293): the handshake, windows, retransmissions, half-open
connections, FIN and RST. Congestion control is not: nothing else is on these wires.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from citynode.virtual.world.clock import NS

if TYPE_CHECKING:
    from citynode.virtual.engine import Timer
    from citynode.virtual.world.innernet import Host, InnerNetwork

# Numbers of the C library of the ESP32, as lwIP's err_to_errno gives them.
ECONNRESET = 104
ECONNABORTED = 113
ENOTCONN = 128

MSS = 1440


@dataclass(frozen=True, slots=True)
class Stack:
    """What differs between TCP implementations: buffers in bytes, times in ns.

    The wait for an acknowledgement is `rto_ns` and doubles with each repetition up to
    `longest_ns`. After `retries` repetitions the connection is given up, after `syn_retries` that
    are `syn_ns` apart an attempt to connect.
    """

    send_buffer: int
    window: int
    rto_ns: int
    longest_ns: int
    retries: int
    syn_ns: int
    syn_retries: int

    def wait_ns(self, repetitions: int) -> int:
        """Return how long to wait for the acknowledgement of what was repeated so often."""
        return min(self.rto_ns << repetitions, self.longest_ns)


# lwIP with the defaults of ESP-IDF 5: timers of 500 ms, TCP_RTO_TIME 1500, MAXRTX and SYNMAXRTX 12;
# it doubles a wait seven times (tcp_backoff), and that of a SYN never.
LWIP = Stack(
    send_buffer=4 * MSS,
    window=4 * MSS,
    rto_ns=3 * NS // 2,
    longest_ns=192 * NS,
    retries=12,
    syn_ns=3 * NS // 2,
    syn_retries=12,
)
# Linux: RTO_MIN on a short path, tcp_retries2 of 15, at most two minutes between repetitions.
LINUX = Stack(
    send_buffer=1 << 16,
    window=1 << 16,
    rto_ns=NS // 5,
    longest_ns=120 * NS,
    retries=15,
    syn_ns=NS,
    syn_retries=6,
)


@dataclass(frozen=True, slots=True)
class _Segment:
    offset: int
    data: bytes
    fin: bool
    ack: int
    window: int


class End:
    """One end of a connection; `on_change()` is called when more can be read, written or told.

    `error` is the errno that ended it, None while there is none.
    """

    def __init__(self, network: "InnerNetwork", host: "Host", stack: Stack, port: int) -> None:
        self.host = host
        self.port = port
        self.peer: End | None = None
        self.on_change: Callable[[], object] = lambda: None
        self.open = False
        self.eof = False  # the other end has sent its last byte
        self.error: int | None = None
        self.number = 0  # of the connection, in the order in which they were asked for
        self._network = network
        self._stack = stack
        self._inbox = bytearray()
        self._received = 0  # offset of the next byte (or FIN) that is waited for
        self._outbox = bytearray()  # from `_acked` on
        self._acked = self._sent = 0
        self._room = 0  # that the other end has told of
        self._closing = False
        self._fin_acked = False
        self._gone = False  # nobody knows of the connection here any more
        self._spoken = False  # whether a segment has gone out since the last one came in
        self._repeated = 0
        self._timer: Timer | None = None

    # -- for who uses it ------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many bytes `write` takes."""
        return self._stack.send_buffer - len(self._outbox) if self.open else 0

    @property
    def waiting(self) -> int:
        """How many bytes `read` gives."""
        return len(self._inbox)

    def read(self, count: int, end: bytes = b"") -> bytes:
        """Take up to `count` bytes, no further than the first `end`; b"" where there are none."""
        if end:
            at = self._inbox.find(end, 0, count)
            count = at + len(end) if at >= 0 else count
        before = self._window()
        data = bytes(self._inbox[:count])
        del self._inbox[:count]
        if before < MSS <= self._window() and self._connected():
            self._transmit()  # the other end may wait for room
        return data

    def write(self, data: bytes) -> int:
        """Send what there is room for, and return how much that is."""
        if not self.open or self._closing:
            return 0
        taken = min(len(data), self.room)
        self._outbox += data[:taken]
        self._pump()
        return taken

    def close(self) -> None:
        """Say the last word once all is sent; unread input makes it a reset (RFC 2525, 2.17)."""
        if self._gone or self._closing:
            return
        if not self.open or self._inbox:
            self.abort()
            return
        self._closing = True
        self._pump()

    def abort(self) -> None:
        """Reset the connection."""
        if not self._gone:
            self._network.note_tcp(self, "reset")
            peer = self.peer
            self.vanish()
            if peer is not None:
                self._network.carry(self.host, peer.host, peer._reset)

    def vanish(self) -> None:
        """Forget the connection without a word, as a loss of power does."""
        self._gone = True
        self.open = False
        self._stop_timer()

    def fail(self, error: int) -> None:
        """End the connection here with an error."""
        if not self._gone:
            self.error = error
            self.vanish()
            self.on_change()

    # -- the handshake --------------------------------------------------------------------------

    def connect(self, address: str, port: int) -> None:
        """Ask for a connection; `open` or `error` tell how it went."""
        self._network.carry_to(self.host, address, self._syn, address, port)
        if self._repeated < self._stack.syn_retries:
            self._arm(self._stack.syn_ns, self._ask_again, address, port)
        else:
            self._arm(NS // 2, self._give_up)

    def _ask_again(self, address: str, port: int) -> None:
        self._repeated += 1
        self.connect(address, port)

    def _give_up(self) -> None:
        self._network.note_tcp(self, "timeout")
        self.fail(ECONNABORTED)

    def _syn(self, host: "Host", address: str, port: int) -> None:
        """Arrive at the other host."""
        if self._gone:
            return
        peer = self.peer
        if peer is None:
            accept = host.listeners.get(port)
            if accept is None:
                self._network.carry(host, self.host, self._reset)
                return
            peer = self.peer = End(self._network, host, host.stack, port)
            peer.number = self.number
            peer.peer = self
            peer._room = self._stack.window
            peer.open = True
            accept(peer)
        if not peer._gone:
            self._network.carry(host, self.host, self._welcome, peer._stack.window)

    def _welcome(self, window: int) -> None:
        if self._gone or self.open:
            return
        self._stop_timer()
        self._repeated = 0
        self._room = window
        self.open = True
        self._network.note_tcp(self, "open")
        self._pump()
        self.on_change()

    # -- sending --------------------------------------------------------------------------------

    def _connected(self) -> bool:
        return self.open and not self._gone

    def _window(self) -> int:
        return max(0, self._stack.window - len(self._inbox))

    def _end(self) -> int:
        """Return the offset behind all that is to be sent, the FIN with it."""
        return self._acked + len(self._outbox) + int(self._closing and not self._fin_acked)

    def _pump(self) -> None:
        """Send what the other end has room for."""
        if not self._connected():
            return
        data_end = self._acked + len(self._outbox)
        while self._sent < data_end:
            room = self._acked + self._room - self._sent
            size = min(MSS, data_end - self._sent, room)
            if size <= 0:
                break
            start = self._sent - self._acked
            self._sent += size
            self._transmit(self._sent - size, bytes(self._outbox[start : start + size]))
        if self._closing and not self._fin_acked and self._sent == data_end:
            self._sent += 1
            self._transmit(data_end, b"", fin=True)
        if self._timer is None and self._acked < self._end():
            self._arm(self._stack.wait_ns(self._repeated), self._repeat)

    def _transmit(self, offset: int | None = None, data: bytes = b"", fin: bool = False) -> None:
        peer = self.peer
        if peer is None:
            return
        self._spoken = True
        at = self._sent if offset is None else offset
        segment = _Segment(at, data, fin, self._received, self._window())
        self._network.carry(self.host, peer.host, peer._arrive, segment)

    def _repeat(self) -> None:
        """Send what was not acknowledged once more; with no room there, one byte to probe it."""
        self._timer = None
        stuck = self._room == 0 and self._sent == self._acked
        if self._repeated >= self._stack.retries and not stuck:
            self._give_up()
            return
        self._repeated += 1
        self._sent = self._acked
        if stuck and self._outbox:
            self._transmit(self._acked, bytes(self._outbox[:1]))
            self._arm(self._stack.wait_ns(self._repeated), self._repeat)
        else:
            self._pump()

    # -- receiving ------------------------------------------------------------------------------

    def _arrive(self, segment: _Segment) -> None:
        peer = self.peer
        if self._gone:
            # Of a connection that this host does not know (any more), unless it ended well.
            if peer is not None and not (self._fin_acked and self.eof):
                self._network.carry(self.host, peer.host, peer._reset)
            return
        if not self.open:
            return  # the welcome before it was lost: it comes again
        self._spoken = False
        could_write, was_waiting, had_ended = self.room, self.waiting, self.eof
        self._take_ack(segment)
        expects_answer = bool(segment.data) or segment.fin
        if segment.data:
            self._take_data(segment)
            if self._gone:
                return
        last = segment.offset + len(segment.data)
        if segment.fin and last == self._received:
            self._received += 1
            self.eof = True
            if not self._closing:
                self._network.note_tcp(self, "ended by the other end")
        if self.waiting > was_waiting or self.eof > had_ended or self.room > could_write:
            self.on_change()
        if self._gone:
            return
        if expects_answer and not self._spoken:
            self._transmit()
        if self._fin_acked and self.eof:
            self._network.note_tcp(self, "closed")
            self.vanish()

    def _take_ack(self, segment: _Segment) -> None:
        self._room = segment.window
        # A FIN has an offset, but no byte in the box.
        fresh = segment.ack - self._acked
        if fresh > 0:
            if fresh > len(self._outbox):
                self._fin_acked = True
                fresh = len(self._outbox)
            del self._outbox[:fresh]
            self._acked += fresh
            self._sent = max(self._sent, segment.ack)
            self._repeated = 0
            self._stop_timer()
        self._pump()

    def _take_data(self, segment: _Segment) -> None:
        if self._closing:
            # Nobody is there to read it (RFC 9293, 3.6.1).
            self.abort()
            return
        known = self._received - segment.offset
        if 0 <= known < len(segment.data):
            data = segment.data[known : known + self._window()]
            self._inbox += data
            self._received += len(data)

    def _reset(self) -> None:
        if self._gone:
            return
        self._network.note_tcp(self, "reset by the other end" if self.open else "refused")
        self.fail(ECONNRESET)

    # -- waiting --------------------------------------------------------------------------------

    def _arm(self, ns: int, fn: Callable[..., object], *args: object) -> None:
        engine = self._network.engine
        self._timer = engine.call_at(engine.clock.now_ns() + ns, fn, *args)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
