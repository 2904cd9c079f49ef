import random
import struct

import pytest
from citynode.virtual.chips.bme280 import BME280, Words
from citynode.virtual.chips.sht4x import SHT4x, crc8
from citynode.virtual.world.weather import Conditions
from hypothesis import example, given
from hypothesis import strategies as st

MS = 1_000_000


class Bench:
    """A chip alone on a bus, in air and at a time that the test sets."""

    def __init__(self, make, *, seed=1, air=Conditions(20.0, 50.0, 100_000.0)):  # noqa: B008
        self.ns = 0
        self.air = air
        self.asked = []
        self.chip = make(self, self.conditions, random.Random(seed))

    def now_ns(self):
        return self.ns

    def conditions(self, ns):
        self.asked.append(ns)
        return self.air(ns) if callable(self.air) else self.air

    def wait(self, ms):
        self.ns += round(ms * MS)

    def send(self, *data):
        acks = [self.chip.begin(False)]
        if acks[0]:
            acks += [self.chip.write(byte) for byte in data]
            self.chip.end()
        return all(acks)

    def fetch(self, count):
        if not self.chip.begin(True):
            return None
        data = bytes(self.chip.read() for _ in range(count))
        self.chip.end()
        return data

    def registers(self, first, count=1):
        assert self.chip.begin(False)
        assert self.chip.write(first)
        return self.fetch(count)

    def measure(self, ctrl_meas=0x55, ctrl_hum=2, ms=60):
        assert self.send(0xF2, ctrl_hum, 0xF4, ctrl_meas)
        self.wait(ms)
        return self.registers(0xF7, 8)


def integers(tp, h, data):
    """Compensate as section 4.2.3 of the datasheet has it, from what was read over the bus."""
    t1, t2, t3, p1, p2, p3, p4, p5, p6, p7, p8, p9, _, h1 = struct.unpack("<HhhHhhhhhhhhBB", tp)
    h2, h3, h6 = struct.unpack("<hBxxxb", h)
    h4 = struct.unpack("b", h[3:4])[0] * 16 + (h[4] & 15)
    h5 = struct.unpack("b", h[5:6])[0] * 16 + (h[4] >> 4)
    p = int.from_bytes(data[0:3], "big") >> 4
    t = int.from_bytes(data[3:6], "big") >> 4
    hum = int.from_bytes(data[6:8], "big")
    fine = ((((t >> 3) - (t1 << 1)) * t2) >> 11) + (
        (((((t >> 4) - t1) * ((t >> 4) - t1)) >> 12) * t3) >> 14
    )
    celsius = ((fine * 5 + 128) >> 8) / 100
    a = fine - 128000
    b = a * a * p6 + ((a * p5) << 17) + (p4 << 35)
    a = ((a * a * p3) >> 8) + ((a * p2) << 12)
    a = (((1 << 47) + a) * p1) >> 33
    p = (((1048576 - p) << 31) - b) * 3125 // a
    pascal = (
        ((p + ((p9 * (p >> 13) * (p >> 13)) >> 25) + ((p8 * p) >> 19)) >> 8) + (p7 << 4)
    ) / 256
    v = fine - 76800
    v = (((hum << 14) - (h4 << 20) - h5 * v + 16384) >> 15) * (
        ((((((v * h6) >> 10) * (((v * h3) >> 11) + 32768)) >> 10) + 2097152) * h2 + 8192) >> 14
    )
    v -= ((((v >> 15) * (v >> 15)) >> 7) * h1) >> 4
    return celsius, (min(max(v, 0), 419430400) >> 12) / 1024, pascal


def test_bme280_formulas_give_the_datasheet_examples():
    words = Words()
    fine = words.t_fine(519888)
    assert fine / 5120 == pytest.approx(25.08, abs=0.005)
    assert words.pascal(415148, fine) == pytest.approx(100653.27, abs=0.02)


@given(
    seed=st.integers(0, 1000),
    celsius=st.floats(-40, 85),
    percent=st.floats(0, 100),
    pascal=st.floats(30_000, 110_000),
)
@example(seed=0, celsius=-40.0, percent=100.0, pascal=30_000.0)
@example(seed=0, celsius=85.0, percent=0.0, pascal=110_000.0)
@example(seed=7, celsius=-40.0, percent=0.0, pascal=110_000.0)
@example(seed=7, celsius=85.0, percent=100.0, pascal=30_000.0)
def test_bme280_compensated_values_are_the_true_ones(seed, celsius, percent, pascal):
    bench = Bench(BME280, seed=seed, air=Conditions(celsius, percent, pascal))
    tp, h = bench.registers(0x88, 26), bench.registers(0xE1, 7)
    got = integers(tp, h, bench.measure())
    assert got[0] == pytest.approx(celsius, abs=0.01)
    assert got[1] == pytest.approx(percent, abs=0.05)
    assert got[2] == pytest.approx(pascal, abs=1.0)


