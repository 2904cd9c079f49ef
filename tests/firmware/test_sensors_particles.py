"""SPS30, PMS5003, SDS011: the drivers on MicroPython against the models."""

import random

import pytest
from citynode.virtual.chips.pms5003 import PMS5003
from citynode.virtual.chips.sds011 import SDS011
from citynode.virtual.chips.sps30 import SPS30, SPS30Uart
from sensors_bench import PULSES, Bench

STARTS = {
    "sps30": "from node.sensors.sps30 import SPS30\n"
    "make = lambda: SPS30(bus(400000), 0x69, clock)\n",
    "sps30_uart": "from node.sensors.sps30_uart import SPS30Uart\nline = uart(115200)\n"
    "make = lambda: SPS30Uart(line, clock)\n",
    "pms5003": "from node.sensors.pms5003 import PMS5003\nline = uart(9600)\n"
    "make = lambda: PMS5003(line, clock)\n",
    "pms7003": "from node.sensors.pms7003 import PMS7003\nline = uart(9600)\n"
    "make = lambda: PMS7003(line, clock)\n",
    "sds011": "from node.sensors.sds011 import SDS011\nline = uart(9600)\n"
    "make = lambda: SDS011(line, clock)\n",
    "sds011_switched": "from node.sensors.sds011 import SDS011\nline = uart(9600)\n"
    f"make = lambda: SDS011(line, clock, Pin({PULSES}, Pin.OUT, value=0))\n",
}
EVERY = [name for name in STARTS if name != "pms7003"]  # which is a PMS5003 to its driver
ON_UART = EVERY[1:]
# Masses up to 1, 2.5, 4 and 10 µm: which of them a driver gives, and in which steps.
GIVES = {
    "sps30": ((0, 1, 2, 3), 1e-4),
    "sps30_uart": ((0, 1, 2, 3), 1e-4),
    "pms5003": ((0, 1, 3), 0.5),
    "pms7003": ((0, 1, 3), 0.5),
    "sds011": ((1, 3), 0.051),
    "sds011_switched": ((1, 3), 0.051),
}
AIR = (8.0, 12.0, 14.0, 19.0)


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


def put(bench, name, **options):
    """Put the chip that a driver is for on the bench."""
    around, rng = bench.surroundings, random.Random(3)
    if name == "sps30":
        return bench.put(SPS30(bench.time, around, rng, **options))
    if name == "sps30_uart":
        return bench.connect(SPS30Uart(bench.time, around, rng, **options))
    if name.startswith("pms"):
        return bench.connect(PMS5003(bench.time, around, **options))
    chip = bench.connect(SDS011(bench.time, around, rng, **options))
    if name == "sds011_switched":
        chip.unplug()
        bench.pins.watch(PULSES, chip.supply)
    return chip


def right(name, masses=AIR):
    which, step = GIVES[name]
    return pytest.approx([masses[i] for i in which], abs=step, rel=1e-5)


def run(bench, name, script):
    return bench.run(STARTS[name] + script)


def values(line):
    return [float(word) for word in line.split()]


@pytest.mark.parametrize("name", STARTS)
def test_values_are_right_and_warm(bench, name):
    put(bench, name)
    cases = ((0.0, 0.0, 0.0, 0.0), AIR, (60.25, 99.9, 150.5, 201.75), (400.0, 900.0, 940.0, 999.0))
    lines = run(
        bench,
        name,
        f"""
chip = make()
for masses in {cases!r}:
    do("around", 400., *masses, 7e4, 33.)
    start = now()
    say(*finished(chip.measure()))
    say(now() - start)
# Woken ahead of the time it answers soon, again and again, and warm.
finished(chip.wake())
clock.wait_ms(chip.WARM_UP_MS)
for _ in range(3):
    start = now()
    say(*finished(chip.measure()))
    say(now() - start)
finished(chip.sleep())
""",
    )
    for masses, line, took in zip((*cases, *[cases[-1]] * 3), lines[::2], lines[1::2], strict=True):
        assert values(line) == right(name, masses)
        assert float(took) < 42_000
    assert all(float(took) >= 30_000 for took in lines[1 : 2 * len(cases) : 2])
    assert all(float(took) < 6_000 for took in lines[2 * len(cases) + 1 :: 2])


