"""A tool's end of the loaders' protocol, byte by byte and without a serial line."""

import base64
import json
import struct
from pathlib import Path

import esptool
from citynode.virtual.soc.actions import Transmit
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.efuse import EFuse
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.loader import Op, checksum
from citynode.virtual.soc.rom import RomLoader
from citynode.virtual.soc.slip import Decoder, encode

MAC = bytes.fromhex("240ac4123458")
SIZE = 4 << 20
STUBS = Path(esptool.__file__).parent / "targets" / "stub_flasher"
SYNC = b"\x07\x07\x12\x20" + b"\x55" * 32


class Tool:
    """The tool's end of the line."""

    stub = False

    def __init__(self, chip, folder, efuse=None):
        self.chip = CHIPS[chip]
        self.flash = NorFlash(folder / "flash.bin", SIZE)
        self.efuse = efuse or EFuse(self.chip, MAC)
        self.loader = RomLoader(self.chip, self.flash, self.efuse)
        self.actions = []

    def send(self, data):
        """Send bytes and return the packets that come back."""
        self.actions = self.loader.receive(data)
        sent = b"".join(action.data for action in self.actions if isinstance(action, Transmit))
        return Decoder(1 << 20).feed(sent)

    def ask(self, op, data=b"", check=0):
        """Send a request; return value, data and status of its one answer."""
        (packet,) = self.send(encode(struct.pack("<BBHI", 0, op, len(data), check) + data))
        direction, answered, length, value = struct.unpack_from("<BBHI", packet)
        assert (direction, answered, length) == (1, op, len(packet) - 8)
        status = 2 if self.stub else 4
        return value, packet[8:-status], packet[-status:]

    def ok(self, op, *words, data=b"", check=0):
        value, answer, status = self.ask(op, struct.pack(f"<{len(words)}I", *words) + data, check)
        assert not any(status), status.hex()
        return answer or value

    def refused(self, op, *words, data=b"", check=0):
        _, answer, status = self.ask(op, struct.pack(f"<{len(words)}I", *words) + data, check)
        assert answer == b""
        return status.hex()

    def block(self, op, sequence, data):
        return self.ok(op, len(data), sequence, 0, 0, data=data, check=checksum(data))

    def attach(self):
        self.ok(Op.SPI_ATTACH, *((0,) if self.stub else (0, 0)))
        self.ok(Op.SPI_SET_PARAMS, 0, SIZE, 65536, 4096, 256, 0xFFFF)

    def load_stub(self, version):
        stub = json.loads((STUBS / version / f"{self.chip.id}.json").read_text())
        for part in ("text", "data"):
            code = base64.b64decode(stub[part])
            self.ok(Op.MEM_BEGIN, len(code), 1, len(code), stub[f"{part}_start"])
            self.block(Op.MEM_DATA, 0, code)
        entry = struct.pack("<II", 0, stub["entry"])
        packets = self.send(encode(struct.pack("<BBHI", 0, Op.MEM_END, 8, 0) + entry))
        self.stub = packets[-1] == b"OHAI"
        return packets