def test_bme280_reset_values():
    bench = Bench(BME280)
    assert bench.registers(0xD0) == b"\x60"
    assert bench.registers(0xF2, 4) == b"\0\x01\0\0"  # still copying from its NVM
    bench.wait(2)
    assert bench.registers(0xF3) == b"\0"
    assert bench.registers(0xF7, 8) == bytes.fromhex("8000008000008000")
    assert bench.registers(0xE0) == b"\0"


def test_bme280_forced_mode_is_busy_for_a_while_and_falls_asleep():
    bench = Bench(BME280)
    bench.wait(2)
    bench.send(0xF2, 1, 0xF4, 0x25)
    assert bench.registers(0xF3) == b"\0"  # not up yet just after the trigger
    assert bench.registers(0xF4) == b"\x25"
    bench.wait(1)
    assert bench.registers(0xF3) == b"\x08"
    bench.wait(6.5)  # 8 ms typical in all
    assert bench.registers(0xF3) == b"\x08"
    bench.wait(1.9)  # 9.3 ms at most
    assert bench.registers(0xF3) == b"\0"
    assert bench.registers(0xF4) == b"\x24"
    bench.wait(1000)
    bench.air = Conditions(30.0, 50.0, 100_000.0)
    before = bench.registers(0xF7, 8)
    bench.wait(1000)
    assert bench.registers(0xF7, 8) == before


def test_bme280_humidity_setting_waits_for_ctrl_meas():
    bench = Bench(BME280)
    assert bench.measure(ctrl_hum=0)[6:] == b"\x80\0"
    bench.send(0xF4, 0x55)
    bench.send(0xF2, 1)  # comes too late for the conversion that runs
    bench.wait(60)
    assert bench.registers(0xF7, 8)[6:] == b"\x80\0"
    bench.send(0xF4, 0x55)
    bench.wait(60)
    assert bench.registers(0xF7, 8)[6:] != b"\x80\0"


def test_bme280_skipped_channels_read_as_reset():
    assert Bench(BME280).measure(ctrl_meas=0x21)[:3] == b"\x80\0\0"
    assert Bench(BME280).measure(ctrl_meas=0x05)[3:6] == b"\x80\0\0"


@pytest.mark.parametrize(("osrs", "bits"), [(1, 16), (2, 17), (3, 18), (4, 19), (5, 20), (7, 20)])
def test_bme280_resolution_follows_the_oversampling(osrs, bits):
    seen = 0
    for tenth in range(200):
        air = Conditions(20 + tenth / 10, 50, 90_000 + 37.3 * tenth)
        data = Bench(BME280, air=air).measure(osrs << 5 | osrs << 2 | 1, ms=120)
        assert data[2] & 15 == data[5] & 15 == 0
        seen |= int.from_bytes(data[:3], "big") >> 4 | int.from_bytes(data[3:6], "big") >> 4
    assert seen & -seen == 1 << 20 - bits


def test_bme280_burst_reads_one_conversion():
    bench = Bench(BME280, air=lambda ns: Conditions(10 + ns / 1e9, 50, 100_000))
    bench.wait(2)
    bench.send(0xF2, 1, 0xF4, 0x27)  # normal mode, 0.5 ms pauses
    bench.wait(50)
    frozen = bench.registers(0xF7, 8)
    assert bench.chip.begin(False)
    assert bench.chip.write(0xF7)
    assert bench.chip.begin(True)
    data = b""
    for _ in range(8):
        data += bytes((bench.chip.read(),))
        bench.wait(20)
    bench.chip.end()
    assert data == frozen
    assert bench.registers(0xF7, 8) != frozen


def test_bme280_normal_mode_runs_until_told_otherwise():
    bench = Bench(BME280, air=lambda ns: Conditions(10 + ns / 1e11, 50, 100_000))
    words = bench.registers(0x88, 26), bench.registers(0xE1, 7)
    bench.send(0xF5, 0xA0, 0xF2, 1, 0xF4, 0xB7)  # a pause of a second
    bench.wait(3_600_000)
    assert integers(*words, bench.registers(0xF7, 8))[0] == pytest.approx(46, abs=0.03)
    assert bench.registers(0xF4) == b"\xb7"
    bench.send(0xF5, 0)  # not taken in normal mode
    assert bench.registers(0xF5) == b"\xa0"
    bench.send(0xF4, 0xB4)
    bench.wait(100)
    assert bench.registers(0xF4) == b"\xb4"
    last = bench.registers(0xF7, 8)
    bench.wait(5000)
    assert bench.registers(0xF7, 8) == last
    assert len(bench.asked) < 2000  # an hour unread is not an hour of work


