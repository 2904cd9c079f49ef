"""Any bytes from the air: a frame, a typed error or nothing; never an exception, never for long."""

from lorawan_bench import Bench, Chance, joined, kind_of
from lorawan_cipher import aes_ecb, cmac, decrypt, encrypt
from lorawan_network import crypt, mic
from node.lorawan import frames
from node.lorawan.actions import LorawanError, Sent
from node.lorawan.crypto import Key
from node.lorawan.frames import ROOM, FrameError
from node.lorawan.region import CHANNELS, EU868

KEY = bytes(range(16))
ADDR = b"\x43\x2e\x01\x26"
_TELLING = b"\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0d\x00\x0f\x10\x20\x60\xa0\xff\xf0\x61"


def noise(chance, most):
    return bytes(
        [
            _TELLING[chance.below(len(_TELLING))] if chance.below(2) else chance.below(256)
            for _ in range(chance.below(most))
        ]
    )


def test_frames_of_any_bytes():
    chance = Chance(11)
    key = Key(aes_ecb(KEY))
    buffer = frames.new_buffer()
    kinds = {}
    for number in range(6000):
        data = noise(chance, 40) if number % 50 else noise(chance, 256)
        fcnt = chance.below(70000)
        sign = chance.below(4)
        if sign and len(data) > 8:
            # Past the checks in front, and with a right MIC.
            data = bytearray(data)
            data[0] = (0x60, 0xA0)[chance.below(2)]
            data[1:5] = ADDR
            data[6], data[7] = fcnt & 0xFF, fcnt >> 8 & 0xFF
            if sign == 1:
                data[5] = chance.below(256)
            data = bytes(data[:251])
            data += mic(KEY, data, 1, ADDR, fcnt + (chance.below(9) == 0))
        size = len(data)
        buffer[ROOM : ROOM + size] = data
        try:
            frame = frames.parse_data(buffer, size, key, key, ADDR, fcnt)
        except FrameError as error:
            kinds[error.kind] = kinds.get(error.kind, 0) + 1
            continue
        kinds["good"] = kinds.get("good", 0) + 1
        end = ROOM + size - 4
        assert ROOM + 8 == frame.options <= frame.options_end <= end
        assert frame.options_end - frame.options == data[5] & 15
        if frame.port != frames.NO_PORT:
            assert frame.payload_end == end
            plain = crypt(KEY, data[8 + (data[5] & 15) + 1 : -4], 1, ADDR, fcnt)
            assert bytes(buffer[frame.payload : end]) == plain
    assert set(kinds) == {"length", "type", "address", "mic", "options", "good"}
    assert kinds["good"] > 1000
    assert kinds["options"] > 300


def test_join_accepts_of_any_bytes():
    chance = Chance(12)
    key = Key(aes_ecb(KEY))
    buffer = frames.new_buffer()
    good = 0
    kinds = set()
    for _ in range(3000):
        size = (17, 33, 17, 33, chance.below(256))[chance.below(5)]
        data = bytearray(chance.bytes(size))
        if data and chance.below(4):
            data[0] = 0x20
            if size in (17, 33) and chance.below(2):
                body = bytes(data[1:-4])
                data[1:] = decrypt(KEY, body + cmac(KEY, b"\x20" + body)[:4])
        buffer[ROOM : ROOM + size] = data
        try:
            frame = frames.parse_join_accept(buffer, size, key)
        except FrameError as error:
            kinds.add(error.kind)
            continue
        good += 1
        plain = encrypt(KEY, bytes(data[1:]))
        assert frame.join_nonce == int.from_bytes(plain[:3], "little")
        assert frame.cflist == plain[12:-4]
    assert good > 500
    assert kinds == {"length", "type", "mic"}


def check_session(session):
    """Assert what holds whatever the network has asked for."""
    assert session.usable(session.mask, session.rate)
    assert session.mask & ~session.defined() == 0
    assert session.defined() & 7 == 7
    assert 0 <= session.rate < len(EU868.rates)
    assert 0 <= session.power < 8
    assert 1 <= session.nb_trans <= 15
    assert 1 <= session.rx_delay_s <= 15
    assert session.rx2_rate < len(EU868.rates)
    assert session.rx1_offset <= 5
    assert EU868.hearable(session.rx2_hz)
    for i in range(CHANNELS):
        if session.up_hz[i]:
            assert EU868.band(session.up_hz[i]) >= 0
            assert EU868.hearable(session.down_hz[i])
    assert len(session.answers) <= 242


def test_commands_of_any_bytes():
    chance = Chance(13)
    bench = joined(13)
    commands = bench.mac.commands
    for number in range(4000):
        if number % 500 == 0:
            bench = joined(number)
            commands = bench.mac.commands
        session = bench.mac.session
        data = noise(chance, 30) if number % 20 else noise(chance, 243)
        session.answers = bytearray()
        commands.run(session, data, 0, len(data), chance.below(256) - 128, 0, [])
        check_session(session)
        assert commands.sound(session.answers)
        taken = commands.take(session, 15)
        assert len(taken) <= 15
        assert bytes(session.answers[: len(taken)]) == bytes(taken)
        commands.keep_sticky(session)
        assert commands.sound(session.answers)
        assert set(session.answers[:1]) <= {5, 8, 10}


def test_a_mac_under_fire():
    # In every window anything, often with a right MIC; and the state survives it each time.
    chance = Chance(14)
    bench = joined(14, certification=True)
    network = bench.network
    heard = 0

    def anything():
        what = chance.below(6)
        if what == 0:
            return noise(chance, 300)
        if what == 1:
            frame = bytearray(network.down(1, noise(chance, 30), fcnt=network.next_down))
            network.next_down -= 1
            frame[chance.below(len(frame))] ^= 1 << chance.below(8)
            return bytes(frame)
        port = (None, 0, 1, 224, 255, chance.below(256))[chance.below(6)]
        payload = noise(chance, 230) if port is not None else b""
        options = b"" if port == 0 else noise(chance, 16)
        return network.down(
            port, payload, options, not chance.below(3), not chance.below(3), not chance.below(3)
        )

    for number in range(700):
        session = bench.mac.session
        bench.replies = [(1 + chance.below(2), anything) for _ in range(3)]
        bench.mac.check_link()
        room = bench.mac.max_payload()
        assert 0 <= room <= 242
        if room:
            events = bench.send(1 + chance.below(223), bytes(chance.below(room + 1)))
        else:
            events = bench.send()
        sent = [event for event in events if isinstance(event, Sent)]
        assert len(sent) == 1
        heard += sent[0].heard
        check_session(session)
        if number % 7 == 0:
            bench.power_on(10000000, bench.mac.snapshot(bench.now))
        elif number % 31 == 0:
            bench.power_on(100000000)
        bench.now += 600000
    assert 200 < heard < 690


def test_a_joining_mac_under_fire():
    chance = Chance(15)
    bench = Bench(15)
    bench.do(bench.mac.join(0))
    for _ in range(300):
        bench.replies = [(1, noise(chance, 40)), (2, bytes([0x20]) + chance.bytes(32))]
        bench.now = max(bench.now, bench.wake)
        bench.do(bench.mac.tick(bench.now))
    assert not bench.mac.joined
    assert len(bench.network.nonces) > 50
    assert kind_of(LorawanError, bench.mac.send, bench.now, 1, b"x") == "busy"
