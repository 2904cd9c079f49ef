"""What goes where in a board's flash: the parts of a MicroPython image, its NVS, its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from citynode.errors import CitynodeError
from citynode.image import esp_image, littlefs, micropython, mpy, nvs, partitions
from citynode.image.esp_image import Image, ImageError
from citynode.image.micropython import MicroPython
from citynode.image.partitions import Partition, PartitionError

BOOTLOADER_OFFSETS = {"esp32": 0x1000, "esp32s3": 0x0, "esp32c3": 0x0}
SECTOR_SIZE = partitions.SECTOR_SIZE
_MIB = 1 << 20
_SLOT = "a"  # the one that a new board starts from
_GET_ANOTHER = "give --image a MicroPython image for this chip, complete as it was downloaded"


class PlanError(CitynodeError):
    """The image is not for this board, or what is to go on it does not fit."""


@dataclass(frozen=True)
class Region:
    """Bytes for the flash from address `offset` on."""

    offset: int
    data: bytes = field(repr=False)
    name: str

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.offset + len(self.data)


@dataclass(frozen=True)
class Firmware:
    """A MicroPython image taken apart: `app` is the partition that runs, `regions` what to write.

    `flash_size` is what its header says.
    """

    chip: str
    micropython: MicroPython
    flash_size: int
    partitions: tuple[Partition, ...]
    app: Partition
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class Row:
    """A line of the partition map; sizes in bytes, `used` is None where nobody has looked."""

    name: str
    offset: int
    size: int
    used: int | None

    @property
    def free(self) -> int | None:
        """Bytes that are left."""
        return None if self.used is None else self.size - self.used


@dataclass(frozen=True)
class Plan:
    """All that one session writes to a board, and the map of its flash."""

    firmware: Firmware
    flash_size: int
    nvs: Partition
    files: Partition
    regions: tuple[Region, ...]

    def rows(self) -> list[Row]:
        """Return the map, by address."""
        end = {region.offset: region.end for region in self.regions}
        base = self.firmware.regions[0]
        rows = [
            Row("bootloader", base.offset, partitions.TABLE_OFFSET - base.offset, len(base.data)),
            Row("partition table", partitions.TABLE_OFFSET, SECTOR_SIZE, partitions.TABLE_SIZE),
        ]
        listed = {part.offset: part for part in (*self.firmware.partitions, self.files)}
        for part in sorted(listed.values(), key=lambda part: part.offset):
            used = end[part.offset] - part.offset if part.offset in end else None
            if part == self.nvs and used is not None:
                used = nvs.used_bytes(next(r.data for r in self.regions if r.offset == part.offset))
            rows.append(Row(part.label, part.offset, part.size, used))
        return rows

    def merged(self) -> bytes:
        """Return one image of all regions, for `esptool write-flash` at the bootloader's offset."""
        start = BOOTLOADER_OFFSETS[self.firmware.chip]
        image = bytearray(b"\xff" * (max(region.end for region in self.regions) - start))
        for region in self.regions:
            image[region.offset - start : region.end - start] = region.data
        return bytes(image)


def take_apart(image: bytes, chip: str) -> Firmware:
    """Check a MicroPython image as its makers publish it, and return its parts.

    Raises PlanError: for another chip, cut off, damaged, not MicroPython, or only the app.
    """
    base = BOOTLOADER_OFFSETS[chip]
    if esp_image.is_app(image):
        raise PlanError("the image is the app alone, without second stage and table", _GET_ANOTHER)
    boot = _image(image, 0, partitions.TABLE_OFFSET - base, chip, "second stage", hashed=False)
    try:
        raw = image[partitions.TABLE_OFFSET - base :][: partitions.TABLE_SIZE]
        table = partitions.parse_table(raw, boot.header.flash_size)
    except PartitionError as error:
        raise PlanError(f"the image has no partition table: {error.what}", _GET_ANOTHER) from error
    app = _bootable(table)
    at = app.offset - base
    found = _image(image, at, app.size, chip, f"app in {app.label}")
    names = micropython.identify(found)
    if names is None:
        raise PlanError("the image is not MicroPython", _GET_ANOTHER)
    mpy.format_for(names.version)
    if nvs_partition(table) is None:
        raise PlanError("the image has no NVS partition", _GET_ANOTHER)
    parts = [
        Region(base, image[: boot.size], "bootloader"),
        Region(partitions.TABLE_OFFSET, raw, "partition table"),
        Region(app.offset, image[at : at + found.size], "MicroPython"),
    ]
    select = partitions.find(table, type=partitions.TYPE_DATA, subtype=partitions.DATA_OTA)
    if select is not None:
        # Without it a board that had another slot selected would go on to start that one.
        parts.insert(2, Region(select.offset, b"\xff" * select.size, select.label))
    return Firmware(chip, names, boot.header.flash_size, table, app, tuple(parts))


