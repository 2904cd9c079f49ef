"""Flash for the NVS store, whose power may go, and values of each integer type."""

from citynode.image.nvs import Kind, NvsStore

SIZE = 0x6000
INTEGERS = {
    Kind.U8: 0xFF,
    Kind.I8: -0x80,
    Kind.U16: 0xFFFF,
    Kind.I16: -0x8000,
    Kind.U32: 0xFFFFFFFF,
    Kind.I32: -0x80000000,
    Kind.U64: 2**64 - 1,
    Kind.I64: -(2**63),
}


class PowerCutError(Exception):
    pass


class Flash:
    """NOR cells; `cut` operations from now power goes, in the middle of that operation."""

    def __init__(self, size=SIZE, cut=None, tear=0):
        self.cells = bytearray(b"\xff" * size)
        self.cut = cut
        self.tear = tear
        self.operations = 0
        self.erases = 0

    def _spend(self):
        self.operations += 1
        if self.cut is not None and self.operations > self.cut:
            self.cut = -1  # stays off
            return True
        return False

    def read(self, address, length):
        return bytes(self.cells[address : address + length])

    def program(self, address, data):
        off = self._spend()
        for number, byte in enumerate(data[: self.tear] if off else data, address):
            self.cells[number] &= byte
        if off:
            raise PowerCutError

    def erase(self, address):
        if self._spend():
            raise PowerCutError
        self.erases += 1
        self.cells[address : address + 4096] = b"\xff" * 4096

    def store(self, **options):
        return NvsStore(self.read, self.program, self.erase, len(self.cells), **options)
