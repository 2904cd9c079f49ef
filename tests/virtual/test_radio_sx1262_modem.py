"""The modem of the SX1262's model: how it sends and receives, and its errata."""

import pytest
from citynode.virtual.air import Modulation
from radio_bench import MS, NS, US, W1262

HZ = 868_100_000
SYMBOL_NS = 1_024 * US  # SF7, 125 kHz
UPLINK = Modulation(HZ, 7)


# -- sending ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("standby", "delay_us"), [(0, 126), (1, 105)])
def test_sends_when_busy_falls(standby, delay_us):
    w = W1262().lora()
    w.load(b"hello")
    w.cmd(0x80, standby)
    w.settle()
    start = w.sim.now_ns()
    w.spi(0x83, 0, 0, 0)
    w.wait(delay_us * US - 1)
    assert w.chip.line("busy") == 1
    w.wait(1)
    assert w.chip.line("busy") == 0
    assert w.status()[0] == 6
    uplink = w.gateway.next_uplink(1.0)
    assert uplink.payload == b"hello"
    assert uplink.start_ns == start + delay_us * US
    assert uplink.end_ns == uplink.start_ns + UPLINK.airtime_ns(5)
    assert uplink.frame.modulation == Modulation(HZ, 7, ldro=False)
    assert uplink.frame.power_dbm == 14
    assert (w.irq(), w.chip.line("dio1"), w.status()) == (0x001, 1, (2, 6))
    w.cmd(0x02, 0, 1)
    assert (w.irq(), w.chip.line("dio1")) == (0, 0)


def test_irqs_show_only_if_the_mask_lets_them():
    w = W1262().lora()
    w.cmd(0x08, 0x03, 0xFE, 0x03, 0xFF, 0, 0, 0, 0)
    w.load(b"hello")
    w.cmd(0x83, 0, 0, 0)
    w.wait(NS)
    assert (w.irq(), w.chip.line("dio1"), w.status()) == (0, 0, (2, 6))


@pytest.mark.parametrize(("fallback", "mode"), [(0x20, 2), (0x30, 3), (0x40, 4)])
def test_falls_back_to_the_chosen_mode(fallback, mode):
    w = W1262().lora()
    w.cmd(0x93, fallback)
    w.load(b"hello")
    w.cmd(0x83, 0, 0, 0)
    w.wait(NS)
    assert w.status()[0] == mode


def test_transmit_timeout_cuts_the_frame():
    w = W1262().lora()
    w.load(b"hello")
    w.settle()
    start = w.sim.now_ns()
    w.spi(0x83, 0, 0x04, 0x00)  # 1024 steps: 16 ms
    w.sim.move_to(start + 126 * US + 16 * MS - 1)
    assert w.chip.line("dio1") == 0
    w.wait(1)
    assert w.chip.line("dio1") == 1
    assert (w.irq(), w.status()) == (0x200, (2, 3))
    w.wait(NS)
    assert not w.gateway.uplinks


@pytest.mark.parametrize(
    ("pa", "power", "dbm"),
    [
        ((4, 7, 0, 1), 22, 22),
        ((4, 7, 0, 1), 0xF7, -9),
        ((4, 7, 0, 1), 40, 22),
        ((3, 5, 0, 1), 22, 20),
        ((2, 2, 0, 1), 22, 14),
        ((4, 7, 1, 1), 14, 14 - 40),  # the SX1261's amplifier
        ((0, 0, 0, 1), 14, 14 - 31),
    ],
)
def test_power(pa, power, dbm):
    w = W1262().lora()
    w.air.links.attenuate("node", "gateway", 60.0)
    w.cmd(0x95, *pa)
    w.cmd(0x8E, power, 4)
    w.load(b"hello")
    w.cmd(0x83, 0, 0, 0)
    assert w.gateway.next_uplink(1.0).frame.power_dbm == dbm


@pytest.mark.parametrize(("power", "dbm"), [(17, 17), (18, 13), (22, 17)])
def test_clamping_erratum_15_2_costs_power(power, dbm):
    w = W1262().lora()
    w.reg(0x08D8, 0xC8)
    w.cmd(0x8E, power, 4)
    w.load(b"hello")
    w.cmd(0x83, 0, 0, 0)
    assert w.gateway.next_uplink(1.0).frame.power_dbm == dbm


