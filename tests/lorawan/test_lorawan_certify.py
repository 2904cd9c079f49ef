"""The certification protocol of TS009 on FPort 224, and that it is off where it is not wanted."""

from lorawan_bench import joined, of
from lorawan_network import frequency
from node.lorawan.actions import Certify, ClockSync, Deliver, LinkCheck, Sent


def laboratory(**settings):
    return joined(certification=True, version=b"\x01\x02\x03\x04", **settings)


def command(bench, data, **flags):
    return bench.reply(lambda: bench.network.down(224, data, **flags))


def answer(bench):
    """Return the port and payload of the next uplink, that the device makes by itself."""
    assert bench.mac.urgent
    bench.send()
    heard = bench.network.uplinks[-1]
    return heard.port, heard.payload


def test_it_is_off_by_default():
    bench = joined()
    assert command(bench, b"\x00") == [Sent(0, 1, True, None)]
    assert not bench.mac.urgent
    bench.send()
    assert bench.heard[-1].port is None


def test_answers():
    for request, want in (
        (b"\x00", b"\x00\x06\x01"),
        (b"\x7f", b"\x7f\x01\x02\x03\x04\x01\x00\x04\x00\x02\x01\x00\x04"),
        (b"\x08", b"\x08"),
        (b"\x08\x00\x7f\xff", b"\x08\x01\x80\x00"),
        (b"\x08" + bytes(241), b"\x08" + b"\x01" * 241),
        (b"\x09", b"\x09\x01\x00"),
    ):
        bench = laboratory()
        assert command(bench, request) == [Sent(0, 1, True, None)]
        assert answer(bench) == (224, want)
        bench.send()
        assert bench.heard[-1].port is None


def test_an_echo_is_cut_to_what_fits():
    bench = laboratory()
    command(bench, b"\x08" + bytes(200))
    bench.mac.session.rate = 0
    bench.mac.check_link()
    assert answer(bench) == (224, b"\x08" + b"\x01" * 49)


def test_what_the_application_has_to_do():
    for request, want in (
        (b"\x01", [Certify("reset", None)]),
        (b"\x02", [Certify("join", None)]),
        (b"\x06\x00", [Certify("period_ms", 0)]),
        (b"\x06\x01", [Certify("period_ms", 5000)]),
        (b"\x06\x0a", [Certify("period_ms", 480000)]),
        (b"\x06\x0b", []),
        (b"\x7d\x0a\x00" + frequency(868100000) + b"\x0e", [Certify("cw", (10, 868100000, 14))]),
        # Commands of classes B and C, and none; wrong lengths.
        (b"\x03\x02", []),
        (b"\x22\x00", []),
        (b"\x55", []),
        (b"", []),
        (b"\x00\x00", []),
        (b"\x01\x00", []),
        (b"\x06", []),
        (b"\x7d\x0a", []),
        (b"\x07", []),
    ):
        bench = laboratory()
        events = command(bench, request)
        assert of(Certify, events) == want, request
        assert of(Deliver, events) == []
        assert not bench.mac.urgent


def test_adr_on_and_off():
    bench = laboratory()
    command(bench, b"\x04\x00")
    bench.send()
    assert not bench.heard[-1].adr
    command(bench, b"\x04\x01")
    bench.send()
    assert bench.heard[-1].adr


def test_duty_cycle_on_and_off():
    bench = laboratory()
    command(bench, b"\x05\x00")
    start = bench.now
    for _ in range(100):
        bench.send(1, bytes(242))
    assert bench.now - start < 100 * 3000
    command(bench, b"\x05\x01")
    start = bench.now
    for _ in range(10):
        bench.send(1, bytes(242))
    assert bench.sent[-1].at_ms - start > 150000


def test_confirmed_frames():
    bench = laboratory()
    for request, confirmed in ((b"\x07\x02", True), (b"\x07\x00", True), (b"\x07\x01\x55", False)):
        command(bench, request)
        bench.send(1, b"x")
        assert bench.heard[-1].confirmed == confirmed
    bench.send(1, b"x", True)
    assert not bench.heard[-1].confirmed


def test_downlinks_are_counted():
    bench = laboratory()
    for make in (
        lambda: bench.network.down(1, b"x"),
        lambda: bench.network.down(ack=True),
        lambda: bench.network.down(options=b"\x06"),
        lambda: bench.network.down(0, b"\x06"),
        lambda: bench.network.down(0, b"\x06", ack=True),
    ):
        bench.reply(make)
    command(bench, b"\x09")
    assert answer(bench) == (224, b"\x09\x04\x00")
    command(bench, b"\x0a")
    command(bench, b"\x09")
    assert answer(bench) == (224, b"\x09\x01\x00")


def test_requests_to_the_network():
    bench = laboratory()
    command(bench, b"\x20")
    command(bench, b"\x21")
    events = bench.reply(
        lambda: bench.network.commands(b"\x02\x14\x01\x0d\x00\x00\x00\x00\x00"), 1, b"x"
    )
    assert bench.heard[-1].options == b"\x0d"
    assert len(of(ClockSync, events)) == 1
    assert of(LinkCheck, events) == []


def test_it_is_turned_off_for_good():
    bench = laboratory()
    command(bench, b"\x05\x00")
    command(bench, b"\x07\x02")
    command(bench, b"\x7e")
    for turn in range(2):
        assert command(bench, b"\x00")[0].heard
        assert not bench.mac.urgent
        bench.send(1, b"x")
        assert not bench.heard[-1].confirmed
        assert bench.mac.ledger.enabled
        bench.power_on(0, (bench.flash, bench.mac.snapshot(bench.now))[turn])
