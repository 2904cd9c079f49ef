"""The SX1276 on the air: what it sends, hears and tells of that."""

import pytest
from citynode.virtual.air import Modulation
from radio_bench import MS, NS, US, W1276

HZ = 868_100_000
SYMBOL_NS = 1_024 * US  # SF7, 125 kHz
UPLINK = Modulation(HZ, 7)


# -- sending ---------------------------------------------------------------------------------------


def test_sends_what_is_in_the_fifo_when_the_ramp_is_up():
    w = W1276().lora()
    w.put(0x0E, 0x10)
    w.put(0x0D, 0x10)
    w.put(0x00, *b"hello")
    w.put(0x22, 5)
    w.put(0x40, 0x40)  # TxDone on DIO0
    start = w.sim.now_ns()
    w.put(0x01, 0x83)
    uplink = w.gateway.next_uplink(1.0)
    assert uplink.payload == b"hello"
    # Synthesizer 60 µs; 5 µs and 1.25 times the ramp of 40 µs.
    assert uplink.start_ns == start + 115 * US
    assert uplink.end_ns == uplink.start_ns + UPLINK.airtime_ns(5)
    sent = uplink.frame.modulation
    assert abs(sent.freq_hz - HZ) < 31
    assert sent == Modulation(sent.freq_hz, 7, ldro=False)
    assert uplink.frame.power_dbm == 14
    assert (w.get(0x12), w.chip.line("dio0"), w.get(0x01) & 7) == (0x08, 1, 1)
    w.put(0x12, 0xF7)
    assert w.get(0x12) == 0x08
    w.put(0x12, 0x08)
    assert (w.get(0x12), w.chip.line("dio0")) == (0, 0)


def test_masked_flags_do_not_show():
    w = W1276().lora()
    w.put(0x11, 0x08)
    w.put(0x40, 0x40)
    w.put(0x01, 0x83)
    w.wait(NS)
    assert (w.get(0x12), w.chip.line("dio0"), w.get(0x01) & 7) == (0, 0, 1)


def test_wakes_its_oscillator_first():
    w = W1276().lora()
    w.put(0x01, 0x80)
    start = w.sim.now_ns()
    w.put(0x01, 0x83)
    assert w.gateway.next_uplink(1.0).start_ns == start + 250 * US + 115 * US


@pytest.mark.parametrize(
    ("registers", "dbm"),
    [
        ({0x09: 0x80}, 2),
        ({0x09: 0xFF}, 17),
        ({0x09: 0xFF, 0x4D: 0x87}, 17),  # the current limit of 100 mA is in the way
        ({0x09: 0xFF, 0x4D: 0x87, 0x0B: 0x31}, 20),
        ({0x09: 0xF0, 0x4D: 0x87, 0x0B: 0x31}, 5),
        ({0x09: 0x7E}, 10.8 + 0.6 * 7 - 1 - 40),  # RFO has no antenna
        ({0x09: 0x4F}, 10.8 + 0.6 * 4 - 40),
    ],
)
def test_power(registers, dbm):
    w = W1276().lora()
    w.air.links.attenuate("node", "gateway", 60.0)
    for register, value in registers.items():
        w.put(register, value)
    w.put(0x01, 0x83)
    assert w.gateway.next_uplink(1.0).frame.power_dbm == pytest.approx(dbm)


@pytest.mark.parametrize(
    "registers",
    [
        {0x33: 0x26},  # transmitter inverted
        {0x39: 0x12},
        {0x1D: 0x73},  # implicit header
        {0x1D: 0xA2},  # no such bandwidth
        {0x1E: 0xD4},  # nor spreading factor
        {0x1E: 0x64},  # SF6 needs the implicit header
        {0x22: 0},
        {0x09: 0x7F, 0x1E: 0x54},
    ],
)
def test_settings_that_nobody_hears(registers):
    w = W1276().lora()
    for register, value in registers.items():
        w.put(register, value)
    w.put(0x01, 0x83)
    with pytest.raises(TimeoutError):
        w.gateway.next_uplink(5.0)


