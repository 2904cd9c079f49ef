"""File system images: what MicroPython's VfsLfs2 on the ESP32 makes, and reads.

Geometry: `extmod/vfs_lfs.c` and `vfs_lfsx.c` of MicroPython (blocks of the flash's sectors, reads
and writes of 32 bytes, lookahead of 32, cache four times a write, 100 erases until a block moves).
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import cast

from littlefs import LittleFS, LittleFSError, UserContext

from citynode.errors import CitynodeError
from citynode.image.micropython import version_numbers

BLOCK_SIZE = 4096
_GEOMETRY = {
    "block_size": BLOCK_SIZE,
    "read_size": 32,
    "prog_size": 32,
    "lookahead_size": 32,
    "cache_size": 128,
    "block_cycles": 100,
}
_DISK_2_0, _DISK_2_1 = 0x00020000, 0x00020001
_DISK_2_1_SINCE = (1, 22)  # littlefs 2.8 came with this MicroPython; older ones refuse 2.1
_SPARE_BLOCKS = 4
_INLINE = 128  # bytes of a file that still goes into its folder's blocks
_NO_SPACE = -28


class FileSystemError(CitynodeError):
    """The files do not fit, or the image is none that littlefs reads."""


def disk_version(micropython: str) -> int:
    """Return the version of littlefs on disk that this MicroPython writes (0x00020001 is 2.1)."""
    return _DISK_2_1 if version_numbers(micropython) >= _DISK_2_1_SINCE else _DISK_2_0


def build(size: int, files: Mapping[str, bytes], micropython: str) -> bytes:
    """Return the first blocks of a file system of `size` bytes that holds the files.

    Names are absolute POSIX paths; folders are made. What is behind the returned bytes is free
    space, whatever the flash has there. The same arguments give the same bytes. Raises
    FileSystemError.
    """
    total = size // BLOCK_SIZE
    folders = sorted({parent for name in files for parent in PurePosixPath(name).parents})
    # A first guess: small files lie in their folder's blocks, each folder has two.
    contents = sum(-(-len(data) // BLOCK_SIZE) for data in files.values() if len(data) > _INLINE)
    blocks = min(total, contents + 2 * len(folders) + _SPARE_BLOCKS)
    while True:
        try:
            return _build(blocks, total, folders, files, disk_version(micropython))
        except LittleFSError as error:
            if error.code != _NO_SPACE:
                raise FileSystemError(f"cannot build the file system: {error}") from error
            if blocks >= total:
                used = sum(map(len, files.values()))
                raise FileSystemError(
                    f"{len(files)} files of {used} bytes do not fit into {size} bytes of flash",
                    "leave files out, or use a board with more flash",
                ) from error
        blocks = min(total, blocks * 5 // 4 + 1)


def _build(
    blocks: int,
    total: int,
    folders: list[PurePosixPath],
    files: Mapping[str, bytes],
    version: int,
) -> bytes:
    """Fill a small file system and let it grow: then all its blocks are the first ones."""
    context = UserContext(blocks * BLOCK_SIZE)
    fs = LittleFS(
        context=context, mount=False, block_count=blocks, disk_version=version, **_GEOMETRY
    )
    fs.format()
    fs.mount()
    for folder in folders:
        if folder != PurePosixPath("/"):
            fs.mkdir(str(folder))
    for name in sorted(files):
        with fs.open(name, "wb") as file:
            file.write(files[name])
    if total > blocks:
        fs.fs_grow(total)
    fs.unmount()
    return bytes(cast(bytearray, context.buffer))


def read(data: bytes, size: int | None = None) -> dict[str, bytes]:
    """Return the files of an image by their absolute path.

    `size` is that of the file system in bytes where `data` are only its first blocks. Raises
    FileSystemError.
    """
    total = (size or len(data)) // BLOCK_SIZE
    context = UserContext(total * BLOCK_SIZE)
    cast(bytearray, context.buffer)[: len(data)] = data
    fs = LittleFS(context=context, mount=False, block_count=total, **_GEOMETRY)
    try:
        fs.mount()
        files = {}
        for folder, _, names in fs.walk("/"):
            for name in names:
                path = str(PurePosixPath("/", folder, name))
                with fs.open(path, "rb") as file:
                    files[path] = file.read()
        fs.unmount()
    except (LittleFSError, UnicodeError) as error:
        raise FileSystemError(
            f"there is no file system that littlefs reads: {error}", "build the image again"
        ) from error
    return files