@pytest.mark.parametrize("name", EVERY)
def test_it_sleeps_when_nobody_measures(bench, name):
    chip = put(bench, name)
    states = []

    def look():
        if name.startswith("sps30"):
            states.append(chip.core.state != 0)
        elif name.startswith("pms"):
            states.append(chip.awake)
        else:
            states.append(chip.on and chip.working)

    bench.on("look", look)
    run(
        bench,
        name,
        """
chip = make()
finished(chip.wake())
clock.wait_ms(100)
do("look")
finished(chip.sleep())
clock.wait_ms(100)
do("look")
finished(chip.measure())
clock.wait_ms(100)
do("look")
make()  # a restart of the node
""",
    )
    assert states == [True, False, False]


@pytest.mark.parametrize("name", EVERY)
def test_a_dead_or_damaged_one_is_told_in_time_and_comes_back(bench, name):
    put(bench, name)
    fault = "bad-crc" if name == "sps30" else "bad-sum"
    lines = run(
        bench,
        name,
        f"""
chip = make()
def again():
    global chip
    chip = make()
    return chip.measure()
for fault in ("dead", "{fault}"):
    do("fault", fault, True)
    start = now()
    print(kind(chip.measure), now() - start < 45000)
    print(kind(again))
    do("fault", fault, False)
    say(*finished(again()))
""",
    )
    dead = "OSError" if name == "sps30" else "timeout"
    damaged = "crc" if name.startswith("sps30") else "timeout"
    assert lines[0] == f"{dead} True"
    assert lines[1] == dead
    assert values(lines[2]) == right(name)
    assert lines[3] == f"{damaged} True"
    assert lines[4] == damaged
    assert values(lines[5]) == right(name)


@pytest.mark.parametrize("name", ON_UART)
def test_noise_in_front_of_every_frame_costs_nothing(bench, name):
    chip = put(bench, name)
    chip.faults.add("noisy")
    lines = run(
        bench,
        name,
        """
chip = make()
for _ in range(3):
    say(*finished(chip.measure()))
""",
    )
    assert [values(line) for line in lines] == [right(name)] * 3


@pytest.mark.parametrize("name", [name for name in ON_UART if name != "sds011_switched"])
def test_pulled_out_in_the_middle_of_a_frame(bench, name):
    put(bench, name)
    # 3 to 30 ms after the driver has begun to listen, so that some of a frame is on the wire.
    lines = run(
        bench,
        name,
        f"""
waits = []
class clock(clock):
    @staticmethod
    async def sleep_ms(ms):
        if waits and ms >= waits[0]:
            clock.wait_ms(waits[0])
            ms -= waits.pop(0)
            do("unplug")
        clock.wait_ms(ms)
chip = make()
finished(chip.wake())
clock.wait_ms(chip.WARM_UP_MS)
for wait in (1, 3, {"4" if name == "sps30_uart" else "7"}):
    waits.append(wait)
    start = now()
    print(kind(chip.measure), now() - start < 10000)
    waits.clear()
    do("power_up")
    clock.wait_ms(2000)
    chip = make()
    finished(chip.wake())
    clock.wait_ms(chip.WARM_UP_MS)
    say(*finished(chip.measure()))
""",
    )
    assert lines[0::2] == ["timeout True"] * 3
    assert [values(line) for line in lines[1::2]] == [right(name)] * 3


@pytest.mark.parametrize(
    ("driver", "chip"),
    [
        ("pms5003", "sds011"),
        ("sds011", "pms5003"),
        ("sps30_uart", "pms5003"),
        ("pms5003", "sps30_uart"),
    ],
)
def test_another_module_on_the_line_is_told(bench, driver, chip):
    put(bench, chip)
    lines = run(
        bench, driver, "start = now()\nprint(kind(lambda: make().measure()), now() - start < 80000)"
    )
    assert lines == ["timeout True"]


# -- traps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sps30", "sps30_uart"])
def test_sps30_is_another_product(bench, name):
    put(bench, name, product=b"00090000")
    assert run(bench, name, "print(kind(make))") == ["id"]


