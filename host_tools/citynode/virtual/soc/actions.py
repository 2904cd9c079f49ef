"""What a boot loader on the serial line asks its board to do, in order."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Transmit:
    """Send bytes at the current speed."""

    data: bytes


@dataclass(frozen=True)
class Busy:
    """Do nothing else for a while: the flash, the CPU or the UART is at work for `ns`."""

    ns: int


@dataclass(frozen=True)
class SetBaud:
    """Change the speed of the chip's UART, once all that was sent before has gone out."""

    baud: int


@dataclass(frozen=True)
class Reset:
    """Reset the chip; `cause` is "sw", "rtc_wdt", or "run_app" (leave download mode).

    With `delay_ns` the chip goes on until then.
    """

    cause: str
    delay_ns: int = 0


Action = Transmit | Busy | SetBaud | Reset
