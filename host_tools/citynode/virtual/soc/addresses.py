"""Where things are in the chips' address spaces, as far as a serial loader reaches them.

Sources: the memory maps and register summaries of the technical reference manuals.
"""

from collections.abc import Mapping
from dataclasses import dataclass

MAGIC = 0x4000_1000  # a word of ROM code that differs from chip to chip

Range = tuple[int, int]  # first address, first address behind


@dataclass(frozen=True)
class SpiRegisters:
    """The registers of the SPI controller that the flash is on (offsets from `base`)."""

    base: int
    user: int
    user1: int
    user2: int
    mosi_length: int
    miso_length: int
    buffer: int
    address_from_top: bool  # the address stands in the upper bits of its register


@dataclass(frozen=True)
class WatchdogRegisters:
    """The RTC watchdog."""

    config0: int
    protect: int


@dataclass(frozen=True)
class Addresses:
    """One chip's address space."""

    ram: tuple[Range, ...]
    mapped: tuple[Range, ...]  # where the cache shows the flash: data, code
    peripherals: tuple[Range, ...]
    efuse: Range
    spi: SpiRegisters
    watchdog: WatchdogRegisters
    rtc_options0: int  # bit 31 resets the chip
    gpio_strap: int
    uart_divider: int
    constants: Mapping[int, int]  # registers and ROM words that only ever read as this


def within(parts: tuple[Range, ...], address: int, length: int = 1) -> bool:
    """Tell whether all of `length` bytes at `address` are in one of the ranges."""
    return any(start <= address and address + length <= end for start, end in parts)


# The ESP32 ROM measures its crystal with the 8 MHz oscillator: crystal = cycles · 15625 Hz · f / 40
# with f from the eFuse CK8M_FREQ. These two are a chip whose measurement is 0.01 % low.
ESP32_CALIBRATION_CYCLES = 1969
ESP32_CK8M_FREQ = 52

_RTC_BASE = 0x6000_8000  # ESP32-S3 and ESP32-C3

_SPI_S3_C3 = SpiRegisters(
    base=0x6000_2000,
    user=0x18,
    user1=0x1C,
    user2=0x20,
    mosi_length=0x24,
    miso_length=0x28,
    buffer=0x58,
    address_from_top=False,
)

ADDRESSES: Mapping[str, Addresses] = {
    "esp32": Addresses(
        ram=(
            (0x3FF8_0000, 0x3FF8_2000),
            (0x3FFA_E000, 0x4000_0000),
            (0x4007_0000, 0x400C_2000),
            (0x5000_0000, 0x5000_2000),
        ),
        mapped=((0x3F40_0000, 0x3F80_0000), (0x400D_0000, 0x4040_0000)),
        peripherals=((0x3FF0_0000, 0x3FF8_0000), (0x6000_0000, 0x6004_0000)),
        efuse=(0x3FF5_A000, 0x3FF5_A120),
        spi=SpiRegisters(
            base=0x3FF4_2000,
            user=0x1C,
            user1=0x20,
            user2=0x24,
            mosi_length=0x28,
            miso_length=0x2C,
            buffer=0x80,
            address_from_top=True,
        ),
        watchdog=WatchdogRegisters(config0=0x3FF4_808C, protect=0x3FF4_80A4),
        rtc_options0=0x3FF4_8000,
        gpio_strap=0x3FF4_4038,
        uart_divider=0x3FF4_0014,
        constants={
            MAGIC: 0x00F0_1D83,
            0x3FF6_607C: 0x9604_2000,  # APB_CTRL date; bit 31 marks revision 3
            0x3FF5_F06C: ESP32_CALIBRATION_CYCLES << 7,  # TIMG0_RTCCALICFG1
            0x3FF4_0078: 0x1512_2500,  # UART date
            0x6000_0078: 0x1512_2500,
        },
    ),
    "esp32s3": Addresses(
        ram=(
            (0x3FC8_8000, 0x3FD0_0000),
            (0x4037_0000, 0x403E_0000),
            (0x5000_0000, 0x5000_2000),
            (0x600F_E000, 0x6010_0000),
        ),
        mapped=((0x3C00_0000, 0x3E00_0000), (0x4200_0000, 0x4400_0000)),
        peripherals=((0x6000_0000, 0x600F_E000),),
        efuse=(0x6000_7000, 0x6000_7200),
        spi=_SPI_S3_C3,
        watchdog=WatchdogRegisters(config0=_RTC_BASE + 0x98, protect=_RTC_BASE + 0xB0),
        rtc_options0=_RTC_BASE,
        gpio_strap=0x6000_4038,
        uart_divider=0x6000_0014,
        constants={MAGIC: 0x0000_0009, 0x6000_0080: 0x0200_8270},
    ),
    "esp32c3": Addresses(
        ram=(
            (0x3FC8_0000, 0x3FCE_0000),
            (0x4037_C000, 0x403E_0000),
            (0x5000_0000, 0x5000_2000),
        ),
        mapped=((0x3C00_0000, 0x3C80_0000), (0x4200_0000, 0x4280_0000)),
        peripherals=((0x6000_0000, 0x600F_E000),),
        efuse=(0x6000_8800, 0x6000_8A00),
        spi=_SPI_S3_C3,
        watchdog=WatchdogRegisters(config0=_RTC_BASE + 0x90, protect=_RTC_BASE + 0xA8),
        rtc_options0=_RTC_BASE,
        gpio_strap=0x6000_4038,
        uart_divider=0x6000_0014,
        constants={MAGIC: 0x1B31_506F, 0x6000_007C: 0x0200_8270},
    ),
}
