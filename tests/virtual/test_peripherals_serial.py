"""UART and SPI of `machine`, with something on their pins."""

import pytest
from citynode.virtual.soc.peripherals.serial import Spi, SpiBus, Uart, UartLine
from upy_bench import Board


@pytest.fixture
def board():
    with Board("esp32") as board:
        yield board


def test_uart_talks_to_what_is_on_its_pins(board):
    line = UartLine(rx=16, tx=17, baud=9600)
    heard = []

    def answer(data, baud):
        heard.append((data, baud))
        line.send(b"line one\nrest")

    line.on_data = answer
    Uart(board.engine, "esp32", [line]).attach(board.upy)
    assert (
        board.run("""
from machine import UART
import select, time
uart = UART(2, 9600, timeout=20)
print(uart)
print(uart.read(), uart.any(), uart.write("hello"), uart.any(), uart.txdone())
start = time.ticks_us()
uart.flush()
# 5 characters of 10 bits
print(4000 < time.ticks_diff(time.ticks_us(), start) < 9000, uart.txdone())
time.sleep_ms(5)
poller = select.poll()
poller.register(uart, select.POLLIN)
print(bool(poller.poll(0)), uart.readline(), uart.read(2), uart.read(), bool(poller.poll(0)))
fast = UART(2, 115200, rx=16, tx=17)
fast.write(b"x")
fast.flush()
time.sleep_ms(5)
print(fast.read(4) == b"line", UART(1, rx=5, tx=4).write(b"into the void"))
for fn in (lambda: UART(3), lambda: UART(0, rxbuf=1), lambda: UART(1, bits=9),
           lambda: UART(1, stop=3), lambda: UART(1, invert=1), lambda: UART(1, tx=24),
           lambda: uart.irq(3), lambda: uart.irq(print, 4), lambda: uart.irq(print, 1, True)):
    try:
        fn()
    except ValueError as error:
        print(error)
odd = UART(1, 300, 7, 1, 2, tx=4, rx=5, rts=18, cts=19, invert=UART.INV_TX | UART.INV_CTS, flow=3)
print(odd)
print(UART(0), UART(0).any(), UART(0).read())
""")
        == """UART(2, baudrate=9600, bits=8, parity=None, stop=1, tx=17, rx=16, rts=-1, cts=-1, \
txbuf=256, rxbuf=256, timeout=20, timeout_char=0, irq=0)
None 0 5 0 False
True True
True b'line one\\n' b're' b'st' False
False 13
UART(3) does not exist
UART buffer size is fixed
invalid data bits
invalid stop bits
invalid inversion mask
invalid pin
handler must be None or callable
trigger 0x0004 unsupported
hard IRQ is not supported
UART(1, baudrate=300, bits=7, parity=1, stop=2, tx=4, rx=5, rts=18, cts=19, txbuf=256, \
rxbuf=256, timeout=0, timeout_char=0, irq=0, invert=INV_TX|INV_CTS, flow=RTS|CTS)
UART(0, baudrate=115200, bits=8, parity=None, stop=1, tx=-1, rx=-1, rts=-1, cts=-1, txbuf=256, \
rxbuf=256, timeout=0, timeout_char=0, irq=0) 0 None
"""
    )
    assert heard == [(b"hello", 9600), (b"x", 115200)]


def test_uart_interrupts_tell_of_bytes_and_of_their_end(board):
    line = UartLine(rx=16, tx=17, baud=9600)
    Uart(board.engine, "esp32", [line]).attach(board.upy)
    board.upy.expose("test.send", lambda: line.send(b"two"))
    assert (
        board.run("""
from machine import UART
from _rpc import call
import time
uart = UART(2, 9600)
seen = []
irq = uart.irq(lambda u: seen.append((u is uart, irq.flags(), u.any())),
               UART.IRQ_RX | UART.IRQ_RXIDLE)
call("test.send")
time.sleep_ms(30)
print(seen, uart.irq(None).trigger())
call("test.send")
time.sleep_ms(30)
print(len(seen))
""")
        == "[(True, 1, 3), (True, 4096, 3)] 0\n2\n"
    )


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
