"""Firmware images made by the vendor's own tool out of small ELF files."""

import struct

from esptool.cmds import elf2image, merge_bin

MACHINES = {"esp32": 94, "esp32s3": 94, "esp32c3": 243}  # Xtensa, RISC-V
# Where an app has its (data in flash, data in RAM, code in RAM, code in flash), and a second stage
# its data and code.
APPS = {
    "esp32": (0x3F40_0020, 0x3FFB_0000, 0x4008_0000, 0x400D_0020),
    "esp32s3": (0x3C00_0020, 0x3FC9_3000, 0x4037_4000, 0x4200_0020),
    "esp32c3": (0x3C00_0020, 0x3FC8_F000, 0x4038_0000, 0x4200_0020),
}
LOADERS = {
    "esp32": (0x3FFF_0030, 0x4007_8000),
    "esp32s3": (0x3FCE_3808, 0x403C_9700),
    "esp32c3": (0x3FCD_5820, 0x403C_C710),
}
_PROGBITS, _STRTAB, _ALLOC = 1, 3, 2


def elf(machine, entry, sections):
    """Return an ELF file of (name, address, data) sections."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _, _ in sections) + b".shstrtab\0"
    at = 52
    body = b""
    table = [bytes(40)]
    for name, address, data in sections:
        head = (names.index(name.encode()), _PROGBITS, _ALLOC, address, at, len(data), 0, 0, 4, 0)
        table.append(struct.pack("<10I", *head))
        body += data
        at += len(data)
    head = (names.index(b".shstrtab"), _STRTAB, 0, 0, at, len(names), 0, 0, 1, 0)
    table.append(struct.pack("<10I", *head))
    ident = b"\x7fELF\1\1\1" + bytes(9)
    where = (2, machine, 1, entry, 0, at + len(names), 0, 52, 32, 0, 40, len(table), len(table) - 1)
    header = ident + struct.pack("<HHIIIIIHHHHHH", *where)
    return header + body + names + b"".join(table)


def app(chip, rng, version="v1.27.0", **options):
    """Return an app with MicroPython's greeting as `elf2image` writes it."""
    drom, dram, iram, irom = APPS[chip]
    texts = (b"", b"", b"10:20:30", b"Sep 12 2026", b"v5.4.2")
    descriptor = struct.pack("<II8s32s32s16s16s32s32s", 0xABCD5432, 0, b"", *texts, bytes(32))
    greeting = f"\0MicroPython {version} on 2026-09-12\0; A board with {chip.upper()}\0".encode()
    sections = [
        (".flash.appdesc", drom, descriptor.ljust(256, b"\0")),
        (".flash.rodata", drom + 256, greeting.ljust(0x2000, b"\0")),
        (".dram0.data", dram, rng.randbytes(0x300)),
        (".iram0.text", iram, rng.randbytes(0x1000)),
        (".flash.text", irom, rng.randbytes(0x3000)),
    ]
    file = elf(MACHINES[chip], iram + 0x10, sections)
    options = {"max_rev_full": 65535, "flash_size": "4MB", "elf_sha256_offset": 0xB0, **options}
    return elf2image(file, chip, flash_mode="dio", flash_freq="40m", **options)


def second_stage(chip, rng):
    """Return a second stage as `elf2image` writes it."""
    data, code = LOADERS[chip]
    sections = [(".dram0.data", data, rng.randbytes(64)), (".iram.text", code, rng.randbytes(800))]
    file = elf(MACHINES[chip], code + 8, sections)
    return elf2image(file, chip, flash_mode="dio", flash_freq="40m", flash_size="4MB")


def merged(chip, parts):
    """Return what `merge_bin` makes of (address, bytes) parts: flash from address 0 on."""
    return merge_bin(parts, chip)
