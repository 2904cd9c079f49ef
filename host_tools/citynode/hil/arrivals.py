"""What has arrived of the nodes: one listener at the broker, for all boards of a bench."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from citynode.frames import Record, decode
from citynode.hil.console import NotSeenError
from citynode.hil.dut import Dut
from citynode.soak import topics
from citynode.soak.listener import Address, Listener
from citynode.wire.frame import FrameError

_MOST_NODES = 1000


class Arrivals:
    """Listens from its start on; raises CitynodeError if the broker cannot be reached then."""

    def __init__(self, address: Address) -> None:
        self._changed = threading.Condition()
        self._records: dict[str, list[Record]] = {}
        self.losses = 0  # of our own connection: what was published meanwhile is not known
        self._listener = Listener(address, self._message, self._state)

    def of(self, node_id: str) -> list[Record]:
        """Return the records of a node, copies too, as they came."""
        with self._changed:
            return list(self._records.get(node_id, ()))

    def wait(
        self, node_id: str, numbers: set[int], within_s: float, since: int = 0
    ) -> list[Record]:
        """Wait until all these numbers of a node have arrived behind its first `since` records.

        A node whose file system was made anew counts from 0 again. Raises NotSeenError.
        """
        end = time.monotonic() + within_s
        with self._changed:
            while missing := numbers - {each.seq for each in self._since(node_id, since)}:
                left = end - time.monotonic()
                if left <= 0:
                    few = ", ".join(map(str, sorted(missing)[:5]))
                    away = f"; we lost the broker {self.losses} times" if self.losses else ""
                    raise NotSeenError(
                        f"{len(missing)} records of {node_id} have not arrived "
                        f"(number {few}{away})",
                        within_s,
                    )
                self._changed.wait(left)
            return self._since(node_id, since)

    def _since(self, node_id: str, since: int) -> list[Record]:
        return self._records.get(node_id, [])[since:]

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _message(self, topic: str, payload: bytes) -> None:
        found = topics.read(topic, payload)
        if found is None:
            return
        try:
            records = decode(found[1])
        except FrameError:
            return  # somebody else's, on a broker that is not ours alone
        with self._changed:
            if found[0] in self._records or len(self._records) < _MOST_NODES:
                self._records.setdefault(found[0], []).extend(records)
            self._changed.notify_all()

    def _state(self, state: str) -> None:
        self.losses += state == "gone"


class Broker:
    """The fixture `broker`: what has arrived of a test's boards, and the way to it."""

    def __init__(self, arrivals: Arrivals, duts: list[Dut]) -> None:
        self._arrivals = arrivals
        self._duts = duts

    def records(self, board: Dut) -> list[Record]:
        """Return what has arrived of a board since the test began, copies too."""
        return self._arrivals.of(board.node_id)[board.arrived_before :]

    def wait(self, board: Dut, within_s: float = 60.0) -> list[Record]:
        """Wait for all that the board has accepted since the test began, and return that.

        What it accepts while this waits need not have arrived. Raises NotSeenError.
        """
        accepted = {record.seq for record in board.records}
        found = self._arrivals.wait(board.node_id, accepted, within_s, board.arrived_before)
        return [record for record in found if record.seq in accepted]

    @contextmanager
    def away(self) -> Iterator[None]:
        """Cut the way from the test's boards to the broker for as long as the block takes."""
        with _without("broker", self._duts):
            yield


class Network:
    """The fixture `network`: what the test's boards send over."""

    def __init__(self, duts: list[Dut]) -> None:
        self._duts = duts

    @contextmanager
    def wifi_away(self) -> Iterator[None]:
        """Have no access point for as long as the block takes."""
        with _without("wifi", self._duts):
            yield

    @contextmanager
    def lorawan_away(self) -> Iterator[None]:
        """Have no gateway that hears or sends for as long as the block takes."""
        with _without("lorawan", self._duts):
            yield


@contextmanager
def _without(cut: str, duts: list[Dut]) -> Iterator[None]:
    with ExitStack() as stack:
        for dut in duts:
            stack.enter_context(dut.without(cut))
        yield
