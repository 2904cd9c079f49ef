"""The chips' data against what boards print and tools expect."""

import pytest
from citynode.virtual.soc.chip import CHIPS
from esptool.targets import CHIP_DEFS

CAUSES = {"poweron", "ext", "sw", "rtc_wdt", "task_wdt", "panic", "deepsleep", "brownout"}


@pytest.mark.parametrize("chip", CHIPS.values(), ids=lambda chip: chip.id)
def test_identity_agrees_with_esptool(chip):
    target = CHIP_DEFS[chip.id]
    assert chip.name == target.CHIP_NAME
    assert chip.image_chip_id == target.IMAGE_CHIP_ID
    assert chip.bootloader_offset == target.BOOTLOADER_FLASH_OFFSET


@pytest.mark.parametrize("chip", CHIPS.values(), ids=lambda chip: chip.id)
def test_every_cause_of_a_reset_has_its_message(chip):
    for cause in CAUSES | {chip.loop_cause}:
        log = chip.boot_log(cause)
        assert b"SPI_FAST_FLASH_BOOT)\r\n" in log
        assert chip.download_log(cause).endswith(b"waiting for download\r\n")
        assert b"\n" not in log.replace(b"\r\n", b"")
    assert chip.boot_gpio in chip.strapping_gpios <= chip.gpios
    assert chip.input_only <= chip.gpios


@pytest.mark.parametrize(
    ("chip", "cause", "log"),
    [
        (
            "esp32",
            "rtc_wdt",
            "ets Jul 29 2019 12:21:46\r\n\r\n"
            "rst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
        ),
        (
            "esp32s3",
            "tg0_wdt",
            "ESP-ROM:esp32s3-20210327\r\nBuild:Mar 27 2021\r\n"
            "rst:0x7 (TG0WDT_SYS_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)\r\n"
            "Saved PC:0x40048836\r\n",
        ),
        (
            "esp32c3",
            "ext",
            "ESP-ROM:esp32c3-api1-20210207\r\nBuild:Feb  7 2021\r\n"
            "rst:0x1 (POWERON),boot:0xc (SPI_FAST_FLASH_BOOT)\r\n",
        ),
    ],
)
def test_messages_are_those_of_boards(chip, cause, log):
    assert CHIPS[chip].boot_log(cause) == log.encode()


def test_download_message_is_that_of_a_board():
    assert CHIPS["esp32"].download_log("ext") == (
        b"ets Jul 29 2019 12:21:46\r\n\r\n"
        b"rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\n"
        b"waiting for download\r\n"
    )
