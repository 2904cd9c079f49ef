"""Drivers: compensation on the datasheets' numbers, and chips that do not behave."""

from node.sensors import SensorError, bme280, sht4x
from node_tools import Chance, kind_of

# The example of BST-BMP280-DS001 section 3.12, which has the BME280's formulas for temperature and
# pressure; the humidity's words are those of a chip as it is sold (BST-BME280-DS002 table 16).
WORDS = (
    27504, 26435, -1000,
    36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000,
    75, 361, 0, 313, 50, 30,
)  # fmt: skip
TP = bytes.fromhex("706b 4367 18fc 7d8e 43d6 d00b 270b 8c00 f9ff 8c3c f8c6 7017 00 4b")
# H4 = 313 = 0x139 and H5 = 50 = 0x032 share a register.
H = bytes.fromhex("6901 00 13 29 03 1e")
RAW = (519888, 415148, 30000)
DATA = bytes((0x65, 0x5A, 0xC0, 0x7E, 0xED, 0x00, 0x75, 0x30))


def test_bme280_gives_the_datasheets_example():
    raw_t, raw_p, _ = RAW
    t_fine = bme280.temperature(WORDS, raw_t)
    assert t_fine == 128422
    assert bme280.centidegrees(t_fine) == 2508
    # 100653.27 Pa in floating point; whole numbers lose a few 1/256 Pa.
    assert abs(bme280.pressure(WORDS, raw_p, t_fine) / 256 - 100653.27) < 0.02


def in_floats(words, raw_t, raw_p, raw_h):
    """Compensate as section 8.1 of BST-BME280-DS002 does in floating point."""
    t1, t2, t3, p1, p2, p3, p4, p5, p6, p7, p8, p9, h1, h2, h3, h4, h5, h6 = words
    fine = (raw_t / 16384 - t1 / 1024) * t2 + (raw_t / 131072 - t1 / 8192) ** 2 * t3
    x = fine / 2 - 64000
    y = x * x * p6 / 32768 + x * p5 * 2
    y = y / 4 + p4 * 65536
    x = (p3 * x * x / 524288 + p2 * x) / 524288
    x = (1 + x / 32768) * p1
    p = (1048576 - raw_p - y / 4096) * 6250 / x
    p += (p9 * p * p / 2147483648 + p * p8 / 32768 + p7) / 16
    h = fine - 76800
    h = (raw_h - (h4 * 64 + h5 / 16384 * h)) * (
        h2 / 65536 * (1 + h6 / 67108864 * h * (1 + h3 / 67108864 * h))
    )
    h *= 1 - h1 * h / 524288
    return fine / 5120, p, min(max(h, 0), 100)


def test_bme280_in_whole_numbers_is_what_it_is_in_floating_point():
    chance = Chance(9)
    seen = [0, 0]
    for _ in range(2000):
        raw = 380000 + chance.below(320000), 250000 + chance.below(450000), chance.below(65536)
        t_fine = bme280.temperature(WORDS, raw[0])
        t, p, h = in_floats(WORDS, *raw)
        assert abs(bme280.centidegrees(t_fine) / 100 - t) < 0.011
        if 30000 < p < 110000:  # what the chip measures
            assert abs(bme280.pressure(WORDS, raw[1], t_fine) / 256 - p) < 0.5
        percent = bme280.humidity(WORDS, raw[2], t_fine) / 1024
        assert abs(percent - h) < 0.05
        seen[0] += percent == 0
        seen[1] += percent == 100
    assert min(seen) > 50  # it ends at 0 and at 100 %


def test_bme280_reads_its_words_from_the_registers():
    assert bme280.calibration(bytearray(TP), bytearray(H)) == WORDS
    # Signs of H4 and H5, which are spread over 12 bits each.
    for h4, h5 in ((-1, -1), (-2048, 2047), (2047, -2048), (5, -7)):
        h = bytearray(H)
        h[3] = h4 >> 4 & 0xFF
        h[4] = h4 & 15 | (h5 & 15) << 4
        h[5] = h5 >> 4 & 0xFF
        assert bme280.calibration(bytearray(TP), h)[15:17] == (h4, h5)


