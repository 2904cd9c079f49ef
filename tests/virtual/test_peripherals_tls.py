"""TLS of a program on the chip: whom it trusts, and what becomes of it with the link."""

import ssl

import pytest
import trustme
from net_bench import JOIN, Bench, echo, served


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A CA, and a server's context with a certificate of it for broker.bench."""
    signer = trustme.CA()
    ca = tmp_path_factory.mktemp("tls") / "ca.der"
    ca.write_bytes(ssl.PEM_cert_to_DER_cert(signer.cert_pem.bytes().decode()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer.issue_cert("broker.bench").configure_cert(context)
    return ca, context


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
