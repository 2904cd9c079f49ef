"""`platform` of the ESP32 port."""

import _facts

_ARCH = {"esp32": "xtensa", "esp32s3": "xtensa", "esp32c3": "riscv"}


def platform():
    release = _facts.version[1:] if _facts.version[:1] == "v" else _facts.version
    return "MicroPython-%s-%s-with-newlib4.3.0" % (release, _ARCH.get(_facts.chip, ""))


def python_compiler():
    return "GCC 14.2.0"


def libc_ver():
    return "newlib", "4.3.0"