def test_standby_ends_a_transmission_without_a_flag():
    w = W1276().lora()
    w.put(0x22, 50)
    w.put(0x01, 0x83)
    w.wait(20 * MS)
    w.put(0x01, 0x81)
    w.wait(NS)
    assert w.get(0x12) == 0
    assert not w.gateway.uplinks


# -- receiving -------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbols", [4, 100, 1023])
def test_times_out_after_so_many_symbols(symbols):
    w = W1276().lora()
    w.put(0x33, 0x67)
    w.put(0x1E, 0x74 | symbols >> 8, symbols & 0xFF)
    start = w.sim.now_ns()
    w.put(0x01, 0x86)
    w.sim.move_to(start + 131 * US + symbols * SYMBOL_NS)
    assert (w.get(0x12), w.chip.line("dio1"), w.get(0x01) & 7) == (0, 0, 6)
    w.wait(1)
    assert (w.get(0x12), w.chip.line("dio1"), w.get(0x01) & 7) == (0x80, 1, 1)


def test_receives_with_all_that_goes_with_it():
    w = W1276().lora()
    w.put(0x0F, 0x40)
    w.listen()
    frame = w.downlink(b"reply", freq_hz=HZ + 10_000)
    w.sim.move_to(frame.end_ns - 1)
    assert w.get(0x12) == 0x10  # valid header
    w.wait(1)
    assert (w.get(0x12), w.chip.line("dio0"), w.get(0x01) & 7) == (0x50, 1, 1)
    assert (w.get(0x10), w.get(0x13), w.get(0x25)) == (0x40, 5, 0x45)
    assert w.get(0x1C) == 0  # no CRC in a downlink
    w.put(0x0D, w.get(0x10))
    assert w.get(0x00, 5) == b"reply"
    assert w.get(0x14, 4) == bytes((0, 1, 0, 1))
    # -91.75 dBm: 157 of offset, a slope of 16/15 (section 5.5.5).
    assert w.get(0x1A) == round((157 - 91.75) * 15 / 16)
    assert w.get(0x19) == 4 * 12
    fei = int.from_bytes(w.get(0x28, 3), "big")
    assert fei * (1 << 24) / 32e6 * 125 / 500 == pytest.approx(10_000, abs=31)


def test_rssi_below_the_noise():
    w = W1276().lora()
    w.listen()
    w.downlink(power_dbm=-123.0 + 105.75)
    w.wait(NS)
    snr = w.get(0x19) - 256
    assert snr / 4 == pytest.approx(-123 + 174 - 50.97 - 7, abs=0.25)
    assert -157 + w.get(0x1A) + snr / 4 == pytest.approx(-123, abs=1)


def test_reads_other_bytes_at_another_pointer():
    w = W1276().lora()
    w.put(0x0F, 0x40)
    w.listen()
    w.downlink()
    w.wait(NS)
    w.put(0x0D, 0)
    assert w.get(0x00, 5) != b"reply"


def test_continuous_reception_goes_on_behind_the_last_packet():
    w = W1276().lora()
    w.listen(mode=0x85)
    w.downlink(b"one")
    w.wait(NS)
    assert (w.get(0x12), w.get(0x01) & 7, w.get(0x10)) == (0x50, 5, 0)
    w.put(0x12, 0xFF)
    w.downlink(b"two")
    w.wait(NS)
    assert (w.get(0x12), w.get(0x10), w.get(0x13)) == (0x50, 3, 3)
    w.put(0x0D, 0)
    assert w.get(0x00, 6) == b"onetwo"


