import contextlib
import datetime
import socket
import ssl
import threading

import pytest
from citynode.virtual.engine import Engine
from citynode.virtual.soc.peripherals.net import Net
from citynode.virtual.soc.peripherals.wlan import Wlan
from citynode.virtual.world import World
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from upy_bench import UpyBench

JOIN = """
import network, time
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect("citynode-bench", "bochum-bench")
while not wlan.isconnected():
    time.sleep_ms(20)
"""
ERRNO = """
def errno_of(fn, *args):
    try:
        fn(*args)
    except OSError as error:
        return error.errno
"""


class Bench:
    def __init__(self):
        self.engine = Engine(seed=3)
        self.world = World(self.engine)
        self.upy = UpyBench(self.engine)
        self.wlan = Wlan(self.engine, self.world, self.engine.rng("wlan"), "198.18.128.1")
        self.net = Net(self.world.network, self.wlan)
        for part in (self.wlan, self.net):
            part.attach(self.upy)

    def run(self, script):
        return self.upy.run(ERRNO + script)

    def close(self):
        self.world.close()
        self.engine.close()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


@contextlib.contextmanager
def served(handler, context=None):
    """Serve one TCP connection after another on the loopback; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    with contextlib.suppress(OSError):
                        if context is None:
                            handler(connection)
                        else:
                            with context.wrap_socket(connection, server_side=True) as wrapped:
                                handler(wrapped)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def echo(connection):
    while data := connection.recv(1000):
        connection.sendall(data)


def test_join_reports_as_the_driver_does(bench):
    assert (
        bench.run("""
import network, time
wlan = network.WLAN(network.STA_IF)
print(wlan is network.WLAN(), wlan.active(), wlan.status(), wlan.isconnected(), wlan.ifconfig())
try:
    wlan.connect("citynode-bench", "bochum-bench")
except OSError as error:
    print(error)
print(wlan.active(True), wlan.connect("citynode-bench", "bochum-bench"), wlan.status())
try:
    wlan.connect("citynode-bench", "bochum-bench")
except OSError as error:
    print(error)
try:
    wlan.status("rssi")
except OSError as error:
    print(error)
start = time.ticks_ms()
while not wlan.isconnected():
    time.sleep_ms(10)
print(700 < time.ticks_diff(time.ticks_ms(), start) < 2500, wlan.status(), wlan.ifconfig())
print(-66 < wlan.status("rssi") < -50, wlan.config("mac"), wlan.config("ssid"))
print(wlan.config("channel"), wlan.config("reconnects"), wlan.ipconfig("addr4"))
wlan.disconnect()
print(wlan.isconnected(), wlan.status())
print(network.WLAN(network.AP_IF).config("mac")[5], network.WLAN(1).config("ssid"))
for fn in (lambda: network.WLAN(2), lambda: wlan.config("nonsense"), lambda: wlan.status("x")):
    try:
        fn()
    except ValueError as error:
        print(error)
""")
        == """True False 1000 False ('0.0.0.0', '0.0.0.0', '0.0.0.0', '0.0.0.0')
Wifi Not Started
True None 1001
Wifi Internal State Error
Wifi Not Connected
True 1010 ('198.18.128.1', '255.255.0.0', '198.18.255.254', '198.18.255.254')
True b'$\\n\\xc4\\x00\\x01\\x04' citynode-bench
6 -1 ('198.18.128.1', '255.255.0.0')
False 1000
5 ESP_000105
invalid WLAN interface identifier
unknown config param
unknown status param
"""
    )


def test_scan_hears_what_is_audible(bench):
    bench.world.wifi.add("Nachbar", "geheim12", rssi=-80, channel=11)
    bench.world.wifi.add("", rssi=-70, hidden=True)
    bench.world.wifi.add("too far", rssi=-99)
    assert (
        bench.run("""
import network
wlan = network.WLAN()
print(errno_of(wlan.scan) is not None)
wlan.active(True)
for ssid, bssid, channel, rssi, auth, hidden in wlan.scan():
    print(ssid, len(bssid), channel, -90 < rssi < -50, auth, hidden)
""").split("\n", 1)[1]
        == """b'citynode-bench' 6 6 True 3 False
