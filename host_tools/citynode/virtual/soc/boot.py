"""The boot chain: what ROM and second stage check, what they print, and what they find to run.

MicroPython's builds let the second stage print warnings and errors only, so a good boot prints the
ROM's lines alone. Source of the checks: ESP-IDF Programming Guide, "Application Startup Flow" and
"Bootloader"; the texts are those of the second stage.
"""

import zlib
from dataclasses import dataclass

from citynode.image import esp_image, micropython, partitions
from citynode.image.esp_image import Image, ImageError
from citynode.image.micropython import MicroPython
from citynode.image.partitions import (
    APP_FACTORY,
    APP_OTA_0,
    APP_TEST,
    DATA_OTA,
    TABLE_OFFSET,
    TYPE_APP,
    TYPE_DATA,
    Partition,
    PartitionError,
)
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.romboot import load_second_stage

_LOADER_ROUND_MS = 60  # the second stage gives up at once and restarts the chip
_TABLE_MS = 31  # what its clock shows when it has read the partition table
_APP_MS = 64  # … and when it looks at the app
_STARTED_MS = 270  # … and when the app's start-up code runs
_OTA_SLOTS = 16
_OTA_INVALID, _OTA_ABORTED = 3, 4  # esp_ota_img_states_t


@dataclass(frozen=True)
class AppImage:
    """The app that boots.

    `version` and `built` are MicroPython's, `machine` is what it calls the board ("" if it does
    not say); `flash_size` is what the app takes the flash to have, in bytes.
    """

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
    """What the chip printed, and the app, or when (ms) it resets to try again (None: never).

    `retry_cause` is the reset that ends the attempt, the ROM's watchdog if it is None.
    """

    log: bytes
    app: AppImage | None
    retry_ms: int | None = None
    retry_cause: str | None = None


class _FailedError(Exception):
    """The second stage or the app's start-up stops; `lines` say why."""

    def __init__(self, *lines: str, cause: str | None = "sw_sys") -> None:
        super().__init__(lines)
        self.lines = lines
        self.cause = cause


def boot(flash: NorFlash, chip: Chip, reset_cause: str) -> BootResult:
    """Boot from flash after a reset; the log has the chip's own line ends."""
    stage = load_second_stage(flash, chip)
    log = chip.boot_log(reset_cause) + _text(stage.lines)
    if stage.header is None:
        return BootResult(log, None, stage.round_ms)
    try:
        return BootResult(log, _load_app(flash, chip, stage.header.flash_size))
    except _FailedError as error:
        retry_ms = None if error.cause is None else _LOADER_ROUND_MS
        return BootResult(log + _text(error.lines), None, retry_ms, error.cause)


def _load_app(flash: NorFlash, chip: Chip, header_size: int) -> AppImage:
    """Do what the second stage does: table, choice of the app, its checks."""
    try:
        raw = _read(flash, TABLE_OFFSET, partitions.TABLE_SIZE)
        table = partitions.parse_table(raw, header_size)
    except PartitionError as error:
        raise _FailedError(
            _error("flash_parts", error.what, _TABLE_MS),
            _error("boot", "Failed to verify partition table", _TABLE_MS),
            _error("boot", "load partition table error!", _TABLE_MS),
        ) from error
    lines: list[str] = []
    for candidate in _boot_order(flash, table, lines):
        try:
            image = _verify(flash, chip, candidate)
        except _FailedError as error:
            lines += error.lines
            if candidate.subtype != APP_TEST:
                lines.append(_error("boot", f"{_name(candidate)} is not bootable"))
            continue
        return _start(flash, image, table, candidate, header_size)
    raise _FailedError(*lines, _error("boot", "No bootable app partitions in the partition table"))


def _boot_order(flash: NorFlash, table: tuple[Partition, ...], lines: list[str]) -> list[Partition]:
    """Return the app partitions in the order in which the second stage tries them.

    From the chosen slot down to the factory app, then the slots above, at last the test app.
    """
    apps = [each for each in table if each.type == TYPE_APP]
    slots = sorted(
        (each for each in apps if APP_OTA_0 <= each.subtype < APP_OTA_0 + _OTA_SLOTS),
        key=lambda each: each.subtype,
    )
    factory = [each for each in apps if each.subtype == APP_FACTORY][-1:]
    test = [each for each in apps if each.subtype == APP_TEST][-1:]
    data = partitions.find(table, type=TYPE_DATA, subtype=DATA_OTA)
    chosen = -1  # the factory app
    if data is not None and slots:
        chosen = _chosen_slot(flash, data, len(slots), bool(factory), lines)
    return [*slots[: chosen + 1][::-1], *factory, *slots[chosen + 1 :], *test]


