"""What other drivers send to the radios, byte for byte: on the models it has to work as well.

The sequences were read from the sources of the drivers that are named, for 868.1 MHz, SF7 and
125 kHz. A step is one SPI transaction in hex; `(transaction, answer)` if the answer is looked at;
`("wait", ms)`; `("reset",)`; `("payload", head)` with the payload behind the head and `("bytes",
head)` with each of its bytes on its own; `("fifo",)` and `("buffer", head)` read what came.
"""

import pytest
from citynode.virtual.air import Air, Gateway, Modulation
from citynode.virtual.chips.sx1262 import SX1262
from citynode.virtual.chips.sx1276 import SX1276
from radio_bench import MS, US, SimTime

UPLINK, DOWNLINK = b"hello from outside", b"and an answer"
HZ = 868_100_000

# Each: name, sync word, IQ of what it receives, how it starts, sends, listens, and reads.
SX1276_DRIVERS = [
    (
        "LoRaMac-node: SX1276Init, SetTxConfig, Send, SetRxConfig, SetRx",
        0x34,
        True,
        [
            ("reset",), ("wait", 6),
            ("09 00", "4F"), "89 00", ("3B 00", "02"), "BB 42", ("3B 00", "22"), ("wait", 10),
            ("3B 00", "02"), "86 D9", "87 00", "88 00", "BB 42", ("wait", 11), ("3B 00", "02"),
            "89 4F", "86 6C", "87 80", "88 00", "81 00", "8C 23", "8D 1E", "B1 40", "C0 00",
            "81 80", "C0 00", "C1 00", "A3 40", "B9 34",
        ],
        [
            "86 D9", "87 06", "88 66", "89 FC", "CD 84", "9D 72", "9E 74", "A6 00", "A0 00",
            "A1 08", "B1 C3", "B7 0A", "B3 27", "BB 1D", "A2 12", "8E 00", "8D 00", "81 81",
            ("wait", 1), ("payload", "80"), "91 F7", "C0 40", "81 83",
        ],
        [
            "92 FF", "81 80", "86 D9", "87 06", "88 66", "9D 72", "9E 70", "A6 00", "9F 28",
            "A0 00", "A1 08", "B6 03", "B1 C3", "B7 0A", "B3 67", "BB 19", "B1 43", "B0 00",
            "AF 40", "91 1F", "C0 00", "8F 00", "8D 00", "81 86",
        ],
        [("12 00", "40"), "92 40", ("13 00", "0D"), "8D 00", ("fifo",)],
    ),
    (
        "micropython-lib lora-sx127x: constructor, configure, prepare_send, start_recv",
        0x12,
        False,
        [
            ("reset",), ("wait", 5), ("42 FF", "12"), ("01 FF", "09"), "81 80", "81 89",
            "86 D9 06 66", "CD 84", ("09 FF", "4F"), "89 FC", "92 FF", "91 00", "B6 03",
            ("1D FF", "72"), "B7 0A", ("31 FF", "C3"), "B1 43", ("1E FF", "70"), "9E 74",
            ("33 FF", "27"), "A0 00 08", ("26 FF", "00"),
        ],
        [
            ("01 FF", "89"), "C0 40", "8D 00", "8E 00", "A2 12", ("payload", "80"), "92 08",
            "81 8B",
        ],
        [
            "81 89", "92 FF", ("40 FF", "40"), "C0 00", ("1E FF", "74"), "9F 64", "8D 00", "8F 00",
            "81 8E",
        ],
        [("12 FF", "50"), "92 50", ("13 FF", "0D"), ("fifo",)],
    ),
    (
        "arduino-LoRa: begin, beginPacket, write, endPacket, parsePacket",
        0x12,
        False,
        [
            ("reset",), ("wait", 10), ("42 00", "12"), "81 80", "86 D9", "87 06", "88 66",
            "8E 00", "8F 00", ("0C 00", "20"), "8C 23", "A6 04", "CD 84", "8B 2B", "89 8F",
            "81 81",
        ],
        [
            "81 81", ("1D 00", "72"), "9D 72", "8D 00", "A2 00", ("bytes", "80"), "A2 12",
            "81 83",
        ],
        ["92 08", "8D 00", "81 86"],
        [("12 00", "50"), "92 50", ("13 00", "0D"), ("10 00", "00"), "8D 00", ("fifo",)],
    ),
]  # fmt: skip