@pytest.mark.parametrize(
    ("registers", "frame"),
    [
        ({}, {"iq_inverted": False}),
        ({0x33: 0x27}, {}),
        ({}, {"sync_word": 0x12}),
        ({}, {"freq_hz": HZ + 32_000}),  # more than 25 % of 125 kHz
        ({}, {"freq_hz": HZ - 32_000}),
        ({}, {"sf": 8}),
        ({}, {"bw_hz": 250_000}),
        ({0x31: 0xC5}, {}),  # detection optimised for SF6
        ({0x37: 0x0C}, {}),
        ({}, {"implicit": True}),
        ({0x23: 4}, {}),  # longer than RegMaxPayloadLength
    ],
)
def test_does_not_hear(registers, frame):
    w = W1276().lora()
    for register, value in registers.items():
        w.put(register, value)
    if 0x33 in registers:
        w.put(0x1E, 0x74, 20)
        w.put(0x01, 0x86)
    else:
        w.listen()
    w.downlink(**frame)
    w.wait(NS)
    assert (w.get(0x12), w.get(0x01) & 7) == (0x80, 1)


@pytest.mark.parametrize("offset_hz", [-31_000, 31_000])
def test_hears_off_by_a_quarter_of_the_bandwidth(offset_hz):
    w = W1276().lora()
    w.listen()
    w.downlink(freq_hz=HZ + offset_hz)
    w.wait(NS)
    assert w.get(0x12) == 0x50


@pytest.mark.parametrize(
    ("registers", "change", "flags"),
    [
        ({}, {"crc": True}, 0x50),
        ({0x26: 0x08}, {"crc": True}, 0x70),  # data rate optimisation on one side only
        ({0x26: 0x08}, {}, 0x50),  # … and no CRC to notice it by
    ],
)
def test_crc_of_the_payload(registers, change, flags):
    w = W1276().lora()
    for register, value in registers.items():
        w.put(register, value)
    w.listen()
    w.downlink(**change)
    w.wait(NS)
    assert w.get(0x12) == flags
    assert w.get(0x1C) == (0x40 if change else 0)
    w.put(0x0D, 0)
    assert (w.get(0x00, 5) == b"reply") == (not registers)


def test_implicit_header():
    for length, flags in ((5, 0x40), (6, 0x60)):
        w = W1276().lora()
        w.put(0x1D, 0x73)
        w.put(0x22, length)
        w.listen()
        w.downlink(implicit=True, crc=True)
        w.wait(NS)
        assert (w.get(0x12), w.get(0x13)) == (flags, length)


@pytest.mark.parametrize(
    ("registers", "lost_db"),
    [({0x36: 2, 0x3A: 0x64}, 0), ({}, 3), ({0x36: 2, 0x3A: 0x64, 0x3B: 0x1D}, 3)],
)
def test_sensitivity_with_500_khz_needs_erratum_2_1(registers, lost_db):
    for margin, heard in ((0.5, True), (-0.5, False)):
        w = W1276().lora()
        w.put(0x1D, 0x92)
        w.listen()
        w.put(0x01, 0x81)
        for register, value in registers.items():
            w.put(register, value)
        w.put(0x12, 0xFF)
        w.put(0x01, 0x86)
        floor = -174 + 57 + 7 - 7.5 + lost_db
        w.downlink(bw_hz=500_000, at_ns=w.sim.now_ns() + MS, power_dbm=floor + margin + 105.75)
        w.wait(NS)
        assert w.get(0x12) == (0x50 if heard else 0x80)


def test_detects_activity():
    w = W1276().lora()
    w.put(0x33, 0x67)
    w.put(0x40, 0x80)  # CadDone on DIO0
    for busy in (False, True):
        if busy:
            w.downlink(at_ns=w.sim.now_ns())
            w.wait(MS)
        w.put(0x12, 0xFF)
        w.put(0x01, 0x87)
        w.wait(2 * SYMBOL_NS + MS)
        assert (w.get(0x12), w.get(0x01) & 7) == (0x05 if busy else 0x04, 1)
        assert w.chip.line("dio0") == 1


def test_random_numbers_come_from_the_seed_while_receiving():
    def draw(receiving):
        w = W1276().lora()
        if receiving:
            w.put(0x01, 0x85)
        return bytes(w.get(0x2C) for _ in range(8))

    assert draw(False) == bytes(8)
    assert len(set(draw(True))) > 2
    assert draw(True) == draw(True)
