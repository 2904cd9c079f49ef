"""`esp` of the ESP32 port: the flash as a whole."""

import _ctrlc
import _flash
from _rpc import call as _call

LOG_NONE, LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG, LOG_VERBOSE = range(6)


def osdebug(uart, level=None):
    pass  # MicroPython's builds print nothing below the level of errors anyway


def flash_size():
    return _call("flash.size")


def flash_user_start():
    return 0x200000  # what the port says, wherever the file system is


def flash_read(offset, buffer):
    view = memoryview(buffer)
    view[:] = _call("flash.read", offset, len(view))


def flash_write(offset, data):
    _ctrlc.hold()
    _flash.check(_ctrlc.let_go(_flash.program(offset, data)))


def flash_erase(sector):
    _ctrlc.hold()
    _flash.check(_ctrlc.let_go(_flash.erase(sector * 4096, 4096)))


def gpio_matrix_in(pin, signal, invert):
    pass


def gpio_matrix_out(pin, signal, invert_output, invert_enable):
    pass
