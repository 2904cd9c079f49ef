"""What a serial loader reaches with addresses: RAM, the registers it needs, a few ROM words."""

from citynode.virtual.soc.addresses import ADDRESSES, Range, SpiRegisters
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.efuse import EFuse
from citynode.virtual.soc.spiflash import SpiFlash

_PAGE = 4096
_MASK = 0xFFFF_FFFF

_SPI_USER_COMMAND = 1 << 18  # in the command register: run what the user registers describe
_USER_ADDRESS = 1 << 30
_USER_MISO = 1 << 28
_USER_MOSI = 1 << 27
_SPI_BUFFER = 64  # bytes

_WATCHDOG_KEY = 0x50D8_3AA1
_WATCHDOG_ENABLE = 1 << 31
_RESETTING_ACTION = 3  # stage actions from here on reset the chip
_SOFTWARE_RESET = 1 << 31


class Bus:
    """The address space of a chip in download mode.

    What is not there reads as zero and takes no writes. `reset_cause` is set by a write that
    makes the chip reset itself. `attached` is whether the flash's pins lead to the flash.
    """

    def __init__(self, chip: Chip, flash: SpiFlash, efuse: EFuse) -> None:
        self._map = ADDRESSES[chip.id]
        self._flash = flash
        self._efuse = efuse
        self._crystal_hz = chip.crystal_mhz * 1_000_000
        self._pages: dict[int, bytearray] = {}
        self._registers: dict[int, int] = {
            self._map.gpio_strap: chip.download_boot.code,
            self._map.watchdog.protect: _WATCHDOG_KEY,
        }
        self.attached = False
        self.reset_cause: str | None = None
        self.baud = 115_200
        self.uart_clock_factor = 1  # of the crystal's frequency

    # -- words ----------------------------------------------------------------------------------

    def read(self, address: int) -> int:
        """Return the 32-bit word at `address` (its two lowest bits are ignored)."""
        address &= _MASK & ~3
        constant = self._map.constants.get(address)
        if constant is not None:
            return constant
        if _within(address, self._map.efuse):
            return self._efuse.read(address - self._map.efuse[0])
        if address == self._map.uart_divider:
            return self._crystal_hz * self.uart_clock_factor // max(self.baud, 1) & 0xF_FFFF
        if self.in_ram(address, 4):
            return int.from_bytes(self.load(address, 4), "little")
        return self._registers.get(address, 0)

    def write(self, address: int, value: int) -> None:
        """Set the 32-bit word at `address` with all that follows from it."""
        address &= _MASK & ~3
        value &= _MASK
        if _within(address, self._map.efuse):
            self._efuse.write(address - self._map.efuse[0], value)
        elif self.in_ram(address, 4):
            self.store(address, value.to_bytes(4, "little"))
        elif any(_within(address, part) for part in self._map.peripherals):
            self._write_register(address, value)

    def _write_register(self, address: int, value: int) -> None:
        watchdog = self._map.watchdog
        if address == self._map.spi.base:
            if value & _SPI_USER_COMMAND:
                self._run_spi(self._map.spi)
            return  # the bits of the command register clear themselves when it is done
        if address == watchdog.config0:
            if self._registers[watchdog.protect] != _WATCHDOG_KEY:
                return
            if value & _WATCHDOG_ENABLE and value >> 28 & 7 >= _RESETTING_ACTION:
                self.reset_cause = "rtc_wdt"
        elif address == self._map.rtc_options0 and value & _SOFTWARE_RESET:
            self.reset_cause = "sw"
        self._registers[address] = value

    def _run_spi(self, spi: SpiRegisters) -> None:
        """Run the command that the user registers describe on the flash."""

        def register(offset: int) -> int:
            return self._registers.get(spi.base + offset, 0)

        user = register(spi.user)
        address = 0
        if user & _USER_ADDRESS:
            bits = (register(spi.user1) >> 26 & 0x3F) + 1
            address = register(4)
            if spi.address_from_top:
                address = address >> max(0, 32 - bits)
            else:
                address &= (1 << min(bits, 32)) - 1
        words = range(spi.base + spi.buffer, spi.base + spi.buffer + _SPI_BUFFER, 4)
        buffer = b"".join(self._registers.get(at, 0).to_bytes(4, "little") for at in words)
        sent = received = 0
        if user & _USER_MOSI:
            sent = min((register(spi.mosi_length) & 0x3FF) + 1 >> 3, _SPI_BUFFER)
        if user & _USER_MISO:
            received = min((register(spi.miso_length) & 0x3FF) + 8 >> 3, _SPI_BUFFER)
        if self.attached:
            command = register(spi.user2) & 0xFF
            answer = self._flash.transfer(command, address, buffer[:sent], received)
        else:
            answer = b"\xff" * received
        answer = answer.ljust(-(-received // 4) * 4, b"\0")
        for at in range(0, len(answer), 4):
            word = int.from_bytes(answer[at : at + 4], "little")
            self._registers[spi.base + spi.buffer + at] = word

    # -- RAM ------------------------------------------------------------------------------------

    def in_ram(self, address: int, length: int) -> bool:
        """Tell whether all of a range is RAM."""
        return any(start <= address and address + length <= end for start, end in self._map.ram)

    def load(self, address: int, length: int) -> bytes:
        """Return bytes of RAM."""
        result = bytearray()
        while length > 0:
            number, offset = divmod(address, _PAGE)
            count = min(length, _PAGE - offset)
            page = self._pages.get(number)
            result += bytes(count) if page is None else page[offset : offset + count]
            address += count
            length -= count
        return bytes(result)

    def store(self, address: int, data: bytes) -> None:
        """Set bytes of RAM; raises ValueError outside of it."""
        if not self.in_ram(address, len(data)):
            raise ValueError(f"{len(data)} bytes at {address:#x} are not in RAM")
        at = 0
        while at < len(data):
            number, offset = divmod(address + at, _PAGE)
            count = min(len(data) - at, _PAGE - offset)
            page = self._pages.setdefault(number, bytearray(_PAGE))
            page[offset : offset + count] = data[at : at + count]
            at += count


def _within(address: int, part: Range) -> bool:
    return part[0] <= address < part[1]
