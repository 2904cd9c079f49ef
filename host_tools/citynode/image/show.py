"""A look into an image or a copy of a flash, of which nothing is known beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass

from citynode.image import esp_image, littlefs, nvs, partitions
from citynode.image.esp_image import ImageError
from citynode.image.littlefs import FileSystemError
from citynode.image.nvs import NvsError
from citynode.image.plan import BOOTLOADER_OFFSETS, PlanError, Row, nvs_partition, take_apart

_CURE = "give a MicroPython image, or a copy of a flash from its first byte"


@dataclass(frozen=True)
class Contents:
    """What is in it: `base` is the flash address of its first byte; of NVS no value."""

    chip: str
    base: int
    version: str
    built: str
    machine: str
    flash_size: int
    rows: list[Row]
    nvs: Mapping[str, Mapping[str, str]]
    files: Mapping[str, int]


def look(data: bytes) -> Contents:
    """Return what an image holds; raises PlanError when it is none that boots MicroPython."""
    base = _base(data)
    header = _header(data, 0) or _header(data, BOOTLOADER_OFFSETS["esp32"])
    names = {number: chip for chip, number in esp_image.CHIP_IDS.items()}
    chip = names.get(header.chip_id) if header is not None else None
    if chip is None:
        raise PlanError("this is no image of an ESP32, ESP32-S3 or ESP32-C3", _CURE)
    firmware = take_apart(data[BOOTLOADER_OFFSETS[chip] - base :], chip)
    whole = max(base + len(data), firmware.flash_size)
    home = partitions.file_system(firmware.partitions, whole)
    rows = []
    files: dict[str, int] = {}
    values: dict[str, dict[str, str]] = {}
    ends = {region.offset: region.end for region in firmware.regions}
    store = nvs_partition(firmware.partitions)
    for part in sorted({*firmware.partitions, *([home] if home else [])}, key=lambda p: p.offset):
        content = data[part.offset - base :][: part.size]
        used = ends[part.offset] - part.offset if part.offset in ends else None
        if part == store and len(content) == part.size:
            used = nvs.used_bytes(content)
            values = _keys(content)
        elif part == home:
            files = _files(content, part.size)
        rows.append(Row(part.label, part.offset, part.size, used))
    return Contents(
        chip,
        base,
        firmware.micropython.version,
        firmware.micropython.built,
        firmware.micropython.machine,
        firmware.flash_size,
        rows,
        values,
        files,
    )


def _base(data: bytes) -> int:
    """Tell a copy of an ESP32's flash, which begins with a gap, from an image for its offset."""
    offset = BOOTLOADER_OFFSETS["esp32"]
    header = _header(data, 0)
    if header is not None and header.chip_id == esp_image.CHIP_IDS["esp32"]:
        return offset
    return 0


def _header(data: bytes, at: int) -> esp_image.Header | None:
    try:
        return esp_image.decode_header(data[at:])
    except ImageError:
        return None


def _keys(data: bytes) -> dict[str, dict[str, str]]:
    try:
        found = nvs.read_partition(data)
    except NvsError:
        return {}
    return {
        space: {key: kind.name.lower() for key, (kind, _) in items.items()}
        for space, items in found.items()
    }


def _files(data: bytes, size: int) -> dict[str, int]:
    try:
        return {name: len(content) for name, content in littlefs.read(data, size).items()}
    except FileSystemError:
        return {}
