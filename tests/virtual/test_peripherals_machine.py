"""Timers, watchdog, converters, PWM, counters, RTC and resets of `machine`."""

import contextlib

import pytest
from citynode.virtual.soc.peripherals.analog import Pwm
from citynode.virtual.soc.peripherals.system import System
from upy_bench import Board


@pytest.fixture
def make():
    with contextlib.ExitStack() as stack:
        yield lambda chip: stack.enter_context(Board(chip))


@pytest.fixture
def board(make):
    return make("esp32")


def test_timers(board):
    assert (
        board.run("""
from machine import Timer
import time
ticks = []
once = Timer(0, mode=Timer.ONE_SHOT, period=20, callback=lambda t: ticks.append(t))
often = Timer(3)
often.init(freq=100, callback=lambda t: ticks.append("often"))
time.sleep_ms(105)
often.deinit()
print(ticks.count(once), 8 <= ticks.count("often") <= 11, once, repr(often))
ticks.clear()
time.sleep_ms(30)
print(ticks, Timer(0) is once, once.value())
long = Timer(1, period=10000)
time.sleep_ms(20)
print(15 < long.value() < 40)
""")
        == """1 True Timer(0, mode=ONE_SHOT, period=20) Timer(3, mode=PERIODIC, period=10)
[] True 0
True
"""
    )
    board.run("from machine import Timer\nTimer(0, period=5, callback=print)")
    for hook in board.upy.soft_reset_hooks:
        hook()
    board.upy.irqs.clear()
    board.engine.run(until=board.engine.clock.now_ns() + 20_000_000)
    assert board.upy.irqs == []


@pytest.mark.parametrize(
    ("release", "virtual", "four", "hard"),
    [
        (
            (1, 24),
            "Timer(3, mode=ONE_SHOT, period=0)",
            "Timer(0, mode=ONE_SHOT, period=0)",
            "extra",
        ),
        ((1, 25), "invalid Timer number", "invalid Timer number", "extra"),
        ((1, 27), "invalid Timer number", "invalid Timer number", "hard"),
        ((1, 29), "Timer(-1, mode=ONE_SHOT, period=0)", "invalid Timer number", "hard"),
    ],
)
def test_timers_that_releases_have(board, release, virtual, four, hard):
    script = """
from machine import Timer
for make in (lambda: Timer(-1), lambda: Timer(4), lambda: Timer(2, hard=True)):
    try:
        print(make())
    except (ValueError, TypeError) as error:
        print(error)
"""
    said = board.run(script, release=release).splitlines()
    assert said[:2] == [virtual, four]
    assert said[2].split()[0] == hard


def test_watchdog_bites_only_who_does_not_feed_it(board):
    board.run("""
from machine import WDT
import time
wdt = WDT(timeout=150)
for _ in range(10):
    time.sleep_ms(40)
    wdt.feed()
""")
    assert board.upy.exits == []
    board.engine.run(until=board.engine.clock.now_ns() + 250_000_000)
    assert board.upy.exits == [("task_wdt", None)]
    board.upy.exits.clear()
    board.run("from machine import WDT\nWDT(timeout=50)")
    board.reset()
    board.engine.run(until=board.engine.clock.now_ns() + 100_000_000)
    assert board.upy.exits == []


def test_a_hung_program_is_bitten(board):
    board.run("from machine import WDT\nWDT(timeout=100)\nwhile True: pass")
    assert board.upy.exits == [("task_wdt", None)]


def test_adc_reads_the_voltage_on_its_pin(board):
    assert (
        board.run("""
from machine import ADC, ADCBlock, Pin
adc = ADC(Pin(35), atten=ADC.ATTN_11DB)
print(adc, adc.read(), adc.read_u16(), adc.read_uv())
adc.atten(ADC.ATTN_0DB)
print(adc.read(), ADC(35) is adc, adc.block(), ADCBlock(0).connect(7) is adc)
adc.width(ADC.WIDTH_9BIT)
print(adc.read(), adc.read_u16(), ADCBlock(0))
for make in (lambda: ADC(5), lambda: adc.atten(4), lambda: ADC(Pin(24)), lambda: adc.width(8),
             lambda: ADCBlock(2), lambda: ADCBlock(0).connect(Pin(4))):
    try:
        make()
    except ValueError as error:
        print(error)
print(ADC(25).read())
import network
network.WLAN().active(True)
try:
    ADC(25).read()
except OSError as error:
    print(error.errno)
""")
        == """ADC(Pin(35), atten=3) 2278 36456 1975000
4095 True ADCBlock(0, bits=12) True
511 65535 ADCBlock(0, bits=9)
invalid pin
invalid atten
invalid pin
invalid bits
invalid block id
no matching ADC
0
116
"""
    )


