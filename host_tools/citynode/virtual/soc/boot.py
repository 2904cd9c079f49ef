"""The boot chain: what ROM and second stage check, what they print, and what they find to run.

MicroPython's builds set the bootloader's log level to errors, so a good boot prints the ROM's lines
alone. Source of the checks: ESP-IDF Programming Guide, "Application Startup Flow" and "Bootloader".
"""

import re
from dataclasses import dataclass

from citynode.image import esp_image, partitions
from citynode.image.esp_image import Image, ImageError
from citynode.image.partitions import (
    APP_FACTORY,
    APP_OTA_0,
    DATA_OTA,
    TABLE_OFFSET,
    TYPE_APP,
    TYPE_DATA,
    Partition,
    PartitionError,
)
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.flash import NorFlash

_ROM_TRIES = 8
_ROM_ROUND_MS = 400  # until the watchdog that the ROM has set ends the search
_LOADER_ROUND_MS = 60  # the second stage gives up at once and restarts
_LOADER_MS = 31  # what its clock shows when it reads the partition table
_BANNER = re.compile(rb"MicroPython (v\S{1,40}) on (\d{4}-\d\d-\d\d); ([\x20-\x7e]{1,100})")


@dataclass(frozen=True)
class AppImage:
    """The app that boots. `machine` is what its MicroPython calls the board, "" if it does not."""

    version: str
    project: str
    built: str
    idf_version: str
    partitions: tuple[Partition, ...]
    running: Partition
    flash_size: int
    machine: str = ""


@dataclass(frozen=True)
class BootResult:
    """What the chip printed, and the app, or when (ms) it resets to try again (None: never)."""

    log: bytes
    app: AppImage | None
    retry_ms: int | None = None


class _FailedError(Exception):
    def __init__(self, *lines: str, retry_ms: int | None = _LOADER_ROUND_MS) -> None:
        super().__init__(lines)
        self.lines = lines
        self.retry_ms = retry_ms


def boot(flash: NorFlash, chip: Chip, reset_cause: str) -> BootResult:
    """Boot from flash after a reset; the log has the chip's own line ends."""
    log = chip.boot_log(reset_cause)
    try:
        loader = _load_second_stage(flash, chip)
        log += _load_log(chip, loader)
        return BootResult(log, _load_app(flash, chip, loader.header.flash_size))
    except _FailedError as error:
        log += "".join(f"{line}\r\n" for line in error.lines).encode()
        return BootResult(log, None, error.retry_ms)


def _load_second_stage(flash: NorFlash, chip: Chip) -> Image:
    """Do what the ROM does: header, segments, checksum; the SHA-256 it does not look at."""
    base = chip.bootloader_offset
    try:
        return esp_image.decode(lambda at, size: flash.read(base + at, size), TABLE_OFFSET - base)
    except ImageError as error:
        word = int.from_bytes(flash.read(base, 4), "little")
        if error.reason == ImageError.CHECKSUM:
            text = f"csum err:{error.found:#x}!={error.expected:#x}"
            raise _FailedError(text, "ets_main.c 384 ", retry_ms=_ROM_ROUND_MS) from error
        if error.reason == ImageError.HASH:
            # Only the second stage verifies hashes, and its own it takes for granted.
            header = esp_image.decode_header(flash.read(base, esp_image.HEADER_SIZE))
            return esp_image.decode(
                lambda at, size: flash.read(base + at, size),
                TABLE_OFFSET - base,
                header=esp_image.Header(**{**vars(header), "hashed": False}),
            )
        lines = [f"invalid header: {word:#010x}"] * _ROM_TRIES
        raise _FailedError(*lines, retry_ms=_ROM_ROUND_MS) from error


def _load_log(chip: Chip, loader: Image) -> bytes:
    header = loader.header
    mode = esp_image.FLASH_MODES[header.flash_mode] if header.flash_mode < 4 else "DIO"
    lines = [f"mode:{mode}, clock div:{80 // header.flash_mhz}"]
    for segment in loader.segments:
        size = len(segment.data)
        length = f"{size}" if chip.id == "esp32" else f"{size:#x}"
        lines.append(f"load:{segment.address:#010x},len:{length}")
    lines.append(f"entry {header.entry:#010x}")
    return (chip.spi_log + "".join(f"{line}\r\n" for line in lines)).encode()


def _load_app(flash: NorFlash, chip: Chip, flash_size: int) -> AppImage:
    """Do what the second stage does: table, choice of the app, its checks."""
    try:
        table = partitions.parse_table(flash.read(TABLE_OFFSET, partitions.TABLE_SIZE), flash_size)
    except PartitionError as error:
        raise _FailedError(
            _line("flash_parts", error.what),
            _line("boot", "Failed to verify partition table"),
            _line("boot", "load partition table error!"),
        ) from error
    lines: list[str] = []
    for candidate in _boot_order(flash, table):
        image, failed = _verify(flash, chip, candidate)
        lines += failed
        if image is not None:
            _check_flash_size(flash, flash_size, lines)
            return _describe(image, table, candidate, flash_size)
    text = "No bootable app partitions in the partition table"
    raise _FailedError(*lines, _line("boot", text))