def _chosen_slot(
    flash: NorFlash, data: Partition, slots: int, has_factory: bool, lines: list[str]
) -> int:
    """Return the slot that the OTA data select, -1 for the factory app."""
    best = 0
    blank = True
    for sector in range(2):
        raw = _read(flash, data.offset + sector * partitions.SECTOR_SIZE, 32)
        sequence, state = (int.from_bytes(raw[at : at + 4], "little") for at in (0, 24))
        refused = state in (_OTA_INVALID, _OTA_ABORTED)
        blank = blank and (sequence == 0xFFFFFFFF or refused)
        stored = int.from_bytes(raw[28:], "little")
        if sequence != 0xFFFFFFFF and not refused and zlib.crc32(raw[:4], 0xFFFFFFFF) == stored:
            best = max(best, sequence)
    if best:
        return (best - 1) % slots
    if blank:
        return -1 if has_factory else 0
    text = "falling back to factory" if has_factory else "will try all partitions"
    joint = "," if has_factory else " and no factory,"
    lines.append(_error("boot", f"ota data partition invalid{joint} {text}"))
    return -1


def _verify(flash: NorFlash, chip: Chip, app: Partition) -> Image:
    """Check an app as the second stage does before it loads it."""

    def read(at: int, size: int) -> bytes:
        return _read(flash, app.offset + at, size)

    try:
        header = esp_image.decode_header(read(0, esp_image.HEADER_SIZE))
        if header.chip_id != chip.image_chip_id:
            text = f"mismatch chip ID, expected {chip.image_chip_id}, found {header.chip_id}"
            raise _FailedError(_error("boot_comm", text))
        image = esp_image.decode(read, max(0, flash.size - app.offset))
    except ImageError as error:
        raise _FailedError(_error("esp_image", _image_text(error, app))) from error
    if image.size > app.size:
        text = f"Image length {image.size} doesn't fit in partition length {app.size}"
        raise _FailedError(_error("esp_image", text))
    return image


def _image_text(error: ImageError, app: Partition) -> str:
    if error.reason == ImageError.MAGIC:
        return f"image at {app.offset:#x} has invalid magic byte (nothing flashed here?)"
    if error.reason == ImageError.CHECKSUM:
        return f"Checksum failed. Calculated {error.expected:#x} read {error.found:#x}"
    if error.reason == ImageError.HASH:
        return "Image hash failed - image is corrupt"
    if error.reason == ImageError.SEGMENTS and error.found:
        return f"image at {app.offset:#x} segment count {error.found} exceeds max {error.expected}"
    return f"invalid segment length {error.found:#x}"


def _name(app: Partition) -> str:
    if app.subtype == APP_FACTORY:
        return "Factory app partition"
    return f"OTA app partition slot {app.subtype - APP_OTA_0}"


def _start(
    flash: NorFlash,
    image: Image,
    table: tuple[Partition, ...],
    running: Partition,
    header_size: int,
) -> AppImage:
    """Do the first steps of the app: it probes the flash, and tells who it is."""
    if header_size > flash.size:
        text = (
            f"Detected size({flash.size >> 10}k) smaller than the size in the binary image "
            f"header({header_size >> 10}k). Probe failed."
        )
        raise _FailedError(
            _error("spi_flash", text, _STARTED_MS),
            "",
            "assert failed: do_core_init startup.c:328 (flash_ret == ESP_OK)",
            "",
            "Rebooting...",
            cause="sw",
        )
    found = micropython.identify(image)
    descriptor = image.descriptor
    if found is None:
        name = descriptor.project if descriptor is not None and descriptor.project else "no name"
        text = f"the app ({name}) is not MicroPython: a virtual board cannot run it"
        raise _FailedError(_error("virtual", text, _STARTED_MS), cause=None)
    return AppImage(
        version=found.version,
        project=descriptor.project if descriptor is not None else "",
        built=found.built,
        idf_version=descriptor.idf_version if descriptor is not None else "",
        partitions=table,
        running=running,
        flash_size=flash_size(found, header_size, flash.size),
        machine=found.machine,
    )


def flash_size(app: MicroPython, header_size: int, physical_size: int) -> int:
    """Return what the app takes as the size of the flash: newer ones ask the chip."""
    return physical_size if app.numbers >= micropython.RUNTIME_VFS else header_size


def _read(flash: NorFlash, address: int, size: int) -> bytes:
    """Read as the chip answers: above its size the addresses begin again at 0."""
    data = b""
    while len(data) < size:
        at = (address + len(data)) % flash.size
        data += flash.read(at, min(size - len(data), flash.size - at))
    return data


def _error(tag: str, text: str, ms: int = _APP_MS) -> str:
    return f"E ({ms}) {tag}: {text}"


def _text(lines: tuple[str, ...]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()