def make(
    image: bytes,
    chip: str,
    flash_size: int,
    *,
    nvs_values: Mapping[str, Mapping[str, tuple[nvs.Kind, nvs.Value]]] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Plan:
    """Return what to write to a board with `flash_size` bytes of flash.

    `nvs_values` (namespace, key, type and value) and `files` (absolute path, bytes) are left alone
    on the board where they are None. Raises PlanError, FileSystemError, NvsError.
    """
    firmware = take_apart(image, chip)
    if firmware.flash_size > flash_size:
        raise PlanError(
            f"the image is for {firmware.flash_size // _MIB} MiB of flash, "
            f"the board has {flash_size // _MIB} MiB",
            "give --image the build for the board's flash size",
        )
    store = nvs_partition(firmware.partitions)
    seen = flash_size
    if firmware.micropython.numbers < micropython.RUNTIME_VFS:
        seen = firmware.flash_size
    home = partitions.file_system(firmware.partitions, seen)
    if home is None or store is None:
        raise PlanError("the image leaves no flash for files", _GET_ANOTHER)
    regions = list(firmware.regions)
    if nvs_values is not None:
        regions.append(Region(store.offset, nvs.build_partition(store.size, nvs_values), "NVS"))
    if files is not None:
        data = littlefs.build(home.size, files, firmware.micropython.version)
        regions.append(Region(home.offset, data, "files"))
    regions.sort(key=lambda region: region.offset)
    return Plan(firmware, flash_size, store, home, tuple(regions))


def node_files(
    source: Path, version: str, chip: str, extra: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """Return the files of a node: start scripts as they are, the application compiled, `extra`.

    `source` is the folder of the firmware, `version` MicroPython's. Raises MpyError.
    """
    files = {f"/{name}": (source / name).read_bytes() for name in ("boot.py", "main.py")}
    compiled = mpy.compile_tree(source / "node", version, chip)
    files.update({f"/{_SLOT}/{name}": data for name, data in compiled.items()})
    files.update(extra or {})
    return files


def nvs_partition(table: tuple[Partition, ...]) -> Partition | None:
    """Return the partition that the firmware keeps its NVS in."""
    found = [each for each in table if (each.type, each.subtype) == _NVS_TYPE]
    return next((each for each in found if each.label == "nvs"), found[0] if found else None)


_NVS_TYPE = (partitions.TYPE_DATA, partitions.DATA_NVS)


def _bootable(table: tuple[Partition, ...]) -> Partition:
    apps = [each for each in table if each.type == partitions.TYPE_APP]
    for wanted in (partitions.APP_FACTORY, partitions.APP_OTA_0):
        for each in apps:
            if each.subtype == wanted:
                return each
    raise PlanError("the image's partition table has no app", _GET_ANOTHER)


def _image(data: bytes, at: int, limit: int, chip: str, what: str, *, hashed: bool = True) -> Image:
    """Read the image at an offset of the file; raises PlanError that says what is wrong with it."""
    part = data[at : at + limit] if at >= 0 else b""
    try:
        header = esp_image.decode_header(part)
        if header.chip_id != esp_image.CHIP_IDS[chip]:
            names = {number: name for name, number in esp_image.CHIP_IDS.items()}
            other = names.get(header.chip_id, f"chip {header.chip_id}")
            raise PlanError(f"the image is for {other}, the board has {chip}", _GET_ANOTHER)
        try:
            return esp_image.decode(lambda i, size: part[i : i + size], len(part))
        except ImageError as error:
            if hashed or error.reason != ImageError.HASH:
                raise
            # Tools that set flash parameters leave the second stage's hash behind; chips boot it.
            return esp_image.decode(
                lambda i, size: part[i : i + size], len(part), header=esp_image.unhashed(header)
            )
    except ImageError as error:
        if error.reason == ImageError.MAGIC or not part:
            text = f"there is no {what} in the image"
        elif error.reason in (ImageError.TRUNCATED, ImageError.LENGTH):
            text = f"the {what} in the image is cut off"
        else:
            text = f"the {what} in the image is damaged: wrong {error.reason}"
        raise PlanError(text, _GET_ANOTHER) from error
