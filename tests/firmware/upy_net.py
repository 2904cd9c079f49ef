"""Time of day, WiFi and TCP connections over a network that a test plays; in virtual time."""

import asyncio
import select
import socket

from node.net.ntp import Sntp
from node.net.stream import open_stream
from node.net.wifi import Wifi
from node_bench import YEAR_2024, Node, Promise, cancelled, set_date
from node_tools import steps
from test_node_ntp import answer

ECONNREFUSED, EINPROGRESS, ENOENT = 111, 115, -2


class Net:
    """Servers, and sockets that notice."""

    def __init__(self, clock):
        self.clock = clock
        self.sockets = []
        self.requests = []  # when
        self.error = None
        self.waiting = []
        socket.peer = self

    def look_up(self, host, port):
        self.asked = host, port
        if self.error:
            raise self.error
        return "192.0.2.1", port


class TimeServer(Net):
    """Answers after `delay_ms` each way, off by `ahead_s`; `answers(packet)` gives what is sent."""

    def __init__(self, clock, start_s):
        super().__init__(clock)
        self.delay_ms = 30
        self.answers = lambda packet: [packet]
        self._start_s = start_s
        self._start_ms = clock.uptime_ms()

    def true_s(self):
        return self._start_s + (self.clock.uptime_ms() - self._start_ms) / 1000

    def send(self, sock, data, address):
        self.requests.append(self.clock.uptime_ms())
        there = self.true_s() + self.delay_ms / 1000
        packet = answer(there, there, origin=data[40:48])
        due = self.clock.uptime_ms() + 2 * self.delay_ms
        self.waiting = [(due, each) for each in self.answers(packet)]

    def receive(self, sock, size):
        if not self.waiting or self.waiting[0][0] > self.clock.uptime_ms():
            raise OSError(11)
        return self.waiting.pop(0)[1][:size], ("192.0.2.1", 123)


class Link:
    def __init__(self, up=True):
        self.up = asyncio.Event()
        if up:
            self.up.set()


def keep_time(node, server, seconds, *events, link=None):
    """Run the SNTP client; return the times it gave, as errors in ms."""
    promise = Promise(node.clock)
    errors = []

    def on_time(unix_ms):
        errors.append(unix_ms - int(1000 * server.true_s()))
        node.clock.set(unix_ms)

    sntp = Sntp(
        "ntp.bench",
        link or Link(),
        node.clock,
        lambda n: bytes(range(len(server.requests), len(server.requests) + n)),
        lambda: 0.5,
        on_time,
        node.log,
    )

    async def main():
        task = asyncio.create_task(sntp.run(promise))
        start = node.clock.uptime_ms()
        for at, call in events + ((seconds, None),):
            await node.clock.sleep_ms(int(1000 * at) - node.clock.uptime_ms() + start)
            if call:
                call()
        assert not task.done()
        await cancelled(task)
        promise.within(0)

    asyncio.run(main())
    assert promise.broken == []
    assert all(sock.closed for sock in server.sockets)
    return errors


