"""MMC5983 and QMC5883L: the drivers on MicroPython against the models of their chips."""

import random

import pytest
from citynode.virtual.chips.mmc5983 import MMC5983
from citynode.virtual.chips.qmc5883l import QMC5883L
from citynode.virtual.chips.registers import RegisterChip
from citynode.virtual.world.road_sensors import dipole_nt
from node.sensors import mmc5983, qmc5883l
from sensors_bench import MS, Bench

EARTH = (19_000.0, 1_000.0, -45_000.0)
# Driver, address, and the largest error of a value (nT): half a step, and what an offset leaves.
CHIPS = {"mmc5983": ("MMC5983", 0x30, 10), "qmc5883l": ("QMC5883L", 0x0D, 5)}
BOTH = pytest.mark.parametrize("name", CHIPS)

SAMPLES = """
def samples(chip, count, within=1000):
    # Ask every 5 ms until there were so many of them.
    end = now() + within
    while count and now() < end:
        if chip.read():
            count -= 1
            if not count:
                return chip.x_nt, chip.y_nt, chip.z_nt, int(chip.valid)
        clock.wait_ms(5)
    raise AssertionError("no sample")
"""


class Scene:
    """A bench with one chip in a field that tests change."""

    def __init__(self, bench, name):
        self.bench = bench
        self.field = EARTH
        driver, address, self.error = CHIPS[name]
        if name == "mmc5983":
            self.chip = MMC5983(bench.time, self.at, random.Random(3))
        else:
            self.chip = QMC5883L(bench.time, self.at)
        bench.on("plug", bench.plug(self.chip))
        bench.watch_faults(self.chip)
        bench.on("power_up", self.chip.power_up)
        bench.on("field", lambda *field: setattr(self, "field", field))
        bench.time.advance(20)
        self.start = f"""
from node.sensors.{name} import {driver}
i2c = bus(400000)
make = lambda: {driver}(i2c, 0x{address:02x}, clock)
{SAMPLES}"""

    def at(self, ns):
        return self.field(ns) if callable(self.field) else self.field

    def run(self, script):
        return self.bench.run(self.start + script)

    def is_right(self, line, field=EARTH, valid=1):
        words = line.split()
        return len(words) >= 4 and [float(word) for word in words[:4]] == pytest.approx(
            [*field, valid], abs=self.error
        )


@pytest.fixture
def scene(request):
    with Bench() as bench:
        yield Scene(bench, request.getfixturevalue("name"))


@BOTH
def test_values_over_the_range_and_beyond(scene, name):
    most = 790_000 if name == "mmc5983" else 272_000
    fields = [(0, 0, 0), EARTH, (-19_000, 60, 45_000), (most - 50_000, -most + 50_000, 123_456)]
    beyond = [(900_000.0, 0.0, 0.0), (0.0, 0.0, -900_000.0)]
    lines = scene.run(f"""
chip = make()
for field in {fields + beyond!r}:
    do("field", *field)
    say(*samples(chip, 3))
""")
    for line, field in zip(lines, fields, strict=False):
        assert scene.is_right(line, field), (line, field)
    full = 800_000 if name == "mmc5983" else 273_058
    # What the MMC's offset takes of its range is of the model's own choice.
    loose = 20_000 if name == "mmc5983" else 10
    positive, negative = ([float(word) for word in line.split()] for line in lines[len(fields) :])
    assert positive[0] == pytest.approx(full, abs=loose)
    assert negative[2] == pytest.approx(-full, abs=loose)
    assert positive[3] == negative[3] == 0