def _boot_order(flash: NorFlash, table: tuple[Partition, ...]) -> list[Partition]:
    """Return the app partitions in the order in which the second stage tries them."""
    slots = sorted(
        (
            each
            for each in table
            if each.type == TYPE_APP and APP_OTA_0 <= each.subtype < APP_OTA_0 + 16
        ),
        key=lambda each: each.subtype,
    )
    factory = [each for each in table if each.type == TYPE_APP and each.subtype == APP_FACTORY]
    data = next(
        (each for each in table if each.type == TYPE_DATA and each.subtype == DATA_OTA), None
    )
    chosen = _selected(flash, data, len(slots)) if data is not None and slots else None
    if chosen is None:
        return factory + slots
    rotated = slots[chosen::-1] + slots[:chosen:-1]
    return rotated + factory


def _selected(flash: NorFlash, data: Partition, slots: int) -> int | None:
    """Return the slot that the valid OTA entry with the highest sequence selects."""
    best = 0
    for sector in range(2):
        raw = flash.read(data.offset + sector * partitions.SECTOR_SIZE, 32)
        sequence = int.from_bytes(raw[:4], "little")
        if sequence != 0xFFFFFFFF and _crc32_le(raw[:4]) == int.from_bytes(raw[28:], "little"):
            best = max(best, sequence)
    return (best - 1) % slots if best else None


def _crc32_le(data: bytes) -> int:
    """Return the ROM's CRC-32 with the start value 0xFFFFFFFF, as `esp_ota_select_entry_t` has."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _verify(flash: NorFlash, chip: Chip, app: Partition) -> tuple[Image | None, list[str]]:
    def read(at: int, size: int) -> bytes:
        return flash.read(app.offset + at, size)

    limit = max(0, min(app.size, flash.size - app.offset))
    name = (
        "Factory app partition"
        if app.subtype == APP_FACTORY
        else (f"OTA app partition slot {app.subtype - APP_OTA_0}")
    )
    unusable = _line("boot", f"{name} is not bootable")
    try:
        image = esp_image.decode(read, limit)
    except ImageError as error:
        return None, [_line("esp_image", _image_text(error, app.offset)), unusable]
    if image.header.chip_id != chip.image_chip_id:
        text = f"mismatch chip ID, expected {chip.image_chip_id}, found {image.header.chip_id}"
        return None, [_line("boot_comm", text), unusable]
    return image, []


def _image_text(error: ImageError, offset: int) -> str:
    if error.reason == ImageError.MAGIC:
        return f"image at {offset:#x} has invalid magic byte (nothing flashed here?)"
    if error.reason == ImageError.CHECKSUM:
        return f"Checksum failed. Calculated {error.expected:#x} read {error.found:#x}"
    if error.reason == ImageError.HASH:
        return "Image hash failed - image is corrupt"
    if error.reason == ImageError.SEGMENTS:
        return f"image at {offset:#x} segment count {error.found} exceeds max {error.expected}"
    return f"invalid segment length {error.found:#x}"


def _check_flash_size(flash: NorFlash, flash_size: int, lines: list[str]) -> None:
    """Do the app's first check: a flash smaller than the header says stops it."""
    if flash_size > flash.size:
        text = (
            f"Detected size({flash.size >> 10}k) smaller than the size in the binary image "
            f"header({flash_size >> 10}k). Probe failed."
        )
        raise _FailedError(
            *lines,
            _line("spi_flash", text, 270),
            "assert failed: do_core_init startup.c:328 (flash_ret == ESP_OK)",
            "",
            "Rebooting...",
        )


def _describe(
    image: Image, table: tuple[Partition, ...], running: Partition, flash_size: int
) -> AppImage:
    descriptor = image.descriptor
    banner = None
    for segment in image.segments:
        banner = banner or _BANNER.search(segment.data)
    if banner is None:
        name = descriptor.project if descriptor is not None else "without a descriptor"
        raise _FailedError(
            _line("virtual", f"the app ({name}) is not MicroPython: nothing here can run it"),
            retry_ms=None,
        )
    return AppImage(
        version=banner[1].decode(),
        project=descriptor.project if descriptor is not None else "",
        built=banner[2].decode(),
        idf_version=descriptor.idf_version if descriptor is not None else "",
        partitions=table,
        running=running,
        flash_size=flash_size,
        machine=banner[3].decode().rstrip(),
    )


def _line(tag: str, text: str, ms: int = _LOADER_MS) -> str:
    return f"E ({ms}) {tag}: {text}"
