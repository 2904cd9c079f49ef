"""TCP inside the engine between two hosts without boards: every byte, in order, or an error."""

from types import SimpleNamespace

import pytest
from citynode.virtual.virtualtime import StalledError, VirtualEngine
from citynode.virtual.world.innernet import Host, InnerNetwork
from citynode.virtual.world.tcp import LINUX, LWIP
from hypothesis import given, settings
from hypothesis import strategies as st

NS = 1_000_000_000


class Pair:
    """A board's stack (`a`) connected to a server's (`b`)."""

    def __init__(self, seed=1, loss=0.0):
        self.engine = VirtualEngine(seed)
        net = self.net = InnerNetwork(self.engine)
        self.events = []
        net.observe(lambda *event: self.events.append(" ".join(event)))
        self.near = net.join(Host("board", "198.18.128.1", LWIP))
        self.far = net.serve("server.bench")
        self.far.listeners[7] = self.accept
        self.b = None
        net.loss = loss
        self.a = net.connect(self.near, self.far.address, 7)

    def accept(self, end):
        self.b = end

    def run(self, seconds):
        self.engine.run(until=self.engine.clock.now_ns() + round(seconds * NS))

    def open(self):
        self.engine.run(until=lambda: self.a.open and self.b is not None)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.engine.close()


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1 << 30),
    loss=st.sampled_from([0.0, 0.05, 0.3]),
    sizes=st.tuples(st.integers(0, 10000), st.integers(0, 100000)),
    slow=st.tuples(st.integers(100, 3000), st.integers(1000, 30000)),
)
def test_every_byte_arrives_in_order(seed, loss, sizes, slow):
    with Pair(seed, loss) as pair:
        pair.open()
        sides = []
        for end, size, slice_ in zip((pair.a, pair.b), sizes, slow, strict=True):
            data = bytes(n % 251 for n in range(size))
            side = SimpleNamespace(end=end, data=data, sent=0, got=bytearray(), slice=slice_)
            sides.append(side)

        def other(side):
            return sides[1 - sides.index(side)]

        def done():
            return all(len(side.got) == len(other(side).data) for side in sides)

        def read():
            for side in sides:
                if side.sent < len(side.data):
                    side.sent += side.end.write(side.data[side.sent :])
                side.got += side.end.read(side.slice)
            if not done():
                pair.engine.call_later(0.2, read)

        read()
        pair.engine.run(until=done)
        assert all(side.got == other(side).data for side in sides)
        for side in sides:
            side.end.close()
        pair.engine.run(until=lambda: pair.engine.next_ns() > 1 << 60)
        assert not any(side.end.open for side in sides)
        assert {pair.a.error, pair.b.error} <= {None, 104, 113}
        if not loss:
            assert pair.a.error is pair.b.error is None


def test_one_end_closes_and_the_other_may_still_talk():
    with Pair().open() as pair:
        pair.a.write(b"last words")
        pair.a.close()
        pair.run(1)
        assert (pair.b.eof, pair.b.read(99), pair.b.open) == (True, b"last words", True)
        pair.b.close()
        pair.run(1)
        assert not pair.a.open
        assert not pair.b.open
        assert [event.rsplit(" ", 1)[1] for event in pair.events[-2:]] == ["closed", "closed"]


@pytest.mark.parametrize("unread", [False, True])
def test_closing_with_unread_input_resets(unread):
    with Pair().open() as pair:
        pair.b.write(b"unheard")
        pair.run(1)
        if not unread:
            assert pair.a.read(9) == b"unheard"
        pair.a.close()
        pair.run(1)
        assert (pair.b.error, pair.b.eof) == ((104, False) if unread else (None, True))


def test_a_full_window_holds_the_sender_until_it_is_read():
    with Pair().open() as pair:
        sent = pair.b.write(bytes(100_000))
        assert sent == LINUX.send_buffer
        pair.run(30)
        assert pair.a.waiting == LWIP.window
        assert pair.b.room < LINUX.send_buffer
        pair.far.silent = True
        assert len(pair.a.read(LWIP.window)) == LWIP.window  # the word of it is lost
        pair.run(1)
        pair.far.silent = False
        pair.run(60)
        assert pair.a.waiting == LWIP.window  # the server has asked again


@pytest.mark.parametrize(
    ("who", "first_s", "last_s"),
    [
        # lwIP: 1.5 s, doubled seven times, then always 192 s: 13 waits.
        ("a", 1.5 * (255 + 5 * 128), 1.5 * (255 + 5 * 128)),
        # Linux (tcp_retries2): 924.6 s.
        ("b", 924.6, 924.6),
    ],
)
def test_unanswered_data_ends_the_connection_at_last(who, first_s, last_s):
    with Pair().open() as pair:
        end = getattr(pair, who)
        (pair.far if who == "a" else pair.near).silent = True
        end.write(b"anyone?")
        start = pair.engine.clock.now_ns()
        pair.engine.run(until=lambda: end.error is not None)
        assert end.error == 113
        assert first_s <= (pair.engine.clock.now_ns() - start) / NS <= last_s


def test_a_host_that_has_forgotten_resets():
    with Pair().open() as pair:
        pair.a.vanish()
        pair.run(5)
        assert pair.b.open  # half-open: nobody has told it
        pair.b.write(b"are you there?")
        pair.run(1)
        assert pair.b.error == 104


def test_connecting_survives_lost_packets_and_gives_up():
    with Pair() as pair:
        pair.far.silent = True
        pair.run(2)
        pair.far.silent = False
        pair.engine.run(until=lambda: pair.a.open)
        assert 3 <= pair.engine.clock.now_ns() / NS < 3.1
    with Pair() as pair:
        pair.far.silent = True
        with pytest.raises(StalledError):
            pair.engine.run(until=lambda: pair.a.open)
        assert pair.a.error == 113
        assert pair.engine.clock.now_ns() == 18_500_000_000
