import contextlib

import pytest
from citynode.virtual.soc.peripherals import hardware
from citynode.virtual.soc.peripherals.i2c import I2C
from citynode.virtual.world.weather import Weather
from upy_bench import Board


@pytest.fixture
def make():
    with contextlib.ExitStack() as stack:
        yield lambda chip: stack.enter_context(Board(chip))


@pytest.fixture
def board(make):
    return make("esp32")


def test_pin_errors_are_those_of_the_port(board):
    assert (
        board.run("""
from machine import Pin
for args in ((24,), (40,), (-1,), ("x",), (34, Pin.OUT), (39, Pin.OPEN_DRAIN)):
    try:
        print(Pin(*args))
    except ValueError as error:
        print(args[0], error)
print(Pin(34, Pin.IN, Pin.PULL_UP)(), Pin(4) is Pin(4), Pin(Pin(4)), repr(Pin(4)))
""")
        == """24 invalid pin
40 invalid pin
-1 invalid pin
x invalid pin
34 pin can only be input
39 pin can only be input
0 True Pin(4) Pin(4)
"""
    )


def test_pin_levels_pulls_and_outputs(board):
    board.pins.drive(5, 1)
    assert (
        board.run("""
from machine import Pin, Signal
print(Pin(5).value(), Pin(5, Pin.IN).value(), Pin(12, Pin.IN).value())
print(Pin(12, Pin.IN, Pin.PULL_UP)(), Pin(12, Pin.IN, None)())
out = Pin(13, Pin.OUT, value=1)
print(out.value(), out.off(), out(), out.toggle(), out(), out.on(), out(0), out())
drain = Pin(14, Pin.OPEN_DRAIN, Pin.PULL_UP, value=1)
print(drain(), drain(0), drain())
led = Signal(out, invert=True)
led.on()
print(out(), led())
led.off()
print(out(), led())
""")
        == "0 1 0\n1 0\n1 None 0 None 1 None None 0\n1 None 0\n0 1\n1 0\n"
    )


def test_pin_interrupts_come_for_the_edges_asked_for(board):
    levels = iter((1, 0, 1, 0, 1))
    board.upy.expose("test.edge", lambda: board.pins.drive(4, next(levels)))
    assert (
        board.run("""
from machine import Pin
from _rpc import call
import time
seen = []
pin = Pin(4, Pin.IN)
irq = pin.irq(lambda p: seen.append((p, p.value())), Pin.IRQ_RISING)
def edge():
    call("test.edge")
    time.sleep_ms(5)
edge()
edge()
print(seen, irq.trigger())
pin.irq(lambda p: seen.append("both"))
edge()
edge()
pin.irq(None)
edge()
print(seen)
""")
        == "[(Pin(4), 1)] 1\n[(Pin(4), 1), 'both', 'both']\n"
    )


@pytest.mark.parametrize("make_bus", ["I2C(0, scl=22, sda=21)", "SoftI2C(Pin(22), Pin(21))"])
def test_i2c_reaches_the_chips(board, make_bus):
    assert (
        board.run(f"""
from machine import I2C, SoftI2C, Pin
import time
bus = {make_bus}
print(bus)
print([hex(a) for a in bus.scan()])
print(bus.readfrom_mem(0x76, 0xD0, 1), bus.writeto(0x76, b"\\xd0", False))
buf = bytearray(2)
bus.readfrom_into(0x76, buf)
print(bytes(buf), bus.readfrom_mem_into(0x76, 0xD0, memoryview(buf)[1:]), buf)
print(bus.writevto(0x76, (b"\\xf2", b"\\x01")), bus.writeto_mem(0x76, 0xF5, b"\\x10"))
print(bus.readfrom_mem(0x76, 0xF2, 1), bus.readfrom_mem(0x76, 0xF5, 1))
bus.writeto(0x44, b"\\xe0")
time.sleep_ms(2)
print(bus.readfrom(0x44, 6) != bytes(6))
for call in (lambda: bus.writeto(0x50, b""), lambda: bus.readfrom(0x44, 6)):
    try:
        call()
    except OSError as error:
        print(error.errno)
""").split("\n", 1)[1]
        == """['0x44', '0x76']
b'`' 1
b'`\\x00' None bytearray(b'``')
2 None
b'\\x01' b'\\x10'
True
19
19
"""
    )