b'' 6 6 True 0 False
b'Nachbar' 6 11 True 3 False
"""
    )


@pytest.mark.parametrize(
    ("ssid", "key", "status"),
    [("citynode-bench", "wrong password", 202), ("elsewhere", "", 201)],
)
def test_failures_have_their_numbers(bench, ssid, key, status):
    assert (
        bench.run(f"""
import network, time
wlan = network.WLAN()
wlan.active(True)
wlan.config(reconnects=0)
wlan.connect({ssid!r}, {key!r})
for _ in range(300):
    if wlan.status() != network.STAT_CONNECTING:
        break
    time.sleep_ms(20)
print(wlan.status(), wlan.isconnected())
wlan.connect("citynode-bench", "bochum-bench")
print(wlan.status())
while not wlan.isconnected():
    time.sleep_ms(20)
print(wlan.status())
""")
        # What hindered the last attempt shows until there is an address.
        == f"{status} False\n{status}\n1010\n"
    )


def test_without_a_limit_the_driver_tries_for_ever(bench):
    calls = bench.upy
    calls.call("wlan.active", 0, True)
    calls.call("wlan.connect", "elsewhere", "", None)
    bench.engine.run(until=bench.engine.clock.now_ns() + 2_400_000_000)
    assert calls.call("wlan.status") == 201  # the last attempt's; the next one is under way
    bench.world.wifi.add("elsewhere")
    bench.engine.run(until=lambda: bench.wlan.up)
    assert calls.call("wlan.status") == 1010


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


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A CA, and a server's context with a certificate of it for broker.bench."""
    now = datetime.datetime.now(datetime.UTC)

    def issue(name, key, issuer, issuer_key, ca):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
            )
        return builder.sign(issuer_key, hashes.SHA256())

    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = issue("bench CA", ca_key, "bench CA", ca_key, True)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issue("broker.bench", key, "bench CA", ca_key, False)
    folder = tmp_path_factory.mktemp("tls")
    chain = folder / "chain.pem"
    chain.write_bytes(
        leaf.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "ca.der").write_bytes(ca.public_bytes(serialization.Encoding.DER))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return folder / "ca.der", context


TLS = """
import ssl, socket
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
def dial(name, ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    if ca:
        context.load_verify_locations({ca!r})
    s = socket.socket()
    s.connect(socket.getaddrinfo("broker.bench", 8883)[0][-1])
    try:
        return context.wrap_socket(s, server_hostname=name)
    except BaseException:
        s.close()
        raise
"""


def test_tls_checks_certificate_and_name(bench, authority):
    ca, context = authority
    with served(echo, context) as port:
        bench.world.network.register("broker.bench", "127.0.0.1", port)
        assert (
            bench.run(
                JOIN
                + TLS.format(ca=str(ca))
                + """
s = dial("broker.bench", True)
print(s.write(b"hello"), s.read(5))
s.close()
for name, ca in (("other.bench", True), ("broker.bench", False)):
    try:
        dial(name, ca)
        print("accepted")
    except (OSError, ValueError) as error:
        print(error.args)
s = dial("broker.bench", True)
print(s.write(b"again"), s.read(5))
"""
            )
            == "5 b'hello'\n"
            "('\\nThe certificate Common Name (CN) does not match with the expected CN\\n',)\n"
            "(-30336, 'SSL - No CA Chain is set, but required to operate')\n"
            "5 b'again'\n"
        )


def test_tls_under_asyncio_and_a_lost_link(bench, authority):
    ca, context = authority
    bench.upy.expose("test.off", lambda: bench.wlan._down(200))
    with served(echo, context) as port:
        bench.world.network.register("broker.bench", "127.0.0.1", port)
        assert (
            bench.run(
                JOIN
                + TLS.format(ca=str(ca))
                + f"""
import asyncio
from _rpc import call
wlan.config(reconnects=0)
async def main():
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations({str(ca)!r})
    reader, writer = await asyncio.open_connection(
        "broker.bench", 8883, ssl=context, server_hostname="broker.bench"
    )
    for size in (10, 5000, 40000):
        writer.write(bytes(size))
        await writer.drain()
        print(len(await reader.readexactly(size)))
    async def cut():
        await asyncio.sleep_ms(50)
        call("test.off")
    asyncio.create_task(cut())
    try:
        print(await asyncio.wait_for(reader.read(5), 2))
    except OSError as error:
        print("read", error.errno)
asyncio.run(main())
"""
            )
            == "10\n5000\n40000\nread 113\n"
        )
