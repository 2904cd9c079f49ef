"""A NOR flash chip whose cells are a plain file: erasing sets bits, programming clears them."""

import mmap
import os
import tempfile
from array import array
from collections.abc import Callable
from pathlib import Path

from citynode.errors import CitynodeError

PAGE_SIZE = 256  # bytes that one program command can take (W25Q datasheet, "Page Program")
SECTOR_SIZE = 4096  # bytes that the smallest erase command clears

_MIB = 1 << 20
_STATUS = b"\x00\x02\x60"  # of a new chip: nothing protected, all four data lines

Hook = Callable[[str, int, int], None]


class NorFlash:
    """The flash in a file of exactly `size` bytes, made of 0xFF where there is none.

    The file is the plain image at any moment, also for others that read it, and also after this
    process was killed. `changes` counts for each sector how often it was programmed or erased.
    `hook(operation, address, length)` is called before each "read", each
    "program" of a page and each "erase" of a sector; what it raises stops the operation there.
    Raises CitynodeError when the file cannot be used.
    """

    def __init__(self, path: Path, size: int) -> None:
        if size <= 0 or size % SECTOR_SIZE:
            raise ValueError(f"a flash of {size} bytes has no whole sectors")
        self.path = path
        self.size = size
        self.erase_counts = array("L", [0]) * (size // SECTOR_SIZE)
        self.changes = array("L", [0]) * (size // SECTOR_SIZE)
        self.hook: Hook | None = None
        # The status registers keep their bits without power, as the cells do.
        self.status = bytearray(_STATUS)
        try:
            if not path.exists():
                _make(path, size)
            with path.open("r+b") as file:
                found = file.seek(0, os.SEEK_END)
                if found == size:
                    self._cells = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise CitynodeError(
                f"cannot use {path} as flash: {error.strerror}", "choose another --state folder"
            ) from error
        if found != size:
            raise CitynodeError(
                f"{path} has {found} bytes, the board's flash {size // _MIB} MiB",
                "choose another --state folder, or delete the file for a blank board",
            )

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes from `address`; raises ValueError outside of the flash."""
        self._check(address, length)
        if self.hook is not None:
            self.hook("read", address, length)
        return self._cells[address : address + length]

    def program(self, address: int, data: bytes) -> None:
        """Clear the bits that are 0 in `data`; a 1 leaves a bit as it is.

        Raises ValueError outside of the flash.
        """
        self._check(address, len(data))
        if self.hook is None:
            self._clear_bits(address, data)
            return
        at = 0
        while at < len(data):
            count = min(len(data) - at, PAGE_SIZE - (address + at) % PAGE_SIZE)
            self.hook("program", address + at, count)
            self._clear_bits(address + at, data[at : at + count])
            at += count

    def erase_sector(self, address: int) -> None:
        """Set all bits of the sector that `address` is in; raises ValueError outside."""
        self.erase(address, 1)

    def erase(self, address: int, length: int) -> None:
        """Erase each sector that `length` bytes from `address` touch; raises ValueError outside."""
        self._check(address, length)
        if length == 0:
            return
        for sector in range(address // SECTOR_SIZE, (address + length - 1) // SECTOR_SIZE + 1):
            start = sector * SECTOR_SIZE
            if self.hook is not None:
                self.hook("erase", start, SECTOR_SIZE)
            self._cells[start : start + SECTOR_SIZE] = _BLANK
            self.erase_counts[sector] += 1
            self.changes[sector] += 1

    def erase_all(self) -> None:
        """Erase the whole chip."""
        self.erase(0, self.size)

    def close(self) -> None:
        """Let go of the file; nothing happens if it is closed."""
        self._cells.close()

    def _check(self, address: int, length: int) -> None:
        if address < 0 or length < 0 or address + length > self.size:
            raise ValueError(f"{length} bytes at {address:#x} are not in the flash")

    def _clear_bits(self, address: int, data: bytes) -> None:
        end = address + len(data)
        old = self._cells[address:end]
        if old.count(0xFF) != len(old):
            kept = int.from_bytes(old, "little") & int.from_bytes(data, "little")
            data = kept.to_bytes(len(old), "little")
        self._cells[address:end] = data
        for sector in range(address // SECTOR_SIZE, (end - 1) // SECTOR_SIZE + 1):
            self.changes[sector] += 1


_BLANK = b"\xff" * SECTOR_SIZE


def _make(path: Path, size: int) -> None:
    """Make a file of 0xFF that appears whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            for _ in range(size // SECTOR_SIZE):
                file.write(_BLANK)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
