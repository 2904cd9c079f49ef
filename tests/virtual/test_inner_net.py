"""Sockets in virtual time: what a program meets on the network inside the engine, and when."""

from itertools import pairwise

import pytest
from inner_net_bench import NS, run, told

EXPECTED = {
    # What is done, what it gives, and after how many ms: at least, and less than that.
    "refused": ("attempt(dial, 'echo.bench', 80)", 104, 4, 50),
    "no such host": ("attempt(dial, '198.18.0.99', 80)", 113, 18_500, 18_600),
    "no such host, timeout": ("attempt(dial, '198.18.0.99', 80, 2)", 116, 2_100, 2_200),
    "no such name": ("attempt(dial, 'nowhere.bench', 80)", -202, 4, 50),
    "silent server": ("s = dial('echo.bench', 7, 0.5)\nattempt(s.recv, 1)", 116, 600, 700),
    "nothing yet": (
        "s = dial('echo.bench', 7)\ns.setblocking(False)\nattempt(s.recv, 1)", 11, 4, 50,
    ),
    "not connected": ("attempt(socket.socket().send, b'x')", 128, 0, 5),
    "none left": ("a = [socket.socket() for _ in '0123456789']\nattempt(socket.socket)", 23, 0, 5),
    "closed": ("s = socket.socket()\ns.close()\nattempt(s.recv, 1)", 9, 0, 5),
    "no link": ("wlan.disconnect()\nattempt(dial, '198.18.0.1', 7)", 118, 0, 5),
    "no link, name": ("wlan.disconnect()\nattempt(dial, 'echo.bench', 7)", -202, 0, 5),
    "echo": ("s = dial('echo.bench', 7)\ns.send(b'hello')\nattempt(s.recv, 9)", b"hello", 12, 50),
    "lines": (
        "s = dial('echo.bench', 7)\ns.write(b'a\\nbc')\nattempt(lambda: (s.readline(), s.read(2)))",
        (b"a\n", b"bc"), 12, 50,
    ),
    "connected twice": (
        "s = dial('echo.bench', 7)\nattempt(s.connect, ('198.18.0.1', 7))", 127, 4, 50,
    ),
    "datagram to nobody": (
        "s = socket.socket(2, 2)\ns.settimeout(1)\ns.sendto(b'x', ('198.18.0.1', 9))\n"
        "attempt(s.recvfrom, 9)", 116, 1_100, 1_200,
    ),
    "itself": (
        "l = socket.socket()\nl.bind(('', 80))\nl.listen(1)\ns = dial('127.0.0.1', 80)\n"
        "s.send(b'me')\nattempt(lambda: l.accept()[0].recv(5))", b"me", 0, 5,
    ),
    "polled": (
        "s = dial('echo.bench', 7)\np = select.poll()\np.register(s, select.POLLIN)\n"
        "s.send(b'x')\nattempt(lambda: (p.poll(1000)[0][1], s.recv(1), p.poll(10)))",
        (1, b"x", []), 20, 60,
    ),
    "polled while quiet, and again": (
        "s = dial('echo.bench', 7)\np = select.poll()\np.register(s, select.POLLIN)\n"
        "quiet = (p.poll(50), p.poll(0), p.poll(50))\ns.send(b'x')\n"
        "attempt(lambda: quiet + (p.poll(1000)[0][1], p.poll(0)[0][1], s.recv(1), p.poll(0)))",
        ([], [], [], 1, 1, b"x", []), 110, 160,
    ),
    "closed while polled": (
        "s = dial('echo.bench', 7)\np = select.poll()\np.register(s, select.POLLIN)\n"
        "p.poll(50)\ns.close()\nattempt(lambda: p.poll(1000)[0][1])", 32, 50, 100,
    ),
}  # fmt: skip


def test_what_calls_give_and_how_long_they_take(racks):
    """All in one program, one after another, each on its own clock."""
    program = "".join(
        f"if not wlan.isconnected():\n    wlan.connect()\n"
        f"    while not wlan.isconnected():\n        time.sleep_ms(20)\n"
        f"import gc\na = s = l = p = None\ngc.collect()\n"
        f"start = time.ticks_ms()\n{do}\n"
        for do, *_ in EXPECTED.values()
    )
    results, _ = run(racks, program, 120)
    assert len(results) == len(EXPECTED)
    for (name, (_, value, least, most)), (ms, got) in zip(EXPECTED.items(), results, strict=True):
        assert (name, got) == (name, value)
        assert least <= ms < most, name


