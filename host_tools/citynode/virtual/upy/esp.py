"""`esp` of the ESP32 port: the flash as a whole."""

from _rpc import call

LOG_NONE, LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG, LOG_VERBOSE = range(6)


def osdebug(uart, level=None):
    pass  # MicroPython's builds print nothing below the level of errors anyway


def flash_size():
    return call("flash.size")


def flash_user_start():
    return call("flash.user_start")


def flash_read(offset, buffer):
    if isinstance(buffer, int):
        return call("flash.read", offset, buffer)
    data = call("flash.read", offset, len(buffer))
    memoryview(buffer)[:] = data


def flash_write(offset, data):
    call("flash.program", offset, data)


def flash_erase(sector):
    call("flash.erase", sector * 4096, 4096)