def test_bme280_refuses_words_of_a_dead_bus():
    for byte in (0, 0xFF):
        words = bytearray(bytes((byte,)) * 26), bytearray(bytes((byte,)) * 7)
        assert kind_of(SensorError, bme280.calibration, *words) == "calibration"
    # P1 is what the pressure is divided by.
    no_p1 = WORDS[:3] + (0,) + WORDS[4:]
    assert kind_of(SensorError, bme280.pressure, no_p1, RAW[1], 128422) == "calibration"


class Clock:
    def __init__(self):
        self.ms = 0

    def ticks_ms(self):
        return self.ms

    @staticmethod
    def ticks_diff(a, b):
        return a - b

    def wait_ms(self, ms):
        self.ms += ms

    async def sleep_ms(self, ms):
        self.ms += ms


class Registers:
    """A BME280 as its registers; `busy_ms` lasts a conversion, `nacks` counts down to one."""

    def __init__(self, clock, busy_ms=48, startup_ms=1):
        self.clock = clock
        self.cells = bytearray(256)
        self.cells[0xD0] = 0x60
        self.cells[0x88:0xA2] = TP
        self.cells[0xE1:0xE8] = H
        self.data = DATA
        self.busy_ms = busy_ms
        self.startup_ms = startup_ms
        self.done_ms = self.ready_ms = 0
        self.nacks = -1
        self.transfers = 0

    def _transfer(self, address):
        assert address == 0x76
        self.transfers += 1
        self.nacks -= 1
        if self.nacks == -1:
            raise OSError(19)

    def writeto_mem(self, address, register, data):
        self._transfer(address)
        (value,) = data
        self.cells[register] = value
        if register == 0xE0:
            assert value == 0xB6
            self.ready_ms = self.clock.ms + self.startup_ms
            self.cells[0xF2:0xF6] = bytes(4)
        elif register == 0xF4 and value & 3:
            assert value & 3 == 1  # forced
            assert self.cells[0xF2] == 2
            self.done_ms = self.clock.ms + self.busy_ms

    def readfrom_mem_into(self, address, register, buffer):
        self._transfer(address)
        if self.clock.ms >= self.done_ms:
            self.cells[0xF4] &= 0xFC
            self.cells[0xF7:0xFF] = self.data
        busy = self.clock.ms < self.done_ms
        self.cells[0xF3] = (8 if busy else 0) | (self.clock.ms < self.ready_ms)
        buffer[:] = self.cells[register : register + len(buffer)]