# -- what happens meanwhile ------------------------------------------------------------------------

TALK = """
async def main():
    reader, writer = await asyncio.open_connection('echo.bench', 7)
    for n in range({count}):
        try:
            writer.write(b'%d\\n' % n)
            await writer.drain()
            tell(await asyncio.wait_for(reader.readline(), 600))
        except (OSError, asyncio.TimeoutError) as error:
            tell(error.errno if isinstance(error, OSError) else 'timeout', wlan.isconnected())
            attempt(writer.s.write, b'more')
            break
        await asyncio.sleep(1)
asyncio.run(main())
"""


def at(rack, seconds, fn, *args, **kwargs):
    rack.engine.call_at(round(seconds * NS), lambda: fn(*args, **kwargs))


def away(rack, first_s, last_s):
    point = rack.world.wifi.access_points[0]
    at(rack, first_s, rack.world.wifi.change, point, on=False)
    at(rack, last_s, rack.world.wifi.change, point, on=True)


def test_a_short_gap_is_bridged_by_repetitions(racks):
    lines, log = run(racks, TALK.format(count=6), before=lambda rack: away(rack, 3.5, 7.5))
    assert [said for _, said in lines] == [b"%d\n" % n for n in range(6)]
    late = [after - before for (before, _), (after, _) in pairwise(lines)]
    # lwIP repeats after 1.5 s, and then 3 s later: one answer comes that much late.
    assert [ms > 1100 for ms in late].count(True) == 1
    assert 5400 < max(late) < 5700
    assert sum(" link " in line for line in log) == 1


def test_connections_end_with_the_link(racks):
    lines, _ = run(racks, TALK.format(count=9), before=lambda rack: away(rack, 3.2, 30))
    assert [each[1:] for each in lines[-2:]] == [(113, False), (128,)]
    # Six seconds without beacons.
    assert 7.8e3 < lines[-1][0] < 8.2e3


def test_a_server_that_is_gone_silent(racks):
    """Half-open: nothing tells the program, until lwIP has repeated for long enough."""

    def silent(rack):
        at(rack, 3.2, setattr, rack.world.inner.serve("echo.bench"), "silent", True)

    lines, _ = run(racks, TALK.format(count=9), 3600, silent)
    assert lines[-2][1:] == ("timeout", True)
    assert lines[-1][1] == 4  # what is written is taken, as long as there is room


def ends(end):
    """Answer one line, then close in order; `resets`: with a reset."""
    end.on_change = lambda: (end.write(end.read(end.waiting)), end.close()) if end.waiting else None


def resets(end):
    end.on_change = lambda: end.abort() if end.waiting else None


LAST = """
s = dial('echo.bench', {port})
s.send(b'x\\n')
for _ in range(3):
    attempt(s.readline)
p = select.poll()
p.register(s, select.POLLIN)
tell(p.poll(10)[0][1])
"""


@pytest.mark.parametrize(
    ("server", "said"), [(ends, [b"x\n", b"", b"", 1]), (resets, [104, 128, 128, 1])]
)
def test_a_server_ends_the_connection(racks, server, said):
    def serve(rack):
        rack.world.inner.serve("echo.bench").listeners[9] = server

    lines, _ = run(racks, LAST.format(port=9), before=serve)
    assert [text for _, text in lines] == said


BULK = """
s = dial('echo.bench', 7)
s.setblocking(False)
p = select.poll()
p.register(s, select.POLLIN | select.POLLOUT)
data = bytes(range(250)) * 80
sent = got = 0
same = True
while got < len(data):
    events = p.poll(100000)[0][1]
    if events & select.POLLOUT and sent < len(data):
        sent += s.write(memoryview(data)[sent:]) or 0
        if sent == len(data):
            p.modify(s, select.POLLIN)
    if events & select.POLLIN:
        part = s.read(700) or b''
        same = same and part == data[got:got + len(part)]
        got += len(part)
    {pause}
tell(same, got)
"""


