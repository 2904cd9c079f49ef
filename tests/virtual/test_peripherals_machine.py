import contextlib

import pytest
from citynode.virtual.soc.peripherals.analog import Pwm
from citynode.virtual.soc.peripherals.serial import Spi, SpiBus, Uart, UartLine
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
often = Timer(-1)
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
try:
    Timer(2, hard=True)
except ValueError as error:
    print(error)
""")
        == """1 True Timer(0, mode=ONE_SHOT, period=20) Timer(-1, mode=PERIODIC, period=10)
[] True 0
True
hard Timers are not implemented
"""
    )
    board.run("from machine import Timer\nTimer(0, period=5, callback=print)")
    for hook in board.upy.soft_reset_hooks:
        hook()
    board.upy.irqs.clear()
    board.engine.run(until=board.engine.clock.now_ns() + 20_000_000)
    assert board.upy.irqs == []


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
from machine import ADC, Pin
adc = ADC(Pin(35), atten=ADC.ATTN_11DB)
print(adc, adc.read(), adc.read_u16(), adc.read_uv())
adc.atten(ADC.ATTN_0DB)
print(adc.read(), ADC(35) is adc)
for make in (lambda: ADC(5), lambda: adc.atten(4), lambda: ADC(Pin(24))):
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
4095 True
invalid pin
invalid atten
invalid pin
0
116
"""
    )


def test_pwm(board):
    assert (
        board.run("""
from machine import PWM, Pin
pwm = PWM(Pin(4), freq=1000, duty_u16=49152)
print(pwm, pwm.duty(), pwm.duty_ns())
pwm.duty(512)
print(pwm.duty_u16(), PWM(4))
for make in (lambda: pwm.freq(0), lambda: pwm.duty(1024), lambda: PWM(34), lambda: PWM(24)):
    try:
        make()
    except ValueError as error:
        print(error)
try:
    for pin in range(24):
        PWM(pin)
except ValueError as error:
    print(error)
""")
        == """PWM(Pin(4), freq=1000, duty_u16=49152) 768 750000
32768 PWM(Pin(4), freq=1000, duty_u16=32768)
frequency must be from 1Hz to 40MHz
duty must be from 0 to 1023
PWM not supported on pin 34
invalid pin
out of PWM channels
"""
    )
    assert board.part(Pwm).outputs[4] == (1000, 32768)


def test_counter_counts_without_the_program(board):
    board.upy.expose("test.pulses", lambda pin, count: board.pins.pulse(pin, count))
    board.pins.drive(4, 1)
    assert (
        board.run("""
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
""")
        == "1234 1234 0 True\n3 -6\nnot initialised\n"
    )


def test_the_c3_has_no_counter(make):
    assert make("esp32c3").run("import machine\nprint(hasattr(machine, 'Counter'))") == "False\n"


def test_uart_talks_to_what_is_on_its_pins(board):
    line = UartLine(rx=16, tx=17, baud=9600)
    heard = []

    def answer(data, baud):
        heard.append((data, baud))
        line.send(b"line one\nrest")

    line.on_data = answer
    Uart("esp32", [line]).attach(board.upy)
    assert (
        board.run("""
from machine import UART
import select
uart = UART(2, 9600, timeout=20)
print(uart)
print(uart.read(), uart.any(), uart.write("hello"), uart.any())
poller = select.poll()
poller.register(uart, select.POLLIN)
print(bool(poller.poll(0)), uart.readline(), uart.read(2), uart.read(), bool(poller.poll(0)))
fast = UART(2, 115200, rx=16, tx=17)
fast.write(b"x")
print(fast.read(4) == b"line", UART(1, rx=5, tx=4).write(b"into the void"))
for make in (lambda: UART(3), lambda: UART(0), lambda: UART(1, bits=9)):
    try:
        make()
    except ValueError as error:
        print(error)
""")
        == """UART(2, baudrate=9600, bits=8, parity=None, stop=1, tx=17, rx=16, rts=-1, cts=-1, \
txbuf=256, rxbuf=256, timeout=20, timeout_char=2)
None 0 5 13
True b'line one\\n' b're' b'st' False
False 13
UART(3) does not exist
UART(0) is disabled (dedicated to REPL)
invalid data bits
"""
    )
    assert heard == [(b"hello", 9600), (b"x", 115200)]


class Register:
    """An SPI chip that gives back the byte before."""

    def __init__(self):
        self.edges = []
        self.last = 0

    def select(self):
        self.edges.append("select")
        self.last = 0xA5

    def transfer(self, byte):
        before, self.last = self.last, byte
        return before

    def deselect(self):
        self.edges.append("deselect")


def test_spi_reaches_the_selected_chip_only(board):
    chip = Register()
    board.pins.drive(5, 1)
    Spi([SpiBus(board.pins, 18, 23, 19, {5: chip})]).attach(board.upy)
    assert (
        board.run("""
from machine import SPI, SoftSPI, Pin
cs = Pin(5, Pin.OUT, value=1)
spi = SPI(2, 1000000)
print(spi)
print(spi.read(2))
cs(0)
buf = bytearray(3)
spi.write_readinto(b"abc", buf)
print(buf, spi.write(b"d"), spi.read(2, 0x65))
cs(1)
soft = SoftSPI(sck=18, mosi=23, miso=Pin(19))
print(soft.read(1))
spi.deinit()
try:
    spi.read(1)
except OSError as error:
    print(error)
try:
    SPI(3)
except ValueError as error:
    print(error)
""")
        == """SPI(id=2, baudrate=1000000, polarity=0, phase=0, bits=8, firstbit=0, sck=18, \
mosi=23, miso=19)
b'\\x00\\x00'
bytearray(b'\\xa5ab') None b'de'
b'\\x00'
transfer on deinitialized SPI
SPI(3) doesn't exist
"""
    )
    assert chip.edges[-2:] == ["select", "deselect"]


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
