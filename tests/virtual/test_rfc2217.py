import struct

import pytest
from citynode.virtual.soc.line import agree, bits_per_character, heard
from citynode.virtual.soc.rfc2217 import (
    EVEN,
    LINE_FRAMING_ERROR,
    LINE_OVERRUN,
    MODEM_CTS,
    ODD,
    Break,
    Lines,
    Purge,
    Rfc2217,
    Settings,
    Suspend,
)
from citynode.virtual.soc.telnet import Data
from hypothesis import given
from hypothesis import strategies as st

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
COM_PORT = 44


def sub(*payload):
    return (
        bytes((IAC, SB, COM_PORT)) + bytes(payload).replace(b"\xff", b"\xff\xff") + bytes((IAC, SE))
    )


def agreed():
    server = Rfc2217()
    server.receive(bytes((IAC, WILL, COM_PORT, IAC, DO, COM_PORT, IAC, WILL, 0, IAC, DO, 0)))
    server.receive(sub(2, 0))
    assert sub(107, 0) in server.take_output()
    server.take_output()
    return server


def joined(events):
    result = []
    for event in events:
        if isinstance(event, Data) and result and isinstance(result[-1], Data):
            result[-1] = Data(result[-1].data + event.data)
        else:
            result.append(event)
    return result


def telnet_bytes():
    command = st.sampled_from([IAC, DONT, DO, WONT, WILL, SB, SE, 0, 1, 3, COM_PORT, 13])
    return st.lists(command | st.integers(0, 255), max_size=200).map(bytes)


def com_port_requests():
    payload = st.lists(st.integers(0, 255), max_size=6)
    request = st.tuples(st.integers(0, 14), payload).map(lambda r: sub(r[0], *r[1]))
    return st.lists(request | telnet_bytes(), max_size=20).map(b"".join)


@given(com_port_requests(), st.booleans())
def test_any_bytes_are_taken_and_cutting_them_changes_nothing(data, negotiated):
    whole, pieces = (agreed() if negotiated else Rfc2217() for _ in range(2))
    events = joined(whole.receive(data))
    piecemeal = []
    for byte in data:
        piecemeal += pieces.receive(bytes([byte]))
    assert joined(piecemeal) == events
    assert pieces.take_output() == whole.take_output()
    assert pieces.settings == whole.settings


@given(st.binary(max_size=500), st.integers(0, 500))
def test_data_passes_unchanged_both_ways(data, cut):
    server = agreed()
    escaped = Rfc2217.escape(data)
    events = server.receive(escaped[:cut]) + server.receive(escaped[cut:])
    assert b"".join(event.data for event in events) == data


@given(telnet_bytes())
def test_negotiation_never_loops(data):
    """Two servers that hear each other fall silent, whatever one of them was told before."""
    one, other = Rfc2217(), Rfc2217()
    one.receive(data)
    for _ in range(10):
        other.receive(one.take_output())
        one.receive(other.take_output())
    assert one.take_output() == b""


def test_start_offers_what_pyserial_waits_for():
    output = Rfc2217().take_output()
    for wanted in ((DO, COM_PORT), (DO, 0), (WILL, 0), (WILL, 3), (DO, 3)):
        assert bytes((IAC, *wanted)) in output


def test_unknown_options_are_refused_once():
    server = agreed()
    server.receive(bytes((IAC, DO, 24, IAC, WILL, 31, IAC, DONT, 24, IAC, WONT, 31)))
    assert server.take_output() == bytes((IAC, WONT, 24, IAC, DONT, 31))


def test_an_option_can_be_taken_back_and_given_again():
    server = agreed()
    server.receive(bytes((IAC, DONT, 0)))
    assert server.take_output() == bytes((IAC, WONT, 0))
    server.receive(bytes((IAC, DO, 0)))
    assert server.take_output() == bytes((IAC, WILL, 0))


def test_com_port_requests_are_served_though_will_was_never_said():
    """pyserial takes our DO for the answer to its own WILL when it comes before that was sent."""
    server = Rfc2217()
    server.take_output()
    assert server.receive(sub(1, *struct.pack(">I", 9600))) == [Settings(baud=9600)]
    assert server.take_output() == sub(107, 0) + sub(101, *struct.pack(">I", 9600))