def gaps(times):
    return [(ms + 500) // 1000 for ms in steps(times)]


def test_the_clock_is_set_and_kept():
    with Node() as node:
        server = TimeServer(node.clock, YEAR_2024 + 0.5)
        errors = keep_time(node, server, 4 * 3600)
        assert server.asked == ("ntp.bench", 123)
        assert gaps(server.requests) == [3600] * 3
        # The answer is looked for every 20 ms: that is what it may be off by.
        assert len(errors) == 4
        assert max([abs(each) for each in errors]) <= 20
        assert node.clock.known


def test_a_step_smaller_than_the_networks_jitter_is_not_made():
    for ahead_s, moved in ((0.012, False), (0.4, True), (-0.4, True)):
        with Node() as node:
            server = TimeServer(node.clock, YEAR_2024)
            set_date(YEAR_2024 + ahead_s)
            node.clock.known = True
            before = node.clock.unix_ms() - node.clock.uptime_ms()
            assert len(keep_time(node, server, 10)) == 1
            step = node.clock.unix_ms() - node.clock.uptime_ms() - before
            assert (step != 0) == moved
            assert abs(step) <= 420


def test_silence_is_borne_ever_more_rarely():
    with Node() as node:
        server = TimeServer(node.clock, YEAR_2024)
        server.answers = lambda packet: []
        assert keep_time(node, server, 4000) == []
        # Each wait is 3 s longer than the delay: so long an answer may take.
        assert gaps(server.requests)[:9] == [5, 7, 11, 19, 35, 67, 131, 259, 515]
        assert set(gaps(server.requests)[9:]) == {603}
        server.answers = lambda packet: [packet]
        assert len(keep_time(node, server, 601)) == 1


def test_a_name_that_nobody_knows():
    with Node() as node:
        server = TimeServer(node.clock, YEAR_2024)
        server.error = OSError(ENOENT)
        assert keep_time(node, server, 100) == []
        assert server.requests == []
        assert len([line for line in node.lines if "no answer" in line]) == 6


def test_a_bad_answer_does_not_hide_the_good_one():
    with Node() as node:
        server = TimeServer(node.clock, YEAR_2024)
        server.answers = lambda packet: [b"?", bytes(48), packet[:24] + bytes(24), packet]
        errors = keep_time(node, server, 10)
        assert len(errors) == 1
        assert abs(errors[0]) <= 60


def test_bad_answers_alone_set_nothing():
    with Node() as node:
        server = TimeServer(node.clock, YEAR_2024)
        server.answers = lambda packet: [packet[:1] + b"\0" + packet[2:]]
        assert keep_time(node, server, 30) == []
        assert not node.clock.known
        assert any("bad answer: stratum" in line for line in node.lines)
        assert gaps(server.requests)[:3] == [5, 7, 11]


def test_nobody_is_asked_without_a_link():
    with Node() as node:
        server = TimeServer(node.clock, YEAR_2024)
        link = Link(up=False)
        start = node.clock.uptime_ms()
        assert len(keep_time(node, server, 500, (400, link.up.set), link=link)) == 1
        assert 400000 <= server.requests[0] - start <= 400250


def test_an_answer_that_is_cut_off_by_the_end_of_the_program_leaves_no_socket():
    with Node() as node:
        server = TimeServer(node.clock, YEAR_2024)
        server.answers = lambda packet: []
        keep_time(node, server, 1)
        assert [sock.closed for sock in server.sockets] == [True]


CONNECTING, FAILED, NO_AP, GOT_IP = 1001, 202, 201, 1010
TEXTS = {FAILED: "wrong password", NO_AP: "no access point"}


class Wlan:
    """A station interface: `joins` is what becomes of the attempts, the last for ever.

    A number of ms until it is connected, a status of failure, None for silence, or an OSError.
    """

    def __init__(self, clock, joins):
        self.clock = clock
        self.joins = joins
        self.attempts = []
        self.log = []
        self._since = None
        self.outcome = self.reason = None

    def active(self, on):
        self.log.append("on" if on else "off")

    def config(self, **values):
        assert values == {"reconnects": 0}

    def connect(self, ssid, key):
        assert (ssid, key) == ("bench", "secret key")
        self.attempts.append(self.clock.uptime_ms())
        self._since = self.clock.uptime_ms()
        self.outcome = self.joins.pop(0) if len(self.joins) > 1 else self.joins[0]
        if isinstance(self.outcome, OSError):
            raise self.outcome

    def disconnect(self):
        self.log.append("disconnect")
        self.outcome = None

    def isconnected(self):
        waited = self.clock.uptime_ms() - (self._since or 0)
        good = isinstance(self.outcome, int) and self.outcome not in TEXTS
        return good and waited >= self.outcome

    def status(self, what=None):
        if what == "rssi":
            return -61
        if self.outcome in TEXTS:
            self.reason = self.outcome
        # As the driver does: the last failure is told until an attempt has succeeded.
        return self.reason or CONNECTING


def join(node, joins, seconds, *events):
    """Run WiFi for some time; return it and its interface."""
    wlan = Wlan(node.clock, joins)
    promise = Promise(node.clock)
    wifi = Wifi(
        wlan,
        "bench",
        "secret key",
        TEXTS,
        node.clock,
        lambda: 0.5,
        node.counters,
        node.log,
    )

    async def main():
        task = asyncio.create_task(wifi.run(promise))
        start = node.clock.uptime_ms()
        for at, call in events + ((seconds, lambda *_: None),):
            await node.clock.sleep_ms(int(1000 * at) - node.clock.uptime_ms() + start)
            call(wifi, wlan)
        assert not task.done()
        await cancelled(task)
        promise.within(0)

    asyncio.run(main())
    assert promise.broken == []
    assert not any("secret" in line or "bench" in line for line in node.lines)
    return wifi, wlan


def test_wifi_comes_up_and_stays():
    with Node() as node:
        seen = []

        def note(wifi, wlan):
            seen.append((wifi.up.is_set(), wifi.rssi()))

        join(node, [700], 7200, (0.5, note), (1, note), (7000, note))
        assert seen == [(False, None), (True, -61), (True, -61)]
        assert node.counters.link_reconnects == 0


def test_wifi_waits_longer_after_each_failure():
    rows = (
        # what happens, how long an attempt takes until it is given up (s)
        (FAILED, 3.1, "wrong password"),
        (NO_AP, 3.1, "no access point"),
        (None, 20, "no answer"),
        (OSError("Wifi Internal State Error"), 0, "driver error"),
    )
    for outcome, took, text in rows:
        with Node() as node:
            wifi, wlan = join(node, [outcome], 2000)
            expected = [round(took + delay) for delay in (1, 2, 4, 8, 16, 32, 64, 120, 120)]
            assert gaps(wlan.attempts)[:9] == expected, text
            assert any(text in line for line in node.lines)
            # A driver that refuses is switched off before it is tried again.
            assert ("off" in wlan.log) == isinstance(outcome, OSError)
            assert not wifi.up.is_set()


def test_wifi_comes_back_by_itself_and_a_new_failure_is_a_first_one():
    with Node() as node:

        def lose(wifi, wlan):
            wlan.outcome = None

        states = []

        def note(wifi, wlan):
            states.append(wifi.up.is_set())

        events = ((50, note), (100, lose), (110, note), (200, lose), (210, note))
        _, wlan = join(node, [FAILED, FAILED, 1500], 300, *events)
        assert states == [True, True, True]
        assert node.counters.link_reconnects == 2
        assert len(wlan.attempts) == 5


def test_wifi_is_renewed_on_request():
    with Node() as node:
        _, wlan = join(node, [100], 60, (30, lambda wifi, wlan: wifi.renew()))
        assert len(wlan.attempts) == 2
        assert "disconnect" in wlan.log
        assert node.counters.link_reconnects == 1


class Tcp(Net):
    """A server that takes connections: `events` is what poll says, after `delay_ms`."""

    def __init__(self, clock, events=select.POLLOUT, delay_ms=0, at_once=None):
        super().__init__(clock)
        self.events = events
        self.delay_ms = delay_ms
        self.at_once = at_once

    def connect(self, sock, address):
        assert address == ("192.0.2.1", 1883)
        if self.at_once is not None:
            raise self.at_once

        async def later():
            await self.clock.sleep_ms(self.delay_ms)
            sock.events = self.events

        self.task = asyncio.create_task(later())
        raise OSError(EINPROGRESS)


def dial(node, limit_s=15):
    """Open a stream; return the outcome and how long it took in ms."""

    async def main():
        start = node.clock.uptime_ms()
        try:
            await asyncio.wait_for(open_stream("broker", 1883, None, node.clock), limit_s)
            outcome = "open"
        except asyncio.TimeoutError:  # noqa: UP041
            outcome = "timeout"
        except OSError as error:
            outcome = error.errno
        return outcome, node.clock.uptime_ms() - start

    return asyncio.run(main())


def test_connections_are_opened_refused_or_given_up():
    rows = (
        ({}, "open", 20),
        ({"delay_ms": 3000}, "open", 3020),
        ({"events": select.POLLERR | select.POLLHUP}, ECONNREFUSED, 20),
        ({"events": select.POLLOUT | select.POLLHUP, "delay_ms": 500}, ECONNREFUSED, 520),
        ({"at_once": OSError(118)}, 118, 0),
        ({"events": 0}, "timeout", 15000),
    )
    for options, expected, longest in rows:
        with Node() as node:
            server = Tcp(node.clock, **options)
            outcome, took = dial(node)
            assert outcome == expected, options
            assert took <= longest
            assert [sock.closed for sock in server.sockets] == [expected != "open"]


def test_a_broker_whose_name_is_unknown():
    with Node() as node:
        server = Tcp(node.clock)
        server.error = OSError(ENOENT)
        assert dial(node) == (ENOENT, 0)
        assert server.sockets == []