def test_dac(board, make):
    script = """
import machine
dac = machine.DAC(machine.Pin(26))
dac.write(200)
print(dac)
for fn in (lambda: machine.DAC(4), lambda: dac.write(256)):
    try:
        fn()
    except ValueError as error:
        print(error)
"""
    assert board.run(script) == "DAC(Pin(26))\ninvalid Pin for DAC\nvalue out of range\n"
    assert board.pins.level(26) == 1
    assert make("esp32c3").run("import machine\nprint(hasattr(machine, 'DAC'))") == "False\n"


def test_pwm(board):
    assert (
        board.run("""
from machine import PWM, Pin
pwm = PWM(Pin(4), freq=1000, duty_u16=49152)
print(pwm)
print(pwm.duty(), pwm.duty_ns(), pwm.duty_u16())
pwm.duty(512)
pwm.freq(40000)
print(pwm.duty_u16(), pwm.freq(), pwm)
other = PWM(5, freq=40000, duty_ns=5000)
other.freq(3)
print(other, pwm.freq())
for fn in (lambda: pwm.freq(0), lambda: pwm.duty(1024), lambda: pwm.duty_u16(65536),
           lambda: pwm.duty_ns(25001), lambda: PWM(34), lambda: PWM(24),
           lambda: PWM(12, duty=1, duty_u16=1)):
    try:
        fn()
    except ValueError as error:
        print(error)
other.deinit()
print(other)
try:
    other.duty()
except RuntimeError as error:
    print(error)
made = []
try:
    for pin in (2, 4, 5) + tuple(range(12, 24)) + (25, 26, 27):
        made.append(PWM(pin, freq=1000 + len(made) // 4))
except ValueError as error:
    print(len(made), error)
try:
    for number in range(5):
        made[number].freq(200 + number)
except ValueError as error:
    print(error)
""")
        == """PWM(Pin(4), freq=998, duty_u16=49152, resolution=16, (duty=75.00%, resolution=0.002%), mode=0, channel=0, timer=0)
768 750011 49152
32768 40000 PWM(Pin(4), freq=40000, duty=512, resolution=10, (duty=50.00%, resolution=0.098%), mode=0, channel=0, timer=0)
PWM(Pin(5), freq=3, duty_ns=5086, resolution=18, (duty=0.00%, resolution=0.000%), mode=0, channel=1, timer=1) 40000
frequency must be from 1Hz to 40MHz
duty must be from 0 to 1023
duty_u16 must be from 0 to 65535
duty_ns must be from 0 to 25000 ns
PWM not supported on Pin(34)
invalid pin
only one of parameters 'duty', 'duty_u16' or 'duty_ns' is allowed
PWM(Pin(5))
PWM inactive
16 out of PWM channels:16
out of PWM timers:8
"""
    )
    assert board.part(Pwm).outputs[4][0] == 201


def test_counter_counts_without_the_program(board):
    board.upy.expose("test.pulses", lambda pin, count: board.pins.pulse(pin, count))
    board.pins.drive(4, 1)
    assert (
        board.run(
            """
from machine import Counter, Pin
from _rpc import call
counter = Counter(0, Pin(4, Pin.IN, Pin.PULL_UP), edge=Counter.FALLING)
call("test.pulses", 4, 1234)
print(counter.value(), counter.value(0), counter.value(), Counter(0) is counter)
down = Counter(1, 4, edge=Counter.RISING | Counter.FALLING, direction=Counter.DOWN)
call("test.pulses", 4, 3)
print(counter.value(), down.value())
counter.deinit()
try:
    counter.value()
except RuntimeError as error:
    print(error)
""",
            release=(1, 26),
        )
        == "1234 1234 0 True\n3 -6\nnot initialised\n"
    )


