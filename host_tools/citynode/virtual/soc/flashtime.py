"""How long a flash chip is busy, in nanoseconds (typical values of the W25Q-JV datasheets)."""

from citynode.virtual.soc.flash import PAGE_SIZE, SECTOR_SIZE

BLOCK_SIZE = 65536

_MS = 1_000_000
_SECTOR_ERASE = 45 * _MS
_BLOCK_ERASE = 150 * _MS
_CHIP_ERASE_PER_MIB = 2500 * _MS  # 10 s for 4 MiB, 40 s for 16 MiB
_PAGE_PROGRAM = 400_000
_READ_PER_BYTE = 100  # 40 MHz on two lines
_MD5_PER_BYTE = 350  # at the clock the loaders run with


def erase_ns(address: int, length: int) -> int:
    """Return the time to erase the sectors of a range, in whole blocks where they fit."""
    at = address // SECTOR_SIZE * SECTOR_SIZE
    end = address + length
    total = 0
    while at < end:
        if at % BLOCK_SIZE == 0 and end - at >= BLOCK_SIZE:
            total += _BLOCK_ERASE
            at += BLOCK_SIZE
        else:
            total += _SECTOR_ERASE
            at += SECTOR_SIZE
    return total


def chip_erase_ns(size: int) -> int:
    """Return the time to erase a chip of `size` bytes."""
    return size * _CHIP_ERASE_PER_MIB >> 20


def program_ns(length: int) -> int:
    """Return the time to program `length` bytes, page by page."""
    return -(-length // PAGE_SIZE) * _PAGE_PROGRAM


def read_ns(length: int) -> int:
    """Return the time to read `length` bytes."""
    return length * _READ_PER_BYTE


def md5_ns(length: int) -> int:
    """Return the time to read `length` bytes and take their MD5."""
    return length * (_READ_PER_BYTE + _MD5_PER_BYTE)
