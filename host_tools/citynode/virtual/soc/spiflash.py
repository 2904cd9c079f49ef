"""The flash chip as the SPI bus sees it: command bytes, identity, status, SFDP.

Sources: W25Q32JV and XM25QH32C datasheets (command tables), JESD216 (SFDP).
"""

import struct

from citynode.virtual.soc.flash import PAGE_SIZE, SECTOR_SIZE, NorFlash

_MEMORY_TYPE = 0x40
_WRITE_ENABLED = 0x02  # status bit WEL
_QUAD_ENABLED = 0x02  # second status register
_ERASES = {0x20: SECTOR_SIZE, 0x52: 32768, 0xD8: 65536}
_READS = (0x03, 0x0B, 0x3B, 0x6B, 0xBB, 0xEB)


class SpiFlash:
    """A flash chip of `vendor` over the cells of `cells`.

    Addresses beyond the end wrap, as the chip does not look at the bits that it has no use for.
    """

    def __init__(self, cells: NorFlash, vendor: int) -> None:
        self.cells = cells
        self._vendor = vendor
        self._capacity = (cells.size - 1).bit_length()
        self._status = cells.status
        self._write_enabled = False
        self._reset_enabled = False
        self._sfdp = _sfdp(cells.size, vendor)

    @property
    def size(self) -> int:
        """Bytes in the chip."""
        return self.cells.size

    def unlock(self) -> None:
        """Take all protection off, as the loaders do before they write."""
        self._status[0] = 0
        self._status[1] &= _QUAD_ENABLED

    def transfer(self, command: int, address: int, data: bytes, length: int) -> bytes:
        """Send one command with an address and data, and return `length` bytes of its answer."""
        answer = self._answer(command, address, data, length)
        return answer[:length].ljust(length, b"\xff")

    def read(self, address: int, length: int) -> bytes:
        """Read with wrap-around."""
        address %= self.size
        if address + length <= self.size:
            return self.cells.read(address, length)
        parts = [self.cells.read(address, self.size - address)]
        left = length - len(parts[0])
        while left > 0:
            parts.append(self.cells.read(0, min(left, self.size)))
            left -= self.size
        return b"".join(parts)

    def program(self, address: int, data: bytes) -> None:
        """Program any number of bytes with wrap-around at the end of the chip."""
        while data:
            address %= self.size
            count = min(len(data), self.size - address)
            self.cells.program(address, data[:count])
            data = data[count:]
            address += count

    def erase(self, address: int, length: int) -> None:
        """Erase the sectors of a range with wrap-around."""
        if length >= self.size:
            self.cells.erase_all()
            return
        address %= self.size
        count = min(length, self.size - address)
        self.cells.erase(address, count)
        self.cells.erase(0, length - count)

    def _answer(self, command: int, address: int, data: bytes, length: int) -> bytes:
        reset_enabled, self._reset_enabled = self._reset_enabled, command == 0x66
        if command == 0x9F:
            return bytes((self._vendor, _MEMORY_TYPE, self._capacity))
        if command == 0x90:
            return bytes((self._vendor, self._capacity - 1))
        if command == 0xAB:
            return bytes((self._capacity - 1,))
        if command == 0x5A:
            return self._sfdp[address : address + length]
        if command in _READS:
            return self.read(address, length)
        if command == 0x05:
            return bytes((self._status[0] | (_WRITE_ENABLED if self._write_enabled else 0),))
        if command == 0x35:
            return bytes(self._status[1:2])
        if command == 0x15:
            return bytes(self._status[2:3])
        if command in (0x06, 0x50):
            self._write_enabled = True
        elif command == 0x04 or (command == 0x99 and reset_enabled):
            self._write_enabled = False
        elif self._write_enabled:
            self._write(command, address, data)
        return b""

    def _write(self, command: int, address: int, data: bytes) -> None:
        if command == 0x02:
            page, at = divmod(address % self.size, PAGE_SIZE)
            for index, byte in enumerate(data):  # a page wraps within itself
                self.cells.program(page * PAGE_SIZE + (at + index) % PAGE_SIZE, bytes((byte,)))
        elif command in _ERASES:
            size = _ERASES[command]
            self.erase(address // size * size, size)
        elif command in (0x60, 0xC7):
            self.cells.erase_all()
        elif command == 0x01 and data:
            self._status[0] = data[0] & 0xFC
            if len(data) > 1:
                self._status[1] = data[1]
        elif command == 0x31 and data:
            self._status[1] = data[0]
        elif command == 0x11 and data:
            self._status[2] = data[0]
        else:
            return
        self._write_enabled = False


def _sfdp(size: int, vendor: int) -> bytes:
    """Build the discoverable parameters: header, two parameter headers, the basic table."""
    basic = struct.pack(
        "<9I",
        0xFFF9_20E5,  # 4 KiB erase by 0x20, 3-byte addresses, all the fast reads
        size * 8 - 1,
        0x6B08_EB44,
        0xBB42_3B08,
        0xFFFF_FFFE,
        0x0000_FFFF,
        0xEB40_FFFF,
        0x520F_200C,  # erase types: 4 KiB 0x20, 32 KiB 0x52
        0x0000_D810,  # 64 KiB 0xD8
    )
    header = b"SFDP" + bytes((5, 1, 1, 0xFF))
    parameters = bytes((0x00, 0, 1, 9)) + (0x80).to_bytes(3, "little") + b"\xff"
    makers = bytes((vendor, 0, 1, 0)) + (0xF0).to_bytes(3, "little") + b"\xff"
    return (header + parameters + makers).ljust(0x80, b"\xff") + basic.ljust(0x80, b"\xff")
