"""SPS30, PMS5003, SDS011: the drivers on MicroPython against the models, and the makers' frames."""

import random

import pytest
from citynode.virtual.chips.pms5003 import PMS5003
from citynode.virtual.chips.sds011 import SDS011
from citynode.virtual.chips.sps30 import SPS30, SPS30Uart, stuffed, unstuffed
from node.sensors import pms5003, sds011, sps30_uart
from node.sensors.frames import Scanner
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


# -- the frames of the makers ------------------------------------------------------------------


def test_sps30_frames_of_the_datasheet():
    # SPS30 datasheet 1.0, section 5.3: what the host sends.
    for command, data, sent in (
        (0x00, b"\x01\x03", "7e0000020103f97e"),
        (0x01, b"", "7e000100fe7e"),
        (0x03, b"", "7e000300fc7e"),
        (0x10, b"", "7e001000ef7e"),
        (0x56, b"", "7e005600a97e"),
        (0x80, b"\0", "7e008001007d5e7e"),
        (0xD0, b"\0", "7e00d001002e7e"),
        (0xD1, b"", "7e00d1002e7e"),
    ):
        assert sps30_uart.frame(command, data) == bytes.fromhex(sent)
        content = bytes((0, command, len(data))) + data
        assert stuffed(content) == bytes.fromhex(sent)
        assert unstuffed(bytes.fromhex(sent)[1:-1]) == content
    every = bytes(range(256))
    assert unstuffed(stuffed(every)[1:-1]) == every
    # The datasheet's wake-up frame has its 0x11 in the clear, where others stuff it: both are read,
    # also behind the end of a frame whose beginning was lost.
    unstuffer = sps30_uart.Unstuffer(64)
    got = []
    for byte in bytes.fromhex(
        "00fc7e 7e00110000ee7e 7e007d310000ee7e 7e000300047d5e7d5d7d317d33d97e 7e0003000400f87e"
    ):
        if unstuffer.push(byte):
            got.append(bytes(unstuffer.content[: unstuffer.length]))
    assert got == [
        b"\0\x11\0\0",
        b"\0\x11\0\0",
        b"\0\x03\0\x04\x7e\x7d\x11\x13",
        b"\0\x03\0\x04\0",
    ]
    assert unstuffer.damaged == 0


def test_plantower_frames():
    # PMS5003 manual V2.3, appendix I, and the sums that go with its commands.
    assert pms5003.command(0xE4, 0) == bytes.fromhex("424de400000173")
    assert pms5003.command(0xE4, 1) == bytes.fromhex("424de400010174")
    assert pms5003.command(0xE1, 0) == bytes.fromhex("424de100000170")
    # A frame of the manual's form (appendix I), its sum made here as the manual says.
    frame = bytes.fromhex("424d001c000500090000000500090000046201610023")
    body = frame + bytes(30 - len(frame))
    body += (sum(body) & 0xFFFF).to_bytes(2, "big")
    assert pms5003.judge(body, 32) == 32
    for count in range(1, 32):
        assert pms5003.judge(body, count) == 0
    for place in range(32):
        damaged = bytearray(body)
        damaged[place] ^= 0x01
        assert pms5003.judge(damaged, 32) != 32


def test_sds011_frames_of_the_protocol():
    # Laser Dust Sensor Control Protocol V1.3, the examples to "any sensor ID" and an answer.
    for code, setting, value, sent in (
        (2, 1, 1, "aab402010100000000000000000000ffff02ab"),
        (4, 0, 0, "aab404000000000000000000000000ffff02ab"),
        (6, 1, 0, "aab406010000000000000000000000ffff05ab"),
        (6, 1, 1, "aab406010100000000000000000000ffff06ab"),
        (8, 1, 0, "aab408010000000000000000000000ffff07ab"),
    ):
        assert sds011.command(code, setting, value) == bytes.fromhex(sent)
    frame = bytes.fromhex("aac0d4043a0aa1601dab")
    assert sds011.judge(frame, 10) == 10
    assert (frame[2] | frame[3] << 8, frame[4] | frame[5] << 8) == (1236, 2618)
    for place in range(10):
        damaged = bytearray(frame)
        damaged[place] ^= 0x10
        assert sds011.judge(damaged, 10) == -1


class Bytes:
    """A UART that has some bytes, and gives up to 32 of them at a time."""

    def __init__(self, data):
        self.data = data

    def any(self):
        return len(self.data)

    def readinto(self, buffer):
        count = min(len(buffer), len(self.data))
        buffer[:count], self.data = self.data[:count], self.data[count:]
        return count


ECHO = bytes.fromhex("424d0004e1000174")


def pms_frame(rng):
    body = b"BM\0\x1c" + rng.randbytes(26)
    return body + (sum(body) & 0xFFFF).to_bytes(2, "big")


def sds_frame(rng):
    data = rng.randbytes(6)
    return b"\xaa\xc0" + data + bytes((sum(data) & 0xFF, 0xAB))


@pytest.mark.parametrize(
    ("frame", "judge", "size", "heads"),
    [
        (
            pms_frame,
            pms5003.judge,
            32,
            (b"\x42", b"\x42\x4d", b"\x42\x4d\0", b"\x42\x4d\0\x1c", ECHO),
        ),
        (sds_frame, sds011.judge, 10, (b"\xaa", b"\xaa\xaa", b"\xaa\xc0", b"\xaa\xc5")),
    ],
)
def test_every_frame_is_found_behind_any_noise(frame, judge, size, heads):
    rng = random.Random(5)
    for _ in range(200):
        frames, stream = [], b""
        for _ in range(rng.randint(1, 5)):
            parts = [rng.choice((*heads, rng.randbytes(3))) for _ in range(rng.randint(0, 6))]
            frames.append(frame(rng))
            stream += b"".join(parts) + frames[-1]
        # What a false beginning has asked for has to come before it can be seen to be none.
        scanner = Scanner(Bytes(stream + bytes(size)), size, judge)
        found = []
        while length := scanner.poll():
            found.append(bytes(scanner.frame[:length]))
        assert [one for one in found if one in frames] == frames


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
