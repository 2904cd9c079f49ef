"""The model of the SX1262 at the level of commands."""

import pytest
from citynode.virtual.air import Modulation
from citynode.virtual.chips.sx1262 import SX1262
from hypothesis import given, settings
from hypothesis import strategies as st
from radio_bench import MS, NS, US, Wires

HZ = 868_100_000
SYMBOL_NS = 1_024 * US  # SF7, 125 kHz
UPLINK = Modulation(HZ, 7)


class W1262(Wires):
    def __init__(self, **kw):
        super().__init__(SX1262, **kw)

    def settle(self):
        """Wait as long as a command takes that moves nothing."""
        if self.chip.line("busy"):
            self.wait(US)

    def cmd(self, *data):
        """Send a command and wait for BUSY to fall."""
        self.settle()
        answer = self.spi(*data)
        for _ in range(1000):
            if not self.chip.line("busy"):
                return answer
            self.wait(10 * US)
        raise AssertionError("BUSY stays high")

    def reg(self, address, *values):
        if values:
            return self.cmd(0x0D, address >> 8, address & 0xFF, *values)
        return self.cmd(0x1D, address >> 8, address & 0xFF, 0, 0)[4]

    def ask(self, opcode, count):
        self.settle()
        return int.from_bytes(self.spi(opcode, *bytes(count + 1))[2:], "big")

    def status(self):
        """Return chip mode and command status."""
        self.settle()
        byte = self.spi(0xC0, 0)[1]
        return byte >> 4 & 7, byte >> 1 & 7

    def irq(self):
        return self.ask(0x12, 2)

    def errors(self):
        return self.ask(0x17, 2)

    def packet(self, length=255, *, inverted=False, implicit=0, crc=1, preamble=8):
        self.cmd(0x8C, 0, preamble, implicit, length, crc, int(inverted))
        self.reg(0x0736, 0x09 if inverted else 0x0D)

    def lora(self):
        """Set SF7, 125 kHz, CRC, 868.1 MHz, public sync word, 14 dBm, all IRQs on DIO1."""
        self.cmd(0x80, 0)
        self.cmd(0x8A, 1)
        self.cmd(0x86, 0x36, 0x41, 0x99, 0x9A)
        self.cmd(0x8B, 7, 4, 1, 0)
        self.packet()
        self.reg(0x0740, 0x34, 0x44)
        self.reg(0x0889, 0x05)
        self.reg(0x08AC, 0x96)
        self.reg(0x08D8, 0xDE)
        self.cmd(0x95, 4, 7, 0, 1)
        self.cmd(0x8E, 14, 4)
        self.cmd(0x8F, 0, 0)
        self.cmd(0x08, 0x03, 0xFF, 0x03, 0xFF, 0, 0, 0, 0)
        return self

    def load(self, payload, **packet):
        self.cmd(0x0E, 0, *payload)
        self.packet(len(payload), **packet)

    def listen(self, steps=0, symbols=20, **packet):
        self.packet(**({"inverted": True} | packet))
        self.cmd(0xA0, symbols)
        self.spi(0x82, *steps.to_bytes(3, "big"))


# -- commands --------------------------------------------------------------------------------------


def test_after_a_reset():
    w = W1262()
    assert w.status() == (2, 1)
    assert bytes(w.reg(0x0320 + i) for i in range(16)) == b"SX1261 V2D 2D02\0"
    assert [w.reg(a) for a in (0x0736, 0x0740, 0x0741, 0x0889, 0x08AC, 0x08D8)] == [
        0x0D, 0x14, 0x24, 0x01, 0x94, 0xC8,
    ]  # fmt: skip
    assert w.cmd(0x11, 0, 0)[2] == 0  # (G)FSK
    assert (w.irq(), w.errors()) == (0, 0)


def test_is_busy_after_a_reset_and_hears_no_command():
    w = W1262().lora()
    w.chip.reset_line(0)
    w.wait(MS)
    w.chip.reset_line(1)
    w.wait(3_500 * US - 1)
    assert w.chip.line("busy") == 1
    assert w.spi(0x8A, 1) == bytes(2)
    w.wait(1)
    assert w.chip.line("busy") == 0
    assert w.cmd(0x11, 0, 0)[2] == 0
    assert w.reg(0x0740) == 0x14


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ((0xEE, 0), 4),
        ((0x86, 0x36, 0x41), 4),  # too few parameters
        ((0x94, 0, 0, 1, 0, 0, 1), 5),
        ((0x80, 0), 1),
    ],
)
def test_status_of_commands(command, status):
    w = W1262().lora()
    w.cmd(*command)
    assert w.status() == (2, status)


@pytest.mark.parametrize("command", [(0x97, 2, 0, 1, 64), (0x89, 0x7F), (0x96, 1)])
def test_takes_some_commands_in_rc_standby_only(command):
    w = W1262()
    w.cmd(0x80, 1)
    assert w.status() == (3, 1)
    w.cmd(*command)
    assert w.status() == (3, 5)