SX1262_DRIVERS = [
    (
        "LoRaMac-node: RadioInit, SetTxConfig, Send, Sleep, SetRxConfig, Rx",
        0x34,
        True,
        [
            ("reset",), ("wait", 10), "C0 00", "80 00", "97 02 00 01 40", "89 7F", "9D 01", "80 00",
            "96 01", "8F 00 00", ("1D 08 D8 00 00", "C8"), "0D 08 D8 DE", "95 04 07 00 01",
            "0D 08 E7 38", "8E 00 04", "08 FF FF FF FF 00 00 00 00",
            ("1D 02 9F 00" + " 00" * 9, "00"), "0D 02 9F 01 08 AC 00 00 00 00 00 00",
            "0D 02 9F 02 08 AC 08 89 00 00 00 00", "8A 01", "0D 07 40 34", "0D 07 41 44",
        ],
        [
            "98 D7 DB", "86 36 41 99 99", "80 00", "8B 07 04 01 00", "8C 00 08 00 FF 01 00",
            ("1D 08 89 00 00", "01"), "0D 08 89 05", "95 04 07 00 01", "8E 0E 04",
            "08 02 01 02 01 00 00 00 00", "8C 00 08 00 12 01 00", ("payload", "0E 00"),
            "83 00 00 00",
        ],
        [
            ("12 00 00 00", "0001"), "02 00 01", "84 04", ("wait", 2), "C0 00", ("wait", 1),
            "86 36 41 99 99", "9F 00", "80 00", "8A 01", "8B 07 04 01 00", "8C 00 08 00 FF 00 01",
            "A0 28", "0D 07 06 A0", ("1D 07 36 00 00", "0D"), "0D 07 36 09",
            "08 FF FF FF FF 00 00 00 00", "0D 08 AC 96", "82 3F FF C0",
        ],
        [
            ("12 00 00 00", "0016"), "02 00 16", "0D 09 02 00", ("1D 09 44 00 00", "00"),
            "0D 09 44 02", ("13 00 00 00", "0D00"), ("buffer", "1E 00 00"),
        ],
    ),
    (
        "micropython-lib lora-sx126x: constructor, configure, prepare_send, start_recv",
        0x12,
        False,
        [
            ("reset",), ("wait", 5), "12 00 00 00", "9D 01", "97 02 00 00 40", ("wait", 15),
            "07 00 00", ("17 00 00 00", "0000"), "08 02 43 02 03 00 00 00 00", "02 FF FF", "8A 01",
            "86 36 41 99 99", "0D 07 40 14 24", "95 02 02 00 01", "8E 16 02", "8B 07 04 01 00",
            ("17 00 00 00", "0000"), ("1D 08 D8 00 00", "C8"), "0D 08 D8 DE",
        ],
        [
            "80 01", "02 FF FF", ("17 00 00 00", "0000"), "8C 00 0C 00 12 01 00", "8F 00 FF",
            ("payload", "0E 00"), ("1D 08 89 00 00", "01"), "0D 08 89 05", "83 00 00 00",
            ("17 00 00 00", "0000"),
        ],
        [
            ("12 00 00 00", "0001"), "02 00 01", "80 01", "02 FF FF", "8F FF 00",
            "8C 00 0C 00 FF 01 00", "82 01 F4 00",
        ],
        [
            ("12 00 00 00", "0002"), "02 00 02", ("13 00 00 00", "0D00"), ("buffer", "1E 00 00"),
        ],
    ),
    (
        "RadioLib: SX1262::begin, transmit, startReceive, readData",
        0x12,
        False,
        [
            ("reset",), ("wait", 5), "80 00", "80 00", ("1D 03 20 00 00 00 00", "53"), "80 00",
            ("17 00 00 00", "0020"), "07 00 00", "97 00 00 01 40", "8F 00 00", "8A 01", "93 20",
            "88 03 16 0A 00 00 00 00", "02 43 FF", "08" + " 00" * 8, "89 7F", ("wait", 5),
            ("11 00 00", "01"), "8B 09 06 03 00", "0D 07 40 14 24", ("1D 07 36 00 00", "0D"),
            "0D 07 36 0D", "8C 00 08 00 FF 01 00", "0D 08 E7 18", "9D 01", "96 01",
            "8B 07 06 03 00", "8B 07 04 01 00", "98 D7 DB", "86 36 41 99 99",
            ("1D 08 D8 00 00", "C8"), "0D 08 D8 DE", ("1D 08 E7 00 00", "18"), "95 04 07 00 01",
            "8E 0A 04", "0D 08 E7 18",
        ],
        [
            "80 00", ("11 00 00", "01"), "0D 07 36 0D", "8C 00 08 00 12 01 00",
            "08 02 01 00 01 00 00 00 00", "8F 00 00", ("payload", "0E 00"), "02 43 FF",
            ("1D 08 89 00 00", "01"), "0D 08 89 05", "83 00 00 00",
        ],
        [
            "02 43 FF", "80 00", "08 02 62 00 02 00 00 00 00", "8F 00 00", "02 43 FF",
            "0D 07 36 0D", "8C 00 08 00 FF 01 00", "82 FF FF FF",
        ],
        [
            "80 00", ("12 00 00 00", "0002"), ("13 00 00 00", "0D00"), ("buffer", "1E 00 00"),
        ],
    ),
]  # fmt: skip