def test_antenna_switch_on_dio2():
    w = W1262(rf_switch=True).lora()
    w.air.links.attenuate("node", "gateway", 60.0)
    for enabled, dbm in ((0, -26), (1, 14)):
        w.cmd(0x9D, enabled)
        w.load(b"hello")
        w.cmd(0x83, 0, 0, 0)
        assert w.chip.line("dio2") == enabled
        assert w.gateway.next_uplink(1.0).frame.power_dbm == dbm
        assert w.chip.line("dio2") == 0


@pytest.mark.parametrize(
    ("bw", "register", "lost_db"), [(4, 0x05, 0), (4, 0x01, 3), (6, 0x01, 0), (6, 0x05, 3)]
)
def test_modulation_quality_erratum_15_1(bw, register, lost_db):
    w = W1262().lora()
    w.cmd(0x8B, 7, bw, 1, 0)
    w.reg(0x0889, register)
    w.load(b"hello")
    w.cmd(0x83, 0, 0, 0)
    assert w.gateway.next_uplink(1.0).frame.impairment_db == lost_db


@pytest.mark.parametrize(
    "break_it",
    [
        lambda w: w.reg(0x0740, 0x14, 0x24),
        lambda w: w.reg(0x0740, 0x34, 0x34),  # wrong control bits
        lambda w: w.cmd(0x8C, 0, 8, 0, 5, 1, 1),
        lambda w: w.cmd(0x8C, 0, 8, 1, 5, 1, 0),
        lambda w: w.cmd(0x8B, 13, 4, 1, 0),
        lambda w: w.cmd(0x8B, 7, 4, 1, 1),
        lambda w: w.cmd(0x8A, 0),
    ],
)
def test_settings_that_nobody_hears(break_it):
    w = W1262().lora()
    w.load(b"hello")
    break_it(w)
    w.cmd(0x83, 0, 0, 0)
    with pytest.raises(TimeoutError):
        w.gateway.next_uplink(5.0)


# -- receiving -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "register", "symbols"),
    [(4, None, 4), (5, None, 6), (62, None, 62), (64, None, 64), (66, None, 72), (8, 3 << 3, 6)],
)
def test_symbol_timeout(asked, register, symbols):
    w = W1262().lora()
    w.packet(inverted=True)
    w.cmd(0xA0, asked)
    if register is not None:
        w.reg(0x0706, register)
    start = w.sim.now_ns()
    w.spi(0x82, 0, 0, 0)
    w.sim.move_to(start + 83 * US + symbols * SYMBOL_NS)
    assert w.chip.line("dio1") == 0
    w.wait(1)
    assert w.chip.line("dio1") == 1
    assert (w.irq(), w.status()) == (0x200, (2, 3))


def test_receive_timeout_in_steps():
    w = W1262().lora()
    start = w.sim.now_ns()
    w.listen(steps=640, symbols=0)
    begun = w.sim.now_ns()
    assert begun > start
    w.sim.move_to(begun + 83 * US + 10 * MS)
    assert w.chip.line("dio1") == 0
    w.wait(1)
    assert (w.irq(), w.status()) == (0x200, (2, 3))


@pytest.mark.parametrize(("stop", "irq"), [(0, 0x204), (1, 0x016)])
def test_timer_stops_at_the_preamble_if_asked(stop, irq):
    w = W1262().lora()
    w.cmd(0x9F, stop)
    w.listen(steps=640, symbols=0)  # 10 ms, before the header
    w.downlink()
    w.wait(NS)
    assert w.irq() == irq


def test_receives_with_all_that_goes_with_it():
    w = W1262().lora()
    w.cmd(0x8F, 0, 0x40)
    w.listen()
    frame = w.downlink(b"reply")
    w.sim.move_to(frame.end_ns - MS)
    assert w.irq() == 0x014  # preamble, header
    w.cmd(0x02, 3, 0xFF)
    w.sim.move_to(frame.end_ns - 1)
    assert w.chip.line("dio1") == 0
    w.wait(1)
    assert w.chip.line("dio1") == 1
    assert (w.irq(), w.status()) == (0x002, (2, 2))
    assert w.cmd(0x13, 0, 0, 0)[2:] == bytes((5, 0x40))
    assert w.cmd(0x1E, 0x40, 0, *bytes(5))[3:] == b"reply"
    assert w.cmd(0x1E, 0x00, 0, *bytes(5))[3:] != b"reply"
    rssi, snr, signal = w.cmd(0x14, 0, 0, 0, 0)[2:]
    assert -rssi / 2 == -signal / 2 == pytest.approx(-91.75, abs=0.3)
    assert snr / 4 == 12
    assert w.cmd(0x10, 0, *bytes(6))[2:] == bytes((0, 1, 0, 0, 0, 0))


