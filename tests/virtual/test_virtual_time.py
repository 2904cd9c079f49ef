"""Virtual time: boards run programs of days in seconds, in one order, the same each time."""

import time
from contextlib import closing
from itertools import pairwise

import pytest
from citynode.boards import load_board
from citynode.image import plan as planning
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.board import State
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.lockstep import HungError
from citynode.virtual.soc.peripherals.pins import Pins
from citynode.virtual.soc.peripherals.serial import Uart, UartLine
from citynode.virtual.soc.rfc2217 import Settings
from citynode.virtual.virtualtime import StalledError

BOARD = "esp32-devkit"
US, MS, NS = 1_000, 1_000_000, 1_000_000_000
DAY = 86_400 * NS
# What a board may take, in virtual time, from a start to the first line of its program, and from a
# wake-up to the end of a `print`: a few hardware calls and looks at the clock.
START = 400 * US
FEW = 100 * US


def image(folder, program, board=BOARD):
    """Return the file of a flash with MicroPython and a program in main.py."""
    spec = load_board(board)
    made = standin.build(CHIPS[spec.chip])
    plan = planning.make(
        made, spec.chip, spec.flash_mib << 20, nvs_values={}, files={"/main.py": program.encode()}
    )
    path = folder / "image.bin"
    path.write_bytes(plan.merged())
    return path


@pytest.fixture
def racks(tmp_path):
    """Make a rack whose boards run a program; it is open in the `with`."""

    def make(program, count=1, *, board=BOARD, **options):
        rack = Rack(
            board, count, image=image(tmp_path, program, board), virtual_time=True, **options
        )
        rack.open()
        return closing(rack)

    return make


def told(rack, board=0):
    """Return (time, line) of what a board's program has printed, without the ROM's lines."""
    found, own = [], False
    for line in rack.events.lines:
        at, who, kind, *detail = line.split(" ", 3)
        if who != rack.boards[board].id:
            continue
        text = detail[0] if detail else ""
        if kind == "out" and own:
            found.append((int(at), text))
        elif kind == "boot":
            own = False
        own = own or text.startswith("entry ")
    return found


def said(rack, board=0):
    return [line for _, line in told(rack, board)]


def part(rack, kind, board=0):
    return next(p for p in rack.boards[board]._parts.peripherals if isinstance(p, kind))


# -- sleeping ------------------------------------------------------------------------------------

MONTH = {
    "sleep": "import time\nfor _ in range(30):\n    time.sleep(86400)\nprint('end', time.time())\n",
    "asyncio": """
import asyncio, time
async def other():
    while True:
        await asyncio.sleep(7001)
async def main():
    task = asyncio.create_task(other())
    for _ in range(30):
        await asyncio.sleep(86400)
    print('end', time.time())
asyncio.run(main())
""",
    "wait_for": """
import asyncio, time
async def main():
    event = asyncio.Event()
    for _ in range(30):
        try:
            await asyncio.wait_for(event.wait(), 86400)
        except asyncio.TimeoutError:
            pass
    print('end', time.time())
asyncio.run(main())
""",
    "lightsleep": (
        "import machine, time\nfor _ in range(30):\n    machine.lightsleep(86400000)\n"
        "print('end', time.time())\n"
    ),
    "poll": """
import select, sys, time
poller = select.poll()
poller.register(sys.stdin, select.POLLIN)
for _ in range(30):
    assert poller.poll(86400000) == []
print('end', time.time())
""",
}


@pytest.mark.parametrize("name", MONTH)
def test_thirty_days_take_thirty_days_and_no_time(racks, name):
    with racks(MONTH[name]) as rack:
        rack.engine.run(until=31 * DAY)
        assert rack.engine.clock.now_ns() == 31 * DAY
        at, line = told(rack)[0]
        assert line == f"end {30 * 86400}"
        assert 0 <= at - 30 * DAY <= START
        assert rack.apps[0].calls < 1000


def test_deep_sleep_ends_at_its_time_with_what_it_keeps(racks):
    program = """
import machine, time
rtc = machine.RTC()
n = len(rtc.memory())
print(n, time.time(), machine.reset_cause(), machine.wake_reason(), time.ticks_ms())
rtc.memory(bytes(n + 1))
if n < 10:
    machine.deepsleep(3 * 86400000)
"""
    with racks(program) as rack:
        rack.engine.run(until=28 * DAY)
        assert rack.boards[0].state is State.ASLEEP
        rack.engine.run(until=31 * DAY)
        lines = told(rack)[:11]
        assert [line for _, line in lines] == [
            f"{n} {3 * 86400 * n} {4 if n else 1} {4 if n else 0} 0" for n in range(11)
        ]
        assert all(0 <= at - 3 * n * DAY <= (n + 1) * START for n, (at, _) in enumerate(lines))
        assert rack.boards[0].state is State.RUNNING