@pytest.mark.parametrize(
    ("loss", "pause"), [(0.0, "pass"), (0.2, "pass"), (0.0, "time.sleep_ms(50)")]
)
def test_all_bytes_come_in_order(racks, loss, pause):
    def lossy(rack):
        rack.world.inner.loss = loss

    lines, _ = run(racks, BULK.format(pause=pause), 4000, lossy)
    assert lines[-1][1:] == (True, 20000)


def test_boards_talk_to_each_other(racks):
    listener = """
l = socket.socket()
l.bind(('', 2000))
l.listen(2)
tell(wlan.ifconfig()[0])
s, (ip, port) = l.accept()
tell(ip, s.recv(20))
s.send(b'hello you')
s.close()
"""
    caller = """
time.sleep(1)
s = dial('198.18.128.{peer}', 2000)
s.send(b'it is me')
attempt(s.recv, 20)
attempt(s.recv, 20)
tell(wlan.ifconfig()[0])
"""
    for seed in range(4, 20):
        with racks(listener, caller.format(peer=1), seed=seed) as rack:
            if [board.mac[5] >> 2 & 1 for board in rack.boards] != [0, 1]:
                continue
            rack.engine.run(until=10 * NS)
            assert [each[1:] for each in told(rack, 0)] == [
                ("198.18.128.1",), ("198.18.128.2", b"it is me"),
            ]  # fmt: skip
            assert [each[1] for each in told(rack, 1)] == [b"hello you", b"", "198.18.128.2"]
            break
    else:
        pytest.fail("no seed tells the boards apart")


NAMES = """
for _ in range(4):
    attempt(lambda: socket.getaddrinfo('echo.bench', 7)[0][-1][0])
    time.sleep_ms(max(0, 10000 - since() % 10000))
"""


def test_names_and_the_captive_portal(racks):
    fetch = """
s = dial('echo.bench', 80)
s.send(b'GET / HTTP/1.0\\r\\n\\r\\n')
attempt(lambda: s.read().split(b'\\r\\n')[0])
attempt(dial, 'echo.bench', 7)
attempt(dial, '198.18.0.3', 7, 1)
"""

    def change(rack):
        net = rack.world.inner
        at(rack, 10, setattr, net, "names_silent", True)
        at(rack, 20, setattr, net, "names_silent", False)
        at(rack, 20, net.unregister, "echo.bench")
        at(rack, 30, setattr, net, "portal", True)

    lines, _ = run(racks, NAMES + fetch, 80, change)
    assert [value for _, value in lines] == [
        "198.18.0.3", -202, -202, "198.18.255.254", b"HTTP/1.1 302 Found", 104, 116,
    ]  # fmt: skip
    assert 7000 <= lines[1][0] % 10000 < 7010


CLOCK = """
import ntptime
for _ in range(4):
    attempt(ntptime.time)
    time.sleep_ms(max(0, 10000 - since() % 10000))
s = socket.socket(2, 2)
s.sendto(b'\\x23' + bytes(39) + b'12345678', socket.getaddrinfo('any.example', 123)[0][-1])
s.settimeout(1)
packet, address = s.recvfrom(90)
tell(packet[:2], packet[12:16], packet[24:32], address)
"""


def test_the_time_server(racks):
    def change(rack):
        at(rack, 10, setattr, rack.world.ntp, "silent", True)
        at(rack, 20, setattr, rack.world.ntp, "silent", False)
        at(rack, 20, setattr, rack.world.ntp, "offset_ns", -90 * NS)
        at(rack, 40, setattr, rack.world.ntp, "kiss", b"RATE")

    start = 1_767_225_600 - 946_684_800
    lines, _ = run(racks, CLOCK, 60, change)
    assert [each[1] for each in lines[:4]] == [start + 1, 116, start - 90 + 21, start - 90 + 31]
    assert lines[4][1:] == (b"\xe4\0", b"RATE", b"12345678", ("198.18.127.123", 123))


def test_equal_seeds_give_equal_logs(racks):
    def lossy(rack):
        rack.world.inner.loss = 0.1
        away(rack, 4, 6)

    logs = [run(racks, TALK.format(count=9), 40, lossy, seed=seed)[1] for seed in (5, 5, 6)]
    assert logs[0] == logs[1] != logs[2]
    kinds = {line.split()[2] for line in logs[0]}
    assert {"link", "name", "tcp"} <= kinds
