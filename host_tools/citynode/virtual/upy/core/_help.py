"""`help` of the ESP32 port."""

import _facts
import _native
import builtins

_native_help = builtins.help
# What the builds of the port have, in C or frozen; `/__init__` marks a package.
_IN_C = (
    "_asyncio _onewire _thread array binascii builtins cmath collections cryptolib deflate errno "
    "esp esp32 framebuf gc hashlib heapq io json machine math micropython network os platform "
    "random re select socket struct sys time tls uctypes vfs websocket"
)
_FROZEN = (
    "apa106 asyncio/__init__ asyncio/core asyncio/event asyncio/funcs asyncio/lock asyncio/stream "
    "dht ds18x20 flashbdev inisetup mip/__init__ neopixel ntptime onewire requests/__init__ ssl "
    "uasyncio umqtt/robust umqtt/simple upysh urequests webrepl"
)
_COLUMNS, _WIDTH = 4, 18
_TEXT = """\
This is MicroPython on the %s.

Its documentation: https://docs.micropython.org/en/latest/esp32/quickref.html

Pins, buses and converters are in the module machine:

    from machine import Pin, SoftI2C
    led = Pin(2, Pin.OUT)
    led.on()
    button = Pin(0, Pin.IN, Pin.PULL_UP)
    button.value()
    i2c = SoftI2C(scl=Pin(22), sda=Pin(21))
    i2c.scan()

Joining a WiFi network:

    import network
    wlan = network.WLAN(network.WLAN.IF_STA)
    wlan.active(True)
    wlan.connect("name", "password")
    wlan.isconnected()

Keys of the prompt, on an empty line:

    Ctrl-A  raw mode, for programs that talk to the board
    Ctrl-B  back to the prompt
    Ctrl-C  interrupts a program
    Ctrl-D  soft reset
    Ctrl-E  paste mode

help(object) tells about an object, help("modules") lists the modules.
"""


def builtin_names():
    """Return the names of the modules in C."""
    return _IN_C.split()


def help(*about):
    if not about:
        print(_TEXT % (_facts.machine.split(" with ")[-1] or "ESP32"), end="")
    elif about[0] == "modules":
        names = sorted(["__main__"] + _IN_C.split() + _FROZEN.split())
        rows = -(-len(names) // _COLUMNS)
        for row in range(rows):
            line = [name + " " * (_WIDTH - len(name)) for name in names[row::rows]]
            print("".join(line).rstrip())
        print("Plus any modules on the filesystem")
    else:
        _native_help(_native_help if about[0] is help else about[0])