def finished(coroutine):
    """Run a coroutine that never waits for anyone."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def bme280_on(**options):
    clock = Clock()
    bus = Registers(clock, **options)
    return bus, bme280.BME280(bus, 0x76, clock)


def test_bme280_measures_all_channels_of_one_conversion():
    bus, chip = bme280_on()
    for busy_ms in (40, 49, 55, 90):
        bus.busy_ms = busy_ms
        start = bus.clock.ms
        t, h, p = finished(chip.measure())
        assert t == 25.08
        assert abs(p - 100653.27) < 0.02
        assert abs(h - in_floats(WORDS, *RAW)[2]) < 0.05
        # It has waited for the conversion, and not much longer.
        assert max(49, busy_ms) <= bus.clock.ms - start <= max(49, busy_ms) + 5
    assert chip.FIELDS == ("temperature_c", "humidity_pct", "pressure_pa")


def test_bme280_that_is_none_or_does_not_work_is_told():
    def start(change, startup_ms=1):
        clock = Clock()
        bus = Registers(clock, startup_ms=startup_ms)
        change(bus.cells)
        bme280.BME280(bus, 0x76, clock)
        assert clock.ms < 50

    def bmp280(cells):
        cells[0xD0] = 0x58

    def blank(cells):
        cells[0x88:0xA2] = bytes(26)

    assert kind_of(SensorError, start, bmp280) == "id"
    assert kind_of(SensorError, start, blank) == "calibration"
    assert kind_of(SensorError, start, lambda cells: None, 1000) == "timeout"
    for busy_ms, data, kind in (
        (10**9, DATA, "timeout"),
        (48, b"\x80\0\0" + DATA[3:], "skipped"),
        (48, DATA[:3] + b"\x80\0\0" + DATA[6:], "skipped"),
        (48, DATA[:6] + b"\x80\0", "skipped"),
    ):
        bus, chip = bme280_on(busy_ms=busy_ms)
        bus.data = data
        assert kind_of(SensorError, finished, chip.measure()) == kind
        assert bus.clock.ms < 200


def test_bme280_lets_the_errors_of_the_bus_through():
    bus, chip = bme280_on()
    whole = bus.transfers
    for number in range(whole):
        clock = Clock()
        bus = Registers(clock)
        bus.nacks = number
        try:
            bme280.BME280(bus, 0x76, clock)
        except OSError:
            continue
        raise AssertionError(number)
    bus, chip = bme280_on()
    finished(chip.measure())
    each = bus.transfers - whole
    assert each <= 6
    for number in range(each):
        bus.nacks = number
        try:
            finished(chip.measure())
        except OSError:
            continue
        raise AssertionError(number)


def with_crc(word):
    return word + bytes((sht4x.crc8(word, 0, 2),))


class Sht:
    """An SHT4x that does not acknowledge while it measures."""

    def __init__(self, clock, words=(b"\x66\x66", b"\x80\0"), busy_ms=8):
        self.clock = clock
        self.words = words
        self.busy_ms = busy_ms
        self.done_ms = 0
        self.damage = lambda data: data
        self.command = None

    def writeto(self, address, data):
        assert address == 0x44
        (self.command,) = data
        assert self.command in (0x94, 0x89, 0xFD)
        self.done_ms = self.clock.ms + (self.busy_ms if self.command == 0xFD else 1)

    def readfrom_into(self, address, buffer):
        assert address == 0x44
        if self.clock.ms < self.done_ms:
            raise OSError(19)
        words = self.words if self.command == 0xFD else (b"\x12\x34", b"\xab\xcd")
        buffer[:] = self.damage(with_crc(words[0]) + with_crc(words[1]))


def test_sht4x_numbers_of_the_datasheet():
    assert sht4x.crc8(b"\xbe\xef", 0, 2) == 0x92
    for raw, celsius in ((0, -45), (65535, 130), (26214, 25), (0x8000, 42.501)):
        assert abs(sht4x.celsius(raw) - celsius) < 0.001
    for raw, percent in (
        (0, 0),
        (3145, 0),
        (3146, 0.001),
        (32768, 56.501),
        (55574, 100),
        (65535, 100),
    ):
        assert abs(sht4x.percent(raw) - percent) < 0.002


def test_sht4x_measures_and_waits_for_it():
    for busy_ms in (7, 8, 10, 15, 19):
        clock = Clock()
        bus = Sht(clock, busy_ms=busy_ms)
        chip = sht4x.SHT4x(bus, 0x44, clock)
        t, h = finished(chip.measure())
        assert abs(t - 25) < 0.001
        assert abs(h - 56.501) < 0.001


def test_sht4x_that_does_not_work_is_told():
    for damage in range(6):
        clock = Clock()
        bus = Sht(clock)
        chip = sht4x.SHT4x(bus, 0x44, clock)

        def flip(data, damage=damage):
            data = bytearray(data)
            data[damage] ^= 0x10
            return data

        bus.damage = flip
        assert kind_of(SensorError, finished, chip.measure()) == "crc"
        assert kind_of(SensorError, sht4x.SHT4x, bus, 0x44, clock) == "crc"
    clock = Clock()
    bus = Sht(clock)
    chip = sht4x.SHT4x(bus, 0x44, clock)
    bus.busy_ms = 10**9
    start = clock.ms
    try:
        finished(chip.measure())
    except OSError:
        assert clock.ms - start < 40
    else:
        raise AssertionError("it waits for ever")
