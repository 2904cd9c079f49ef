"""The model of the SX1262 at the level of commands."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radio_bench import MS, NS, US, W1262

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


# -- any bytes -------------------------------------------------------------------------------------


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