class Player:
    """Plays a driver's steps on a chip, waiting for BUSY in between as all drivers do."""

    def __init__(self, chip, air):
        self.chip = chip
        self.sim = air.engine

    def ready(self):
        if not isinstance(self.chip, SX1262):
            return
        for _ in range(3000):
            if not self.chip.line("busy"):
                return
            self.sim.advance(10 * US)
        raise AssertionError("BUSY stays high")

    def spi(self, data, ready=True):
        if ready:
            self.ready()
        self.chip.select()
        answer = bytes(self.chip.transfer(byte) for byte in data)
        self.chip.deselect()
        self.sim.advance(20 * US)
        return answer

    def play(self, steps):
        for step in steps:
            if isinstance(step, str):
                data = bytes.fromhex(step)
                # Whoever wakes a sleeping chip cannot wait for BUSY first.
                self.spi(data, ready=data[0] != 0xC0)
            elif step[0] == "wait":
                self.sim.advance(step[1] * MS)
            elif step[0] == "reset":
                self.chip.reset_line(0)
                self.sim.advance(MS)
                self.chip.reset_line(1)
            elif step[0] == "payload":
                self.spi(bytes.fromhex(step[1]) + UPLINK)
            elif step[0] == "bytes":
                for byte in UPLINK:
                    self.spi((*bytes.fromhex(step[1]), byte))
            elif step[0] == "fifo":
                assert self.spi(bytes(1 + len(DOWNLINK)))[1:] == DOWNLINK
            elif step[0] == "buffer":
                assert self.spi(bytes.fromhex(step[1]) + bytes(len(DOWNLINK)))[3:] == DOWNLINK
            else:
                out, back = (bytes.fromhex(part) for part in step)
                fixed = isinstance(self.chip, SX1262) and out[0] == 0x1D
                first = 4 if fixed else 2 if isinstance(self.chip, SX1262) else 1
                assert self.spi(out)[first : first + len(back)] == back, step


CASES = [(SX1276, {}, driver) for driver in SX1276_DRIVERS] + [
    (SX1262, {"tcxo_v": 1.8, "rf_switch": True}, driver) for driver in SX1262_DRIVERS
]


@pytest.mark.parametrize(
    ("make", "wiring", "driver"), CASES, ids=[f"{c[0].__name__} {c[2][0]}" for c in CASES]
)
def test_other_drivers_send_and_receive(make, wiring, driver):
    _, sync_word, inverted, start, send, listen, read = driver
    air = Air(SimTime())
    gateway = Gateway(air, sync_word=sync_word)
    player = Player(make(air, "node", **wiring), air)
    player.play(start)
    player.play(send)
    uplink = gateway.next_uplink(1.0)
    assert uplink.payload == UPLINK
    sent = uplink.frame.modulation
    assert abs(sent.freq_hz - HZ) < 62
    assert (sent.sf, sent.bw_hz, sent.cr, sent.iq_inverted) == (7, 125_000, 1, False)
    assert 10 <= uplink.frame.power_dbm <= 17
    player.play(listen)
    modulation = Modulation(HZ, 7, iq_inverted=inverted, crc=not inverted, sync_word=sync_word)
    air.transmit("gateway", DOWNLINK, modulation, 14.0, air.engine.now_ns() + 5 * MS)
    air.engine.advance(100 * MS)
    player.play(read)