@pytest.mark.parametrize(
    ("request_", "answer", "event"),
    [
        (struct.pack(">BI", 1, 921600), struct.pack(">BI", 101, 921600), Settings(baud=921600)),
        (struct.pack(">BI", 1, 0), struct.pack(">BI", 101, 115200), None),
        (struct.pack(">BI", 1, 0xFFFFFFFF), struct.pack(">BI", 101, 115200), None),
        (bytes((2, 7)), bytes((102, 7)), Settings(data_bits=7)),
        (bytes((2, 0)), bytes((102, 8)), None),
        (bytes((2, 9)), bytes((102, 8)), None),
        (bytes((3, 3)), bytes((103, 3)), Settings(parity=EVEN)),
        (bytes((3, 200)), bytes((103, 1)), None),
        (bytes((4, 2)), bytes((104, 2)), Settings(stop_bits=2)),
        (bytes((5, 8)), bytes((105, 8)), Lines(dtr=True, rts=False)),
        (bytes((5, 11)), bytes((105, 11)), Lines(dtr=False, rts=True)),
        (bytes((5, 7)), bytes((105, 9)), None),
        (bytes((5, 10)), bytes((105, 12)), None),
        (bytes((5, 0)), bytes((105, 1)), None),
        (bytes((5, 3)), bytes((105, 3)), None),
        (bytes((5, 13)), bytes((105, 14)), None),
        (bytes((5, 4)), bytes((105, 6)), None),
        (bytes((5, 5)), bytes((105, 5)), Break(on=True)),
        (bytes((12, 1)), bytes((112, 1)), Purge(receive=True, transmit=False)),
        (bytes((12, 3)), bytes((112, 3)), Purge(receive=True, transmit=True)),
        (bytes((10, 255)), bytes((110, 255)), None),
        (bytes((11, 16)), bytes((111, 16)), None),
    ],
)
def test_requests_are_answered_with_what_is_in_force(request_, answer, event):
    server = agreed()
    assert server.receive(sub(*request_)) == ([] if event is None else [event])
    assert server.take_output() == sub(*answer)


def test_flow_control_of_the_client_is_an_event_without_answer():
    server = agreed()
    assert server.receive(sub(8) + sub(9)) == [Suspend(on=True), Suspend(on=False)]
    assert server.take_output() == b""


def test_signature_is_told_when_asked_for():
    server = agreed()
    server.receive(sub(0, *b"a client"))
    assert server.take_output() == b""
    server.receive(sub(0))
    assert b"citynode" in server.take_output()


def test_overlong_and_malformed_subnegotiations_are_dropped():
    server = agreed()
    assert server.receive(sub(1, *bytes(5000))) == []
    assert server.receive(sub(1, 0, 1)) == []
    assert server.receive(bytes((IAC, SE, IAC, SB, IAC, SE))) == []
    assert server.take_output() == b""
    assert server.receive(b"after") == [Data(b"after")]


def test_modem_state_tells_the_change_and_keeps_to_the_mask():
    server = agreed()
    server.set_modem_state(MODEM_CTS)
    assert server.take_output() == sub(107, 0x11)
    server.receive(sub(11, 0x80))
    server.take_output()
    server.set_modem_state(0)
    assert server.take_output() == b""


def test_line_state_is_silent_until_asked_for():
    server = agreed()
    server.line_event(LINE_OVERRUN)
    assert server.take_output() == b""
    server.receive(sub(10, LINE_OVERRUN))
    server.take_output()
    server.line_event(LINE_OVERRUN | LINE_FRAMING_ERROR)
    assert server.take_output() == sub(106, LINE_OVERRUN)


@given(st.binary(max_size=60))
def test_line_with_small_clock_error_is_read_right(data):
    assert heard(data, Settings(baud=115200), Settings(baud=113000)) == (data, False)


@given(st.binary(min_size=1, max_size=60), st.sampled_from([9600, 74880, 230400, 460800, 1500000]))
def test_line_at_another_speed_always_ends(data, baud):
    result, _ = heard(data, Settings(baud=115200), Settings(baud=baud))
    assert len(result) <= len(data) * baud / 115200 + 1


def test_line_at_another_speed_is_garbage_as_on_a_scope():
    # "U" is a square wave: at half the speed every low bit is too short for a start bit.
    assert heard(b"U", Settings(baud=9600), Settings(baud=4800)) == (b"", False)
    text = b"invalid header: 0xffffffff\r\n"
    assert heard(text, Settings(), Settings(baud=460800))[0] != text
    assert heard(b"\x00" * 4, Settings(baud=9600), Settings(baud=115200))[1]


def test_parity_is_part_of_the_character():
    seven_even = Settings(data_bits=7, parity=EVEN)
    assert not agree(Settings(), seven_even)
    # 7E1 and 8N1 have the same length: the parity bit is read as the eighth bit.
    assert heard(b"A", seven_even, Settings()) == (b"A", False)
    assert heard(b"C", seven_even, Settings()) == (bytes([ord("C") | 0x80]), False)
    assert heard(b"A", Settings(data_bits=7, parity=ODD), Settings()) == (b"\xc1", False)
    assert bits_per_character(Settings(stop_bits=3, parity=ODD)) == 11.5
