"""MQTT and TLS of a board in virtual time, with the broker inside the engine."""

import ssl

import pytest
import trustme
from inner_net_bench import run


@pytest.fixture(scope="module")
def authority():
    """Return a server's context for broker.bench, and the certificate (DER) to trust for it."""
    signer = trustme.CA(key_type=trustme.KeyType.RSA)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer.issue_cert("broker.bench", key_type=trustme.KeyType.RSA).configure_cert(context)
    return context, ssl.PEM_cert_to_DER_cert(signer.cert_pem.bytes().decode())


WRAP = """
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.verify_mode = ssl.CERT_REQUIRED
{load}
try:
    context.wrap_socket(dial('broker.bench', 8883), server_hostname='{host}')
    tell('welcome')
except (OSError, ValueError) as error:
    tell(error.args)
"""
CLIENT = """
import ssl
from umqtt.simple import MQTTClient
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.verify_mode = ssl.CERT_REQUIRED
context.load_verify_locations(bytes.fromhex('{der}'))
class Named:
    def wrap_socket(self, sock, server_hostname=None):
        return context.wrap_socket(sock, server_hostname='{host}')
def client(**options):
    c = MQTTClient('me', 'broker.bench', user='u', password='p', keepalive=30, **options)
    c.set_callback(lambda topic, text: tell(topic, text))
    c.set_last_will('status', 'gone')
    c.connect()
    return c
c = client({options})
c.subscribe('down/#', 1)
c.publish('up', 'to all', qos=1)
c.ping()
c.wait_msg()
tell('quiet for too long')
c.wait_msg()
"""


@pytest.mark.parametrize("options", ["", "ssl=Named()"])
def test_a_board_talks_mqtt_with_and_without_tls(racks, authority, options):
    context, der = authority
    heard = []

    def serve(rack):
        broker = rack.world.broker
        broker.tls = context
        broker.users = {"u": "p"}
        broker.on_publish = lambda *message: (
            heard.append(message[:3]), broker.publish("down/1", b"hello", qos=1),
        )  # fmt: skip
        broker.start()

    program = CLIENT.format(der=der.hex(), options=options, host="broker.bench")
    lines, log = run(racks, program, 60, serve)
    assert heard == [("me", "up", b"to all")]
    assert [each[1:] for each in lines] == [(b"down/1", b"hello"), ("quiet for too long",)]
    # The chip computes for most of a second in a handshake.
    assert (lines[0][0] > 800) == bool(options)
    assert sum("me silent for too long" in line for line in log) == 1
    assert run(racks, program, 60, serve)[1] == log


@pytest.mark.parametrize(
    ("host", "trusted", "said"),
    [
        ("broker.bench", True, "welcome"),
        ("other.bench", True, "does not match with the expected CN"),
        ("broker.bench", False, "No CA Chain is set"),
    ],
)
def test_tls_refuses_who_is_not_meant(racks, authority, host, trusted, said):
    context, der = authority

    def serve(rack):
        rack.world.broker.tls = context
        rack.world.broker.start()

    load = f"context.load_verify_locations(bytes.fromhex({der.hex()!r}))" if trusted else ""
    program = WRAP.format(load=load, host=host)
    (line,), log = run(racks, program, 30, serve)
    assert said in str(line)
    assert any(" tcp " in each and "open" in each for each in log)
