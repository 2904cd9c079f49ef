"""Encrypted writes of ROM and stub beside what the vendor's tool encrypts on the host."""

import io
import random
import warnings

import pytest
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.efuse import EFuse
from citynode.virtual.soc.loader import Op, checksum
from loader_tool import MAC, Tool

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports from click.parser
    import espsecure

KEYS = bytes(range(7, 39)), bytes(range(50, 82))
AT = 0x10060  # inside of a unit of XTS
DATA = random.Random(5).randbytes(0x400)
_XTS_256, _XTS_128 = (2, 3), (4,)  # purposes of key blocks


class Fuses(EFuse):
    """eFuses with bits that the factory has burned besides."""

    def burn(self, block, number, value):
        self._fuses[block][number] |= value

    def burn_key(self, block, key):
        """Burn a key as `burn-key` does: from its last byte on."""
        for number in range(8):
            word = key[::-1][4 * number : 4 * number + 4]
            self.burn(block, number, int.from_bytes(word, "little"))


def encrypted(key, config=0, xts=False):
    out = io.BytesIO()
    espsecure.encrypt_flash_data(io.BytesIO(key), out, AT, config, xts, io.BytesIO(DATA))
    return out.getvalue()


def cells(tool, *, stub=None, op=Op.FLASH_DATA, flag=1, data=DATA):
    """Write in encrypted blocks and return what the flash has then."""
    if stub:
        tool.load_stub(stub)
    tool.attach()
    tool.ok(Op.FLASH_BEGIN, len(data), 4, 0x100, AT, *([flag] if flag is not None else []))
    for number, at in enumerate(range(0, len(data), 0x100)):
        tool.block(op, number, data[at : at + 0x100])
    found = tool.flash.read(AT, len(data))
    tool.flash.close()
    return found


@pytest.mark.parametrize(
    ("key", "config"), [(KEYS[0], 0xF), (KEYS[0], 0x5), (KEYS[1], 0xA), (bytes(32), 0)]
)
def test_the_stub_on_an_esp32(key, config, tmp_path):
    fuses = Fuses(CHIPS["esp32"], MAC)
    fuses.burn_key(1, key)
    fuses.burn(0, 5, config << 28)
    assert cells(Tool("esp32", tmp_path, fuses), stub="2") == encrypted(key, config)


def test_the_first_generation_of_the_stub_has_an_operation_for_it(tmp_path):
    tool = Tool("esp32", tmp_path)
    found = cells(tool, stub="1", op=Op.FLASH_ENCRYPT_DATA, flag=None)
    assert found == encrypted(bytes(32))


@pytest.mark.parametrize("chip", ["esp32s3", "esp32c3"])
@pytest.mark.parametrize("purposes", [_XTS_128, _XTS_256], ids=["128", "256"])
@pytest.mark.parametrize("stub", [None, "2"], ids=["rom", "stub"])
def test_xts_of_later_chips(chip, purposes, stub, tmp_path):
    fuses = Fuses(CHIPS[chip], MAC)
    for number, purpose in enumerate(purposes):
        fuses.burn_key(5 + number, KEYS[number])  # the key blocks 1 and 2
        fuses.burn(0, 2 + number, purpose << (28 if number == 0 else 0))
    key = b"".join(KEYS[: len(purposes)])
    assert cells(Tool(chip, tmp_path, fuses), stub=stub) == encrypted(key, xts=True)


def test_what_is_no_whole_block_fails(tmp_path):
    tool = Tool("esp32", tmp_path)
    tool.load_stub("2")
    tool.ok(Op.FLASH_BEGIN, 48, 1, 0x4000, AT, 1)
    tool.block(Op.FLASH_DATA, 0, DATA[:48])
    assert tool.refused(Op.READ_REG, 0x40001000) == "c400"
    assert tool.flash.read(AT, 48) == b"\xff" * 48
    tool.flash.close()


def test_a_plain_write_after_an_encrypted_one_is_plain(tmp_path):
    tool = Tool("esp32s3", tmp_path)
    tool.attach()
    for flag, at in ((1, 0x1000), (0, 0x2000)):
        tool.ok(Op.FLASH_BEGIN, 16, 1, 0x400, at, flag)
        check = checksum(DATA[:16])
        tool.ok(Op.FLASH_DATA, 16, 0, 0, 0, data=DATA[:16], check=check)
    assert tool.flash.read(0x1000, 16) != DATA[:16] == tool.flash.read(0x2000, 16)
    tool.flash.close()
