"""Names, sockets and time of the network, as a program on the chip meets them."""

import socket
import threading

import pytest
from net_bench import JOIN, Bench, echo, served


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


def test_network_is_refused_without_a_link(bench):
    bench.world.network.register("broker.bench", "127.0.0.1", 9)
    assert (
        bench.run("""
import socket
print(errno_of(socket.getaddrinfo, "broker.bench", 1883))
print(socket.getaddrinfo("198.18.0.1", 1883))
print(errno_of(socket.socket().connect, ("198.18.0.1", 1883)))
print(errno_of(socket.socket(2, 2).sendto, b"x", ("198.18.0.1", 123)))
print(errno_of(socket.socket().connect, ("127.0.0.1", 1883)))
""")
        == "-202\n[(2, 1, 6, '198.18.0.1', ('198.18.0.1', 1883))]\n118\n118\n111\n"
    )


def test_names_and_routes_of_the_bench(bench):
    with served(echo) as port:
        bench.world.network.register("broker.bench", "127.0.0.1", port)
        assert (
            bench.run(
                JOIN
                + """
import socket
info = socket.getaddrinfo("broker.bench", 1883, 0, socket.SOCK_STREAM)[0]
print(info)
s = socket.socket(*info[:3])
s.connect(info[-1])
print(s.write(b"hello"), s.read(5), s.send(b"line\\nmore"), s.readline(), s.recv(100))
s.settimeout(0.1)
print(errno_of(s.recv, 1), errno_of(s.read, 1))
s.setblocking(False)
print(errno_of(s.recv, 1), s.read(1))
s.close()
print(errno_of(s.read, 1))
print(errno_of(socket.getaddrinfo, "nowhere.bench", 80))
print(errno_of(socket.socket().connect, ("10.9.8.7", 80)))
"""
            )
            == """(2, 1, 6, 'broker.bench', ('198.18.0.1', 1883))
5 b'hello' 9 b'line\\n' b'more'
116 116
11 None
9
-202
118
"""
        )
    assert bench.net.lookups["broker.bench"] == 1


def test_refused_and_in_progress_have_the_chips_numbers(bench):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    bench.world.network.register("closed.bench", "127.0.0.1", closed)
    assert (
        bench.run(
            JOIN
            + """
import socket, select
from errno import ECONNREFUSED, EINPROGRESS, ETIMEDOUT, errorcode
print(EINPROGRESS, ETIMEDOUT, errorcode[118])
address = socket.getaddrinfo("closed.bench", 80)[0][-1]
print(errno_of(socket.socket().connect, address) == ECONNREFUSED)
s = socket.socket()
s.setblocking(False)
print(errno_of(s.connect, address))
p = select.poll()
p.register(s, select.POLLOUT)
print(bool(p.poll(1000)[0][1] & (select.POLLERR | select.POLLHUP)))
print(errno_of(socket.socket().recv, 1))
"""
        )
        == "119 116 EHOSTUNREACH\nTrue\n119\nTrue\n128\n"
    )


def test_connections_die_with_the_link(bench):
    point = bench.world.wifi.access_points[0]
    bench.upy.expose("test.off", lambda: bench.wlan._down(200))
    bench.upy.expose("test.away", lambda: bench.world.wifi.change(point, on=False))
    with served(echo) as port:
        bench.world.network.register("broker.bench", "127.0.0.1", port)
        assert (
            bench.run(
                JOIN
                + """
import asyncio, socket
from _rpc import call
wlan.config(reconnects=0)
async def main():
    reader, writer = await asyncio.open_connection("broker.bench", 1883)
    writer.write(b"hello")
    await writer.drain()
    print(await reader.read(5))
    async def cut():
        await asyncio.sleep_ms(50)
        call("test.away")
        call("test.off")
    asyncio.create_task(cut())
    try:
        print(await reader.read(5))
    except OSError as error:
        print("read", error.errno)
    print("write", errno_of(writer.s.write, b"x"))
asyncio.run(main())
print(wlan.isconnected(), wlan.status())
print(errno_of(socket.socket().connect, ("198.18.0.1", 1883)))
"""
            )
            == "b'hello'\nread 113\nwrite 113\nFalse 200\n118\n"
        )


def test_ntp_answers_for_any_host(bench):
    ahead = 3_600_000_000_000
    bench.engine.clock._wall_start_ns += ahead
    output = bench.run(
        JOIN
        + """
import ntptime
print(ntptime.time())
ntptime.host = "ntp.example.org"
print(ntptime.time())
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
address = socket.getaddrinfo("pool.ntp.org", 123)[0][-1]
s.sendto(b"\\x23" + bytes(47), address)
print(s.recvfrom(48)[1] == address)
"""
    )
    first, second, same = output.split()
    now = bench.engine.clock.unix_ns() // 1_000_000_000 - 946_684_800
    assert 0 <= now - int(first) < 10
    assert 0 <= int(second) - int(first) <= 1
    assert same == "True"


def test_a_silent_time_server_times_out(bench):
    bench.world.ntp.silent = True
    assert bench.run(JOIN + "import ntptime\nprint(errno_of(ntptime.time))") == "116\n"


def test_the_board_can_listen(bench):
    got = []

    def client():
        with socket.create_connection(("127.0.0.1", bench.net.listeners[8080])) as connection:
            connection.sendall(b"ping")
            got.append(connection.recv(10))

    thread = threading.Thread(target=client, daemon=True)
    bench.upy.expose("test.dial", thread.start)
    assert (
        bench.run(
            JOIN
            + """
import socket
from _rpc import call
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 8080))
s.listen(1)
call("test.dial")
peer, address = s.accept()
print(peer.recv(10), address[0])
peer.sendall("pong")
peer.close()
"""
        )
        == "b'ping' 127.0.0.1\n"
    )
    thread.join(5)
    assert got == [b"pong"]
