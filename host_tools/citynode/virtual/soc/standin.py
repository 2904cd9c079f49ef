"""A stand-in for a MicroPython image, where no genuine one can be had.

It has the structure, the size and about the density of a real build: second stage, partition
table, app with descriptor and banner, valid checksums and hashes. Only the machine code is noise:
on a virtual board the interpreter of the host takes its place.
"""

import hashlib
import random
import struct
from dataclasses import replace
from datetime import date

from citynode.image import esp_image, partitions
from citynode.image.esp_image import AppDescriptor, Header, Segment
from citynode.image.micropython import RUNTIME_VFS, version_numbers
from citynode.image.partitions import Partition
from citynode.virtual.soc.chip import Chip

APP_OFFSET = 0x10000
VERSION, BUILT, IDF_VERSION = "v1.25.0", "2025-04-15", "v5.4"
_PAGE = 0x10000  # the flash is mapped in pages of 64 KiB: offset and address agree in them
_MIB = 1 << 20

# Load addresses of (data from flash, data in RAM, code in RAM, code from flash) and of the second
# stage (data, code, code), by chip (technical reference manuals, "System and Memory").
_MAP = {
    "esp32": (
        (0x3F400000, 0x3FFB0000, 0x40080000, 0x400D0000),
        (0x3FFF0030, 0x40078000, 0x40080400),
    ),
    "esp32s3": (
        (0x3C100000, 0x3FC93000, 0x40374000, 0x42000000),
        (0x3FCE3808, 0x403C9700, 0x403CC700),
    ),
    "esp32c3": (
        (0x3C0E0000, 0x3FC8F000, 0x40380000, 0x42000000),
        (0x3FCD5820, 0x403CC710, 0x403CE710),
    ),
}
_FLASH_MHZ = {"esp32": 40, "esp32s3": 80, "esp32c3": 80}
# Bytes in (flash data, RAM data, RAM code, flash code) of the app, as v1.25 builds have.
_SIZES = (0x4F000, 0x4400, 0x1A800, 0x12C000)
_LOADER_DESCRIPTOR = struct.Struct("<B3xI32s24s16x")  # esp_bootloader_desc_t
_TIME = "12:00:00"
_LOADER_SIZES = (4540, 12788, 4176)
# Code of 32 different bytes, evenly drawn, deflates to about what Xtensa code does (0.63).
_ALPHABET = bytes(range(0, 256, 8))


def layout(flash_size: int, version: str = VERSION) -> tuple[Partition, ...]:
    """Return the partitions of MicroPython's builds for a flash of `flash_size` bytes.

    From 1.26 on there is none for the file system: that one begins where the app's ends.
    """
    app = 0x1F0000 if flash_size >= 4 * _MIB else 0x180000
    vfs = APP_OFFSET + app
    entries = (
        Partition("nvs", partitions.TYPE_DATA, partitions.DATA_NVS, 0x9000, 0x6000),
        Partition("phy_init", partitions.TYPE_DATA, partitions.DATA_PHY, 0xF000, 0x1000),
        Partition("factory", partitions.TYPE_APP, partitions.APP_FACTORY, APP_OFFSET, app),
    )
    if version_numbers(version) >= RUNTIME_VFS:
        return entries
    files = Partition("vfs", partitions.TYPE_DATA, partitions.DATA_FAT, vfs, flash_size - vfs)
    return (*entries, files)


def build(
    chip: Chip,
    *,
    flash_size: int = 4 * _MIB,
    version: str = VERSION,
    built: str = BUILT,
    machine: str | None = None,
    seed: int = 0,
) -> bytes:
    """Return the image as its makers publish them: from the second stage to the end of the app.

    It is written to `chip.bootloader_offset`. `flash_size` (bytes, a power of two from 1 MiB to
    128 MiB) is what its headers say, `built` a date (YYYY-MM-DD). The same arguments give the same
    bytes.
    """
    rng = random.Random(f"{chip.id} {version} {seed}")
    header = Header(
        segments=0,
        entry=0,
        chip_id=chip.image_chip_id,
        flash_size=flash_size,
        flash_mhz=_FLASH_MHZ[chip.id],
    )
    loader = _second_stage(chip, header, rng, built)
    table = partitions.build_table(layout(flash_size, version))
    short = chip.id.upper()  # MicroPython's names have no dash
    name = machine or f"Generic {short} module with {short}"
    app = _app(chip, header, rng, f"MicroPython {version} on {built}", name)
    image = bytearray(b"\xff" * (APP_OFFSET - chip.bootloader_offset))
    image[: len(loader)] = loader
    at = partitions.TABLE_OFFSET - chip.bootloader_offset
    image[at : at + len(table)] = table
    return bytes(image + app)


def _compiled(built: str) -> str:
    """Return date and time as the compiler writes them."""
    return f"{date.fromisoformat(built):%b %e %Y} {_TIME}"


def _noise(rng: random.Random, size: int) -> bytes:
    table = bytes(_ALPHABET[i % len(_ALPHABET)] for i in range(256))
    return rng.randbytes(size).translate(table)


def _second_stage(chip: Chip, header: Header, rng: random.Random, built: str) -> bytes:
    addresses = _MAP[chip.id][1]
    segments = [
        Segment(address, _noise(rng, size))
        for address, size in zip(addresses, _LOADER_SIZES, strict=True)
    ]
    head = _LOADER_DESCRIPTOR.pack(80, 1, IDF_VERSION.encode(), _compiled(built).encode())
    segments[0] = replace(segments[0], data=head + segments[0].data[len(head) :])
    entry = addresses[2] + 0x280
    return esp_image.encode(replace(header, entry=entry), segments)


def _app(chip: Chip, header: Header, rng: random.Random, banner: str, machine: str) -> bytes:
    flash_data, ram_data, ram_code, flash_code = _MAP[chip.id][0]
    sizes = _SIZES
    # MicroPython's builds leave version and project out of the descriptor.
    descriptor = esp_image.encode_descriptor(
        AppDescriptor(
            version="",
            project="",
            time=_TIME,
            date=_compiled(banner[-10:])[: -len(_TIME) - 1],
            idf_version=IDF_VERSION,
            elf_sha256=hashlib.sha256(banner.encode()).digest(),
        )
    )
    texts = ("", f"3.4.0; {banner}", banner, f"; {machine}", machine, "")
    data = descriptor + "\0".join(texts).encode()
    data += _noise(rng, sizes[0] - len(data))
    # A segment that is mapped starts where its address has the same place in its page; what is
    # before it in the file is the header (24 bytes) and the segments with heads of 8 bytes.
    first = Segment(flash_data + 0x20, data)
    middle = [Segment(ram_data, _noise(rng, sizes[1])), Segment(ram_code, b"")]
    at = 24 + 8 + len(data) + 8 + sizes[1] + 8
    fill = (-(at + 8 - 0x20)) % _PAGE
    middle[1] = Segment(ram_code, _noise(rng, fill if fill else _PAGE))
    last = Segment(flash_code + 0x20, _noise(rng, sizes[3]))
    return esp_image.encode(replace(header, entry=ram_code + 0x1300), [first, *middle, last])