@pytest.mark.parametrize("name", ["sps30", "sps30_uart"])
def test_sps30_wakes_from_sleep_and_out_of_any_state(bench, name):
    chip = put(bench, name)
    lines = run(
        bench,
        name,
        """
for _ in range(2):
    chip = make()
    finished(chip.sleep())
    clock.wait_ms(5000)  # the interface sleeps, too
    finished(chip.wake())
    clock.wait_ms(500)
    chip = make()  # it measures, and the node starts
say(*finished(chip.measure()))
finished(chip.clean())
say(*finished(chip.measure()))
""",
    )
    assert [values(line) for line in lines] == [right(name)] * 2
    assert chip.core.state == 0


@pytest.mark.parametrize("name", ["sps30", "sps30_uart"])
def test_sps30_left_measuring_in_whole_numbers(bench, name):
    chip = put(bench, name)
    assert chip.core.start(5)
    lines = run(bench, name, "say(*finished(make().measure()))")
    assert values(lines[0]) == right(name)


def test_pms_resync_echoes_and_modes(bench):
    chip = put(bench, "pms5003", mode=0, awake=False)  # as somebody left it
    chip.faults.add("slow-start")
    lines = run(
        bench,
        "pms5003",
        """
chip = make()
say(*finished(chip.measure()))
noises = []
class clock(clock):
    @staticmethod
    async def sleep_ms(ms):
        if noises:
            do("noise", noises.pop())
        clock.wait_ms(ms)
chip = make()
finished(chip.wake())
clock.wait_ms(30000)
for noise in (b"\\x42", b"\\x42\\x42", b"\\x42\\x4d", b"\\x42\\x4d\\x00", b"\\x42\\x4d\\x00\\x1c",
              b"\\x42\\x4d\\x00\\x1c" + bytes(13), b"\\x42\\x4d\\x00\\x04\\xe1\\x00\\x01\\x74" * 9,
              b"\\x42\\x4d\\xff\\xff", bytes(range(256))):
    # The noise comes while it listens, right before a frame: that frame counts.
    noises.append(noise)
    start = now()
    say(*finished(chip.measure()), now() - start)
do("fault", "error-code", True)
print(kind(chip.measure))
""",
    )
    assert values(lines[0]) == right("pms5003")
    for line in lines[1:-1]:
        assert values(line)[:3] == right("pms5003")
        assert values(line)[3] < 2600  # one frame's wait, and no more
    assert lines[-1] == "skipped"
    assert chip.mode == 1


def test_pms_buffer_that_has_run_over(bench):
    # Minutes of frames that nobody read: the buffer holds 256 bytes and begins within a frame.
    put(bench, "pms5003")
    lines = run(
        bench,
        "pms5003",
        """
chip = make()
finished(chip.wake())
clock.wait_ms(300000)
do("around", 400., 80., 120., 140., 190., 7e4, 33.)
clock.wait_ms(20)
say(*finished(chip.measure()))
""",
    )
    assert values(lines[0]) == right("pms5003", (80, 120, 140, 190))


def test_sds011_that_falls_mute_needs_its_switch(bench):
    chip = put(bench, "sds011_switched")
    script = """
chip = make()
say(*finished(chip.measure()))
finished(chip.wake())
do("fault", "falls-mute", True)
print(kind(chip.measure))
print(kind(chip.sleep))
"""
    lines = run(bench, "sds011_switched", script)
    assert values(lines[0]) == right("sds011")
    assert lines[1:] == ["None", "None"]
    assert not chip.on

    bench.pins.unwatch(PULSES, chip.supply)
    chip.power_up()
    lines = run(bench, "sds011", script + "print(kind(chip.measure))")
    assert values(lines[0]) == right("sds011")
    assert lines[1:] == ["timeout", "timeout", "timeout"]
    assert chip.mute


def test_sds011_reports_by_itself_until_told_otherwise(bench):
    chip = put(bench, "sds011")
    lines = run(bench, "sds011", "clock.wait_ms(9500)\nprint(line.any())\nchip = make()\n"
                "say(*finished(chip.measure()))\n")  # fmt: skip
    assert lines[0] == "90"
    assert values(lines[1]) == right("sds011")
    assert chip.asked_only
    assert not chip.working
