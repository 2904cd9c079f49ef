"""The chips as data: what tells an ESP32, an ESP32-S3 and an ESP32-C3 apart from outside.

Sources: the technical reference manuals (memory maps, reset reasons, strapping pins, register
addresses), the datasheets, and the ROM messages as boards print them.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ResetReason:
    """How the ROM reports a reset; `saved_pc` is what it prints of the interrupted program."""

    code: int
    name: str
    saved_pc: int | None = None


@dataclass(frozen=True)
class BootMode:
    """How the ROM reports the latched strapping pins."""

    code: int
    name: str


@dataclass(frozen=True)
class Chip:
    """One kind of chip.

    `heap_size` is what `gc.mem_free() + gc.mem_alloc()` gives after the start of a genuine
    MicroPython without PSRAM, in bytes: ESP32 seen on 1.27, ESP32-C3 on 1.22, ESP32-S3 estimated
    from the free heap of its ESP-IDF.
    """

    id: str
    name: str  # as esptool and MicroPython call it
    image_chip_id: int  # esp_image_header_t.chip_id
    revision: int  # major * 100 + minor, as the eFuses have it
    bootloader_offset: int  # where the ROM looks for the second stage
    crystal_mhz: int
    cores: int
    security_api: int  # version that GET_SECURITY_INFO reports
    heap_size: int
    rom_version: str  # first lines of the ROM, each ended by \r\n
    reset_reasons: Mapping[str, ResetReason]  # by cause, as the board names them
    flash_boot: BootMode
    download_boot: BootMode
    spi_log: str  # what the ROM prints of the flash pins before it reads an image
    loop_cause: str  # the watchdog that ends the ROM's search for something to boot
    gpios: frozenset[int]  # that machine.Pin takes
    input_only: frozenset[int]
    flash_gpios: frozenset[int]  # wired to the flash
    flash_vendor: int  # JEDEC manufacturer of the flash that modules with this chip carry
    strapping_gpios: frozenset[int]
    boot_gpio: int  # low at reset: download mode
    usb_serial: bool  # whether it has a USB port of its own with a serial line

    def boot_log(self, cause: str) -> bytes:
        """Return what the ROM prints first when it is to boot from flash."""
        return self._banner(cause, self.flash_boot)

    def download_log(self, cause: str) -> bytes:
        """Return what the ROM prints when it goes into download mode."""
        return self._banner(cause, self.download_boot) + b"waiting for download\r\n"

    def _banner(self, cause: str, mode: BootMode) -> bytes:
        reason = self.reset_reasons[cause]
        text = (
            f"{self.rom_version}"
            f"rst:{reason.code:#x} ({reason.name}),boot:{mode.code:#x} ({mode.name})\r\n"
        )
        if reason.saved_pc is not None:
            text += f"Saved PC:{reason.saved_pc:#010x}\r\n"
        return text.encode("ascii")


def _reasons(rom_pc: int, interrupted_pc: int) -> dict[str, ResetReason]:
    """Build the table of the RISC-V and S3 ROMs, which share names and codes."""
    software = ResetReason(0xC, "RTC_SW_CPU_RST", interrupted_pc)
    return {
        "poweron": ResetReason(0x1, "POWERON"),
        "ext": ResetReason(0x1, "POWERON"),
        "sw": software,
        "task_wdt": software,  # ESP-IDF's task watchdog panics, a panic ends in a restart
        "panic": software,
        "rtc_wdt": ResetReason(0x10, "RTCWDT_RTC_RST"),
        "tg0_wdt": ResetReason(0x7, "TG0WDT_SYS_RST", rom_pc),
        "deepsleep": ResetReason(0x5, "DSLEEP"),
        "sw_sys": ResetReason(0x3, "RTC_SW_SYS_RST", interrupted_pc),
        "brownout": ResetReason(0x3, "RTC_SW_SYS_RST", interrupted_pc),
    }


_ESP32_RESTART = ResetReason(0xC, "SW_CPU_RESET")

_ESP32 = Chip(
    id="esp32",
    name="ESP32",
    image_chip_id=0,
    revision=301,
    bootloader_offset=0x1000,
    crystal_mhz=40,
    cores=2,
    security_api=0,
    heap_size=165_248,
    rom_version="ets Jul 29 2019 12:21:46\r\n\r\n",
    reset_reasons={
        "poweron": ResetReason(0x1, "POWERON_RESET"),
        "ext": ResetReason(0x1, "POWERON_RESET"),
        "sw": _ESP32_RESTART,
        "task_wdt": _ESP32_RESTART,
        "panic": _ESP32_RESTART,
        "rtc_wdt": ResetReason(0x10, "RTCWDT_RTC_RESET"),
        "tg0_wdt": ResetReason(0x7, "TG0WDT_SYS_RESET"),
        "deepsleep": ResetReason(0x5, "DEEPSLEEP_RESET"),
        "sw_sys": ResetReason(0x3, "SW_RESET"),  # the second stage gives up
        "brownout": _ESP32_RESTART,  # the brownout interrupt ends in a restart
    },
    flash_boot=BootMode(0x13, "SPI_FAST_FLASH_BOOT"),
    download_boot=BootMode(0x3, "DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2)"),
    spi_log=(
        "configsip: 0, SPIWP:0xee\r\n"
        "clk_drv:0x00,q_drv:0x00,d_drv:0x00,cs0_drv:0x00,hd_drv:0x00,wp_drv:0x00\r\n"
    ),
    loop_cause="rtc_wdt",
    gpios=frozenset((*range(24), *range(25, 28), *range(32, 40))),
    input_only=frozenset(range(34, 40)),
    flash_gpios=frozenset(range(6, 12)),
    flash_vendor=0xEF,  # Winbond
    strapping_gpios=frozenset((0, 2, 5, 12, 15)),
    boot_gpio=0,
    usb_serial=False,
)

_ESP32S3 = Chip(
    id="esp32s3",
    name="ESP32-S3",
    image_chip_id=9,
    revision=2,
    bootloader_offset=0x0,
    crystal_mhz=40,
    cores=2,
    security_api=0,
    heap_size=200_000,
    rom_version="ESP-ROM:esp32s3-20210327\r\nBuild:Mar 27 2021\r\n",
    reset_reasons=_reasons(0x40048836, 0x40378B6E),
    flash_boot=BootMode(0x8, "SPI_FAST_FLASH_BOOT"),
    download_boot=BootMode(0x0, "DOWNLOAD(USB/UART0)"),
    spi_log="SPIWP:0xee\r\n",
    loop_cause="tg0_wdt",
    gpios=frozenset((*range(22), 26, *range(33, 49))),
    input_only=frozenset(),
    flash_gpios=frozenset(range(26, 33)),
    flash_vendor=0xEF,
    strapping_gpios=frozenset((0, 3, 45, 46)),
    boot_gpio=0,
    usb_serial=True,
)

_ESP32C3 = Chip(
    id="esp32c3",
    name="ESP32-C3",
    image_chip_id=5,
    revision=4,
    bootloader_offset=0x0,
    crystal_mhz=40,
    cores=1,
    security_api=3,
    heap_size=203_264,
    rom_version="ESP-ROM:esp32c3-api1-20210207\r\nBuild:Feb  7 2021\r\n",
    reset_reasons=_reasons(0x4004C0DC, 0x40380834),
    flash_boot=BootMode(0xC, "SPI_FAST_FLASH_BOOT"),
    download_boot=BootMode(0x4, "DOWNLOAD(USB/UART0/1)"),
    spi_log="SPIWP:0xee\r\n",
    loop_cause="tg0_wdt",
    gpios=frozenset((*range(14), 20, 21)),
    input_only=frozenset(),
    flash_gpios=frozenset(range(12, 18)),
    flash_vendor=0x20,  # XMC, in the package
    strapping_gpios=frozenset((2, 8, 9)),
    boot_gpio=9,
    usb_serial=True,
)

CHIPS: Mapping[str, Chip] = {chip.id: chip for chip in (_ESP32, _ESP32S3, _ESP32C3)}
