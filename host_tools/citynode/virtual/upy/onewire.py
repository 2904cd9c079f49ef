"""`onewire`: the commands that all chips of a 1-Wire bus know (Maxim application note 187)."""

import _onewire


class OneWireError(Exception):
    """No chip answers."""


class OneWire:
    """A bus on one pin."""

    SEARCH_ROM = 0xF0
    MATCH_ROM = 0x55
    SKIP_ROM = 0xCC

    def __init__(self, pin):
        self.pin = pin
        self.pin.init(pin.OPEN_DRAIN, pin.PULL_UP)

    def reset(self, required=False):
        present = _onewire.reset(self.pin)
        if required and not present:
            raise OneWireError
        return present

    def readbit(self):
        return _onewire.readbit(self.pin)

    def readbyte(self):
        return _onewire.readbyte(self.pin)

    def readinto(self, buf):
        for i in range(len(buf)):
            buf[i] = self.readbyte()

    def writebit(self, value):
        _onewire.writebit(self.pin, value)

    def writebyte(self, value):
        _onewire.writebyte(self.pin, value)

    def write(self, buf):
        for byte in buf:
            self.writebyte(byte)

    def select_rom(self, rom):
        self.reset()
        self.writebyte(self.MATCH_ROM)
        self.write(rom)

    def crc8(self, data):
        return _onewire.crc8(data)

    def scan(self):
        """Return the addresses on the bus, found bit by bit."""
        found = []
        last_choice = 0
        rom = bytearray(8)
        while True:
            if not self.reset():
                return found
            self.writebyte(self.SEARCH_ROM)
            choice = 0
            for bit in range(64):
                own, other = self.readbit(), self.readbit()
                if own and other:
                    return found  # who was there has gone
                if own != other:
                    direction = own
                else:
                    # Both are there: as before up to the last choice, then the other way.
                    place = bit + 1
                    if place < last_choice:
                        direction = rom[bit // 8] >> bit % 8 & 1
                    else:
                        direction = int(place == last_choice)
                    if not direction:
                        choice = place
                mask = 1 << bit % 8
                rom[bit // 8] = rom[bit // 8] & ~mask | (mask if direction else 0)
                self.writebit(direction)
            found.append(bytearray(rom))
            last_choice = choice
            if not last_choice:
                return found