def test_bme280_filter_smooths_a_step_and_gives_all_bits():
    bench = Bench(BME280)
    words = bench.registers(0x88, 26), bench.registers(0xE1, 7)
    bench.send(0xF5, 0x08)  # coefficient 4
    assert integers(*words, bench.measure(0x25))[0] == pytest.approx(20, abs=0.02)
    bench.air = Conditions(24.0, 50.0, 100_000.0)
    steps = [integers(*words, bench.measure(0x25))[0] for _ in range(3)]
    assert steps == pytest.approx([21.0, 21.75, 22.3125], abs=0.02)


def test_bme280_soft_reset_forgets_and_wrong_word_does_not():
    bench = Bench(BME280)
    bench.measure()
    bench.send(0xE0, 0x00)
    assert bench.registers(0xF2) == b"\x02"
    bench.send(0xE0, 0xB6)
    assert bench.registers(0xF2, 2) == b"\0\x01"
    assert bench.registers(0xF7, 3) == b"\x80\0\0"


def test_bme280_does_not_answer_in_a_gap_of_the_weather():
    bench = Bench(BME280)
    bench.measure()
    bench.air = None
    assert not bench.send(0xF7)
    assert bench.fetch(8) is None
    bench.air = Conditions(1.0, 50.0, 100_000.0)
    assert bench.registers(0xD0) == b"\x60"


def test_bme280_chips_differ_and_a_seed_repeats_one():
    words = {Bench(BME280, seed=seed).registers(0x88, 26) for seed in range(20)}
    assert len(words) == 20
    assert Bench(BME280, seed=3).registers(0x88, 26) in words


def decode(data):
    assert crc8(data[0:2]) == data[2]
    assert crc8(data[3:5]) == data[5]
    t, h = struct.unpack(">HxHx", data)
    return -45 + 175 * t / 65535, -6 + 125 * h / 65535


def test_sht4x_crc_of_the_datasheet():
    assert crc8(b"\xbe\xef") == 0x92


@given(celsius=st.floats(-40, 125), percent=st.floats(0, 100))
def test_sht4x_values_are_the_true_ones(celsius, percent):
    bench = Bench(SHT4x, air=Conditions(celsius, percent, 100_000.0))
    bench.wait(1)
    assert bench.send(0xFD)
    bench.wait(8.3)
    assert decode(bench.fetch(6)) == pytest.approx((celsius, percent), abs=0.003)


@pytest.mark.parametrize(
    ("command", "typical", "longest"), [(0xFD, 6.9, 8.3), (0xF6, 3.7, 4.5), (0xE0, 1.3, 1.6)]
)
def test_sht4x_does_not_acknowledge_while_it_measures(command, typical, longest):
    bench = Bench(SHT4x)
    assert not bench.send(command)  # still starting
    bench.wait(1)
    assert bench.fetch(6) is None  # nothing to give
    assert bench.send(command)
    bench.wait(typical - 0.05)
    assert bench.fetch(6) is None
    assert not bench.send(0x94)
    bench.wait(longest - typical + 0.05)
    decode(bench.fetch(6))
    assert bench.fetch(6) is None  # given once


def test_sht4x_serial_number_and_bytes_behind_the_answer():
    bench = Bench(SHT4x, seed=4)
    bench.wait(1)
    assert bench.send(0x89)
    data = bench.fetch(8)
    decode(data[:6])
    assert data[6:] == b"\xff\xff"
    assert int.from_bytes(data[0:2] + data[3:5], "big") == bench.chip.serial
    assert not bench.send(0x77)


def test_sht4x_heater_warms_dries_and_cools():
    bench = Bench(SHT4x)
    bench.wait(1)
    assert bench.send(0x39)
    bench.wait(1000)
    assert bench.fetch(6) is None
    bench.wait(110)
    celsius, percent = decode(bench.fetch(6))
    assert 70 < celsius < 90
    assert percent < 6
    bench.wait(30_000)
    bench.send(0xFD)
    bench.wait(9)
    assert decode(bench.fetch(6)) == pytest.approx((20, 50), abs=0.01)


def test_sht4x_does_not_answer_in_a_gap_of_the_weather():
    bench = Bench(SHT4x)
    bench.wait(1)
    bench.send(0xFD)
    bench.air = None
    bench.wait(10)
    assert bench.fetch(6) is None
    assert not bench.send(0x94)
