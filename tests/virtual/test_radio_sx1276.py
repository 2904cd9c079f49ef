"""The model of the SX1276 at the level of registers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radio_bench import MS, NS, US, W1276

HZ = 868_100_000


# -- registers -------------------------------------------------------------------------------------


def test_after_a_reset():
    w = W1276()
    assert w.get(0x42) == 0x12
    assert w.get(0x01) == 0x09  # FSK standby
    assert w.get(0x06, 3) == bytes.fromhex("6c8000")  # 434 MHz
    assert w.get(0x09, 4) == bytes.fromhex("4f092b20")
    assert w.get(0x30, 2) == bytes.fromhex("9040")  # of the FSK side
    w.put(0x01, 0x80)
    assert w.get(0x1D, 3) == bytes.fromhex("727064")
    assert w.get(0x20, 4) == bytes.fromhex("000801ff")
    assert (w.get(0x31), w.get(0x33), w.get(0x37), w.get(0x39)) == (0xC3, 0x27, 0x0A, 0x12)
    assert w.get(0x4D) == 0x84


def test_hears_nothing_in_reset_and_for_5_ms_after_it():
    w = W1276().lora()
    w.chip.reset_line(0)
    assert w.get(0x42) == 0
    w.wait(MS)
    w.chip.reset_line(1)
    w.wait(5 * MS - 1)
    assert w.get(0x42) == 0
    w.put(0x01, 0x80)
    w.wait(1)
    assert w.get(0x42) == 0x12
    assert w.get(0x01) == 0x09
    w.put(0x01, 0x80)
    assert w.get(0x39) == 0x12  # what was set is gone


@pytest.mark.parametrize(
    ("writes", "op_mode"),
    [
        ((0x89,), 0x09),  # from FSK standby to LoRa standby: not taken
        ((0x80,), 0x80),  # to sleep
        ((0x08, 0x89), 0x89),  # out of sleep
        ((0x80, 0x81, 0x01), 0x81),
        ((0x80, 0x81, 0x00, 0x01), 0x01),
    ],
)
def test_modem_changes_on_the_way_to_and_from_sleep(writes, op_mode):
    w = W1276()
    for value in writes:
        w.put(0x01, value)
    assert w.get(0x01) & 0x87 == op_mode & 0x87


def test_registers_of_both_sides_are_apart_and_shared_on_demand():
    w = W1276().lora()
    w.put(0x30, 0x55)
    w.put(0x01, 0xC1)  # AccessSharedReg
    assert w.get(0x30) == 0x90
    w.put(0x01, 0x81)
    assert w.get(0x30) == 0x55
    w.put(0x42, 0xFF)
    w.put(0x13, 0x77)  # read-only
    assert (w.get(0x42), w.get(0x13)) == (0x12, 0)


def test_fifo_pointer_steps_and_wraps_and_sleep_empties_it():
    w = W1276().lora()
    w.put(0x0D, 0xFE)
    w.put(0x00, 1, 2, 3, 4)
    assert w.get(0x0D) == 2
    w.put(0x0D, 0xFE)
    assert w.get(0x00, 4) == bytes((1, 2, 3, 4))
    w.put(0x01, 0x80)
    w.put(0x0D, 0xFE)
    w.put(0x00, 9)
    assert w.get(0x00, 2) == bytes(2)
    w.put(0x01, 0x81)
    w.put(0x0D, 0xFE)
    assert w.get(0x00, 4) == bytes(4)


def test_calibrates_the_image_in_fsk_standby_only():
    w = W1276().lora()
    w.put(0x3B, 0x5D)  # on the LoRa side this is another register
    assert w.get(0x3B) == 0x5D
    assert w.chip.calibrated_hz == 434_000_000
    w.put(0x01, 0x00)
    w.put(0x3B, 0x42)  # asleep
    assert w.chip.calibrated_hz == 434_000_000
    w.put(0x01, 0x01)
    w.put(0x3B, 0x42)
    assert w.get(0x3B) == 0x22
    w.wait(10 * MS)
    assert w.get(0x3B) == 0x02
    assert abs(w.chip.calibrated_hz - HZ) < 31


# -- any bytes ----------------------------------------------------------------------------------

FUZZ = st.one_of(
    st.binary(max_size=12),
    st.builds(lambda mode: bytes((0x81, mode)), st.integers(0x80, 0x87)),
    st.builds(lambda r, v: bytes((0x80 | r, v)), st.integers(0, 0x7F), st.integers(0, 255)),
)


@settings(deadline=None)
@given(steps=st.lists(st.tuples(FUZZ, st.sampled_from((0, 10 * US, 5 * MS, NS))), max_size=12))
def test_any_bytes_on_spi_are_borne(steps):
    w = W1276().lora()
    w.listen()
    for data, pause in steps:
        w.spi(*data)
        w.wait(pause)
        w.downlink(bytes(255), sf=7)
    w.wait(10 * NS)
    w.chip.power_up()
    w.wait(10 * MS)
    assert w.chip.line("dio1") == 0
