"""The ROM's part of booting: it loads the second stage, or loops until a watchdog ends it.

Sources: recorded logs of ESP32 (ROM of July 2019), ESP32-S3 and ESP32-C3.
"""

from dataclasses import dataclass

from citynode.image import esp_image
from citynode.image.esp_image import Header, ImageError, Segment
from citynode.virtual.soc.addresses import ADDRESSES, within
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.flash import NorFlash

_MODES = ("QIO", "QOUT", "DIO", "DOUT", "FAST READ", "SLOW READ")
_CLOCK_DIVIDERS = {80: 1, 40: 2, 26: 3, 20: 4}


@dataclass(frozen=True)
class _Rom:
    tries: int  # how often it looks for a header before the watchdog bites
    round_ms: int  # from one reset by the watchdog to the next
    checksum: str
    give_up: str


_ROMS = {
    "esp32": _Rom(8, 400, "csum err:{expected:#x}!={found:#x}", "ets_main.c 384 "),
    "esp32s3": _Rom(
        18, 640, "Checksum failure. Calculated {expected:#x} stored {found:#x}", "ets_main.c 329 "
    ),
    "esp32c3": _Rom(
        18, 640, "Checksum failure. Calculated {expected:#x} stored {found:#x}", "ets_main.c 333 "
    ),
}


@dataclass(frozen=True)
class SecondStage:
    """What the ROM printed, and the header of the second stage; None: it loops, for `round_ms`."""

    lines: tuple[str, ...]
    header: Header | None
    round_ms: int = 0


def load_second_stage(flash: NorFlash, chip: Chip) -> SecondStage:
    """Do what the ROM does: header, segments, checksum; a wrong SHA-256 it reports at most."""
    base = chip.bootloader_offset
    rom = _ROMS[chip.id]

    def read(at: int, size: int) -> bytes:
        return flash.read(base + at, size)

    try:
        header = esp_image.decode_header(read(0, esp_image.HEADER_SIZE))
    except ImageError:
        word = int.from_bytes(read(0, 4), "little")
        return SecondStage((f"invalid header: {word:#010x}",) * rom.tries, None, rom.round_ms)
    mode = _MODES[header.flash_mode] if header.flash_mode < len(_MODES) else _MODES[0]
    divider = _CLOCK_DIVIDERS[header.flash_mhz]
    lines = [*chip.spi_log.splitlines(), f"mode:{mode}, clock div:{divider}"]
    stopped: ImageError | None = None
    try:
        segments = esp_image.decode(read, flash.size - base).segments
    except ImageError as error:
        stopped, segments = error, error.segments
    ram = ADDRESSES[chip.id].ram
    for number, segment in enumerate(segments):
        if not within(ram, segment.address, len(segment.data)):
            # Storing there traps the CPU: an app where the second stage belongs, for one.
            lines += _loads(chip, segments[: number + 1], stopped)
            return SecondStage(tuple(lines), None, rom.round_ms)
    lines += _loads(chip, segments, stopped)
    entry = f"entry {header.entry:#010x}"
    if stopped is None or stopped.reason == ImageError.HASH:
        if stopped is not None and chip.id != "esp32":
            lines += _hash_lines(stopped)
        lines.append(entry)
        # Another chip's code ends in a trap, and the watchdog takes over.
        runs = header.chip_id == chip.image_chip_id
        return SecondStage(tuple(lines), header if runs else None, rom.round_ms)
    if stopped.reason == ImageError.CHECKSUM:
        text = rom.checksum.format(found=stopped.found, expected=stopped.expected)
        lines += [text, rom.give_up]
    return SecondStage(tuple(lines), None, rom.round_ms)


def _loads(chip: Chip, segments: tuple[Segment, ...], error: ImageError | None = None) -> list[str]:
    """Return the line of each segment; the ESP32's ROM also tells of a header across two blocks."""
    unread = error if error is not None and error.reason == ImageError.LENGTH else None
    lines = []
    for number, segment in enumerate(segments):
        size = len(segment.data)
        last = number + 1 == len(segments)
        if unread is not None and segment is unread.segments[-1]:
            size = unread.found
        if chip.id != "esp32":
            lines.append(f"load:{segment.address:#010x},len:{size:#x}")
            continue
        signed = size - (1 << 32) if size >> 31 else size
        lines.append(f"load:{segment.address:#010x},len:{signed}")
        # It reads blocks of 16 bytes; the next header takes 8.
        if not last and (segment.offset + size) % 16 == 12:
            head, tail = (0, 12) if size else (12, 0)
            lines.append(f"ho {head} tail {tail} room 4")
    return lines


def _hash_lines(error: ImageError) -> tuple[str, ...]:
    calculated, stored = error.digests
    return (
        "SHA-256 comparison failed:",
        f"Calculated: {calculated.hex()}",
        f"Expected: {stored.hex()}",
        "Attempting to boot anyway...",
    )