def test_continuous_reception_goes_on():
    w = W1262().lora()
    w.listen(steps=0xFFFFFF)
    for n, payload in enumerate((b"one", b"two!")):
        w.downlink(payload)
        w.wait(NS)
        assert (w.irq(), w.status()[0]) == (0x016, 5)
        assert w.cmd(0x13, 0, 0, 0)[2:] == bytes((len(payload), 3 * n))
        w.cmd(0x02, 3, 0xFF)
    assert w.cmd(0x1E, 0, 0, *bytes(7))[3:] == b"onetwo!"


@pytest.mark.parametrize(
    ("frame", "irq"),
    [
        ({"iq_inverted": False}, 0x200),
        ({"sync_word": 0x12}, 0x204),
        ({"freq_hz": HZ + 32_000}, 0x200),
        ({"sf": 8}, 0x200),
        ({"bw_hz": 250_000}, 0x200),
        ({"implicit": True}, 0x024),
        ({"crc": True, "ldro": True}, 0x056),
        ({"crc": True}, 0x016),
    ],
)
def test_hears_as_it_is_set(frame, irq):
    w = W1262().lora()
    w.listen()
    w.downlink(**frame)
    w.wait(NS)
    assert (w.irq(), w.status()[0]) == (irq, 2)


@pytest.mark.parametrize(("length", "register", "irq"), [(5, 0x0D, 0x16), (40, 0x0D, 0x56)])
def test_iq_polarity_erratum_15_4_loses_long_frames(length, register, irq):
    for fixed in (False, True):
        w = W1262().lora()
        w.listen()
        w.cmd(0x80, 0)
        w.reg(0x0736, 0x09 if fixed else register)
        w.spi(0x82, 0, 0, 0)
        w.downlink(bytes(length), crc=True)
        w.wait(NS)
        assert w.irq() == (0x16 if fixed else irq)


def test_implicit_header_timer_erratum_15_3():
    for fixed in (False, True):
        w = W1262().lora()
        w.listen(steps=6_400, symbols=0, length=5, implicit=1)  # 100 ms
        w.downlink(implicit=True, crc=True)
        w.wait(50 * MS)
        assert w.irq() == 0x006
        if fixed:
            w.reg(0x0902, 0)
            w.reg(0x0944, w.reg(0x0944) | 2)
        w.cmd(0x02, 3, 0xFF)
        w.cmd(0x8B, 12, 4, 1, 1)
        w.load(b"hello")
        w.cmd(0x83, 0, 0, 0)
        w.wait(3 * NS)
        assert w.irq() == (0x001 if fixed else 0x200)
        assert len(w.gateway.uplinks) == fixed


@pytest.mark.parametrize(("gain", "floor"), [(0x96, -124.5), (0x94, -121.5)])
def test_gain_of_the_receiver(gain, floor):
    for margin, irq in ((0.5, 0x016), (-0.5, 0x200)):
        w = W1262().lora()
        w.reg(0x08AC, gain)
        w.listen()
        w.downlink(power_dbm=floor + margin + 105.75)
        w.wait(NS)
        assert w.irq() == irq


@pytest.mark.parametrize(("busy", "irq"), [(False, 0x080), (True, 0x180)])
def test_detects_activity(busy, irq):
    w = W1262().lora()
    w.packet(inverted=True)
    w.cmd(0x88, 2, 22, 10, 0, 0, 0, 0)
    if busy:
        w.downlink(at_ns=w.sim.now_ns())
    w.cmd(0xC5)
    w.wait(4 * SYMBOL_NS)
    assert (w.irq(), w.status()[0]) == (irq, 2)


def test_random_numbers_come_from_the_seed_while_receiving():
    def draw(receiving):
        w = W1262().lora()
        if receiving:
            w.cmd(0x82, 0xFF, 0xFF, 0xFF)
        return bytes(w.reg(0x0819) for _ in range(8))

    assert draw(False) == bytes(8)
    assert len(set(draw(True))) > 2
    assert draw(True) == draw(True)