@BOTH
def test_a_hundred_samples_a_second_with_their_times(scene, name):
    # A field that goes up 1 nT each ms tells how old a sample is.
    began = scene.bench.time.ns
    scene.field = lambda ns: ((ns - began) / MS, 0.0, 0.0)
    scene.bench.on("began", lambda: began // MS)
    lines = scene.run("""
chip = make()
worst = count = 0
began = do("began")
for _ in range(100):
    clock.wait_ms(10)
    if chip.read():
        count += 1
        if count > 2:
            age = chip.t_ms - (began & 0x3fffffff) - chip.x_nt
            worst = max(worst, abs(age))
print(count, worst)
""")
    count, worst = map(int, lines[0].split())
    assert count >= 97
    assert worst <= (20 if name == "mmc5983" else 15)


@BOTH
def test_a_sample_leaves_nothing_on_the_heap(scene, name):
    data = "d[0] = 1" if name == "mmc5983" else "d[0] = 0x0d if len(d) == 1 else 3; d[-1] = 0x0d"
    lines = scene.run(f"""
import gc
class Quiet:
    def readfrom_mem_into(self, a, r, d):
        {data}
    def writeto_mem(self, a, r, d):
        pass
class still:
    @staticmethod
    def ticks_ms():
        return 5
    @staticmethod
    def ticks_diff(a, b):
        return a - b
chip = make()
chip._bus = Quiet()
chip._clock = still
gc.collect()
gc.disable()
assert chip.read()
before = gc.mem_alloc()
for _ in range(100):
    chip.read()
print(gc.mem_alloc() - before)
""")
    assert lines == ["0"]


@BOTH
@pytest.mark.parametrize(("fault", "told"), [("dead", "OSError"), ("other-id", "id")])
def test_what_is_not_there_or_another_chip(scene, name, fault, told):
    lines = scene.run(f"""
do("fault", "{fault}", True)
print(kind(make))
do("fault", "{fault}", False)
say(*samples(make(), 2))
""")
    assert lines[0] == told
    assert scene.is_right(lines[1])


@BOTH
def test_unplugged_at_any_byte_of_a_sample_and_back(scene, name):
    lines = scene.run("""
chip = make()
left = 1
while True:
    clock.wait_ms(12)
    do("plug", left)
    try:
        read = chip.read()
        print("read", chip.x_nt, chip.y_nt, chip.z_nt, int(chip.valid))
    except SensorError as error:
        read = False
        print(error.kind)
    except OSError:
        read = False
        print("OSError")
    do("plug", -1)
    # The supply was gone, and what it was told with it; errors are told in the meantime.
    for _ in range(14):
        clock.wait_ms(10)
        try:
            chip.read()
        except (OSError, SensorError):
            pass
    say(*samples(chip, 2))
    if read:
        break
    left += 1
""")
    for told, back in zip(lines[0::2], lines[1::2], strict=True):
        assert scene.is_right(back), back
        if told.startswith("read"):
            assert scene.is_right(told[5:])
        else:
            assert told in ("OSError", "id", "timeout")
    assert len(lines) > 16


@BOTH
def test_unplugged_at_any_byte_of_the_start(scene, name):
    lines = scene.run("""
left = 1
while True:
    do("plug", left)
    began = now()
    said = kind(make)
    print(said, now() - began < 500)
    do("plug", -1)
    clock.wait_ms(20)
    if said is None:
        break
    left += 1
say(*samples(make(), 2))
""")
    assert scene.is_right(lines.pop())
    assert lines.pop() == "None True"
    assert set(lines) <= {f"{told} True" for told in ("OSError", "id", "timeout", "calibration")}
    assert len(lines) > 20


@BOTH
def test_bus_held_low_and_recovered(scene, name):
    lines = scene.run("""
chip = make()
for line in ("sda", "scl"):
    do("hold", line)
    print(kind(chip.read), kind(make), i2c.recover())
    do("release")
    print(i2c.recover())
    for _ in range(30):
        clock.wait_ms(10)
        kind(chip.read)
    say(*samples(chip, 2))
""")
    assert [lines[i] for i in (0, 1, 3, 4)] == ["OSError OSError False", "True"] * 2
    assert all(scene.is_right(lines[i]) for i in (2, 5))


@pytest.mark.parametrize("name", ["mmc5983"])
def test_a_vehicle_goes_through_the_driver_into_its_detector(scene, name):
    middle = scene.bench.time.ns + 5_500 * MS

    def field(ns):
        # 10 m/s, 2.5 m away.
        x = (ns - middle) / 1e9 * 10
        near = dipole_nt((90.0, 30.0, -180.0), -x, -2.5, -0.4)
        return tuple(a + b for a, b in zip(EARTH, near, strict=True))

    scene.field = field
    lines = scene.run("""
from node.traffic import kinds
chip = make()
detector = kinds.make("mmc5983", "", {"lane": 2500})
end = now() + 7500
while now() < end:
    clock.wait_ms(10)
    if chip.read():
        gone = detector.feed(chip.t_ms, chip.x_nt, chip.y_nt, chip.z_nt)
        if gone:
            print(gone.t_ms)
""")
    assert len(lines) == 1
    assert int(lines[0]) == pytest.approx(middle // MS, abs=150)


# -- traps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mmc5983"])
def test_mmc_offset_drifts_and_a_magnet_comes_near(scene, name):
    scene.bench.on("drift", lambda nt: scene.chip.offset_nt.__setitem__(1, nt))
    scene.bench.on("magnet", scene.chip.upset)
    lines = scene.run("""
chip = make()
for what in (lambda: None, lambda: do("drift", -40000.), lambda: do("magnet")):
    what()
    say(*samples(chip, 2))
    chip.null()
    say(*samples(chip, 2))
do("fault", "never-done", True)
print(kind(lambda: samples(chip, 3)), kind(chip.null), kind(make))
do("fault", "never-done", False)
say(*samples(chip, 2))
do("field", 900000., 0., 0.)
print(kind(chip.null))
do("field", 19000., 1000., -45000.)
say(*samples(chip, 2))
""")
    # As it came from the factory, its bridge says up to 15000 nT that are not there.
    assert [scene.is_right(line) for line in lines[:6]] == [True, True, False, True, False, True]
    assert lines[6] == "timeout timeout timeout"
    assert scene.is_right(lines[7])
    assert lines[8] == "calibration"
    assert scene.is_right(lines[9])


@pytest.mark.parametrize("name", ["qmc5883l"])
def test_qmc_that_was_read_in_part_gives_no_other_sample(scene, name):
    lines = scene.run("""
chip = make()
samples(chip, 2)
clock.wait_ms(20)
i2c.readfrom_mem_into(0x0d, 0, bytearray(3))  # what a transfer that failed has read
do("field", 0., 0., 30000.)
began = now()
print(chip.read(), chip.read())
say(*samples(chip, 2), now() - began)
""")
    assert lines[0] == "False False"
    assert scene.is_right(lines[1], (0.0, 0.0, 30_000.0))
    assert int(lines[1].split()[4]) < 100


@pytest.mark.parametrize("name", ["qmc5883l"])
def test_qmc_that_falls_back_to_standby(scene, name):
    lines = scene.run("""
chip = make()
samples(chip, 2)
do("fault", "stopped", True)
clock.wait_ms(20)
told = []
for _ in range(30):
    clock.wait_ms(10)
    said = kind(chip.read)
    if said:
        told.append(said)
print(told)
say(*samples(chip, 2))
""")
    assert lines[0] in ("['id']", "['timeout']")
    assert scene.is_right(lines[1])


class Stranger(RegisterChip):
    """Another chip, of which only its id is known."""

    def __init__(self, clock, address, place, value):
        self.registers = {place: value}
        super().__init__(clock, address)

    def power_up(self):
        pass

    def load(self, place):
        return self.registers.get(place, 0)

    def store(self, place, value):
        pass


@pytest.mark.parametrize(
    ("address", "place", "value", "told", "asked"),
    [
        (0x2C, 0x00, 0x80, "QMC5883P", 0x0D),
        (0x2C, 0x00, 0x80, "QMC5883P", 0x2C),
        (0x1E, 0x0A, 0x48, "HMC5883L", 0x0D),
        (0x2C, 0x00, 0x81, "OSError", 0x0D),
        (0x1E, 0x0A, 0x00, "id", 0x1E),
    ],
)
def test_qmc_other_chips_of_its_name_are_refused_by_theirs(address, place, value, told, asked):
    with Bench() as bench:
        bench.put(Stranger(bench.time, address, place, value))
        lines = bench.run(f"""
from node.sensors.qmc5883l import OtherChipError, QMC5883L
try:
    QMC5883L(bus(400000), {asked}, clock)
except OtherChipError as error:
    print(error.name if error.kind == "id" else error.kind)
except SensorError as error:
    print(error.kind)
except OSError as error:
    print("OSError")
""")
        assert lines == [told]


# -- numbers of the datasheets -----------------------------------------------------------------


def test_numbers_of_the_datasheets():
    # MMC5983MA: 131072 counts are no field, 16384 counts 1 G, low bits as in register 0x06.
    data = bytes((0x80, 0x00, 0xFF, 0xFF, 0x00, 0x00, 0b01_11_10_00))
    assert [mmc5983.unpack(data, axis) for axis in range(3)] == [131_073, 0x3FFFF, 2]
    for counts, nt in ((16384, 100_000), (-16384, -100_000), (0, 0), (1, 6), (-131_072, -800_000)):
        assert mmc5983.nanotesla(counts) == nt
    # QMC5883L, table 2: 12000 counts are 1 G in the range of 2 G.
    for counts, nt in ((12_000, 100_000), (-12_000, -100_000), (24_000, 200_000), (0, 0), (1, 8)):
        assert qmc5883l.nanotesla(counts) == nt