def test_i2c_reprs_and_refusals(board):
    assert (
        board.run("""
from machine import I2C, SoftI2C, Pin
print(I2C(1), repr(I2C(0, scl=22, sda=Pin(21), freq=100000)), I2C(0), SoftI2C(22, 21, freq=50000))
try:
    I2C(2)
except ValueError as error:
    print(error)
try:
    I2C(0, scl=24)
except ValueError as error:
    print(error)
try:
    I2C(0).start()
except OSError as error:
    print(error)
""")
        == "I2C(1, scl=25, sda=26, freq=400000) I2C(0, scl=22, sda=21, freq=100000) "
        "I2C(0, scl=22, sda=21, freq=400000) SoftI2C(scl=22, sda=21, freq=50000)\n"
        "I2C(2) doesn't exist\ninvalid pin\nI2C operation not supported\n"
    )


def test_soft_i2c_primitives(board):
    assert (
        board.run("""
from machine import SoftI2C
bus = SoftI2C(22, 21)
bus.start()
print(bus.write(b"\\xec\\xd0"))
bus.start()
print(bus.write(b"\\xed"))
buf = bytearray(1)
bus.readinto(buf)
bus.stop()
print(buf)
bus.start()
print(bus.write(b"\\x20\\x00"))
bus.stop()
""")
        == "2\n1\nbytearray(b'`')\n0\n"
    )


_FAULTS = """
from machine import I2C, SoftI2C, Pin
def attempt(bus):
    try:
        return bus.readfrom_mem(0x76, 0xD0, 1)
    except OSError as error:
        return error.errno
"""


def test_lines_held_low_time_out(board):
    board.bus.hold_low("scl")
    script = _FAULTS + "print(attempt(I2C(0, scl=22, sda=21)), attempt(SoftI2C(22, 21)))"
    assert board.run(script) == "116 116\n"
    board.bus.release()
    board.bus.hold_low("sda")
    # Bit-banged, a low line reads as an acknowledge and as zeros.
    assert board.run(script) == "116 b'\\x00'\n"
    board.bus.release()
    assert board.run(script) == "b'`' b'`'\n"


def test_a_stuck_chip_lets_go_after_its_clocks(board):
    board.bus.stick(7)
    assert (
        board.run(
            _FAULTS
            + """
scl = Pin(22, Pin.OPEN_DRAIN, value=1)
sda = Pin(21, Pin.OPEN_DRAIN, value=1)
clocks = 0
while not sda.value():
    scl.value(0)
    scl.value(1)
    clocks += 1
print(clocks, attempt(SoftI2C(22, 21)))
"""
        )
        == "7 b'`'\n"
    )
    board.bus.stick(9)
    # The driver clocks the bus free when it gives up.
    assert board.run(_FAULTS + "b=I2C(0, scl=22, sda=21)\nprint(attempt(b), attempt(b))") == (
        "116 b'`'\n"
    )


def test_refusals_are_counted_and_gaps_silence_the_sensors(board):
    board.bus.refuse(2, 0x76)
    script = _FAULTS + "b=I2C(0, scl=22, sda=21)\nprint(attempt(b), attempt(b), attempt(b))"
    assert board.run(script) == "19 19 b'`'\n"
    board.world.weather = Weather.constant(None)
    assert board.run(_FAULTS + "print(I2C(0, scl=22, sda=21).scan())") == "[]\n"


def test_other_pins_have_no_chips(board):
    assert board.run(_FAULTS + "print(I2C(0, scl=21, sda=22).scan(), attempt(I2C(0)))") == (
        "[] 19\n"
    )


def test_the_c3_has_one_controller_and_fewer_pins(make):
    board = make("esp32c3")
    assert (
        board.run("""
from machine import I2C, Pin
print(I2C(0, scl=7, sda=6).scan())
for call in (lambda: I2C(1), lambda: Pin(22)):
    try:
        call()
    except ValueError as error:
        print(error)
""")
        == "[68, 118]\nI2C(1) doesn't exist\ninvalid pin\n"
    )


def test_reset_makes_inputs_but_leaves_held_pads(board):
    board.run("""
from machine import Pin
Pin(2, Pin.OUT, value=1)
Pin(4, Pin.OUT, value=1, hold=True)
""")
    assert (board.pins.level(2), board.pins.level(4)) == (1, 1)
    board.reset()
    assert (board.pins.level(2), board.pins.level(4)) == (0, 1)


def test_boards_of_a_rack_have_sensors_of_their_own(board):
    buses = [
        next(
            part
            for part in hardware(board.spec, board.engine, board.world, name)
            if isinstance(part, I2C)
        )
        for name in ("b-0", "b-1", "b-1")
    ]
    words = [bus.buses[0].devices[0x76].words for bus in buses]
    assert words[0] != words[1] == words[2]