def test_counters_need_a_chip_and_a_release_that_has_them(board, make):
    script = "import machine\nprint(hasattr(machine, 'Counter'))"
    assert make("esp32c3").run(script, release=(1, 26)) == "False\n"
    assert board.run(script, release=(1, 25)) == "False\n"


def test_rtc_keeps_time_and_memory(board):
    kept = bytearray()

    def memory(data):
        if data is not None:
            kept[:] = data
        return bytes(kept)

    board.upy.expose("app.rtc_memory", memory)
    assert (
        board.run("""
from machine import RTC
rtc = RTC()
rtc.datetime((2024, 2, 29, 0, 23, 59, 58, 250000))
print(rtc.datetime()[:7], 250000 <= rtc.datetime()[7] < 400000, RTC() is rtc)
rtc.init((2000, 1, 1, 0, 0, 0, 0, 0))
print(rtc.datetime()[:7])
print(rtc.memory(), rtc.memory(b"kept"), rtc.memory())
""")
        == "(2024, 2, 29, 3, 23, 59, 58) True True\n(2000, 1, 1, 5, 0, 0, 0)\nb'' None b'kept'\n"
    )


@pytest.mark.parametrize(
    ("cause", "number"),
    [
        ("poweron", 1),
        ("ext", 1),
        ("brownout", 1),
        ("sw", 2),
        ("panic", 2),
        ("task_wdt", 3),
        ("rtc_wdt", 3),
        ("deepsleep", 4),
    ],
)
def test_reset_causes(board, cause, number):
    board.upy.expose("app.reset_cause", lambda: cause)
    board.upy.expose("app.wake", lambda: "timer" if cause == "deepsleep" else None)
    script = "import machine\nprint(machine.reset_cause(), machine.wake_reason())"
    assert board.run(script) == f"{number} {4 if cause == 'deepsleep' else 0}\n"
    for hook in board.upy.soft_reset_hooks:
        hook()
    assert board.run(script).split()[0] == "5"
    board.reset()
    assert board.run(script).split()[0] == str(number)


@pytest.mark.parametrize(
    ("call", "end"),
    [
        ("reset()", ("reset", None)),
        ("bootloader()", ("bootloader", None)),
        ("deepsleep(5000)", ("deepsleep", 5000)),
        ("deepsleep()", ("deepsleep", None)),
    ],
)
def test_ends_of_the_program(board, call, end):
    board.upy.expose("app.exit", board.upy.exit)
    assert board.run(f"import machine\nmachine.{call}\nprint('still there')") == ""
    assert board.upy.exits == [end]


def test_system_facts(board, make):
    script = """
import machine
print(machine.freq(), machine.unique_id(), machine.idle(), machine.lightsleep(5))
machine.freq(80000000)
try:
    machine.freq(100000000)
except ValueError as error:
    print(machine.freq(), error)
"""
    assert board.run(script) == (
        "160000000 b'$\\n\\xc4\\x00\\x01\\x04' None None\n"
        "80000000 frequency must be 20MHz, 40MHz, 80Mhz, 160MHz or 240MHz\n"
    )
    assert make("esp32s3").run("import machine\nprint(machine.freq())") == "240000000\n"


def test_pins_wake_the_chip(board):
    woken = []
    board.part(System).on_wake = woken.append
    board.pins.drive(33, 1)
    board.upy.call("wake.ext0", 33, False)
    board.pins.drive(33, 0)
    board.pins.drive(33, 1)
    assert woken == ["ext0"]
    board.upy.call("wake.ext0", None, None)
    board.upy.call("wake.ext1", [32, 33], True)
    board.pins.drive(33, 0)
    board.pins.drive(32, 1)
    assert woken == ["ext0", "ext1"]
    board.reset()
    board.pins.drive(33, 1)
    assert woken == ["ext0", "ext1"]


def test_time_pulse_us(board):
    def pulse():
        board.engine.call_later(0.01, board.pins.drive, 4, 1)
        board.engine.call_later(0.04, board.pins.drive, 4, 0)

    board.upy.expose("test.pulse", pulse)
    assert (
        board.run("""
from machine import Pin, time_pulse_us
from _rpc import call
pin = Pin(4, Pin.IN)
print(time_pulse_us(pin, 1, 5000))
call("test.pulse")
print(20000 < time_pulse_us(pin, 1) < 45000)
""")
        == "-2\nTrue\n"
    )