def test_buffer_wraps():
    w = W1262()
    w.cmd(0x0E, 0xFE, 1, 2, 3)
    assert w.cmd(0x1E, 0xFE, 0, 0, 0, 0)[3:] == bytes((1, 2, 3))
    assert w.cmd(0x1E, 0x00, 0, 0)[3:] == bytes((3,))


def test_choosing_a_modem_forgets_the_sync_word():
    w = W1262().lora()
    w.cmd(0x8A, 1)
    assert w.reg(0x0740) == 0x34
    w.cmd(0x8A, 0)
    w.cmd(0x8A, 1)
    assert (w.reg(0x0740), w.reg(0x0741)) == (0x14, 0x24)


# -- oscillator, calibration, sleep ----------------------------------------------------------------


def test_without_its_oscillator_neither_calibrates_nor_sends_nor_receives():
    w = W1262(tcxo_v=1.8)
    assert w.errors() == 0x20
    assert w.status() == (2, 5)
    w.cmd(0x07, 0, 0)
    assert w.errors() == 0
    for command in ((0x89, 0x7F), (0x80, 1), (0x98, 0xD7, 0xDB)):
        w.cmd(0x07, 0, 0)
        w.cmd(*command)
        assert (w.errors(), w.status()) == (0x20, (2, 5))
    w.lora().load(b"hello")
    for command in (0x83, 0x82):
        w.cmd(command, 0, 0, 0)
        assert w.status() == (2, 5)
    w.wait(NS)
    assert not w.gateway.uplinks
    assert w.irq() == 0


@pytest.mark.parametrize(
    ("tcxo_v", "code", "delay_us", "starts"),
    [
        (1.8, 2, 5000, True),
        (1.8, 0, 5000, True),  # 1.6 V: within what such parts take
        (3.0, 2, 5000, False),
        (1.8, 2, 500, False),
        (None, 2, 5000, False),  # a crystal that is treated as an oscillator
    ],
)
def test_oscillator_needs_voltage_and_time(tcxo_v, code, delay_us, starts):
    w = W1262(tcxo_v=tcxo_v)
    steps = delay_us * 64 // 1000
    w.cmd(0x97, code, 0, steps >> 8, steps & 0xFF)
    w.cmd(0x07, 0, 0)
    w.cmd(0x89, 0x7F)
    assert (w.errors() == 0) == starts
    w.cmd(0x98, 0xD7, 0xDB)
    assert (w.chip.image_mhz == (860, 876)) == starts
    assert (w.chip.calibrated == 0x7F) == (starts or tcxo_v is None)
    before = w.sim.now_ns()
    w.lora().load(b"hello")
    w.cmd(0x83, 0, 0, 0)
    assert w.status()[0] == (6 if starts else 2)
    if starts:
        uplink = w.gateway.next_uplink(1.0)
        assert uplink.start_ns - before > delay_us * US


def test_keeps_its_settings_in_a_warm_sleep_and_not_in_a_cold_one():
    for config, kept in ((0x04, True), (0x00, False)):
        w = W1262().lora()
        w.reg(0x029F, 1, 0x08, 0xAC)
        w.cmd(0x0E, 0, 7)
        w.spi(0x84, config)
        w.wait(MS)
        assert w.chip.line("busy") == 1
        w.chip.select()  # the falling edge wakes it up
        w.chip.deselect()
        w.wait((340 if kept else 3_500) * US - 1)
        assert w.chip.line("busy") == 1
        w.wait(1)
        assert w.chip.line("busy") == 0
        assert w.cmd(0x11, 0, 0)[2] == kept
        assert (w.reg(0x0740), w.reg(0x08AC)) == ((0x34, 0x96) if kept else (0x14, 0x94))
        assert w.reg(0x0889) == 0x01  # analog, and not in the retention list
        assert w.cmd(0x1E, 0, 0, 0)[3] == 0
        w.load(b"hello")
        w.spi(0x83, 0, 0, 0)
        w.wait(NS)
        assert bool(w.gateway.uplinks) == kept


def test_loses_the_command_that_wakes_it():
    w = W1262().lora()
    w.spi(0x84, 4)
    w.wait(MS)
    assert w.spi(0x80, 1) == bytes(2)
    w.wait(MS)
    assert w.status()[0] == 2


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


FUZZ = st.one_of(
    st.binary(max_size=12),
    st.builds(
        lambda opcode, parameters: bytes((opcode,)) + parameters,
        st.sampled_from(
            bytes.fromhex("80 81 82 82 83 83 84 86 88 89 8A 8B 8C 93 97 98 A0 C5 08 0D")
        ),
        st.binary(max_size=9),
    ),
)


@settings(deadline=None)
@given(steps=st.lists(st.tuples(FUZZ, st.sampled_from((0, 10 * US, 5 * MS, NS))), max_size=12))
def test_any_bytes_on_spi_are_borne(steps):
    w = W1262().lora()
    w.listen()
    for data, pause in steps:
        w.spi(*data)
        w.wait(pause)
        w.downlink(bytes(255), sf=7)
    w.wait(10 * NS)
    w.chip.power_up()
    w.wait(10 * MS)
    assert w.chip.line("dio1") == 0
