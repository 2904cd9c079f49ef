"""The boot chain: what ROM and second stage check, what they print, and what they find to run.

MicroPython's builds let the second stage print warnings and errors only, so a good boot prints the
ROM's lines alone. Source of the checks: ESP-IDF Programming Guide, "Application Startup Flow" and
"Bootloader"; the texts are those of the second stage.
"""

from array import array
from dataclasses import dataclass, replace

from citynode.image import esp_image, micropython, partitions
from citynode.image.esp_image import Header, Image, ImageError
from citynode.image.micropython import MicroPython
from citynode.image.partitions import (
    DATA_OTA,
    TABLE_OFFSET,
    TYPE_APP,
    Partition,
    PartitionError,
)
from citynode.virtual.soc.addresses import ADDRESSES, within
from citynode.virtual.soc.bootslots import AppSlots, OtaDataError
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.flash import SECTOR_SIZE, NorFlash
from citynode.virtual.soc.romboot import load_second_stage

_LOADER_ROUND_MS = 60  # the second stage gives up at once and restarts the chip
_REVISION_MS = 28  # what its clock shows when it looks at its own header
_TABLE_MS = 31  # … when it has read the partition table
_APP_MS = 64  # … and when it looks at the app
_STARTED_MS = 270  # … and when the app's start-up code runs
_LARGEST_APP = 16 << 20
_MMU_PAGE = 0x10000
_NOT_LOADED = 0x1000_0000  # segments below are padding
_NO_LIMIT = (0, 0xFFFF)


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