# -- order ---------------------------------------------------------------------------------------


def test_boards_interleave_in_exact_order(racks):
    program = """
import machine, time
from machine import Pin, Timer
me = machine.unique_id()
def tell(what):
    print(what, time.ticks_us())
Timer(0).init(mode=Timer.PERIODIC, period=700, callback=lambda t: tell('timer'))
pin = Pin(4, Pin.IN)
for _ in range(2):
    time.sleep_ms(1000)
    tell('slept')
    start = time.ticks_us()
    while time.ticks_diff(time.ticks_us(), start) < 5000:
        pass
    tell('spun')
while not pin.value():
    pass
tell('pin')
"""
    with racks(program, 3) as rack:
        rise = 2_050_000_123
        for number in range(3):
            pins = part(rack, Pins, number)
            rack.engine.call_at(rise + number * MS, pins.drive, 4, 1)
        rack.engine.run(until=3 * NS)
        for number in range(3):
            due = [
                ("timer", 700 * MS),
                ("slept", 1000 * MS),
                ("spun", 1005 * MS),
                ("timer", 1400 * MS),
                ("slept", 2005 * MS),
                ("spun", 2010 * MS),
                ("pin", rise + number * MS),
                ("timer", 2100 * MS),
                ("timer", 2800 * MS),
            ]
            lines = [(at, line.removeprefix(">>> ")) for at, line in told(rack, number)]
            lines = [(at, line) for at, line in lines if line.split()[-1].isdigit()]
            assert [line.split()[0] for _, line in lines] == [what for what, _ in due]
            for (at, line), (_, ideal) in zip(lines, due, strict=True):
                assert 0 <= at - ideal <= START
                # The board's own clock says the same as the engine's.
                assert 0 <= at - int(line.split()[1]) * US <= 2 * FEW
        times = [int(line.split(" ", 1)[0]) for line in rack.events.lines]
        assert times == sorted(times)


def test_pins_are_set_at_their_times_though_nobody_waits_for_it(racks):
    program = """
import time
from machine import Pin
pin = Pin(4, Pin.OUT)
def flicker():
    for _ in range(500):
        pin(1)
        pin(0)
flicker()
print('flickered')
pin(1)
time.sleep(5)
pin(0)
start = time.ticks_us()
flicker()
print('took', time.ticks_diff(time.ticks_us(), start))
"""
    with racks(program) as rack:
        edges = []
        clock = rack.engine.clock
        part(rack, Pins).watch(4, lambda level: edges.append((clock.now_ns(), level)))
        rack.engine.run(until=6 * NS)
        assert [level for _, level in edges] == [1, 0] * 1001
        steps = [after - at for (at, _), (after, _) in pairwise(edges)]
        call = steps[0]
        assert 0 < call <= START // 10
        assert steps[:1000] == [call] * 1000
        assert 0 <= steps[1000] - 5 * NS <= call
        assert steps[1002:] == [call] * 999
        (at, _), (_, line) = told(rack)[:2]
        assert edges[999][0] <= at <= edges[1000][0]
        assert line == f"took {1001 * call // US}"


def test_ticks_wrap_as_on_the_chip(racks):
    program = """
import time
time.sleep(1073)
before = time.ticks_us()
time.sleep_ms(1000)
after = time.ticks_us()
print(before > after, time.ticks_diff(after, before) // 1000, after < 1 << 30)
time.sleep(1073741 - 1074)
before = time.ticks_ms()
time.sleep(2)
print(before, time.ticks_ms(), time.ticks_diff(time.ticks_ms(), before))
"""
    with racks(program) as rack:
        rack.engine.run(until=20 * DAY)
        assert said(rack)[:2] == ["True 1000 True", "1073741000 1176 2000"]


# -- waiting for something -----------------------------------------------------------------------