class BootChain:
    """The boot chain of one board, with what it remembers through a deep sleep.

    MicroPython's builds boot again what slept, unchecked and whatever has been selected since
    (`BOOTLOADER_SKIP_VALIDATE_IN_DEEP_SLEEP`).
    """

    def __init__(self, flash: NorFlash, chip: Chip) -> None:
        self._flash = flash
        self._chip = chip
        self._slept: Partition | None = None
        self._woken: tuple[array[int], Partition, BootResult] | None = None

    def __call__(self, reset_cause: str) -> BootResult:
        """Boot after a reset."""
        if reset_cause == "deepsleep" and self._slept is not None:
            result = self._again(self._slept)
        else:
            result = boot(self._flash, self._chip, reset_cause)
        self._slept = result.app.running if result.app is not None else None
        return result

    def _again(self, app: Partition) -> BootResult:
        """Boot what slept, from what is known of it if nothing of the flash was written since."""
        flash = self._flash
        if self._woken is not None and flash.hook is None:
            changes, before, result = self._woken
            if before == app and changes == flash.changes[: len(changes)]:
                return result
        result = boot(flash, self._chip, "deepsleep", app)
        if result.app is not None:
            end = max(each.end for each in (app, *result.app.partitions) if _is_read(each))
            self._woken = flash.changes[: -(-end // SECTOR_SIZE)], app, result
        return result


def _is_read(partition: Partition) -> bool:
    """Tell whether the boot chain reads a partition; what is before them it may read too."""
    return partition.type == TYPE_APP or partition.subtype == DATA_OTA


def boot(
    flash: NorFlash, chip: Chip, reset_cause: str, again: Partition | None = None
) -> BootResult:
    """Boot from flash after a reset; the log has the chip's own line ends.

    `again` is the app to boot without a check. The second stage may write the OTA data.
    """
    stage = load_second_stage(flash, chip)
    log = chip.boot_log(reset_cause) + _text(stage.lines)
    if stage.header is None:
        return BootResult(log, None, stage.round_ms)
    lines: list[str] = []
    try:
        app = _load_app(flash, chip, stage.header, again, lines)
        return BootResult(log + _text(lines), app)
    except _FailedError as error:
        retry_ms = None if error.cause is None else _LOADER_ROUND_MS
        return BootResult(log + _text([*lines, *error.lines]), None, retry_ms, error.cause)


def _load_app(
    flash: NorFlash, chip: Chip, header: Header, again: Partition | None, lines: list[str]
) -> AppImage:
    """Do what the second stage does: table, choice of the app, its checks."""
    _check_revision(chip, replace(header, max_revision=0), _REVISION_MS)
    try:
        raw = read_wrapped(flash, TABLE_OFFSET, partitions.TABLE_SIZE)
        table = partitions.parse_table(raw, header.flash_size)
    except PartitionError as error:
        raise _FailedError(
            _error("flash_parts", error.what, _TABLE_MS),
            _error("boot", "Failed to verify partition table", _TABLE_MS),
            _error("boot", "load partition table error!", _TABLE_MS),
        ) from error
    if again is not None:
        return _start(flash, _unchecked(flash, again), table, again, header.flash_size)
    slots = AppSlots(flash, table)
    try:
        complaint = slots.choose()
    except OtaDataError as error:
        raise _FailedError(_error("boot", str(error))) from error
    if complaint:
        lines.append(_error("boot", complaint))
    for candidate in slots.order():
        try:
            image = _verify(flash, chip, candidate)
        except _FailedError as error:
            lines += error.lines
            if not slots.is_test(candidate):
                lines.append(_error("boot", f"{slots.name(candidate)} is not bootable"))
            continue
        if slots.is_test(candidate):
            lines.append(f"W ({_APP_MS}) boot: Falling back to test app as only bootable partition")
        else:
            slots.booted(candidate)
        return _start(flash, image, table, candidate, header.flash_size)
    raise _FailedError(_error("boot", "No bootable app partitions in the partition table"))


def _check_revision(chip: Chip, header: Header, ms: int = _APP_MS) -> None:
    """Refuse an image that was built for later (or, with a maximum, earlier) chips."""
    found = _revision(chip.revision)
    for relation, limit, bad in (
        (">=", header.min_revision, chip.revision < header.min_revision),
        (
            "<=",
            header.max_revision,
            header.max_revision not in _NO_LIMIT and chip.revision > header.max_revision,
        ),
    ):
        if bad:
            text = f"Image requires chip rev {relation} {_revision(limit)}, but chip is {found}"
            raise _FailedError(_error("boot_comm", text, ms))


def _revision(number: int) -> str:
    return f"v{number // 100}.{number % 100}"


def _verify(flash: NorFlash, chip: Chip, app: Partition) -> Image:
    """Check an app as the second stage does before it loads it."""
    memory = ADDRESSES[chip.id]

    def read(at: int, size: int) -> bytes:
        return read_wrapped(flash, app.offset + at, size)

    def check_segment(number: int, address: int, length: int, at: int) -> None:
        if within(memory.mapped, address):
            if (app.offset + at - address) % _MMU_PAGE:
                text = f"Segment {number} load address {address:#010x}, doesn't match data "
                raise _FailedError(_error("esp_image", text + f"{app.offset + at:#010x}"))
        elif address >= _NOT_LOADED and length and not within(memory.ram, address, length):
            place = f"Segment {number} {address:#010x}-{address + length:#010x}"
            raise _FailedError(_error("esp_image", f"{place} invalid: bad load address range"))

    if app.size > _LARGEST_APP:
        text = f"partition size {app.size:#x} invalid, larger than 16MB"
        raise _FailedError(_error("esp_image", text))
    try:
        header = esp_image.decode_header(read(0, esp_image.HEADER_SIZE))
        if header.chip_id != chip.image_chip_id:
            text = f"mismatch chip ID, expected {chip.image_chip_id}, found {header.chip_id}"
            raise _FailedError(_error("boot_comm", text))
        _check_revision(chip, header)
        limit = max(0, flash.size - app.offset)
        return esp_image.decode(read, limit, room=app.size, check_segment=check_segment)
    except ImageError as error:
        raise _FailedError(_error("esp_image", _image_text(error, app))) from error


def _unchecked(flash: NorFlash, app: Partition) -> Image:
    """Read an app as far as it goes: nothing is compared."""

    def read(at: int, size: int) -> bytes:
        return read_wrapped(flash, app.offset + at, size)

    try:
        return esp_image.decode(read, max(0, flash.size - app.offset))
    except ImageError as error:
        header = Header(len(error.segments), 0)
        return Image(header, error.segments, 0, esp_image.descriptor_of(error.segments))


def _image_text(error: ImageError, app: Partition) -> str:
    if error.reason == ImageError.MAGIC:
        return f"image at {app.offset:#x} has invalid magic byte (nothing flashed here?)"
    if error.reason == ImageError.CHECKSUM:
        return f"Checksum failed. Calculated {error.expected:#x} read {error.found:#x}"
    if error.reason == ImageError.HASH:
        return "Image hash failed - image is corrupt"
    if error.reason == ImageError.SEGMENTS:
        return f"image at {app.offset:#x} segment count {error.found} exceeds max {error.expected}"
    if error.reason == ImageError.ROOM:
        return f"Image length {error.found} doesn't fit in partition length {error.expected}"
    return f"invalid segment length {error.found:#x}"


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


def read_wrapped(flash: NorFlash, address: int, size: int) -> bytes:
    """Read as the chip answers: above its size the addresses begin again at 0."""
    data = b""
    while len(data) < size:
        at = (address + len(data)) % flash.size
        data += flash.read(at, min(size - len(data), flash.size - at))
    return data


def _error(tag: str, text: str, ms: int = _APP_MS) -> str:
    return f"E ({ms}) {tag}: {text}"


def _text(lines: list[str] | tuple[str, ...]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()