def test_asyncio_hears_flags_input_and_uarts_when_they_come(racks):
    program = """
import asyncio, sys
from machine import Pin, Timer, UART
flag = asyncio.ThreadSafeFlag()
async def flags():
    Timer(1).init(mode=Timer.ONE_SHOT, period=1500, callback=lambda t: flag.set())
    await flag.wait()
    print('flag')
async def lines():
    reader = asyncio.StreamReader(sys.stdin)
    try:
        await asyncio.wait_for(reader.readline(), 2)
    except asyncio.TimeoutError:
        print('nothing')
    print('line', await reader.readline())
async def serial():
    reader = asyncio.StreamReader(UART(2, 9600, rx=16, tx=17))
    print('uart', await reader.readexactly(4))
async def main():
    await asyncio.gather(flags(), lines(), serial())
asyncio.run(main())
pressed = []
Pin(4, Pin.IN).irq(lambda pin: pressed.append(pin.value()), Pin.IRQ_RISING)
import time
while not pressed:
    time.sleep(1000)
print('pressed', pressed, input('? '))
uart = UART(2, 9600, rx=16, tx=17, timeout=500)
print(uart.read(9))
while True:
    time.sleep(1000)
"""
    with racks(program) as rack:
        engine, board = rack.engine, rack.boards[0]
        line = UartLine(16, 17)
        part(rack, Uart).lines = (line,)
        engine.call_at(5 * NS, board.receive, b"hello\r", Settings())
        engine.call_at(7 * NS, line.send, b"1234")
        engine.call_at(9 * NS, part(rack, Pins).drive, 4, 1)
        engine.call_at(2000 * NS, board.receive, b"typed\r", Settings())
        engine.call_at(2001 * NS, board.receive, b"\x03", Settings())
        engine.run(until=2002 * NS)
        lines = told(rack)
        assert [line for _, line in lines[:7]] == [
            "flag",
            "nothing",
            "line b'hello\\n'",
            "uart b'1234'",
            "? typed",
            "pressed [1] typed",
            "None",
        ]
        assert lines[7][1].startswith("Traceback")
        assert lines[9][1].startswith("KeyboardInterrupt")
        ideal = [1500 * MS, 2 * NS, 5 * NS, 7 * NS, 2000 * NS, 2000 * NS, 2000 * NS + 500 * MS]
        for (at, line), due in zip(lines, [*ideal, 2001 * NS], strict=False):
            assert 0 <= at - due <= 2 * MS, line


# -- programs that go wrong ----------------------------------------------------------------------

SPIN = "while True:\n    pass\n"


def test_the_watchdog_bites_in_virtual_time(racks):
    program = """
import asyncio, machine
print('start', machine.reset_cause())
dog = machine.WDT(timeout=30000)
async def main():
    for _ in range(100):
        await asyncio.sleep(20)
        dog.feed()
    await asyncio.sleep(100000)
asyncio.run(main())
"""
    with racks(program) as rack:
        rack.engine.run(until=2100 * NS)
        starts = [line for line in said(rack) if line.startswith("start")]
        assert starts == ["start 1", "start 3"]
        bites = [line for line in rack.events.lines if line.endswith("end task_wdt")]
        at = int(bites[0].split()[0])
        assert 0 <= at - 2030 * NS <= START + 200 * 100 * US
        assert len(bites) == 1


@pytest.mark.parametrize("guard", ["", "import machine\nmachine.WDT(timeout=5000)\n"])
def test_a_program_that_computes_for_ever_is_named_or_bitten(racks, guard):
    with racks(guard + SPIN, 2) as rack:
        for app in rack.apps:
            app.spin_s = 0.2
        if guard:
            rack.engine.run(until=6 * NS)
            bites = [line for line in rack.events.lines if line.endswith("end task_wdt")]
            assert [line.split()[1] for line in bites] == [f"{BOARD}-0", f"{BOARD}-1"]
            assert all(0 <= int(line.split()[0]) - 5 * NS <= START for line in bites)
        else:
            with pytest.raises(HungError, match=f"{BOARD}-0"):
                rack.engine.run(until=6 * NS)


def test_what_would_break_the_order_is_refused(racks):
    program = """
import _thread
try:
    _thread.start_new_thread(print, ())
except OSError as error:
    print(error.args[0])
"""
    with racks(program) as rack:
        rack.engine.run(until=NS)
        assert said(rack)[:1] == ["can't create thread in virtual time"]


def test_waiting_for_what_cannot_come_is_an_error(racks):
    with racks("print('done')") as rack:
        rack.engine.run(until=lambda: "done" in said(rack))
        with pytest.raises(StalledError):
            rack.engine.run(until=lambda: False)


# -- the rack ----------------------------------------------------------------------------------


def test_a_rack_in_a_thread_of_its_own_can_be_called(tmp_path):
    path = image(tmp_path, "import time\nwhile True:\n    time.sleep(1)\n")
    with Rack(BOARD, image=path, virtual_time=True) as rack:
        first = rack.call(rack.engine.clock.now_ns)
        limit = time.monotonic() + 20
        while rack.call(rack.engine.clock.now_ns) < first + DAY:
            assert time.monotonic() < limit
